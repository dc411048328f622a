//! The state of repositories against what `git status` says of them, on repositories made at random, and against settings planted to be run.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use gix::ObjectId;

use super::lean::{self, Trees};
use super::report::{EngineState, GitReport};
use super::{git, worktree};

/// Small numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len())]
    }
}

fn run(folder: &Path, args: &[&str]) -> (bool, String) {
    let settings =
        ["user.name=Test", "user.email=t@example.org", "commit.gpgsign=false", "core.fsmonitor=false", "protocol.file.allow=always"];
    let mut command = Command::new("git");
    command.current_dir(folder).args(settings.iter().flat_map(|s| ["-c", s]));
    let output = command.args(args).env_remove("GIT_DIR").env_remove("GIT_INDEX_FILE").output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn git(folder: &Path, args: &[&str]) -> String {
    let (done, said) = run(folder, args);
    assert!(done, "git {args:?} in {}", folder.display());
    said
}

/// What both tell of a project.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    staged: usize,
    modified: usize,
    untracked: usize,
    conflicts: usize,
    engine_moved: bool,
    engine_modified: bool,
    engine_untracked: bool,
}

fn told_by_git(folder: &Path) -> Told {
    let args =
        ["--no-optional-locks", "status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=normal", "--ignore-submodules=none"];
    let mut told = Told::default();
    for line in git(folder, &args).split('\0').filter(|l| !l.is_empty()) {
        let bytes = line.as_bytes();
        match bytes[0] {
            b'?' => told.untracked += 1,
            b'u' => told.conflicts += 1,
            b'1' => {
                told.staged += usize::from(bytes[2] != b'.');
                if line.ends_with(" engine") && bytes[5] == b'S' {
                    told.engine_moved = bytes[6] == b'C';
                    told.engine_modified = bytes[7] == b'M';
                    told.engine_untracked = bytes[8] == b'U';
                } else {
                    told.modified += usize::from(bytes[3] != b'.');
                }
            }
            _ => panic!("{line}"),
        }
    }
    told
}

fn index_pin(folder: &Path) -> Option<ObjectId> {
    let line = git(folder, &["ls-files", "-s", "engine"]);
    line.strip_prefix("160000 ").and_then(|l| ObjectId::from_hex(&l.as_bytes()[..40]).ok())
}

/// The library's look, beside which the lean one, wherever it has an answer, has no other. True: it has one.
fn both(folder: &Path, pin: Option<ObjectId>) -> (GitReport, bool) {
    let trees = Trees::default();
    let report = git::look_by_library(folder, pin, &|_| None, &trees);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), trees.learned()).unwrap();
    let lean = lean::look(folder, pin, &|_| None, &Trees::load(file.path()));
    let found = lean.is_some();
    if let Some(lean) = lean {
        assert_eq!(lean, report);
    }
    (report, found)
}

fn told_by_us(folder: &Path) -> (Told, bool) {
    let pin = index_pin(folder);
    let (report, lean) = both(folder, pin);
    assert_eq!(report.error, None);
    let engine = report.engine;
    let told = Told {
        staged: report.staged,
        modified: report.modified,
        untracked: report.untracked,
        conflicts: report.conflicts,
        engine_moved: engine.state == EngineState::Drifted,
        engine_modified: engine.staged + engine.modified + engine.conflicts > 0,
        engine_untracked: engine.untracked > 0,
    };
    (told, lean)
}

const NAMES: &[&str] = &[
    "a",
    "a.txt",
    "a-b",
    "b",
    "dir",
    "dir/x",
    "dir/y",
    "dir/deep/z",
    "dir.d/x",
    "ä ö",
    "build/out.o",
    "keep.log",
    "new/er/file",
    "q\"uote",
];

fn write(path: &Path, text: &str) {
    let _ = std::fs::create_dir_all(path.parent().unwrap());
    let _ = std::fs::write(path, text);
}

fn remove(path: &Path) {
    let _ = std::fs::remove_file(path).or_else(|_| std::fs::remove_dir_all(path));
}

