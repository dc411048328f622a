//! One session, as its host sees it: the table of states and events.
//!
//! The host performs the actions and feeds every outcome back as an event. Nothing here knows of processes, and no second agent is ever
//! asked for while one may live: `Spawn` is only ever returned in answer to [`Event::Start`] and [`Event::Clear`], that is, after the host has seen
//! that nothing of an earlier agent is left.

use std::time::Duration;

use super::cause::Remedy;
use super::limits::{CONVERSATION_AFTER, LEFTOVER_GRACE};
use super::restart::{Deaths, Next, Policy};

/// What is known, with what belongs to it. Times are monotonic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs, nothing is wanted.
    Down,
    /// A start was asked for; its outcome is awaited.
    Starting,
    Up {
        since: Duration,
    },
    /// Waiting for the next start.
    Backoff {
        until: Duration,
        reason: String,
    },
    /// Processes are being ended; `kill_at` is when they are no longer asked but killed.
    Ending {
        then: Then,
        kill_at: Option<Duration>,
    },
    /// At its usage limit, which is said to end at `until`.
    Limited {
        until: Duration,
        reason: String,
    },
    Failing {
        reason: String,
    },
    Exited {
        reason: String,
    },
}

/// What follows once nothing is left of the old agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The host ends too.
    Quit,
    /// A new agent, now.
    Start,
    /// What the policy says about a death for this reason, after this long a life.
    Heal { reason: String, ran: Duration, remedy: Remedy },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The host begins, nothing of an earlier agent is left.
    Start,
    /// The host begins, and the session was given up on before, or had ended for good.
    Stay {
        failing: bool,
        reason: String,
    },
    /// The host begins, and the session was at its usage limit before.
    Limited {
        until: Duration,
        reason: String,
    },
    /// The host begins and has taken over a living agent with its terminal.
    Adopted,
    /// The host begins, an earlier agent lives, but its terminal is lost.
    Stranded,
    Spawned,
    /// `permanent`: trying again is useless until something changes.
    NotSpawned {
        reason: String,
        permanent: bool,
    },
    Died {
        reason: String,
        remedy: Remedy,
    },
    /// Nothing of the agent is left.
    Clear,
    /// The operator: end it.
    Stop,
    /// The operator: end it if it runs, and start it anew.
    Restart,
    /// Many others die at the same time: not to be started before this.
    Slow {
        until: Duration,
        why: String,
    },
    /// The living agent has hit its usage limit, and says so.
    Reached {
        until: Duration,
        reason: String,
    },
    /// It works again, before its limit was said to end.
    Freed,
    /// It does not go on by itself: end it and resume it.
    Stalled {
        reason: String,
    },
    /// The deadline has come.
    Wake,
}

/// What the host has to do, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start the agent; answer `Spawned` or `NotSpawned`.
    Spawn,
    /// Ask all its processes to end; answer `Clear` when none is left.
    Terminate,
    /// The same without asking.
    Kill,
    /// Its limit has ended, and it may be told to go on: it lives, or is resumed next.
    GoOn,
    /// The state that others see has changed.
    Announce,
    /// The host's work is done.
    Quit,
}

/// One session's machine.
#[derive(Debug, Clone)]
pub struct Session {
    pub phase: Phase,
    pub deaths: Deaths,
    /// How often it was brought back since the operator last started it.
    pub heals: u32,
    /// Whether an agent ever ran here: then the next one resumes.
    pub started: bool,
    /// There is a conversation that a new start would lose.
    pub lasting: bool,
    /// The last resume came to nothing at once: the next agent is started anew.
    pub anew: bool,
    /// How the last agent was started.
    pub resumed: bool,
    /// A start names its conversation, so that one which exists is never lost by it.
    pub named: bool,
    pub policy: Policy,
    /// Whether the dead are brought back.
    pub heal: bool,
    /// Between asking and killing.
    pub grace: Duration,
    /// The living agent is at its usage limit until then, and left alone; why.
    pub limit: Option<(Duration, String)>,
}

impl Session {
    pub fn new(policy: Policy, heal: bool, grace: Duration) -> Session {
        Session {
            phase: Phase::Down,
            deaths: Deaths::default(),
            heals: 0,
            started: false,
            lasting: false,
            anew: false,
            resumed: false,
            named: false,
            policy,
            heal,
            grace,
            limit: None,
        }
    }

    /// Whether the next agent goes on with the conversation; else it begins one.
    pub fn resumes(&self) -> bool {
        self.started && !self.anew
    }

    /// An agent has lived this long. One that dies at once may have had no conversation yet, so the other way is tried next.
    fn learn(&mut self, ran: Duration) {
        if ran >= CONVERSATION_AFTER {
            self.lasting |= !self.named;
            self.anew = false;
        } else {
            self.anew = self.resumed && !self.lasting;
        }
    }

