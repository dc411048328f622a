//! No descriptors, no processes, a disk that fails under the log: the daemons live on, nobody spins, and all heals when the cause is gone.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::{Lines, TestProject, is_alive, kill, of};

/// As `TWO`, with patience: what is tried here fails often.
const PATIENT: &str = r#"
[project]
name = "web"
session_prefix = "int"

[defaults]
restart = { backoff = "20ms..200ms", burst = 1000, window = "10m" }

[agent.lead]
backend = "echo"

[agent.tester]
backend = "echo"

[backend.echo]
start = ["sh", "-c", "echo first; exec cat"]
"#;

/// Lets these calls of a process, and of what it starts, fail until dropped.
struct Failing {
    strace: Child,
    log: std::path::PathBuf,
}

impl Failing {
    fn at(project: &TestProject, pid: i32, calls: &str, error: &str, path: Option<&Path>) -> Option<Failing> {
        let log = project.root().join("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o"]).arg(&log).arg("-e").arg(format!("trace={calls}")).arg("-e").arg(format!("inject={calls}:error={error}"));
        if let Some(path) = path {
            strace.arg("-P").arg(path);
        }
        let strace = strace.arg("-p").arg(pid.to_string()).stderr(Stdio::piped()).spawn();
        let Ok(mut strace) = strace else {
            println!("skipped: there is no strace here");
            return None;
        };
        // "strace: Process 4711 attached"
        let mut first = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(strace.stderr.take().unwrap()), &mut first).unwrap();
        if !first.contains("attached") {
            println!("skipped: strace may not trace here: {first}");
            return None;
        }
        Some(Failing { strace, log })
    }

    fn count(&self) -> usize {
        std::fs::read_to_string(&self.log).unwrap_or_default().matches("(INJECTED)").count()
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.strace);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _ = self.strace.wait();
    }
}

fn watchdog(project: &TestProject) -> i32 {
    project.status()["watchdog"]["pid"].as_i64().unwrap() as i32
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn whoever_cannot_be_heard_costs_nothing() {
    let project = TestProject::new(PATIENT);
    project.run(&["up"]).ok();
    let (watchdog, host) = (watchdog(&project), project.host("int-1"));
    for (pid, args) in [(watchdog, &["status"][..]), (host, &["capture", "lead"])] {
        let Some(failing) = Failing::at(&project, pid, "accept4", "EMFILE", None) else { return };
        let mut asker = project.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until("it tries", || failing.count() > 0);
        std::thread::sleep(Duration::from_secs(2));
        // Two tries each time: to hear, and to turn away.
        assert!((2..120).contains(&failing.count()), "{args:?}: {} tries", failing.count());
        drop(failing);
        asker.wait().unwrap();
        project.run(args).ok();
        assert!(is_alive(pid));
    }
}

#[test]
fn daemons_without_a_descriptor_to_spare_live_and_heal_when_there_is_one() {
    let project = TestProject::new(PATIENT);
    project.run(&["up"]).ok();
    let (watchdog, host) = (watchdog(&project), project.host("int-1"));
    let (lead, tester, other) = (project.pid("lead"), project.pid("tester"), project.host("int-2"));
    let limit = |pid: i32, most: u32| {
        assert!(Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={most}:")]).status().unwrap().success());
    };
    let free = |pid: i32| (0..).find(|fd| !Path::new(&format!("/proc/{pid}/fd/{fd}")).is_symlink()).unwrap();
    for pid in [watchdog, host] {
        // The lock's number is a high one, with free ones below; and who asked last may not have been hung up on yet.
        until("none is free", || {
            let most = free(pid);
            limit(pid, most);
            std::thread::sleep(Duration::from_millis(200));
            free(pid) == most
        });
    }
    kill(lead);
    kill(other);
    let ticks = |pid: i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u64> = stat.rsplit(") ").next().unwrap().split(' ').skip(11).take(2).map(|f| f.parse().unwrap()).collect();
        fields[0] + fields[1]
    };
    let before = ticks(watchdog) + ticks(host);
    std::thread::sleep(Duration::from_secs(2));
    let spent = ticks(watchdog) + ticks(host) - before;
    assert!(spent < 60, "{spent} ticks of the processor in two seconds");
    assert!(is_alive(tester), "an agent died of it");
    assert_eq!(project.find_host("int-2"), None, "there was one to spare");
    for pid in [watchdog, host] {
        assert!(is_alive(pid), "a daemon died of it");
        limit(pid, 1024);
    }
    project.until("both are up", |s| {
        let up = |agent| of(s, agent)["state"] == "up";
        up("lead") && up("tester") && of(s, "lead")["pid"] != lead
    });
    assert_eq!((project.pid("tester"), project.host("int-1")), (tester, host));
    assert_eq!(self::watchdog(&project), watchdog);
}

#[test]
fn where_nothing_can_be_started_it_is_tried_again() {
    let project = TestProject::new(PATIENT);
    project.run(&["up"]).ok();
    let (watchdog, host, tester) = (watchdog(&project), project.host("int-1"), project.pid("tester"));
    for (pid, victim) in [(host, project.pid("lead")), (watchdog, project.host("int-2"))] {
        let Some(failing) = Failing::at(&project, pid, "clone,clone3,fork,vfork", "EAGAIN", None) else { return };
        kill(victim);
        until("it tries more than once", || failing.count() > 1);
        assert!(is_alive(pid));
        drop(failing);
        project.until("all is up", |s| {
            let up = |agent| of(s, agent)["state"] == "up" && of(s, agent)["pid"] != victim;
            up("lead") && up("tester")
        });
    }
    assert_eq!((self::watchdog(&project), project.host("int-1"), project.pid("tester")), (watchdog, host, tester));
}

#[test]
fn a_log_that_cannot_be_written_is_shed_and_the_agent_goes_on() {
    let project = TestProject::new(PATIENT);
    project.run(&["up"]).ok();
    let (lead, host) = (project.pid("lead"), project.host("int-1"));
    let log = project.data().join("logs/int-1.log");
    project.run(&["send", "lead", "kept"]).ok();
    Lines::of(project.command(&["logs", "-f", "lead"])).until("kept");
    let Some(failing) = Failing::at(&project, host, "write,writev,pwrite64", "EIO", Some(&log)) else { return };
    project.run(&["send", "lead", "lost"]).ok();
    until("the log fails", || failing.count() > 0);
    project.until("it is said", |s| of(s, "lead").to_string().contains("log"));
    drop(failing);
    project.run(&["send", "lead", "again"]).ok();
    Lines::of(project.command(&["logs", "-f", "lead"])).until("again");
    assert_eq!((project.pid("lead"), project.host("int-1")), (lead, host));
}