/// One random change, by hand or by git. What cannot be done then is left undone.
fn change(folder: &Path, random: &mut Random) -> String {
    let name = random.of(NAMES);
    let path = folder.join(name);
    let what = random.below(28);
    match what {
        0..=2 => write(&path, &format!("{}\n", random.below(1000))),
        3 => write(&path, ["same size 1", "same size 2"][random.below(2)]),
        4 => remove(&path),
        5 => {
            // The same content under new times.
            if let Ok(text) = std::fs::read(&path) {
                let _ = std::fs::write(&path, text);
            }
        }
        6 => {
            let _ = std::fs::set_permissions(&path, std::fs::Permissions::from_mode([0o755, 0o644][random.below(2)]));
        }
        7 => {
            remove(&path);
            let _ = symlink(random.of(&["nowhere", "/"]), &path);
        }
        8 => {
            remove(&path);
            write(&path.join("inner"), "was a file\n");
        }
        9 => {
            // A folder moved away, a link to it in its place: the names still lead to the same files.
            let (dir, moved) = (folder.join("dir"), folder.join("moved"));
            if dir.is_dir() && !dir.is_symlink() && !moved.exists() {
                std::fs::rename(&dir, &moved).unwrap();
                symlink("moved", &dir).unwrap();
            }
        }
        10..=12 => drop(run(folder, &["add", "--", name])),
        13 => drop(run(folder, &["add", "--all"])),
        14 => drop(run(folder, &["add", "--intent-to-add", "--", name])),
        15 => drop(run(folder, &["rm", "--quiet", "--cached", "--", name])),
        16..=17 => drop(run(folder, &["commit", "--quiet", "--all", "--message", "change"])),
        18 => drop(run(folder, &["reset", "--quiet", random.of(&["--hard", "--mixed", "--soft"]), random.of(&["HEAD", "HEAD~1"])])),
        19 => {
            write(&folder.join(random.of(&[".gitignore", "dir/.gitignore"])), random.of(&["*.log\n", "build/\n", "*\n!*/\n", "/new\n", ""]))
        }
        20 => write(&folder.join(".gitattributes"), random.of(&["* text=auto eol=crlf\n", "*.txt text\n", ""])),
        21 => drop(run(&folder.join("engine"), &["checkout", "--quiet", random.of(&["HEAD~1", "v2"])])),
        22 => write(&folder.join("engine").join(random.of(&["file", "more", ".gitignore"])), &format!("{}\n", random.below(3))),
        23 => drop(run(&folder.join("engine"), &["reset", "--quiet", "--hard"])),
        24 => {
            let inner = folder.join("nested");
            let _ = std::fs::create_dir(&inner);
            drop(run(&inner, &["init", "--quiet", "."]));
        }
        25 => {
            let flag = random.of(&["--assume-unchanged", "--no-assume-unchanged", "--skip-worktree", "--no-skip-worktree"]);
            drop(run(folder, &["update-index", flag, "--", name]));
        }
        26 => {
            run(folder, &["checkout", "--quiet", "-B", "side"]);
            write(&folder.join("a"), "theirs\n");
            run(folder, &["commit", "--quiet", "--all", "--message", "theirs"]);
            run(folder, &["checkout", "--quiet", "main"]);
            write(&folder.join("a"), "ours\n");
            run(folder, &["commit", "--quiet", "--all", "--message", "ours"]);
            run(folder, &["merge", "--quiet", "side"]);
        }
        27 => drop(run(folder, &["status", "--short"])),
        _ => unreachable!(),
    }
    format!("{what} {name}")
}

/// A project with an engine as its submodule and one more submodule.
fn project(root: &Path) -> std::path::PathBuf {
    let source = root.join("source");
    std::fs::create_dir_all(&source).unwrap();
    git(&source, &["init", "--quiet", "--initial-branch=main", "."]);
    for version in ["v1", "v2"] {
        write(&source.join("file"), version);
        write(&source.join("src/main"), version);
        git(&source, &["add", "--all"]);
        git(&source, &["commit", "--quiet", "--message", version]);
        git(&source, &["tag", version]);
    }
    let folder = root.join("project");
    std::fs::create_dir_all(&folder).unwrap();
    git(&folder, &["init", "--quiet", "--initial-branch=main", "."]);
    for name in ["engine", "other"] {
        git(&folder, &["submodule", "--quiet", "add", source.to_str().unwrap(), name]);
    }
    for name in &NAMES[1..5] {
        if !name.starts_with("dir") {
            write(&folder.join(name), "first\n");
        }
    }
    write(&folder.join("dir/x"), "first\n");
    write(&folder.join("dir/deep/z"), "first\n");
    git(&folder, &["add", "--all"]);
    git(&folder, &["commit", "--quiet", "--message", "first"]);
    folder
}

