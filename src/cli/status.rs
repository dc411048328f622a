//! `fleet status`.

use agents::cli::{Result, out};

use super::Context;
use crate::observe::project;
use crate::registry::select::Select;
use crate::view;

/// How projects stand: their agents, their pins. Changes nothing and waits for nobody
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub select: Select,
    /// Also each agent, and how the repository stands: what is changed, its branch, its engine
    #[arg(long)]
    pub long: bool,
    /// Facts as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    let projects = args.select.resolve_or_every(&registry)?;
    let report = project::look(&registry, &projects, args.long);
    if args.json {
        out::json(&report);
        return Ok(());
    }
    if report.projects.is_empty() {
        out::say("no projects yet: `fleet create NAME` makes one, `fleet add PATH` registers one");
        return Ok(());
    }
    out::table(&view::status::table(&report, args.long, view::status::ago));
    out::say(view::status::summary(&report));
    Ok(())
}
