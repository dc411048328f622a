//! The throw-away folder, and commands run in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agents::cli::{Error, Result, out};
use agents::contract::layout::Layout;
use agents::contract::manifest::MANIFEST_FILE;
use agents::os::{self, fs, git::Git, lock::Lock, process, signal};

use crate::harness::{self, CARRIED, carried};

/// No command of the demo takes nearly as long.
const LIMIT: Duration = Duration::from_secs(60);
/// Longer, and the sockets' paths in it would not fit into the 107 bytes that the kernel takes.
const PATH_BYTES_MAX: usize = 50;

/// A home folder of its own, and what everything in it is told of the world.
pub struct Stage {
    pub folder: PathBuf,
    env: Vec<(String, String)>,
    program: String,
    signals: std::os::fd::OwnedFd,
}

impl Stage {
    /// Makes the folder. From now on Ctrl-C, TERM and HUP are noticed between two commands.
    pub fn set() -> Result<Stage> {
        let signals = signal::descriptor(&[signal::INTERRUPT, signal::TERMINATE, signal::HANG_UP])?;
        let program = process::own_path().ok_or_else(|| Error::failed("where this program's file is cannot be told"))?;
        let folder = new_folder()?;
        let path = |name: &str| folder.join(name).display().to_string();
        let env = [
            ("HOME", folder.display().to_string()),
            ("XDG_CACHE_HOME", path("cache")),
            ("XDG_CONFIG_HOME", path("config")),
            ("XDG_STATE_HOME", path("state")),
            ("XDG_RUNTIME_DIR", path("run")),
            ("FLEET_REGISTRY", path("home/fleet.toml")),
            ("GIT_CONFIG_GLOBAL", path(".gitconfig")),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            // Empty is as good as unset.
            (os::env::AGENTS_HOME, String::new()),
            (os::env::AGENTS_BIN, String::new()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let stage = Stage { folder, env, program: program.display().to_string(), signals };
        stage.furnish().inspect_err(|_| {
            let _ = fs::remove_tree(&stage.folder);
        })?;
        Ok(stage)
    }

    fn furnish(&self) -> Result<()> {
        fs::private_dir(&self.folder.join("run"))?;
        let identity = "[user]\n\tname = A Newcomer\n\temail = newcomer@example.org\n";
        fs::write_new(&self.folder.join(".gitconfig"), identity.as_bytes(), 0o600)?;
        Ok(())
    }

    /// `export` arguments with which a shell is in the demo's world.
    pub fn exports(&self) -> String {
        let set: Vec<String> = self.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        set.join(" ")
    }

    pub fn project(&self, name: &str) -> PathBuf {
        self.folder.join("projects").join(name)
    }

    /// Where a project's engine keeps its data.
    pub fn layout(&self, name: &str) -> Result<Layout> {
        let folder = fs::canonical(&self.project(name))?;
        Ok(Layout::new(&folder, name, &self.folder.join("state/agents"), &self.folder.join("run/agents")))
    }

    /// `fleet`, in the fleet home.
    pub fn fleet(&self, args: &[&str]) -> Result<()> {
        self.fleet_in(&self.folder.join("home"), args)
    }

    pub fn fleet_in(&self, folder: &Path, args: &[&str]) -> Result<()> {
        let line = format!("fleet {}", args.join(" "));
        super::command(&line, "");
        let colour = if out::stdout_colour() { "--color=always" } else { "--color=never" };
        let mut argv = vec![self.program.clone(), colour.into()];
        argv.extend(args.iter().map(|a| (*a).to_owned()));
        self.show(&line, &argv, folder)
    }

    /// A project's own engine, as by hand.
    pub fn engine(&self, name: &str, args: &[&str]) -> Result<()> {
        let folder = self.project(name);
        let line = format!("cd {} && {} {}", self.shown(&folder), super::launcher(), args.join(" "));
        super::command(&line, "");
        let mut argv = vec![folder.join(super::launcher()).display().to_string()];
        argv.extend(args.iter().map(|a| (*a).to_owned()));
        self.show(&line, &argv, &folder)
    }

    /// git in a project.
    pub fn git(&self, name: &str, args: &[&str]) -> Result<()> {
        let folder = self.project(name);
        let line = format!("git -C {} {}", self.shown(&folder), args.join(" "));
        super::command(&line, "");
        let argv: Vec<String> = ["git"].iter().chain(args).map(|a| (*a).to_owned()).collect();
        self.show(&line, &argv, &folder)
    }

    fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.folder).map_or_else(|_| path.display().to_string(), |p| format!("~/{}", p.display()))
    }

