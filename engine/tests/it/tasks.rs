//! The task queue, run by real daemons: each task once, whatever dies, and its end told by the folder that it lies in.

use std::path::{Path, PathBuf};
use std::process::Command;

use agents::contract::control::{FromWatchdog, JSON, ToWatchdog};
use agents::contract::task::{Order, TaskId};
use agents::os::clock::monotonic;
use agents::os::socket::Stream;
use serde_json::{Value, json};

use crate::project::{TestProject, is_alive, kill, said, said_with_input};
use crate::steps::Strace;

/// One agent that plays tasks as shell scripts, one that ends up in a program of its own, both with nothing else to do.
const QUEUE: &str = r#"
[project]
name = "web"
session_prefix = "int"

[agent.sh]
backend = "shell"
command = ["cat"]

[agent.told]
backend = "told"

[backend.told]
start = ["cat"]
task = ["sh", "-c", "printf %s \"$1\" > told; test -e plan-wanted || exit 0; cp told \"$AGENTS_TASK_DIR/plan.md\"", "told", "{prompt}"]

[tasks]
parallel = 2
timeout = "10m"
lanes = { heavy = 1 }
"#;

pub struct Queue {
    pub project: TestProject,
    pub tasks: PathBuf,
}

impl Queue {
    pub fn new(config: &str) -> Queue {
        let project = TestProject::new(config);
        project.run(&["up"]).ok();
        let tasks = project.data().join("tasks");
        Queue { project, tasks }
    }

    /// As any program may add one: written aside, and renamed.
    pub fn add(&self, id: u64, prompt: &str, more: Value) {
        let mut task =
            json!({"task": format!("t{id}"), "agent": "sh", "by": "operator", "created_at": "2026-11-30T10:00:00Z", "prompt": prompt});
        for (key, value) in more.as_object().unwrap() {
            task[key] = value.clone();
        }
        let aside = self.tasks.join(format!(".new-{id}"));
        std::fs::write(&aside, task.to_string()).unwrap();
        std::fs::rename(&aside, self.tasks.join(format!("pending/t{id}.json"))).unwrap();
    }

    pub fn place(&self, id: u64) -> Option<&'static str> {
        let places = ["pending", "running", "held", "finished/done", "finished/failed", "finished/cancelled", "finished/timeout"];
        let lies = |place: &&&str| {
            let folder = self.tasks.join(place);
            folder.join(format!("t{id}/task.json")).exists() || folder.join(format!("t{id}.json")).exists()
        };
        // Twice, as it may move meanwhile.
        places.iter().find(lies).or_else(|| places.iter().find(lies)).copied()
    }

    /// Waits until it lies there; its record then.
    #[track_caller]
    pub fn until(&self, id: u64, place: &str) -> Value {
        self.project.until(&format!("t{id} lies in {place}"), |_| self.place(id) == Some(place));
        self.record(id, place)
    }

    pub fn record(&self, id: u64, place: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.tasks.join(place).join(format!("t{id}/task.json"))).unwrap()).unwrap()
    }

    /// Waits for a file that a task makes in the project's folder; what stands in it.
    #[track_caller]
    pub fn file(&self, name: &str) -> String {
        let path = self.project.folder.join(name);
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        let start = std::time::Instant::now();
        let mut changes = agents::os::follow::Changes::of(&self.project.folder).unwrap();
        while read().is_empty() {
            assert!(start.elapsed() < std::time::Duration::from_secs(60), "{name} never came");
            changes.wait_by(name, monotonic() + std::time::Duration::from_secs(1)).unwrap();
        }
        read()
    }

    pub fn order(&self, id: u64, order: Order) -> Option<String> {
        let runtime: Value = serde_json::from_str(&self.project.run(&["info", "--json"]).ok().stdout).unwrap();
        let mut stream = Stream::connect(&Path::new(runtime["runtime"].as_str().unwrap()).join("watchdog.sock")).unwrap();
        stream.queue(JSON, &serde_json::to_vec(&ToWatchdog::Order { tasks: vec![TaskId(id)], order }).unwrap(), vec![]);
        let deadline = monotonic() + std::time::Duration::from_secs(60);
        stream.flush_by(deadline).unwrap();
        match serde_json::from_slice(&stream.next_by(deadline).unwrap().payload).unwrap() {
            FromWatchdog::Tasks { mut answers } => answers.remove(0).refused,
            other => panic!("{other:?}"),
        }
    }

    fn watchdog(&self) -> Option<i32> {
        // It may be killed while it is asked.
        let said = (0..20).map(|_| self.project.run(&["status", "--json"])).find(|s| s.code == 0).expect("the watchdog answers");
        let status: Value = serde_json::from_str(&said.stdout).unwrap();
        status["watchdog"]["pid"].as_i64().map(|pid| pid as i32)
    }
}

