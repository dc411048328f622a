//! Finding tasks: those that wait, those that a watchdog before this one has left, and what the project says about them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::super::Watchdog;
use super::super::evidence::Evidence;
use super::{Watched, core_step, monotonic_of};
use crate::contract::layout::{CONFIG_FILE, Layout};
use crate::contract::task::{End, Outcome, Place, Step, Task, TaskId};
use crate::core::schedule::{self as core, Before, Event, Found, Why};
use crate::error::Result;
use crate::os::clock::{boot_id, monotonic};
use crate::os::fs;
use crate::os::watch::Watch;
use crate::store::project::Project;
use crate::store::tasks::{self, launch, sentinel};

/// How a finished task stands to those that wait for it.
pub(super) fn before(layout: &Layout, id: TaskId) -> Before {
    match tasks::state(layout, id) {
        Some(Place::Finished(End::Done)) => Before::Well,
        Some(Place::Pending | Place::Running | Place::Held) => Before::Open,
        Some(Place::Finished(_)) | None => Before::Badly,
    }
}

impl Watchdog {
    /// Looks at all that lies there: what waits, what ran when the watchdog before this one was lost.
    pub(in crate::drive::watchdog) fn begin_tasks(&mut self) {
        if let Err(e) = tasks::prepare(&self.layout).and_then(|()| tasks::sweep(&self.layout)) {
            return self.log("tasks-not-read", "", &e.to_string());
        }
        self.tasks.begun = true;
        // Before the first look, so that nothing comes unseen in between.
        self.tasks.watch =
            Watch::new().ok().and_then(|mut w| w.add(&self.layout.task_place(Place::Pending), Watched::Pending).ok().map(|()| w));
        self.recount();
        self.count_finished();
        // For what it says of tasks; whether it can be read at all is told below.
        let _ = self.project();
        for place in [Place::Held, Place::Running] {
            for id in self.list(place) {
                self.find_again(place, id);
            }
        }
        self.look_for_tasks();
        // Only now is it known how many run.
        self.read_queue_settings();
    }

    pub(super) fn list(&self, place: Place) -> Vec<TaskId> {
        tasks::list(&self.layout, place).unwrap_or_else(|e| {
            self.log("tasks-not-read", "", &e.to_string());
            vec![]
        })
    }

    /// How many have failed.
    pub(in crate::drive::watchdog) fn recount(&mut self) {
        let count = |end| self.list(Place::Finished(end)).len();
        self.tasks.failed = count(End::Failed) + count(End::Timeout);
        self.changed = true;
    }

    /// What the operator and `agents.toml` say about the queue.
    pub(in crate::drive::watchdog) fn read_queue_settings(&mut self) {
        self.tasks.seen = self.config_stamp();
        let limits = match self.project() {
            Ok(project) => {
                let tasks = &project.config.tasks;
                Event::Limits { parallel: tasks.parallel, lanes: tasks.lanes.clone() }
            }
            Err(e) => {
                // Nothing is started by halves of what the project says.
                self.log("tasks-wait", "", &e.to_string());
                Event::Limits { parallel: 0, lanes: BTreeMap::new() }
            }
        };
        let open = Event::Open(!tasks::are_stopped(&self.layout));
        self.tasks.events.extend([limits, open]);
    }

    /// The project as `agents.toml` is now; read again only where that has changed.
    pub(super) fn project(&mut self) -> Result<Project> {
        use std::os::unix::ffi::OsStringExt;
        let origin = PathBuf::from(OsString::from_vec(fs::read(&self.layout.origin())?));
        let config = origin.join(CONFIG_FILE);
        let stamp = fs::stamp(&config).ok();
        self.tasks.config = Some(config);
        if let Some((known, project)) = &self.tasks.project
            && stamp.is_some_and(|s| s == *known)
        {
            return Ok(project.clone());
        }
        let project = Project { layout: self.layout.clone(), ..Project::find(&origin)? };
        self.tasks.project = stamp.map(|s| (s, project.clone()));
        Ok(project)
    }

    /// Where `agents.toml` has changed since it was last looked at.
    pub(super) fn follow_settings(&mut self) {
        if self.config_stamp() != self.tasks.seen {
            self.read_queue_settings();
        }
    }

    pub(super) fn config_stamp(&self) -> Option<fs::Stamp> {
        self.tasks.config.as_deref().and_then(|c| fs::stamp(c).ok())
    }

    /// Pending tasks that are not known yet.
    pub(in crate::drive::watchdog) fn look_for_tasks(&mut self) {
        if self.tasks.begun {
            let unknown = self.list(Place::Pending).into_iter().filter(|id| !self.tasks.schedule.knows(id.0));
            for id in unknown.collect::<Vec<_>>() {
                self.look_for_task(id);
            }
        }
    }

    pub(super) fn look_for_task(&mut self, id: TaskId) {
        if self.tasks.clerks().any(|c| c.is_at(id)) {
            return;
        }
        let known = self.tasks.schedule.knows(id.0);
        match tasks::read_at(&self.layout, Place::Pending, id) {
            Ok(task) if !known => {
                // A move that was decided and not finished.
                if task.to.is_some_and(|to| to != Place::Pending) {
                    return self.give(tasks::Move { from: Place::Pending, task });
                }
                let due = task.not_before.map(monotonic_of).filter(|at| *at > monotonic());
                let after = task.after.iter().map(|b| (b.0, before(&self.layout, *b))).collect();
                let spec = self.spec(&task);
                self.tasks.events.push_back(Event::Found { id: id.0, spec, found: Found::Pending { due, after } });
            }
            Ok(_) => {}
            Err(_) if self.tasks.schedule.is_pending(id.0) && tasks::place(&self.layout, id).is_none() => {
                self.tasks.events.push_back(Event::Gone { id: id.0 });
            }
            Err(e) if !known && tasks::place(&self.layout, id) == Some(Place::Pending) => {
                self.log("task-damaged", &id.to_string(), &e.to_string())
            }
            Err(_) => {}
        }
    }

