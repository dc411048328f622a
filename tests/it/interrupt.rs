//! Ctrl-C, TERM and HUP: what the command was in is said in one line, its children end with it, and the next command settles the rest.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::home::{Ran, TestHome};

/// Says that it runs, by its process id in the file, and stays.
fn slow(file: &Path, before: &str) -> String {
    format!("#!/bin/sh\n{before}echo $$ >{0}.new\nmv {0}.new {0}\nwhile :; do sleep 1; done\n", file.display())
}

fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rfind(") ").is_some_and(|at| !stat[at + 2..].starts_with(['Z', 'X']))
}

/// None: it has ended.
fn parent(pid: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).ok()?;
    stat[stat.rfind(") ")? + 2..].split(' ').nth(1).map(str::to_owned)
}

/// Runs it until the slow program in it has said so, then signals it, or its whole process group where the name begins with a dash.
fn interrupted(mut command: Command, reached: &Path, signal: &str) -> (Ran, String) {
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn().unwrap();
    let begun = Instant::now();
    while !reached.exists() {
        let ended = child.try_wait().unwrap().is_some();
        assert!(!ended && begun.elapsed() < Duration::from_secs(60), "{reached:?} was not reached");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = std::fs::read_to_string(reached).unwrap();
    let send = |name: &str, whom: &str| assert!(Command::new("kill").args(["-s", name, "--", whom]).status().unwrap().success());
    let command = child.id().to_string();
    match signal.strip_prefix('-') {
        None => send(signal, &command),
        // Whoever has started the slow program is gone before the command hears of it.
        Some(name) => {
            let starter = parent(&pid);
            send("STOP", &command);
            send(name, &format!("-{command}"));
            while parent(&pid) == starter {
                assert!(begun.elapsed() < Duration::from_secs(60), "{pid} has its parent still");
                std::thread::sleep(Duration::from_millis(5));
            }
            send("CONT", &command);
        }
    }
    (Ran::of(child.wait_with_output().unwrap()), pid)
}

#[track_caller]
fn said(ran: &Ran, code: i32, words: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    let lines: Vec<&str> = ran.err.lines().filter(|l| l.contains("interrupted while")).collect();
    assert_eq!(lines, [words], "{ran:?}");
}

const NEXT: &str = "the next fleet command that changes something finishes or undoes it";

#[test]
fn create_and_update_end_with_their_git_and_its_hooks() {
    let home = TestHome::new();
    home.sh_harness("sh", true);
    let reached = home.file("reached");
    let hook = home.file("template/hooks/pre-commit");
    let create = |name: &str| {
        let mut command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
        command.args(["create", name, "--harness", "sh"]).env("GIT_TEMPLATE_DIR", home.file("template"));
        command
    };
    // git ends by Ctrl-C, and the hook does not hear it.
    let deaf = "trap '' INT\n";
    for (signal, code, before) in [("TERM", 143, ""), ("-INT", 130, ""), ("-INT", 130, deaf), ("-HUP", 129, ""), ("HUP", 129, deaf)] {
        script(&hook, &slow(&reached, before));
        let (ran, pid) = interrupted(create("web"), &reached, signal);
        said(&ran, code, &format!("error: interrupted while at `create web`: {NEXT}"));
        assert!(!lives(&pid), "{signal}: the hook lives");
        std::fs::remove_file(&reached).unwrap();
        assert!(!home.project("web").exists() && !home.registry().contains("web"), "{signal}");
    }
    // The lock is free at once, as nobody who inherited it lives.
    let said_next = home.fleet(&["create", "shop", "--harness", "sh"]).ok();
    assert!(said_next.contains("undid `create web`, which was interrupted"), "{said_next}");

    // A hook that wants to stay is not asked twice.
    let hook = home.project("shop").join(".git/hooks/pre-commit");
    script(&hook, &slow(&reached, "trap '' TERM INT HUP\n"));
    let before = home.pin("shop");
    let mut update = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
    update.args(["update", "shop", "v1.1.0"]);
    let (ran, pid) = interrupted(update, &reached, "TERM");
    said(&ran, 143, &format!("error: interrupted while at `update shop`: {NEXT}"));
    assert!(!lives(&pid), "the hook lives");
    std::fs::remove_file(hook).unwrap();
    let said_next = home.fleet(&["update", "shop"]).ok();
    assert!(said_next.contains("undid `update shop`, which was interrupted"), "{said_next}");
    assert_eq!(home.pin("shop"), before);
    assert_eq!(home.git(&home.project("shop"), &["status", "--porcelain"]), "");
}

#[test]
fn start_stop_and_exec_end_what_they_run() {
    let home = TestHome::new();
    home.sh_harness("sh", false);
    home.fleet(&["create", "web", "--harness", "sh"]).ok();
    let (reached, program) = (home.file("reached"), home.file("bin/slow"));
    script(&program, &slow(&reached, ""));
    let registry = home.registry();
    let slow = |text: &str| {
        let line = |verb: &str| format!("{verb} = [\"engine/run\", \"{verb}\"]");
        text.replace(&line("up"), &format!("up = [\"{}\"]", program.display()))
            .replace(&line("down"), &format!("down = [\"{}\"]", program.display()))
    };
    home.write("home/fleet.toml", &slow(&registry));
    let goes_on = "what was begun goes on in the projects themselves; `fleet status` shows it, the same";
    let exec = ["exec", "web", "--", program.to_str().unwrap()];
    for (args, what) in [
        (&["start", "web", "--trust"][..], format!("starting web: {goes_on} start again completes it")),
        (&["stop", "web"], format!("stopping web: {goes_on} stop again completes it")),
        (&exec, format!("running `{}` in web: it was ended; what it had done stays", program.display())),
    ] {
        let mut command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
        command.args(args);
        let (ran, pid) = interrupted(command, &reached, "TERM");
        said(&ran, 143, &format!("error: interrupted while {what}"));
        assert!(!lives(&pid), "{args:?}: it lives");
        std::fs::remove_file(&reached).unwrap();
    }
    home.write("home/fleet.toml", &registry);
    home.fleet(&["start", "web", "--trust"]).ok();
    home.fleet(&["stop", "web"]).ok();
}
