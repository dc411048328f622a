//! Which transitions are told to whoever wants to be told: each once, in order, and what happens to many at the same time as one.
//!
//! Of every session it is remembered what was told last. That is forgotten when the session leaves that state, so that the next time is news again.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::limits::{NOTICE_SETTLE, NOTICES_MAX};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An agent waits for a person.
    Waiting,
    /// It was given up on.
    Failing,
    /// It is at its usage limit.
    Limited,
    /// It was told to go on and resumed in vain.
    Stuck,
    /// It has ended for good.
    Done,
    /// Many die at the same time.
    Storm,
}

/// A session as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing<'a> {
    /// In a state that is told; since when, and for a wait, that too makes one of it.
    In { kind: Kind, since: &'a str },
    /// It runs and waits for nobody.
    Well,
    /// It starts, ends, is down, or nothing tells: no news, and what was told stays told.
    Between,
}

/// What was told of a session last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub kind: Kind,
    pub since: String,
}

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub kind: Kind,
    /// Empty where it is about the whole project.
    pub session: String,
    /// What belongs to it, as whoever tells it understands it.
    pub about: String,
}

/// What is told, was told and waits to be.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    told: BTreeMap<String, Told>,
    queue: VecDeque<Notice>,
    /// Those that come within a moment go together.
    settles: Option<Duration>,
    /// Somebody is being told.
    busy: bool,
    /// What was told differs from what is on disk.
    unwritten: bool,
}

impl Notices {
    pub fn new(told: BTreeMap<String, Told>) -> Notices {
        Notices { told, ..Notices::default() }
    }

    /// What somebody was told, or is just being told; not what waits.
    pub fn told(&self) -> BTreeMap<String, Told> {
        let waits = |session: &str, told: &Told| self.queue.iter().any(|n| n.session == *session && n.kind == told.kind);
        let told = self.told.iter().filter(|(session, told)| !waits(session, told));
        told.map(|(session, told)| (session.clone(), told.clone())).collect()
    }

