//! The launcher finds the program for the commit it stands in, and builds it once where there is none. Cargo is a script here that writes down its calls.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::project::{Said, said};

const LAUNCHER: &str = include_str!("../../agents");

/// Builds a program that repeats its arguments.
const CARGO: &str = r#"#!/bin/sh
echo "$@" >> "$CALLS"
grep -q '^\[workspace\]' Cargo.toml || { echo "error: not a workspace of its own" >&2; exit 1; }
[ -z "${BROKEN:-}" ] || { echo "error: it does not compile" >&2; exit 101; }
echo "cargo talks"
mkdir -p target/release
printf '#!/bin/sh\necho "ran $*"\n' > target/release/agents
chmod +x target/release/agents
"#;

struct Place {
    root: TempDir,
}

impl Place {
    /// An engine as a repository of its own, and a project that has it as a submodule.
    fn new() -> Place {
        let place = Place { root: tempfile::tempdir().unwrap() };
        let engine = place.at("harness");
        std::fs::create_dir_all(&engine).unwrap();
        place.write("harness/agents", LAUNCHER, 0o755);
        place.write("harness/Cargo.toml", "[package]\nname = \"agents\"\n", 0o644);
        place.write("tools/cargo", CARGO, 0o755);
        for tool in ["sh", "git", "tar", "mkdir", "rm", "mv", "ln", "sync", "grep", "cat", "chmod", "flock", "readlink"] {
            let found = std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|d| d.join(tool)).find(|p| p.is_file());
            std::os::unix::fs::symlink(found.unwrap_or_else(|| panic!("{tool} is needed")), place.at("tools").join(tool)).unwrap();
        }
        place.commit("harness");
        place.write("project/readme", "x", 0o644);
        place.commit("project");
        place.git("project", &["-c", "protocol.file.allow=always", "submodule", "add", "--quiet", "../harness", "engine"]);
        place.commit("project");
        place
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn git(&self, folder: &str, args: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]);
        git.args(args).current_dir(self.at(folder)).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        let said = said(git);
        assert_eq!(said.code, 0, "git {args:?}: {said:?}");
        said.stdout.trim().to_owned()
    }

    fn commit(&self, folder: &str) {
        self.git(folder, &["init", "--quiet"]);
        self.git(folder, &["add", "--all"]);
        self.git(folder, &["commit", "--quiet", "-m", "x"]);
    }

    fn launcher(&self, path: &str, args: &[&str]) -> Command {
        let mut command = Command::new(self.at(path));
        command.args(args).env_clear().env("PATH", self.at("tools")).env("HOME", self.at("home")).env("CALLS", self.at("calls"));
        command.current_dir(self.root.path());
        command
    }

    fn run(&self, args: &[&str]) -> Said {
        said(self.launcher("project/engine/agents", args))
    }

    fn calls(&self) -> Vec<String> {
        std::fs::read_to_string(self.at("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    fn engines(&self) -> PathBuf {
        self.at("home/.cache/agents/engines")
    }

    fn left_over(&self) -> Vec<String> {
        let names = std::fs::read_dir(self.engines()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|n| n.starts_with(".build")).collect()
    }
}

#[test]
fn the_pinned_tree_is_built_once_and_then_found_without_any_tool() {
    let place = Place::new();
    let first = place.run(&["up", "a b"]).ok();
    assert_eq!(first.stdout, "ran up a b\n", "cargo's talk is not the program's");
    assert!(first.stderr.contains("building the engine") && first.stderr.contains("cargo talks"), "{first:?}");
    assert_eq!(place.calls().len(), 1);
    assert!(place.calls()[0].starts_with("build --release --locked"), "{:?}", place.calls());
    assert_eq!(place.left_over(), Vec::<String>::new());
    let tree = place.git("harness", &["rev-parse", "HEAD^{tree}"]);
    assert!(place.engines().join(tree).join("agents").is_file());
    // A PATH without a single program: nothing but the shell itself is needed.
    let mut bare = Command::new("/bin/sh");
    bare.arg(place.at("project/engine/agents")).arg("status").env_clear().env("PATH", "/nonexistent").env("HOME", place.at("home"));
    assert_eq!(said(bare).ok().stdout, "ran status\n");
    assert_eq!(place.calls().len(), 1);
}

#[test]
fn another_pin_is_another_program() {
    let place = Place::new();
    place.run(&[]).ok();
    place.write("harness/more", "x", 0o644);
    place.commit("harness");
    place.git("project/engine", &["-c", "protocol.file.allow=always", "fetch", "--quiet"]);
    place.git("project/engine", &["checkout", "--quiet", "FETCH_HEAD"]);
    place.run(&[]).ok();
    assert_eq!(place.calls().len(), 2);
    place.git("project/engine", &["checkout", "--quiet", "HEAD~1"]);
    place.run(&[]).ok();
    assert_eq!(place.calls().len(), 2, "the first one is still there");
}

#[test]
fn a_plain_folder_and_a_link_to_the_launcher_work_too() {
    let place = Place::new();
    place.write("plain/engine/agents", LAUNCHER, 0o755);
    place.write("plain/engine/Cargo.toml", "[package]\nname = \"agents\"\n", 0o644);
    place.write("plain/readme", "x", 0o644);
    place.commit("plain");
    assert_eq!(said(place.launcher("plain/engine/agents", &["x"])).ok().stdout, "ran x\n");
    // The same tree as the submodule's: nothing to build.
    place.run(&[]).ok();
    assert_eq!(place.calls().len(), 1);
    std::os::unix::fs::symlink("../plain/engine/agents", place.at("tools/agents")).unwrap();
    assert_eq!(said(place.launcher("tools/agents", &["y"])).ok().stdout, "ran y\n");
    // Under a hook git's variables name another repository.
    let mut hook = place.launcher("plain/engine/agents", &["z"]);
    hook.env("GIT_DIR", place.at("harness/.git")).env("GIT_INDEX_FILE", "/nonexistent");
    assert_eq!(said(hook).ok().stdout, "ran z\n");
    assert_eq!(place.calls().len(), 1);
}

#[test]
fn many_at_once_build_once() {
    let place = Place::new();
    let children: Vec<_> = (0..8).map(|_| place.launcher("project/engine/agents", &["x"]).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(place.calls().len(), 1);
}

#[test]
fn what_is_missing_is_said_and_repaired_by_running_again() {
    let place = Place::new();
    std::fs::rename(place.at("tools/cargo"), place.at("cargo")).unwrap();
    place.run(&["up"]).fails(1, "cargo was not found").fails(1, "rustup");
    std::fs::rename(place.at("cargo"), place.at("tools/cargo")).unwrap();
    let mut broken = place.launcher("project/engine/agents", &[]);
    broken.env("BROKEN", "1");
    said(broken).fails(1, "it does not compile").fails(1, "was not built");
    assert_eq!(place.left_over(), Vec::<String>::new());
    place.run(&["up"]).ok();
    std::fs::rename(place.at("tools/git"), place.at("git")).unwrap();
    said(place.launcher("harness/agents", &[])).fails(1, "git was not found");
    std::fs::rename(place.at("git"), place.at("tools/git")).unwrap();
    place.write("nowhere/agents", LAUNCHER, 0o755);
    said(place.launcher("nowhere/agents", &[])).fails(1, "not in a commit of a git repository");
}

#[test]
fn the_named_program_comes_first() {
    let place = Place::new();
    place.write("mine", "#!/bin/sh\necho mine \"$@\"\n", 0o755);
    let mut command = place.launcher("project/engine/agents", &["up"]);
    command.env("AGENTS_BIN", place.at("mine"));
    assert_eq!(said(command).ok().stdout, "mine up\n");
    assert_eq!(place.calls(), Vec::<String>::new());
}

/// Takes minutes: `cargo test -p agents --test it -- --ignored really`.
#[test]
#[ignore = "compiles the whole engine"]
fn the_engine_is_really_built_from_a_plain_folder() {
    let root = tempfile::tempdir().unwrap();
    let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
    let said_by = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(root.path()).env("XDG_CACHE_HOME", root.path().join("cache"));
        said(command)
    };
    let files = {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "."]).current_dir(engine);
        said(git).ok().stdout
    };
    for file in files.split('\0').filter(|f| !f.is_empty()) {
        let to = root.path().join("engine").join(file);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(engine.join(file), to).unwrap();
    }
    for args in [
        &["init", "--quiet"][..],
        &["add", "--all"],
        &["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "-m", "x"],
    ] {
        said_by("git", args).ok();
    }
    let launcher = root.path().join("engine/agents");
    let version = format!("agents {}\n", env!("CARGO_PKG_VERSION"));
    for _ in 0..2 {
        assert_eq!(said_by(launcher.to_str().unwrap(), &["--version"]).ok().stdout, version);
    }
}
