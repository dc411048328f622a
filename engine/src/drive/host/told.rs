//! What others see of a session: its status, its record, its events.

use super::{Host, stall};
use crate::contract::records::{Event as Record, Run};
use crate::contract::status::{AgentStatus, State};
use crate::core::session::{Event, Phase, Session, Then};
use crate::os::clock::{boot_id, now};
use crate::store;

impl Host {
    /// What others see of this session.
    pub(super) fn status(&self) -> AgentStatus {
        let (activity, evidence) = self.watched.seen_now();
        AgentStatus {
            name: self.launch.agent.clone(),
            session: self.id.clone(),
            state: self.state,
            activity,
            evidence,
            pid: self.agent.as_ref().map(|a| a.id.pid),
            since: Some(self.since),
            heals: self.session.heals,
            reason: self.reason_or_gap(),
            backend: self.launch.backend.clone(),
            until: self.limited_until(),
            stuck: self.stall.slate.gave_up,
            version: self.version.clone(),
        }
    }

    /// Where there is nothing worse to say, that it is stuck, that output was lost, that caps are not in force, or that it is not shown in tmux.
    pub(super) fn reason_or_gap(&self) -> String {
        match self.recorder.incomplete() {
            _ if !self.reason.is_empty() => self.reason.clone(),
            _ if self.stall.slate.gave_up => stall::stuck(),
            Some(gap) => gap.to_owned(),
            None if !self.uncapped.is_empty() => format!("its caps are not in force: {}", self.uncapped),
            None if self.pane.trouble().is_empty() => String::new(),
            None => format!("not shown in tmux: {}", self.pane.trouble()),
        }
    }

    pub(super) fn run_record(&self) -> Run {
        let (activity, evidence) = self.watched.seen();
        Run {
            boot: boot_id(),
            agent: self.agent.as_ref().map(|a| a.id),
            state: self.state,
            since: self.since,
            heals: self.session.heals,
            reason: self.reason.clone(),
            started: self.session.started,
            lasting: self.session.lasting,
            anew: self.session.anew,
            until: self.limited_until(),
            deaths_ms: self.session.deaths.record().map(|t| t.as_millis() as u64).collect(),
            activity,
            evidence,
            version: self.version.clone(),
            limit_words: self.watched.limit_words.clone(),
            limit_ends: self.watched.limit_ends,
            stall: stall::record(&self.stall.slate),
            group: self.group.clone(),
            uncapped: self.uncapped.clone(),
        }
    }

    /// Keeps words for what the machine does not remember.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Adopted => self.log_event("adopted", "its host died; the agent did not notice", self.agent.as_ref().map(|a| a.id.pid)),
            Event::Stranded => {
                self.log_event("stranded", "its host and its watchdog died at once, and its terminal with them; ended and resumed", None);
                self.note_task_stranded();
            }
            Event::Died { reason, .. } => {
                let asked = matches!(self.session.phase, Phase::Ending { .. });
                self.log_event(if asked { "ended" } else { "died" }, reason, None);
            }
            Event::NotSpawned { reason, permanent } => {
                self.log_event("not-started", reason, None);
                self.note_task_not_started(reason, *permanent);
            }
            Event::Stalled { reason } => self.log_event("stalled", reason, self.agent.as_ref().map(|a| a.id.pid)),
            Event::Start
            | Event::Stay { .. }
            | Event::Limited { .. }
            | Event::Slow { .. }
            | Event::Spawned
            | Event::Clear
            | Event::Reached { .. }
            | Event::Freed
            | Event::Stop
            | Event::Restart
            | Event::Wake => {}
        }
    }

    /// Tells everybody who wants to know, and the record, what state the session is in.
    pub(super) fn announce(&mut self) {
        let (state, reason) = seen(&self.session);
        if state != self.state || reason != self.reason {
            (self.state, self.since, self.reason) = (state, now(), reason);
            self.watch_awaited();
        }
        let adopted = self.agent.as_ref().is_some_and(|a| a.adopted);
        if !(adopted && state == State::Up) {
            let pid = self.agent.as_ref().map(|a| a.id.pid);
            self.log_event(state.word(), &self.reason.clone(), pid);
        }
        self.tell_all();
    }

    /// The same where its state has not changed, but what is to be said of it has.
    pub(super) fn tell_all(&mut self) {
        let run = self.run_record();
        let _ = store::run::write(&self.layout, &self.id, &run);
        self.clients.report(&self.status(), &run, &self.pty.master);
    }

    /// Notes an event; it is written when what it called for has been done.
    pub(super) fn log_event(&mut self, what: &str, why: &str, pid: Option<i32>) {
        self.noted.push(Record { at: now(), session: self.id.clone(), what: what.into(), why: why.into(), pid });
    }

    pub(super) fn write_events(&mut self) {
        // A full disk must not end the host; events are shed then.
        let _ = store::events::append_all(&self.layout, &std::mem::take(&mut self.noted));
    }
}

/// A phase as others see it, with its reason in words.
pub(super) fn seen(session: &Session) -> (State, String) {
    if let (Phase::Up { .. }, Some((_, reason))) = (&session.phase, &session.limit) {
        return (State::Limited, reason.clone());
    }
    match &session.phase {
        Phase::Down => (State::Down, String::new()),
        Phase::Starting => (State::Starting, String::new()),
        Phase::Up { .. } => (State::Up, String::new()),
        Phase::Backoff { reason, .. } => (State::Starting, format!("waits before its next start; {reason}")),
        Phase::Limited { reason, .. } => (State::Limited, reason.clone()),
        Phase::Ending { then: Then::Quit, .. } => (State::Down, "ending".into()),
        Phase::Ending { then: Then::Start, .. } => (State::Starting, String::new()),
        Phase::Ending { then: Then::Heal { reason, .. }, .. } => (State::Starting, reason.clone()),
        Phase::Failing { reason } => (State::Failing, reason.clone()),
        Phase::Exited { reason } => (State::Exited, reason.clone()),
    }
}
