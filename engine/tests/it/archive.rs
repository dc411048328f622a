//! What has ended is put away: by hand, and by the watchdog when it is time; at every moment each task lies in one place, and it is still known.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::foreign_lock::Held;
use crate::project::kill;
use crate::queue::Stopped;
use crate::steps::Strace;
use crate::tasks::Queue;

/// One agent whose tasks are scripts.
fn config(keep: &str) -> String {
    format!("[project]\nname = \"web\"\n[agent.sh]\nbackend = \"shell\"\ncommand = [\"cat\"]\n[tasks]\nparallel = 1\n{keep}\n")
}

/// Where tasks lie that have ended, and those that were put away.
fn folders(tasks: &Path, id: &str) -> Vec<PathBuf> {
    let list = |path: &Path| std::fs::read_dir(path).into_iter().flatten().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    let months = list(&tasks.join("archive")).into_iter().chain([tasks.join("finished")]);
    months.flat_map(|month| list(&month)).map(|state| state.join(id)).filter(|folder| folder.is_dir()).collect()
}

fn is_archived(tasks: &Path, id: &str) -> bool {
    matches!(folders(tasks, id).as_slice(), [only] if only.starts_with(tasks.join("archive")))
}

/// Five tasks that have ended so, and one that waits for the fourth.
fn ended() -> Stopped {
    let queue = Stopped::new();
    for n in 1..=5 {
        queue.add(&["lead", &format!("work {n}")]);
    }
    queue.add(&["lead", "later", "--after", "t4"]);
    queue.ends("t1", "done", "2026-01-01T10:00:00Z");
    queue.ends("t2", "failed", "2026-01-01T11:00:00Z");
    queue.ends("t3", "cancelled", "2026-02-01T12:00:00Z");
    queue.ends("t4", "done", "2026-02-01T13:00:00Z");
    queue
}

fn log(queue: &Stopped, id: &str) -> PathBuf {
    queue.tasks.parent().unwrap().join("logs").join(format!("{id}.log"))
}

/// As if each of them had printed something.
fn with_logs(queue: Stopped) -> Stopped {
    std::fs::create_dir_all(log(&queue, "t1").parent().unwrap()).unwrap();
    ["t1", "t2", "t3", "t4"].iter().for_each(|id| std::fs::write(log(&queue, id), "some words\r\n").unwrap());
    queue
}

