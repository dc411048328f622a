//! A clerk: a thread that makes moves of tasks durable, many at a time, so that the watchdog never waits for a disk or a lock.
//!
//! Whenever it is killed, a move is done or can be repeated: the record says what was decided.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;

use crate::contract::layout::Layout;
use crate::contract::task::TaskId;
use crate::core::limits;
use crate::error::Result;
use crate::os::wake::Wake;
use crate::store::tasks::Move;

/// A move that was tried.
pub(super) struct Moved {
    pub order: Move,
    pub result: Result<()>,
}

/// How moves are made.
pub(super) type Settle = fn(&Layout, &[Move]) -> Vec<Result<()>>;

pub(super) struct Clerk {
    jobs: mpsc::Sender<Move>,
    done: mpsc::Receiver<Moved>,
    wake: Wake,
    /// What it is at.
    open: BTreeSet<TaskId>,
}

impl Clerk {
    pub fn start(layout: &Layout, settle: Settle) -> std::io::Result<Clerk> {
        let (jobs, inbox) = mpsc::channel::<Move>();
        let (outbox, done) = mpsc::channel();
        let wake = Wake::new()?;
        let (layout, bell) = (layout.clone(), wake.bell()?);
        std::thread::Builder::new().name("clerk".into()).spawn(move || {
            while let Ok(first) = inbox.recv() {
                let batch: Vec<Move> = std::iter::once(first).chain(inbox.try_iter().take(limits::TASK_MOVES_AT_ONCE - 1)).collect();
                let results = settle(&layout, &batch);
                for (order, result) in batch.into_iter().zip(results) {
                    // Nobody listens any more: then the process is about to end.
                    let _ = outbox.send(Moved { order, result });
                }
                bell.ring();
            }
        })?;
        Ok(Clerk { jobs, done, wake, open: BTreeSet::new() })
    }

    pub fn give(&mut self, order: Move) {
        self.open.insert(order.task.task);
        // It ends only with the process.
        let _ = self.jobs.send(order);
    }

    pub fn is_at(&self, task: TaskId) -> bool {
        self.open.contains(&task)
    }

    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// What has been done since.
    pub fn take(&mut self) -> Vec<Moved> {
        self.wake.hush();
        let all: Vec<Moved> = self.done.try_iter().collect();
        for moved in &all {
            self.open.remove(&moved.order.task.task);
        }
        all
    }
}
