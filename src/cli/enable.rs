//! `fleet enable`: from now on `--all` takes these projects.

use agents::cli::Result;
use agents::cli::out;

use crate::cli::Context;
use crate::ops::Home;
use crate::registry::{Registry, Select};

/// Let --all take these projects from now on
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    select: Select,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    switch(&args.select, true, args.dry_run, ctx)
}

/// Writes `enabled` of the projects where it differs.
pub(super) fn switch(select: &Select, enabled: bool, dry_run: bool, ctx: &Context) -> Result<()> {
    let word = if enabled { "enabled" } else { "disabled" };
    let names = |registry: &Registry| -> Result<Vec<String>> {
        let chosen = select.resolve_with_disabled(registry)?;
        let (differ, same): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|p| p.enabled != enabled);
        for project in same {
            out::say(format!("{} is {word} already", project.name));
        }
        Ok(differ.into_iter().map(|p| p.name.clone()).collect())
    };
    let registry = ctx.registry()?;
    if dry_run {
        for name in names(&registry)? {
            out::fact(format!("{name} would be {word}"));
        }
        return Ok(());
    }
    let mut home = Home::take(&registry)?;
    let names = names(&home.registry)?;
    let verb = if enabled { "enable" } else { "disable" };
    home.change(&format!("{verb} {}", names.join(" ")), |edit| names.iter().try_for_each(|name| edit.set(name, "enabled", enabled)))?;
    for name in names {
        out::fact(format!("{name} is {word}"));
    }
    Ok(())
}