#[test]
fn what_has_ended_is_put_away_and_still_known() {
    let queue = ended();
    std::fs::create_dir_all(queue.tasks.parent().unwrap().join("logs")).unwrap();
    let log = queue.tasks.parent().unwrap().join("logs/t1.log");
    std::fs::write(&log, "some words\r\n").unwrap();
    assert_eq!(queue.task(&["logs", "t1"]).ok().stdout, "some words\n");
    let states = |args: &[&str]| -> Vec<String> {
        queue.list(args).iter().map(|t| format!("{} {}", t["task"].as_str().unwrap(), t["state"].as_str().unwrap())).collect()
    };
    assert_eq!(states(&["--all"]), ["t5 pending", "t6 pending", "t4 done", "t3 cancelled", "t2 failed", "t1 done"]);
    assert_eq!(queue.list(&["--state", "failed"]).len(), 1);
    queue.task(&["wait", "t1", "t4"]).ok();
    assert!(queue.task(&["wait", "t1", "t2"]).fails(1, "task t2 has failed").stdout.starts_with("t1 done"));
    // Only said, then done; what others wait for stays.
    let would = queue.task(&["clean", "--state", "done,cancelled", "--dry-run"]).ok();
    assert_eq!(would.stdout, "t1  done  would go to the archive\nt3  cancelled  would go to the archive\n");
    assert!(would.stderr.contains("t4 stays: others wait for it"), "{would:?}");
    queue.task(&["clean", "--state", "done,cancelled"]).ok();
    assert!(!log.exists());
    assert_eq!(queue.list(&["--all"]).len(), 4);
    // By agents.toml: all of it ended longer ago than thirty days.
    assert!(queue.task(&["clean"]).ok().stderr.contains("1 task is now in the archive"));
    assert!(queue.task(&["clean"]).ok().stderr.contains("nothing to clean"));
    assert_eq!(states(&["--archived"]), ["t3 cancelled", "t2 failed", "t1 done"]);
    assert_eq!(states(&["--archived", "--state", "failed"]), ["t2 failed"]);
    let shown = queue.show("t2");
    assert_eq!((&shown["state"], &shown["record"]["prompt"], &shown["archived"]), (&json!("failed"), &json!("work 2"), &json!(true)));
    assert_eq!(shown["folder"], json!(queue.tasks.join("archive/2026-01/failed/t2")));
    // Whoever waits for one is told as before.
    queue.task(&["wait", "t1"]).ok();
    queue.task(&["wait", "t2"]).fails(1, "task t2 has failed");
    queue.task(&["logs", "t1"]).fails(1, "its log is gone");
    let follows = queue.add(&["lead", "next", "--after", "t1"]);
    assert_eq!((follows.as_str(), queue.show("t7")["blocked"].as_bool()), ("t7", Some(false)));
    // No number comes twice, also when all that tells of it is gone.
    std::fs::remove_dir_all(queue.tasks.join("archive")).unwrap();
    std::fs::write(queue.tasks.join("last"), "").unwrap();
    assert_eq!(queue.add(&["lead", "next"]), "t8");
    queue.task(&["show", "t1"]).fails(2, "there is no task t1");
}

#[test]
fn one_that_cannot_be_put_away_keeps_its_log() {
    let queue = with_logs(ended());
    let in_the_way = queue.tasks.join("archive/2026-01/done/t1");
    std::fs::create_dir_all(in_the_way.join("full")).unwrap();
    for folder in in_the_way.ancestors().skip(1).take(3) {
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }
    queue.task(&["clean", "t1"]).fails(1, "task t1: ");
    assert_eq!((queue.show("t1")["state"].as_str(), queue.task(&["logs", "t1"]).ok().stdout.as_str()), (Some("done"), "some words\n"));
    std::fs::remove_dir_all(in_the_way).unwrap();
    queue.task(&["clean", "t1"]).ok();
    assert!(is_archived(&queue.tasks, "t1") && !log(&queue, "t1").exists());
}

#[test]
fn one_that_is_tried_again_waits_until_others_were_put_away_and_nobody_else_does() {
    let queue = Queue::new(&config(""));
    queue.add(1, "echo again >> tries; exit 3", json!({}));
    queue.until(1, "finished/failed");
    let held = Held::of(&queue.tasks.join("archive.lock"));
    let mut retry = queue.project.command(&["task", "retry", "t1"]).stdout(Stdio::null()).spawn().unwrap();
    // Ordered twice, it comes back once.
    let mut twice = queue.project.command(&["task", "retry", "t1"]).stdout(Stdio::null()).spawn().unwrap();
    for id in 2..=4 {
        queue.add(id, "true", json!({}));
        queue.until(id, "finished/done");
    }
    assert_eq!(queue.place(1), Some("finished/failed"), "it is neither here nor there while others are put away");
    assert_eq!((retry.try_wait().unwrap(), twice.try_wait().unwrap()), (None, None));
    drop(held);
    assert!(retry.wait().unwrap().success() && twice.wait().unwrap().success());
    queue.project.run(&["task", "wait", "t1"]).fails(1, "has failed");
    assert_eq!(queue.file("tries"), "again\nagain\n");
}

/// System calls by which something is put away, and up to which occurrence of each it is killed.
const CALLS: &[(&str, usize)] = &[
    ("?rename,?renameat,?renameat2", 12),
    ("?mkdir,?mkdirat", 8),
    ("?fsync,?fdatasync", 10),
    ("?unlink,?unlinkat", 4),
    ("write", 6),
    ("flock", 3),
];

