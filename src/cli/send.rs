//! `fleet send`.

use agents::cli::Result;

use super::Context;

/// Give an agent a text; returns when the agent has taken it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// PROJECT, or PROJECT/SESSION where it has several
    pub target: String,
    /// The text; `-` reads it from standard input
    #[arg(allow_hyphen_values = true)]
    pub text: String,
    /// Further options of the engine's `send`
    #[arg(last = true)]
    pub rest: Vec<String>,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let mut rest = args.rest.clone();
    rest.extend(["--".into(), args.text.clone()]);
    super::inside::become_engine(&args.target, "send", &rest, ctx)
}
