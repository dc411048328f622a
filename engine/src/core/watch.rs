//! A project's watchdog: which sessions are wanted, which have a host, what to do about the difference.

use std::collections::BTreeMap;
use std::time::Duration;

use super::limits::{HOST_BACKOFF_MAX, HOST_BACKOFF_MIN, HOST_WINDOW};
use super::restart::{Deaths, Next, Policy};

const HOST_POLICY: Policy = Policy { backoff_min: HOST_BACKOFF_MIN, backoff_max: HOST_BACKOFF_MAX, burst: None, window: HOST_WINDOW };

/// One session's host, as the watchdog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// None runs.
    Absent,
    /// One was started; its first word is awaited.
    Starting {
        since: Duration,
    },
    Up {
        since: Duration,
    },
    /// It was told to end.
    Stopping,
    /// The next try is due at `until`.
    Backoff {
        until: Duration,
    },
}

/// One session.
#[derive(Debug, Clone)]
struct Watched {
    wanted: bool,
    /// Processes of an earlier agent live although no host does: a host is needed to end them.
    leftovers: bool,
    host: Host,
    deaths: Deaths,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// What is wanted, as read from disk, and whether something of an earlier agent lives without a host.
    Wanted { up: bool, leftovers: bool },
    /// A host has answered.
    HostUp,
    /// A host's connection ended, or it could not be started. `leftovers`: something of its agent lives.
    HostLost { leftovers: bool },
    /// The deadline has come.
    Wake,
}

/// What the watchdog has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look for a living host of this session, else start one.
    FindOrStart(String),
    /// Tell the host to end its agent and itself.
    Stop(String),
}

/// The watchdog's machine.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    sessions: BTreeMap<String, Watched>,
}

impl Watch {
    /// When [`Event::Wake`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.sessions.values().filter_map(|w| if let Host::Backoff { until } = w.host { Some(until) } else { None }).min()
    }

    /// What is known of a session's host.
    pub fn host(&self, session: &str) -> &Host {
        self.sessions.get(session).map_or(&Host::Absent, |w| &w.host)
    }

    /// Whether the session is wanted.
    pub fn is_wanted(&self, session: &str) -> bool {
        self.sessions.get(session).is_some_and(|w| w.wanted)
    }

    /// Nothing is wanted and nothing is left to end: the watchdog may go.
    pub fn is_idle(&self) -> bool {
        self.sessions.values().all(|w| !w.wanted && w.host == Host::Absent)
    }

    /// It is spoken of no more: not wanted, and without a host.
    pub fn forget(&mut self, session: &str) {
        if !self.is_wanted(session) && *self.host(session) == Host::Absent {
            self.sessions.remove(session);
        }
    }

    /// Takes an event about a session. `Wake` concerns all of them, whatever `session` says.
    #[must_use]
    pub fn step(&mut self, now: Duration, session: &str, event: Event, jitter: f64) -> Vec<Action> {
        match event {
            Event::Wake => {
                let due: Vec<String> = self
                    .sessions
                    .iter()
                    .filter(|(_, w)| matches!(w.host, Host::Backoff { until } if until <= now))
                    .map(|(s, _)| s.clone())
                    .collect();
                return due.iter().flat_map(|s| self.start(now, s)).collect();
            }
            Event::Wanted { up, leftovers } => {
                let w = self.sessions.entry(session.into()).or_insert(Watched {
                    wanted: false,
                    leftovers: false,
                    host: Host::Absent,
                    deaths: Deaths::default(),
                });
                w.wanted = up;
                w.leftovers = leftovers;
                match w.host {
                    Host::Absent | Host::Backoff { .. } if up || leftovers => return self.start(now, session),
                    Host::Backoff { .. } => w.host = Host::Absent,
                    Host::Up { .. } if !up => {
                        w.host = Host::Stopping;
                        return vec![Action::Stop(session.into())];
                    }
                    // A starting host is told to stop when it has answered; a stopping one is started again when it is gone.
                    Host::Absent | Host::Starting { .. } | Host::Up { .. } | Host::Stopping => {}
                }
            }
            Event::HostUp => {
                let Some(w) = self.sessions.get_mut(session) else { return vec![] };
                match w.host {
                    Host::Starting { .. } | Host::Absent | Host::Backoff { .. } => {
                        w.host = Host::Up { since: now };
                        if !w.wanted {
                            w.host = Host::Stopping;
                            return vec![Action::Stop(session.into())];
                        }
                    }
                    Host::Up { .. } | Host::Stopping => {}
                }
            }
            Event::HostLost { leftovers } => return self.lost(now, session, leftovers, jitter),
        }
        vec![]
    }

    fn start(&mut self, now: Duration, session: &str) -> Vec<Action> {
        let Some(w) = self.sessions.get_mut(session) else { return vec![] };
        w.host = Host::Starting { since: now };
        vec![Action::FindOrStart(session.into())]
    }

    fn lost(&mut self, now: Duration, session: &str, leftovers: bool, jitter: f64) -> Vec<Action> {
        let Some(w) = self.sessions.get_mut(session) else { return vec![] };
        let ran = match w.host {
            Host::Up { since } => now.saturating_sub(since),
            Host::Absent | Host::Starting { .. } | Host::Stopping | Host::Backoff { .. } => Duration::ZERO,
        };
        let stopped = w.host == Host::Stopping;
        w.leftovers = leftovers;
        if stopped && w.wanted {
            return self.start(now, session);
        }
        if !w.wanted && !leftovers {
            w.host = Host::Absent;
            return vec![];
        }
        match w.deaths.died(now, ran, &HOST_POLICY, false, jitter) {
            Next::At(at) if at <= now => self.start(now, session),
            Next::At(until) => {
                w.host = Host::Backoff { until };
                vec![]
            }
            Next::GiveUp => vec![],
        }
    }
}
