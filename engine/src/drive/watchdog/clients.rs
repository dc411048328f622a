//! Who is connected to the watchdog: what they ask, and what they are told.

use std::os::fd::OwnedFd;

use jiff::Timestamp;

use super::{Watchdog, is_held, tasks, waits};
use crate::contract::control::{FromWatchdog, JSON, ToHost, ToWatchdog};
use crate::contract::status::State;
use crate::core::watch::Host;
use crate::os::socket::Fill;
use crate::store;

impl Watchdog {
    /// A client has asked something, or left.
    pub(super) fn serve(&mut self, i: usize) {
        let fill = self.clients[i].stream.fill();
        loop {
            match self.clients[i].stream.next_frame() {
                Ok(Some(frame)) => match serde_json::from_slice::<ToWatchdog>(&frame.payload) {
                    Ok(message) => self.answer(i, message, frame.fds.into_iter().next()),
                    Err(_) => self.say(i, &FromWatchdog::Failed { reason: "this engine does not know that request".into() }),
                },
                Ok(None) => break,
                Err(_) => {
                    self.clients[i].gone = true;
                    break;
                }
            }
        }
        if !matches!(fill, Ok(Fill::More | Fill::Nothing)) {
            self.clients[i].gone = true;
        }
    }

    pub(super) fn answer(&mut self, i: usize, message: ToWatchdog, descriptor: Option<OwnedFd>) {
        match message {
            ToWatchdog::Status => {
                let status = self.status();
                self.say(i, &FromWatchdog::Status { status });
            }
            ToWatchdog::Subscribe => {
                self.clients[i].subscribed = true;
                let status = self.status();
                self.say(i, &FromWatchdog::Status { status });
            }
            ToWatchdog::Here { session } if tasks::of(&session).is_some() => self.task_here(&session),
            ToWatchdog::Here { session } if self.links.get(&session).is_some_and(|link| link.stream.is_some()) => {}
            ToWatchdog::Here { session } => match store::meta::read(&self.layout, &session) {
                Ok(meta) => self.consider(&meta),
                // It lives and must stay known, so that it can be ended.
                Err(_) if crate::contract::layout::is_name(&session) && self.has_leftovers(&session) => self.want(&session, true),
                Err(_) => {}
            },
            ToWatchdog::End { sessions } => {
                for session in sessions.iter().filter(|s| crate::contract::layout::is_name(s)) {
                    self.want(session, false);
                }
                self.clients[i].settling = Some(sessions);
                self.changed = true;
            }
            ToWatchdog::Forget { sessions } => {
                self.forget(&sessions);
                self.say(i, &FromWatchdog::Settled { sessions: vec![] });
            }
            ToWatchdog::Settle { sessions, asked } => self.settle(i, sessions, asked, false),
            ToWatchdog::Restart { sessions, asked } => self.settle(i, sessions, asked, true),
            ToWatchdog::Order { tasks, order } => self.order(i, &tasks, &order),
            ToWatchdog::Queue { end } => self.queue_changed(i, end),
            ToWatchdog::Upgrade => self.begin_upgrade(i, descriptor),
        }
    }

    /// Only what is not wanted and of which nothing is left: what lives must stay known.
    pub(super) fn forget(&mut self, sessions: &[String]) {
        for session in sessions {
            if !self.watch.is_wanted(session) && *self.watch.host(session) == Host::Absent && !self.has_leftovers(session) {
                self.links.remove(session);
                self.spawned.remove(session);
                self.teller.forget(session);
                self.changed = true;
            }
        }
    }

    pub(super) fn settle(&mut self, i: usize, sessions: Vec<String>, asked: Option<Timestamp>, restart: bool) {
        for session in &sessions {
            match store::meta::read(&self.layout, session) {
                Ok(meta) => {
                    self.consider(&meta);
                    self.start_anew(session, asked, restart);
                }
                Err(e) => return self.say(i, &FromWatchdog::Failed { reason: e.to_string() }),
            }
        }
        self.clients[i].settling = Some(sessions);
        self.changed = true;
    }

    /// Given up on or waited for, and wanted again; or asked to be started anew. A watchdog that was started for this has begun by itself.
    pub(super) fn start_anew(&mut self, session: &str, asked: Option<Timestamp>, restart: bool) {
        let up = matches!(self.watch.host(session), Host::Up { .. }) && self.watch.is_wanted(session);
        let Some(link) = self.links.get_mut(session) else { return };
        let held = is_held(&link.status);
        let earlier = link.status.since.zip(asked).is_none_or(|(since, asked)| since < asked);
        if up && earlier && link.stream.is_some() && (restart || held) {
            link.restarting = true;
            self.ask(session, &ToHost::Restart);
        }
    }

    pub(super) fn is_settled(&self, session: &str) -> bool {
        let Some(link) = self.links.get(session) else { return true };
        if !self.watch.is_wanted(session) {
            return *self.watch.host(session) == Host::Absent;
        }
        // What a host that died had said last is no news of its agent: the next one has to speak.
        let told = matches!(self.watch.host(session), Host::Up { .. });
        let rests = matches!(link.status.state, State::Up | State::Failing | State::Exited | State::Limited);
        !link.restarting && (waits(&link.status) || (told && rests))
    }

    /// Tells those who wait what has changed.
    pub(super) fn tell(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        self.answer_orders();
        for i in 0..self.clients.len() {
            if self.clients[i].subscribed {
                let status = self.status();
                self.say(i, &FromWatchdog::Status { status });
            }
            let Some(sessions) = self.clients[i].settling.take() else { continue };
            if sessions.iter().all(|s| self.is_settled(s)) {
                let sessions = sessions.iter().filter_map(|s| self.links.get(s)).map(|l| l.status.clone()).collect();
                self.say(i, &FromWatchdog::Settled { sessions });
            } else {
                self.clients[i].settling = Some(sessions);
            }
        }
    }

    pub(super) fn say(&mut self, i: usize, message: &FromWatchdog) {
        self.clients[i].stream.queue(JSON, &serde_json::to_vec(message).unwrap_or_default(), vec![]);
    }

    pub(super) fn flush(&mut self) {
        for link in self.links.values_mut() {
            if let Some(stream) = &mut link.stream {
                // A connection that broke is noticed when it is read.
                let _ = stream.flush();
            }
        }
        for client in &mut self.clients {
            client.gone |= client.stream.flush().is_err();
        }
        self.clients.retain(|c| !c.gone);
    }
}
