//! An agent that does not go on by itself: what `core::stall` decides is done here.

use std::time::Duration;

use super::Host;
use crate::contract::mail::Origin;
use crate::contract::records::{self, Run};
use crate::contract::status::Activity;
use crate::core::screen::{PROMISE, last_lines, promise};
use crate::core::session;
use crate::core::stall::{Action, Event, Nudge, Seen, Slate, Stall};
use crate::core::{limits, when};
use crate::os::clock::{local_now, monotonic};
use crate::store::{self, mail};

impl Host {
    /// What the host before this one had done about it.
    pub(super) fn recall_stall(&mut self, run: &Run) {
        let mut slate = slate(run.stall);
        // It was read, and the host died before it could note that.
        if slate.nudge == Nudge::Sent && mail::waits(&self.layout, &self.id, Origin::Nudge).is_ok_and(|waits| !waits) {
            slate.nudge = Nudge::Taken;
        }
        self.stall = Stall::new(self.launch.stall_ms.map(super::millis), slate);
        (self.watched.limit_words, self.watched.limit_ends) = (run.limit_words.clone(), run.limit_ends);
    }

    pub(super) fn stall_started(&mut self) {
        // One that was resumed had something to do.
        let resumed = self.session.resumes();
        self.stall_event(Event::Started { resumed });
    }

    pub(super) fn stall_ended(&mut self) {
        self.stall_event(Event::Ended);
    }

    /// Somebody, not the engine itself, gave it something to do.
    pub(super) fn stall_asked(&mut self) {
        self.stall_event(Event::Asked);
    }

    /// The operator has it started again: what was tried before is forgotten.
    pub(super) fn stall_restarted(&mut self) {
        self.stall_event(Event::Restarted);
    }

    pub(super) fn stall_nudged(&mut self) {
        self.stall_event(Event::Taken);
    }

    /// What the agent does has changed.
    pub(super) fn stall_sees(&mut self) {
        let (activity, since) = self.doing();
        self.stall_event(Event::Does(match activity {
            Activity::Working => Seen::Working,
            Activity::Idle => Seen::Idle { since },
            Activity::Hung => Seen::Hung { since },
            Activity::Waiting | Activity::Unknown => Seen::Other,
        }));
    }

    /// One that is at its usage limit, or not up at all, is left alone.
    pub(super) fn stall_due(&self) -> Option<Duration> {
        self.stall.next_deadline().filter(|_| self.session.limit.is_none() && self.agent.is_some())
    }

    pub(super) fn keep_stall(&mut self, time: Duration) {
        if self.stall_due().is_some_and(|t| t <= time) {
            self.stall_event(Event::Wake);
        }
    }

    fn stall_event(&mut self, event: Event) {
        if self.launch.stall_ms.is_none() {
            return;
        }
        let mut written = self.stall.slate;
        let mut action = self.stall.step(monotonic(), event);
        loop {
            if self.stall.slate != written {
                // Before it is done: a host that comes after this one must not do it again.
                if self.stall.slate.gave_up == written.gave_up {
                    let _ = store::run::write(&self.layout, &self.id, &self.run_record());
                } else {
                    self.tell_all();
                }
                written = self.stall.slate;
            }
            let Some(todo) = action.take() else { return };
            match todo {
                Action::Look => {
                    let until = self.promised();
                    action = self.stall.step(monotonic(), Event::Promised(until));
                }
                Action::Nudge => self.nudge(),
                Action::Restart { hung } => {
                    let (activity, passed) = (self.doing().0.word(), self.doing_for());
                    let more = if hung { "" } else { ", although it was told to go on" };
                    self.events.push_back(session::Event::Stalled { reason: format!("{activity} for {passed}{more}; resumed") });
                }
                Action::GiveUp => {
                    self.log_event("stuck", &stuck(), self.agent.as_ref().map(|a| a.id.pid));
                }
            }
        }
    }

    /// For how long it has done what it does, in words.
    fn doing_for(&self) -> String {
        in_words(monotonic().saturating_sub(self.doing().1))
    }

    /// Until when it is known to wait: it has said so, or will be woken.
    fn promised(&mut self) -> Option<Duration> {
        self.said_until().max(self.waker.due())
    }

    /// Until when it has said that it waits; relative times count from when it became idle.
    fn said_until(&mut self) -> Option<Duration> {
        let screen = self.recorder.text();
        let words = promise(last_lines(&screen, limits::LAST_LINES))?;
        let (time, since) = (monotonic(), self.doing().1);
        let began = local_now().checked_sub(time.saturating_sub(since)).ok()?;
        let until: Duration = when::next(words, &began)?.duration_since(began.timestamp()).try_into().ok()?;
        let until = since + until.min(limits::LIMIT_MAX);
        if until > time {
            self.log_event("promised", &format!("{PROMISE} {words}"), self.agent.as_ref().map(|a| a.id.pid));
        }
        Some(until)
    }

    fn nudge(&mut self) {
        let passed = self.doing_for();
        let text = format!(
            "You have ended your turn and been idle for {passed}. Go on with your work. If you are done, or wait for a time, say so by ending your answer with a line \
             `{PROMISE} <time>`, such as `15:30` or `2h`."
        );
        self.log_event("nudged", &format!("idle for {passed} without a word on how long"), self.agent.as_ref().map(|a| a.id.pid));
        self.remind(Origin::Nudge, &text);
    }

    /// Its usage limit has ended.
    pub(super) fn go_on(&mut self) {
        self.log_event("limit-ended", "", self.agent.as_ref().map(|a| a.id.pid));
        if let Some(text) = self.launch.go_on.clone() {
            return self.remind(Origin::GoOn, &text);
        }
        self.mailbox_again();
    }
}

/// What is said of one that nothing helps.
pub(super) fn stuck() -> String {
    let times = limits::STALL_RESTARTS_MAX;
    format!("resumed {times} times and told to go on, and it does not; left alone until it is asked something")
}

/// `90 s`, `10 minutes`.
pub(super) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} minutes", seconds / 60) }
}

pub(super) fn record(slate: &Slate) -> records::Stall {
    let nudge = match slate.nudge {
        Nudge::None => records::Nudge::None,
        Nudge::Sent => records::Nudge::Sent,
        Nudge::Taken => records::Nudge::Taken,
    };
    records::Stall { nudge, restarts: slate.restarts, owes: slate.owes, at_once: slate.at_once, gave_up: slate.gave_up }
}

fn slate(record: records::Stall) -> Slate {
    let nudge = match record.nudge {
        records::Nudge::None => Nudge::None,
        records::Nudge::Sent => Nudge::Sent,
        records::Nudge::Taken => Nudge::Taken,
    };
    Slate { nudge, restarts: record.restarts, owes: record.owes, at_once: record.at_once, gave_up: record.gave_up }
}
