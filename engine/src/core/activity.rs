//! What an agent does, from what its sources say: its program's own record, hooks that the program calls, patterns on its screen.
//!
//! A record is believed as long as it is there. Of a hook and the screen the newer word counts: hooks alone stick, as an interrupted program calls none. What was
//! asked of an agent after a hook called it idle makes that word worthless. Where nothing tells, nothing is claimed.

use std::time::Duration;

use super::limits::HOOK_QUIET;

/// What a source says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    Working,
    /// For a person; `what` in words, empty where the source does not say.
    Waiting {
        what: String,
    },
    Idle,
}

/// Who says it, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Record,
    Hook,
    Screen,
}

/// What happened. Times are monotonic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An agent was started.
    Started,
    /// A living one was taken over, which printed last then.
    Found {
        printed: Duration,
    },
    Ended,
    /// A source was looked at, or spoke. `None`: it says nothing any more.
    Says {
        source: Source,
        doing: Option<Doing>,
        at: Duration,
    },
    Printed,
    /// It was given something to do: a message, or keys of somebody who is attached.
    Asked,
    /// Its process was stopped by a signal, or goes on.
    Stopped(bool),
    /// The deadline has come.
    Wake,
}

/// What it does, as far as can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Unknown,
    Told {
        source: Source,
        doing: Doing,
    },
    /// It lives and does not move.
    Hung {
        stopped: bool,
        source: Option<Source>,
    },
}

impl Verdict {
    /// Whether both mean the same to whoever looks, whoever says it.
    pub fn is_like(&self, other: &Verdict) -> bool {
        match (self, other) {
            (Verdict::Told { doing: a, .. }, Verdict::Told { doing: b, .. }) => a == b,
            (Verdict::Hung { stopped: a, .. }, Verdict::Hung { stopped: b, .. }) => a == b,
            (Verdict::Unknown, Verdict::Unknown) => true,
            (Verdict::Unknown | Verdict::Told { .. } | Verdict::Hung { .. }, _) => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    doing: Doing,
    at: Duration,
}

/// One agent's activity.
#[derive(Debug, Clone)]
pub struct Activity {
    lives: bool,
    stopped: bool,
    record: Option<Reading>,
    hook: Option<Reading>,
    screen: Option<Reading>,
    printed: Duration,
    /// One that works and prints nothing for so long hangs.
    silence: Duration,
    verdict: Verdict,
    since: Duration,
}

impl Activity {
    pub fn new(silence: Duration) -> Activity {
        Activity {
            lives: false,
            stopped: false,
            record: None,
            hook: None,
            screen: None,
            printed: Duration::ZERO,
            silence,
            verdict: Verdict::Unknown,
            since: Duration::ZERO,
        }
    }

    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Since when it is so.
    pub fn since(&self) -> Duration {
        self.since
    }

    /// When the source of the verdict spoke last.
    pub fn told_at(&self) -> Option<Duration> {
        let source = match &self.verdict {
            Verdict::Told { source, .. } => Some(*source),
            Verdict::Hung { source, .. } => *source,
            Verdict::Unknown => None,
        };
        let reading = match source? {
            Source::Record => &self.record,
            Source::Hook => &self.hook,
            Source::Screen => &self.screen,
        };
        reading.as_ref().map(|r| r.at)
    }

    /// How long it may be silent while it works.
    pub fn set_silence(&mut self, silence: Duration) {
        self.silence = silence;
    }

    /// Of one that was found: as whoever looked before has seen it. What a source said counts until that is looked at again.
    pub fn remember(&mut self, verdict: Verdict, since: Duration) {
        let (source, doing) = match &verdict {
            Verdict::Unknown | Verdict::Hung { source: None, .. } => return,
            Verdict::Told { source, doing } => (*source, doing.clone()),
            Verdict::Hung { source: Some(source), .. } => (*source, Doing::Working),
        };
        let reading = Some(Reading { doing, at: since });
        match source {
            Source::Record => self.record = reading,
            Source::Hook => self.hook = reading,
            Source::Screen => self.screen = reading,
        }
        (self.verdict, self.since) = (verdict, since);
    }

    /// When [`Event::Wake`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        if !self.lives || self.stopped {
            return None;
        }
        match self.told()? {
            (Source::Hook, Doing::Working) if self.is_hung() => Some(self.printed + HOOK_QUIET),
            (Source::Hook, Doing::Working) => Some(self.printed + self.silence.min(HOOK_QUIET)),
            (Source::Record | Source::Screen, Doing::Working) if !self.is_hung() => Some(self.printed + self.silence),
            (_, Doing::Working | Doing::Waiting { .. } | Doing::Idle) => None,
        }
    }

