//! The watchdog and the task queue: performs what `core::schedule` decides, and feeds back what came of it.
//!
//! Only the watchdog moves tasks. What takes long is done elsewhere: moves are made durable by the clerk, an agent's worktree is made in its own terminal.

mod find;
mod moves;
mod tidy;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::Watchdog;
use super::clerk::{Clerk, Moved};
use super::evidence::{self, Evidence};
use crate::contract::status::{AgentStatus, State, TaskCounts};
use crate::contract::task::{Attempt, Begun, End, Place, Step, Task, TaskId};
use crate::core::schedule::{self as core, Action, Event, Schedule, Why};
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
    /// Takes finished ones back into the queue, for which it may have to wait until others were put away.
    returner: Option<Clerk>,
    /// None: the kernel has no watch left to give; then the queue is looked at whenever somebody connects.
    watch: Option<Watch<Watched>>,
    /// As it was when `agents.toml` looked like this.
    project: Option<(fs::Stamp, Project)>,
    /// Where that is, and how it looked when the settings were last read.
    config: Option<PathBuf>,
    seen: Option<fs::Stamp>,
    /// Finished ones that a person should look at; counted, as they are not kept here.
    failed: usize,
    /// On their way back from the finished ones.
    returning: BTreeSet<TaskId>,
    /// Why an attempt could not even begin.
    impossible: BTreeMap<TaskId, String>,
    /// How long an attempt may take, for words.
    timeouts: BTreeMap<TaskId, Duration>,
    tidy: tidy::Tidy,
    /// The queue was looked through once.
    begun: bool,
}

impl Tasks {
    pub fn new() -> Tasks {
        Tasks {
            schedule: Schedule::default(),
            events: VecDeque::new(),
            clerk: None,
            returner: None,
            watch: None,
            project: None,
            config: None,
            seen: None,
            failed: 0,
            returning: BTreeSet::new(),
            impossible: BTreeMap::new(),
            timeouts: BTreeMap::new(),
            tidy: tidy::Tidy::default(),
            begun: false,
        }
    }

    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.watch.iter().map(AsFd::as_fd).chain(self.clerks().map(Clerk::fd)).chain(self.tidy.fd()).collect()
    }

    fn clerks(&self) -> impl Iterator<Item = &Clerk> {
        self.clerk.iter().chain(&self.returner)
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.schedule.next_deadline()
    }

    /// Whether the watchdog has to stay for it.
    pub fn is_alive(&self) -> bool {
        self.has_work() || self.tidy.is_at_work()
    }

    /// Whether a task is under way or waits for its time.
    pub fn has_work(&self) -> bool {
        let moves = self.clerks().any(|c| !c.is_idle());
        moves || self.schedule.is_alive() || !self.events.is_empty()
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

/// A time by the wall clock on the monotonic one.
fn monotonic_of(at: Timestamp) -> Duration {
    monotonic() + at.duration_since(now()).try_into().unwrap_or_default()
}

impl Watchdog {
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
        let clerks = [&mut self.tasks.clerk, &mut self.tasks.returner];
        let moved: Vec<Moved> = clerks.into_iter().flatten().flat_map(Clerk::take).collect();
        moved.into_iter().for_each(|m| self.moved(m));
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
        sentinel::take_room(&self.layout.task(Place::Running, id), Step::Work)?;
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
            tasks::write_launch(&self.layout, id, &launch)?;
            sentinel::take_room(&self.layout.task(Place::Running, id), Step::Verify)
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

    pub(super) fn push_task_event(&mut self, event: Event) {
        self.tasks.events.push_back(event);
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
