//! The watchdog and the task queue: performs what `core::schedule` decides, and feeds back what came of it.
//!
//! Only the watchdog moves tasks. What takes long is done elsewhere: moves are made durable by the clerk, an agent's worktree is made in its own terminal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use jiff::Timestamp;

use super::Watchdog;
use super::clerk::{Clerk, Moved};
use super::evidence::{self, Evidence};
use crate::contract::layout::{CONFIG_FILE, Layout};
use crate::contract::status::{AgentStatus, State, TaskCounts};
use crate::contract::task::{Attempt, Begun, End, Outcome, Place, Step, Task, TaskId};
use crate::core::schedule::{self as core, Action, Before, Event, Found, Move, Schedule, To, Why};
use crate::core::watch::Host;
use crate::error::Result;
use crate::os::clock::{boot_id, monotonic, now};
use crate::os::fs;
use crate::os::watch::{Change, Watch};
use crate::store::project::Project;
use crate::store::tasks::{self, launch, sentinel};

/// Whose folder has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watched {
    Pending,
    Of(TaskId),
}

/// What the watchdog knows of tasks.
pub(super) struct Tasks {
    schedule: Schedule,
    events: VecDeque<Event>,
    clerk: Option<Clerk>,
    /// None: the kernel has no watch left to give; then the queue is looked at whenever somebody connects.
    watch: Option<Watch<Watched>>,
    /// As it was when `agents.toml` looked like this.
    project: Option<(fs::Stamp, Project)>,
    /// Where that is, and how it looked when the settings were last read.
    config: Option<std::path::PathBuf>,
    seen: Option<fs::Stamp>,
    /// Finished ones that a person should look at; counted, as they are not kept here.
    failed: usize,
    /// On their way back from the finished ones.
    returning: BTreeSet<TaskId>,
    /// Why an attempt could not even begin.
    impossible: BTreeMap<TaskId, String>,
    /// How long an attempt may take, for words.
    timeouts: BTreeMap<TaskId, Duration>,
    /// The queue was looked through once.
    begun: bool,
}

impl Tasks {
    pub fn new() -> Tasks {
        Tasks {
            schedule: Schedule::default(),
            events: VecDeque::new(),
            clerk: None,
            watch: None,
            project: None,
            config: None,
            seen: None,
            failed: 0,
            returning: BTreeSet::new(),
            impossible: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            begun: false,
        }
    }

    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.watch.iter().map(AsFd::as_fd).chain(self.clerk.iter().map(Clerk::fd)).collect()
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.schedule.next_deadline()
    }

    /// Whether the watchdog has to stay for it.
    pub fn is_alive(&self) -> bool {
        self.schedule.is_alive() || !self.events.is_empty() || self.clerk.as_ref().is_some_and(|c| !c.is_idle())
    }

    pub fn counts(&self) -> TaskCounts {
        let (pending, running, held) = self.schedule.counts();
        TaskCounts { pending, running, held, failed: self.failed }
    }

    pub(super) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    pub(super) fn is_moving(&self) -> bool {
        self.schedule.is_moving()
    }

    pub(super) fn is_returning(&self, id: TaskId) -> bool {
        self.returning.contains(&id)
    }
}

/// The task that a session belongs to, if it is one's.
pub(super) fn of(session: &str) -> Option<TaskId> {
    session.parse().ok()
}

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

/// How a finished task stands to those that wait for it.
fn before(layout: &Layout, id: TaskId) -> Before {
    match tasks::place(layout, id) {
        Some(Place::Finished(End::Done)) => Before::Well,
        Some(Place::Pending | Place::Running | Place::Held) => Before::Open,
        Some(Place::Finished(_)) | None => Before::Badly,
    }
}

/// A time by the wall clock on the monotonic one.
fn monotonic_of(at: Timestamp) -> Duration {
    monotonic() + at.duration_since(now()).try_into().unwrap_or_default()
}

fn wall_of(at: Duration) -> Option<Timestamp> {
    now().checked_add(at.saturating_sub(monotonic())).ok()
}