    fn is_hung(&self) -> bool {
        matches!(self.verdict, Verdict::Hung { .. })
    }

    /// Takes an event. True: what it does, or who says so, is another now.
    #[must_use]
    pub fn step(&mut self, now: Duration, event: Event) -> bool {
        match event {
            Event::Started => *self = Activity { lives: true, printed: now, since: now, ..Activity::new(self.silence) },
            Event::Found { printed } => *self = Activity { lives: true, printed, since: now, ..Activity::new(self.silence) },
            Event::Ended => *self = Activity { since: self.since, verdict: self.verdict.clone(), ..Activity::new(self.silence) },
            Event::Says { source, doing, at } => {
                let reading = doing.map(|doing| Reading { doing, at });
                match source {
                    Source::Record => self.record = reading,
                    Source::Hook => self.hook = reading,
                    Source::Screen => self.screen = reading,
                }
            }
            Event::Printed => {
                self.printed = now;
                if !self.is_hung() {
                    return false;
                }
            }
            Event::Asked => {
                if self.hook.as_ref().is_some_and(|h| h.doing != Doing::Working) {
                    self.hook = None;
                }
            }
            Event::Stopped(stopped) => self.stopped = stopped,
            Event::Wake => {
                let old = self.hook.as_ref().is_some_and(|h| h.doing == Doing::Working) && self.printed + HOOK_QUIET <= now;
                if old {
                    self.hook = None;
                }
            }
        }
        self.judge(now)
    }

    fn judge(&mut self, now: Duration) -> bool {
        let verdict = match self.told() {
            _ if !self.lives => Verdict::Unknown,
            told if self.stopped => Verdict::Hung { stopped: true, source: told.map(|(source, _)| source) },
            None => Verdict::Unknown,
            Some((source, Doing::Working)) if self.printed + self.silence <= now => Verdict::Hung { stopped: false, source: Some(source) },
            Some((source, doing)) => Verdict::Told { source, doing: self.in_full(doing) },
        };
        if !verdict.is_like(&self.verdict) {
            self.since = now;
        }
        let changed = verdict != self.verdict;
        self.verdict = verdict;
        changed
    }

    /// The source that counts now, and its word.
    fn told(&self) -> Option<(Source, &Doing)> {
        let record = self.record.as_ref().map(|r| (Source::Record, r));
        let hook = self.hook.as_ref().map(|r| (Source::Hook, r));
        let screen = self.screen.as_ref().map(|r| (Source::Screen, r));
        let newer = match (hook, screen) {
            (Some(hook), Some(screen)) if hook.1.at > screen.1.at => Some(hook),
            (hook, screen) => screen.or(hook),
        };
        record.or(newer).map(|(source, reading)| (source, &reading.doing))
    }

