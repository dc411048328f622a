//! `fleet logs`.

use agents::cli::Result;

use super::Context;

/// What an agent printed
#[derive(Debug, clap::Args)]
pub struct Args {
    /// PROJECT, or PROJECT/SESSION where it has several
    pub target: String,
    /// Go on as it prints
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N")]
    pub lines: Option<usize>,
    /// Further options of the engine's `logs`
    #[arg(last = true)]
    pub rest: Vec<String>,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let mut rest = args.rest.clone();
    if args.follow {
        rest.push("-f".into());
    }
    rest.extend(args.lines.map(|n| format!("--lines={n}")));
    super::inside::become_engine(&args.target, "logs", &rest, ctx)
}
