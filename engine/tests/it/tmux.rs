//! Sessions that are shown in tmux: whatever becomes of tmux, the agents do not notice, and they are shown again.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::{Lines, TestProject, is_alive, kill, of, said};

const DEADLINE: Duration = Duration::from_secs(60);

/// One agent that prints more than a screen, and then repeats what it is told.
const SHOWN: &str = r#"
[project]
session_prefix = "int"
runtime = "tmux"
[agent.lead]
backend = "echo"
[backend.echo]
start = ["sh", "-c", "seq -f line-%g 1 100; echo the outer one is ${TMUX-none}; exec cat"]
resume = ["sh", "-c", "echo again; exec cat"]
"#;

/// A project that is shown in tmux, and what happens in it; none where there is no tmux.
fn shown() -> Option<(TestProject, Lines)> {
    if Command::new("tmux").arg("-V").output().is_err() {
        println!("skipped: there is no tmux here");
        return None;
    }
    let project = TestProject::new(SHOWN);
    project.run(&["up"]).ok();
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(project.data().join("events.jsonl")).stderr(Stdio::null());
    let mut events = Lines::of(tail);
    events.until("shown in its pane");
    Some((project, events))
}

fn socket(project: &TestProject) -> PathBuf {
    let info: serde_json::Value = serde_json::from_str(&project.run(&["info", "--json"]).ok().stdout).unwrap();
    PathBuf::from(info["runtime"].as_str().unwrap()).join("tmux.sock")
}

fn tmux(project: &TestProject, args: &[&str]) -> String {
    let mut command = Command::new("tmux");
    command.arg("-S").arg(socket(project)).args(args);
    String::from_utf8_lossy(&command.output().unwrap().stdout).trim().to_owned()
}

fn name(project: &TestProject) -> String {
    let meta = std::fs::read_to_string(project.data().join("sessions/int-1")).unwrap();
    meta.lines().find_map(|l| l.strip_prefix("tmuxName=")).expect("the metadata names it").to_owned()
}

/// Waits until the pane, or what has scrolled out of it, holds these words.
#[track_caller]
fn until_shown(project: &TestProject, words: &str) -> String {
    let (start, target) = (Instant::now(), format!("={}:", name(project)));
    loop {
        let text = tmux(project, &["capture-pane", "-p", "-S", "-", "-t", &target]);
        if text.contains(words) {
            return text;
        }
        assert!(start.elapsed() < DEADLINE, "{words:?} is not in {text}");
    }
}

fn pid_of(project: &TestProject, what: &str) -> i32 {
    let target = format!("={}:", name(project));
    tmux(project, &["display-message", "-p", "-t", &target, what]).parse().unwrap()
}

