//! `fleet engine`: harnesses, their versions, where projects' engines come from.

use std::collections::BTreeMap;
use std::path::Path;

use agents::cli::interrupt::doing;
use agents::cli::out::{Table, Text, Tone};
use agents::cli::{Error, Result, out};
use agents::os::{env, fs, git::Git, lock::Lock, process};

use super::Context;
use crate::harness::{CARRIED, Mirror, cache, carried, url};
use crate::ops::{Home, bump};
use crate::registry::Registry;
use crate::view::progress::Progress;

/// Look after harnesses: the engines that projects pin
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do with them.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List harnesses, their newest versions, and how many projects are at which
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Push the engine that this program carries to a repository of yours, and pin new projects from there
    Publish {
        /// Where to: https, ssh, or a path
        url: String,
    },
    /// Build a version of an engine into the build cache
    Build {
        /// A tag, branch or commit
        #[arg(value_name = "REF")]
        reference: String,
        /// Of this harness; default: the registry's
        #[arg(long)]
        harness: Option<String>,
    },
}

/// Does it.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    match &args.verb {
        Verb::List { json } => list(&ctx.registry()?, *json),
        Verb::Publish { url } => publish(&mut Home::take(&ctx.registry()?)?, url),
        Verb::Build { reference, harness } => build(&ctx.registry()?, reference, harness.as_deref()),
    }
}

fn list(registry: &Registry, json: bool) -> Result<()> {
    let mut table = Table::new(&["HARNESS", "NEWEST", "DEFAULT", "PROJECTS", "FROM"]);
    let mut facts = vec![];
    for harness in registry.harnesses.values() {
        let known = fs::is_dir(&crate::harness::mirror::path(&harness.name, harness.url.as_deref()));
        let mirror = if known || harness.url.is_none() { Some(Mirror::open(&harness.name, harness.url.as_deref())?) } else { None };
        let newest = mirror.as_ref().and_then(|m| m.newest().ok());
        let mut at: BTreeMap<&str, usize> = BTreeMap::new();
        for project in registry.projects.iter().filter(|p| p.harness == harness.name) {
            *at.entry(project.reference.as_deref().unwrap_or("?")).or_default() += 1;
        }
        let projects: Vec<String> = at.iter().map(|(reference, n)| format!("{n} at {reference}")).collect();
        facts.push(serde_json::json!({
            "name": harness.name, "url": harness.url, "newest": newest, "ref": harness.reference, "projects": at,
            "carried": harness.url.is_none().then(carried::tag),
        }));
        table.row(vec![
            Text::of(Tone::Strong, &harness.name),
            newest.unwrap_or_else(|| "not fetched yet".into()).into(),
            harness.reference.clone().unwrap_or_else(|| "newest".into()).into(),
            projects.join(", ").into(),
            Text::of(Tone::Dim, harness.url.as_deref().unwrap_or("inside fleet")),
        ]);
    }
    if json {
        out::json(&facts)
    } else {
        out::table(&table)
    }
    Ok(())
}

/// The commit and its tag are the same on every machine, so pushing them again changes nothing.
fn publish(home: &mut Home, url: &str) -> Result<()> {
    url::check(url)?;
    let mirror = Mirror::open(CARRIED, None)?;
    let (tag, ids) = (carried::tag(), carried::ids());
    let commit = ids.commit.to_string();
    let git = Git::at(&mirror.path).holding(&home.lock);
    let refused = |mut e: Error| {
        e.message = format!("the engine could not be pushed to {url}");
        if e.because.iter().any(|line| line.contains("remote rejected")) {
            e = e.hint("a file that exists or differs there was left by a push whose receiving git was killed: remove it there, then run this again");
        }
        e.hint("nothing was recorded; see that the repository exists, that you may push to it, and that its tag is not another engine's")
    };
    git.run(&["push", "--quiet", "--", url, &format!("{commit}:refs/tags/{tag}")]).map_err(refused)?;
    let main = git.run(&["ls-remote", "--", url, "refs/heads/main"]).map_err(refused)?;
    if main.is_empty() {
        git.run(&["push", "--quiet", "--", url, &format!("{commit}:refs/heads/main")]).map_err(refused)?;
    }
    home.change(&format!("engine publish {url}"), |edit| {
        edit.set_harness(CARRIED, "url", url)?;
        edit.set_harness(CARRIED, "ref", tag.as_str())
    })?;
    out::say(format!("published engine {tag} ({}) to {url}; new projects pin it from there", bump::short(&commit)));
    out::say("projects that carry it themselves go on doing so until their .gitmodules names the new url");
    Ok(())
}

