//! Commands killed at every kind of system call: afterwards the next command finishes or undoes, and the state is old or new, never between.
//!
//! `SWEEP=all` tries every call instead of a sample; `SWEEP=300` as many of them as fit into so many seconds, each sweep.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::home::{Ran, TestHome};

/// What changes something on disk or starts something that does. Old and new names of the same call differ between architectures.
const CALLS: [&str; 8] = [
    "?openat",
    "write",
    "?fsync,?fdatasync,?syncfs",
    "?rename,?renameat,?renameat2",
    "?mkdir,?mkdirat",
    "?unlink,?unlinkat",
    "execve",
    "?link,?linkat",
];
/// What ends it, in turn.
pub const ENDS: [&str; 6] = ["KILL", "INT", "KILL", "TERM", "KILL", "HUP"];
/// Of each kind, this many are tried when sampling.
const SAMPLES: usize = 5;
/// A sample ends after this long.
const TIME: Duration = Duration::from_secs(18);

/// Which of the two whole states was found, or what is torn.
pub type Found = Result<State, String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Old,
    New,
}

pub struct Sweep<'a> {
    home: &'a TestHome,
    snapshot: Snapshot,
    argv: Vec<String>,
    look: &'a dyn Fn(&TestHome) -> Found,
    /// For a writer that is to be caught: once is enough.
    until_torn: bool,
    /// How long a sample may take.
    time: Duration,
}

/// A copy of the home folder, removed at the end.
struct Snapshot(PathBuf);

impl Drop for Snapshot {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    pub kills: usize,
    pub old: usize,
    pub new: usize,
    pub torn: Vec<String>,
}

fn sh(text: &str) {
    assert!(Command::new("sh").args(["-c", text]).status().unwrap().success(), "{text}");
}