#[test]
fn a_session_is_shown_takes_keys_and_leaves_nothing() {
    let Some((project, _)) = shown() else { return };
    let name = name(&project);
    assert!(name.ends_with("-int-1") && tmux(&project, &["list-sessions", "-F", "#{session_name}"]) == name, "{name}");
    let text = until_shown(&project, "the outer one is none");
    assert!(text.contains("line-1\n") && text.contains("line-100"), "with what has scrolled away: {text}");
    tmux(&project, &["send-keys", "-t", &format!("={name}:"), "typed in the pane", "Enter"]);
    Lines::of(project.command(&["logs", "-f", "lead"])).until("typed in the pane");
    project.run(&["send", "lead", "sent by command"]).ok();
    until_shown(&project, "sent by command");
    project.run(&["restart", "lead"]).ok();
    until_shown(&project, "again");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
    // The next one is made anew.
    project.run(&["up"]).ok();
    until_shown(&project, "again");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn whatever_is_killed_of_it_is_back_and_the_agent_does_not_notice() {
    let Some((project, mut events)) = shown() else { return };
    let agent = project.pid("lead");
    until_shown(&project, "line-100");
    kill(pid_of(&project, "#{pane_pid}"));
    events.until("shown in its pane");
    tmux(&project, &["kill-session", "-t", &format!("={}", name(&project))]);
    events.until("shown in its pane");
    // The server itself, twice: the second is as much ours as the first.
    for _ in 0..2 {
        kill(pid_of(&project, "#{pid}"));
        events.until("its pane is gone");
        events.until("shown in its pane");
    }
    let text = until_shown(&project, "line-100");
    assert_eq!(text.matches("line-50\n").count(), 1, "its history is there, once: {text}");
    // And its host: the client in the pane stays.
    let client = pid_of(&project, "#{pane_pid}");
    kill(project.host("int-1"));
    events.until("adopted");
    events.until("shown in its pane");
    assert_eq!(pid_of(&project, "#{pane_pid}"), client);
    project.run(&["send", "lead", "after all that"]).ok();
    until_shown(&project, "after all that");
    assert_eq!((project.pid("lead"), of(&project.status(), "lead")["heals"].as_u64()), (agent, Some(0)));
    assert_eq!(tmux(&project, &["list-panes", "-a", "-F", "#{pane_id}"]).lines().count(), 1);
}

#[test]
fn another_engine_takes_over_and_the_pane_stays() {
    let Some((project, mut events)) = shown() else { return };
    let client = pid_of(&project, "#{pane_pid}");
    let other = project.root().join("agents");
    std::fs::copy(env!("CARGO_BIN_EXE_agents"), &other).unwrap();
    said(project.command_of(&other, &["upgrade"])).ok();
    events.until("upgraded");
    project.run(&["send", "lead", "after the upgrade"]).ok();
    until_shown(&project, "after the upgrade");
    assert_eq!(pid_of(&project, "#{pane_pid}"), client);
    // A pane that is lost now is made by the new one.
    kill(client);
    events.until("shown in its pane");
}

#[test]
fn a_server_that_hangs_holds_nobody_up_and_is_ended() {
    let Some((project, _)) = shown() else { return };
    let (agent, server) = (project.pid("lead"), pid_of(&project, "#{pid}"));
    rustix::process::kill_process(rustix::process::Pid::from_raw(server).unwrap(), rustix::process::Signal::STOP).unwrap();

    project.run(&["send", "lead", "the host goes on"]).ok();
    Lines::of(project.command(&["logs", "-f", "lead"])).until("the host goes on");
    assert_eq!((of(&project.status(), "lead")["state"].as_str(), project.pid("lead")), (Some("up"), agent));
    let why = project.run(&["why", "lead"]).ok().stdout;
    assert!(why.contains(&format!("tmux (pid {server}) does not answer")), "{why}");
    project.run(&["down"]).ok();
    assert!(!is_alive(server));
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn attach_is_tmux_and_its_key_detaches() {
    let Some((project, _)) = shown() else { return };
    if Command::new("script").arg("--version").output().is_err() {
        return println!("skipped: there is no `script` here");
    }
    let attach = project.command(&["attach", "lead"]);
    let mut command = Command::new("script");
    command.args(["-qfec", &format!("{} attach lead", attach.get_program().display()), "/dev/null"]).stdin(Stdio::piped());
    command.current_dir(&project.folder).env_clear().envs(attach.get_envs().filter_map(|(k, v)| Some((k, v?)))).env("TERM", "xterm");
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut lines = Lines::from_child(child);
    lines.until("the outer one is none");
    keys.write_all(b"typed by a person\r").unwrap();
    lines.until("typed by a person");
    assert_eq!(tmux(&project, &["list-clients", "-F", "#{client_session}"]), name(&project));
    keys.write_all(b"\x1c").unwrap();
    lines.until("detached from int-1, which goes on");
    assert_eq!(of(&project.status(), "lead")["state"], "up");
}

#[test]
fn without_tmux_nothing_is_started_and_it_is_said() {
    let project = TestProject::new(SHOWN);
    for verb in ["check", "up"] {
        let mut command = project.command(&[verb]);
        command.env("PATH", "/nonexistent");
        let said = said(command).fails(1, "needs tmux 3.2 or newer; which was not found on PATH");
        assert!(said.stderr.contains("hint: install it"), "{said:?}");
    }
    assert_eq!(project.processes(), Vec::<i32>::new());
}