/// The launcher of that version builds itself into the cache: from a work tree of its own, as in a project.
fn build(registry: &Registry, reference: &str, harness: Option<&str>) -> Result<()> {
    let harness = registry.harness(harness.unwrap_or(&registry.fleet.harness))?;
    let _doing = doing(&format!("building {reference} of harness {}", harness.name), "nothing of it is kept; the same command begins anew");
    let mirror = Mirror::open(&harness.name, harness.url.as_deref())?;
    let target = mirror.resolve_or_fetch(Some(reference))?;
    if target.tree == carried::ids().tree {
        cache::seed()?;
        out::say(format!("{reference} is the engine that fleet carries: it is in the cache"));
        return Ok(());
    }
    if mirror.file_at(target.tree, "agents").is_none() {
        return Err(Error::failed(format!(
            "harness {} at {reference} has no launcher `agents`, so there is nothing to build",
            harness.name
        )));
    }
    let (above, commit) = (env::cache_home().join("fleet/build"), target.commit.to_string());
    fs::create_dirs(&above)?;
    let lock = one_builder(&above.join(".lock"))?;
    let folder = above.join(&commit);
    let git = Git::at(&mirror.path).without_hooks().holding(&lock);
    let shown = folder.display().to_string();
    // A git that is killed while it adds one leaves it locked, and then no git prunes it.
    let clear = || fs::remove_tree(&folder).and_then(|()| fs::remove_tree(&mirror.path.join("worktrees")));
    clear()?;
    git.run(&["worktree", "add", "--quiet", "--force", "--detach", &shown, &commit])?;
    out::say(format!("building {reference} of harness {}", harness.name));
    let progress = Progress::of_one(&format!("building {reference}"));
    let argv = [folder.join("agents").display().to_string(), "--version".to_owned()];
    // A program that is named for all would be run instead of building one.
    let environment = [(env::AGENTS_BIN.to_owned(), String::new())];
    let run = process::Run { argv: &argv, folder: Some(&folder), env: &environment, ..process::Run::default() };
    let output = process::run(&run);
    drop(progress);
    clear()?;
    let output = output?;
    if output.code != 0 {
        return Err(not_built(reference, &above.join(format!("{commit}.log")), &output.stderr)?);
    }
    out::say(format!("built {}", String::from_utf8_lossy(&output.stdout).trim()));
    Ok(())
}

/// Work trees of one mirror come and go: one build at a time.
fn one_builder(path: &Path) -> Result<Lock> {
    agents::cli::wait_for(path, None, |holder| format!("waiting: another `fleet engine build` is at work: {holder}"))
}

/// The last lines of what was said, and where all of it stands.
fn not_built(reference: &str, log: &Path, said: &[u8]) -> Result<Error> {
    fs::write_atomic(log, said, 0o600)?;
    let said = String::from_utf8_lossy(said);
    let lines: Vec<&str> = said.lines().collect();
    let error = Error::failed(format!("{reference} could not be built"));
    let error = lines[lines.len().saturating_sub(12)..].iter().fold(error, |e, l| e.because(l));
    Ok(error.hint(format!("all of it: {}", env::shorten(log))))
}
