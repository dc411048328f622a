//! `fleet start`.

use agents::cli::Result;

use super::Context;
use super::run::Deed;
use crate::registry::select::Select;

/// Start projects: every agent runs, or has said why not
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub select: Select,
    /// Only say what would be run
    #[arg(long)]
    pub dry_run: bool,
    /// Facts as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let deed = Deed { verb: "start", done: "started", commands: |c| vec![("up", c.up.as_ref())] };
    super::run::run(&args.select, args.dry_run, args.json, &deed, ctx)
}