    pub(super) fn spec(&self, task: &Task) -> core::Spec {
        let counted = &task.attempts[task.forgiven.min(task.attempts.len())..];
        let failed = counted.iter().filter(|a| matches!(a.outcome, Some(Outcome::Failed | Outcome::Timeout))).count() as u32;
        let interrupted = counted.iter().rev().take_while(|a| a.outcome == Some(Outcome::Interrupted)).count() as u32;
        let default = self.tasks.project.as_ref().map_or(0, |(_, p)| p.config.tasks.retries);
        core::Spec {
            priority: task.priority,
            lane: task.lane.clone(),
            failed,
            retries: task.retries.unwrap_or(default),
            idempotent: task.idempotent,
            verify: !task.verify.is_empty(),
            interrupted,
        }
    }

    pub(super) fn timeout(&self, task: &Task) -> Duration {
        launch::timeout(self.tasks.project.as_ref().map(|(_, p)| p), task)
    }

    /// One that a watchdog before this one had begun or held.
    pub(super) fn find_again(&mut self, place: Place, id: TaskId) {
        if self.tasks.schedule.knows(id.0) {
            return;
        }
        let task = match tasks::read_at(&self.layout, place, id) {
            Ok(task) => task,
            Err(e) => return self.log("task-damaged", &id.to_string(), &e.to_string()),
        };
        if task.to.is_some_and(|to| to != place) {
            return self.give(tasks::Move { from: place, task });
        }
        let spec = self.spec(&task);
        if place == Place::Held {
            return self.tasks.events.push_back(Event::Found { id: id.0, spec, found: Found::Held });
        }
        let session = id.to_string();
        let folder = self.layout.task(Place::Running, id);
        let evidence = Evidence::of(&folder, self.own_worktree(&task).as_deref());
        let attempt = task.attempts.last().filter(|a| a.outcome.is_none());
        let same_boot = attempt.is_none_or(|a| a.boot == boot_id());
        let alive = self.has_leftovers(&session) || self.links.get(&session).is_some_and(|l| l.stream.is_some());
        if !alive && same_boot && !evidence.has_begun() && evidence.marked.is_none() {
            // Claimed, and nothing of it was ever started.
            if let Err(e) = tasks::unclaim(&self.layout, id) {
                self.log("task-not-moved", &session, &e.to_string());
            }
            return;
        }
        let since = attempt.filter(|_| same_boot).map_or(monotonic(), |a| Duration::from_millis(a.started_ms));
        let timeout = self.timeout(&task);
        self.tasks.timeouts.insert(id, timeout);
        let ending = evidence.marked.map(|end| if end == End::Cancelled { Why::Cancelled } else { Why::Timeout });
        let step = evidence.step();
        self.tasks.events.push_back(Event::Found {
            id: id.0,
            spec,
            found: Found::Running { since, timeout: Some(timeout), step: core_step(step) },
        });
        if evidence.said.is_some() {
            self.tasks.events.push_back(Event::Said { id: id.0 });
        }
        self.look_at_folder(id, &task);
        match ending {
            Some(why) => {
                self.tasks.events.push_back(if why == Why::Cancelled { Event::Cancel { id: id.0 } } else { Event::Late { id: id.0 } })
            }
            None if alive => {
                self.log("task-found", &session, "it runs on");
                self.want(&session, true);
                self.name_task(&session, &task);
            }
            None if evidence.is_unstarted(step) => self.want_anew(&session, &task, step),
            None => self.task_ended(id),
        }
    }

    /// The attempt's programs are to be started from where the evidence says that they are.
    pub(super) fn want_anew(&mut self, session: &str, task: &Task, step: Step) {
        if step == Step::Verify {
            return self.verify(task.task);
        }
        self.want(session, true);
        self.name_task(session, task);
    }

    pub(super) fn own_worktree(&self, task: &Task) -> Option<PathBuf> {
        task.worktree.then(|| self.layout.worktree(&task.task.to_string()))
    }

    pub(super) fn look_at_folder(&mut self, id: TaskId, task: &Task) {
        let worktree = self.own_worktree(task).map(|w| w.join(sentinel::IN_WORKTREE));
        let Some(watch) = &mut self.tasks.watch else { return };
        let added = watch.add(&self.layout.task(Place::Running, id), Watched::Of(id));
        let added = added.and_then(|()| worktree.map_or(Ok(()), |w| watch.add(&w, Watched::Of(id))));
        if let Err(e) = added {
            self.log("task-not-watched", &id.to_string(), &format!("that it is done is seen only when its agent ends: {e}"));
        }
    }

    /// The last look before the watchdog goes: whoever adds a task from now on finds none and starts one.
    pub(in crate::drive::watchdog) fn has_new_tasks(&self) -> bool {
        let open = !tasks::are_stopped(&self.layout);
        self.tasks.begun && open && self.list(Place::Pending).iter().any(|id| !self.tasks.schedule.knows(id.0))
    }
}