    /// Whether something waits or is being told.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && !self.busy
    }

    /// When [`Notices::next`] has something.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.settles.filter(|_| !self.busy)
    }

    /// A session stands so. True: that is news.
    pub fn sees(&mut self, now: Duration, session: &str, standing: Standing<'_>, about: impl FnOnce() -> String) -> bool {
        match standing {
            Standing::Between => false,
            Standing::Well => {
                self.unwritten |= self.told.remove(session).is_some();
                false
            }
            Standing::In { kind, since } => {
                let known = self.told.get(session).is_some_and(|t| t.kind == kind && (t.since == since || kind != Kind::Waiting));
                if known {
                    return false;
                }
                self.told.insert(session.to_owned(), Told { kind, since: since.to_owned() });
                self.add(now, Notice { kind, session: session.to_owned(), about: about() });
                true
            }
        }
    }

    /// Something about the whole project.
    pub fn add(&mut self, now: Duration, notice: Notice) {
        // Whoever is told of so much at once reads none of it; the oldest is worth the least.
        if self.queue.len() >= NOTICES_MAX {
            self.queue.pop_front();
        }
        self.queue.push_back(notice);
        self.settles.get_or_insert(now + NOTICE_SETTLE);
    }

    /// The session is gone.
    pub fn forget(&mut self, session: &str) {
        self.unwritten |= self.told.remove(session).is_some();
        self.queue.retain(|n| n.session != session);
    }

    /// What is to be told now: the first that waits, and those of its kind right behind it. [`Notices::done`] has to follow.
    pub fn next(&mut self, now: Duration) -> Vec<Notice> {
        if self.busy || self.settles.is_none_or(|at| at > now) {
            return vec![];
        }
        let Some(kind) = self.queue.front().map(|n| n.kind) else {
            self.settles = None;
            return vec![];
        };
        (self.busy, self.unwritten) = (true, true);
        let many = self.queue.iter().take_while(|n| n.kind == kind).count();
        self.queue.drain(..many).collect()
    }

    /// They were told, or could not be.
    pub fn done(&mut self, now: Duration) {
        self.busy = false;
        self.settles = (!self.queue.is_empty()).then_some(now);
    }

    /// Whether what was told has to be written down.
    pub fn take_unwritten(&mut self) -> bool {
        std::mem::take(&mut self.unwritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_secs(100) + Duration::from_millis(ms)
    }

    fn is(kind: Kind, since: &str) -> Standing<'_> {
        Standing::In { kind, since }
    }

    fn sessions(notices: &[Notice]) -> Vec<&str> {
        notices.iter().map(|n| n.session.as_str()).collect()
    }

    #[test]
    fn each_transition_is_told_once() {
        let mut notices = Notices::default();
        for (standing, news) in [
            (is(Kind::Waiting, "1"), true),
            (is(Kind::Waiting, "1"), false),
            (Standing::Between, false),
            (is(Kind::Waiting, "1"), false),
            // It waits for something else.
            (is(Kind::Waiting, "2"), true),
            (Standing::Well, false),
            (is(Kind::Waiting, "2"), true),
            (is(Kind::Failing, "3"), true),
            // After a boot it is given up on still, as of another time.
            (is(Kind::Failing, "4"), false),
            (Standing::Between, false),
            (is(Kind::Limited, "5"), true),
            (Standing::Well, false),
            (is(Kind::Failing, "6"), true),
        ] {
            assert_eq!(notices.sees(at(0), "int-1", standing, String::new), news, "{standing:?}");
        }
        assert!(notices.told().is_empty(), "all of it waits");
        let _ = notices.next(at(10_000));
        notices.done(at(10_000));
        let _ = notices.next(at(10_000));
        notices.done(at(10_000));
        let _ = notices.next(at(10_000));
        notices.done(at(10_000));
        let _ = notices.next(at(10_000));
        let mut next = Notices::new(notices.told());
        assert!(!next.sees(at(0), "int-1", is(Kind::Failing, "6"), String::new), "nor by another watchdog");
        assert!(next.is_idle() && !next.take_unwritten());
    }

    #[test]
    fn what_comes_together_is_told_together_and_in_order() {
        let mut notices = Notices::default();
        assert!(
            notices.sees(at(0), "int-1", is(Kind::Limited, "1"), String::new)
                && notices.sees(at(10), "int-2", is(Kind::Limited, "1"), String::new)
        );
        assert!(
            notices.sees(at(20), "int-3", is(Kind::Failing, "1"), String::new)
                && notices.sees(at(30), "int-4", is(Kind::Limited, "1"), String::new)
        );
        assert!(notices.next(at(30)).is_empty());
        let due = notices.next_deadline().unwrap();
        assert_eq!(due, at(0) + NOTICE_SETTLE);
        assert_eq!(sessions(&notices.next(due)), ["int-1", "int-2"]);
        assert_eq!((notices.next_deadline(), notices.next(due).len()), (None, 0), "one at a time");
        notices.done(at(900));
        assert_eq!(sessions(&notices.next(at(900))), ["int-3"]);
        notices.done(at(901));
        notices.forget("int-4");
        assert!(notices.next(at(901)).is_empty() && notices.next_deadline().is_none() && notices.is_idle());
    }

    #[test]
    fn a_flood_is_cut() {
        let mut notices = Notices::default();
        for n in 0..NOTICES_MAX + 5 {
            assert!(notices.sees(at(0), &format!("int-{n}"), is(Kind::Done, "1"), String::new));
        }
        assert_eq!(notices.next(at(10_000)).len(), NOTICES_MAX);
    }

    proptest::proptest! {
        /// Whatever happens, what was told is told again only after the session was well, or stood in another state.
        #[test]
        fn nothing_is_doubled(steps in proptest::collection::vec((0usize..3, 0usize..8, 0u64..900), 0..100)) {
            let mut notices = Notices::default();
            let mut last: BTreeMap<String, Option<(Kind, String)>> = BTreeMap::new();
            let mut now = at(0);
            for (session, what, passed) in steps {
                now += Duration::from_millis(passed);
                let name = format!("int-{session}");
                let kinds = [Kind::Waiting, Kind::Failing, Kind::Limited, Kind::Done];
                let since = (what / 4).to_string();
                let standing = if passed % 5 == 0 { Standing::Well } else if passed % 7 == 0 { Standing::Between } else { is(kinds[what % 4], &since) };
                let news = notices.sees(now, &name, standing, String::new);
                match standing {
                    Standing::In { kind, since } => {
                        let this = Some((kind, since.to_owned()));
                        let before = last.insert(name, this.clone()).flatten();
                        proptest::prop_assert!(!(news && before == this));
                    }
                    Standing::Well => drop(last.insert(name, None)),
                    Standing::Between => {}
                }
                let _ = notices.next(now);
                if passed % 3 == 0 {
                    notices.done(now);
                }
            }
            notices.done(now);
            for _ in 0..1000 {
                now += Duration::from_secs(1);
                let _ = notices.next(now);
                notices.done(now);
            }
            proptest::prop_assert!(notices.is_idle() && notices.next_deadline().is_none());
        }
    }
}
