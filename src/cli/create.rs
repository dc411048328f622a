//! `fleet create`: a new project, pinned and registered.

use std::path::{Path, PathBuf};

use agents::cli::interrupt::doing;
use agents::cli::{Error, Result, out};
use agents::os;

use super::Context;
use crate::checkout::drive;
use crate::harness::{Mirror, Resolved, cache};
use crate::ops::journal::Entry;
use crate::ops::{self, Home, Made, bump, create};
use crate::registry::{Harness, Registry, grammar};
use crate::view::progress::Progress;

/// Make a project: a git repository with an engine, one agent, one commit
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name: lower case letters, digits, `.`, `_`, `-`
    pub name: String,
    /// The folder to make; default: NAME in the registry's root
    #[arg(long, value_name = "FOLDER")]
    pub path: Option<PathBuf>,
    /// The kind of engine; default: the registry's
    #[arg(long, value_name = "HARNESS")]
    pub harness: Option<String>,
    /// The tag, branch or commit to pin; default: the harness's, else its newest version
    #[arg(long = "ref", value_name = "REF")]
    pub reference: Option<String>,
    /// A word to select it by; may be repeated
    #[arg(short = 't', long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// The program that plays its agent
    #[arg(long, value_name = "BACKEND", default_value = "claude")]
    pub backend: String,
    /// Leave it out of the registry
    #[arg(long)]
    pub no_register: bool,
    /// Start it at once
    #[arg(long, conflicts_with = "no_register")]
    pub start: bool,
    /// Only say what would be made
    #[arg(long)]
    pub dry_run: bool,
}

/// Makes it, or says what would be made.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let wrong = |what: &str, value: &str, expected: &str| Error::usage(format!("{what} {value:?}: {expected}"));
    grammar::name(&args.name).map_err(|expected| wrong("the name", &args.name, expected))?;
    grammar::name(&args.backend).map_err(|expected| wrong("--backend", &args.backend, expected))?;
    for tag in &args.tags {
        grammar::name(tag).map_err(|expected| wrong("--tag", tag, expected))?;
    }
    let registry = ctx.registry()?;
    if args.dry_run {
        return preview(args, &registry);
    }
    let mut home = Home::take(&registry)?;
    let progress = Progress::of("creating", &[&args.name]);
    let (harness, mirror, target) = engine(args, &home.registry)?;
    known_backend(&args.backend, &mirror)?;
    let folder = folder(args, &home.registry)?;
    if mirror.url.is_none() {
        cache::seed()?;
    }
    let build = |home: &Home, partial: &Path| {
        let plan = create::Plan { name: &args.name, folder: &folder, mirror: &mirror, target: &target, backend: &args.backend };
        Ok(Made { commit: create::build(plan, partial, &home.lock)?, entry: entry(args, &folder, &harness, &target) })
    };
    home.make(&args.name, &folder, build, !args.no_register)?;
    drop(progress);
    out::say(format!("created {} at {}, engine {}", args.name, os::env::shorten(&folder), named(&mirror, &target)));
    drop(home);
    match args.start {
        true => {
            let _doing = doing(&format!("starting {}", args.name), &format!("it is created; `fleet start {}` starts it", args.name));
            let _progress = Progress::of("starting", &[&args.name]);
            start(&harness, &folder)
        }
        false => Ok(()),
    }
}

/// Only of the engine that we carry it is known which backends it has.
pub fn known_backend(name: &str, mirror: &Mirror) -> Result<()> {
    let known = agents::cli::BACKENDS;
    if mirror.url.is_some() || known.contains(&name) {
        return Ok(());
    }
    let hint = agents::cli::document::suggest(name, known.iter().copied());
    Err(Error::usage(format!("--backend {name:?}: the engine has no backend of that name"))
        .hint(hint)
        .hint("a program of your own: create with `shell`, then write [backend.NAME] into agents.toml"))
}

fn start(harness: &Harness, folder: &Path) -> Result<()> {
    let up = drive::commands(harness, folder)?.up.ok_or_else(|| {
        Error::failed(format!("it is created, but harness {} has no command to start a project", harness.name))
            .hint(format!("add up = [\"…\"] to [harness.{}]", harness.name))
    })?;
    drive::run(&up, folder, "it is created, but could not be started")?;
    out::say("started");
    Ok(())
}

fn preview(args: &Args, registry: &Registry) -> Result<()> {
    let (harness, mirror, target) = engine(args, registry)?;
    known_backend(&args.backend, &mirror)?;
    let folder = folder(args, registry)?;
    create::check_goal(&folder)?;
    if !args.no_register && registry.project(&args.name).is_some() {
        return Err(Error::failed(format!("there is a project {} already", args.name)));
    }
    out::fact(format!("would create {} at {}", args.name, os::env::shorten(&folder)));
    out::fact(format!("engine: harness {}, {}", harness.name, named(&mirror, &target)));
    if !args.no_register {
        out::fact(format!("registered in {}", os::env::shorten(&registry.path)));
    }
    Ok(())
}

fn named(mirror: &Mirror, target: &Resolved) -> String {
    let commit = target.commit.to_string();
    match mirror.tag_of(target.commit) {
        Some(tag) if tag != target.reference => format!("{} ({tag}, {})", target.reference, bump::short(&commit)),
        _ => format!("{} ({})", target.reference, bump::short(&commit)),
    }
}

fn engine(args: &Args, registry: &Registry) -> Result<(Harness, Mirror, Resolved)> {
    let harness = registry.harness(args.harness.as_ref().unwrap_or(&registry.fleet.harness))?.clone();
    let mirror = Mirror::open(&harness.name, harness.url.as_deref())?;
    let target = mirror.resolve_or_fetch(args.reference.as_deref().or(harness.reference.as_deref()))?;
    if harness.signed {
        mirror.check_signed(&target)?;
    }
    Ok((harness, mirror, target))
}

fn folder(args: &Args, registry: &Registry) -> Result<PathBuf> {
    match &args.path {
        Some(path) => ops::absolute(path),
        None => Ok(registry.fleet.root.join(&args.name)),
    }
}

fn entry(args: &Args, folder: &Path, harness: &Harness, target: &Resolved) -> Entry {
    Entry {
        location: os::env::shorten(folder),
        harness: harness.name.clone(),
        reference: target.reference.clone(),
        commit: target.commit.to_string(),
        tags: args.tags.clone(),
        repo: None,
    }
}
