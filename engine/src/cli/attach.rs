//! `agents attach`

use super::place::Place;
use super::tmux::{self, Seen};
use super::{Context, look, out, task};
use crate::contract::status::State;
use crate::contract::task::TaskId;
use crate::error::{Error, Result};
use crate::term::client::{self, DetachKey, Detached};

/// Join an agent's terminal; the detach key is shown
#[derive(clap::Args)]
pub(super) struct Args {
    /// The agent or the session; without it, the only one that runs
    #[arg(value_name = "AGENT|SESSION")]
    name: Option<String>,
    /// The key that detaches
    #[arg(long, value_name = "KEY", default_value_t)]
    detach_key: DetachKey,
    /// Only look: what is typed is not sent
    #[arg(short, long)]
    read_only: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let session = match &args.name {
        Some(name) => match task::session(&place, name)? {
            Some(task) => task,
            None => place.session(name)?.session,
        },
        None => only(&place)?,
    };
    if let Some(name) = tmux::name_of(&place.layout, &session) {
        if args.detach_key != DetachKey::default() {
            out::warn("--detach-key does not count in tmux: Ctrl-\\ or Ctrl-b d detaches");
        }
        match tmux::attach(&place.layout, &session, &name, args.read_only)? {
            Seen::InTmux => return Ok(()),
            Seen::Not(why) => out::warn(&format!("attached without tmux: {why}")),
        }
    }
    match client::attach(&place.layout.host_socket(&session), &session, args.detach_key, args.read_only)? {
        Detached::ByKey => {
            out::say(format!("detached from {session}, which goes on"));
            Ok(())
        }
        // A task's session goes with its attempt: that is no failure.
        Detached::Ended { .. } if session.parse::<TaskId>().is_ok() => {
            out::say(format!("this attempt of {session} is over; agents task show {session} tells how it went"));
            Ok(())
        }
        Detached::Ended { reason } => Err(Error::failed(format!("{session}: {reason}")).hint(format!("agents why {session}"))),
        Detached::Signal(signal) => Err(Error::failed(format!("detached from {session} by {}", crate::os::signal::name(signal)))),
    }
}

fn only(place: &Place) -> Result<String> {
    let status = look::state(place)?;
    let mut running = status.agents.into_iter().filter(|a| matches!(a.state, State::Up | State::Starting | State::Limited));
    match (running.next(), running.next()) {
        (Some(agent), None) => Ok(agent.session),
        (None, _) => Err(Error::failed("no agent is running").hint("agents up")),
        (Some(first), Some(second)) => {
            let names: Vec<String> = [first, second].into_iter().chain(running).map(|a| a.name).collect();
            Err(Error::usage(format!("which one? Running are: {}", names.join(", "))).hint(format!("agents attach {}", names[0])))
        }
    }
}
