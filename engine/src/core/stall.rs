//! An agent that ends its turn and stays idle, or hangs: it is nudged once, then restarted; after some restarts it is left alone and that is told.
//!
//! One that has said until when it waits is left alone until then. Whoever asks something of it wipes the slate.

use std::time::Duration;

use super::limits::STALL_RESTARTS_MAX;

/// What was done about the idleness that is going on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Nudge {
    #[default]
    None,
    /// The message waits for the agent.
    Sent,
    /// It has read it.
    Taken,
}

/// What the agent does, as far as it matters here. Times are monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Idle {
        since: Duration,
    },
    Working,
    Hung {
        since: Duration,
    },
    /// It waits for a person, or nothing tells.
    Other,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `resumed`: it had work when the one before it ended.
    Started {
        resumed: bool,
    },
    Ended,
    /// The operator restarts it.
    Restarted,
    Does(Seen),
    /// Somebody gave it something to do.
    Asked,
    /// It has read the nudge.
    Taken,
    /// The answer to [`Action::Look`]: until when it has said that it waits.
    Promised(Option<Duration>),
    /// The deadline has come.
    Wake,
}

/// What the host has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Look what its last lines promise; answer `Promised`.
    Look,
    /// Tell it to go on, through its mailbox; answer `Taken`.
    Nudge,
    /// End it and resume it. `hung`: as it does not move.
    Restart { hung: bool },
    /// Tell that nothing helps.
    GiveUp,
}

/// What outlives the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slate {
    pub nudge: Nudge,
    /// How often it was restarted since anything was asked of it.
    pub restarts: u32,
    /// There is a turn to account for: it has worked, or was resumed.
    pub owes: bool,
    /// It was restarted for this, so the next one is nudged as soon as it is idle.
    pub at_once: bool,
    pub gave_up: bool,
}

/// One agent's machine.
#[derive(Debug, Clone)]
pub struct Stall {
    /// How long it may be idle or hung; none: nothing is done about either.
    after: Option<Duration>,
    pub slate: Slate,
    seen: Seen,
    /// From when the idleness counts: its beginning, or when the nudge was read.
    counts_from: Duration,
    promise: Option<Duration>,
    /// The promise is being looked for.
    looking: bool,
    /// It is being ended: what it still does says nothing.
    ending: bool,
}

impl Stall {
    pub fn new(after: Option<Duration>, slate: Slate) -> Stall {
        Stall { after, slate, seen: Seen::Other, counts_from: Duration::ZERO, promise: None, looking: false, ending: false }
    }

    /// Another launch may say otherwise.
    pub fn set_after(&mut self, after: Option<Duration>) {
        self.after = after;
    }

