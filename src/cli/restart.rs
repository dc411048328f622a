//! `fleet restart`.

use agents::cli::Result;

use super::Context;
use super::run::{Deed, Options};
use crate::registry::select::Select;

/// Stop projects and start them again; conversations go on
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub select: Select,
    /// Only say what would be run
    #[arg(long)]
    pub dry_run: bool,
    /// Trust what the projects would run, as it is now
    #[arg(long)]
    pub trust: bool,
    /// Facts as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let deed = Deed { verb: "restart", done: "restarted", commands: |c| vec![("down", c.down.as_ref()), ("up", c.up.as_ref())] };
    super::run::run(&args.select, Options { dry_run: args.dry_run, json: args.json, trust: args.trust }, &deed, ctx)
}
