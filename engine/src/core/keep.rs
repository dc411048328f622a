//! Which of the tasks that have ended are no longer kept, and when to look. Past a limit by a tenth all that is beyond it goes at once: looking costs a
//! read of each task, so it is done for many together.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How many that have ended are kept, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    pub age: Duration,
    /// The newest so many.
    pub count: usize,
}

/// What is known of those that lie there, without a look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lying {
    /// How many may go.
    pub count: usize,
    /// When the first of them ended; none: there is none, or nobody has looked yet.
    pub oldest: Option<Timestamp>,
}

impl Keep {
    /// Takes out of those that have ended, each with the moment of its end, what is no longer kept; the newest is left first.
    pub fn outdated<T: Ord>(&self, ended: &mut Vec<(Timestamp, T)>, now: Timestamp) -> Vec<(Timestamp, T)> {
        ended.sort_unstable_by(|one, other| other.cmp(one));
        let kept = ended.iter().take(self.count).take_while(|(at, _)| now < after(*at, self.age)).count();
        ended.split_off(kept)
    }

    /// When it is time to look; a moment that has passed: now.
    pub fn due(&self, lying: &Lying, now: Timestamp) -> Option<Timestamp> {
        if lying.count > self.count + self.count / 10 {
            return Some(now);
        }
        match lying.oldest {
            _ if lying.count == 0 => None,
            None => Some(now),
            Some(oldest) => Some(after(oldest, self.age + self.age / 10)),
        }
    }
}

/// So long after a moment; the end of time where there is no such moment.
fn after(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time).ok().and_then(|time| at.checked_add(time).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(n: u64) -> Duration {
        Duration::from_secs(n * 3600)
    }

    fn now() -> Timestamp {
        "2026-02-17T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn what_is_old_or_too_many_is_no_longer_kept() {
        let all = [1, 30, 5, 2].iter().enumerate().map(|(n, ago)| (now() - SignedDuration::from_hours(*ago), n + 1));
        let gone = |age, count| Keep { age, count }.outdated(&mut all.clone().collect(), now()).iter().map(|(_, n)| *n).collect::<Vec<_>>();
        assert_eq!(gone(hours(24), 10), [2]);
        assert_eq!(gone(hours(24), 2), [3, 2]);
        assert_eq!(gone(hours(5), 10), [3, 2]);
        assert_eq!(gone(hours(0), 10).len(), 4);
        assert_eq!(gone(hours(100), 0).len(), 4);
        assert_eq!(gone(Duration::MAX, 10).len(), 0);
    }

    #[test]
    fn a_look_is_due_a_tenth_past_a_limit_and_then_not_soon_again() {
        let keep = Keep { age: hours(10), count: 20 };
        let lying = |count, ago: i64| Lying { count, oldest: Some(now() - SignedDuration::from_hours(ago)) };
        let due = |lying: Lying| keep.due(&lying, now()).map(|at| at.duration_since(now()).as_hours());
        assert_eq!(due(Lying::default()), None);
        assert_eq!(due(lying(5, 1)), Some(10));
        assert_eq!(due(lying(22, 0)), Some(11));
        assert_eq!(due(lying(23, 0)), Some(0));
        assert_eq!(due(lying(1, 11)), Some(0));
        assert_eq!(due(Lying { count: 1, oldest: None }), Some(0), "nobody has looked");
        // What is left after a look is younger than the limit, so that a tenth of it passes before the next.
        let mut ended: Vec<(Timestamp, u64)> = (0..100).map(|n| (now() - SignedDuration::from_mins(n * 20), n.unsigned_abs())).collect();
        assert_eq!(keep.outdated(&mut ended, now()).len(), 80);
        let left = Lying { count: ended.len(), oldest: ended.last().map(|(at, _)| *at) };
        assert_eq!(left.count, 20);
        assert!(keep.due(&left, now()).unwrap() >= now() + SignedDuration::from_hours(1));
        // Where nothing is kept, all goes as it ends.
        assert_eq!(Keep { age: hours(10), count: 0 }.due(&lying(1, 0), now()), Some(now()));
        assert_eq!(Keep { age: hours(0), count: 20 }.due(&lying(1, 0), now()), Some(now()));
        assert_eq!(Keep { age: Duration::MAX / 2, count: 20 }.due(&lying(1, 0), now()), Some(Timestamp::MAX));
    }
}
