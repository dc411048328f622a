//! `wake`: an agent that is idle is woken when its time has come, and no other ever is.
//!
//! When it was last woken lies on disk and is written before the message is: whatever dies in between, it is woken once or, at worst, a period later.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use super::Host;
use super::stall::in_words;
use crate::contract::mail::Origin;
use crate::contract::status::{Activity, State};
use crate::core::screen::PROMISE;
use crate::os::clock::{monotonic, now};
use crate::os::fs;

#[derive(Default)]
pub(super) struct Waker {
    period: Option<Duration>,
    last: Timestamp,
    file: PathBuf,
}

impl Waker {
    /// The period counts from the last time it was woken, or from now where it never was.
    pub fn prepare(&mut self, file: &Path, wake_ms: Option<u64>) {
        self.period = wake_ms.map(super::millis);
        self.file = file.to_path_buf();
        if self.period.is_none() {
            return;
        }
        let kept = fs::read_if_there(file).ok().flatten().and_then(|text| text.trim().parse().ok());
        match kept.filter(|last| *last <= now()) {
            Some(last) => self.last = last,
            None => drop(self.note(now())),
        }
    }

    fn note(&mut self, at: Timestamp) -> std::io::Result<()> {
        self.last = at;
        fs::write_atomic(&self.file, format!("{at}\n").as_bytes(), 0o600)
    }

    /// When its time comes, on the monotonic clock.
    pub fn due(&self) -> Option<Duration> {
        Some(monotonic() + self.period?.saturating_sub(self.passed()))
    }

    fn passed(&self) -> Duration {
        now().duration_since(self.last).try_into().unwrap_or_default()
    }
}

impl Host {
    /// When it is to be woken. One that works, waits for a person or does not run is not; its time may come as soon as it is idle.
    pub(super) fn wake_due(&self) -> Option<Duration> {
        let idle = matches!(self.doing().0, Activity::Idle | Activity::Unknown);
        self.waker.due().filter(|_| idle && self.agent.is_some() && self.state == State::Up)
    }

    pub(super) fn wake_if_due(&mut self) {
        // Asked of the wall clock itself: by the time that the deadline is computed anew, it has moved.
        if self.wake_due().is_none() || self.waker.period.is_none_or(|period| self.waker.passed() < period) {
            return;
        }
        let passed = in_words(self.waker.passed());
        if let Err(e) = self.waker.note(now()) {
            // Told again by no host that comes after this one: it would be woken twice.
            self.log_event("not-woken", &e.to_string(), None);
            return;
        }
        let text = format!(
            "{passed} have passed since you were last woken. Look whether there is something to do, and do it. If you then wait for a time, end your answer with a line \
             `{PROMISE} <time>`."
        );
        self.log_event("woken", &format!("{passed} since the last time"), self.agent.as_ref().map(|a| a.id.pid));
        self.remind(Origin::Wake, &text);
    }
}
