//! The builder: a user's home folder of its own, with a fleet home in it.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A user with a home folder, a git identity, and a fleet home with an empty registry. What was started in it is stopped at its end.
#[must_use]
pub struct TestHome {
    folder: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    }
    /// Both outputs of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self.out + &self.err
    }
    /// Standard error of a command that must have failed with this status.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self.err
    }
}

impl TestHome {
    /// Under a short path: socket paths are limited to 107 bytes.
    pub fn new() -> TestHome {
        let folder = tempfile::Builder::new().prefix("ft").rand_bytes(5).tempdir_in("/tmp").unwrap();
        let home = TestHome { folder };
        for name in ["home", "projects", "bin", "run"] {
            std::fs::create_dir(home.file(name)).unwrap();
        }
        std::fs::set_permissions(home.file("run"), std::fs::Permissions::from_mode(0o700)).unwrap();
        home.write(
            ".gitconfig",
            "[user]\n\tname = Ada Tester\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n",
        );
        home.write("home/fleet.toml", "[fleet]\nversion = 1\nroot = \"~/projects\"\n");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_fleet"), home.file("bin/agents")).unwrap();
        home
    }

    /// A path in the home folder.
    pub fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
    /// A project's folder.
    pub fn project(&self, name: &str) -> PathBuf {
        self.file("projects").join(name)
    }
    /// Writes a file, its folders too.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.file(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    /// Reads a file.
    #[track_caller]
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.file(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }
    /// The registry's text.
    pub fn registry(&self) -> String {
        self.read("home/fleet.toml")
    }

    /// Where the fleet home's records lie. They are named for what tells its folder from others.
    #[track_caller]
    pub fn records(&self) -> PathBuf {
        self.records_of(&self.file("home"))
    }
    /// The same of any home that has some.
    #[track_caller]
    pub fn records_of(&self, home: &Path) -> PathBuf {
        let shown = format!("\"path\":\"{}\"", home.display());
        let all = std::fs::read_dir(self.file(".local/state/fleet")).unwrap().map(|e| e.unwrap().path());
        let mut found = all.filter(|f| std::fs::read_to_string(f.join("origin")).is_ok_and(|o| o.contains(&shown)));
        found.next().unwrap_or_else(|| panic!("nothing is known of {}", home.display()))
    }

    /// A command with this home's environment and nothing of the caller's but the path.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(folder).stdin(std::process::Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.folder.path());
        command.env("XDG_RUNTIME_DIR", self.file("run")).env("AGENTS_BIN", self.file("bin/agents"));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("TERM", "dumb").env("TZ", "UTC");
        command
    }
    /// `fleet` in the fleet home.
    pub fn fleet(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(env!("CARGO_BIN_EXE_fleet"), &self.file("home")).args(args).output().unwrap())
    }
    /// A project's own launcher.
    pub fn agents(&self, project: &str, args: &[&str]) -> Ran {
        let folder = self.project(project);
        Ran::of(self.command(folder.join("engine/agents"), &folder).args(args).output().unwrap())
    }
    /// git, which must succeed; its output without the last newline.
    #[track_caller]
    pub fn git(&self, folder: &Path, args: &[&str]) -> String {
        let ran = Ran::of(self.command("git", folder).args(args).output().unwrap());
        assert_eq!(ran.code, 0, "git {args:?} in {}:\n{}", folder.display(), ran.err);
        ran.out.trim_end().to_owned()
    }

    /// The pin that a project's HEAD records.
    #[track_caller]
    pub fn pin(&self, project: &str) -> String {
        self.git(&self.project(project), &["rev-parse", "HEAD:engine"])
    }

    /// Makes a harness of somebody else's: forty lines of sh, tags v1.0.0 and v1.1.0. Registered under this name, with commands, or with a manifest.
    pub fn sh_harness(&self, name: &str, with_manifest: bool) -> PathBuf {
        let folder = self.file("harness").join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("run"), include_str!("harness.sh")).unwrap();
        std::fs::set_permissions(folder.join("run"), std::fs::Permissions::from_mode(0o755)).unwrap();
        if with_manifest {
            let mut text = format!("[engine]\nname = \"{name}\"\nversion = \"1.0.0\"\nprotocol = 1\n[commands]\n");
            for verb in ["up", "down", "status", "check"] {
                writeln!(text, "{verb} = [\"engine/run\", \"{verb}\"]").unwrap();
            }
            std::fs::write(folder.join("engine.toml"), text).unwrap();
        }
        self.git(&folder, &["init", "-q"]);
        self.release(&folder, "v1.0.0", &[("notes", "one\n"), ("old/file", "only in the first\n")]);
        std::fs::remove_dir_all(folder.join("old")).unwrap();
        self.release(&folder, "v1.1.0", &[("notes", "two\n"), ("new/file", "only in the second\n")]);
        let mut entry = format!("\n[harness.{name}]\nurl = \"{}\"\nref = \"v1.0.0\"\n", folder.display());
        if !with_manifest {
            for verb in ["up", "down", "status", "check"] {
                writeln!(entry, "{verb} = [\"engine/run\", \"{verb}\"]").unwrap();
            }
        }
        self.write("home/fleet.toml", &(self.registry() + &entry));
        folder
    }

    /// Commits files to a harness and tags that; answers with the commit.
    pub fn release(&self, harness: &Path, tag: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = harness.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        self.git(harness, &["add", "-A"]);
        self.git(harness, &["commit", "-q", "-m", &format!("Release {tag}")]);
        self.git(harness, &["tag", "-f", tag]);
        self.git(harness, &["rev-parse", "HEAD"])
    }
}

impl Drop for TestHome {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.file("projects")).into_iter().flatten().flatten() {
            for program in ["engine/agents", "engine/run"] {
                let program = entry.path().join(program);
                if program.exists() {
                    let _ = self.command(program, &entry.path()).arg("down").output();
                }
            }
        }
    }
}