    /// When [`Event::Wake`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Backoff { until, .. } | Phase::Limited { until, .. } => Some(*until),
            Phase::Ending { kill_at, .. } => *kill_at,
            Phase::Up { .. } => self.limit.as_ref().map(|(until, _)| *until),
            Phase::Down | Phase::Starting | Phase::Failing { .. } | Phase::Exited { .. } => None,
        }
    }

    /// Takes an event; `jitter` is between 0 and 1. Events that make no sense in a phase change nothing: they are late or repeated.
    #[must_use]
    pub fn step(&mut self, now: Duration, event: Event, jitter: f64) -> Vec<Action> {
        match event {
            Event::Start => match self.phase {
                Phase::Down => self.spawn(),
                Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Stay { failing, reason } => match self.phase {
                Phase::Down if failing => self.enter(Phase::Failing { reason }),
                Phase::Down => self.enter(Phase::Exited { reason }),
                Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Limited { until, reason } => match self.phase {
                Phase::Down => self.enter(Phase::Limited { until, reason }),
                Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Adopted => match self.phase {
                Phase::Down => {
                    self.started = true;
                    self.enter(Phase::Up { since: now })
                }
                Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Stranded => match self.phase {
                Phase::Down => {
                    self.started = true;
                    let then = Then::Heal { reason: "its terminal was lost".into(), ran: Duration::ZERO, remedy: Remedy::AtOnce };
                    self.end(now, then, self.grace)
                }
                Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Spawned => match self.phase {
                Phase::Starting => {
                    self.resumed = self.resumes();
                    self.started = true;
                    self.enter(Phase::Up { since: now })
                }
                Phase::Down
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::NotSpawned { reason, permanent } => match self.phase {
                Phase::Starting if permanent => self.enter(Phase::Failing { reason }),
                Phase::Starting => self.heal(now, reason, Duration::ZERO, Remedy::Again, jitter),
                Phase::Down
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Died { reason, remedy } => match self.phase {
                Phase::Up { since } => {
                    let ran = now.saturating_sub(since);
                    self.learn(ran);
                    let (reason, remedy) = self.with_limit(now, reason, remedy);
                    self.end(now, Then::Heal { reason, ran, remedy }, LEFTOVER_GRACE)
                }
                Phase::Down
                | Phase::Starting
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Clear => match std::mem::replace(&mut self.phase, Phase::Down) {
                Phase::Ending { then: Then::Quit, .. } => vec![Action::Announce, Action::Quit],
                Phase::Ending { then: Then::Start, .. } => self.spawn(),
                Phase::Ending { then: Then::Heal { reason, ran, remedy }, .. } => self.heal(now, reason, ran, remedy, jitter),
                phase @ (Phase::Down
                | Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. }) => {
                    self.phase = phase;
                    vec![]
                }
            },
            Event::Reached { until, reason } => match self.phase {
                Phase::Up { .. } if self.limit.is_none() => {
                    self.limit = Some((until, reason));
                    vec![Action::Announce]
                }
                Phase::Down
                | Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Freed => match self.phase {
                Phase::Up { .. } if self.limit.take().is_some() => vec![Action::Announce],
                Phase::Down
                | Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Stalled { reason } => match self.phase {
                Phase::Up { since } if self.limit.is_none() => {
                    let ran = now.saturating_sub(since);
                    // However short it lived, it stood there and took input.
                    self.learn(ran.max(CONVERSATION_AFTER));
                    let mut actions = self.end(now, Then::Heal { reason, ran, remedy: Remedy::Again }, self.grace);
                    actions.insert(0, Action::Announce);
                    actions
                }
                Phase::Down
                | Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
            Event::Stop => self.stop(now),
            Event::Restart => self.restart(now),
            Event::Slow { until, why } => self.slow(now, until, &why),
            Event::Wake => match &mut self.phase {
                Phase::Backoff { until, .. } if *until <= now => self.end(now, Then::Start, LEFTOVER_GRACE),
                // The limit came in the middle of something: one that goes on with its conversation is told to, by a message that waits for it.
                Phase::Limited { until, .. } if *until <= now => {
                    let goes_on = self.resumes().then_some(Action::GoOn);
                    goes_on.into_iter().chain(self.end(now, Then::Start, LEFTOVER_GRACE)).collect()
                }
                Phase::Up { .. } if self.limit.as_ref().is_some_and(|(until, _)| *until <= now) => {
                    self.limit = None;
                    vec![Action::Announce, Action::GoOn]
                }
                Phase::Ending { kill_at, .. } if kill_at.is_some_and(|t| t <= now) => {
                    *kill_at = None;
                    vec![Action::Kill]
                }
                Phase::Down
                | Phase::Starting
                | Phase::Up { .. }
                | Phase::Backoff { .. }
                | Phase::Limited { .. }
                | Phase::Ending { .. }
                | Phase::Failing { .. }
                | Phase::Exited { .. } => vec![],
            },
        }
    }

    /// One that ends at its limit is not started before that ends.
    fn with_limit(&self, now: Duration, reason: String, remedy: Remedy) -> (String, Remedy) {
        match (&self.limit, remedy) {
            (Some((until, why)), Remedy::Again | Remedy::Slower) if *until > now => (format!("{why}; {reason}"), Remedy::NotBefore(*until)),
            (_, remedy) => (reason, remedy),
        }
    }

    fn stop(&mut self, now: Duration) -> Vec<Action> {
        match &mut self.phase {
            Phase::Ending { then, .. } => {
                *then = Then::Quit;
                vec![]
            }
            // Also where nothing should be left: `Terminate` looks, and answers `Clear` at once if so.
            Phase::Down
            | Phase::Starting
            | Phase::Up { .. }
            | Phase::Backoff { .. }
            | Phase::Limited { .. }
            | Phase::Failing { .. }
            | Phase::Exited { .. } => self.end(now, Then::Quit, self.grace),
        }
    }

    fn restart(&mut self, now: Duration) -> Vec<Action> {
        match &mut self.phase {
            // A host that is to end stays on its way.
            Phase::Ending { then: Then::Quit, .. } => vec![],
            Phase::Ending { then, .. } => {
                *then = Then::Start;
                self.deaths.clear();
                self.heals = 0;
                vec![Action::Announce]
            }
            Phase::Starting => vec![],
            Phase::Down
            | Phase::Up { .. }
            | Phase::Backoff { .. }
            | Phase::Limited { .. }
            | Phase::Failing { .. }
            | Phase::Exited { .. } => {
                self.deaths.clear();
                self.heals = 0;
                let mut actions = self.end(now, Then::Start, self.grace);
                actions.insert(0, Action::Announce);
                actions
            }
        }
    }

    /// Waits longer, but never longer than its own longest delay; and that it died counts for nothing.
    fn slow(&mut self, now: Duration, later: Duration, why: &str) -> Vec<Action> {
        let later = later.min(now + self.policy.backoff_max);
        match &mut self.phase {
            Phase::Backoff { until, reason } if *until < later => {
                *until = later;
                *reason = format!("{why}; {reason}");
                self.deaths.forgive();
                vec![Action::Announce]
            }
            Phase::Backoff { .. }
            | Phase::Down
            | Phase::Starting
            | Phase::Up { .. }
            | Phase::Limited { .. }
            | Phase::Ending { .. }
            | Phase::Failing { .. }
            | Phase::Exited { .. } => vec![],
        }
    }

    fn spawn(&mut self) -> Vec<Action> {
        self.phase = Phase::Starting;
        vec![Action::Spawn]
    }

    fn end(&mut self, now: Duration, then: Then, grace: Duration) -> Vec<Action> {
        self.limit = None;
        self.phase = Phase::Ending { then, kill_at: Some(now + grace) };
        vec![Action::Terminate]
    }

    fn enter(&mut self, phase: Phase) -> Vec<Action> {
        self.phase = phase;
        vec![Action::Announce]
    }

    fn heal(&mut self, now: Duration, reason: String, ran: Duration, remedy: Remedy, jitter: f64) -> Vec<Action> {
        if !self.heal {
            return self.enter(Phase::Exited { reason });
        }
        let slower = match remedy {
            Remedy::Never => return self.enter(Phase::Failing { reason }),
            // No death of the kind that counts: nothing is wrong with it.
            Remedy::NotBefore(until) => {
                self.heals += 1;
                return self.enter(Phase::Limited { until, reason });
            }
            Remedy::AtOnce => {
                self.heals += 1;
                return self.spawn();
            }
            Remedy::Slower => true,
            Remedy::Again => false,
        };
        match self.deaths.died(now, ran, &self.policy, slower, jitter) {
            Next::At(at) if at <= now => {
                self.heals += 1;
                self.spawn()
            }
            Next::At(until) => {
                self.heals += 1;
                self.enter(Phase::Backoff { until, reason })
            }
            Next::GiveUp => {
                let burst = self.policy.burst.unwrap_or(0);
                let window = self.policy.window.as_secs();
                self.enter(Phase::Failing { reason: format!("died more than {burst} times within {window} s; last: {reason}") })
            }
        }
    }
}

#[cfg(test)]
mod tests;
