//! Looking at how an agent ended: the evidence for `core::cause`.

use std::time::Duration;

use jiff::Timestamp;

use super::Host;
use crate::core::cause::{Cause, Ended, Evidence, Memory, Patterns, Remedy};
use crate::core::limits::LAST_LINES;
use crate::core::session::{Event, Phase};
use crate::core::when;
use crate::os;
use crate::os::cgroup::{MemoryKills, memory_kills};
use crate::os::clock::{local_now, monotonic, now};

impl Host {
    /// The agent has ended so; its output was taken.
    pub(super) fn death(&mut self, ended: Ended) -> Event {
        let time = monotonic();
        let ran = if let Phase::Up { since } = self.session.phase { time.saturating_sub(since) } else { Duration::ZERO };
        // A program that was killed has had no time to say why.
        let errs = matches!(ended, Ended::Exit(status) if status != 0);
        let last_lines = if errs && !self.launch.endings.is_empty() { self.last_lines() } else { String::new() };
        let memory = if matches!(ended, Ended::Exit(_)) { Memory::Enough } else { self.memory() };
        let endings = &self.launch.endings;
        let patterns = Patterns { limited: endings.limited.as_deref(), auth: endings.auth.as_deref(), fatal: endings.fatal.as_deref() };
        let cause = Cause::of(&Evidence { ended, ran, memory, last_lines: &last_lines, patterns });
        let until = if let Cause::Limit { at: Some(at), .. } = &cause { when::next(at, &local_now()) } else { None };
        let remedy = cause.remedy(time, until.map(from_now));
        let mut reason = cause.words(os::signal::name, &self.id);
        if let Remedy::NotBefore(at) = remedy {
            let said = if until.is_some() { "" } else { "; it does not say until when" };
            reason += said;
            // A task's own words say when that is.
            if self.task().is_none() {
                reason += &format!("; started again {}", clock_words(at.saturating_sub(time)));
            }
        }
        Event::Died { reason, remedy }
    }

    fn last_lines(&mut self) -> String {
        let screen = self.recorder.capture(0, false);
        let screen = String::from_utf8_lossy(&screen);
        let lines: Vec<&str> = screen.lines().map(str::trim_end).filter(|l| !l.is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn memory(&mut self) -> Memory {
        let after = self.count_memory_kills();
        let before = std::mem::replace(&mut self.memory_kills, after);
        compare(before, after)
    }

    /// In the session's own group, where that is counted apart; else wherever it can be known.
    pub(super) fn count_memory_kills(&self) -> MemoryKills {
        match self.group.memory_kills() {
            Some(own) => MemoryKills { group: Some(own), machine: None },
            None => memory_kills(),
        }
    }

    /// When its usage limit ends, on the wall clock.
    pub(super) fn limited_until(&self) -> Option<Timestamp> {
        let until = match (&self.session.phase, &self.session.limit) {
            (Phase::Limited { until, .. }, _) | (Phase::Up { .. }, Some((until, _))) => *until,
            _ => return None,
        };
        now().checked_add(until.saturating_sub(monotonic())).ok()
    }

    /// The same limit as a host before this one knew it.
    pub(super) fn still_limited(until: Timestamp, reason: String) -> Event {
        Event::Limited { until: on_the_monotonic_clock(until), reason }
    }
}

/// The group's own count says more than the machine's.
fn compare(before: MemoryKills, after: MemoryKills) -> Memory {
    match (before.group.zip(after.group), before.machine.zip(after.machine)) {
        (Some((before, after)), _) if after > before => Memory::Short,
        (Some(_), _) => Memory::Enough,
        (None, Some((before, after))) if after > before => Memory::ShortSomewhere,
        (None, Some(_)) => Memory::Enough,
        (None, None) => Memory::Unknown,
    }
}

pub(super) fn on_the_monotonic_clock(at: Timestamp) -> Duration {
    monotonic() + from_now(at)
}

fn from_now(until: Timestamp) -> Duration {
    until.duration_since(now()).try_into().unwrap_or_default()
}

pub(super) fn clock_words(wait: Duration) -> String {
    let here = local_now();
    let Ok(at) = here.checked_add(wait) else { return "later".into() };
    let form = if at.date() == here.date() { "at %H:%M" } else { "on %b %-d at %H:%M" };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_concluded_than_was_counted() {
        let kills = |group, machine| MemoryKills { group, machine };
        for (before, after, expected) in [
            (kills(Some(1), Some(5)), kills(Some(2), Some(6)), Memory::Short),
            (kills(Some(1), Some(5)), kills(Some(1), Some(6)), Memory::Enough),
            (kills(None, Some(5)), kills(None, Some(6)), Memory::ShortSomewhere),
            (kills(None, Some(5)), kills(Some(9), Some(5)), Memory::Enough),
            (kills(None, None), kills(None, Some(5)), Memory::Unknown),
        ] {
            assert_eq!(compare(before, after), expected, "{before:?} {after:?}");
        }
    }
}
