//! `fleet po`: the home's own agent, the project orchestrator.

use agents::cli::{Error, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os;

use super::Context;
use crate::checkout::trust;
use crate::harness::cache;

/// The home's own agent, which runs fleet on your request
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Start it
    Up {
        /// Trust what it would run, as it is now
        #[arg(long)]
        trust: bool,
    },
    /// Stop it
    Down,
    /// Look over its shoulder, and type; Ctrl-\ detaches
    Attach,
    /// Give it a text
    Send {
        /// The text; `-` reads it from standard input
        #[arg(allow_hyphen_values = true)]
        text: String,
    },
    /// What state it is in
    Status {
        /// Facts as JSON
        #[arg(long)]
        json: bool,
    },
}

/// The name of the home's one agent in its agents.toml.
pub const AGENT: &str = "orchestrator";

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    let home = &registry.home;
    let launcher = home.join(ENGINE_FOLDER).join("agents");
    if !os::fs::is_executable(&launcher) {
        let error = Error::failed(format!("{} is no fleet home: it has no engine at {}", os::env::shorten(home), launcher.display()));
        return Err(error.hint("fleet init DIR   makes a home with an orchestrator"));
    }
    cache::seed()?;
    if let Verb::Up { trust: true } = &args.verb {
        trust::grant_home(home)?;
    }
    let mut argv = match (trust::check_home(home), &args.verb) {
        (Ok(()), _) => vec![launcher.display().to_string()],
        // To stop and to look must not ask for trust: our own engine's program does it, and nothing of the home's runs.
        (Err(_), Verb::Down | Verb::Status { .. }) => vec![cache::program().display().to_string()],
        (Err(error), _) => return Err(error.of("the home's own agent")),
    };
    argv.extend(
        match &args.verb {
            Verb::Up { .. } => vec!["up"],
            Verb::Down => vec!["down"],
            Verb::Attach => vec!["attach", AGENT],
            Verb::Send { text } => vec!["send", AGENT, "--", text],
            Verb::Status { json: true } => vec!["status", "--json"],
            Verb::Status { json: false } => vec!["status"],
        }
        .into_iter()
        .map(str::to_owned),
    );
    Err(Error::failed("the home's engine could not be started").because(os::process::exec(&argv, home)))
}