fn last(record: &Value) -> &Value {
    record["attempts"].as_array().unwrap().last().unwrap()
}

#[test]
fn tasks_run_in_their_order_and_leave_a_log_and_a_record() {
    let queue = Queue::new(&QUEUE.replace("parallel = 2", "parallel = 1"));
    queue.add(1, "echo \"$AGENTS_TASK in $PWD\"; test -d \"$AGENTS_TASK_DIR\" && echo one >> order", json!({"after": ["t3"]}));
    queue.add(2, "echo two >> order", json!({"after": ["t1"]}));
    queue.add(3, "echo three >> order", json!({"priority": 1}));
    let record = queue.until(2, "finished/done");
    assert_eq!(queue.file("order"), "three\none\ntwo\n");
    let attempt = last(&record);
    assert_eq!((&attempt["outcome"], &attempt["exit"]), (&json!("done"), &json!({"status": 0})), "{record:#}");
    let log = std::fs::read_to_string(queue.tasks.parent().unwrap().join("logs/t1.log")).unwrap();
    assert!(log.contains(&format!("t1 in {}", queue.project.folder.display())), "{log:?}");
    let status = queue.project.until("all are gone", |s| s["running"].is_null() && s["tasks"]["running"] == 0);
    assert_eq!(status["tasks"], json!({"pending": 0, "running": 0, "failed": 0, "held": 0}));
    assert_eq!(status["sessions"], json!([]), "no session of its own is left");
    // Nothing that may hold secrets is kept.
    assert!(!queue.tasks.join("finished/done/t1/launch.json").exists());
}

#[test]
fn three_retries_are_four_attempts_and_who_waits_is_blocked() {
    let queue = Queue::new(QUEUE);
    queue.add(1, "echo x >> tries; exit 3", json!({"retries": 3}));
    queue.add(2, "echo never >> tries", json!({"after": ["t1"]}));
    let record = queue.until(1, "finished/failed");
    assert_eq!(queue.file("tries"), "x\n".repeat(4));
    assert_eq!(record["attempts"].as_array().unwrap().len(), 4);
    assert_eq!(record["reason"], "exited with status 3");
    assert_eq!(queue.place(2), Some("pending"));
    assert_eq!(queue.project.status()["tasks"]["failed"], 1);
    // The operator grants it another try, and this time it goes well.
    std::fs::write(queue.project.folder.join("tries"), "").unwrap();
    assert_eq!(queue.order(2, Order::Retry), None);
    assert_eq!(queue.order(1, Order::Retry), None);
    queue.until(1, "finished/failed");
    assert_eq!(queue.file("tries"), "x\n".repeat(4), "all its attempts anew");
    assert_eq!(queue.record(1, "finished/failed")["attempts"].as_array().unwrap().len(), 8);
}

#[test]
fn a_program_that_is_not_there_is_not_tried_again() {
    let queue = Queue::new(&QUEUE.replace("task = [\"sh\"", "task = [\"no-such-program\""));
    queue.add(1, "x", json!({"agent": "told", "retries": 5}));
    queue.add(2, "x", json!({"agent": "nobody", "retries": 5}));
    for (id, words) in [(1, "no-such-program"), (2, "nobody")] {
        let record = queue.until(id, "finished/failed");
        assert_eq!(record["attempts"].as_array().unwrap().len(), 1, "{record:#}");
        assert!(record["reason"].as_str().unwrap().contains(words), "{record:#}");
    }
}

#[test]
fn who_waits_for_a_task_has_the_queue_look_at_agents_toml_again() {
    let queue = Queue::new(QUEUE);
    queue.project.write_config(&QUEUE.replace("[agent.told]", "[agnt.told]"));
    queue.add(1, "echo x > ran", json!({}));
    let events = queue.tasks.parent().unwrap().join("events.jsonl");
    queue.project.until("it waits for a valid file", |_| std::fs::read_to_string(&events).unwrap().contains("\"tasks-wait\""));
    queue.project.write_config(QUEUE);
    assert_eq!(queue.place(1), Some("pending"));
    queue.project.run(&["task", "wait", "t1"]).ok();
    assert_eq!(queue.file("ran"), "x\n");
}