    /// What it waits for is best said by whoever knows it.
    fn in_full(&self, doing: &Doing) -> Doing {
        let others = [&self.hook, &self.screen].into_iter().flatten().find_map(|r| match &r.doing {
            Doing::Waiting { what } if !what.is_empty() => Some(what.clone()),
            Doing::Waiting { .. } | Doing::Working | Doing::Idle => None,
        });
        match doing {
            Doing::Waiting { what } if what.is_empty() => Doing::Waiting { what: others.unwrap_or_default() },
            Doing::Waiting { .. } | Doing::Working | Doing::Idle => doing.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(600);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    fn says(source: Source, doing: Doing, seconds: u64) -> Event {
        Event::Says { source, doing: Some(doing), at: at(seconds) }
    }

    fn waiting(what: &str) -> Doing {
        Doing::Waiting { what: what.into() }
    }

    fn told(source: Source, doing: Doing) -> Verdict {
        Verdict::Told { source, doing }
    }

    /// Each event in its second; what is claimed after the last.
    fn after(events: Vec<Event>) -> Verdict {
        let mut activity = Activity::new(SILENCE);
        let _ = activity.step(at(0), Event::Started);
        for (second, event) in events.into_iter().enumerate() {
            let _ = activity.step(at(second as u64), event);
        }
        activity.verdict().clone()
    }

    #[test]
    fn the_best_source_counts_and_of_equals_the_newest() {
        use Doing::{Idle, Working};
        use Source::{Hook, Record, Screen};
        let hung = |stopped, source| Verdict::Hung { stopped, source };
        let nothing = |source| Event::Says { source, doing: None, at: at(9) };
        for (events, expected) in [
            (vec![], Verdict::Unknown),
            (vec![says(Screen, Idle, 0)], told(Screen, Idle)),
            (vec![says(Hook, Working, 0)], told(Hook, Working)),
            (vec![says(Record, Working, 0), says(Screen, Idle, 1), says(Hook, Idle, 2)], told(Record, Working)),
            (vec![says(Record, Working, 0), says(Screen, Idle, 1), nothing(Record)], told(Screen, Idle)),
            // Esc ends a turn and no hook says so; the screen does.
            (vec![says(Hook, Working, 0), says(Screen, Idle, 1)], told(Screen, Idle)),
            (vec![says(Screen, Idle, 0), says(Hook, Working, 1)], told(Hook, Working)),
            (vec![says(Hook, Working, 0), says(Screen, Idle, 1), nothing(Screen)], told(Hook, Working)),
            // What was idle and was then asked something is not known to be idle.
            (vec![says(Hook, Idle, 0), Event::Asked], Verdict::Unknown),
            (vec![says(Hook, Working, 0), Event::Asked], told(Hook, Working)),
            (vec![says(Screen, Idle, 0), Event::Asked], told(Screen, Idle)),
            (vec![says(Record, waiting(""), 0), says(Screen, waiting("Run rm?"), 1)], told(Record, waiting("Run rm?"))),
            (vec![says(Record, waiting("a login"), 0), says(Screen, waiting("Run rm?"), 1)], told(Record, waiting("a login"))),
            (vec![says(Record, Idle, 0), Event::Stopped(true)], hung(true, Some(Record))),
            (vec![Event::Stopped(true)], hung(true, None)),
            (vec![says(Record, Idle, 0), Event::Stopped(true), Event::Stopped(false)], told(Record, Idle)),
            (vec![says(Record, Idle, 0), Event::Ended], Verdict::Unknown),
            (vec![says(Record, Working, 0), Event::Ended, Event::Started], Verdict::Unknown),
        ] {
            assert_eq!(after(events.clone()), expected, "{events:?}");
        }
    }

    #[test]
    fn one_that_works_in_silence_hangs_until_it_prints() {
        let mut activity = Activity::new(SILENCE);
        let _ = activity.step(at(0), Event::Started);
        assert_eq!(activity.next_deadline(), None);
        assert!(activity.step(at(1), says(Source::Screen, Doing::Working, 1)));
        assert!(!activity.step(at(5), Event::Printed));
        assert_eq!(activity.next_deadline(), Some(at(605)));
        assert!(!activity.step(at(604), Event::Wake));
        assert!(activity.step(at(605), Event::Wake));
        assert_eq!(activity.verdict(), &Verdict::Hung { stopped: false, source: Some(Source::Screen) });
        assert_eq!((activity.since(), activity.next_deadline()), (at(605), None), "nothing is due any more");
        assert!(activity.step(at(700), Event::Printed));
        assert_eq!(activity.verdict(), &told(Source::Screen, Doing::Working));
        // One that is idle may be silent for ever.
        let _ = activity.step(at(701), says(Source::Screen, Doing::Idle, 701));
        assert_eq!(activity.next_deadline(), None);
    }

    #[test]
    fn a_hook_is_not_believed_for_ever() {
        let mut activity = Activity::new(Duration::from_secs(100_000));
        let _ = activity.step(at(0), Event::Started);
        let _ = activity.step(at(1), says(Source::Hook, Doing::Working, 1));
        let due = activity.next_deadline().unwrap();
        assert_eq!(due, at(0) + HOOK_QUIET);
        assert!(activity.step(due, Event::Wake));
        assert_eq!((activity.verdict(), activity.next_deadline()), (&Verdict::Unknown, None));
    }

    #[test]
    fn another_source_of_the_same_word_is_no_new_beginning() {
        let mut activity = Activity::new(SILENCE);
        let _ = activity.step(at(0), Event::Started);
        let _ = activity.step(at(1), says(Source::Screen, Doing::Idle, 1));
        assert!(activity.step(at(9), says(Source::Record, Doing::Idle, 9)));
        assert_eq!((activity.since(), activity.told_at()), (at(1), Some(at(9))));
        // Nor is another host.
        let mut next = Activity::new(SILENCE);
        assert!(!next.step(at(20), Event::Found { printed: at(9) }));
        next.remember(activity.verdict().clone(), activity.since());
        assert!(!next.step(at(20), Event::Stopped(false)), "its last word counts until it is looked at");
        assert!(!next.step(at(21), says(Source::Record, Doing::Idle, 21)));
        assert_eq!(next.since(), at(1));
    }

    proptest::proptest! {
        /// Whatever comes in whatever order: nothing is claimed of the dead, no deadline is in the past for ever, and stopped means hung.
        #[test]
        fn never_more_is_claimed_than_somebody_said(steps in proptest::collection::vec((0u8..12, 0u64..400), 0..60)) {
            let mut activity = Activity::new(SILENCE);
            let (mut now, mut lives, mut stopped) = (at(0), false, false);
            for (what, passed) in steps {
                now += Duration::from_secs(passed);
                let event = match what {
                    0 => Event::Started,
                    1 => Event::Ended,
                    2 => Event::Printed,
                    3 => Event::Asked,
                    4 => Event::Stopped(true),
                    5 => Event::Stopped(false),
                    6 | 7 => Event::Wake,
                    n => Event::Says {
                        source: [Source::Record, Source::Hook, Source::Screen][n as usize % 3],
                        doing: [None, Some(Doing::Working), Some(Doing::Idle), Some(Doing::Waiting { what: String::new() })][passed as usize % 4].clone(),
                        at: now,
                    },
                };
                match event {
                    Event::Started => (lives, stopped) = (true, false),
                    Event::Ended => (lives, stopped) = (false, false),
                    Event::Stopped(now) if lives => stopped = now,
                    _ => {}
                }
                if !lives && matches!(event, Event::Stopped(_)) {
                    continue;
                }
                let _ = activity.step(now, event);
                proptest::prop_assert!(lives || activity.verdict() == &Verdict::Unknown);
                let says_stopped = matches!(activity.verdict(), Verdict::Hung { stopped: true, .. });
                proptest::prop_assert_eq!(stopped, says_stopped);
                // A deadline that has come and is met is not due again.
                if let Some(due) = activity.next_deadline().filter(|due| *due <= now) {
                    let _ = activity.step(now.max(due), Event::Wake);
                    proptest::prop_assert!(activity.next_deadline().is_none_or(|next| next > now), "{activity:?}");
                }
            }
        }
    }
}
