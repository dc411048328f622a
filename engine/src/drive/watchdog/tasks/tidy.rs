//! Putting away what has ended, by what `agents.toml` says: by a thread that lives as long as that takes, so that the watchdog never waits for it.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;
use std::time::Duration;

use jiff::Timestamp;

use super::super::Watchdog;
use super::monotonic_of;
use crate::contract::layout::Layout;
use crate::contract::task::{Place, TaskId};
use crate::core::keep::{Keep, Lying};
use crate::error::Result;
use crate::os::clock::now;
use crate::os::wake::Wake;
use crate::store::tasks::archive::{self, Tidied};

/// What the watchdog knows of tasks that have ended.
#[derive(Default)]
pub(super) struct Tidy {
    lying: Lying,
    work: Option<Work>,
    /// A task has ended while it was at it, and may not have been seen.
    missed: bool,
    /// It did not work the last time: not again before another task has ended.
    failed: bool,
}

/// The thread that is at it.
struct Work {
    done: mpsc::Receiver<Result<Tidied>>,
    wake: Wake,
}

impl Work {
    fn start(layout: &Layout, keep: Keep, needed: BTreeSet<TaskId>) -> std::io::Result<Work> {
        let (outbox, done) = mpsc::channel();
        let wake = Wake::new()?;
        let (layout, bell) = (layout.clone(), wake.bell()?);
        std::thread::Builder::new().name("tidy".into()).spawn(move || {
            // Nobody listens any more: then the process is about to end.
            let _ = outbox.send(archive::tidy(&layout, &keep, &needed, now()));
            bell.ring();
        })?;
        Ok(Work { done, wake })
    }
}

impl Tidy {
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.work.as_ref().map(|work| work.wake.as_fd())
    }

    pub fn is_at_work(&self) -> bool {
        self.work.is_some()
    }

    /// A task has ended, at this moment, or has come back from those that had.
    pub fn moved(&mut self, from: Place, to: Option<Place>, ended_at: Timestamp) {
        let finished = |place| matches!(place, Some(Place::Finished(_)));
        match (finished(Some(from)), finished(to)) {
            (false, true) => {
                // Where nobody knows when the first has ended, that is found out first.
                if self.lying.count == 0 {
                    self.lying.oldest = Some(ended_at);
                }
                self.lying.count += 1;
                (self.failed, self.missed) = (false, self.is_at_work());
            }
            (true, false) => self.lying.count = self.lying.count.saturating_sub(1),
            (true, true) | (false, false) => {}
        }
    }

    fn due(&self, keep: Keep, now: Timestamp) -> Option<Timestamp> {
        if self.failed || self.is_at_work() { None } else { keep.due(&self.lying, now) }
    }
}

impl Watchdog {
    /// By names alone, and what was noted.
    pub(super) fn count_finished(&mut self) {
        match archive::lying(&self.layout) {
            Ok(lying) => self.tasks.tidy.lying = lying,
            Err(e) => self.log("tasks-not-read", "", &e.to_string()),
        }
    }

    /// As `agents.toml` says; nothing goes while that cannot be read.
    fn keep(&self) -> Option<Keep> {
        let rules = self.tasks.project.as_ref().map(|(_, project)| &project.config.tasks);
        rules.map(|rules| Keep { age: rules.keep, count: rules.keep_count })
    }

    pub(in crate::drive::watchdog) fn tidy_deadline(&self) -> Option<Duration> {
        self.keep().and_then(|keep| self.tasks.tidy.due(keep, now())).map(monotonic_of)
    }

    /// Where it is time for that, has put away what is no longer kept.
    pub(in crate::drive::watchdog) fn tidy(&mut self) {
        if let Some(done) = self.tasks.tidy.work.as_ref().and_then(|work| work.done.try_recv().ok()) {
            self.tasks.tidy.work = None;
            self.tidied(done);
        }
        let now = now();
        let Some(keep) = self.keep() else { return };
        if self.tasks.tidy.due(keep, now).is_none_or(|at| at > now) {
            return;
        }
        let needed = self.tasks.schedule.awaited().map(TaskId).collect();
        match Work::start(&self.layout, keep, needed) {
            Ok(work) => self.tasks.tidy.work = Some(work),
            Err(e) => self.not_tidied(&e.to_string()),
        }
    }

    fn tidied(&mut self, done: Result<Tidied>) {
        match done {
            Ok(Tidied { count, lying, errors, damaged }) => {
                self.tasks.tidy.lying = lying;
                if std::mem::take(&mut self.tasks.tidy.missed) {
                    self.count_finished();
                }
                damaged.iter().for_each(|e| self.log("task-damaged", "", &e.to_string()));
                for e in errors {
                    self.not_tidied(&e.to_string());
                }
                if count > 0 {
                    self.log("tasks-archived", "", &format!("{count} ended longer ago than is kept, or are more than that"));
                    self.recount();
                }
            }
            Err(e) => self.not_tidied(&e.to_string()),
        }
    }

    fn not_tidied(&mut self, why: &str) {
        self.tasks.tidy.failed = true;
        self.log("tasks-not-archived", "", why);
    }
}
