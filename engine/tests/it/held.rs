//! Each lock of a project, held by somebody else: who holds it is named, the status says to try again, nothing is changed.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use crate::foreign_lock::Held;
use crate::project::TestProject;
use crate::sessions::{ONE, git, project, rows};

/// A project, one of its locks, and the commands that need it.
fn refused(lock: impl Fn(&TestProject) -> PathBuf, commands: &[&[&str]]) {
    let project = project(&format!("{ONE}task = [\"sleep\", \"1000\"]\n"));
    project.run(&["up"]).ok();
    project.run(&["spawn"]).ok();
    let held = Held::of(&lock(&project));
    let before = (rows(&project, &[]), git(&project.folder, &["branch"]));
    for args in commands {
        let said = project.run(args);
        let named = held.is_in(&said.stderr) && said.stderr.contains("hint: ");
        assert!(said.code == 75 && named, "{args:?}: {said:#?}");
    }
    drop(held);
    // What could not even be taken back without the lock is taken back now.
    project.run(&["clean"]).ok();
    assert_eq!((rows(&project, &[]), git(&project.folder, &["branch"])), before);
    for args in commands {
        project.run(args).ok();
    }
}

fn runtime(project: &TestProject) -> PathBuf {
    let info: serde_json::Value = serde_json::from_str(&project.run(&["info", "--json"]).ok().stdout).unwrap();
    info["runtime"].as_str().unwrap().into()
}

#[test]
fn who_holds_a_lock_is_named() {
    // Those that are waited for take their time; all at once, it passes once.
    std::thread::scope(|s| {
        s.spawn(|| refused(|p| runtime(p).join("command.lock"), &[&["down"], &["up"], &["restart"]]));
        s.spawn(|| refused(|p| runtime(p).join("int-2.op"), &[&["kill", "int-2"]]));
        s.spawn(|| refused(|p| p.folder.join(".git/agents-worktrees.lock"), &[&["spawn"]]));
        s.spawn(|| refused(|p| p.data().join("tasks/lock"), &[&["task", "add", "x"]]));
        let mailbox = |p: &TestProject| {
            p.run(&["send", "writer", "hello"]).ok();
            p.data().join("mail/int-1/lock")
        };
        s.spawn(move || refused(mailbox, &[&["send", "writer", "x"]]));
    });
}

/// `up` and `down` may have it for as long as agents take to start and end.
#[test]
fn a_session_is_made_once_those_who_start_others_are_done() {
    let project = project(ONE);
    project.run(&["up"]).ok();
    let held = Held::of(&runtime(&project).join("command.lock"));
    let mut spawn = project.command(&["spawn", "--no-worktree"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(spawn.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert!(line.starts_with("waiting for ") && held.is_in(&line), "{line}");
    assert_eq!(rows(&project, &[]).len(), 1, "made while the lock was held");
    drop(held);
    assert!(spawn.wait().unwrap().success());
    assert_eq!(rows(&project, &[]).len(), 2);
}

/// One that was killed, or is at its end, holds its lock until the kernel is done with it.
#[test]
fn a_host_waits_a_moment_for_the_one_before_it_and_names_who_stays() {
    let project = project(ONE);
    project.run(&["up"]).ok();
    project.run(&["down"]).ok();
    let path = runtime(&project).join("int-1.host");
    let inode = std::fs::metadata(&path).unwrap().ino();

    let held = Held::of(&path);
    let mut up = project.command(&["up"]).stdout(Stdio::null()).spawn().unwrap();
    let waits = |line: &str| line.contains("-> FLOCK") && line.contains(&format!(":{inode} "));
    while !std::fs::read_to_string("/proc/locks").unwrap().lines().any(waits) {
        assert!(up.try_wait().unwrap().is_none(), "it was over before anybody waited for the lock");
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(held);
    assert!(up.wait().unwrap().success());
    project.run(&["down"]).ok();

    let held = Held::of(&path);
    let said = project.run(&["up"]);
    assert!(said.code == 1 && said.stderr.contains("another host has this session") && held.is_in(&said.stderr), "{said:#?}");
    drop(held);
    project.run(&["up"]).ok();
}

/// Whoever starts a watchdog, and was stopped at it.
#[test]
fn a_watchdog_that_would_go_serves_on_until_it_may() {
    let project = TestProject::new(crate::project::TWO);
    project.run(&["up"]).ok();
    let watchdog = project.status()["watchdog"]["pid"].clone();
    let held = Held::of(&runtime(&project).join("start.lock"));
    project.run(&["down"]).ok();
    for _ in 0..3 {
        assert_eq!(project.status()["watchdog"]["pid"], watchdog);
    }
    drop(held);
    project.until("it goes", |s| s["watchdog"].is_null());
    assert_eq!(project.processes(), Vec::<i32>::new());
}