#[test]
fn a_clean_that_is_killed_has_lost_and_doubled_none() {
    let mut kills = 0;
    for (call, most) in CALLS {
        let mut queue = with_logs(ended());
        for nth in 1..=*most {
            let Some(whole) = queue.killed_at(call, nth, &["clean"]) else { return };
            kills += usize::from(!whole);
            for (id, state) in [("t1", "done"), ("t2", "failed"), ("t3", "cancelled"), ("t4", "done")] {
                assert_eq!(folders(&queue.tasks, id).len(), 1, "{id}, killed at {call} {nth}");
                assert_eq!(queue.show(id)["state"], state, "{id}, killed at {call} {nth}");
                assert!(log(&queue, id).exists() || is_archived(&queue.tasks, id), "{id} has lost its log, killed at {call} {nth}");
            }
            if whole {
                break;
            }
            // The next one goes on with it.
            queue.task(&["clean"]).ok();
            assert!(["t1", "t2", "t3"].iter().all(|id| is_archived(&queue.tasks, id)), "after {call} {nth}");
            assert!(["t1", "t2", "t3"].iter().all(|id| !log(&queue, id).exists()) && log(&queue, "t4").exists(), "after {call} {nth}");
            queue = with_logs(ended());
        }
    }
    assert!(kills > 12, "only {kills} were killed");
    println!("killed at {kills} steps");
}

#[test]
fn the_watchdog_puts_away_what_is_too_many() {
    let queue = Queue::new(&config("keep_count = 2"));
    for id in 1..=5 {
        queue.add(id, &format!("echo word {id}"), json!({}));
    }
    queue.project.until("all but two are put away", |s| {
        s["tasks"]["running"] == 0 && (1..=3).all(|id| is_archived(&queue.tasks, &format!("t{id}")))
    });
    assert_eq!((queue.place(4), queue.place(5)), (Some("finished/done"), Some("finished/done")));
    let logs = queue.tasks.parent().unwrap().join("logs");
    assert!(!logs.join("t1.log").exists() && logs.join("t5.log").exists());
    queue.project.run(&["task", "wait", "t1", "t5"]).ok();
    assert!(queue.project.run(&["task", "show", "t1"]).ok().stdout.contains("in the archive"));
    queue.project.run(&["task", "retry", "t1"]).fails(1, "is in the archive");
    // One that is put away is done for those that come after it, and what is waited for stays.
    queue.add(6, "exit 3", json!({}));
    queue.add(7, "true", json!({"after": ["t6"]}));
    queue.add(8, "true", json!({"after": ["t1"]}));
    queue.add(9, "true", json!({}));
    queue.project.until("the rest is put away", |_| [4, 5].iter().all(|id| is_archived(&queue.tasks, &format!("t{id}"))));
    queue.project.until("they ran", |_| queue.place(9) == Some("finished/done"));
    assert_eq!((queue.place(6), queue.place(7), queue.place(8)), (Some("finished/failed"), Some("pending"), Some("finished/done")));
}

