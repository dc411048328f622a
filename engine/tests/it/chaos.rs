//! Everything is killed at random, and all the while somebody counts: a session never has two agents, and at the end each has its one.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::project::{TestProject, kill, of};

/// A small generator (SplitMix64, Steele, Lea and Flood 2014): the same numbers for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// `n` agents that may die as often as they like.
pub fn crowd(n: usize, command: &str) -> String {
    let mut config = format!(
        "[project]\nname = \"web\"\nsession_prefix = \"int\"\n\n[defaults]\nbackend = \"quiet\"\n\
         restart = {{ backoff = \"1ms..20ms\", burst = 100000, window = \"10m\" }}\n\n[backend.quiet]\nstart = {command}\n"
    );
    for i in 1..=n {
        config.push_str(&format!("\n[agent.a{i}]\n"));
    }
    config
}

pub const SLEEP: &str = "[\"sleep\", \"1000000\"]";

/// Which part of the engine a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Watchdog,
    Host,
    Agent,
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    start: u64,
}

/// Looks at all processes of one project.
pub struct Census {
    root: String,
    hash: String,
}

impl Census {
    pub fn of(project: &TestProject) -> Census {
        let data = project.data();
        let hash = data.file_name().unwrap().to_str().unwrap()[..12].to_owned();
        Census { root: project.root().to_str().unwrap().to_owned(), hash }
    }

    /// What a process is, now. What is ending has no environment any more and is nobody.
    fn look(&self, pid: i32) -> Option<(Part, String, Process)> {
        let read = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        let environ = String::from_utf8_lossy(&read("environ")).into_owned();
        let stat = String::from_utf8_lossy(&read("stat")).into_owned();
        let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
        if matches!(fields[0], "Z" | "X") {
            return None;
        }
        let process = Process { pid, start: fields[19].parse().ok()? };
        let mark = format!("AGENTS_MARK={}/", self.hash);
        if let Some(session) = environ.split('\0').find_map(|v| v.strip_prefix(&mark)) {
            return Some((Part::Agent, session.to_owned(), process));
        }
        let line = String::from_utf8_lossy(&read("cmdline")).into_owned();
        let words: Vec<&str> = line.split('\0').collect();
        let after = |name: &str| words.iter().position(|w| *w == name).and_then(|i| words.get(i + 1));
        match *words.get(1)? {
            _ if !after("--data").is_some_and(|data| data.starts_with(&self.root)) => None,
            "host" => Some((Part::Host, (*after("--session")?).to_owned(), process)),
            "watchdog" => Some((Part::Watchdog, String::new(), process)),
            _ => None,
        }
    }

    pub fn all(&self) -> Vec<(Part, String, Process)> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        entries.filter_map(|e| self.look(e.file_name().to_str()?.parse().ok()?)).collect()
    }

    /// Sessions that have two living agents, with proof: the one that was seen first still lived after the second was seen.
    pub fn doubled(&self) -> Vec<String> {
        let mut first: BTreeMap<String, Process> = BTreeMap::new();
        let mut doubled = vec![];
        for (part, session, process) in self.all() {
            if part != Part::Agent {
                continue;
            }
            match first.get(&session) {
                Some(other) if self.look(other.pid).is_some_and(|(_, s, p)| s == session && p == *other) => {
                    doubled.push(format!("{session}: {} and {}", other.pid, process.pid));
                }
                _ => drop(first.insert(session, process)),
            }
        }
        doubled
    }

    /// The agents that live, by session.
    pub fn agents(&self) -> BTreeMap<String, Vec<i32>> {
        let mut agents: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for (part, session, process) in self.all() {
            if part == Part::Agent {
                agents.entry(session).or_default().push(process.pid);
            }
        }
        agents
    }
}

/// Counts until told to stop: how often it looked, and whom it saw doubled.
fn sample(census: &Census, stop: &AtomicBool) -> (usize, Vec<String>) {
    let (mut looks, mut doubled) = (0, vec![]);
    while !stop.load(Ordering::Relaxed) {
        doubled.extend(census.doubled());
        looks += 1;
    }
    (looks, doubled)
}

