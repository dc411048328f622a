//! Sessions with worktrees of their own: made, listed, ended, brought back; nothing is ever lost or left over.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::project::{Lines, Said, TestProject, is_alive, said, said_with_input};

/// One agent that says what it was told and where it is.
pub const ONE: &str = r#"
[project]
name = "web"
session_prefix = "int"

[agent.writer]
backend = "echo"

[backend.echo]
start = ["sh", "-c", "echo \"told: $1 as $AGENTS_CALLER\"; pwd; exec cat", "sh", "{prompt}"]
resume = ["sh", "-c", "echo again; exec cat"]
"#;

pub fn git(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(args);
    said(command).ok().stdout.trim().to_owned()
}

/// A project in a repository with one commit.
pub fn project(config: &str) -> TestProject {
    let project = TestProject::new(config);
    git(&project.folder, &["init", "-q", "-b", "main"]);
    std::fs::write(project.folder.join(".gitignore"), "ignored\n.env\n").unwrap();
    std::fs::write(project.folder.join("file"), "one\n").unwrap();
    git(&project.folder, &["add", "."]);
    git(&project.folder, &["commit", "-qm", "first"]);
    project
}

pub fn rows(project: &TestProject, args: &[&str]) -> Vec<Value> {
    let args = [&["list", "--json"], args].concat();
    serde_json::from_str(&project.run(&args).ok().stdout).unwrap()
}

pub fn worktree(project: &TestProject, id: &str) -> PathBuf {
    project.data().join("worktrees").join(id)
}