#[test]
fn the_timeout_is_the_watchdogs_and_takes_the_whole_tree() {
    let queue = Queue::new(QUEUE);
    queue.add(1, "trap '' TERM; setsid sleep 1000 & echo $! > child; sleep 1000", json!({"timeout_ms": 300}));
    let record = queue.until(1, "finished/timeout");
    assert_eq!(last(&record)["outcome"], "timeout");
    assert!(record["reason"].as_str().unwrap().contains("300ms"), "{record:#}");
    assert!(queue.tasks.join("finished/timeout/t1/.timeout").exists());
    assert!(!is_alive(queue.file("child").trim().parse().unwrap()));
}

#[test]
fn who_is_attached_is_told_of_its_end() {
    let queue = Queue::new(QUEUE);
    queue.add(1, "echo up > ready; sleep 2", json!({}));
    queue.file("ready");
    // `script` gives it a terminal.
    let attach = format!("{} attach t1", env!("CARGO_BIN_EXE_agents"));
    let said = said_with_input(queue.project.command_of(Path::new("script"), &["-qec", &attach, "/dev/null"]), "");
    assert!(said.code == 0 && said.stdout.contains("this attempt of t1 is over"), "{said:?}");
    assert!(queue.project.run(&["task", "show", "t1"]).ok().stdout.starts_with("t1  done"));
}

#[test]
fn one_that_runs_or_waits_is_cancelled_or_given_more_time() {
    let queue = Queue::new(QUEUE);
    queue.add(1, "echo $$ > one; sleep 1000", json!({}));
    queue.add(2, "true", json!({"after": ["t1"]}));
    let pid: i32 = queue.file("one").trim().parse().unwrap();
    assert_eq!(queue.order(1, Order::Timeout { ms: 60_000, more: true }), None);
    assert_eq!(queue.record(1, "running")["timeout_ms"], 660_000);
    assert_eq!(queue.order(2, Order::Cancel), None);
    assert_eq!(queue.place(2), Some("finished/cancelled"));
    assert_eq!(queue.order(1, Order::Cancel), None);
    assert_eq!((queue.place(1), is_alive(pid)), (Some("finished/cancelled"), false));
    assert!(queue.order(1, Order::Cancel).unwrap().contains("cancelled already"));
    assert!(queue.order(9, Order::Cancel).unwrap().contains("no task t9"));
}

#[test]
fn what_an_agent_says_counts_more_than_its_exit_and_both_are_kept() {
    let queue = Queue::new(QUEUE);
    queue.add(1, "echo fine > $AGENTS_TASK_DIR/.done; exit 3", json!({}));
    queue.add(2, "echo '{\"reason\": \"no way\"}' > $AGENTS_TASK_DIR/.error", json!({}));
    queue.add(3, "touch $AGENTS_TASK_DIR/.done; echo $$ > staying; exec sleep 1000", json!({}));
    let one = queue.until(1, "finished/done");
    assert_eq!(last(&one)["said"], json!({"done": {"note": "fine"}}));
    assert!(last(&one)["contradiction"].as_str().unwrap().contains("status 3"), "{one:#}");
    let two = queue.until(2, "finished/failed");
    assert!(two["reason"].as_str().unwrap().contains("no way"), "{two:#}");
    assert!(last(&two)["contradiction"].as_str().unwrap().contains("status 0"), "{two:#}");
    let three = queue.until(3, "finished/done");
    assert_eq!(last(&three)["contradiction"], Value::Null, "it was ended because it had said it: {three:#}");
    assert!(!is_alive(queue.file("staying").trim().parse().unwrap()));
}

