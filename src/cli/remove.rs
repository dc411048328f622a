//! `fleet remove`: forgets a project; its folder stays.

use agents::cli::interrupt::doing;
use agents::cli::{Result, out};

use super::Context;
use crate::checkout::drive;
use crate::ops::Home;
use crate::registry::Select;
use agents::cli::Error;
use agents::os;

/// Take a project out of the registry; its folder stays as it is
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name
    pub name: String,
    /// Stop it first, if it runs
    #[arg(long)]
    pub stop: bool,
    /// Only say what would happen
    #[arg(long)]
    pub dry_run: bool,
}

/// Forgets it, unless it runs.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let mut home = Home::take(&ctx.registry()?)?;
    let name = &args.name;
    let project = match home.registry.project(name) {
        Some(project) => project.clone(),
        None => {
            Select::named([name]).resolve(&home.registry)?;
            return Err(Error::usage(format!("{name:?} names several projects; remove takes exactly one")));
        }
    };
    let folder = project.folder().filter(|f| os::fs::is_dir(f));
    let running = match folder {
        Some(folder) => drive::is_running(home.registry.harness_of(&project)?, folder)?,
        None => false,
    };
    if running && !args.stop {
        return Err(Error::failed(format!("project {name} is running; nobody would see its agents any more"))
            .hint(format!("fleet stop {name}   or   fleet remove {name} --stop")));
    }
    if args.dry_run {
        let stop = if running { "stop and " } else { "" };
        out::fact(format!("would {stop}unregister {name}; {} stays", project.location));
        return Ok(());
    }
    if let (true, Some(folder)) = (running, folder) {
        let down = drive::commands(home.registry.harness_of(&project)?, folder)?.down;
        let down = down.ok_or_else(|| Error::failed(format!("harness {} has no command to stop a project", project.harness)))?;
        let _doing = doing(&format!("stopping {name}"), "it is still registered; the same command completes it");
        drive::run(&down, folder, &format!("project {name} could not be stopped"))?;
    }
    home.change(&format!("remove {name}"), |edit| edit.remove_project(name))?;
    out::say(format!("removed {name} from the registry; {} stays as it is", project.location));
    Ok(())
}