impl<'a> Sweep<'a> {
    pub fn of(home: &'a TestHome, argv: &[&str], look: &'a dyn Fn(&TestHome) -> Found) -> Sweep<'a> {
        let snapshot = home.file("").with_extension("snapshot");
        sh(&format!("rm -rf {0} && cp -a {1} {0}", snapshot.display(), home.file("").display()));
        Sweep {
            home,
            snapshot: Snapshot(snapshot),
            argv: argv.iter().map(|a| (*a).to_owned()).collect(),
            look,
            until_torn: false,
            time: TIME,
        }
    }

    /// With a shorter sample.
    pub fn within(self, time: Duration) -> Self {
        Sweep { time, ..self }
    }

    fn restore(&self) {
        let folder = self.home.file("");
        // The fleet home stays the same folder: another one would be known nothing of.
        let home = self.home.file("home");
        let all = format!("find {} -mindepth 1 -not -path {} -delete", folder.display(), home.display());
        sh(&format!("{all} && cp -a {}/. {}", self.snapshot.0.display(), folder.display()));
    }

    /// Runs it under strace, with `-f` also what it starts; answers with the log.
    fn strace(&self, calls: &str, follow: bool, ended_at: Option<(usize, &str)>) -> String {
        let log = self.snapshot.0.with_extension("strace");
        let mut command = self.home.command("strace", &self.home.file("home"));
        command.arg("-qq").arg("-e").arg(format!("trace={calls}")).arg("-o").arg(&log);
        if follow {
            command.arg("-f");
        }
        if let Some((n, signal)) = ended_at {
            command.arg("-e").arg(format!("inject={calls}:signal={signal}:when={n}"));
        }
        let ran = Ran::of(command.args(&self.argv).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap());
        if matches!(ran.code, 129 | 130 | 143) && !self.until_torn {
            let lines = ran.err.lines().filter(|l| l.starts_with("error: interrupted ")).count();
            assert_eq!(lines, 1, "{calls}, {ended_at:?}: {ran:?}");
        }
        // git that outlives its starter holds the lock; the kernel wakes us when it is done.
        sh(&format!("flock {} true", self.home.file("home/.fleet.lock").display()));
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let _ = std::fs::remove_file(&log);
        text
    }

    /// Where to kill: the kind of call, its number within one process, and whether any process or only the first. In an order that has a
    /// bit of everything early.
    fn points(&self, all: bool) -> Vec<(&'static str, usize, bool)> {
        let mut points = vec![];
        for follow in [false, true] {
            self.restore();
            let log = self.strace(&CALLS.join(","), follow, None);
            for calls in CALLS {
                let names: Vec<String> = calls.split(',').map(|c| format!("{}(", c.trim_start_matches('?'))).collect();
                let mut counts = HashMap::new();
                for line in log.lines().filter(|l| names.iter().any(|n| l.contains(n.as_str()))) {
                    let process = if follow { line.split(' ').next().unwrap_or_default() } else { "" };
                    *counts.entry(process).or_insert(0usize) += 1;
                }
                let total = counts.into_values().max().unwrap_or(0);
                let step = if all { 1 } else { (total / SAMPLES).max(1) };
                points.extend((1..=total).step_by(step).map(|n| (calls, n, follow)));
            }
        }
        // A fixed shuffle: the same order in every run.
        let mut seed = 0x9e37_79b9_u32;
        for i in (1..points.len()).rev() {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            points.swap(i, (seed >> 8) as usize % (i + 1));
        }
        points
    }

    pub fn run(&self) -> Tally {
        let asked = std::env::var("SWEEP").ok();
        let (mut tally, all) = (Tally::default(), asked.is_some());
        let limit = asked.and_then(|seconds| seconds.parse().ok()).map_or(Duration::MAX, Duration::from_secs);
        let (points, begun) = (self.points(all), Instant::now());
        for (i, (calls, n, follow)) in points.iter().enumerate() {
            let both = tally.old > 0 && tally.new > 0;
            let over = begun.elapsed() > if all { limit } else { self.time };
            if (both && over) || (self.until_torn && !tally.torn.is_empty()) {
                break;
            }
            self.restore();
            // Whoever is asked to end leaves what one leaves that is killed. git has its own way with signals.
            let signal = if *follow || self.until_torn { "KILL" } else { ENDS[i % ENDS.len()] };
            self.strace(calls, *follow, Some((*n, signal)));
            tally.kills += 1;
            // Any changing command settles what was interrupted before it says that it does not know this project.
            let interrupted = self.home.fleet(&["history"]).out.contains("interrupted:");
            let next = self.home.fleet(&["remove", "no-such-project"]);
            let found = match next.err.contains("which was interrupted") {
                said if said != interrupted => Err(format!("interrupted: {interrupted}, said so: {said}")),
                _ => (self.look)(self.home),
            };
            match found {
                Ok(State::Old) => tally.old += 1,
                Ok(State::New) => tally.new += 1,
                Err(why) => {
                    let which = if *follow { "any process" } else { "the command" };
                    tally.torn.push(format!("{signal} to {which} at {calls} number {n}: {why}\n{}", next.err));
                }
            }
        }
        println!(
            "{:?}: {} points, {} kills, {} old, {} new, {} torn",
            &self.argv[1..],
            points.len(),
            tally.kills,
            tally.old,
            tally.new,
            tally.torn.len()
        );
        tally
    }
}

pub fn strace_is_here() -> bool {
    let here = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).status().is_ok_and(|s| s.success());
    if !here {
        println!("skipped: strace is not installed, or may not trace here");
    }
    here
}

fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            match entry.file_type().unwrap().is_dir() {
                true if name.ends_with(".partial") => found.push(entry.path()),
                true if name != "objects" => folders.push(entry.path()),
                false if name.ends_with(".tmp") || name.ends_with(".lock") && folder.display().to_string().contains("/.git") => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    found
}

pub fn expect(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}, found {found:?}")) }
}

/// A project between two pins is torn; so is anything of the user's that went along.
fn updated(home: &TestHome) -> Found {
    let (shop, engine) = (home.project("shop"), home.project("shop").join("engine"));
    let tags: Vec<String> = ["v1.0.0", "v1.1.0"].iter().map(|t| home.git(&home.file("harness/sh"), &["rev-parse", t])).collect();
    let pin = home.pin("shop");
    let (state, reference, commits) = match pin {
        _ if pin == tags[0] => (State::Old, "v1.0.0", "1"),
        _ if pin == tags[1] => (State::New, "v1.1.0", "2"),
        _ => return Err(format!("the pin is {pin}")),
    };
    expect("commits", &home.git(&shop, &["rev-list", "--count", "HEAD"]), commits)?;
    expect("branch", &home.git(&shop, &["symbolic-ref", "HEAD"]), "refs/heads/main")?;
    expect("checkout", &home.git(&engine, &["rev-parse", "HEAD"]), &pin)?;
    expect("engine's files", &home.git(&engine, &["status", "--porcelain"]), "")?;
    expect("files", &home.git(&shop, &["status", "--porcelain"]), " M README.md\nA  staged\n?? untracked")?;
    let registry = home.registry();
    if !registry.contains(&format!("ref = \"{reference}\"\ncommit = \"{pin}\"")) {
        return Err(format!("pinned at {reference}, but the registry says:\n{registry}"));
    }
    settled(home)?;
    Ok(state)
}

