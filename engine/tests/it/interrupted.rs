//! Commands that make, end and restore sessions, killed, or asked to end, at every kind of system call: the next command finishes or takes back what they had begun.
//!
//! `SWEEP=all` tries every call, and every way to end, instead of a sample of kills.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::project::TestProject;
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

/// Runs the command and ends it by this signal at the `n`th call of this kind. False: it ended by itself before.
fn killed(project: &TestProject, calls: &str, n: usize, signal: &str, args: &[&str]) -> bool {
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
    !output.status.success()
}

/// Kills the command at one call after the other; `check` looks at what the next command has made of it and puts all back as it was.
pub fn sweep(project: &TestProject, args: &[&str], check: &mut dyn FnMut(&str)) {
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
            let signal = if all { ENDS[kills % ENDS.len()] } else { "KILL" };
            let was_killed = killed(project, calls, n, signal, args);
            check(&format!("{args:?} given {signal} at {calls} number {n}"));
            kills += usize::from(was_killed);
            *slot = was_killed.then_some((calls, n + if all || n < 4 { 1 } else { 5 }));
        }
    }
    eprintln!("{args:?}: {kills} kills");
    assert!(kills >= 10, "only {kills} kills");
}

#[test]
fn a_spawn_is_whole_or_nothing() {
    let project = project(ONE);
    project.run(&["info"]).ok();
    project.run(&["spawn"]).ok();
    project.run(&["kill", "int-1"]).ok();
    git(&project.folder, &["branch", "-D", "session/int-1"]);
    sweep(&project, &["spawn", "--branch", "work"], &mut |when| {
        project.run(&["clean"]).ok();
        for row in rows(&project, &[]) {
            assert_eq!(row["state"], "up", "{when}: {row:#}");
            let id = row["session"].as_str().unwrap();
            assert!(worktree(&project, id).join("file").exists(), "{when}");
            project.run(&["kill", id]).ok();
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
    sweep(&project, &["kill", "int-1"], &mut |when| {
        project.run(&["clean"]).ok();
        if rows(&project, &[]).is_empty() {
            assert!(!file.exists(), "{when}");
            assert_eq!(git(&project.folder, &["show", "refs/agents/preserved/int-1:new"]), "precious", "{when}");
            project.run(&["restore", "int-1"]).ok();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious", "{when}");
        assert_eq!(rows(&project, &[])[0]["state"], "up", "{when}");
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
    sweep(&project, &["restore", "int-1"], &mut |when| {
        project.run(&["clean"]).ok();
        if let Some(row) = rows(&project, &[]).first() {
            assert_eq!(row["state"], "up", "{when}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious", "{when}");
            project.run(&["kill", "int-1"]).ok();
        }
        assert_eq!(rows(&project, &["--archived"]).len(), 1, "{when}");
        assert_eq!(git(&project.folder, &["show", "refs/agents/preserved/int-1:new"]), "precious", "{when}");
        assert_eq!(git(&project.folder, &["worktree", "list"]).lines().count(), 1, "{when}");
    });
}
