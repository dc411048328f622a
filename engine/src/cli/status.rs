//! `agents status`

use std::os::fd::AsFd;

use super::live::Live;
use super::out::{self, Table, Text, Tone};
use super::place::Place;
use super::{Context, ask, look};
use crate::contract::control::FromWatchdog;
use crate::contract::status::{Activity, AgentStatus, EngineStatus, State};
use crate::error::{Error, Result};
use crate::os::follow::Changes;
use crate::os::lock::Lock;
use crate::os::{clock, fs};
use crate::store::{instance, moved};

/// Show what each agent is and does
#[derive(clap::Args)]
pub(super) struct Args {
    /// As JSON; with --watch one line at every change
    #[arg(long)]
    json: bool,
    /// Stay, and show every change as it happens
    #[arg(short, long)]
    watch: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    if let Err(error) = &place.project {
        out::warn(&format!("only what has run is shown, as agents.toml is invalid: {error}"));
    }
    if let Ok(project) = &place.project
        && !fs::is_dir(&place.layout.data)
    {
        moved::formers(project)?.iter().for_each(|former| out::warn(&former.words()));
    }
    if args.watch {
        return watch(&place, args.json);
    }
    let status = look::state(&place)?;
    if args.json {
        out::json(&status);
    } else {
        out::table(&table(&status, |since| look::age(since, clock::now())));
    }
    Ok(())
}

/// What a state looks like.
pub(super) fn state_text(state: State) -> Text {
    let tone = match state {
        State::Up => Tone::Good,
        State::Starting | State::Limited | State::Exited | State::Unknown => Tone::Warn,
        State::Failing => Tone::Bad,
        State::Down | State::Archived => Tone::Dim,
    };
    Text::of(tone, state.word())
}

/// What an agent does looks like that.
pub(super) fn activity_text(activity: Activity) -> Text {
    match activity {
        Activity::Working => Text::of(Tone::Good, "working"),
        Activity::Waiting => Text::of(Tone::Accent, "waiting"),
        Activity::Idle => "idle".into(),
        Activity::Hung => Text::of(Tone::Warn, "hung"),
        Activity::Unknown => none(),
    }
}

fn none() -> Text {
    Text::of(Tone::Dim, "-")
}

fn table(status: &EngineStatus, since: impl Fn(jiff::Timestamp) -> String) -> Table {
    let mut table = Table::new(&["NAME", "SESSION", "STATE", "ACTIVITY", "SINCE", "HEALS", "PID", "REASON"]);
    for agent in status.agents.iter().chain(&status.sessions) {
        let AgentStatus { name, session, state, activity, pid, heals, .. } = agent;
        table.row(vec![
            Text::of(Tone::Strong, name),
            if session.is_empty() { none() } else { session.as_str().into() },
            state_text(*state),
            activity_text(*activity),
            agent.since.map_or_else(none, |at| since(at).into()),
            if *heals > 0 { Text::of(Tone::Warn, heals.to_string()) } else { "0".into() },
            pid.map_or_else(none, |pid| pid.to_string().into()),
            remark(agent).into(),
        ]);
    }
    table
}

/// What is to be said of it: why it is in its state, else what it waits for or why it hangs.
pub(super) fn remark(agent: &AgentStatus) -> &str {
    let what = agent.evidence.as_ref().map_or("", |e| e.what.as_str());
    if agent.reason.is_empty() { what } else { &agent.reason }
}

/// Shows every change; where no watchdog runs, waits until one does. Nothing wakes it in between, so moments are shown, not ages.
fn watch(place: &Place, json: bool) -> Result<()> {
    if let Ok(project) = &place.project {
        instance::prepare(project)?;
    }
    let layout = &place.layout;
    let socket = layout.watchdog_socket().file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A watchdog may be killed while it is asked; the next one answers.
    let mut failed = 0;
    let live = Live::begin(json)?;
    loop {
        let mut changes = Changes::of(&layout.runtime)?;
        // Whoever starts a watchdog holds this lock until it listens.
        drop(Lock::wait_moments(&layout.start_lock())?);
        let asked = ask::subscribe(layout).and_then(|stream| match stream {
            Some(stream) => Ok(Ok(stream)),
            None => look::state(place).map(Err),
        });
        let mut stream = match asked {
            Err(_) if failed < 5 => {
                failed += 1;
                continue;
            }
            Err(e) => return Err(e),
            Ok(Ok(stream)) => stream,
            Ok(Err(state)) => {
                failed = 0;
                show(&state, json);
                while !changes.touched(&socket)? {
                    live.wait(changes.as_fd(), None, &|| show(&state, json))?;
                }
                continue;
            }
        };
        let mut shown: Option<EngineStatus> = None;
        while let Ok(frame) = live.next(&mut stream, &|| shown.iter().for_each(|status| show(status, json))) {
            match serde_json::from_slice(&frame.payload) {
                Ok(FromWatchdog::Status { status }) => {
                    failed = 0;
                    show(shown.insert(look::complete(status, &place.declared())), json);
                }
                Ok(
                    FromWatchdog::Settled { .. } | FromWatchdog::Failed { .. } | FromWatchdog::Upgraded { .. } | FromWatchdog::Tasks { .. },
                ) => {}
                Err(e) => return Err(Error::failed(format!("the watchdog sends what is not understood here: {e}"))),
            }
        }
    }
}

fn show(status: &EngineStatus, json: bool) {
    if json {
        return out::json(status);
    }
    let text = out::laid_out(&table(status, |since| look::clock_time(since, clock::now())));
    if out::stdout_is_terminal() {
        out::page(&text, None);
    } else {
        out::raw(format!("{text}\n\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glance_tells_it_all() {
        let agent = |name: &str, state, reason: &str| AgentStatus {
            name: name.into(),
            session: "int-1".into(),
            state,
            activity: Activity::Unknown,
            evidence: None,
            pid: Some(4711),
            since: "2026-02-17T10:30:00Z".parse().ok(),
            heals: 2,
            reason: reason.into(),
            backend: "shell".into(),
            until: None,
            stuck: false,
            version: String::new(),
        };
        let mut never = agent("writer", State::Down, "never started");
        (never.session, never.pid, never.since, never.heals) = (String::new(), None, None, 0);
        let status = EngineStatus {
            instance: "0123456789ab-web".into(),
            project: "web".into(),
            engine: crate::engine_version(),
            watchdog: None,
            agents: vec![agent("orchestrator", State::Up, ""), agent("tester", State::Failing, "ended with status 1\nat once"), never],
            sessions: vec![],
            tasks: Default::default(),
            running: vec![],
        };
        insta::assert_snapshot!(table(&status, |_| "5m".into()).render(false), @r"
        NAME          SESSION  STATE    ACTIVITY  SINCE  HEALS  PID   REASON
        orchestrator  int-1    up       -         5m     2      4711
        tester        int-1    failing  -         5m     2      4711  ended with status 1␤at once
        writer        -        down     -         -      0      -     never started
        ");
    }
}
