//! The tab key, in the shells that are here: names come from what is there at that moment.

use std::process::Command;

use crate::home::{Ran, TestHome};

fn ready() -> TestHome {
    let home = TestHome::new();
    home.sh_harness("stated", true);
    for name in ["web", "wiki", "api"] {
        home.fleet(&["create", name, "--harness", "stated", "-t", if name == "api" { "backend" } else { "frontend" }]).ok();
    }
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fleet"), home.file("bin/fleet")).unwrap();
    home
}

/// Whether there is such a shell; said if not.
fn has(shell: &str) -> bool {
    let here = Command::new(shell).arg("--version").output().is_ok_and(|o| o.status.success());
    if !here {
        println!("skipped: there is no {shell} here");
    }
    here
}

/// What a shell prints, with the programs on its path.
fn shell(home: &TestHome, program: &str, args: &[&str]) -> String {
    let path = format!("{}:{}", home.file("bin").display(), std::env::var("PATH").unwrap());
    Ran::of(home.command(program, &home.file("home")).env("PATH", path).args(args).output().unwrap()).ok()
}

#[test]
fn bash_completes_projects_tags_and_harnesses() {
    if !has("bash") {
        return;
    }
    let home = ready();
    let complete = |line: &str| {
        let script = format!(
            "source <(fleet completions bash); COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_TYPE=9; \
             _clap_complete_fleet fleet \"${{COMP_WORDS[COMP_CWORD]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let said = shell(&home, "bash", &["--norc", "-c", &script]);
        said.lines().map(|l| l.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete("fleet start w"), ["web", "wiki"]);
    assert_eq!(complete("fleet start -t b"), ["backend"]);
    assert_eq!(complete("fleet create x --harness st"), ["stated"]);
    assert_eq!(complete("fleet why a"), ["api"]);
    assert!(complete("fleet sta").contains(&"status".to_owned()));
    assert_eq!(complete("fleet create w"), [""], "a new name is not one that is there");
}

#[test]
fn fish_completes_projects() {
    if !has("fish") {
        return;
    }
    let home = ready();
    let said = shell(&home, "fish", &["--no-config", "-c", "fleet completions fish | source; complete -C 'fleet stop w'"]);
    assert_eq!(said.lines().map(|l| l.split('\t').next().unwrap_or_default()).collect::<Vec<_>>(), ["web", "wiki"], "{said}");
}

#[test]
fn zsh_loads_the_script_and_is_answered() {
    let home = ready();
    if has("zsh") {
        let said = shell(
            &home,
            "zsh",
            &["-f", "-c", "autoload -U compinit; compinit -D -u; source <(fleet completions zsh); print -- $_comps[fleet]"],
        );
        assert_eq!(said.trim(), "_clap_dynamic_completer_fleet");
    }
    let mut ask = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
    ask.env("COMPLETE", "zsh").env("_CLAP_COMPLETE_INDEX", "2").env("_CLAP_IFS", "\n").args(["--", "fleet", "stop", "w"]);
    assert_eq!(Ran::of(ask.output().unwrap()).ok(), "web\nwiki");
}

#[test]
fn the_engine_completes_its_agents_and_sessions() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    home.fleet(&["start", "web"]).ok();
    let complete = |args: &[&str]| {
        let mut ask = home.command(home.file("bin/agents"), &home.project("web"));
        let index = args.len().to_string();
        ask.env("COMPLETE", "zsh").env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n").args(["--", "agents"]).args(args);
        Ran::of(ask.output().unwrap()).ok().lines().map(|l| l.split(':').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["attach", "web"]), ["web-1"]);
    assert!(complete(&["down", ""]).contains(&"web-1".to_owned()));
    assert_eq!(complete(&["spawn", "--agent", "web"]), Vec::<String>::new());
    home.fleet(&["stop", "web"]).ok();
    let task = home.agents("web", &["task", "add", "true"]).out;
    assert_eq!(complete(&["task", "show", "t"]), [task.trim()]);
}
