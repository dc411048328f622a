//! `fleet disable`: from now on `--all` passes these projects by. What runs goes on running.

use agents::cli::Result;

use crate::cli::Context;
use crate::registry::Select;

/// Let --all pass these projects by from now on; what runs goes on running
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    select: Select,
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    super::enable::switch(&args.select, false, args.dry_run, ctx)
}