#[test]
fn random_repositories_are_told_as_git_tells_them() {
    let seeds = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(2u64);
    let (mut clean, mut lean, mut seen) = (0, 0, 0);
    for seed in 1..=seeds {
        let root = tempfile::tempdir().unwrap();
        let folder = project(root.path());
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut steps = vec![];
        for _ in 0..40 {
            steps.push(change(&folder, &mut random));
            let ((ours, plain), theirs) = (told_by_us(&folder), told_by_git(&folder));
            lean += usize::from(plain);
            let repository = super::pin::open(&folder).unwrap();
            let head = repository.head_id().ok().map(gix::Id::detach);
            let (quick, slow) = (worktree::changes(&repository, head), worktree::changes_by_library(&repository, head));
            assert_eq!(quick, slow, "seed {seed}, after {steps:#?}");
            assert_eq!(ours, theirs, "seed {seed}, after {steps:#?}\n{}", git(&folder, &["status", "--short"]));
            seen += 1;
            clean += usize::from(theirs == Told::default());
        }
    }
    assert!(clean * 2 < seen, "{clean} of {seen} looks found nothing to tell: the test tells little");
    if lean::is_ordinary() {
        assert!(lean > 0, "none of {seen} looks was a lean one");
    } else {
        println!("skipped: git's settings outside the repositories let no look be a lean one");
    }
}

/// The eight states, one after the other on one project.
#[test]
fn each_state_is_told() {
    let root = tempfile::tempdir().unwrap();
    let folder = project(root.path());
    let pin = index_pin(&folder);
    let look = || both(&folder, pin).0;
    assert_eq!(both(&folder, pin).1, lean::is_ordinary(), "such a project is a plain one");
    let fresh = look();
    assert_eq!((fresh.branch.as_deref(), fresh.detached, fresh.upstream.as_deref()), (Some("main"), false, None));
    assert_eq!((fresh.engine.state, fresh.engine.tag.as_deref(), fresh.tag.as_deref()), (EngineState::Ok, Some("v2"), Some("v2")));
    assert_eq!(told_by_us(&folder).0, Told::default());

    write(&folder.join("a.txt"), "changed\n");
    assert_eq!(look().modified, 1, "dirty");
    git(&folder, &["add", "a.txt"]);
    assert_eq!((look().modified, look().staged), (0, 1), "staged");
    write(&folder.join("fresh"), "new\n");
    assert_eq!(look().untracked, 1, "untracked");

    write(&folder.join("engine/file"), "changed\n");
    write(&folder.join("engine/fresh"), "new\n");
    let engine = look().engine;
    assert!((engine.modified, engine.untracked) == (1, 1) && engine.is_dirty() && engine.state == EngineState::Ok, "engine dirty");
    git(&folder.join("engine"), &["checkout", "--quiet", "--force", "v1"]);
    let engine = look().engine;
    assert_eq!((engine.state, engine.tag.as_deref()), (EngineState::Drifted, Some("v1")), "engine drifted");
    git(&folder.join("engine"), &["tag", "--delete", "v2"]);
    assert_eq!(look().tag, None, "pin without a tag");

    git(&folder, &["checkout", "--quiet", "--detach"]);
    assert!(look().detached && look().branch.is_none(), "detached");
    git(&folder, &["submodule", "--quiet", "deinit", "--force", "engine"]);
    assert_eq!(look().engine.state, EngineState::Uninitialised, "engine not initialised");
    assert_eq!(look().error, None);
}

