//! `agents why`

use serde::Serialize;

use super::out::{self, Text, Tone};
use super::place::Place;
use super::{Context, ask, logs, look, status, tmux};
use crate::contract::records::Event;
use crate::contract::status::{AgentStatus, Evidence, Source, State};
use crate::error::Result;
use crate::os::clock;
use crate::store::events;

/// Say why an agent is in its state: the reason, what happened before, its last words
#[derive(clap::Args)]
pub(super) struct Args {
    /// An agent's name, or a session's id such as int-1
    #[arg(value_name = "AGENT|SESSION")]
    name: String,
    /// So many of the last events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 12)]
    events: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    status: AgentStatus,
    /// What is wrong with the tmux that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    tmux: Option<String>,
    events: Vec<Event>,
    /// The last lines of its output, where it does not run as wanted.
    output: String,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let state = look::state(&place)?;
    let named = |a: &&AgentStatus| a.name == args.name && a.session.is_empty();
    let status = match state.agents.iter().find(named) {
        Some(never_started) => never_started.clone(),
        None => {
            let session = place.session(&args.name)?.session;
            let found = state.agents.iter().chain(&state.sessions).find(|a| a.session == session);
            found.cloned().ok_or_else(|| ask::not_running(&session))?
        }
    };
    // Its host knows more than it tells at every moment.
    let asks = matches!(status.state, State::Up | State::Limited) && !status.session.is_empty();
    let status = if asks { ask::report(&place.layout, &status.session).unwrap_or(status) } else { status };
    let troubled = !matches!(status.state, State::Up) || status.heals > 0;
    let (events, output) = if status.session.is_empty() {
        (vec![], String::new())
    } else {
        let output = if troubled { logs::tail(&place.layout, &status.session, 10) } else { String::new() };
        (events::tail(&place.layout, Some(&status.session), args.events), output)
    };
    let tmux = tmux::name_of(&place.layout, &status.session).and_then(|_| tmux::glance(&place.layout));
    let answer = Answer { status, tmux, events, output };
    if args.json {
        out::json(&answer);
    } else {
        show(&answer);
    }
    Ok(())
}

/// What it does, since when, who says so and how long ago.
fn does(status: &AgentStatus, now: jiff::Timestamp) -> Option<Text> {
    if status.state != State::Up && status.state != State::Limited {
        return None;
    }
    let Some(Evidence { source, what, since, seen }) = &status.evidence else {
        return Some(Text::of(Tone::Dim, "what it does is not known: neither its program's record, nor a hook, nor its screen tells"));
    };
    let of = if what.is_empty() { String::new() } else { format!(": {what}") };
    let who = match source {
        Source::Record => "its program's own record",
        Source::Hook => "a hook",
        Source::Screen => "its screen",
        Source::Process => "the state of its process",
        Source::Other => "a newer engine",
    };
    let told = if source == &Source::Process { String::new() } else { format!(", which said so {} ago", look::age(*seen, now)) };
    let word = Text::of(Tone::Accent, format!("{}{of}", status.activity.word()));
    Some(word.and(Tone::Plain, format!(" for {}", look::age(*since, now))).and(Tone::Dim, format!(" (by {who}{told})")))
}

fn show(answer: &Answer) {
    let now = clock::now();
    let status = &answer.status;
    let mut head = Text::of(Tone::Strong, &status.name);
    if !status.session.is_empty() {
        head = head.and(Tone::Plain, format!("  {}", status.session));
    }
    head = head.and(Tone::Plain, "  ").join(status::state_text(status.state));
    if let Some(since) = status.since {
        head = head.and(Tone::Plain, format!(" since {} ({} ago)", look::clock_time(since, now), look::age(since, now)));
    }
    if status.heals > 0 {
        let times = if status.heals == 1 { "once".into() } else { format!("{} times", status.heals) };
        head = head.and(Tone::Warn, format!(", brought back {times}"));
    }
    out::fact(head);
    if !status.reason.is_empty() {
        out::fact(Text::of(Tone::Dim, "because ").and(Tone::Plain, &status.reason));
    }
    if let Some(does) = does(status, now) {
        out::fact(does);
    }
    if let Some(tmux) = &answer.tmux {
        out::fact(Text::of(Tone::Warn, tmux));
    }
    if !status.version.is_empty() {
        out::fact(Text::of(Tone::Dim, "played by ").and(Tone::Plain, format!("{} {}", status.backend, status.version)));
    }
    for event in &answer.events {
        let pid = event.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        let line =
            Text::of(Tone::Dim, format!("  {}  ", look::clock_time(event.at, now))).and(Tone::Accent, &event.what).and(Tone::Dim, pid);
        out::fact(if event.why.is_empty() { line } else { line.and(Tone::Plain, format!("  {}", event.why)) });
    }
    if !answer.output.is_empty() {
        out::fact(Text::of(Tone::Dim, "its last lines:"));
        for line in answer.output.lines() {
            out::fact(Text::of(Tone::Dim, "  │ ").and(Tone::Plain, line));
        }
    }
}