#[test]
fn a_result_is_verified_in_the_tasks_folder() {
    let queue = Queue::new(QUEUE);
    queue.add(1, "touch result", json!({"verify": ["test", "-e", "result"]}));
    queue.add(2, "true", json!({"verify": ["sh", "-c", "echo looked; exit 4"]}));
    let one = queue.until(1, "finished/done");
    assert_eq!(last(&one)["verified"], json!({"status": 0}));
    let two = queue.until(2, "finished/failed");
    assert_eq!((&last(&two)["exit"], &last(&two)["verified"]), (&json!({"status": 0}), &json!({"status": 4})));
    assert!(two["reason"].as_str().unwrap().contains("says no: exited with status 4"), "{two:#}");
    assert!(std::fs::read_to_string(queue.tasks.parent().unwrap().join("logs/t2.log")).unwrap().contains("looked"));
}

#[test]
fn an_agent_is_told_how_to_report_and_long_prompts_go_in_as_a_file() {
    let queue = Queue::new(QUEUE);
    let long = "word ".repeat(200_000);
    queue.add(1, "mind the \"gap\" {model} {{ x }}", json!({"agent": "told"}));
    queue.until(1, "finished/done");
    let told = queue.file("told");
    for words in ["mind the \"gap\" {model} {{ x }}", "done --note", "fail --reason", "tasks/running/t1/plan.md", "Task t1 of web"] {
        assert!(told.contains(words), "{words:?} is not in {told:?}");
    }
    std::fs::remove_file(queue.project.folder.join("told")).unwrap();
    queue.add(2, &long, json!({"agent": "told"}));
    queue.until(2, "finished/done");
    let told = queue.file("told");
    assert!(told.starts_with("Your task stands in the file") && told.contains("/tasks/running/t2/prompt"), "{told:?}");
    // A shell's task is the file itself.
    queue.add(3, &format!(": {long}\necho long >> long"), json!({}));
    queue.until(3, "finished/done");
    assert_eq!(queue.file("long"), "long\n");
}

fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(args).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_task_works_in_a_worktree_of_its_own() {
    let config = format!("{QUEUE}\n[worktree]\npost_create = [[\"touch\", \"furnished\"]]\n");
    let queue = Queue::new(&config);
    let folder = &queue.project.folder;
    git(folder, &["init", "-q", "-b", "main"]);
    git(folder, &["add", "agents.toml"]);
    git(folder, &["commit", "-q", "-m", "first"]);
    let script = "test -e furnished && echo work > made && git add -A && echo ok > .agents-task/done; ls -a; exec sleep 1000";
    queue.add(1, script, json!({"worktree": true}));
    let record = queue.until(1, "finished/done");
    assert_eq!(last(&record)["said"], json!({"done": {"note": "ok"}}), "{record:#}");
    let worktree = queue.tasks.parent().unwrap().join("worktrees/t1");
    assert_eq!(git(&worktree, &["diff", "--cached", "--name-only"]), "furnished\nmade\n", "how it reports is no work");
    assert_eq!(git(&worktree, &["symbolic-ref", "--short", "HEAD"]).trim(), "task/t1");
    assert!(!folder.join("made").exists());
    // What cannot be made is said, and tried again with the rest.
    queue.project.write_config(&config.replace("\"touch\", \"furnished\"", "\"sh\", \"-c\", \"echo broken; exit 7\""));
    git(folder, &["commit", "-q", "-a", "-m", "second"]);
    queue.add(2, "true", json!({"worktree": true, "retries": 1}));
    let record = queue.until(2, "finished/failed");
    assert_eq!(record["attempts"].as_array().unwrap().len(), 2);
    assert!(record["reason"].as_str().unwrap().contains("post_create"), "{record:#}");
}

#[test]
fn a_task_runs_on_whoever_of_its_daemons_is_killed() {
    let queue = Queue::new(QUEUE);
    queue.add(1, "echo x >> runs; until test -e go; do sleep 0.05; done; exit 5", json!({"retries": 0}));
    assert_eq!(queue.file("runs"), "x\n");
    let before = queue.watchdog().unwrap();
    kill(before);
    queue.project.until("another watchdog", |s| {
        s["watchdog"]["pid"].as_i64().is_some_and(|p| p as i32 != before) && s["running"][0]["state"] == "up"
    });
    let host = queue.project.host("t1");
    kill(host);
    queue.project.until("another host", |_| queue.project.find_host("t1").is_some_and(|h| h != host));
    kill(queue.watchdog().unwrap());
    queue.project.until("it runs on", |s| s["running"][0]["state"] == "up");
    std::fs::write(queue.project.folder.join("go"), "").unwrap();
    // Its exit was seen by nobody who could know the status, and it had said nothing.
    let record = queue.until(1, "held");
    assert_eq!((&last(&record)["outcome"], &last(&record)["exit"]), (&json!("interrupted"), &json!("unseen")), "{record:#}");
    assert!(record["reason"].as_str().unwrap().contains("agents task retry t1"), "{record:#}");
    assert_eq!(queue.file("runs"), "x\n");
    assert_eq!(queue.order(1, Order::Retry), None);
    queue.until(1, "finished/failed");
    assert_eq!(queue.file("runs"), "x\nx\n");
}

