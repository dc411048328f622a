//! `fleet service`: every enabled project is started with the machine or at login.

use agents::cli::service::{Verb, deal};
use agents::cli::{Error, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os;

use super::Context;
use super::po::AGENT;

/// Start every enabled project when the machine or your login starts: a unit of systemd's user manager, or of launchd
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    let file = os::fs::canonical(&registry.path)?;
    let home = file.parent().unwrap_or(&file);
    let program = os::process::own_path().ok_or_else(|| Error::failed("where this program lies cannot be told"))?;
    let argv = [&program.display().to_string(), "--registry", &file.display().to_string(), "start", "--all"].map(str::to_owned);
    let mut commands = vec![argv.to_vec()];
    let launcher = home.join(ENGINE_FOLDER).join("agents");
    if os::fs::is_executable(&launcher) {
        // The home's own agent, if it ran.
        let argv = [&launcher.display().to_string(), "-C", &home.display().to_string(), "up", "--wanted", AGENT].map(str::to_owned);
        commands.push(argv.to_vec());
    }
    let name = format!("fleet-{}", agents::contract::layout::hash(home));
    deal(args.verb, &name, &format!("Projects of {}", file.display()), commands)
}
