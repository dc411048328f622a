//! What clients want of tasks, and when they are told that it is done.

use super::Watchdog;
use crate::contract::control::FromWatchdog;
pub(super) use crate::contract::task::Awaited;
use crate::contract::task::{Answer, End, Order, Place, TaskId};
use crate::core::schedule::Event;
use crate::error::{Error, Result};
use crate::store::tasks;

impl Watchdog {
    pub(super) fn order(&mut self, i: usize, ids: &[TaskId], order: &Order) {
        // One that was added a moment ago may not have been heard of.
        self.look_for_tasks();
        self.work_on_tasks();
        let answers =
            ids.iter().map(|id| Answer { task: *id, refused: self.try_order(*id, order).unwrap_or_else(|e| Some(e.to_string())) });
        let answers = answers.collect();
        self.clients[i].awaited = Some(Awaited { answers, gone: *order == Order::Cancel, quiet: false });
        self.changed = true;
    }

    /// Why it is not followed, if it is not.
    fn try_order(&mut self, id: TaskId, order: &Order) -> Result<Option<String>> {
        let Some(place) = tasks::state(&self.layout, id) else { return Ok(Some(format!("there is no task {id}"))) };
        let known = self.tasks.schedule().knows(id.0);
        if matches!(place, Place::Pending | Place::Running | Place::Held) && !known {
            return Ok(Some(format!("task {id} cannot be read; `agents task show {id}` says why")));
        }
        let refuse = |why: &str| Ok(Some(format!("task {id} {why}")));
        match (order, place) {
            (Order::Cancel, Place::Finished(end)) => return refuse(&format!("is {} already", words(end))),
            (Order::Cancel, _) => self.push_task_event(Event::Cancel { id: id.0 }),
            (Order::Retry | Order::Timeout { .. }, Place::Finished(_)) if tasks::place(&self.layout, id).is_none() => {
                return refuse("is in the archive; add it anew to do it once more");
            }
            (Order::Retry, Place::Finished(End::Done)) => return refuse("is done; add it anew to do it once more"),
            (Order::Retry, Place::Finished(_)) if self.tasks.is_returning(id) => {}
            (Order::Timeout { .. }, Place::Finished(_)) if self.tasks.is_returning(id) => {
                return refuse("is on its way back into the queue; order it again");
            }
            (Order::Retry, Place::Finished(end)) => self.bring_back(end, id)?,
            (Order::Retry, Place::Running) => return refuse("runs"),
            (Order::Retry, Place::Pending | Place::Held) => self.push_task_event(Event::Retry { id: id.0 }),
            (Order::Timeout { .. }, Place::Finished(End::Done)) => return refuse("is done already"),
            (Order::Timeout { ms, more }, place) => self.change_timeout(place, id, *ms, *more)?,
        }
        Ok(None)
    }

    /// Whether tasks may be started has changed, or what has failed; `end`: those that run are ended.
    pub(super) fn queue_changed(&mut self, i: usize, end: bool) {
        self.read_queue_settings();
        self.recount();
        self.look_for_tasks();
        if end {
            self.push_task_event(Event::EndAll);
        }
        self.clients[i].awaited = Some(Awaited { answers: vec![], gone: false, quiet: end });
        self.changed = true;
    }

    /// Answers those whose orders were carried out.
    pub(super) fn answer_orders(&mut self) {
        for i in 0..self.clients.len() {
            let Some(awaited) = &self.clients[i].awaited else { continue };
            let schedule = self.tasks.schedule();
            let followed = |a: &Answer| {
                a.refused.is_some()
                    || (!self.tasks.is_returning(a.task) && if awaited.gone { !schedule.knows(a.task.0) } else { schedule.rests(a.task.0) })
            };
            let quiet = !awaited.quiet || (schedule.busy().next().is_none() && !self.tasks.is_moving() && !self.has_task_sessions());
            if quiet && awaited.answers.iter().all(followed) {
                let answers = awaited.answers.clone();
                self.clients[i].awaited = None;
                self.say(i, &FromWatchdog::Tasks { answers });
            }
        }
    }

    /// What was ordered of this task could not be written down; whoever waits is told now.
    pub(super) fn tell_not_moved(&mut self, id: TaskId, why: &Error, again: bool) {
        let hint = why.hints.first().map_or("order it again", String::as_str);
        let (why, next) = (&why.message, if again { "it is tried again every few seconds" } else { hint });
        let awaited = self.clients.iter_mut().filter_map(|client| client.awaited.as_mut());
        for answer in awaited.flat_map(|awaited| &mut awaited.answers).filter(|a| a.task == id && a.refused.is_none()) {
            answer.refused = Some(format!("{why}; {next}"));
        }
        self.changed = true;
    }

    fn has_task_sessions(&self) -> bool {
        self.links.keys().any(|s| super::tasks::of(s).is_some())
    }
}

fn words(end: End) -> &'static str {
    match end {
        End::Done => "done",
        End::Failed => "failed",
        End::Cancelled => "cancelled",
        End::Timeout => "ended by its timeout",
    }
}
