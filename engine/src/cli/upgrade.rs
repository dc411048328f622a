//! `agents upgrade`, and what `up` does of it: making what runs go on as the engine that runs this command.

use super::place::{Place, command_lock};
use super::{Context, ask, interrupt, out};
use crate::contract::layout::Layout;
use crate::contract::status::{EngineStatus, EngineVersion};
use crate::error::{Error, Result};
use crate::os::socket::Stream;
use crate::os::succession;

/// Let this engine take over from the one that runs, while its agents run; starts and stops nothing
#[derive(clap::Args)]
pub(super) struct Args {}

pub(super) fn run(context: &Context, Args {}: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let Ok(mut watchdog) = Stream::connect(&place.layout.watchdog_socket()) else {
        out::say("nothing is running");
        return Ok(());
    };
    let _lock = command_lock(&place.layout, "upgrade")?;
    let _doing = interrupt::doing("replacing the engine", "it goes on by itself, agents live on; `agents upgrade` completes it");
    if !when_other(&place.layout, &mut watchdog)? {
        out::say("this engine runs already");
    }
    Ok(())
}

/// Replaces the daemons where they are of another engine; agents and whoever is connected notice nothing. False: they are of this one.
pub(super) fn when_other(layout: &Layout, watchdog: &mut Stream) -> Result<bool> {
    let running = ask::status_of(layout, watchdog)?;
    let own = crate::engine_version();
    if !is_other(&running, &own) {
        return Ok(false);
    }
    let hosts = ask::upgrade(layout, watchdog).map_err(|e| refused(&running.engine, &own, e))?;
    let sessions = if hosts == 1 { "session" } else { "sessions" };
    out::say(format!(
        "engine {} took over from {}; {hosts} {sessions} kept as they were",
        named(&own, &running.engine),
        named(&running.engine, &own)
    ));
    Ok(true)
}

/// Two trees tell it; where one of them is not known, the program files do.
fn is_other(running: &EngineStatus, own: &EngineVersion) -> bool {
    let trees = [&running.engine.tree, &own.tree];
    if running.engine.version == own.version && trees.iter().all(|t| !t.is_empty()) {
        return running.engine.tree != own.tree;
    }
    let daemon = running.watchdog.as_ref().map(|w| w.pid);
    daemon.and_then(succession::runs_own_program).is_some_and(|same| !same)
}

/// By its version; where the other one has the same, with its tree.
fn named(engine: &EngineVersion, other: &EngineVersion) -> String {
    match engine.tree.get(..12) {
        Some(tree) if engine.version == other.version => format!("{} ({tree})", engine.version),
        _ => engine.version.clone(),
    }
}

fn refused(running: &EngineVersion, own: &EngineVersion, error: Error) -> Error {
    let (before, after) = (named(running, own), named(own, running));
    let refused = Error::failed(format!("engine {before} goes on, as {after} could not take over")).because(&error.message);
    refused.hint("nothing was stopped; `agents down`, then `agents up`, starts all anew and resumes what can be resumed")
}
