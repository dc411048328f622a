//! `agents restart`

use super::{Context, up};
use crate::contract::control::ToWatchdog;
use crate::error::Result;

/// End the project's agents and spawned sessions, or these, and start them anew, by what agents.toml says now; conversations go on
#[derive(clap::Args)]
pub(super) struct Args {
    /// Agents' names or sessions' ids; without any, all of agents.toml and all spawned sessions
    #[arg(value_name = "AGENT|SESSION")]
    agents: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    up::bring(context, &up::Which { words: &args.agents, wanted: false }, "restart", true, |sessions, asked| ToWatchdog::Restart {
        sessions,
        asked,
    })
}