#[test]
fn after_the_death_of_everything_each_goes_on_by_its_rule() {
    let queue = Queue::new(&QUEUE.replace("parallel = 2", "parallel = 3"));
    let wait = "until test -e go; do sleep 0.05; done";
    queue.add(1, &format!("echo x >> once; {wait}"), json!({}));
    queue.add(2, &format!("echo x >> again; {wait}"), json!({"idempotent": true}));
    queue.add(3, &format!("echo well > $AGENTS_TASK_DIR/.done; echo x >> said; {wait}"), json!({}));
    for name in ["once", "again", "said"] {
        queue.file(name);
    }
    queue.project.kill_all();
    std::fs::write(queue.project.folder.join("go"), "").unwrap();
    queue.project.run(&["up"]).ok();
    assert_eq!(last(&queue.until(3, "finished/done"))["said"], json!({"done": {"note": "well"}}));
    queue.until(2, "finished/done");
    queue.until(1, "held");
    assert_eq!((queue.file("once"), queue.file("again"), queue.file("said")), ("x\n".into(), "x\nx\n".into(), "x\n".into()));
    assert_eq!(queue.project.status()["tasks"]["held"], 1);
    assert_eq!(queue.order(1, Order::Cancel), None);
    assert_eq!(queue.place(1), Some("finished/cancelled"));
}

#[test]
fn down_stops_the_queue_and_up_starts_it_again() {
    let queue = Queue::new(&QUEUE.replace("parallel = 2", "parallel = 1"));
    queue.add(1, "echo $$ > one; exec sleep 1000", json!({"idempotent": true}));
    queue.add(2, "echo two > two", json!({}));
    let pid: i32 = queue.file("one").trim().parse().unwrap();
    queue.project.run(&["down"]).ok();
    assert!(!is_alive(pid));
    assert_eq!(queue.project.processes(), Vec::<i32>::new(), "stop means stop");
    assert_eq!((queue.place(1), queue.place(2)), (Some("pending"), Some("pending")));
    // What is added now waits.
    queue.add(3, "echo three > three", json!({"priority": 7}));
    std::fs::remove_file(queue.project.folder.join("one")).unwrap();
    queue.project.run(&["up", "sh"]).ok();
    assert_eq!(queue.project.status()["tasks"]["running"], 0, "one agent is not the queue");
    queue.project.run(&["up"]).ok();
    queue.until(3, "finished/done");
    queue.file("one");
    assert_eq!(queue.order(1, Order::Cancel), None);
    queue.until(2, "finished/done");
}

#[test]
fn a_queue_is_stopped_also_where_nothing_else_runs() {
    let project = TestProject::new(QUEUE);
    project.run(&["task", "add", "sh", "echo x > one; exec sleep 1000"]).ok();
    let queue = Queue { tasks: project.data().join("tasks"), project };
    queue.file("one");
    queue.project.run(&["down"]).ok();
    assert_eq!((queue.place(1), queue.project.processes()), (Some("held"), vec![]));
}

