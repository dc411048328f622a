//! Commands that make, end and restore sessions, killed, or asked to end, at every kind of system call: the next command finishes or takes back what they had begun.
//!
//! `SWEEP=all` tries every call instead of a sample.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::project::{TestProject, said};
use crate::sessions::{ONE, git, is_clean, project, rows, worktree};

/// What changes something on disk or starts something that does. Names differ between architectures.
const CALLS: [&str; 8] = [
    "?openat",
    "write",
    "?fsync,?fdatasync,?syncfs",
    "?rename,?renameat,?renameat2",
    "?mkdir,?mkdirat",
    "?unlink,?unlinkat,?rmdir",
    "?clone,?clone3,?fork,?vfork",
    "?sendto,?sendmsg,?connect",
];
/// A sample ends after this long.
const TIME: Duration = Duration::from_secs(12);

/// What ends it, in turn.
const ENDS: [&str; 6] = ["KILL", "INT", "KILL", "TERM", "KILL", "HUP"];

/// What was said in the end by a command that did all that it should, but was interrupted after it.
const DONE: &str = ", which is done";

/// Runs the command and ends it by this signal at the `n`th call of this kind. What it said; none where it ended by itself before.
fn killed(project: &TestProject, calls: &str, n: usize, signal: &str, args: &[&str]) -> Option<String> {
    let whole = project.command(args);
    let mut command = Command::new("strace");
    command.args(["-qq", "-o", "/dev/null", "-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:signal={signal}:when={n}")]);
    command.arg(whole.get_program()).args(whole.get_args()).current_dir(&project.folder).env_clear();
    command.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if matches!(output.status.code(), Some(129 | 130 | 143)) {
        assert_eq!(said.lines().filter(|l| l.starts_with("error: interrupted ")).count(), 1, "{signal} at {calls} {n}: {said}");
    }
    // What it had started holds the session's lock until it has ended.
    for entry in std::fs::read_dir(project.root().join("run/agents")).into_iter().flatten().flatten() {
        for file in std::fs::read_dir(entry.path()).unwrap().flatten().filter(|f| f.file_name().to_string_lossy().ends_with(".op")) {
            let file = std::fs::File::open(file.path()).unwrap();
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        }
    }
    (!output.status.success()).then(|| said.into_owned())
}

/// Kills the command at one call after the other; `check` looks at what the next command has made of it and puts all back as it was. It is told when that
/// was, and what had been said; nothing of the latter where it ended by itself.
pub fn sweep(project: &TestProject, args: &[&str], check: &mut dyn FnMut(&str, Option<&str>)) {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return eprintln!("skipped: there is no strace here");
    }
    let all = std::env::var_os("SWEEP").is_some();
    let start = Instant::now();
    let mut kills = 0;
    // Each kind in turn, so that a sample has some of all.
    let mut next = CALLS.map(|calls| Some((calls, 1)));
    while next.iter().any(Option::is_some) && (all || start.elapsed() < TIME) {
        for slot in &mut next {
            let Some((calls, n)) = *slot else { continue };
            let signal = ENDS[kills % ENDS.len()];
            let said = killed(project, calls, n, signal, args);
            check(&format!("{args:?} given {signal} at {calls} number {n}: {said:?}"), said.as_deref());
            kills += usize::from(said.is_some());
            *slot = said.map(|_| (calls, n + if all || n < 8 { 1 } else { 5 }));
        }
    }
    eprintln!("{args:?}: {kills} kills");
    assert!(kills >= 10, "only {kills} kills");
}

