//! Driving projects: start, stop, restart, exec, and what an agent is asked through fleet.

use insta::assert_snapshot;

use crate::home::TestHome;

#[test]
fn projects_start_restart_and_stop_together_whatever_their_harness() {
    let home = TestHome::new();
    home.sh_harness("plain", false);
    home.sh_harness("stated", true);
    home.fleet(&["create", "one", "--harness", "plain"]).ok();
    home.fleet(&["create", "two", "--harness", "stated"]).ok();
    home.fleet(&["create", "three", "--backend", "shell"]).ok();
    let preview = home.fleet(&["start", "--all", "--dry-run"]);
    assert_eq!((preview.code, preview.out.as_str()), (0, "one: engine/run up\ntwo: engine/run up\nthree: engine/agents up\n"));
    let pid = |name: &str| std::fs::read_to_string(home.project(name).join(".run/pid")).ok().map(|p| p.trim().to_owned());
    assert_eq!(pid("one"), None, "a preview started something");

    home.fleet(&["start", "--all"]).ok();
    let first = pid("one").expect("it runs");
    home.fleet(&["start", "one"]).ok();
    assert_eq!(pid("one").as_ref(), Some(&first), "a second start must leave it alone");
    home.fleet(&["restart", "one", "three"]).ok();
    assert_ne!(pid("one"), Some(first));
    assert!(home.agents("three", &["status"]).ok().contains("up"));

    let processes: Vec<String> = ["one", "two"].iter().filter_map(|n| pid(n)).collect();
    assert_eq!(processes.len(), 2);
    home.fleet(&["stop", "--all"]).ok();
    for process in processes {
        let state = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "process {process} outlived its project: {state}");
    }
    assert!(!home.agents("three", &["status"]).ok().contains(" up "));
}

