//! A checkout is moved: that is told, what it left behind is taken over whole, and nobody else's ever is.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::interrupted::sweep;
use crate::project::{Lines, Said, TWO, TestProject, of, said};
use crate::sessions::{ONE, git, project, rows, worktree};

fn run_in(project: &TestProject, folder: &Path, args: &[&str]) -> Said {
    let mut command = project.command(args);
    command.current_dir(folder);
    said(command)
}

/// The checkout goes there.
fn to(project: &mut TestProject, name: &str) {
    let there = project.root().join(name);
    std::fs::rename(&project.folder, &there).unwrap();
    project.folder = there;
}

fn left_behind(project: &TestProject, folder: &Path) -> Vec<Value> {
    let info: Value = serde_json::from_str(&run_in(project, folder, &["info", "--json"]).ok().stdout).unwrap();
    info["moved"].as_array().unwrap().clone()
}

fn instances(project: &TestProject) -> Vec<PathBuf> {
    let home = project.root().join("home/.local/state/agents");
    let names = std::fs::read_dir(home).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> = names.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.')).collect();
    all.sort();
    all
}

#[test]
fn a_moved_checkout_gets_all_of_it_back() {
    let mut project = project(&format!("{ONE}\n[worktree]\nsymlinks = [\".env\"]\n"));
    std::fs::write(project.folder.join(".env"), "secret").unwrap();
    project.run(&["spawn", "--issue", "INT-7"]).ok();
    std::fs::write(worktree(&project, "int-1").join("new"), "precious").unwrap();
    project.run(&["spawn", "--no-worktree"]).ok();
    project.run(&["kill", "int-2"]).ok();
    project.run(&["down"]).ok();
    project.run(&["send", "int-1", "for later"]).ok();
    let before = project.data();
    to(&mut project, "elsewhere");

    let left = left_behind(&project, &project.folder);
    assert_eq!((left.len(), &left[0]["certain"], &left[0]["sessions"]), (1, &true.into(), &2.into()), "{left:?}");
    assert!(project.run(&["status"]).ok().stderr.contains("agents info --adopt"));
    for verb in [&["up"][..], &["spawn"], &["orchestrate"]] {
        let said = project.run(verb).fails(1, "this checkout was moved here from");
        assert!(said.stderr.contains("hint: agents info --adopt"), "{said:?}");
    }
    assert_eq!(instances(&project), std::slice::from_ref(&before), "nothing was begun anew");
    let said = project.run(&["info", "--adopt"]).ok();
    assert!(said.stderr.contains("1 live session;"), "{said:?}");

    assert_eq!(instances(&project), [project.data()]);
    assert_ne!(project.data(), before);
    let tree = worktree(&project, "int-1");
    assert_eq!(rows(&project, &[])[0]["worktree"], tree.to_str().unwrap());
    assert_eq!(rows(&project, &["--archived"]).len(), 1);
    assert_eq!(git(&tree, &["status", "--porcelain"]), "?? new");
    assert_eq!(git(&project.folder, &["worktree", "list"]).lines().count(), 2);
    assert_eq!(std::fs::read_link(tree.join(".env")).unwrap(), project.folder.join(".env"));
    let written = |path: &str| std::fs::read_to_string(project.data().join(path)).unwrap();
    for path in ["sessions/int-1", "launch/int-1.json"] {
        let text = written(path);
        assert!(!text.contains("/web/") && !text.contains(before.to_str().unwrap()), "{path} still names the old place: {text}");
    }
    project.run(&["up", "int-1"]).ok();
    let mut log = Lines::of(project.command(&["logs", "-f", "int-1"]));
    log.until("again");
    log.until("for later");
    project.run(&["kill", "int-1"]).ok();
    assert_eq!(git(&project.folder, &["show", "refs/agents/preserved/int-1:new"]), "precious");
    assert!(left_behind(&project, &project.folder).is_empty());
    project.run(&["info", "--adopt"]).fails(1, "nothing that this checkout could have left behind");
}