impl Watchdog {
    /// Looks at all that lies there: what waits, what ran when the watchdog before this one was lost.
    pub(super) fn begin_tasks(&mut self) {
        if let Err(e) = tasks::prepare(&self.layout).and_then(|()| tasks::sweep(&self.layout)) {
            return self.log("tasks-not-read", "", &e.to_string());
        }
        self.tasks.begun = true;
        // Before the first look, so that nothing comes unseen in between.
        self.tasks.watch =
            Watch::new().ok().and_then(|mut w| w.add(&self.layout.task_place(Place::Pending), Watched::Pending).ok().map(|()| w));
        self.recount();
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

    fn list(&self, place: Place) -> Vec<TaskId> {
        tasks::list(&self.layout, place).unwrap_or_else(|e| {
            self.log("tasks-not-read", "", &e.to_string());
            vec![]
        })
    }

    /// How many have failed.
    pub(super) fn recount(&mut self) {
        let count = |end| self.list(Place::Finished(end)).len();
        self.tasks.failed = count(End::Failed) + count(End::Timeout);
        self.changed = true;
    }

    /// What the operator and `agents.toml` say about the queue.
    pub(super) fn read_queue_settings(&mut self) {
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
    fn project(&mut self) -> Result<Project> {
        use std::os::unix::ffi::OsStringExt;
        let origin = std::path::PathBuf::from(std::ffi::OsString::from_vec(fs::read(&self.layout.origin())?));
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
    fn follow_settings(&mut self) {
        if self.config_stamp() != self.tasks.seen {
            self.read_queue_settings();
        }
    }

    fn config_stamp(&self) -> Option<fs::Stamp> {
        self.tasks.config.as_deref().and_then(|c| fs::stamp(c).ok())
    }

    /// Pending tasks that are not known yet.
    pub(super) fn look_for_tasks(&mut self) {
        if self.tasks.begun {
            for id in self.list(Place::Pending) {
                self.look_for_task(id);
            }
        }
    }

    fn look_for_task(&mut self, id: TaskId) {
        if self.tasks.clerk.as_ref().is_some_and(|c| c.is_at(id)) {
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

    fn spec(&self, task: &Task) -> core::Spec {
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

    fn timeout(&self, task: &Task) -> Duration {
        launch::timeout(self.tasks.project.as_ref().map(|(_, p)| p), task)
    }

    /// One that a watchdog before this one had begun or held.
    fn find_again(&mut self, place: Place, id: TaskId) {
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
    fn want_anew(&mut self, session: &str, task: &Task, step: Step) {
        if step == Step::Verify {
            return self.verify(task.task);
        }
        self.want(session, true);
        self.name_task(session, task);
    }

    fn own_worktree(&self, task: &Task) -> Option<std::path::PathBuf> {
        task.worktree.then(|| self.layout.worktree(&task.task.to_string()))
    }

    fn look_at_folder(&mut self, id: TaskId, task: &Task) {
        let worktree = self.own_worktree(task).map(|w| w.join(sentinel::IN_WORKTREE));
        let Some(watch) = &mut self.tasks.watch else { return };
        let added = watch.add(&self.layout.task(Place::Running, id), Watched::Of(id));
        let added = added.and_then(|()| worktree.map_or(Ok(()), |w| watch.add(&w, Watched::Of(id))));
        if let Err(e) = added {
            self.log("task-not-watched", &id.to_string(), &format!("that it is done is seen only when its agent ends: {e}"));
        }
    }

    /// What has happened to files.
    pub(super) fn hear_of_tasks(&mut self) {
        let changes = self.tasks.watch.as_mut().map(|w| w.take().unwrap_or_else(|_| vec![Change::Anything])).unwrap_or_default();
        let (mut pending, mut running, mut all) = (BTreeSet::new(), BTreeSet::new(), false);
        for change in changes {
            match change {
                Change::In(Watched::Pending, name) => pending.extend(tasks::id_of(&name)),
                Change::In(Watched::Of(id), _) => drop(running.insert(id)),
                Change::Anything => all = true,
            }
        }
        if all {
            running.extend(self.tasks.schedule.busy().map(TaskId));
            self.look_for_tasks();
        }
        for id in pending {
            self.look_for_task(id);
        }
        for id in running {
            self.listen_to(id);
        }
        if let Some(clerk) = &mut self.tasks.clerk {
            let moved = clerk.take();
            moved.into_iter().for_each(|m| self.moved(m));
        }
    }

    /// Whether its agent has said how it went.
    fn listen_to(&mut self, id: TaskId) {
        if !self.tasks.schedule.is_busy(id.0) {
            return;
        }
        let Ok(task) = tasks::read_at(&self.layout, Place::Running, id) else { return };
        if task.worktree {
            // Its folder for words may have come only now.
            self.look_at_folder(id, &task);
        }
        if sentinel::said(&self.layout.task(Place::Running, id), self.own_worktree(&task).as_deref()).is_some() {
            self.tasks.events.push_back(Event::Said { id: id.0 });
        }
    }

    /// Somebody has connected.
    pub(super) fn notice_tasks(&mut self) {
        if self.tasks.watch.is_none() {
            self.look_for_tasks();
        }
    }

    /// Works off what has happened. True: something has.
    pub(super) fn work_on_tasks(&mut self) -> bool {
        let due = self.tasks.schedule.next_deadline().is_some_and(|t| t <= monotonic());
        if due {
            self.tasks.events.push_back(Event::Wake);
        }
        let mut any = false;
        while let Some(event) = self.tasks.events.pop_front() {
            if matches!(event, Event::Found { .. } | Event::Moved { .. } | Event::Wake) {
                self.follow_settings();
            }
            any = true;
            for action in self.tasks.schedule.step(monotonic(), event, super::jitter()) {
                match action {
                    Action::Start(id) => self.start_task(TaskId(id)),
                    Action::Verify(id) => self.verify(TaskId(id)),
                    Action::End(id, why) => self.end_task(TaskId(id), why),
                    Action::Move(order) => self.carry(order),
                }
            }
        }
        self.changed |= any;
        any
    }

    fn start_task(&mut self, id: TaskId) {
        let event = match self.try_start(id) {
            Ok(Some(event)) => event,
            Ok(None) => Event::Gone { id: id.0 },
            Err(e) => {
                self.log("task-not-started", &id.to_string(), &e.to_string());
                if let Err(e) = tasks::unclaim(&self.layout, id) {
                    self.log("task-not-moved", &id.to_string(), &e.to_string());
                }
                Event::Trouble { id: id.0 }
            }
        };
        self.tasks.events.push_back(event);
    }

    /// None: it is not there any more. An error is none of the task's.
    fn try_start(&mut self, id: TaskId) -> Result<Option<Event>> {
        let project = self.project()?;
        if !tasks::claim(&self.layout, id)? {
            return Ok(None);
        }
        let session = id.to_string();
        let mut task = tasks::read_at(&self.layout, Place::Running, id)?;
        let attempt = Attempt { started_at: now(), boot: boot_id(), started_ms: monotonic().as_millis() as u64, ..Attempt::default() };
        let begun = Begun { n: task.attempts.len(), attempt };
        tasks::write_begun(&self.layout, id, &begun)?;
        task.attempts.push(begun.attempt);
        let launch = match launch::launch(&project, &task, Step::Work) {
            Ok(launch) => launch,
            Err(e) => {
                self.tasks.impossible.insert(id, e.to_string());
                return Ok(Some(Event::Impossible { id: id.0 }));
            }
        };
        tasks::write_launch(&self.layout, id, &launch)?;
        self.look_at_folder(id, &task);
        self.want(&session, true);
        self.name_task(&session, &task);
        let timeout = self.timeout(&task);
        self.tasks.timeouts.insert(id, timeout);
        Ok(Some(Event::Started { id: id.0, timeout: Some(timeout) }))
    }

    /// Until its host has spoken.
    fn name_task(&mut self, session: &str, task: &Task) {
        if let Some(link) = self.links.get_mut(session).filter(|l| l.status.name.is_empty()) {
            link.status = AgentStatus { name: task.agent.clone(), state: State::Starting, since: Some(now()), ..link.status.clone() };
        }
    }

    /// The work is done as far as its agent says: now the command that looks at it, by a new host in the same session.
    fn verify(&mut self, id: TaskId) {
        let session = id.to_string();
        let written = self.project().and_then(|project| {
            let task = tasks::read_at(&self.layout, Place::Running, id)?;
            let launch = launch::launch(&project, &task, Step::Verify)?;
            tasks::write_launch(&self.layout, id, &launch)
        });
        if let Err(e) = written {
            self.tasks.impossible.insert(id, format!("it could not be verified: {e}"));
            return self.tasks.events.push_back(Event::Ended {
                id: id.0,
                exit: core::Exit::Badly,
                said: None,
                remedy: core::Remedy::Again,
            });
        }
        self.want(&session, false);
        self.want(&session, true);
    }

    fn end_task(&mut self, id: TaskId, why: Why) {
        let end = match why {
            Why::Cancelled => Some(End::Cancelled),
            Why::Timeout => Some(End::Timeout),
            Why::Said | Why::Stopped => None,
        };
        let folder = self.layout.task(Place::Running, id);
        if let Some(Err(e)) = end.map(|end| sentinel::mark(&folder, end)) {
            self.log("not-written", &id.to_string(), &e.to_string());
        }
        // Answered by `task_is_down`, now or when nothing of it is left.
        self.want(&id.to_string(), false);
    }

    /// A host speaks of its task.
    pub(super) fn task_report(&mut self, id: TaskId, status: &AgentStatus) {
        if matches!(status.state, State::Exited | State::Failing) {
            let evidence = Evidence::of(&self.layout.task(Place::Running, id), None);
            // A host that is about to end may speak of the step before.
            if self.tasks.schedule.step_of(id.0).is_some_and(|step| evidence.ended(step_of(step)).is_some()) {
                self.task_ended(id);
            }
        }
    }

    /// A session has changed in a way by which a task's may be down.
    pub(super) fn task_may_be_down(&mut self, session: &str) {
        if let Some(id) = of(session)
            && *self.watch.host(session) == Host::Absent
        {
            self.task_is_down(id);
        }
    }

    /// A host that no watchdog has connected to: its task runs on, or it is ended.
    pub(super) fn task_here(&mut self, session: &str) {
        let runs = of(session).is_some_and(|id| self.tasks.schedule.is_busy(id.0) && self.tasks.schedule.ending(id.0).is_none());
        self.want(session, runs);
    }

    /// Nothing of it is left.
    fn task_is_down(&mut self, id: TaskId) {
        let session = id.to_string();
        if self.watch.is_wanted(&session) {
            return;
        }
        if self.tasks.schedule.is_busy(id.0) && self.tasks.schedule.step_of(id.0).is_some() {
            return self.task_ended(id);
        }
        self.forget_task_session(id);
    }

    fn forget_task_session(&mut self, id: TaskId) {
        let session = id.to_string();
        if !self.watch.is_wanted(&session) && *self.watch.host(&session) == Host::Absent {
            self.links.remove(&session);
            self.watch.forget(&session);
            self.changed = true;
        }
    }

    /// Feeds in how the step that runs has ended.
    fn task_ended(&mut self, id: TaskId) {
        let worktree = self.layout.worktree(&id.to_string());
        let evidence = Evidence::of(&self.layout.task(Place::Running, id), Some(&worktree));
        let step = self.tasks.schedule.step_of(id.0).map_or(evidence.step(), step_of);
        let (exit, remedy) = evidence.exit(step);
        let remedy = match remedy {
            evidence::Remedy::Again => core::Remedy::Again,
            evidence::Remedy::NotBefore(at) => core::Remedy::NotBefore(monotonic_of(at)),
            evidence::Remedy::Never => core::Remedy::Never,
        };
        self.tasks.events.push_back(Event::Ended { id: id.0, exit, said: evidence.is_done(), remedy });
    }

    /// Makes a move durable: composes the record and gives it to the clerk.
    fn carry(&mut self, order: Move) {
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

    fn composed(&mut self, mut task: Task, order: &Move) -> Task {
        let id = task.task;
        let folder = self.layout.task(Place::Running, id);
        if let Some(outcome) = order.outcome {
            if task.attempts.last().is_none_or(|a| a.outcome.is_some()) {
                task.attempts.push(Attempt { started_at: now(), ..Attempt::default() });
            }
            let evidence = Evidence::of(&folder, self.own_worktree(&task).as_deref());
            let words = evidence::Words {
                id,
                timeout: self.tasks.timeouts.remove(&id).map(launch::duration_words),
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
            To::Cancelled if order.outcome.is_none() => (None, "cancelled before it ran".into()),
            To::Held => (None, format!("{last}; `agents task retry {id}` runs it once more, `agents task cancel {id}` lets it be")),
            To::Done => (None, String::new()),
            To::Failed | To::Cancelled | To::Timeout => (None, last),
        };
        if order.forgive {
            task.forgiven = task.attempts.len();
        }
        task
    }

    /// Gives a move to the clerk, who is started when he is first needed.
    pub(super) fn give(&mut self, order: tasks::Move) {
        if self.tasks.clerk.is_none() {
            self.tasks.clerk = Clerk::start(&self.layout).ok();
        }
        match &mut self.tasks.clerk {
            Some(clerk) => clerk.give(order),
            None => {
                let result = tasks::settle(&self.layout, std::slice::from_ref(&order)).remove(0);
                self.moved(Moved { order, result });
            }
        }
    }

    fn moved(&mut self, Moved { order, result }: Moved) {
        let id = order.task.task;
        let to = order.task.to;
        if let Err(e) = &result {
            self.log("task-not-moved", &id.to_string(), &e.to_string());
        } else {
            let bad = |place: Option<Place>| usize::from(matches!(place, Some(Place::Finished(End::Failed | End::Timeout))));
            self.tasks.failed = (self.tasks.failed + bad(to)).saturating_sub(bad(Some(order.from)));
            let word = to.map_or("pending", Place::word);
            self.log(&format!("task-{word}"), &id.to_string(), &order.task.reason);
        }
        let returned = self.tasks.returning.remove(&id);
        let known = self.tasks.schedule.knows(id.0);
        if known && !returned {
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
    pub(super) fn bring_back(&mut self, end: End, id: TaskId) -> Result<()> {
        let mut task = tasks::read_at(&self.layout, Place::Finished(end), id)?;
        (task.to, task.forgiven, task.not_before) = (Some(Place::Pending), task.attempts.len(), None);
        task.reason.clear();
        self.tasks.returning.insert(id);
        self.give(tasks::Move { from: Place::Finished(end), task });
        Ok(())
    }

    /// How long a task may take, from now on.
    pub(super) fn change_timeout(&mut self, place: Place, id: TaskId, ms: u64, more: bool) -> Result<()> {
        let mut task = tasks::read_at(&self.layout, place, id)?;
        let now_ms = self.timeout(&task).as_millis() as u64;
        task.timeout_ms = Some(if more { now_ms.saturating_add(ms) } else { ms });
        tasks::write(&self.layout, place, &task)?;
        let timeout = self.timeout(&task);
        self.tasks.timeouts.insert(id, timeout);
        self.tasks.events.push_back(Event::Timeout { id: id.0, timeout: Some(timeout) });
        Ok(())
    }

    pub(super) fn push_task_event(&mut self, event: Event) {
        self.tasks.events.push_back(event);
    }

    /// The last look before the watchdog goes: whoever adds a task from now on finds none and starts one.
    pub(super) fn has_new_tasks(&self) -> bool {
        let open = !tasks::are_stopped(&self.layout);
        self.tasks.begun && open && self.list(Place::Pending).iter().any(|id| !self.tasks.schedule.knows(id.0))
    }
}

fn core_step(step: Step) -> core::Step {
    match step {
        Step::Work => core::Step::Work,
        Step::Verify => core::Step::Verify,
    }
}

fn step_of(step: core::Step) -> Step {
    match step {
        core::Step::Work => Step::Work,
        core::Step::Verify => Step::Verify,
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
