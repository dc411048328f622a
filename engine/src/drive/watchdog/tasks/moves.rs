//! Moving tasks: what the record says of an attempt that is over, and where the task goes then.

use std::time::Duration;

use jiff::Timestamp;

use super::super::Watchdog;
use super::super::clerk::{self, Clerk, Moved};
use super::super::evidence::{self, Evidence};
use super::find::before;
use super::{Watched, step_of};
use crate::contract::task::{Attempt, End, Outcome, Place, Task, TaskId};
use crate::core::schedule::{self as core, Event, Move, To};
use crate::error::Result;
use crate::os::clock::{monotonic, now};
use crate::store::tasks;

fn place(to: To) -> Place {
    match to {
        To::Done => Place::Finished(End::Done),
        To::Failed => Place::Finished(End::Failed),
        To::Cancelled => Place::Finished(End::Cancelled),
        To::Timeout => Place::Finished(End::Timeout),
        To::Held => Place::Held,
        To::Pending(_) => Place::Pending,
    }
}

fn wall_of(at: Duration) -> Option<Timestamp> {
    // Two clocks were read one after the other: what is below a millisecond says nothing, and would show a second too few.
    now().checked_add(at.saturating_sub(monotonic())).ok()?.round(jiff::Unit::Millisecond).ok()
}

impl Watchdog {
    /// Makes a move durable: composes the record and gives it to the clerk.
    pub(super) fn carry(&mut self, order: Move) {
        let id = TaskId(order.id);
        let from = if order.outcome.is_some() { Place::Running } else { tasks::place(&self.layout, id).unwrap_or(Place::Pending) };
        if order.outcome.is_some() {
            if let Some(watch) = &mut self.tasks.watch {
                watch.remove(&Watched::Of(id));
            }
            // Its processes are gone; what is left is its host.
            if self.watch.is_wanted(&id.to_string()) {
                self.want(&id.to_string(), false);
            }
        }
        match tasks::read_at(&self.layout, from, id) {
            Ok(task) => {
                let task = self.composed(task, &order);
                self.give(tasks::Move { from, task });
            }
            Err(e) => {
                // It lies where it lies; the next watchdog looks again.
                self.log("task-damaged", &id.to_string(), &e.to_string());
                self.tasks.events.push_back(Event::Gone { id: id.0 });
            }
        }
    }

    pub(super) fn composed(&mut self, mut task: Task, order: &Move) -> Task {
        let id = task.task;
        let folder = self.layout.task(Place::Running, id);
        if let Some(outcome) = order.outcome {
            if task.attempts.last().is_none_or(|a| a.outcome.is_some()) {
                task.attempts.push(Attempt { started_at: now(), ..Attempt::default() });
            }
            let evidence = Evidence::of(&folder, self.own_worktree(&task).as_deref());
            let words = evidence::Words {
                id,
                timeout: self.tasks.timeouts.remove(&id).map(tasks::launch::duration_words),
                impossible: self.tasks.impossible.remove(&id),
                stopped: tasks::are_stopped(&self.layout),
                verify: &task.verify.join(" "),
            };
            if let Some(attempt) = task.attempts.last_mut() {
                evidence.write(attempt, outcome_of(outcome), step_of(order.step), &words);
            }
        }
        let last = task.attempts.last().map(|a| a.reason.clone()).unwrap_or_default();
        task.to = Some(place(order.to));
        (task.not_before, task.reason) = match order.to {
            To::Pending(Some(at)) => (wall_of(at), last),
            To::Pending(None) if order.outcome.is_some() => (None, last),
            To::Pending(None) => (None, String::new()),
            To::Cancelled if order.outcome.is_none() && task.attempts.is_empty() => (None, "cancelled before it ran".into()),
            To::Cancelled if order.outcome.is_none() => (None, "cancelled while it waited to run again".into()),
            To::Held => (None, format!("{last}; `agents task retry {id}` runs it once more, `agents task cancel {id}` lets it be")),
            To::Done => (None, String::new()),
            To::Failed | To::Cancelled | To::Timeout => (None, last),
        };
        if order.forgive {
            task.forgiven = task.attempts.len();
        }
        task
    }