/// Nothing but the project's own worktree, its own branch, and no session.
#[track_caller]
pub fn is_clean(project: &TestProject) {
    assert_eq!(git(&project.folder, &["worktree", "list"]).lines().count(), 1);
    assert_eq!(git(&project.folder, &["branch", "--format=%(refname:short)"]), "main");
    for folder in ["sessions", "worktrees", "launch"] {
        let left: Vec<_> = std::fs::read_dir(project.data().join(folder)).unwrap().flatten().map(|e| e.file_name()).collect();
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
}

#[test]
fn spawn_list_kill_restore() {
    let project = project(ONE);
    let spawn = project.run(&["spawn", "--issue", "INT-7", "--prompt", "do it", "--name", "seven"]).ok();
    assert!(spawn.stdout.starts_with("writer  int-1  up  pid "), "{spawn:?}");
    let tree = worktree(&project, "int-1");
    assert_eq!(git(&tree, &["branch", "--show-current"]), "feat/INT-7");
    let mut log = Lines::of(project.command(&["logs", "-f", "seven"]));
    log.until("told: do it as agent");
    log.until(tree.to_str().unwrap());
    let row = &rows(&project, &[])[0];
    for (key, expected) in [
        ("session", "int-1"),
        ("agent", "writer"),
        ("state", "up"),
        ("issue", "INT-7"),
        ("branch", "feat/INT-7"),
        ("spawnedBy", "operator"),
    ] {
        assert_eq!(row[key], expected, "{row:#}");
    }
    let status = project.status();
    assert_eq!(status["sessions"][0]["session"], "int-1", "{status:#}");
    assert!(status["agents"].as_array().unwrap().iter().all(|a| a["session"] == ""), "the agent's own session is another: {status:#}");

    // Committed, changed, staged, untracked and ignored.
    std::fs::write(tree.join("file"), "two\n").unwrap();
    git(&tree, &["commit", "-qam", "second"]);
    std::fs::write(tree.join("file"), "three\n").unwrap();
    std::fs::write(tree.join("staged"), "staged\n").unwrap();
    git(&tree, &["add", "staged"]);
    std::fs::remove_file(tree.join("staged")).unwrap();
    std::fs::write(tree.join("new"), "new\n").unwrap();
    std::fs::write(tree.join("ignored"), "ignored\n").unwrap();
    let pid = row["pid"].as_i64().unwrap() as i32;
    let kill = project.run(&["kill", "int-1"]).ok();
    assert!(
        kill.stdout.contains("int-1  archived; its commits are on feat/INT-7") && kill.stderr.contains("refs/agents/preserved/int-1"),
        "{kill:?}"
    );
    assert!(!is_alive(pid) && !tree.exists());
    let kept = |path: &str| git(&project.folder, &["show", &format!("refs/agents/preserved/int-1:{path}")]);
    assert_eq!((kept("file").as_str(), kept("new").as_str()), ("three", "new"));
    assert_eq!(git(&project.folder, &["show", "refs/agents/preserved/int-1^2:staged"]), "staged");
    assert!(!git(&project.folder, &["ls-tree", "--name-only", "refs/agents/preserved/int-1"]).contains("ignored"));
    assert!(rows(&project, &[]).is_empty());
    assert_eq!(rows(&project, &["--archived"])[0]["session"], "int-1");
    assert_eq!(project.status()["sessions"].as_array().unwrap().len(), 0);
    drop(log);
    assert_eq!(project.processes(), Vec::<i32>::new(), "nothing is wanted any more");
    project.run(&["kill", "int-1"]).fails(1, "archived already");

    let restore = project.run(&["restore", "int-1"]).ok();
    assert!(restore.stdout.starts_with("writer  int-1  up"), "{restore:?}");
    Lines::of(project.command(&["logs", "-f", "int-1"])).until("again");
    assert_eq!(std::fs::read_to_string(tree.join("file")).unwrap(), "three\n");
    assert_eq!(git(&tree, &["status", "--porcelain"]), "M file\n?? new");
    project.run(&["restore", "int-1"]).fails(1, "it is live");
    assert!(project.run(&["spawn"]).ok().stdout.starts_with("writer  int-2"));
    project.run(&["kill", "int-2", "int-1"]).ok();
    assert!(project.run(&["spawn"]).ok().stdout.starts_with("writer  int-3"), "an archived number is not given out again");
}

#[test]
fn what_fails_on_the_way_leaves_nothing() {
    let project = project(ONE);
    project.run(&["info"]).ok();
    let with = |tail: &str| {
        project.write_config(&format!("{ONE}\n{tail}"));
        project.run(&["spawn", "--issue", "9"])
    };
    with("[worktree]\npost_create = [[\"true\"], [\"sh\", \"-c\", \"echo the cause; exit 3\"]]").fails(1, "because the cause");
    is_clean(&project);
    with("[worktree]\npost_create = [[\"/nonexistent/program\"]]").fails(1, "/nonexistent/program");
    is_clean(&project);
    with("[worktree]\nsymlinks = [\".env\"]").fails(1, ".env is not there");
    is_clean(&project);
    std::os::unix::fs::symlink("/etc/passwd", project.folder.join(".env")).unwrap();
    with("[worktree]\nsymlinks = [\".env\"]").fails(1, "/etc/passwd, out of");
    is_clean(&project);
    with("[worktree]\nsymlinks = [\"file\"]").fails(1, "as git tracks it");
    is_clean(&project);
    project.write_config(&ONE.replace("start = [\"sh\"", "start = [\"/nonexistent/agent\""));
    project.run(&["spawn"]).fails(1, "/nonexistent/agent");
    is_clean(&project);
    project.write_config(&ONE.replace("name = \"web\"", "name = \"web\"\ndefault_branch = \"next\""));
    project.run(&["spawn"]).fails(1, "there is no branch next");
    is_clean(&project);
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn wrong_words_are_refused_before_anything_is_made() {
    let project = project(ONE);
    for (args, code, words) in [
        (&["spawn", "--agent", "writr"][..], 2, "writer"),
        (&["spawn", "--branch=-x"], 2, "no branch's name"),
        (&["spawn", "--branch", "a..b"], 2, "no branch's name"),
        (&["spawn", "--issue", "a b"], 2, "no branch's name"),
        (&["spawn", "--prompt", " "], 2, "there is no text"),
        (&["spawn", "--name", "../x"], 2, "is no name"),
        (&["spawn", "--name", "int-7"], 2, "a session's id"),
        (&["spawn", "--name", "writer"], 2, "an agent's name"),
        (&["spawn", "--branch", "main"], 1, "main"),
        (&["kill"], 2, "required"),
        (&["kill", "int-1"], 2, "int-1"),
        (&["restore", "int-1"], 1, "no session int-1 is archived"),
        (&["restore", "../../x"], 2, "no session's id"),
    ] {
        project.run(&["--quiet", "list"]).ok();
        let said: Said = project.run(args);
        assert!(!said.stderr.contains("panicked"), "{said:?}");
        said.fails(code, words);
    }
    is_clean(&project);
    let outside = TestProject::new(ONE);
    outside.run(&["spawn"]).fails(1, "no git repository");
    outside.run(&["spawn", "--no-worktree"]).ok();
    outside.run(&["kill", "int-1"]).ok();
    git(&outside.folder, &["init", "-q"]);
    outside.run(&["spawn"]).fails(1, "no commit yet");
}

#[test]
fn ids_match_exactly() {
    let project = project(ONE);
    for _ in 0..2 {
        project.run(&["spawn"]).ok();
    }
    let meta = project.data().join("sessions");
    project.run(&["kill", "int-2"]).ok();
    project.run(&["kill", "int"]).fails(2, "int");
    project.run(&["kill", "int-"]).fails(2, "int-");
    project.run(&["kill", "writer"]).fails(2, "its session is int-1");
    project.run(&["kill", "int-12"]).fails(2, "int-12");
    assert!(meta.join("int-1").exists());
}

#[test]
fn links_into_the_project_are_no_work_whether_git_ignores_them_or_not() {
    let project = project(&format!("{ONE}\n[worktree]\nsymlinks = [\".env\", \"data\"]\n"));
    std::fs::write(project.folder.join(".env"), "secret").unwrap();
    std::fs::create_dir(project.folder.join("data")).unwrap();
    project.run(&["spawn"]).ok();
    project.run(&["kill", "int-1"]).ok();
    assert!(rows(&project, &["--archived"])[0]["preserved"].is_null(), "nothing was changed");
    project.run(&["restore", "int-1"]).ok();
    std::fs::write(worktree(&project, "int-1").join("new"), "precious").unwrap();
    project.run(&["kill", "int-1"]).ok();
    assert_eq!(git(&project.folder, &["ls-tree", "--name-only", "refs/agents/preserved/int-1"]), ".gitignore\nagents.toml\nfile\nnew");
}

#[test]
fn many_at_once_get_an_id_each() {
    let project = project(&ONE.replace("exec cat", "exit 0"));
    let mut ids: Vec<String> = vec![];
    for _ in 0..4 {
        let spawn = || project.command(&["spawn", "--no-worktree"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let children: Vec<_> = (0..8).map(|_| spawn()).collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            ids.push(String::from_utf8(output.stdout).unwrap().split_whitespace().nth(1).unwrap().to_owned());
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 32, "{ids:?}");
}

#[test]
fn down_and_up_keep_sessions() {
    let project = project(ONE);
    project.run(&["spawn"]).ok();
    let tree = worktree(&project, "int-1");
    std::fs::write(tree.join("new"), "new\n").unwrap();
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
    assert_eq!(rows(&project, &[])[0]["state"], "down");
    assert!(tree.join("new").exists());
    let up = project.run(&["up"]).ok();
    assert!(up.stdout.contains("int-1  up") && up.stdout.contains("int-2  up"), "the session, and the agent's own: {up:?}");
    Lines::of(project.command(&["logs", "-f", "int-1"])).until("again");
    project.run(&["down"]).ok();
    std::fs::remove_dir_all(&tree).unwrap();
    project.run(&["up"]).fails(1, "is gone");
    assert!(!tree.exists(), "nothing is made anew unasked");
    project.run(&["kill", "int-1"]).ok();
    assert_eq!(git(&project.folder, &["worktree", "list"]).lines().count(), 1);
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("other"), "somebody's").unwrap();
    project.run(&["restore", "int-1"]).fails(1, "is in the way");
    assert!(tree.join("other").exists());
    std::fs::remove_dir_all(&tree).unwrap();
    project.run(&["restore", "int-1"]).ok();
    assert!(tree.join("file").exists());
}

#[test]
fn clean_takes_what_has_ended_and_is_merged() {
    let project = project(ONE);
    for _ in 0..3 {
        project.run(&["spawn"]).ok();
    }
    for id in ["int-1", "int-2"] {
        let tree = worktree(&project, id);
        std::fs::write(tree.join(id), "x").unwrap();
        git(&tree, &["add", id]);
        git(&tree, &["commit", "-qm", id]);
    }
    git(&project.folder, &["merge", "-q", "session/int-1"]);
    project.run(&["clean"]).ok();
    assert_eq!(rows(&project, &[]).len(), 3, "what runs stays");
    project.run(&["down"]).ok();
    let dry = project.run(&["clean", "--dry-run"]).ok();
    assert!(dry.stdout.contains("int-1  would be archived") && dry.stderr.contains("int-2 stays: session/int-2 is not merged"), "{dry:?}");
    assert!(dry.stderr.contains("int-3 stays"), "{dry:?}");
    project.run(&["clean"]).ok();
    let left: Vec<Value> = rows(&project, &[]).into_iter().map(|r| r["session"].clone()).collect();
    assert_eq!(left, ["int-2", "int-3"]);
    assert!(!git(&project.folder, &["branch"]).contains("session/int-1"), "a merged branch has done its work");
    project.run(&["clean", "int-2"]).ok();
    assert!(git(&project.folder, &["branch"]).contains("session/int-2"), "an unmerged branch stays");
    project.run(&["restore", "int-1"]).ok();
    assert!(worktree(&project, "int-1").join("int-1").exists());
}

#[test]
fn repositories_inside_a_worktree_keep_it() {
    let project = project(ONE);
    project.run(&["spawn"]).ok();
    let inner = worktree(&project, "int-1").join("inner");
    std::fs::create_dir(&inner).unwrap();
    git(&inner, &["init", "-q"]);
    std::fs::write(inner.join("work"), "work").unwrap();
    git(&inner, &["add", "."]);
    git(&inner, &["commit", "-qm", "inner"]);
    let kill = project.run(&["kill", "int-1"]).ok();
    assert!(kill.stderr.contains("inner in it is a git repository of its own"), "{kill:?}");
    assert!(inner.join("work").exists());
    project.run(&["restore", "int-1"]).ok();
    assert!(inner.join("work").exists());
}

#[test]
fn a_detached_head_is_kept_and_no_hook_runs() {
    let project = project(ONE);
    project.run(&["spawn"]).ok();
    let tree = worktree(&project, "int-1");
    git(&tree, &["checkout", "-q", "--detach"]);
    git(&tree, &["commit", "-q", "--allow-empty", "-m", "on no branch"]);
    std::fs::write(tree.join("file"), "changed").unwrap();
    git(&tree, &["update-index", "--assume-unchanged", "file"]);
    let hooks = project.folder.join(".git/hooks");
    for hook in ["post-index-change", "reference-transaction", "pre-commit", "post-commit"] {
        let path = hooks.join(hook);
        std::fs::write(&path, format!("#!/bin/sh\ntouch {}\n", project.root().join("hook-ran").display())).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    project.run(&["kill", "int-1"]).ok();
    assert!(!project.root().join("hook-ran").exists());
    assert_eq!(git(&project.folder, &["show", "refs/agents/preserved/int-1:file"]), "changed");
    assert_eq!(git(&project.folder, &["log", "-1", "--format=%s", "refs/agents/preserved/int-1^"]), "on no branch");
}

#[test]
fn orchestrators_are_told_what_they_need_and_sign_what_they_spawn() {
    let project = project(&ONE.replace("exec cat\", \"sh\"", "exec sh\", \"sh\""));
    let spawn = project.run(&["orchestrate", "--prompt", "see to it"]).ok();
    assert!(spawn.stdout.starts_with("writer  int-orchestrator-1  up"), "{spawn:?}");
    assert_eq!(git(&worktree(&project, "int-orchestrator-1"), &["branch", "--show-current"]), "orchestrator/int-orchestrator-1");
    let mut log = Lines::of(project.command(&["logs", "-f", "int-orchestrator-1"]));
    log.until("You are the orchestrator of the project web, in session int-orchestrator-1");
    log.until("see to it as orchestrator");
    // From inside its worktree, which holds a copy of nothing that matters: the project is the one it was made for.
    let program = env!("CARGO_BIN_EXE_agents");
    project.run(&["send", "int-orchestrator-1", &format!("{program} spawn --prompt sub")]).ok();
    log.until("int-1  up");
    assert_eq!(rows(&project, &[]).iter().find(|r| r["session"] == "int-1").unwrap()["spawnedBy"], "int-orchestrator-1");
    project.run(&["orchestrate"]).ok();
    project.run(&["kill", "int-orchestrator-1"]).ok();
    assert!(project.run(&["orchestrate"]).ok().stdout.contains("int-orchestrator-3"), "archived ones count");
}

#[test]
fn a_prompt_from_a_pipe() {
    let project = project(ONE);
    assert_eq!(said_with_input(project.command(&["spawn", "--prompt", "-"]), "line one\nline two\n").code, 0);
    let mut log = Lines::of(project.command(&["logs", "-f", "int-1"]));
    log.until("told: line one");
    log.until("line two as agent");
}

#[test]
fn where_references_lie_makes_no_difference() {
    let project = project(&ONE.replace("name = \"web\"", "name = \"web\"\ndefault_branch = \"next\""));
    git(&project.folder, &["branch", "next"]);
    git(&project.folder, &["branch", "taken"]);
    git(&project.folder, &["commit", "-q", "--allow-empty", "-m", "ahead of next"]);
    git(&project.folder, &["pack-refs", "--all"]);
    project.run(&["spawn"]).ok();
    assert_eq!(git(&worktree(&project, "int-1"), &["rev-parse", "HEAD"]), git(&project.folder, &["rev-parse", "next"]));
    git(&project.folder, &["branch", "feat/2"]);
    git(&project.folder, &["pack-refs", "--all"]);
    project.run(&["spawn", "--issue", "2"]).fails(1, "feat/2 exists already");
    project.run(&["spawn", "--branch", "taken"]).ok();
    git(&project.folder, &["branch", "session/int-3"]);
    project.run(&["spawn"]).fails(1, "session/int-3 exists already");
    assert!(git(&project.folder, &["branch"]).contains("session/int-3"), "what somebody else made is not taken back");
    project.write_config(ONE);
    git(&project.folder, &["checkout", "-q", "--detach"]);
    project.run(&["spawn", "--branch", "from-detached"]).ok();
    assert_eq!(git(&project.folder, &["rev-parse", "from-detached"]), git(&project.folder, &["rev-parse", "HEAD"]));
}
