//! The machine goes down in the middle of work and comes up again: every wanted session comes back once, in its conversation.

use std::collections::{BTreeMap, BTreeSet};

use crate::project::{Lines, TestProject, of};

/// Each of these agents notes how it was started, and then stays silent or speaks.
fn crowd(count: usize, word: &str) -> TestProject {
    let mut config = "[project]\nsession_prefix = \"int\"\n[defaults]\nbackend = \"talk\"\n[backend.talk]\nid = \"mint\"\n".to_owned();
    for (key, how) in [("start", "begun"), ("resume", "resumed")] {
        config.push_str(&format!(
            "{key} = [\"sh\", \"-c\", \"echo {how} $AGENTS_SESSION $0 $(date +%s%N) >> starts; {word} exec sleep 1000\", \"{{resume_id}}\"]\n"
        ));
    }
    config.extend((1..=count).map(|i| format!("[agent.a{i}]\n")));
    TestProject::new(&config)
}

/// What the agents have noted once there are so many of them: how, session, conversation, when.
fn starts(project: &TestProject, count: usize) -> Vec<[String; 4]> {
    let file = project.folder.join("starts");
    let mut tail = std::process::Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(&file).stderr(std::process::Stdio::null());
    let mut lines = Lines::of(tail);
    for _ in 0..count {
        lines.next().expect("as many have started");
    }
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()).collect()
}

/// All ends at once; what a boot forgets is forgotten, and what was noted is of another boot.
fn boot(project: &TestProject) {
    // Stopped before they are killed, so that nobody sees another die and acts on it.
    let mut stopped = BTreeSet::new();
    while project.processes().into_iter().filter(|pid| stopped.insert(*pid)).map(stop).count() > 0 {}
    project.kill_all();
    std::fs::remove_dir_all(project.root().join("run")).unwrap();
    std::fs::create_dir(project.root().join("run")).unwrap();
    std::fs::write(project.data().join("boot"), "00000000-0000-0000-0000-000000000000\n").unwrap();
}

fn stop(pid: i32) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::STOP);
}

fn conversations(starts: &[[String; 4]]) -> BTreeMap<&str, &str> {
    starts.iter().map(|[_, session, conversation, _]| (session.as_str(), conversation.as_str())).collect()
}

#[test]
fn twenty_sessions_come_back_once_each_in_its_own_conversation() {
    let project = crowd(20, "echo hello;");
    project.run(&["up"]).ok();
    let before = starts(&project, 20);
    boot(&project);
    std::fs::remove_file(project.folder.join("starts")).unwrap();
    let up = project.run(&["up", "--wanted"]).ok();
    assert_eq!(up.stdout.lines().filter(|l| l.contains(" up ") && l.ends_with("conversation resumed")).count(), 20, "{up:#?}");
    let after = starts(&project, 20);
    assert_eq!(after.len(), 20, "each once: {after:#?}");
    assert!(after.iter().all(|[how, ..]| how == "resumed"), "{after:#?}");
    assert_eq!(conversations(&before), conversations(&after));
    let again = project.run(&["up"]).ok();
    assert!(!again.stdout.contains("boot"), "it is over: {again:#?}");
    assert_eq!(starts(&project, 20).len(), 20);
    let events = std::fs::read_to_string(project.data().join("events.jsonl")).unwrap();
    assert_eq!(events.lines().filter(|l| l.contains("\"what\":\"boot\"") && l.contains(": 20")).count(), 1);
}

#[test]
fn those_that_say_nothing_come_a_few_at_a_time() {
    let project = crowd(6, "");
    project.run(&["up"]).ok();
    starts(&project, 6);
    boot(&project);
    std::fs::remove_file(project.folder.join("starts")).unwrap();
    project.run(&["up"]).ok();
    let mut times: Vec<u64> = starts(&project, 6).iter().map(|[.., at]| at.parse::<u64>().unwrap() / 1_000_000).collect();
    times.sort_unstable();
    assert!(times.len() == 6 && times[4] - times[0] > 2000 && times[3] - times[0] < 2000, "four, then two: {times:?}");
}

#[test]
fn down_stays_down_and_failing_stays_failing_over_a_boot() {
    let project = crowd(3, "echo hello;");
    project.write_config(
        &(std::fs::read_to_string(project.folder.join("agents.toml")).unwrap()
            + "[agent.sick]\nbackend = \"sick\"\n[backend.sick]\nstart = [\"sh\", \"-c\", \"exit 127\"]\n"),
    );
    project.run(&["up"]);
    project.until("it is given up on", |s| of(s, "sick")["state"] == "failing");
    starts(&project, 3);
    project.run(&["down", "a2"]).ok();
    boot(&project);
    std::fs::remove_file(project.folder.join("starts")).unwrap();
    let up = project.run(&["up", "--wanted"]).ok();
    assert!(up.stderr.contains("agent sick") && up.stderr.contains("stays failing"), "{up:#?}");
    let status = project.status();
    let state = |agent: &str| of(&status, agent)["state"].as_str().unwrap().to_owned();
    assert_eq!(["a1", "a2", "a3", "sick"].map(state), ["up", "down", "up", "failing"]);
    assert_eq!(starts(&project, 2).len(), 2);
}

#[test]
fn a_watchdog_that_dies_while_sessions_come_back_is_followed_by_one_that_goes_on() {
    let project = crowd(12, "");
    project.run(&["up"]).ok();
    starts(&project, 12);
    boot(&project);
    std::fs::remove_file(project.folder.join("starts")).unwrap();
    let mut up =
        project.command(&["--quiet", "up"]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let some_up = |s: &serde_json::Value| s["agents"].as_array().unwrap().iter().filter(|a| a["state"] == "up").count();
    let status = project.until("some are back", |s| some_up(s) >= 4);
    crate::project::kill(status["watchdog"]["pid"].as_i64().unwrap() as i32);
    up.wait().unwrap();
    project.until("all are back", |s| some_up(s) == 12);
    let after = starts(&project, 12);
    assert!(after.len() == 12 && after.iter().all(|[how, ..]| how == "resumed"), "each once: {after:#?}");
}

#[test]
fn one_stopped_while_it_waits_for_its_turn_is_down_at_once() {
    let project = crowd(8, "");
    project.run(&["up"]).ok();
    boot(&project);
    let mut up =
        project.command(&["--quiet", "up"]).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let some_up = |s: &serde_json::Value| s["agents"].as_array().unwrap().iter().filter(|a| a["state"] == "up").count();
    project.until("some are back", |s| some_up(s) >= 4);
    up.kill().unwrap();
    up.wait().unwrap();
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
}