    /// Gives a move to its clerk, who is started when he is first needed.
    pub(in crate::drive::watchdog) fn give(&mut self, order: tasks::Move) {
        let (clerk, settle): (_, clerk::Settle) = match order.from {
            Place::Finished(_) => (&mut self.tasks.returner, tasks::archive::bring_back),
            Place::Pending | Place::Running | Place::Held => (&mut self.tasks.clerk, tasks::settle),
        };
        if clerk.is_none() {
            *clerk = Clerk::start(&self.layout, settle).ok();
        }
        match clerk {
            Some(clerk) => clerk.give(order),
            None => {
                let result = settle(&self.layout, std::slice::from_ref(&order)).remove(0);
                self.moved(Moved { order, result });
            }
        }
    }

    pub(super) fn moved(&mut self, Moved { order, result }: Moved) {
        let id = order.task.task;
        let to = order.task.to;
        let returned = self.tasks.returning.remove(&id);
        let ours = self.tasks.schedule.knows(id.0) && !returned;
        if let Err(e) = &result {
            self.log("task-not-moved", &id.to_string(), &e.to_string());
            self.tell_not_moved(id, e, ours);
        } else {
            let bad = |place: Option<Place>| usize::from(matches!(place, Some(Place::Finished(End::Failed | End::Timeout))));
            self.tasks.failed = (self.tasks.failed + bad(to)).saturating_sub(bad(Some(order.from)));
            let ended_at = tasks::archive::ended_at(&order.task);
            self.tasks.tidy.moved(order.from, to, ended_at);
            let word = to.map_or("pending", Place::word);
            self.log(&format!("task-{word}"), &id.to_string(), &order.task.reason);
        }
        if ours {
            self.tasks.events.push_back(Event::Moved { id: id.0, done: result.is_ok() });
            self.forget_task_session(id);
        } else if result.is_ok() {
            // Decided by a watchdog before this one, or back from the finished ones.
            match to {
                Some(Place::Pending) => self.look_for_task(id),
                Some(place @ Place::Held) => self.find_again(place, id),
                Some(_) | None => {
                    let before = before(&self.layout, id);
                    self.tasks.events.push_back(Event::Elsewhere { id: id.0, before });
                }
            }
        }
        self.changed = true;
    }

    /// A finished one is to be tried again.
    pub(in crate::drive::watchdog) fn bring_back(&mut self, end: End, id: TaskId) -> Result<()> {
        let mut task = tasks::read_at(&self.layout, Place::Finished(end), id)?;
        (task.to, task.forgiven, task.not_before) = (Some(Place::Pending), task.attempts.len(), None);
        task.reason.clear();
        self.tasks.returning.insert(id);
        self.give(tasks::Move { from: Place::Finished(end), task });
        Ok(())
    }

    /// How long a task may take, from now on.
    pub(in crate::drive::watchdog) fn change_timeout(&mut self, place: Place, id: TaskId, ms: u64, more: bool) -> Result<()> {
        let mut task = tasks::read_at(&self.layout, place, id)?;
        let now_ms = self.timeout(&task).as_millis() as u64;
        task.timeout_ms = Some(if more { now_ms.saturating_add(ms) } else { ms });
        tasks::write(&self.layout, place, &task)?;
        let timeout = self.timeout(&task);
        if self.tasks.schedule.knows(id.0) {
            self.tasks.timeouts.insert(id, timeout);
        }
        self.tasks.events.push_back(Event::Timeout { id: id.0, timeout: Some(timeout) });
        Ok(())
    }
}

fn outcome_of(outcome: core::Outcome) -> Outcome {
    match outcome {
        core::Outcome::Done => Outcome::Done,
        core::Outcome::Failed => Outcome::Failed,
        core::Outcome::Cancelled => Outcome::Cancelled,
        core::Outcome::Timeout => Outcome::Timeout,
        core::Outcome::Interrupted => Outcome::Interrupted,
        core::Outcome::Limited => Outcome::Limited,
    }
}
