//! `agents down`

use std::time::Duration;

use super::place::{Place, command_lock};
use super::{Context, ask, out, up};
use crate::contract::control::ToWatchdog;
use crate::contract::layout::Layout;
use crate::contract::status::State;
use crate::drive::start;
use crate::error::{Error, Result};
use crate::os::lock::Lock;
use crate::os::process::ProcessId;
use crate::os::socket::Stream;
use crate::os::{clock, fs};
use crate::store::meta::{self, Meta, Wanted};

/// Stop the project's agents, or these, with all they have started; nothing survives
#[derive(clap::Args)]
pub(super) struct Args {
    /// Agents' names or sessions' ids; without any, all that run
    #[arg(value_name = "AGENT|SESSION")]
    agents: Vec<String>,
}

/// How long the watchdog may take to go once nothing is wanted. Somebody who watches may hold it; that is no failure.
const FAREWELL: Duration = Duration::from_secs(2);

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let layout = &place.layout;
    if !fs::is_dir(&layout.data) {
        return nothing();
    }
    fs::private_dir(layout.runtime.parent().unwrap_or(&layout.runtime))?;
    fs::private_dir(&layout.runtime)?;
    let _lock = command_lock(layout, "down")?;
    let (chosen, mut errors) = chosen(&place, &args.agents)?;
    let changed: Vec<Meta> = chosen.iter().filter(|m| m.wanted == Wanted::Up).map(|m| Meta { wanted: Wanted::Down, ..m.clone() }).collect();
    meta::write_many(layout, &changed)?;
    // Whoever holds one of the locks must go, whatever was wanted before.
    let alive = |m: &&Meta| held(layout, &m.session);
    if changed.is_empty() && !chosen.iter().any(|m| alive(&m)) {
        return Error::all(errors).map_or_else(nothing, Err);
    }
    let sessions: Vec<String> = chosen.iter().filter(|m| m.wanted == Wanted::Up || alive(m)).map(|m| m.session.clone()).collect();
    let mut watchdog = start::watchdog(layout)?;
    let settled = ask::settle(&mut watchdog, &ToWatchdog::Settle { sessions })?;
    up::show(&settled);
    farewell(layout, watchdog)?;
    let survivors = settled.iter().filter(|a| a.state != State::Down).map(|a| {
        let why = if a.reason.is_empty() { String::new() } else { format!(": {}", a.reason) };
        Error::failed(format!("agent {} ({}) is still {}{why}", a.name, a.session, a.state.word()))
            .hint(format!("agents why {}", a.session))
    });
    errors.extend(survivors);
    Error::all(errors).map_or(Ok(()), Err)
}

/// The sessions that are meant, and an error for each that lives and cannot be stopped, as its metadata cannot be read.
fn chosen(place: &Place, words: &[String]) -> Result<(Vec<Meta>, Vec<Error>)> {
    if !words.is_empty() {
        return Ok((place.chosen(words)?, vec![]));
    }
    let (metas, damaged) = meta::survey(&place.layout)?;
    let errors = damaged.into_iter().filter(|(id, _)| held(&place.layout, id));
    Ok((metas, errors.map(|(id, error)| error.of(format!("session {id} still runs"))).collect()))
}

fn nothing() -> Result<()> {
    out::say("nothing was running");
    Ok(())
}

fn held(layout: &Layout, session: &str) -> bool {
    // What cannot be told counts as alive: then the watchdog looks closer.
    let held = |path: std::path::PathBuf| Lock::is_held(&path).unwrap_or(true);
    held(layout.host_lock(session)) || held(layout.agent_lock(session))
}

/// Waits for the watchdog's end where nothing is wanted any more, so that no process is left when the command returns.
fn farewell(layout: &Layout, mut watchdog: Stream) -> Result<()> {
    if meta::list(layout)?.iter().any(|m| m.wanted == Wanted::Up) {
        return Ok(());
    }
    let pid = ask::status_of(&mut watchdog)?.watchdog.map(|w| w.pid);
    let process = pid.and_then(ProcessId::of).and_then(ProcessId::open);
    drop(watchdog);
    if let Some(process) = process {
        crate::os::process::wait_for_end(&process, clock::monotonic() + FAREWELL)?;
    }
    Ok(())
}