#[test]
fn the_watchdog_puts_away_what_is_old_when_it_is_time() {
    // With nothing else that happens: by a deadline.
    let queue = Queue::new(&config("keep = \"1s\""));
    queue.add(1, "true", json!({}));
    queue.project.until("it is put away", |_| is_archived(&queue.tasks, "t1"));
    // What has aged while no watchdog ran goes when the next begins, also where nobody has noted how old it is.
    queue.project.run(&["down"]).ok();
    for (id, noted) in [("t2", true), ("t3", false)] {
        let folder = queue.tasks.join("finished/failed").join(id);
        std::fs::create_dir_all(&folder).unwrap();
        let at = "2026-01-31T23:59:59Z";
        let attempts = json!([{ "started_at": at, "ended_at": at, "outcome": "failed" }]);
        let record = json!({ "task": id, "agent": "sh", "by": "operator", "created_at": at, "prompt": "x", "attempts": attempts });
        std::fs::write(folder.join("task.json"), record.to_string()).unwrap();
        let oldest = queue.tasks.join("oldest");
        if noted {
            std::fs::write(oldest, at).unwrap()
        } else {
            std::fs::remove_file(oldest).unwrap()
        }
        queue.project.run(&["up"]).ok();
        queue.project.until(&format!("{id} is put away"), |s| s["tasks"]["failed"] == 0 && is_archived(&queue.tasks, id));
        assert!(queue.tasks.join("archive/2026-01/failed").join(id).is_dir());
        queue.project.run(&["down"]).ok();
    }
}

#[test]
fn what_cannot_be_put_away_stays_and_goes_later() {
    let queue = Queue::new(&config("keep_count = 0"));
    // A file where the folder belongs, as a stand-in for a disk that takes none.
    std::fs::write(queue.tasks.join("archive"), "").unwrap();
    queue.add(1, "true", json!({}));
    queue.project.until("it is done", |_| queue.place(1) == Some("finished/done"));
    let told =
        || std::fs::read_to_string(queue.tasks.parent().unwrap().join("events.jsonl")).unwrap().matches("tasks-not-archived").count();
    queue.project.until("that is told", |_| told() == 1);
    std::fs::remove_file(queue.tasks.join("archive")).unwrap();
    queue.add(2, "true", json!({}));
    queue.project.until("both are put away", |_| ["t1", "t2"].iter().all(|id| is_archived(&queue.tasks, id)));
    assert_eq!(told(), 1);
}

#[test]
fn a_watchdog_that_is_killed_while_it_puts_away_loses_and_doubles_none() {
    let queue = Queue::new(&config("keep_count = 0"));
    let watchdog = |s: &Value| s["watchdog"]["pid"].as_i64().map(|pid| pid as i32);
    let (mut id, mut hits) = (0, 0);
    for (call, most) in [("?rename,?renameat,?renameat2", 12), ("?mkdir,?mkdirat", 3), ("?fsync,?fdatasync", 8), ("?unlink,?unlinkat", 6)] {
        for nth in 1..=most {
            id += 1;
            let Some(pid) = watchdog(&queue.project.until("a watchdog", |s| watchdog(s).is_some())) else { continue };
            let Some(strace) = Strace::follow(pid, call, nth) else {
                return println!("skipped: strace is not installed or may not follow processes");
            };
            queue.add(id, "true", json!({"idempotent": true}));
            let name = format!("t{id}");
            queue.project.until(&format!("{name} is put away ({call} {nth})"), |_| {
                assert!(folders(&queue.tasks, &name).len() <= 1, "{name} lies in two places, killed at {call} {nth}");
                is_archived(&queue.tasks, &name)
            });
            hits += usize::from(strace.hit.load(std::sync::atomic::Ordering::Relaxed));
        }
    }
    let archived: Value = serde_json::from_str(&queue.project.run(&["task", "list", "--archived", "--json"]).ok().stdout).unwrap();
    assert_eq!(archived.as_array().unwrap().len(), id as usize);
    assert!(archived.as_array().unwrap().iter().all(|t| t["state"] == "done"), "{archived:#}");
    assert!(hits > 10, "most steps are taken: {hits} of {id}");
    // Also where it dies by itself in the middle of many.
    let Some(pid) = watchdog(&queue.project.until("a watchdog", |s| watchdog(s).is_some())) else { return };
    (100..140).for_each(|id| queue.add(id, "true", json!({"idempotent": true})));
    kill(pid);
    queue.project.until("all are put away", |_| (100..140).all(|id| is_archived(&queue.tasks, &format!("t{id}"))));
    println!("killed at {hits} of {id} steps");
}
