//! An agent that tries to outlive `down`, in every way that is known. Nothing does.

use crate::project::{Lines, TestProject, kill, of};

/// Name and what the agent runs, each one process tree; it prints `ready` when its strays are out.
const WAYS: &[(&str, &str)] = &[
    ("setsid", "setsid sleep 1000 & echo ready; exec sleep 1000"),
    ("double-fork", "(setsid sleep 1000 & exit) ; echo ready; exec sleep 1000"),
    ("nohup", "nohup sleep 1000 >/dev/null 2>&1 & echo ready; exec sleep 1000"),
    ("deaf", "trap '' TERM HUP INT QUIT; echo ready; while :; do sleep 1000; done"),
    ("deaf-stray", "(trap '' TERM HUP INT; setsid sh -c 'sleep 1000; sleep 1000' & ) ; echo ready; exec sleep 1000"),
    (
        "closed",
        "(setsid bash -c 'for f in /proc/self/fd/*; do n=${f##*/}; eval \"exec $n>&-\"; done; exec sleep 1000' &) ; echo ready; exec sleep 1000",
    ),
    ("no-environment", "(setsid env -i sleep 1000 &) ; echo ready; exec sleep 1000"),
    (
        "nothing-left",
        "(setsid env -i bash -c 'for f in /proc/self/fd/*; do n=${f##*/}; eval \"exec $n>&-\"; done; trap \"\" TERM HUP; sleep 1000' &) ; \
         echo ready; exec sleep 1000",
    ),
    ("own-group", "set -m; sleep 1000 & set +m; echo ready; exec sleep 1000"),
    ("stopped", "(setsid sh -c 'kill -STOP $$; sleep 1000' &) ; echo ready; exec sleep 1000"),
    ("stopped-and-deaf", "(trap '' TERM HUP; setsid sh -c 'kill -STOP $$; sleep 1000' &) ; echo ready; kill -STOP $$; sleep 1000"),
    ("at-the-last-moment", "trap 'setsid env -i sleep 1000 & exit' TERM HUP; echo ready; while :; do sleep 1000 & wait; done"),
    ("hand-over", "echo ready; i=0; while [ $i -lt 300 ]; do (setsid sh -c 'sleep 0.01 & exit' &); i=$((i+1)); done; exec sleep 1000"),
    ("breeder", "echo ready; b() { (trap '' TERM HUP; sleep 0.02; b) & }; b; b; b; exec sleep 1000"),
    ("runner", "setsid -f bash -c 'r() { (exec 3>&- 4>&- 5>&- 6>&-; r) & exit; }; trap \"\" TERM HUP; r'; echo ready; exec sleep 1000"),
    ("elsewhere", "(cd /; exec setsid sh -c 'exec sleep 1000 </dev/null >/dev/null 2>&1' &) ; echo ready; exec sleep 1000"),
];

/// What a process that has nothing of its agent any more leads back to, when its host was dead as it was orphaned: its control group, or else nothing.
const UNTRACEABLE: &[&str] = &["nothing-left", "runner", "hand-over", "at-the-last-moment"];

fn project(ways: &[&(&str, &str)]) -> TestProject {
    let mut config = "[project]\nname = \"web\"\nsession_prefix = \"int\"\n\n[defaults]\nbackend = \"shell\"\n\
        restart = { backoff = \"1ms..20ms\", burst = 100000, window = \"10m\" }\ngrace = \"300ms\"\n"
        .to_owned();
    for (name, script) in ways {
        // Something of its command line tells the test whose it is, also after `env -i`.
        config.push_str(&format!("\n[agent.{name}]\ncommand = [\"sh\", \"-c\", '''{script}''']\n"));
    }
    TestProject::new(&config)
}

/// All processes of this user that stand in the project's folder or have its name in arguments or environment.
fn left(project: &TestProject) -> Vec<String> {
    let about = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default().replace('\0', " ");
    let mut left: Vec<String> = project.processes().iter().map(|pid| format!("{pid} {}", about(*pid))).collect();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(project.root())) {
            left.push(format!("{:?} stands there", entry.file_name()));
        }
    }
    left
}

fn ready(project: &TestProject, ways: &[&(&str, &str)]) {
    for (name, _) in ways {
        Lines::of(project.command(&["logs", "-f", name])).until("ready");
    }
}

#[test]
fn sixteen_ways_to_outlive_down() {
    let ways: Vec<_> = WAYS.iter().collect();
    let project = project(&ways);
    project.run(&["up"]).ok();
    ready(&project, &ways);
    project.run(&["down"]).ok();
    assert_eq!(left(&project), Vec::<String>::new());
}

#[test]
fn nor_after_its_host_was_killed() {
    let mut ways: Vec<_> = WAYS.iter().collect();
    let mut project = self::project(&ways);
    project.run(&["up"]).ok();
    if project.group("int-1").is_none() {
        println!("partly skipped: no control group can be made here");
        ways.retain(|(name, _)| !UNTRACEABLE.contains(name));
        project = self::project(&ways);
        project.run(&["up"]).ok();
    }
    ready(&project, &ways);
    for i in 1..=ways.len() {
        kill(project.host(&format!("int-{i}")));
    }
    let status = project.until("all are up", |s| ways.iter().all(|(name, _)| of(s, name)["state"] == "up"));
    assert_eq!(status["agents"].as_array().unwrap().len(), ways.len());
    project.run(&["down"]).ok();
    assert_eq!(left(&project), Vec::<String>::new());
}

/// Takes a minute: `cargo test -p agents --test it -- --ignored thirty_times`.
#[test]
#[ignore = "the long form"]
fn thirty_times_over() {
    for _ in 0..30 {
        sixteen_ways_to_outlive_down();
        nor_after_its_host_was_killed();
    }
}
