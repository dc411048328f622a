//! A task whose program is at its usage limit waits for the time that it named, at the cost of no attempt, whatever dies meanwhile.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::project::{TestProject, kill};
use crate::tasks::Queue;

/// A program that notes each start, and for as long as there is a file `limited` says what stands in it and fails.
fn queue(agents: &str) -> Queue {
    Queue::new(&format!(
        r#"
[project]
name = "web"
{agents}
[agent.meter]
backend = "meter"

[backend.meter]
start = ["cat"]
task = ["sh", "-c", "date +%s.%N >> ran; test -e limited || exit 0; cat limited; exit 1", "{{prompt}}"]
limited = 'usage limit reached.*resets at (?<at>\S+)'
"#
    ))
}

/// Its limit ends so many seconds from now, a whole second of the clock.
fn limit(project: &TestProject, seconds: i64) -> String {
    let at = (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds + 1)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    std::fs::write(project.folder.join("limited"), format!("\x1b[31mYour usage limit reached\x1b[0m, resets at {at}\nbye\n")).unwrap();
    at
}

fn starts(project: &TestProject) -> Vec<f64> {
    let text = std::fs::read_to_string(project.folder.join("ran")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

fn row(project: &TestProject, id: &str) -> Value {
    serde_json::from_str(&project.run(&["task", "show", id, "--json"]).ok().stdout).unwrap()
}

fn outcomes(record: &Value) -> Vec<&str> {
    record["attempts"].as_array().unwrap().iter().map(|a| a["outcome"].as_str().unwrap_or("under way")).collect()
}

/// Suspended until then, and nothing of it runs.
#[track_caller]
fn is_suspended(queue: &Queue, at: &str) -> Value {
    queue.project.until("it is suspended", |s| {
        s["tasks"]["running"] == 0
            && queue.tasks.join("pending/t1/task.json").exists()
            && queue.record(1, "pending")["not_before"].is_string()
    });
    let shown = row(&queue.project, "t1");
    assert_eq!((&shown["state"], &shown["attempts"], &shown["blocked"]), (&json!("pending"), &json!(0), &json!(false)), "{shown:#}");
    assert!(shown["why"].as_str().unwrap().contains("usage limit"), "{shown:#}");
    let parsed = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    let off = parsed(shown["record"]["not_before"].as_str().unwrap()).duration_since(parsed(at)).as_millis().abs();
    assert!(off < 500, "{shown:#}: not {at}");
    shown
}

#[track_caller]
fn ran_at(queue: &Queue, nth: usize, at: &str) {
    let at = at.parse::<jiff::Timestamp>().unwrap().as_millisecond() as f64 / 1000.0;
    let ran = starts(&queue.project);
    assert_eq!(ran.len(), nth + 1, "{ran:?}");
    assert!(ran[nth] > at - 0.5 && ran[nth] < at + 30.0, "{ran:?}, its limit ended at {at}");
}

fn data(queue: &Queue) -> PathBuf {
    queue.tasks.parent().unwrap().to_owned()
}

#[test]
fn a_usage_limit_is_waited_for_and_costs_no_attempt() {
    let queue = queue("");
    let at = limit(&queue.project, 15);
    queue.add(1, "work", json!({"agent": "meter", "retries": 0}));
    is_suspended(&queue, &at);
    // It says so again: still no attempt.
    let later = limit(&queue.project, 30);
    queue.project.until("it was started at its time", |_| starts(&queue.project).len() == 2);
    ran_at(&queue, 1, &at);
    queue.project.until("it is suspended again", |_| outcomes(&queue.record(1, "pending")) == ["limited", "limited"]);
    std::fs::remove_file(queue.project.folder.join("limited")).unwrap();
    // Whoever waits for it needs to know nothing of it.
    queue.project.run(&["task", "wait", "t1"]).ok();
    ran_at(&queue, 2, &later);
    assert_eq!(outcomes(&queue.record(1, "finished/done")), ["limited", "limited", "done"]);
    // A failure after it is the first.
    limit(&queue.project, 3600);
    queue.add(2, "work", json!({"agent": "meter", "retries": 1}));
    queue.project.until("it is suspended", |_| queue.tasks.join("pending/t2/task.json").exists());
    // What it said before is no word of its next attempt.
    std::fs::write(queue.project.folder.join("limited"), "something else\n").unwrap();
    queue.project.run(&["task", "retry", "t2"]).ok();
    let record = queue.until(2, "finished/failed");
    assert_eq!(outcomes(&record), ["limited", "failed", "failed"]);
}

#[test]
fn who_is_suspended_holds_up_nobody_and_can_be_called_back() {
    let queue = queue("[agent.sh]\nbackend = \"shell\"\ncommand = [\"cat\"]\n[tasks]\nparallel = 1\n");
    let at = limit(&queue.project, 3600);
    queue.add(1, "work", json!({"agent": "meter"}));
    is_suspended(&queue, &at);
    queue.add(2, "true", json!({}));
    queue.until(2, "finished/done");
    let list = queue.project.run(&["task", "list"]).ok();
    assert!(list.stdout.contains("until ") && list.stdout.contains("usage limit"), "{list:?}");
    // A time that has passed is no reason to start it over and over.
    let before = starts(&queue.project).len();
    std::fs::write(queue.project.folder.join("limited"), "usage limit reached, resets at 2026-01-01T00:00:00Z\n").unwrap();
    queue.project.run(&["task", "retry", "t1"]).ok();
    queue
        .project
        .until("it is suspended again", |_| queue.tasks.join("pending/t1/task.json").exists() && starts(&queue.project).len() > before);
    queue.add(3, "sleep 1", json!({}));
    queue.until(3, "finished/done");
    assert_eq!(starts(&queue.project).len(), before + 1);
    // The operator knows better.
    std::fs::remove_file(queue.project.folder.join("limited")).unwrap();
    queue.project.run(&["task", "retry", "t1"]).ok();
    assert_eq!(outcomes(&queue.until(1, "finished/done")), ["limited", "limited", "done"]);
}

#[test]
fn a_limit_outlives_the_watchdog_and_a_boot() {
    let queue = queue("[agent.sh]\nbackend = \"shell\"\ncommand = [\"cat\"]\n");
    let at = limit(&queue.project, 20);
    queue.add(1, "work", json!({"agent": "meter", "retries": 0}));
    is_suspended(&queue, &at);
    let watchdog = |s: &Value| s["watchdog"]["pid"].as_i64().map(|pid| pid as i32);
    let pid = watchdog(&queue.project.until("a watchdog", |s| watchdog(s).is_some())).unwrap();
    kill(pid);
    queue.project.until("another watchdog", |s| watchdog(s).is_some_and(|p| p != pid));
    is_suspended(&queue, &at);
    // All ends at once, and a boot takes with it what it takes.
    queue.project.kill_all();
    std::fs::remove_dir_all(queue.project.root().join("run")).unwrap();
    std::fs::create_dir(queue.project.root().join("run")).unwrap();
    std::fs::write(data(&queue).join("boot"), "00000000-0000-0000-0000-000000000000\n").unwrap();
    std::fs::remove_file(queue.project.folder.join("limited")).unwrap();
    queue.project.run(&["up", "--wanted"]).ok();
    assert_eq!(starts(&queue.project).len(), 1, "not before its time");
    queue.project.run(&["task", "wait", "t1"]).ok();
    ran_at(&queue, 1, &at);
    assert_eq!(outcomes(&queue.record(1, "finished/done")), ["limited", "done"]);
}
