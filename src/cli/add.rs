//! `fleet add`: a project that exists already, here or at a URL.

use std::path::{Path, PathBuf};

use agents::cli::{Error, Result, out};
use agents::os;

use super::Context;
use crate::checkout::trust;
use crate::ops::journal::Entry;
use crate::ops::{self, Home, bump, join};
use crate::registry::grammar;
use crate::view::progress::Progress;

/// Register a project that exists already; a URL is cloned first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its folder, or the URL of its repository
    #[arg(value_name = "PATH|URL")]
    pub what: String,
    /// Its name in the registry; default: the last part of PATH or URL
    #[arg(long)]
    pub name: Option<String>,
    /// Where a URL is cloned to; default: its name in the registry's root
    #[arg(long, value_name = "FOLDER")]
    pub path: Option<PathBuf>,
    /// A word to select it by; may be repeated
    #[arg(short = 't', long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
}

/// Registers it.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    if args.what.is_empty() {
        return Err(Error::usage("PATH or URL is empty").hint("fleet add .   registers the folder you are in"));
    }
    for tag in &args.tags {
        grammar::name(tag).map_err(|expected| Error::usage(format!("--tag {tag:?}: {expected}")))?;
    }
    let here = ops::absolute(Path::new(&args.what))?;
    let is_url = !os::fs::exists(&here) && args.what.contains(':');
    let name = match &args.name {
        Some(name) => name.clone(),
        None if is_url => join::name_from(&args.what),
        None => join::name_from(&here.display().to_string()),
    };
    grammar::name(&name).map_err(|expected| Error::usage(format!("the name {name:?}: {expected}")).hint("choose one with --name"))?;
    let mut home = Home::take(&ctx.registry()?)?;
    if let Some(taken) = home.registry.project(&name) {
        return Err(
            Error::failed(format!("there is a project {name} already, at {}", taken.location)).hint("choose another name with --name")
        );
    }
    if is_url {
        return clone(args, &mut home, &name);
    }
    if args.path.is_some() {
        return Err(Error::usage("--path is for what is cloned; a folder stays where it is"));
    }
    if let Some(same) = home.registry.projects.iter().find(|p| p.folder() == Some(&here)) {
        return Err(Error::failed(format!("{} is registered already, as {}", here.display(), same.name)));
    }
    let entry = Entry { tags: args.tags.clone(), ..join::recognise(&home.registry, &here)? };
    let project = ops::new_project(&home.registry, &name, &entry)?;
    home.change(&format!("add {name}"), |edit| edit.add_project(&project))?;
    said(&home, &name, &entry)
}

fn clone(args: &Args, home: &mut Home, name: &str) -> Result<()> {
    let folder = match &args.path {
        Some(path) => ops::absolute(path)?,
        None => home.registry.fleet.root.join(name),
    };
    let build = |home: &Home, partial: &Path| {
        let mut made = join::clone(&home.registry, &args.what, &folder, partial, &home.lock)?;
        made.entry.tags.clone_from(&args.tags);
        Ok(made)
    };
    let progress = Progress::of("cloning", &[name]);
    let made = home.make(name, &folder, build, true)?;
    drop(progress);
    said(home, name, &made.entry)
}

/// To add a project is to trust it as it is now.
fn said(home: &Home, name: &str, entry: &Entry) -> Result<()> {
    if let Some((project, folder)) = home.registry.project(name).and_then(|p| Some((p, p.folder()?))) {
        trust::grant(&home.registry.home, project, folder)?;
    }
    out::say(format!(
        "added {name} at {}, harness {}, engine {} ({})",
        entry.location,
        entry.harness,
        entry.reference,
        bump::short(&entry.commit)
    ));
    out::say("trusted as it is now: when its agents.toml changes, `fleet start` asks again");
    Ok(())
}
