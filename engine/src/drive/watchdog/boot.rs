//! The first watchdog after a boot: every wanted session comes back once, in its conversation, a few at a time.

use super::Watchdog;
use crate::contract::status::State;
use crate::core::turns::Turns;
use crate::core::watch::{Action, Event};
use crate::os::clock::monotonic;
use crate::store::boot::{self, Boot};
use crate::store::meta::Meta;

impl Watchdog {
    /// Looks whether the machine was started since sessions last ran here.
    pub(super) fn look_at_boot(&mut self, metas: &[Meta]) {
        let boot = boot::begin(&self.layout, metas).unwrap_or_else(|e| {
            self.log("not-written", "", &e.to_string());
            Boot::Restoring
        });
        let before: Vec<String> = boot::interrupted(metas).map(|m| m.session.clone()).collect();
        if before.is_empty() || boot == Boot::Same {
            return self.all_are_back();
        }
        self.log("boot", "", &format!("the machine was started anew; sessions to bring back: {}", before.len()));
        self.turns = Some(Turns::of(before));
    }

    fn all_are_back(&mut self) {
        self.turns = None;
        if let Err(e) = boot::finish(&self.layout) {
            self.log("not-written", "", &e.to_string());
        }
    }

    /// Whether the session may start now; else it does when its turn comes.
    pub(super) fn may_start(&mut self, session: &str) -> bool {
        self.turns.as_mut().is_none_or(|turns| turns.may_start(monotonic(), session))
    }

    /// It has said something, or stands in a state that it does not leave by itself soon.
    pub(super) fn has_spoken(&mut self, session: &str) {
        if let Some(turns) = &mut self.turns {
            turns.done(session);
        }
    }

    /// One that waits, is about to start or runs without a word does not keep its place.
    pub(super) fn has_rested(&mut self, session: &str) {
        let rests = self.links.get(session).is_some_and(|l| {
            matches!(l.status.state, State::Failing | State::Exited | State::Limited | State::Down) || super::waits(&l.status)
        });
        if rests {
            self.has_spoken(session);
        }
    }

    /// Not wanted any more: one that still waits for its turn has nothing to end.
    pub(super) fn gives_up_turn(&mut self, session: &str) {
        if self.turns.as_mut().is_some_and(|turns| turns.forget(session)) {
            self.step(session, Event::HostLost { leftovers: false });
        }
    }

    /// Starts those whose turn has come.
    pub(super) fn take_turns(&mut self) {
        let Some(turns) = &mut self.turns else { return };
        let next: Vec<String> = turns.next(monotonic());
        let over = turns.is_over();
        self.actions.extend(next.into_iter().map(Action::FindOrStart));
        if over {
            // Only now: a watchdog that is started before this goes on where this one was.
            self.all_are_back();
        }
    }
}