    /// When [`Event::Wake`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        let after = self.after.filter(|_| !self.slate.gave_up && !self.looking)?;
        match self.seen {
            Seen::Hung { since } => Some(since + after),
            Seen::Idle { .. } if self.slate.owes && self.slate.nudge != Nudge::Sent => {
                let due = if self.slate.at_once { self.counts_from } else { self.counts_from + after };
                Some(self.promise.map_or(due, |promise| due.max(promise)))
            }
            Seen::Idle { .. } | Seen::Working | Seen::Other => None,
        }
    }

    #[must_use]
    pub fn step(&mut self, now: Duration, event: Event) -> Option<Action> {
        match event {
            Event::Started { resumed } => {
                (self.seen, self.promise, self.looking, self.ending) = (Seen::Other, None, false, false);
                (self.slate.nudge, self.slate.owes) = (Nudge::None, resumed);
            }
            Event::Restarted => self.slate = Slate::default(),
            Event::Ended => (self.seen, self.promise, self.looking) = (Seen::Other, None, false),
            Event::Does(_) if self.ending => {}
            Event::Does(seen) => self.does(seen),
            Event::Asked => {
                self.slate = Slate { owes: true, ..Slate::default() };
                (self.counts_from, self.promise, self.looking) = (now, None, false);
            }
            Event::Taken if self.slate.nudge == Nudge::Sent => {
                (self.slate.nudge, self.slate.at_once, self.counts_from) = (Nudge::Taken, false, now);
            }
            Event::Taken => {}
            Event::Promised(until) if self.looking => {
                self.looking = false;
                if until.is_some_and(|until| until > now) {
                    self.promise = until;
                    self.slate = Slate { owes: true, ..Slate::default() };
                } else {
                    return Some(self.act());
                }
            }
            Event::Promised(_) => {}
            Event::Wake => {
                self.next_deadline().filter(|due| *due <= now)?;
                if matches!(self.seen, Seen::Hung { .. }) {
                    return Some(self.restart(true));
                }
                self.looking = true;
                return Some(Action::Look);
            }
        }
        None
    }

    fn does(&mut self, seen: Seen) {
        match (seen, self.seen) {
            (Seen::Idle { .. }, Seen::Idle { .. }) => {}
            (Seen::Idle { since }, _) => (self.counts_from, self.looking) = (since, false),
            (Seen::Working, _) => (self.slate.owes, self.promise, self.looking) = (true, None, false),
            (Seen::Hung { .. } | Seen::Other, _) => self.looking = false,
        }
        self.seen = seen;
    }

    fn act(&mut self) -> Action {
        match self.slate.nudge {
            Nudge::None | Nudge::Sent => {
                self.slate.nudge = Nudge::Sent;
                Action::Nudge
            }
            Nudge::Taken => self.restart(false),
        }
    }

    fn restart(&mut self, hung: bool) -> Action {
        if self.slate.restarts >= STALL_RESTARTS_MAX {
            self.slate.gave_up = true;
            return Action::GiveUp;
        }
        self.slate = Slate { restarts: self.slate.restarts + 1, nudge: Nudge::None, owes: true, at_once: true, gave_up: false };
        (self.seen, self.ending) = (Seen::Other, true);
        Action::Restart { hung }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(10_000 + seconds)
    }

    fn idle(seconds: u64) -> Event {
        Event::Does(Seen::Idle { since: at(seconds) })
    }

    fn fresh() -> Stall {
        let mut stall = Stall::new(Some(AFTER), Slate::default());
        assert_eq!(stall.step(at(0), Event::Started { resumed: false }), None);
        stall
    }

    /// An agent that has worked and is idle since second 10.
    fn stalled() -> Stall {
        let mut stall = fresh();
        assert_eq!(stall.step(at(1), Event::Does(Seen::Working)), None);
        assert_eq!(stall.step(at(10), idle(10)), None);
        stall
    }

    /// Whoever promises nothing.
    fn due(stall: &mut Stall) -> Option<Action> {
        let due = stall.next_deadline()?;
        match stall.step(due, Event::Wake) {
            Some(Action::Look) => stall.step(due, Event::Promised(None)),
            other => other,
        }
    }

    #[test]
    fn one_that_owes_a_turn_is_nudged_once_then_restarted() {
        let mut stall = stalled();
        assert_eq!(stall.next_deadline(), Some(at(610)));
        assert_eq!(stall.step(at(609), Event::Wake), None);
        assert_eq!(due(&mut stall), Some(Action::Nudge));
        assert_eq!(stall.next_deadline(), None, "it is not restarted while the message waits: somebody may be typing");
        assert_eq!(stall.step(at(700), Event::Taken), None);
        assert_eq!(stall.next_deadline(), Some(at(1300)));
        // It answers, and says nothing of waiting.
        assert_eq!(stall.step(at(701), Event::Does(Seen::Working)), None);
        assert_eq!(stall.next_deadline(), None);
        assert_eq!(stall.step(at(710), idle(710)), None);
        assert_eq!(due(&mut stall), Some(Action::Restart { hung: false }));
        // The next one sits at its prompt: it is nudged at once, and restarted again after that.
        for n in 2..=STALL_RESTARTS_MAX {
            assert_eq!(stall.step(at(1999), idle(1999)), None);
            assert_eq!(stall.next_deadline(), None, "it is being ended");
            assert_eq!(stall.step(at(2000), Event::Started { resumed: true }), None);
            assert_eq!(stall.step(at(2005), idle(2005)), None);
            assert_eq!(stall.next_deadline(), Some(at(2005)));
            assert_eq!(due(&mut stall), Some(Action::Nudge));
            assert_eq!(stall.step(at(2006), Event::Taken), None);
            assert_eq!(due(&mut stall), Some(Action::Restart { hung: false }), "restart {n}");
        }
        let _ = stall.step(at(3000), Event::Started { resumed: true });
        let _ = stall.step(at(3001), idle(3001));
        assert_eq!(due(&mut stall), Some(Action::Nudge));
        let _ = stall.step(at(3002), Event::Taken);
        assert_eq!(due(&mut stall), Some(Action::GiveUp));
        assert_eq!(stall.next_deadline(), None);
        let mut restarted = stall.clone();
        assert_eq!((restarted.step(at(9000), Event::Restarted), restarted.slate), (None, Slate::default()));
        // Whoever asks something of it begins anew.
        let _ = stall.step(at(9000), Event::Asked);
        assert_eq!(due(&mut stall), Some(Action::Nudge));
    }

    #[test]
    fn a_promise_is_kept() {
        let mut stall = stalled();
        assert_eq!(stall.step(at(610), Event::Wake), Some(Action::Look));
        assert_eq!(stall.next_deadline(), None, "the answer is awaited");
        assert_eq!(stall.step(at(610), Event::Promised(Some(at(5000)))), None);
        assert_eq!(stall.next_deadline(), Some(at(5000)));
        assert_eq!(stall.step(at(5000), Event::Wake), Some(Action::Look));
        // The same words, whose time has come.
        assert_eq!(stall.step(at(5000), Event::Promised(Some(at(5000)))), Some(Action::Nudge));
    }

    #[test]
    fn who_never_had_work_waits_for_a_person_or_is_not_watched_is_left_alone() {
        let mut stall = fresh();
        let _ = stall.step(at(10), idle(10));
        assert_eq!(stall.next_deadline(), None);
        let mut stall = stalled();
        let _ = stall.step(at(20), Event::Does(Seen::Other));
        assert_eq!(stall.next_deadline(), None);
        let mut stall = stalled();
        stall.set_after(None);
        assert_eq!(stall.next_deadline(), None);
        let mut resumed = Stall::new(Some(AFTER), Slate::default());
        let _ = resumed.step(at(0), Event::Started { resumed: true });
        let _ = resumed.step(at(10), idle(10));
        assert_eq!(resumed.next_deadline(), Some(at(610)), "it was killed in the middle of something");
    }

    #[test]
    fn one_that_hangs_is_restarted_and_not_for_ever() {
        let mut stall = fresh();
        let _ = stall.step(at(1), Event::Does(Seen::Working));
        for _ in 0..STALL_RESTARTS_MAX {
            let _ = stall.step(at(700), Event::Does(Seen::Hung { since: at(700) }));
            assert_eq!(stall.step(at(1300), Event::Wake), Some(Action::Restart { hung: true }));
            let _ = stall.step(at(1300), Event::Started { resumed: true });
        }
        let _ = stall.step(at(700), Event::Does(Seen::Hung { since: at(700) }));
        assert_eq!(due(&mut stall), Some(Action::GiveUp));
    }

    #[test]
    fn another_host_goes_on_where_the_one_before_was() {
        let mut stall = stalled();
        assert_eq!(due(&mut stall), Some(Action::Nudge));
        let mut next = Stall::new(Some(AFTER), stall.slate);
        let _ = next.step(at(620), idle(10));
        assert_eq!(next.next_deadline(), None, "it is not nudged twice");
        let _ = next.step(at(630), Event::Taken);
        assert_eq!(next.next_deadline(), Some(at(1230)));
    }

    proptest::proptest! {
        /// Whatever comes: between two things that were asked there are few restarts, each nudge is answered or waits, and no deadline repeats itself for ever.
        #[test]
        fn it_always_comes_to_rest(steps in proptest::collection::vec((0u8..10, 0u64..2000), 0..80)) {
            let mut stall = fresh();
            let (mut now, mut restarts) = (at(0), 0);
            for (what, passed) in steps {
                now += Duration::from_secs(passed);
                let event = match what {
                    0 => Event::Started { resumed: passed % 2 == 0 },
                    1 => Event::Ended,
                    2 => Event::Does(Seen::Working),
                    3 | 4 => Event::Does(Seen::Idle { since: now }),
                    5 => Event::Does(Seen::Hung { since: now }),
                    6 => Event::Asked,
                    7 => Event::Taken,
                    8 => Event::Restarted,
                    _ => Event::Wake,
                };
                restarts = if matches!(event, Event::Asked | Event::Restarted) { 0 } else { restarts };
                let mut action = stall.step(now, event);
                let mut rounds = 0;
                loop {
                    match action {
                        Some(Action::Look) => action = stall.step(now, Event::Promised(None)),
                        Some(Action::Restart { .. }) => (restarts, action) = (restarts + 1, None),
                        Some(Action::Nudge | Action::GiveUp) => action = None,
                        None if stall.next_deadline().is_some_and(|due| due <= now) => action = stall.step(now, Event::Wake),
                        None => break,
                    }
                    rounds += 1;
                    proptest::prop_assert!(rounds < 10, "{stall:?}");
                }
                proptest::prop_assert!(restarts <= STALL_RESTARTS_MAX);
            }
        }
    }
}
