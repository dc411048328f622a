//! `fleet stop`.

use agents::cli::Result;

use super::Context;
use super::run::{Deed, Options};
use crate::registry::select::Select;

/// Stop projects: no process of theirs is left
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
    let deed = Deed { verb: "stop", done: "stopped", commands: |c| vec![("down", c.down.as_ref())] };
    super::run::run(&args.select, Options { dry_run: args.dry_run, json: args.json, trust: false }, &deed, ctx)
}
