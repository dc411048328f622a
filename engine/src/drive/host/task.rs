//! What a host does differently where its session is a task's: one program, started once; how it ends is written into the task's folder.

use std::path::PathBuf;

use super::super::start;
use super::Host;
use crate::contract::task::{Ended, Exit, Place, Remedy, Step, TaskId};
use crate::core::cause;
use crate::core::session::Event;
use crate::os::clock::{monotonic, now};
use crate::store::tasks::{self, sentinel};

impl Host {
    /// The task that this session belongs to, if it is one's.
    pub(super) fn task(&self) -> Option<TaskId> {
        self.id.parse().ok()
    }

    fn task_folder(&self) -> Option<(PathBuf, Step)> {
        let step = self.launch.task.as_ref().map_or(Step::Work, |t| t.step);
        self.task().map(|id| (self.layout.task(Place::Running, id), step))
    }

    /// What this host finds of its task's program, which is known not to be taken over. Once it was started, it is not started again.
    pub(super) fn first_of_task(&mut self, alive: bool) -> Option<Event> {
        let (folder, step) = self.task_folder()?;
        if alive {
            return Some(Event::Stranded);
        }
        if let Some(ended) = sentinel::ended(&folder, step) {
            return Some(Event::Stay { failing: false, reason: ended.reason });
        }
        if sentinel::marked(&folder).is_some() {
            return Some(Event::Stay { failing: false, reason: "not to be started any more".into() });
        }
        if sentinel::has_begun(&folder, step) {
            let reason = "ended together with its host".to_owned();
            self.write_task_end(Exit::Unseen, &reason, Remedy::Again);
            return Some(Event::Stay { failing: false, reason });
        }
        Some(Event::Start)
    }

    /// From here on it counts as started, also after a power cut. An error: it may not be started, and why.
    pub(super) fn begin_task(&mut self) -> Result<(), (String, bool)> {
        let (Some(id), Some((folder, step))) = (self.task(), self.task_folder()) else { return Ok(()) };
        let failed = |e: crate::error::Error| (e.to_string(), false);
        if step == Step::Work {
            tasks::make_claim_durable(&self.layout, id).map_err(failed)?;
        }
        match sentinel::begin(&folder, step).map_err(failed)? {
            true => Ok(()),
            false => {
                let reason = "it was started before, by a host that is gone";
                self.write_task_end(Exit::Unseen, reason, Remedy::Again);
                Err((reason.into(), true))
            }
        }
    }

    /// What is started first, where its worktree has to be made: that becomes its program.
    pub(super) fn preparation(&self) -> Option<(Vec<String>, PathBuf)> {
        let folder = self.launch.task.as_ref()?.prepare.clone()?;
        let mut argv = vec![self.offer_program()?];
        argv.extend(start::args(start::TASK_WORKTREE, &self.layout).into_iter().map(|a| a.to_string_lossy().into_owned()));
        argv.extend(["--session".into(), self.id.clone()]);
        Some((argv, folder))
    }

    /// Its program has ended so.
    pub(super) fn note_task_end(&mut self, ended: cause::Ended, death: &Event) {
        let Event::Died { reason, remedy } = death else { return };
        let exit = match ended {
            cause::Ended::Exit(status) => Exit::Status(status),
            cause::Ended::Signal(signal) => Exit::Signal(signal),
            cause::Ended::Unseen => Exit::Unseen,
        };
        let remedy = match remedy {
            cause::Remedy::Again | cause::Remedy::AtOnce | cause::Remedy::Slower => Remedy::Again,
            cause::Remedy::Never => Remedy::Never,
            cause::Remedy::NotBefore(at) => now().checked_add(at.saturating_sub(monotonic())).map_or(Remedy::Again, Remedy::NotBefore),
        };
        // What helps an agent's session is another command than what helps a task.
        let reason = reason.replace(&format!("agents restart {}", self.id), &format!("agents task retry {}", self.id));
        self.write_task_end(exit, &reason, remedy);
    }

    /// It could not be started.
    pub(super) fn note_task_not_started(&mut self, reason: &str, permanent: bool) {
        self.write_task_end(Exit::NotStarted, reason, if permanent { Remedy::Never } else { Remedy::Again });
    }

    /// It lives, and its terminal is gone: it is ended.
    pub(super) fn note_task_stranded(&mut self) {
        self.write_task_end(Exit::Unseen, "its host and its watchdog died at once, and its terminal with them", Remedy::Again);
    }

    fn write_task_end(&mut self, exit: Exit, reason: &str, remedy: Remedy) {
        let Some((folder, step)) = self.task_folder() else { return };
        let ended = Ended { step, at: now(), exit, reason: reason.into(), remedy };
        if let Err(e) = sentinel::end(&folder, &ended) {
            self.log_event("not-written", &e.to_string(), None);
        }
    }
}
