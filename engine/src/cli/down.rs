//! `agents down`

use std::time::Duration;

use super::place::{Place, command_lock};
use super::{Context, ask, interrupt, out, tmux, up};
use crate::contract::control::ToWatchdog;
use crate::contract::layout::{Layout, is_name};
use crate::contract::status::State;
use crate::contract::task;
use crate::drive::start;
use crate::error::{Error, Result};
use crate::os::process::ProcessId;
use crate::os::socket::Stream;
use crate::os::{clock, fs};
use crate::store;
use crate::store::instance;
use crate::store::meta::{self, Meta, Wanted};
use crate::store::tasks;

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
    instance::settle_runtime(layout)?;
    let _lock = command_lock(layout, "down")?;
    let _doing =
        interrupt::doing("stopping agents", "what was begun goes on by itself; `agents status` shows it, `agents down` completes it");
    let queue = args.agents.is_empty() && stop_queue(layout)?;
    let (chosen, unreadable) = chosen(&place, &args.agents)?;
    let changed: Vec<Meta> = chosen.iter().filter(|m| m.wanted == Wanted::Up).map(|m| Meta { wanted: Wanted::Down, ..m.clone() }).collect();
    meta::write_many(layout, &changed)?;
    // Whoever holds one of the locks must go, whatever was wanted before.
    let alive = |m: &&Meta| store::run::lives(layout, &m.session);
    let ids: Vec<String> = chosen.iter().map(|m| m.session.clone()).chain(unreadable.iter().cloned()).collect();
    let mut held = None;
    if queue {
        // A watchdog that has nothing else to do stays as long as somebody is connected.
        held = Some(start::watchdog(layout)?);
        ask::tasks(layout, &ToWatchdog::Queue { end: true })?;
    }
    if !queue && changed.is_empty() && unreadable.is_empty() && !chosen.iter().any(|m| alive(&m)) {
        // Where all was killed at once, tmux goes on without anything to show, and empty control groups stay.
        tmux::clear_away(layout, &ids)?;
        chosen.iter().for_each(|m| store::run::group(layout, &m.session).remove());
        return nothing();
    }
    let sessions: Vec<String> = chosen.iter().filter(|m| m.wanted == Wanted::Up || alive(m)).map(|m| m.session.clone()).collect();
    let mut watchdog = held.map_or_else(|| start::watchdog(layout), Ok)?;
    let mut settled = ask::settle(layout, &mut watchdog, &ToWatchdog::Settle { sessions, asked: None })?;
    if !unreadable.is_empty() {
        settled.extend(ask::settle(layout, &mut watchdog, &ToWatchdog::End { sessions: unreadable })?);
    }
    up::show(&settled);
    farewell(layout, watchdog)?;
    tmux::clear_away(layout, &settled.iter().filter(|a| a.state == State::Down).map(|a| a.session.clone()).collect::<Vec<_>>())?;
    chosen.iter().filter(|m| !store::run::lives(layout, &m.session)).for_each(|m| store::run::group(layout, &m.session).remove());
    let survivors = settled.iter().filter(|a| a.state != State::Down).map(|a| {
        let why = if a.reason.is_empty() { String::new() } else { format!(": {}", a.reason) };
        Error::failed(format!("agent {} ({}) is still {}{why}", a.name, a.session, a.state.word()))
            .hint(format!("agents why {}", a.session))
    });
    Error::all(survivors.collect()).map_or(Ok(()), Err)
}

/// No task is started from now on. Whether a watchdog has to be told, and what runs be ended.
fn stop_queue(layout: &Layout) -> Result<bool> {
    tasks::stop(layout, true)?;
    let waits = tasks::are_waiting(layout)? && Stream::connect(&layout.watchdog_socket()).is_ok();
    Ok(waits || !tasks::list(layout, task::Place::Running)?.is_empty())
}

/// The sessions that are meant, and the ids of those that live although their metadata cannot be read.
fn chosen(place: &Place, words: &[String]) -> Result<(Vec<Meta>, Vec<String>)> {
    let (metas, damaged) = meta::survey(&place.layout)?;
    let living = damaged.into_iter().filter(|(id, _)| is_name(id) && store::run::lives(&place.layout, id));
    let (unreadable, readable): (Vec<_>, Vec<_>) = match words {
        [] => (living.collect(), vec![]),
        words => {
            let living: Vec<_> = living.filter(|(id, _)| words.contains(id)).collect();
            let readable = words.iter().filter(|w| !living.iter().any(|(id, _)| id == *w)).cloned().collect();
            (living, readable)
        }
    };
    for (_, error) in &unreadable {
        out::warn(&error.to_string());
    }
    let metas = match (words, readable.as_slice()) {
        ([], _) => metas,
        (_, []) => vec![],
        (_, readable) => place.chosen(readable)?,
    };
    Ok((metas, unreadable.into_iter().map(|(id, _)| id).collect()))
}

fn nothing() -> Result<()> {
    out::say("nothing was running");
    Ok(())
}

/// Waits for the watchdog's end where nothing is wanted any more, so that no process is left when the command returns.
fn farewell(layout: &Layout, mut watchdog: Stream) -> Result<()> {
    if meta::list(layout)?.iter().any(|m| m.wanted == Wanted::Up) {
        return Ok(());
    }
    let pid = ask::status_of(layout, &mut watchdog)?.watchdog.map(|w| w.pid);
    let process = pid.and_then(ProcessId::of).and_then(ProcessId::open);
    drop(watchdog);
    if let Some(process) = process {
        crate::os::process::wait_for_end(&process, clock::monotonic() + FAREWELL)?;
    }
    Ok(())
}