#[test]
fn one_that_fails_is_named_and_stops_no_other() {
    let home = TestHome::new();
    home.sh_harness("stated", true);
    for name in ["good", "bad", "gone"] {
        home.fleet(&["create", name, "--harness", "stated"]).ok();
    }
    std::fs::write(home.project("bad").join("engine/run"), "#!/bin/sh\necho 'error: no luck today' >&2\nexit 7\n").unwrap();
    std::fs::remove_dir_all(home.project("gone")).unwrap();
    let ran = home.fleet(&["start", "--all", "--json"]);
    let facts: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(facts[0]["done"], true);
    assert_eq!(facts[1]["done"], false);
    assert_snapshot!(ran.fails(1), @r##"
    error: project bad: could not start: `engine/run up` ended with status 7
      because no luck today
    error: project gone: its folder ~/projects/gone is not there
    hint: bring it back, or: fleet remove gone
    "##);
}

#[test]
fn what_an_engine_tells_to_do_can_be_done() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let config = home.project("web").join("agents.toml");
    let text = std::fs::read_to_string(&config).unwrap() + "\n[agent.lost]\nbackend = \"shell\"\ncommand = [\"no-such-program\"]\n";
    std::fs::write(&config, text).unwrap();
    assert_snapshot!(home.fleet(&["start", "web"]).fails(1), @r"
    error: project web: could not start: `engine/agents up` ended with status 1
      because agent lost (web-2) is failing: its program `no-such-program` was not found on PATH
    hint: in ~/projects/web: engine/agents why lost
    ");
    home.agents("web", &["why", "lost"]).ok();
    home.fleet(&["stop", "web"]).ok();
}

#[test]
fn a_command_runs_in_every_project_and_its_failures_are_counted() {
    let home = TestHome::new();
    home.sh_harness("stated", true);
    for name in ["a", "b"] {
        home.fleet(&["create", name, "--harness", "stated"]).ok();
    }
    let ran = home.fleet(&["exec", "--all", "--", "sh", "-c", "basename \"$PWD\"; test \"$(basename \"$PWD\")\" = a"]);
    let mut lines: Vec<&str> = ran.out.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a: a", "b: b"]);
    assert_snapshot!(ran.fails(1), @r##"
    error: project b: the command ended with status 1
    "##);
}

#[test]
fn an_agent_is_sent_to_shown_and_explained() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    home.fleet(&["start", "web"]).ok();
    home.fleet(&["send", "web", "echo answer-$((40 + 2))"]).ok();
    assert!(home.fleet(&["why", "web"]).ok().contains("web-1"));
    assert!(home.fleet(&["why", "web/web-1"]).ok().contains("web-1"));
    home.fleet(&["logs", "web"]).ok();
    home.fleet(&["why", "web/web-9"]).fails(2);
    home.fleet(&["stop", "web"]).ok();
    assert!(home.fleet(&["send", "web", "x"]).ok().starts_with("queued "));
    assert!(home.fleet(&["send", "web", "x", "--", "--wait=10ms"]).fails(1).contains("not taken in time"));
}

#[test]
fn what_cannot_be_driven_is_said() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    assert_snapshot!(home.fleet(&["start"]).fails(2), @r##"
    error: no project was named
    hint: write names, globs such as 'web-*', -t TAG, or --all
    "##);
    assert_snapshot!(home.fleet(&["start", "wbe"]).fails(2), @r##"
    error: there is no project `wbe`
    hint: did you mean `web`?
    "##);
    assert_snapshot!(home.fleet(&["attach", "api"]).fails(2), @r##"
    error: there is no project `api`
    hint: fleet list   names all projects
    "##);
    assert_snapshot!(home.fleet(&["exec", "web"]).fails(2), @r##"
    error: the following required arguments were not provided: <CMD>...
    hint: usage: fleet exec <PROJECT>... -- <CMD>...   (fleet exec --help says more)
    "##);
    assert_snapshot!(home.fleet(&["frobnicate"]).fails(2), @r##"
    error: unrecognized subcommand 'frobnicate'
    hint: usage: fleet [OPTIONS] <COMMAND>   (fleet --help says more)
    "##);
    assert_snapshot!(home.fleet(&["man", "strat"]).fails(2), @r##"
    error: there is no command "strat"
    hint: did you mean `start`?
    "##);
    assert_snapshot!(home.fleet(&["po", "up"]).fails(1).replace(&home.file("").display().to_string(), "~/"), @r##"
    error: ~/home is no fleet home: it has no engine at ~/home/engine/agents
    hint: fleet init DIR   makes a home with an orchestrator
    "##);
    home.write("home/fleet.toml", "[fleet]\nversion = 1\n[[project]]\nname = \"far\"\nlocation = \"ssh://host/srv/far\"\n");
    assert_snapshot!(home.fleet(&["start", "far"]).fails(1), @r##"
    error: project far: it is on another machine (ssh://host/srv/far), which this version cannot reach
    "##);
}

#[test]
fn a_home_is_made_once_and_its_orchestrator_runs() {
    let home = TestHome::new();
    let folder = home.file("");
    let fleet = |args: &[&str]| {
        let output = home.command(env!("CARGO_BIN_EXE_fleet"), &folder).args(args).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = fleet(&["init", "second", "--backend", "shell"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = fleet(&["init", "second"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is a fleet home already"), "{said}");
    let registry = home.file("second/fleet.toml").display().to_string();
    for args in [&["validate"][..], &["po", "up"], &["po", "status"], &["po", "send", "true"], &["po", "down"]] {
        let (code, said) = fleet(&[&["--registry", &registry], args].concat());
        assert_eq!(code, 0, "{args:?}: {said}");
    }
}

#[test]
fn pages_and_completions_are_made_for_every_command() {
    let home = TestHome::new();
    assert!(home.fleet(&["man"]).ok().starts_with(".ie"));
    assert!(home.fleet(&["man", "create"]).ok().contains("fleet"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.fleet(&["completions", shell]).ok().contains("COMPLETE"), "{shell}");
    }
    assert_eq!(home.fleet(&["--version"]).ok(), concat!("fleet ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_doctor_sees_what_is_missing() {
    let home = TestHome::new();
    let lines = home.fleet(&["doctor"]).ok();
    assert!(lines.contains("identity  Ada Tester"), "{lines}");
    home.write(".gitconfig", "");
    let ran = home.fleet(&["doctor", "--json"]);
    let facts: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
    assert!(facts.iter().any(|f| f["check"] == "identity" && f["verdict"] == "bad" && f["fix"] != ""), "{}", ran.out);
    ran.fails(1);
}

#[test]
fn the_demo_plays_to_its_end_and_leaves_nothing() {
    let home = TestHome::new();
    std::fs::create_dir(home.file("tmp")).unwrap();
    let output = home
        .command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"))
        .env_remove("AGENTS_BIN")
        .env("TMPDIR", home.file("tmp"))
        .arg("demo")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("back after ").count(), 3, "{said}");
    assert!(said.contains("updated docs: v0.1.0 → v0.1.1"), "{said}");
    assert_eq!(std::fs::read_dir(home.file("tmp")).unwrap().count(), 0, "the demo left its folder");
}
