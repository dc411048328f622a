//! `fleet why`.

use agents::cli::Result;

use super::Context;

/// Why an agent is in the state it is in
#[derive(Debug, clap::Args)]
pub struct Args {
    /// PROJECT, or PROJECT/SESSION where it has several
    pub target: String,
    /// Further options of the engine's `why`
    #[arg(last = true)]
    pub rest: Vec<String>,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    super::inside::become_engine(&args.target, "why", &args.rest, ctx)
}