/// Brings everything up, whatever is left, and waits until it is so.
#[track_caller]
pub fn all_up(project: &TestProject, n: usize) -> Value {
    let up = project.run(&["up"]);
    assert!(up.code == 0 || up.stderr.contains("waits before its next start") || up.stderr.contains("before it had answered"), "{up:#?}");
    if up.code != 0 {
        project.run(&["up"]);
    }
    let is_up = |s: &Value| s["agents"].as_array().is_some_and(|all| all.len() == n && all.iter().all(|a| a["state"] == "up"));
    project.until("all are up", is_up)
}

/// Every agent that status shows is the one that lives, and each session has exactly one: as soon as what was killed last has ended for good, which takes
/// the kernel a moment on a busy machine.
#[track_caller]
pub fn labels_are_right(census: &Census, project: &TestProject) {
    let begun = Instant::now();
    loop {
        let status = project.status();
        let told: BTreeMap<String, Vec<i32>> = status["agents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| (a["session"].as_str().unwrap().to_owned(), a["pid"].as_i64().map(|pid| pid as i32).into_iter().collect()))
            .collect();
        let lives = census.agents();
        if told == lives {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "pids as status says them, and as they are: {told:?}, {lives:?}");
    }
}

fn storm(n: usize, kills: usize, seed: u64) {
    let project = TestProject::new(&crowd(n, SLEEP));
    project.run(&["up"]).ok();
    let census = Census::of(&project);
    let mut random = Random(seed);
    let stop = AtomicBool::new(false);
    let (looks, doubled, killed) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&census, &stop));
        let mut killed = 0;
        while killed < kills {
            let all = census.all();
            let mut victims = vec![];
            for _ in 0..[1, 1, 1, 2, 5, 20][random.below(6) as usize] {
                if !all.is_empty() {
                    victims.push(all[random.below(all.len() as u64) as usize].clone());
                }
            }
            match random.below(6) {
                // The watchdog alone is rarely hit by chance.
                0 => victims.extend(all.iter().filter(|(part, ..)| *part == Part::Watchdog).cloned()),
                // A whole session with the watchdog.
                1 => {
                    let session = format!("int-{}", 1 + random.below(n as u64));
                    victims.extend(all.iter().filter(|(part, s, _)| *part != Part::Agent && (*s == session || s.is_empty())).cloned());
                }
                _ => {}
            }
            killed += victims.len();
            victims.iter().for_each(|(_, _, process)| kill(process.pid));
            if all.iter().all(|(part, ..)| *part != Part::Watchdog) && random.below(4) == 0 {
                // Everything that would bring the rest back may be dead: the operator does.
                let _ = project.command(&["up"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
            }
        }
        all_up(&project, n);
        stop.store(true, Ordering::Relaxed);
        let (looks, doubled) = sampler.join().unwrap();
        labels_are_right(&census, &project);
        (looks, doubled, killed)
    });
    assert_eq!(doubled, Vec::<String>::new(), "seed {seed}");
    assert!(looks > 10, "the sampler has hardly looked: {looks}");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new(), "seed {seed}: down leaves no process");
    println!("{n} sessions, {killed} kills, {looks} looks: none doubled, none lost, none mislabelled (seed {seed})");
}

#[test]
fn thirty_sessions_through_three_hundred_kills() {
    storm(30, 300, 1);
}

/// Takes a minute or more: `cargo test -p agents --test it -- --ignored thousand`.
#[test]
#[ignore = "the long form of the storm"]
fn a_hundred_sessions_through_a_thousand_kills() {
    for seed in 1..=3 {
        storm(100, 1000, seed);
    }
}

/// The one who counts is worth nothing if it does not see what it looks for.
#[test]
fn a_second_agent_started_by_hand_is_seen() {
    let project = TestProject::new(&crowd(2, SLEEP));
    project.run(&["up"]).ok();
    let census = Census::of(&project);
    assert_eq!(census.doubled(), Vec::<String>::new());
    let mut second = Command::new("sleep").arg("1000").env("AGENTS_MARK", format!("{}/int-2", census.hash)).spawn().unwrap();
    let begun = Instant::now();
    // It is seen once it has been executed.
    while census.doubled().is_empty() && begun.elapsed() < Duration::from_secs(10) {}
    let doubled = census.doubled();
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(doubled.len() == 1 && doubled[0].starts_with("int-2"), "{doubled:?}");
    assert_eq!(of(&project.status(), "a2")["state"], "up");
}
