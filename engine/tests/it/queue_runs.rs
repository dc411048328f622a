//! The queue from the command line while it runs: each verb does what it says, and one that is killed has done it or not.

use std::io::Read;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::project::{Lines, TestProject};

/// An agent that does what its task says, in a shell.
const SHELL: &str = r#"
[project]
name = "web"

[agent.lead]
backend = "sh"

[backend.sh]
start = ["cat"]
task = ["sh", "-c", "{prompt}"]
task_prompt = "bare"
"#;

fn add(project: &TestProject, args: &[&str]) -> String {
    project.run(&[&["task", "add"], args].concat()).ok().stdout.trim().to_owned()
}

fn state(project: &TestProject, id: &str) -> String {
    let shown: Value = serde_json::from_str(&project.run(&["task", "show", id, "--json"]).ok().stdout).unwrap();
    shown["state"].as_str().unwrap().to_owned()
}

/// Waits until the list of tasks is as wanted; every change is looked at as it happens.
fn until(project: &TestProject, what: &str, holds: impl Fn(&Value) -> bool) {
    let mut watch = Lines::of(project.command(&["task", "list", "--all", "--watch", "--json"]));
    loop {
        let Some(line) = watch.next() else { panic!("not in time: {what}") };
        if holds(&serde_json::from_str(&line).unwrap()) {
            return;
        }
    }
}

#[test]
fn each_verb_does_what_it_says() {
    let project = TestProject::new(SHELL);
    // A log is followed to the task's end, and no further.
    add(&project, &["echo begun; sleep 1000"]);
    let mut follow = project.command(&["task", "logs", "t1", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    until(&project, "t1 runs", |tasks| tasks[0]["state"] == "running");
    assert!(project.run(&["task", "list"]).ok().stdout.contains("running"));
    project.run(&["task", "timeout", "t1", "+1h"]).ok();
    project.run(&["task", "cancel", "t1"]).ok();
    project.run(&["task", "wait", "t1"]).fails(1, "task t1 was cancelled");
    let mut log = String::new();
    follow.stdout.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(follow.wait().unwrap().success());
    assert!(log.is_empty() || log.starts_with("begun"), "{log:?}");
    // Another limit ends it.
    add(&project, &["sleep 1000", "--timeout", "1h"]);
    project.run(&["task", "timeout", "t2", "10ms"]).ok();
    project.run(&["task", "wait", "t2"]).fails(1, "task t2 took too long");
    // What comes after something that fails is blocked, and says so, until that is retried.
    add(&project, &["test -e well", "--name", "first"]);
    let said = project.run(&["task", "wait", "t3"]).fails(1, "task t3 has failed");
    assert!(said.stdout.starts_with("t3 failed"), "{said:?}");
    add(&project, &["true", "--after", "t3"]);
    project.run(&["task", "wait", "t4"]).fails(1, "task t4 is blocked");
    assert!(project.run(&["task", "show", "t4"]).ok().stderr.contains("agents task retry t3"));
    std::fs::write(project.folder.join("well"), "").unwrap();
    project.run(&["task", "retry", "t3"]).ok();
    project.run(&["task", "wait", "t3", "t4"]).ok();
    project.run(&["task", "retry", "t4"]).fails(1, "t4");
    // The sentinels are the agent's own commands.
    add(&project, &[&format!("{} done --note 'as wanted'; exit 7", env!("CARGO_BIN_EXE_agents"))]);
    project.run(&["task", "wait", "t5"]).ok();
    let shown = project.run(&["task", "show", "t5"]).ok().stdout;
    assert!(shown.contains("it said done: as wanted") && shown.contains("contradiction"), "{shown}");
    project.run(&["down"]).ok();
    add(&project, &["true"]);
    assert!(project.run(&["task", "list"]).ok().stderr.contains("stopped: agents up"));
    project.run(&["up"]).ok();
    project.run(&["task", "wait", "t6"]).ok();
}

/// By which a command talks to the watchdog, and up to which occurrence of each it is killed.
const CALLS: &[(&str, usize)] = &[("connect", 2), ("sendmsg", 2), ("?poll,?ppoll", 2), ("recvmsg", 2), ("write", 2)];

#[test]
fn an_order_that_is_killed_was_followed_or_not() {
    let project = TestProject::new(SHELL);
    let mut kills = 0;
    for (call, most) in CALLS {
        for nth in 1..=*most {
            let id = add(&project, &["sleep 1000"]);
            for (verb, settled) in [("cancel", "cancelled"), ("retry", "running")] {
                let mut command = Command::new("strace");
                command.args(["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
                command.arg(env!("CARGO_BIN_EXE_agents")).args(["task", verb, &id]).current_dir(&project.folder).stdin(Stdio::null());
                let plain = project.command(&[]);
                command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
                let Ok(output) = command.stderr(Stdio::piped()).output() else { return println!("skipped: strace is not installed") };
                kills += usize::from(!output.status.success());
                // Said once more it is done, or was.
                let again = project.run(&["task", verb, &id]);
                assert!(again.code == 0 || again.stderr.contains(&id), "{call} {nth}: {again:?}");
                until(&project, settled, |tasks| tasks.as_array().unwrap().iter().any(|t| t["task"] == *id && t["state"] == settled));
            }
            project.run(&["task", "cancel", &id]).ok();
            assert_eq!(state(&project, &id), "cancelled");
        }
    }
    if kills == 0 {
        return println!("skipped: strace may not follow processes");
    }
    assert!(kills > 6, "only {kills} were killed");
}
