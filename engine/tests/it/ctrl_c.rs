//! Commands that are asked to end in the middle: one line says what becomes of what they had begun, and what they had started ends with them.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::{TestProject, is_alive};
use crate::sessions::{ONE, is_clean, project};

/// Waits for a condition that comes true within milliseconds on an idle machine.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_spawn_ends_with_what_it_runs_and_is_undone_by_the_next_command() {
    let project = project(ONE);
    let reached = project.root().join("reached");
    let slow = project.root().join("slow");
    let text = |then: &str| format!("#!/bin/sh\necho $$ >{0}.new\nmv {0}.new {0}\n{then}\n", reached.display());
    std::fs::write(&slow, text("while :; do sleep 1; done")).unwrap();
    std::fs::set_permissions(&slow, std::fs::Permissions::from_mode(0o755)).unwrap();
    project.write_config(&format!("{ONE}\n[worktree]\npost_create = [[{slow:?}]]\n"));
    let child = project.command(&["spawn"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("post_create runs", || reached.exists());
    let pid: i32 = std::fs::read_to_string(&reached).unwrap().trim().parse().unwrap();
    signal(child.id(), "INT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert_eq!(said, "error: interrupted while making a session: the next command that changes sessions undoes what is not whole\n");
    assert!(!is_alive(pid), "post_create lives");
    std::fs::write(&slow, text("")).unwrap();
    let next = project.run(&["clean"]).ok();
    assert!(next.stderr.contains("an interrupted spawn was undone"), "{next:#?}");
    is_clean(&project);
}

/// An agent that does not go at once keeps `down` waiting; who waits no longer leaves it to the watchdog.
#[test]
fn a_down_that_is_interrupted_is_completed_by_the_engine() {
    let project = TestProject::new(
        "[project]\nname = \"web\"\nsession_prefix = \"int\"\n[agent.stubborn]\nbackend = \"b\"\n[backend.b]\nstart = [\"sh\", \"-c\", \"trap '' TERM HUP; echo here; while :; do sleep 1; done\"]\n",
    );
    project.run(&["up"]).ok();
    let agent = project.pid("stubborn");
    let child = project.command(&["down"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let wanted = project.data().join("sessions/int-1");
    until("it is not wanted any more", || std::fs::read_to_string(&wanted).unwrap().contains("wanted=down"));
    signal(child.id(), "TERM");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(0) {
        // It was done before the signal came.
        return assert!(!is_alive(agent));
    }
    assert_eq!(output.status.code(), Some(143), "{said}");
    assert!(said.contains("interrupted while stopping agents: what was begun goes on by itself"), "{said}");
    project.run(&["down"]).ok();
    assert!(!is_alive(agent));
}