/// The sessions, once none is just starting: who was interrupted did not wait for that.
fn at_rest(project: &TestProject) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let rows = rows(project, &[]);
        if rows.iter().all(|row| row["state"] != "starting") || Instant::now() > deadline {
            return rows;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_spawn_is_whole_or_nothing() {
    let project = project(ONE);
    project.run(&["info"]).ok();
    project.run(&["spawn"]).ok();
    project.run(&["kill", "int-1"]).ok();
    git(&project.folder, &["branch", "-D", "session/int-1"]);
    sweep(&project, &["spawn", "--branch", "work"], &mut |when, _| {
        let said = project.run(&["clean"]);
        assert_eq!(said.code, 0, "{when}: {said:#?}");
        for row in at_rest(&project) {
            assert_eq!(row["state"], "up", "{when}: {row:#}");
            let id = row["session"].as_str().unwrap();
            assert!(worktree(&project, id).join("file").exists(), "{when}");
            let said = project.run(&["kill", id]);
            assert_eq!(said.code, 0, "{when}: {said:#?}");
            git(&project.folder, &["branch", "-D", "work"]);
        }
        is_clean(&project);
        let hidden: Vec<_> = std::fs::read_dir(project.data().join("sessions")).unwrap().flatten().collect();
        assert!(hidden.is_empty(), "{when}: {hidden:?}");
    });
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn a_kill_loses_nothing_and_is_finished() {
    let project = project(ONE);
    project.run(&["spawn"]).ok();
    let file = worktree(&project, "int-1").join("new");
    std::fs::write(&file, "precious").unwrap();
    sweep(&project, &["kill", "int-1"], &mut |when, _| {
        let clean = project.run(&["clean"]).ok();
        let mut restore = None;
        if rows(&project, &[]).is_empty() {
            assert!(!file.exists(), "{when}");
            assert_eq!(git(&project.folder, &["show", "refs/agents/preserved/int-1:new"]), "precious", "{when}");
            restore = Some(project.run(&["restore", "int-1"]).ok());
        }
        let found = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(found, "precious", "{when}: {clean:?} {restore:?}");
        assert_eq!(at_rest(&project)[0]["state"], "up", "{when}");
        assert_eq!(git(&project.folder, &["worktree", "list"]).lines().count(), 2, "{when}");
    });
}

#[test]
fn a_restore_is_whole_or_archived_as_before() {
    let project = project(ONE);
    project.run(&["spawn"]).ok();
    let file = worktree(&project, "int-1").join("new");
    std::fs::write(&file, "precious").unwrap();
    project.run(&["kill", "int-1"]).ok();
    sweep(&project, &["restore", "int-1"], &mut |when, _| {
        project.run(&["clean"]).ok();
        if let Some(row) = at_rest(&project).first() {
            assert_eq!(row["state"], "up", "{when}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious", "{when}");
            project.run(&["kill", "int-1"]).ok();
        }
        assert_eq!(rows(&project, &["--archived"]).len(), 1, "{when}");
        assert_eq!(git(&project.folder, &["show", "refs/agents/preserved/int-1:new"]), "precious", "{when}");
        assert_eq!(git(&project.folder, &["worktree", "list"]).lines().count(), 1, "{when}");
    });
}

#[test]
fn tasks_of_a_file_are_all_there_and_once_however_often_it_is_added_again() {
    let project = project(&format!("{ONE}task = [\"cat\"]\n"));
    project.run(&["task", "add", "first"]).ok();
    project.run(&["down"]).ok();
    let pending = project.data().join("tasks/pending");
    let empty = || std::fs::read_dir(&pending).unwrap().for_each(|task| std::fs::remove_file(task.unwrap().path()).unwrap());
    empty();
    let names = ["a", "b", "c", "d", "e", "f"];
    let line = |(n, name): (usize, &&str)| match n {
        0 => format!("{{\"prompt\": \"x\", \"name\": \"{name}\", \"after\": [\"{}\"]}}\n", names[1]),
        _ => format!("{{\"prompt\": \"x\", \"name\": \"{name}\"}}\n"),
    };
    std::fs::write(project.folder.join("work"), names.iter().enumerate().map(line).collect::<String>()).unwrap();
    let add = ["task", "add", "--from", "work"];
    let left = || -> Vec<_> { std::fs::read_dir(project.data().join("tasks/adding")).into_iter().flatten().flatten().collect() };
    let queued =
        || -> Vec<Value> { serde_json::from_str(&project.run(&["task", "list", "--state", "pending", "--json"]).ok().stdout).unwrap() };
    sweep(&project, &add, &mut |when, said| {
        // Another add comes first: there is no part without the rest.
        let other = project.run(&["task", "add", "another"]).ok().stdout;
        let found = queued().len();
        assert!([1, 1 + names.len()].contains(&found), "{when}: {found} tasks");
        if said.is_some_and(|said| !said.contains(DONE)) || left().len() > 1 {
            let ids = project.run(&add).ok().stdout;
            assert_eq!(ids.lines().count(), names.len(), "{when}: {ids}");
            let shown: Vec<Value> = queued().into_iter().filter(|t| ids.lines().any(|id| t["task"] == id)).collect();
            assert_eq!(shown.len(), names.len(), "{when}: {ids} of {shown:#?}");
        }
        let mut found: Vec<Value> = queued().into_iter().filter(|t| t["task"] != other.trim()).map(|t| t["name"].clone()).collect();
        found.sort_by_key(Value::to_string);
        assert_eq!(found, names, "{when}");
        assert!(left().len() <= 1, "{when}: {:?}", left());
        empty();
    });
    // Whoever was told adds them once more.
    project.run(&add).ok();
    project.run(&add).ok();
    assert_eq!(queued().len(), 2 * names.len());
}

/// For want of memory, say: it has not said that there is nothing.
#[test]
fn a_git_that_is_killed_while_work_is_kept_loses_none() {
    let project = project(ONE);
    project.run(&["spawn"]).ok();
    let tree = worktree(&project, "int-1");
    git(&tree, &["checkout", "-q", "--detach"]);
    git(&tree, &["commit", "-q", "--allow-empty", "-m", "on no branch"]);
    let commit = git(&tree, &["rev-parse", "HEAD"]);
    let bin = project.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let shim = format!("#!/bin/sh\ncase \"$*\" in *\"$DIES\"*) kill -KILL $$ ;; esac\nPATH='{path}'\nexec git \"$@\"\n");
    std::fs::write(bin.join("git"), shim).unwrap();
    std::fs::set_permissions(bin.join("git"), PermissionsExt::from_mode(0o755)).unwrap();
    for dies in ["HEAD^{commit}", "symbolic-ref", "HEAD^{tree}", "for-each-ref", "write-tree", "commit-tree", "update-ref"] {
        let mut kill = project.command(&["kill", "int-1"]);
        kill.env("PATH", format!("{}:{path}", bin.display())).env("DIES", dies);
        let said = said(kill);
        assert_ne!(said.code, 0, "{dies}: {said:?}");
        assert!(tree.join("file").exists(), "{dies}: {said:?}");
    }
    project.run(&["clean"]).ok();
    assert!(!tree.exists());
    git(&project.folder, &["merge-base", "--is-ancestor", &commit, "refs/agents/preserved/int-1"]);
}