    /// Runs a command and shows what it said; one that fails ends the demo.
    fn show(&self, line: &str, argv: &[String], folder: &Path) -> Result<()> {
        let output = self.run(argv, folder)?;
        // Programs of ours, whose words have gone through the gate, and git's.
        out::raw_while_heard(&output.stdout);
        out::raw_while_heard(&output.stderr);
        if self.is_interrupted() {
            return Err(super::interrupted());
        }
        match output.code {
            0 => Ok(()),
            code => Err(Error::failed(format!("the demo ended early: `{line}` ended with status {code}"))),
        }
    }

    fn run(&self, argv: &[String], folder: &Path) -> Result<process::Output> {
        Ok(process::run(&process::Run { argv, folder: Some(folder), env: &self.env, timeout: Some(LIMIT), ..process::Run::default() })?)
    }

    fn is_interrupted(&self) -> bool {
        signal::next(&self.signals).is_some()
    }

    /// Makes up a version of the engine: the carried one with another number, as its tag in the demo's mirror, and as a built program.
    pub fn release(&self, tag: &str) -> Result<()> {
        let old = carried::ids();
        let mirror = self.folder.join("cache/fleet/harness").join(harness::mirror::path(CARRIED, None).file_name().unwrap_or_default());
        let git = Git::at(&mirror).env("GIT_INDEX_FILE", &self.folder.join("next-index").display().to_string());
        let git = ["AUTHOR", "COMMITTER"]
            .iter()
            .fold(git, |git, who| git.env(&format!("GIT_{who}_NAME"), "agents").env(&format!("GIT_{who}_EMAIL"), "agents@engine.invalid"));
        let manifest = git.run(&["cat-file", "blob", &format!("{}:{MANIFEST_FILE}", old.commit)])?;
        let file = self.folder.join("next-manifest");
        fs::write_new(&file, manifest.replacen(carried::VERSION, tag.trim_start_matches('v'), 1).as_bytes(), 0o600)?;
        let blob = git.run(&["hash-object", "-w", "--", &file.display().to_string()])?;
        git.run(&["read-tree", &old.tree.to_string()])?;
        git.run(&["update-index", "--cacheinfo", &format!("100644,{blob},{MANIFEST_FILE}")])?;
        let tree = git.run(&["write-tree"])?;
        let message = format!("{CARRIED} {tag}");
        let commit = git.run(&["commit-tree", "-p", &old.commit.to_string(), "-m", &message, &tree])?;
        git.run(&["update-ref", &format!("refs/tags/{tag}"), &commit])?;
        let engines = self.folder.join("cache/agents/engines");
        fs::create_dirs(&engines.join(&tree))?;
        fs::link_or_copy(&engines.join(old.tree.to_string()).join("agents"), &engines.join(&tree).join("agents"))?;
        Ok(())
    }

    /// Stops what runs, sees that nothing is left, and removes the folder.
    pub fn clear(&self, keep: bool) -> Result<()> {
        let mut left = vec![];
        for name in fs::list(&self.folder.join("projects"))? {
            let argv = [self.project(&name).join(super::launcher()).display().to_string(), "down".into()];
            if fs::is_executable(Path::new(&argv[0])) {
                let _ = self.run(&argv, &self.project(&name));
            }
            if let Ok(layout) = self.layout(&name)
                && Lock::is_held(&layout.watchdog_lock())?
            {
                left.push(name);
            }
        }
        if !left.is_empty() {
            let error = Error::failed(format!("still running in {}: {}", self.folder.display(), left.join(", ")));
            return Err(error.hint("engine/agents down   in each of them, then remove the folder"));
        }
        if !keep {
            fs::remove_tree(&self.folder)?;
        }
        Ok(())
    }
}

/// A new folder of the user's own among the temporary ones.
fn new_folder() -> Result<PathBuf> {
    let usual = os::env::temp_dir();
    let above = if usual.as_os_str().len() <= PATH_BYTES_MAX { usual } else { PathBuf::from("/tmp") };
    for n in 0..100 {
        let folder = above.join(format!("fleet-demo-{}{n:02}", std::process::id()));
        if fs::create_dir(&folder, 0o700)? {
            return Ok(fs::canonical(&folder)?);
        }
    }
    Err(Error::failed(format!("no new folder could be made in {}", above.display())))
}