pub fn settled(home: &TestHome) -> Result<(), String> {
    let left: Vec<PathBuf> = ["projects", "home", ".local/state/fleet"].iter().flat_map(|f| leftovers(&home.file(f))).collect();
    if !left.is_empty() {
        return Err(format!("left behind: {left:?}"));
    }
    match home.fleet(&["history"]).out.contains("interrupted:") {
        true => Err("an operation is unfinished".into()),
        false => Ok(()),
    }
}

fn ready() -> TestHome {
    let home = TestHome::new();
    home.sh_harness("sh", true);
    home.fleet(&["create", "shop", "--harness", "sh"]).ok();
    home.write("projects/shop/staged", "staged\n");
    home.git(&home.project("shop"), &["add", "staged"]);
    home.write("projects/shop/README.md", "changed\n");
    home.write("projects/shop/untracked", "untracked\n");
    home
}

#[test]
fn an_update_killed_anywhere_is_old_or_new() {
    if !strace_is_here() {
        return;
    }
    let home = ready();
    let tally = Sweep::of(&home, &[env!("CARGO_BIN_EXE_fleet"), "update", "shop", "v1.1.0"], &updated).run();
    assert!(tally.torn.is_empty(), "{}", tally.torn.join("\n\n"));
    assert!(tally.old > 0 && tally.new > 0, "{tally:?}");
    home.fleet(&["update", "shop", "v1.1.0"]).ok();
}

#[test]
fn a_create_killed_anywhere_is_nothing_or_whole() {
    if !strace_is_here() {
        return;
    }
    let home = TestHome::new();
    home.fleet(&["create", "first"]).ok();
    let look = |home: &TestHome| -> Found {
        let web = home.project("web");
        let registered = home.registry().contains("name = \"web\"");
        if home.file("projects/.web.partial").exists() {
            return Err("the unfinished folder is still there".into());
        }
        settled(home)?;
        if !web.exists() {
            return if registered { Err("registered, but not there".into()) } else { Ok(State::Old) };
        }
        expect("files", &home.git(&web, &["status", "--porcelain"]), "")?;
        expect("checkout", &home.git(&web.join("engine"), &["rev-parse", "HEAD"]), &home.pin("web"))?;
        expect("engine's files", &home.git(&web.join("engine"), &["status", "--porcelain"]), "")?;
        if registered { Ok(State::New) } else { Err("there, but not registered".into()) }
    };
    let tally = Sweep::of(&home, &[env!("CARGO_BIN_EXE_fleet"), "create", "web"], &look).run();
    assert!(tally.torn.is_empty(), "{}", tally.torn.join("\n\n"));
    assert!(tally.old > 0 && tally.new > 0, "{tally:?}");
}

/// What many would write by hand: it must not pass, or the sweep sees nothing.
#[test]
fn a_writer_without_a_journal_is_caught() {
    if !strace_is_here() {
        return;
    }
    let home = ready();
    let to = home.git(&home.file("harness/sh"), &["rev-parse", "v1.1.0"]);
    let from = home.pin("shop");
    let shop = home.project("shop").display().to_string();
    let script = format!(
        "set -e\nsed -i 's/{from}/{to}/; /commit/!s/ref = \"v1.0.0\"$/ref = \"v1.1.0\"/' fleet.toml\n\
         git -C {shop}/engine fetch -q --tags origin\ngit -C {shop}/engine checkout -q {to}\ngit -C {shop} commit -q --only -m bump -- engine\n"
    );
    home.write("bad", &script);
    let bad = home.file("bad").display().to_string();
    let tally = Sweep { until_torn: true, ..Sweep::of(&home, &["sh", &bad], &updated) }.run();
    assert!(!tally.torn.is_empty(), "{tally:?}");
}
