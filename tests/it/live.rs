//! `fleet update` of what runs: the new engine takes over while agents run, or everything is as it was.

use std::path::Path;

use crate::home::{Ran, TestHome};

/// A home whose projects run what they pin, by the build cache. Beside the carried engine there are v90.0.0, which says another version of itself, and
/// v91.0.0, which runs as a command and cannot take over.
struct Releases(TestHome);

const NEW: &str = "9.8.7";

impl Releases {
    /// Projects that run, but for those whose name begins with `idle`.
    fn with_projects(names: &[&str]) -> Releases {
        let home = Releases(TestHome::new());
        for name in names {
            let start: &[&str] = if name.starts_with("idle") { &[] } else { &["--start"] };
            home.fleet(&[&["create", name, "--backend", "shell"], start].concat()).ok();
        }
        home.release("v90.0.0", env!("CARGO_PKG_VERSION"), NEW);
        home.release("v91.0.0", "--try-take-over", "--cry-take-over");
        home
    }

    fn fleet(&self, args: &[&str]) -> Ran {
        let mut command = self.0.command(env!("CARGO_BIN_EXE_fleet"), &self.0.file("home"));
        Ran::of(command.env_remove("AGENTS_BIN").args(args).output().unwrap())
    }

    /// Another tree in the mirror of the carried engine, and the program of that tree in the cache.
    fn release(&self, tag: &str, from: &str, to: &str) {
        let (home, mirror) = (&self.0, self.0.file(".cache/fleet/harness/agents-carried"));
        let clone = home.file(tag);
        home.git(&home.file(""), &["clone", "-q", mirror.to_str().unwrap(), clone.to_str().unwrap()]);
        home.git(&clone, &["checkout", "-q", &format!("v{}", env!("CARGO_PKG_VERSION"))]);
        std::fs::write(clone.join("RELEASE"), tag).unwrap();
        home.git(&clone, &["add", "RELEASE"]);
        home.git(&clone, &["commit", "-q", "-m", tag]);
        home.git(&clone, &["push", "-q", "origin", &format!("HEAD:refs/tags/{tag}")]);
        let mut program = std::fs::read(env!("CARGO_BIN_EXE_fleet")).unwrap();
        let places: Vec<usize> = program.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes()).map(|(i, _)| i).collect();
        assert!(!places.is_empty() && from.len() == to.len());
        places.iter().for_each(|at| program[*at..at + to.len()].copy_from_slice(to.as_bytes()));
        write_program(&self.program(tag), &program);
    }

    /// Version of the engine that runs in a project, and its agent's process.
    fn running(&self, project: &str) -> (String, i64) {
        let folder = self.0.project(project);
        let mut command = self.0.command(folder.join("engine/agents"), &folder);
        let said = Ran::of(command.env_remove("AGENTS_BIN").args(["status", "--json"]).output().unwrap());
        let status: serde_json::Value = serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {said:?}"));
        assert_eq!(status["agents"][0]["state"], "up", "{status:#}");
        (status["engine"]["version"].as_str().unwrap().to_owned(), status["agents"][0]["pid"].as_i64().unwrap())
    }

    /// A release's program in the cache.
    fn program(&self, tag: &str) -> std::path::PathBuf {
        let tree = self.0.git(&self.0.file(tag), &["rev-parse", "HEAD^{tree}"]);
        self.0.file(&format!(".cache/agents/engines/{tree}/agents"))
    }

    fn pinned(&self, project: &str, tag: &str) -> bool {
        let mirror = self.0.file(".cache/fleet/harness/agents-carried");
        self.0.pin(project) == self.0.git(&mirror, &["rev-parse", &format!("{tag}^{{commit}}")])
    }
}

fn write_program(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_new_pin_restarts_no_agent() {
    let home = Releases::with_projects(&["web"]);
    let (old, pid) = home.running("web");
    assert_ne!(old, NEW);
    let said = home.fleet(&["update", "web", "v90.0.0"]).ok();
    assert!(said.contains("→ v90.0.0; 1 agent kept"), "{said}");
    assert_eq!(home.running("web"), (NEW.to_owned(), pid));
    home.fleet(&["undo"]).ok();
    assert_eq!(home.running("web"), (old, pid));
    // As an update that is killed at the wrong moment leaves it: the pin moved, the old engine runs.
    home.fleet(&["stop", "web"]).ok();
    home.fleet(&["start", "web"]).ok();
    let (old, pid) = home.running("web");
    let folder = home.0.project("web");
    let program = home.program("v90.0.0");
    Ran::of(home.0.command(&program, &folder).args(["upgrade"]).output().unwrap()).ok();
    assert_eq!(home.running("web"), (NEW.to_owned(), pid));
    let said = home.fleet(&["update", "web", "v0.1.0"]).ok();
    assert!(said.contains("took over from another one; agents kept: 1"), "{said}");
    assert_eq!(home.running("web"), (old, pid));
    let said = home.fleet(&["update", "web", "v90.0.0", "--no-live"]).ok();
    assert!(said.contains("restarted, agents resume"), "{said}");
    let (version, other) = home.running("web");
    assert!(version == NEW && other != pid);
}

#[test]
fn an_engine_that_cannot_take_over_stops_at_the_first_project_which_goes_back() {
    let home = Releases::with_projects(&["idle", "one", "two"]);
    let before = (home.running("one"), home.running("two"), home.0.registry());
    let ran = home.fleet(&["update", "--all", "v91.0.0", "--canary", "1"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.err.contains("project one") && ran.err.contains("could not take over") && ran.err.contains("left as they are: two, idle"),
        "{}",
        ran.err
    );
    assert_eq!((home.running("one"), home.running("two"), home.0.registry()), before);
    let commits = |name: &str| home.0.git(&home.0.project(name), &["log", "--format=%s"]).lines().count();
    assert_eq!((commits("one"), commits("two"), commits("idle")), (3, 1, 1), "there and back again, and nobody else");
    assert!(["one", "two", "idle"].iter().all(|name| !home.pinned(name, "v91.0.0")));
    assert_eq!(home.fleet(&["validate"]).code, 0);
    // Without going first, each goes back by itself.
    let ran = home.fleet(&["update", "one", "two", "v91.0.0"]);
    assert!(ran.code == 1 && ran.err.contains("project one") && ran.err.contains("project two"), "{}", ran.err);
    assert_eq!((home.running("one"), home.running("two"), home.0.registry()), before);
    let said = home.fleet(&["update", "--all", "v90.0.0", "--canary", "1"]).ok();
    assert_eq!(said.matches("1 agent kept").count(), 2, "{said}");
    assert!(["one", "two", "idle"].iter().all(|name| home.pinned(name, "v90.0.0")));
    assert_eq!((home.running("one").0.as_str(), home.running("two").1), (NEW, before.1.1));
}
