//! A queue that nobody but the watchdog keeps: whoever of the two is killed, watchdog or standby, is back at once, and what waits runs once, at its time.

use serde_json::Value;

use crate::project::{TestProject, is_alive, kill, said};
use crate::queue::Stopped;

/// Two agents whose tasks are scripts.
const SCRIPTS: &str = r#"
[project]
name = "web"

[agent.lead]
backend = "shell"
command = ["cat"]

[agent.other]
backend = "shell"
command = ["cat"]
"#;

/// A task that waits for this many seconds from now, one that waits for it, and a watchdog for both. No agent is up.
fn waiting(seconds: i64) -> Stopped {
    let queue = Stopped::of(SCRIPTS);
    queue.add(&["lead", "date +%s.%N >> runs"]);
    let file = queue.tasks.join("pending/t1.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    record["not_before"] = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string().into();
    std::fs::write(&file, record.to_string()).unwrap();
    std::fs::remove_file(queue.tasks.join("stopped")).unwrap();
    queue.add(&["lead", "echo after >> runs", "--after", "t1"]);
    standby(&queue.project);
    queue
}

fn find_standby(project: &TestProject) -> Option<i32> {
    let is_standby = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).nth(1) == Some(b"standby")
    };
    project.processes().into_iter().find(is_standby)
}

/// Waits until there is one.
#[track_caller]
fn standby(project: &TestProject) -> i32 {
    project.until("a standby", |_| find_standby(project).is_some());
    find_standby(project).expect("it stays")
}

fn watchdog(status: &Value) -> Option<i32> {
    status["watchdog"]["pid"].as_i64().map(|pid| pid as i32)
}

fn events(queue: &Stopped, what: &str, why: &str) -> usize {
    let text = std::fs::read_to_string(queue.tasks.parent().unwrap().join("events.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|e| e["what"] == what && e["why"].as_str().is_some_and(|w| w.starts_with(why))).count()
}

#[track_caller]
fn ran_once_at_its_time(queue: &Stopped) {
    let due = queue.show("t1")["record"]["not_before"].clone();
    queue.task(&["wait", "t1", "t2"]).ok();
    let runs = std::fs::read_to_string(queue.project.folder.join("runs")).unwrap();
    let [at, "after"] = runs.lines().collect::<Vec<_>>()[..] else { panic!("{runs:?}") };
    if let Some(due) = due.as_str() {
        let due: jiff::Timestamp = due.parse().unwrap();
        assert!(at.parse::<f64>().unwrap() >= due.as_millisecond() as f64 / 1000.0 - 0.5, "{runs:?} before {due}");
    }
}

#[test]
fn a_watchdog_that_only_a_waiting_task_keeps_is_back_whenever_it_is_killed() {
    const KILLS: usize = 20;
    let queue = waiting(10);
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..KILLS {
        standby(&queue.project);
        let old = watchdog(&queue.project.status()).unwrap();
        let killed = std::time::Instant::now();
        kill(old);
        queue.project.until("another watchdog", |s| watchdog(s).is_some_and(|new| new != old));
        slowest = slowest.max(killed.elapsed());
    }
    assert_eq!(events(&queue, "watchdog", "started"), KILLS + 1, "one for each");
    ran_once_at_its_time(&queue);
    queue.project.until("the watchdog goes", |s| watchdog(s).is_none());
    assert_eq!(find_standby(&queue.project), None);
    println!("killed {KILLS} times, back after {slowest:?} at most");
}

#[test]
fn a_standby_that_is_killed_is_replaced() {
    let queue = waiting(1000);
    let watchdog_before = watchdog(&queue.project.status());
    for _ in 0..3 {
        let old = standby(&queue.project);
        kill(old);
        queue.project.until("another standby", |_| find_standby(&queue.project).is_some_and(|new| new != old));
    }
    assert_eq!(watchdog(&queue.project.status()), watchdog_before);
    assert_eq!(events(&queue, "standby-died", ""), 3);
}

#[test]
fn where_both_are_killed_at_once_the_next_command_goes_on() {
    let queue = waiting(4);
    let (standby, watchdog_before) = (standby(&queue.project), watchdog(&queue.project.status()).unwrap());
    // So that it does nothing in the moment between the two.
    rustix::process::kill_process(rustix::process::Pid::from_raw(standby).unwrap(), rustix::process::Signal::STOP).unwrap();
    kill(watchdog_before);
    kill(standby);
    while is_alive(watchdog_before) || is_alive(standby) {
        std::thread::yield_now();
    }
    assert_eq!(queue.project.processes(), Vec::<i32>::new());
    assert!(queue.task(&["list"]).ok().stderr.contains("nobody runs them: agents up"));
    ran_once_at_its_time(&queue);
    assert_eq!(events(&queue, "watchdog", "started"), 2);
}

#[test]
fn down_leaves_nothing_that_waits_also_where_it_was_stopped() {
    for stopped in [false, true] {
        let queue = waiting(1000);
        let standby = standby(&queue.project);
        if stopped {
            rustix::process::kill_process(rustix::process::Pid::from_raw(standby).unwrap(), rustix::process::Signal::STOP).unwrap();
        }
        queue.project.run(&["down"]).ok();
        assert_eq!(queue.project.processes(), Vec::<i32>::new(), "stopped before: {stopped}");
        assert_eq!(queue.show("t1")["state"], "pending");
    }
}

#[test]
fn an_agents_host_stands_in_for_it() {
    let queue = waiting(1000);
    queue.project.run(&["up", "other"]).ok();
    queue.project.until("it goes", |_| find_standby(&queue.project).is_none());
    queue.project.run(&["down", "other"]).ok();
    standby(&queue.project);
}

#[test]
fn another_engine_has_a_standby_of_its_own() {
    let queue = waiting(1000);
    let (old, watchdog_before) = (standby(&queue.project), watchdog(&queue.project.status()));
    let engines = crate::upgrade::Engines::new();
    said(queue.project.command_of(&engines.other, &["upgrade"])).ok();
    assert_eq!(watchdog(&queue.project.status()), watchdog_before);
    queue.project.until("another standby", |_| find_standby(&queue.project).is_some_and(|new| new != old) && !is_alive(old));
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", standby(&queue.project))).unwrap(), engines.other);
    // What it starts is of that engine, too.
    kill(watchdog_before.unwrap());
    let status = queue.project.until("another watchdog", |s| watchdog(s).is_some_and(|new| Some(new) != watchdog_before));
    assert_eq!(std::fs::read_link(format!("/proc/{}/exe", watchdog(&status).unwrap())).unwrap(), engines.other);
}
