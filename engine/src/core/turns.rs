//! After a boot: sessions come back a few at a time, each when one before it has said something or has had its time. So logins and memory survive.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::limits::{RESTORE_AT_ONCE, RESTORE_PATIENCE};

/// Whose turn it is. Sessions that were not there at the boot need none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    /// Those that have to wait for their turn and were not asked for yet.
    known: BTreeSet<String>,
    waiting: VecDeque<String>,
    /// By session, until when it is waited for.
    busy: BTreeMap<String, Duration>,
}

impl Turns {
    /// For the sessions to be brought back.
    pub fn of(sessions: impl IntoIterator<Item = String>) -> Turns {
        Turns { known: sessions.into_iter().collect(), ..Turns::default() }
    }

    /// Everybody has had a turn.
    pub fn is_over(&self) -> bool {
        self.known.is_empty() && self.waiting.is_empty() && self.busy.is_empty()
    }

    /// Whether the session may start now. If not, [`Turns::next`] names it later.
    pub fn may_start(&mut self, now: Duration, session: &str) -> bool {
        if !self.known.remove(session) {
            return !self.waiting.iter().any(|s| s == session);
        }
        if self.busy.len() < RESTORE_AT_ONCE && self.waiting.is_empty() {
            self.busy.insert(session.to_owned(), now + RESTORE_PATIENCE);
            return true;
        }
        self.waiting.push_back(session.to_owned());
        false
    }

    /// It has said something, or will not for now.
    pub fn done(&mut self, session: &str) {
        self.busy.remove(session);
    }

    /// It is not wanted any more. True: it was waiting for its turn.
    pub fn forget(&mut self, session: &str) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|s| s != session);
        self.known.remove(session);
        self.busy.remove(session);
        self.waiting.len() < before
    }

    /// When [`Turns::next`] may have something although nothing happened.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.busy.values().min().copied()
    }

    /// Those whose turn has come.
    pub fn next(&mut self, now: Duration) -> Vec<String> {
        self.busy.retain(|_, until| *until > now);
        let free = RESTORE_AT_ONCE.saturating_sub(self.busy.len()).min(self.waiting.len());
        let next: Vec<String> = self.waiting.drain(..free).collect();
        self.busy.extend(next.iter().map(|s| (s.clone(), now + RESTORE_PATIENCE)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (1..=n).map(|i| format!("int-{i}")).collect()
    }

    /// All that start, by the time at which they do, where each speaks after so long.
    fn restored(count: usize, speaks_after: impl Fn(usize) -> Duration) -> Vec<(Duration, String)> {
        let mut turns = Turns::of(names(count));
        let mut now = Duration::from_secs(100);
        let mut started: Vec<(Duration, String)> = names(count).into_iter().filter(|s| turns.may_start(now, s)).map(|s| (now, s)).collect();
        while !turns.is_over() {
            let spoken = |(at, s): &(Duration, String)| (*at + speaks_after(s[4..].parse().unwrap()), s.clone());
            let next = started.iter().map(spoken).filter(|(at, _)| *at > now).map(|(at, _)| at).min();
            now = [next, turns.next_deadline()].into_iter().flatten().min().expect("something is to come");
            started.iter().map(spoken).filter(|(at, _)| *at == now).for_each(|(_, s)| turns.done(&s));
            started.extend(turns.next(now).into_iter().map(|s| (now, s)));
            assert!(turns.busy.len() <= RESTORE_AT_ONCE);
        }
        started
    }

    #[test]
    fn each_once_and_never_too_many_at_once() {
        for (count, speaks) in [(0, 1), (1, 1), (4, 1), (5, 1), (23, 50), (100, 10_000)] {
            let started = restored(count, |i| Duration::from_millis(speaks + i as u64 % 7));
            let who: BTreeSet<&String> = started.iter().map(|(_, s)| s).collect();
            assert_eq!((started.len(), who.len()), (count, count));
            let last = started.last().map_or(0, |(at, _)| (*at - Duration::from_secs(100)).as_millis());
            let longest = Duration::from_millis(speaks + 7).min(RESTORE_PATIENCE).as_millis() * (count.div_ceil(RESTORE_AT_ONCE)) as u128;
            assert!(last <= longest, "{count} take {last} ms");
        }
    }

    #[test]
    fn who_was_not_there_at_the_boot_does_not_wait() {
        let mut turns = Turns::of(names(9));
        let now = Duration::ZERO;
        assert_eq!(names(9).iter().filter(|s| turns.may_start(now, s)).count(), RESTORE_AT_ONCE);
        assert!(turns.may_start(now, "int-10"));
        assert!(!turns.may_start(now, "int-9"), "asking twice is no second turn");
        assert!(turns.may_start(now, "int-1"), "it died and comes back at once");
        assert!(turns.forget("int-9") && !turns.forget("int-1"));
        assert_eq!(turns.next(now), ["int-5"], "the place of the forgotten one is free");
    }
}
