//! A watchdog that is stopped (SIGSTOP) and answers nobody.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::home::TestHome;

/// A look at projects never takes longer, whatever one of them does; on a busy machine with room to spare.
const LOOK_MAX: Duration = Duration::from_secs(8);

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid]).status().unwrap().success(), "{name} {pid}");
}

/// Stops it, and waits until the kernel says so.
fn freeze(pid: &str) {
    signal("-STOP", pid);
    let begun = Instant::now();
    let stopped = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit(") ").next().unwrap().starts_with('T');
    while !stopped() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{pid} does not stop");
        std::thread::yield_now();
    }
}

fn status(home: &TestHome) -> Value {
    let begun = Instant::now();
    let ran = home.fleet(&["status", "--json"]);
    assert!(begun.elapsed() < LOOK_MAX, "it took {:?}", begun.elapsed());
    serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

fn state<'v>(status: &'v Value, name: &str) -> &'v str {
    let projects = status["projects"].as_array().unwrap();
    projects.iter().find(|p| p["name"] == name).unwrap()["state"].as_str().unwrap()
}

/// The processes that name the project's data folder on their command line or stand in its own; those with this word on it.
fn processes(home: &TestHome, project: &str, word: &str) -> Vec<String> {
    let (data, folder) = (home.file(".local/state/agents"), home.project(project));
    let of_project = |pid: &str| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let within = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder);
        let named = line.split('\0').any(|w| Path::new(w).parent() == Some(&data) && w.ends_with(&format!("-{project}")));
        (within || named) && (word.is_empty() || line.split('\0').any(|w| w == word))
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten().map(|e| e.file_name().into_string().unwrap());
    pids.filter(|p| p.bytes().all(|b| b.is_ascii_digit()) && of_project(p)).collect()
}

#[test]
fn a_frozen_watchdog_makes_its_own_project_unknown_and_no_other() {
    let home = TestHome::new();
    for name in ["web", "api"] {
        home.fleet(&["create", name, "--backend", "shell", "--start"]).ok();
    }
    let pids = processes(&home, "web", "watchdog");
    assert_eq!(pids.len(), 1, "{pids:?} of {:?}", processes(&home, "web", ""));
    freeze(&pids[0]);
    let seen = status(&home);
    let begun = Instant::now();
    let asked = home.agents("web", &["status"]);
    let took = begun.elapsed();
    assert_eq!((state(&seen, "web"), state(&seen, "api")), ("unknown", "up"), "{seen}");
    assert!(took < LOOK_MAX, "it took {took:?}");
    assert!(asked.code != 0 && asked.err.contains("the watchdog was stopped (SIGSTOP): `kill -CONT"), "{asked:?}");
    // Who stops it need not know.
    let said = home.fleet(&["stop", "web"]).ok();
    assert!(said.contains("warning: web: the watchdog (pid ") && said.contains("was woken"), "{said}");
    assert_eq!(processes(&home, "web", ""), Vec::<String>::new(), "left after stop");
    assert_eq!(state(&status(&home), "web"), "down");
}

#[test]
fn a_frozen_host_keeps_nobody_from_stopping() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell", "--start"]).ok();
    let pids = processes(&home, "web", "host");
    assert_eq!(pids.len(), 1, "{pids:?} of {:?}", processes(&home, "web", ""));
    freeze(&pids[0]);
    let said = home.agents("web", &["down"]).ok();
    assert!(said.contains("warning: the host of web-1 (pid ") && said.contains("was woken"), "{said}");
    assert_eq!(processes(&home, "web", ""), Vec::<String>::new(), "left after down");
    let events = home.agents("web", &["why", "web-1"]).ok();
    assert!(events.contains("woken"), "{events}");
}