#[test]
fn what_is_anothers_or_lives_is_left_alone() {
    let mut project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let pid = project.pid("lead");
    // Another checkout of the same project, beside the first.
    let copy = project.root().join("copy");
    assert!(Command::new("cp").arg("-a").arg(&project.folder).arg(&copy).status().unwrap().success());
    assert!(left_behind(&project, &copy).is_empty());
    run_in(&project, &copy, &["info", "--adopt"]).fails(1, "nothing that this checkout could have left behind");
    let before = project.data();
    let old = project.folder.clone();
    to(&mut project, "elsewhere");
    let said = project.run(&["info", "--adopt"]).fails(1, "still lives");
    assert!(said.stderr.contains(old.to_str().unwrap()) && said.stderr.contains("agents down"), "{said:?}");
    assert_eq!((project.data() == before, before.exists()), (false, true));
    // The copy is not the one that was moved; that has the same name only.
    let left = left_behind(&project, &copy);
    assert_eq!((left.len(), &left[0]["certain"]), (1, &false.into()), "{left:?}");
    std::fs::rename(&project.folder, &old).unwrap();
    project.folder = old;
    assert_eq!((project.data(), project.pid("lead")), (before, pid), "back where it was, it finds its state");
    project.run(&["down"]).ok();

    // The copy begins anew, and so has something of its own that is not given up.
    to(&mut project, "elsewhere");
    let up = run_in(&project, &copy, &["up"]).ok();
    assert!(up.stderr.contains("may be what this checkout left behind"), "{up:?}");
    run_in(&project, &copy, &["down"]).ok();
    run_in(&project, &copy, &["info", "--adopt"]).fails(1, "this checkout has sessions of its own by now");
    project.run(&["info", "--adopt"]).ok();
    project.run(&["up"]).ok();
    assert_eq!(of(&project.status(), "lead")["session"], "int-1");
    assert_eq!(instances(&project).len(), 2);
}

#[test]
fn a_frozen_host_counts_as_alive() {
    let mut project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let (watchdog, host) = (project.status()["watchdog"]["pid"].as_i64().unwrap() as i32, project.host("int-1"));
    let stop = |pid| rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::STOP).unwrap();
    stop(host);
    stop(watchdog);
    to(&mut project, "elsewhere");
    project.run(&["info", "--adopt"]).fails(1, "still lives");
    project.kill_all();
    project.run(&["info", "--adopt"]).ok();
    project.run(&["up"]).ok();
    assert_eq!(of(&project.status(), "lead")["state"], "up");
}

#[test]
fn killed_at_any_point_it_is_finished_by_the_next() {
    let mut project = project(ONE);
    project.run(&["spawn"]).ok();
    project.run(&["down"]).ok();
    std::fs::write(worktree(&project, "int-1").join("new"), "precious").unwrap();
    let home = project.folder.clone();
    to(&mut project, "elsewhere");
    let away = project.folder.clone();
    sweep(&project, &["info", "--adopt"], &mut |when, _| {
        // Whole already, or finished now.
        let said = project.run(&["info", "--adopt"]);
        assert!(said.code == 0 || said.stderr.contains("nothing that this checkout"), "{when}: {said:?}");
        let whole = |project: &TestProject, folder: &Path| {
            let rows: Value = serde_json::from_str(&run_in(project, folder, &["list", "--json"]).ok().stdout).unwrap();
            let tree = PathBuf::from(rows[0]["worktree"].as_str().unwrap_or_else(|| panic!("{when}: {rows:#}")));
            assert_eq!(std::fs::read_to_string(tree.join("new")).unwrap(), "precious", "{when}");
            assert_eq!(git(&tree, &["status", "--porcelain"]), "?? new", "{when}");
            assert_eq!(instances(project).len(), 1, "{when}");
        };
        whole(&project, &away);
        // And back, for the next.
        std::fs::rename(&away, &home).unwrap();
        run_in(&project, &home, &["info", "--adopt"]).ok();
        whole(&project, &home);
        std::fs::rename(&home, &away).unwrap();
    });
}
