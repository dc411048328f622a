//! `fleet attach`.

use agents::cli::Result;

use super::Context;

/// Look over an agent's shoulder, and type; Ctrl-\ detaches
#[derive(Debug, clap::Args)]
pub struct Args {
    /// PROJECT, or PROJECT/SESSION where it has several
    pub target: String,
    /// Further options of the engine's `attach`
    #[arg(last = true)]
    pub rest: Vec<String>,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    super::inside::become_engine(&args.target, "attach", &args.rest, ctx)
}
