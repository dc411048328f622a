//! `agents service`, and what other programs that install one share with it.

use serde::Serialize;

use super::Context;
use super::out::{self, Text, Tone};
use super::place::Place;
use crate::contract::layout::ENGINE_FOLDER;
use crate::error::{Error, Result};
use crate::os::service::{Manager, Service, surroundings};
use crate::os::{fs, process};

/// Bring this project's agents back when the machine or your login starts: a unit of systemd's user manager, or of launchd
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

/// What is to be done with a service.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
pub enum Verb {
    /// Write the unit, or write it anew, and have it started by itself
    Install,
    /// Remove the unit; what runs goes on
    Uninstall,
    /// Say whether it is installed
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    file: String,
    installed: bool,
    /// The file is what `install` would write now.
    current: bool,
    enabled: bool,
    /// It starts at boot, not only at login.
    lingers: Option<bool>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let launcher = place.folder.join(ENGINE_FOLDER).join("agents");
    let program = if fs::is_executable(&launcher) { Some(launcher) } else { process::own_path() };
    let program = program.ok_or_else(|| Error::failed("where this program lies cannot be told"))?;
    let argv = [&program.display().to_string(), "-C", &place.folder.display().to_string(), "up", "--wanted"].map(str::to_owned);
    let name = format!("agents-{}", place.layout.hash);
    deal(args.verb, &name, &format!("Agents of {}", place.folder.display()), vec![argv.to_vec()])
}

/// Does it with a service of this name that runs these commands.
pub fn deal(verb: Verb, name: &str, description: &str, commands: Vec<Vec<String>>) -> Result<()> {
    let Some(manager) = Manager::here() else {
        return Err(Error::failed("nothing is known here that could start it: systemd's `systemctl` is not on PATH")
            .hint(format!("have this run when the machine starts: {}", commands.first().map(|c| c.join(" ")).unwrap_or_default())));
    };
    let (env, env_remove) = surroundings();
    let service = Service { name: name.into(), description: description.into(), commands, env, env_remove };
    match verb {
        Verb::Install => {
            let words = manager.install(&service)?;
            let standing = manager.look(&service)?;
            out::fact(Text::of(Tone::Good, "installed").and(Tone::Plain, format!(" {}", standing.file.display())));
            words.iter().for_each(|w| out::warn(w));
            hint_at_lingering(standing.lingers);
        }
        Verb::Uninstall => {
            let file = manager.file(&service);
            let (removed, words) = manager.uninstall(&service)?;
            if removed {
                out::fact(Text::of(Tone::Good, "removed").and(Tone::Plain, format!(" {}", file.display())));
            } else {
                out::say("it was not installed");
            }
            words.iter().for_each(|w| out::warn(w));
        }
        Verb::Status { json } => status(manager, &service, json)?,
    }
    Ok(())
}

fn status(manager: Manager, service: &Service, json: bool) -> Result<()> {
    let standing = manager.look(service)?;
    let file = standing.file.display().to_string();
    if json {
        let (installed, current, enabled, lingers) = (standing.installed, standing.current, standing.enabled, standing.lingers);
        out::json(&Answer { name: &service.name, file, installed, current, enabled, lingers });
        return Ok(());
    }
    if !standing.installed {
        out::fact(Text::of(Tone::Dim, "not installed").and(Tone::Plain, format!("  {file} would be written")));
        return Ok(());
    }
    let word = if standing.enabled { Text::of(Tone::Good, "installed") } else { Text::of(Tone::Warn, "installed, but not enabled") };
    out::fact(word.and(Tone::Plain, format!("  {file}")));
    if !standing.current {
        out::warn("the file is not what would be written now; `service install` writes it anew");
    }
    hint_at_lingering(standing.lingers);
    Ok(())
}

fn hint_at_lingering(lingers: Option<bool>) {
    if lingers == Some(false) {
        out::say("it starts when you log in; to have it start with the machine: loginctl enable-linger");
    }
}
