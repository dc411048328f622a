//! `fleet init`: a fleet home, which is itself a project with one agent.

use std::path::{Path, PathBuf};

use agents::cli::interrupt::doing;
use agents::cli::{Error, Result, out};
use agents::os::{self, fs::Found, git::Git, lock::Lock};

use super::Context;
use crate::checkout::trust;
use crate::harness::{CARRIED, Mirror, cache};
use crate::ops::{self, create};
use crate::registry::{grammar, records};
use crate::view::progress::Progress;

/// Make a fleet home: the registry, and the orchestrator that runs fleet for you
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder; default: this one
    #[arg(value_name = "DIR")]
    pub folder: Option<PathBuf>,
    /// The program that plays the orchestrator
    #[arg(long, value_name = "BACKEND", default_value = "claude")]
    pub backend: String,
}

const REGISTRY: &str = "fleet.toml";

pub fn run(args: &Args, _ctx: &Context) -> Result<()> {
    grammar::name(&args.backend).map_err(|expected| Error::usage(format!("--backend {:?}: {expected}", args.backend)))?;
    let folder = ops::absolute(args.folder.as_deref().unwrap_or(Path::new(".")))?;
    let name = folder.file_name().map_or_else(|| "home".to_owned(), |n| n.to_string_lossy().into_owned());
    let partial = Partial(create::partial(&folder));
    let runtime = os::env::agents_runtime();
    os::fs::private_dir(&runtime)?;
    let path = runtime.join("init.lock");
    let Some(lock) = Lock::try_take(&path)? else {
        return Err(Error::busy(format!("another `fleet init` is at work: {}", Lock::holder(&path))).hint("try again when it is done"));
    };
    // Its lock is free, so nobody works on what an earlier one left.
    if partial.recover(&folder)? {
        records::forget(&folder)?;
        trust::made(&folder, &folder)?;
        out::say(format!("finished the fleet home in {}, which was interrupted", os::env::shorten(&folder)));
        return Ok(());
    }
    check_goal(&folder)?;
    let shown = os::env::shorten(&folder);
    let _doing = doing(&format!("making {shown}"), &format!("`fleet init {shown}` finishes it or begins anew"));
    let _progress = Progress::of("making", &[&shown]);
    partial.claim()?;
    let built = build(&name, &folder, &partial.home(), &args.backend, &lock);
    if built.is_err() {
        os::fs::remove_tree(&partial.0)?;
    }
    built?;
    partial.settle(&folder)?;
    records::forget(&folder)?;
    trust::made(&folder, &folder)?;
    cache::seed()?;
    out::say(format!("made a fleet home in {}", os::env::shorten(&folder)));
    out::say("next: `fleet create NAME` makes a project; `fleet po up` starts the orchestrator, `fleet po attach` talks to it");
    Ok(())
}

/// Where a home is made: a folder beside its goal, marked as ours before anything else is in it.
struct Partial(PathBuf);

impl Partial {
    fn mark(&self) -> PathBuf {
        self.0.join("fleet-init")
    }
    fn home(&self) -> PathBuf {
        self.0.join("home")
    }
    /// Says that the home is whole and on its way to its goal.
    fn moving(&self) -> PathBuf {
        self.0.join("moving")
    }

    fn claim(&self) -> Result<()> {
        os::fs::create_dirs(&self.0)?;
        Ok(os::fs::write_new(&self.mark(), b"", 0o644)?)
    }

    /// Finishes a move that was begun, and answers so; throws away what was not whole yet.
    fn recover(&self, folder: &Path) -> Result<bool> {
        match os::fs::look(&self.0)? {
            Found::Nothing => return Ok(false),
            // In a shared folder another user could have put a home of theirs there, to be taken for ours.
            Found::Folder { .. } if os::fs::is_own(&self.0)? && (os::fs::exists(&self.mark()) || os::fs::list(&self.0)?.is_empty()) => {}
            _ => return Err(Error::failed(format!("{} is in the way, and not ours", self.0.display())).hint("move it away")),
        }
        let begun = os::fs::exists(&self.moving());
        if begun {
            self.hand_over(folder)?;
        }
        os::fs::remove_tree(&self.0)?;
        Ok(begun)
    }

    /// A new folder gets its name at once. Into an empty one that is there, perhaps with a shell standing in it, everything is moved.
    fn settle(&self, folder: &Path) -> Result<()> {
        if os::fs::look(folder)? == Found::Nothing {
            os::fs::rename(&self.home(), folder)?;
        } else {
            os::fs::write_atomic(&self.moving(), b"", 0o644)?;
            self.hand_over(folder)?;
        }
        Ok(os::fs::remove_tree(&self.0)?)
    }

    /// The registry last: a folder without it is no home yet.
    fn hand_over(&self, folder: &Path) -> Result<()> {
        let mut names = os::fs::list(&self.home())?;
        names.sort_by_key(|n| n == REGISTRY);
        for name in names {
            let goal = folder.join(&name);
            if os::fs::look(&goal)? != Found::Nothing {
                return Err(Error::failed(format!("{} came in the way while the home was made", goal.display()))
                    .hint(format!("move it away and run the same command again; the rest waits in {}", self.home().display())));
            }
            os::fs::rename(&self.home().join(&name), &goal)?;
        }
        Ok(())
    }
}

fn check_goal(folder: &Path) -> Result<()> {
    let taken = |what: &str, hint: String| Err(Error::failed(format!("{}: {what}", folder.display())).hint(hint));
    match os::fs::look(folder)? {
        Found::Nothing => Ok(()),
        Found::Folder { .. } if os::fs::exists(&folder.join(REGISTRY)) => {
            taken("is a fleet home already", format!("fleet --registry {} status", folder.join(REGISTRY).display()))
        }
        Found::Folder { .. } if os::fs::list(folder)?.is_empty() => Ok(()),
        Found::Folder { .. } => taken("is not empty", "name a new folder: fleet init DIR".into()),
        _ => taken("is no folder", "name a new folder: fleet init DIR".into()),
    }
}

fn build(name: &str, folder: &Path, partial: &Path, backend: &str, lock: &Lock) -> Result<()> {
    let mirror = Mirror::open(CARRIED, None)?;
    super::create::known_backend(backend, &mirror)?;
    let target = mirror.resolve_or_fetch(None)?;
    let plan = create::Plan { name, folder, mirror: &mirror, target: &target, backend };
    create::build(plan, partial, lock)?;
    let registry = include_str!("init/fleet.toml").replace("{ref}", &target.reference);
    let agents = include_str!("init/agents.toml").replace("{name}", &name.replace(['"', '\\'], "-")).replace("{backend}", backend);
    let files = [
        (REGISTRY, registry.as_str()),
        ("agents.toml", agents.as_str()),
        ("prompts/orchestrator.md", include_str!("../../prompts/orchestrator.md")),
        (".gitignore", include_str!("init/gitignore")),
        ("README.md", include_str!("init/README.md")),
    ];
    for (path, text) in files {
        os::fs::write_atomic(&partial.join(path), text.as_bytes(), 0o644)?;
    }
    let git = Git::at(partial).holding(lock);
    git.run(&["add", "--", REGISTRY, "agents.toml", "prompts", ".gitignore", "README.md"])?;
    git.run(&["commit", "--quiet", "--amend", "--message", &format!("Make the fleet home {name}")]).map_err(create::identity)?;
    Ok(())
}