#[test]
fn how_far_a_branch_is_from_the_one_it_follows() {
    let root = tempfile::tempdir().unwrap();
    let folder = project(root.path());
    let clone = root.path().join("clone");
    git(root.path(), &["clone", "--quiet", "project", "clone"]);
    // Commits of the same second and text would be one and the same on both sides.
    let commit = |at: &Path, times: usize| {
        for n in 0..times {
            git(at, &["commit", "--quiet", "--allow-empty", "--message", &format!("{n} in {}", at.display())]);
        }
    };
    let look = || both(&clone, None).0;
    let told = |report: &super::report::GitReport| (report.upstream.clone(), report.ahead, report.behind);
    assert_eq!(told(&look()), (Some("origin/main".into()), Some(0), Some(0)));
    commit(&clone, 3);
    commit(&folder, 2);
    git(&clone, &["fetch", "--quiet"]);
    assert_eq!(told(&look()), (Some("origin/main".into()), Some(3), Some(2)));
    git(&clone, &["merge", "--quiet", "origin/main"]);
    assert_eq!(told(&look()), (Some("origin/main".into()), Some(4), Some(0)));
    git(&clone, &["update-ref", "-d", "refs/remotes/origin/main"]);
    assert_eq!(told(&look()), (Some("origin/main".into()), None, None));
    git(&clone, &["checkout", "--quiet", "-b", "topic/one", "--track", "main"]);
    commit(&clone, 1);
    assert_eq!(told(&look()), (Some("main".into()), Some(1), Some(0)));
}

/// Settings of a repository's own that name a program, each leaving a mark where it is run.
fn plant(folder: &Path, marks: &Path, who: &str) {
    let program = |name: &str| {
        let path = marks.join(format!("{who}-{name}.sh"));
        write(&path, &format!("#!/bin/sh\ntouch {}/fired-{who}-{name}\ncat\n", marks.display()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let hooks = marks.join(format!("{who}-hooks"));
    std::fs::create_dir_all(&hooks).unwrap();
    for hook in ["post-index-change", "post-checkout", "reference-transaction"] {
        std::fs::copy(program(hook), hooks.join(hook)).unwrap();
    }
    for (key, value) in [
        ("core.fsmonitor", program("fsmonitor")),
        ("core.hooksPath", hooks.display().to_string()),
        ("filter.planted.clean", program("clean")),
        ("filter.planted.process", program("process")),
        ("diff.planted.textconv", program("textconv")),
        ("diff.external", program("external")),
        ("core.sshCommand", program("ssh")),
        ("core.pager", program("pager")),
    ] {
        git(folder, &["config", key, &value]);
    }
    let git_folder = crate::checkout::head::git_folder(folder).unwrap();
    write(&git_folder.join("info/attributes"), "* filter=planted diff=planted\n");
}

fn fired(marks: &Path) -> Vec<String> {
    let names = std::fs::read_dir(marks).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|n| n.starts_with("fired-")).collect()
}

#[test]
fn nothing_that_a_repository_names_is_run() {
    let root = tempfile::tempdir().unwrap();
    let folder = project(root.path());
    let marks = root.path().join("marks");
    std::fs::create_dir_all(&marks).unwrap();
    plant(&folder, &marks, "project");
    plant(&folder.join("engine"), &marks, "engine");
    // Times that no longer say whether the content is the same: it has to be read, through whatever filter.
    for file in ["a.txt", "dir/x", "engine/file", "engine/src/main"] {
        let path = folder.join(file);
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    write(&folder.join("fresh"), "new\n");

    let project_entry = format!("[[project]]\nname = \"web\"\nlocation = \"{}\"\n", folder.display());
    let registry = crate::registry::Registry::from_text(&root.path().join("fleet.toml"), &project_entry).unwrap();
    let projects: Vec<_> = registry.projects.iter().collect();
    let (pin, _) = super::pin::Pins::load(&registry, &projects, false).look(projects[0], &folder).unwrap();
    assert_eq!(pin.commit, index_pin(&folder).map(|c| c.to_string()));
    let seen = both(&folder, index_pin(&folder)).0;
    assert_eq!((seen.error, seen.untracked, seen.modified), (None, 1, 0));
    assert_eq!(fired(&marks), Vec::<String>::new());

    // The planted settings do fire: git itself runs them.
    let plainly = Command::new("git").current_dir(&folder).args(["status", "--short"]).output().unwrap();
    assert!(plainly.status.code().is_some() && !fired(&marks).is_empty(), "nothing fires at all: the test tells nothing");
}
