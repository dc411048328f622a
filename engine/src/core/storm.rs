//! Many sessions that die again and again at the same time have one cause: all of them wait for it together, and it is told once.
//!
//! Only repeated deaths count: what is killed all at once comes back at once.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits::{STORM_PAUSE_MAX, STORM_PAUSE_MIN, STORM_SESSIONS_MIN, STORM_SHARE, STORM_STEP, STORM_WINDOW};

/// What the watchdog knows of repeated deaths in its project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Storm {
    /// When each session last died again.
    deaths: BTreeMap<String, Duration>,
    /// Only while it lasts.
    on: Option<Pause>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pause {
    length: Duration,
    until: Duration,
    /// How many were told to wait for its end: each a little longer than the one before.
    told: u32,
}

/// What follows from a death.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Who is not to be started before when.
    pub wait: Vec<(String, Duration)>,
    /// The storm begins with this death.
    pub begins: bool,
}

impl Storm {
    /// A session has died again and waits for its next start; so many sessions are wanted.
    pub fn died_again(&mut self, now: Duration, session: &str, wanted: usize) -> Option<Order> {
        self.deaths.retain(|_, at| now.saturating_sub(*at) <= STORM_WINDOW);
        self.deaths.insert(session.to_owned(), now);
        if let Some(pause) = &mut self.on {
            if now >= pause.until {
                // They were let go, and die again: the cause is still there.
                let length = pause.length.saturating_mul(2).min(STORM_PAUSE_MAX);
                *pause = Pause { length, until: now + length, told: 0 };
            }
            return Some(Order { wait: vec![(session.to_owned(), pause.next())], begins: false });
        }
        if self.deaths.len() < STORM_SESSIONS_MIN || self.deaths.len() * STORM_SHARE < wanted {
            return None;
        }
        let mut pause = Pause { length: STORM_PAUSE_MIN, until: now + STORM_PAUSE_MIN, told: 0 };
        let wait = self.deaths.keys().map(|s| (s.clone(), pause.next())).collect();
        self.on = Some(pause);
        Some(Order { wait, begins: true })
    }

    /// The sessions that died again within the window.
    pub fn sessions(&self) -> impl Iterator<Item = &str> {
        self.deaths.keys().map(String::as_str)
    }

    /// When [`Storm::is_over`] may become true.
    pub fn next_deadline(&self) -> Option<Duration> {
        let pause = self.on.as_ref()?;
        self.deaths.values().max().map(|last| (*last).max(pause.until) + STORM_WINDOW)
    }

    /// True once after nobody has died again for long enough.
    pub fn is_over(&mut self, now: Duration) -> bool {
        let over = self.next_deadline().is_some_and(|at| at <= now);
        if over {
            *self = Storm::default();
        }
        over
    }
}

impl Pause {
    fn next(&mut self) -> Duration {
        self.told += 1;
        self.until + STORM_STEP * (self.told - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::cause::Remedy;
    use crate::core::restart::Policy;
    use crate::core::session::{Action, Event, Phase, Session};

    const POLICY: Policy = Policy {
        backoff_min: Duration::from_millis(200),
        backoff_max: Duration::from_secs(300),
        burst: Some(5),
        window: Duration::from_secs(600),
    };

    /// A project whose agents die a second after each start until `ends`; returns how many starts there were, the orders that began a storm, and
    /// when the last one was up for good.
    fn weather(count: usize, ill: usize, ends: Duration, watched: bool) -> (usize, usize, Duration, Vec<Phase>) {
        let (mut storm, mut starts, mut begins, mut now, mut calm) = (Storm::default(), 0, 0, Duration::from_secs(1000), false);
        let ends = now + ends;
        let mut sessions: BTreeMap<String, Session> =
            (0..count).map(|i| (format!("s{i}"), Session::new(POLICY, true, Duration::ZERO))).collect();
        let mut last_up = now;
        for session in sessions.values_mut() {
            let _ = session.step(now, Event::Start, 0.5);
            let _ = session.step(now, Event::Spawned, 0.5);
        }
        let ids: Vec<String> = sessions.keys().cloned().collect();
        loop {
            let dies = |id: &String, s: &Session| match s.phase {
                Phase::Up { since } if ids.iter().position(|i| i == id).unwrap() < ill && since + Duration::from_secs(1) < ends => {
                    Some(since + Duration::from_secs(1))
                }
                _ => None,
            };
            let due = |id: &String, s: &Session| [dies(id, s), s.next_deadline()].into_iter().flatten().min();
            let Some((id, at)) = ids.iter().filter_map(|id| Some((id, due(id, &sessions[id])?))).min_by_key(|(_, at)| *at) else { break };
            now = now.max(at);
            calm |= storm.is_over(now);
            let dying = dies(id, &sessions[id]).is_some();
            let session = sessions.get_mut(id).unwrap();
            let event = if dying { Event::Died { reason: "x".into(), remedy: Remedy::Again } } else { Event::Wake };
            let _ = session.step(now, event, 0.5);
            if session.step(now, Event::Clear, 0.5) == [Action::Spawn] {
                starts += 1;
                last_up = now;
                let _ = session.step(now, Event::Spawned, 0.5);
            } else if watched && matches!(session.phase, Phase::Backoff { .. }) {
                let Some(order) = storm.died_again(now, id, count) else { continue };
                begins += usize::from(order.begins);
                for (id, until) in order.wait {
                    let _ = sessions.get_mut(&id).unwrap().step(now, Event::Slow { until, why: "storm".into() }, 0.5);
                }
            }
        }
        if let Some(at) = storm.next_deadline() {
            assert!(storm.is_over(at) && storm.next_deadline().is_none());
        }
        assert!(!calm, "it was one storm");
        (starts, begins, last_up.saturating_sub(ends), sessions.into_values().map(|s| s.phase).collect())
    }

    #[test]
    fn an_outage_is_told_once_and_survived() {
        for (minutes, sessions) in [(2, 10), (30, 10), (30, 100)] {
            let outage = Duration::from_secs(minutes * 60);
            let (_, _, _, alone) = weather(sessions, sessions, outage, false);
            assert!(alone.iter().all(|p| matches!(p, Phase::Failing { .. })), "without it everybody is given up on");
            let (starts, begins, late, phases) = weather(sessions, sessions, outage, true);
            assert!(phases.iter().all(|p| matches!(p, Phase::Up { .. })), "{phases:?}");
            assert_eq!(begins, 1);
            assert!(late <= STORM_PAUSE_MAX + Duration::from_secs(30), "the last is back {late:?} after the outage");
            // Pauses double: few tries each, however long it lasts.
            assert!(starts <= sessions * 20, "{starts} starts of {sessions} sessions in {minutes} minutes");
        }
    }

    #[test]
    fn what_dies_once_or_alone_waits_for_nobody() {
        assert_eq!(weather(100, 100, Duration::from_millis(1500), true).1, 0, "killed once, all at once");
        assert_eq!(weather(100, 2, Duration::from_secs(600), true).1, 0, "two of a hundred");
        assert_eq!(weather(100, 10, Duration::from_secs(600), true).1, 0, "ten of a hundred are ill by themselves");
        assert_eq!(weather(100, 40, Duration::from_secs(600), true).1, 1);
    }
}