/// Many writers add at once while the watchdog is killed again and again: each task runs exactly once.
#[test]
fn each_of_many_runs_exactly_once_whatever_happens_to_the_watchdog() {
    let number = |name: &str, otherwise: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (all, writers) = (number("AGENTS_TEST_TASKS", 120), number("AGENTS_TEST_WRITERS", 8));
    let queue = Queue::new(QUEUE);
    std::fs::create_dir(queue.project.folder.join("ran")).unwrap();
    let kills = std::thread::scope(|scope| {
        for writer in 0..writers {
            let queue = &queue;
            scope.spawn(move || {
                (1..=all).filter(|id| id % writers == writer).for_each(|id| queue.add(id, &format!("echo x >> ran/{id}"), json!({})));
            });
        }
        let mut kills = 0;
        let finished = || std::fs::read_dir(queue.tasks.join("finished/done")).unwrap().count() as u64;
        let mut next = 0;
        let start = std::time::Instant::now();
        loop {
            let done = finished();
            if done == all {
                break kills;
            }
            assert!(start.elapsed().as_secs() < 120 + all / 10, "{done} of {all} are done after {kills} kills");
            // As far as it gets between two kills differs from run to run.
            if done >= next
                && let Some(pid) = queue.watchdog()
            {
                kill(pid);
                kills += 1;
                next = done + 1 + (all / 12);
            }
            queue
                .project
                .until("another watchdog, or the end", |s| s["watchdog"]["pid"].is_i64() && (finished() >= next || finished() == all));
        }
    });
    for id in 1..=all {
        let ran = std::fs::read_to_string(queue.project.folder.join(format!("ran/{id}"))).unwrap_or_default();
        assert_eq!(ran, "x\n", "t{id}");
    }
    assert!(kills >= 3, "{kills}");
    println!("{all} tasks from {writers} writers, the watchdog killed {kills} times: each ran once");
}

#[test]
fn another_engine_takes_over_while_a_task_runs() {
    let queue = Queue::new(&QUEUE.replace("parallel = 2", "parallel = 1"));
    queue.add(1, "echo $$ >> one; until test -e go; do sleep 0.05; done; exit 7", json!({}));
    queue.add(2, "echo two > two", json!({}));
    let pid = queue.file("one");
    let before = queue.watchdog();
    let engines = crate::upgrade::Engines::new();
    said(queue.project.command_of(&engines.other, &["up"])).ok();
    let status = queue.project.status();
    assert_eq!((queue.watchdog(), &status["running"][0]["pid"]), (before, &json!(pid.trim().parse::<i32>().unwrap())));
    assert_eq!(status["tasks"]["pending"], 1);
    std::fs::write(queue.project.folder.join("go"), "").unwrap();
    let record = queue.until(1, "finished/failed");
    assert_eq!(last(&record)["exit"], json!({"status": 7}), "its host is still its parent: {record:#}");
    queue.until(2, "finished/done");
    assert_eq!(queue.file("one"), pid);
}

/// System calls of a watchdog that runs a task, and of the host and the program that it starts for it; what a machine does not know is passed over.
const CALLS: &[(&str, usize)] = &[
    ("?rename", 5),
    ("?mkdir,?mkdirat", 2),
    ("fsync", 6),
    ("?unlink,?unlinkat", 3),
    ("inotify_add_watch", 1),
    ("write", 3),
    ("clone,?clone3", 1),
    ("execve", 1),
    ("flock", 2),
];

#[test]
fn a_task_runs_once_at_most_wherever_its_daemons_are_killed() {
    let queue = Queue::new(QUEUE);
    std::fs::create_dir(queue.project.folder.join("ran")).unwrap();
    let places = ["finished/done", "finished/failed", "held"];
    let (mut id, mut hits, mut done) = (0, 0, 0);
    for (call, most) in CALLS {
        for nth in 1..=*most {
            id += 1;
            queue.project.until("a watchdog", |s| s["watchdog"]["pid"].is_i64());
            let Some(pid) = queue.watchdog() else { continue };
            let Some(strace) = Strace::follow(pid, call, nth) else {
                return println!("skipped: strace is not installed or may not follow processes");
            };
            queue.add(id, &format!("echo x >> ran/{id}"), json!({}));
            queue.project.until(&format!("t{id} settles ({call} {nth})"), |_| queue.place(id).is_some_and(|p| places.contains(&p)));
            hits += usize::from(strace.hit.load(std::sync::atomic::Ordering::Relaxed));
            let ran = std::fs::read_to_string(queue.project.folder.join(format!("ran/{id}"))).unwrap_or_default();
            let place = queue.place(id).unwrap();
            assert!(ran.len() <= 2, "t{id} ran twice, killed at {call} {nth}");
            assert!(place != "finished/done" || ran == "x\n", "t{id} is said to be done and never ran, killed at {call} {nth}");
            done += usize::from(place == "finished/done");
        }
    }
    assert!(hits * 2 > id as usize, "most steps are taken: {hits} of {id}");
    println!("killed at {hits} of {id} steps: none ran twice, {done} are done, the others say why not");
}
