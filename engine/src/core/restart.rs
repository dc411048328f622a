//! When something that died is started again: at once, then after doubling delays with jitter; given up after too many deaths in a window.

use std::collections::VecDeque;
use std::time::Duration;

use super::limits::HEALTHY_AFTER;

/// How patient to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The delay before the second start; the first is at once.
    pub backoff_min: Duration,
    /// Delays double up to this.
    pub backoff_max: Duration,
    /// More deaths than this within the window mean giving up. `None`: never.
    pub burst: Option<u32>,
    pub window: Duration,
}

/// The deaths that still count, oldest first, on a monotonic clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deaths(VecDeque<Duration>);

/// What to do about a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Start at this time; it may be now.
    At(Duration),
    GiveUp,
}

impl Deaths {
    /// Goes on from what was recorded.
    pub fn from_record(at: impl IntoIterator<Item = Duration>) -> Deaths {
        Deaths(at.into_iter().collect())
    }

    /// The times, for the record.
    pub fn record(&self) -> impl Iterator<Item = Duration> + '_ {
        self.0.iter().copied()
    }

    /// Forgets: the operator has acted.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The last death was not its own fault.
    pub fn forgive(&mut self) {
        self.0.pop_back();
    }

    /// Something died `now` after it `ran` so long. `jitter` from 0 to 1 spreads the delays, so that many who die together do not come back together.
    /// `slower`: the delay is one doubling further than it would be.
    pub fn died(&mut self, now: Duration, ran: Duration, policy: &Policy, slower: bool, jitter: f64) -> Next {
        if ran >= HEALTHY_AFTER {
            self.0.clear();
        }
        // Deaths outside the window no longer count for giving up, but the last one still says how long to wait.
        while self.0.len() > 1 && self.0.front().is_some_and(|t| now.saturating_sub(*t) > policy.window) {
            self.0.pop_front();
        }
        let earlier = self.0.len() as u32 + u32::from(slower);
        self.0.push_back(now);
        let counted = self.0.iter().filter(|t| now.saturating_sub(**t) <= policy.window).count() as u32;
        if policy.burst.is_some_and(|burst| counted > burst) {
            return Next::GiveUp;
        }
        if earlier == 0 {
            return Next::At(now);
        }
        let doubled = policy.backoff_min.saturating_mul(1u32.checked_shl(earlier - 1).unwrap_or(u32::MAX));
        let spread = doubled.min(policy.backoff_max).mul_f64(0.75 + 0.5 * jitter.clamp(0.0, 1.0));
        Next::At(now + spread.min(policy.backoff_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        backoff_min: Duration::from_millis(200),
        backoff_max: Duration::from_secs(300),
        burst: Some(5),
        window: Duration::from_secs(600),
    };

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn at_once_then_doubling_then_given_up() {
        let mut deaths = Deaths::default();
        let mut now = secs(1000);
        let mut delays = vec![];
        while let Next::At(at) = deaths.died(now, secs(1), &POLICY, false, 0.5) {
            delays.push((at - now).as_millis());
            now = at + secs(1);
        }
        assert_eq!(delays, [0, 200, 400, 800, 1600]);
    }

    #[test]
    fn slower_leaves_out_no_delay_and_is_one_doubling_further() {
        let mut deaths = Deaths::default();
        let delay = |deaths: &mut Deaths, now| match deaths.died(secs(now), secs(1), &POLICY, true, 0.5) {
            Next::At(at) => (at - secs(now)).as_millis(),
            Next::GiveUp => panic!("gave up"),
        };
        assert_eq!([1000, 1002, 1004].map(|now| delay(&mut deaths, now)), [200, 400, 800]);
    }

    #[test]
    fn ten_healthy_minutes_forget_everything() {
        let mut deaths = Deaths::default();
        for i in 0..4 {
            deaths.died(secs(i), secs(1), &POLICY, false, 0.5);
        }
        assert_eq!(deaths.died(secs(2000), secs(600), &POLICY, false, 0.5), Next::At(secs(2000)));
    }

    #[test]
    fn delays_stay_below_the_cap_and_spread() {
        let policy = Policy { burst: None, ..POLICY };
        for jitter in [0.0, 0.3, 1.0] {
            let mut deaths = Deaths::default();
            for i in 0..100 {
                let now = secs(i);
                let Next::At(at) = deaths.died(now, secs(1), &policy, false, jitter) else { panic!("gave up") };
                assert!(at - now <= policy.backoff_max);
            }
        }
    }

    #[test]
    fn slow_deaths_are_never_given_up_on_but_waited_for() {
        let mut deaths = Deaths::default();
        for i in 0..50 {
            let next = deaths.died(secs(i * 400), secs(399), &POLICY, false, 0.5);
            assert_ne!(next, Next::GiveUp);
        }
    }
}
