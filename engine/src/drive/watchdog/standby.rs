//! The standby: where tasks keep the watchdog and no agent's host does, nobody else would notice its death. A small process waits for that, and for nothing
//! else, and then starts the next one.
//!
//! Each of the two holds a descriptor that tells of the other's end (pidfd), so neither asks. Whoever starts a watchdog does it under the same locks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::process::{Signal, pidfd_send_signal};

use super::super::{start, wait};
use super::{Watchdog, tasks};
use crate::contract::layout::Layout;
use crate::core::limits::{LOOK_AGAIN_MAX, STANDBY_PAUSE, TASK_TROUBLE_PAUSE, WATCHDOG_RETRY_MAX};
use crate::core::watch::Host;
use crate::error::{Error, Result};
use crate::os::clock::monotonic;
use crate::os::fs;
use crate::os::process::{self, ProcessId, wait_for_end};

/// The standby's whole life. Descriptor 3 tells of the watchdog's end.
pub(in crate::drive) fn main(layout: &Layout) -> Result<()> {
    // SAFETY: `start::standby` promises this descriptor, and nothing else in this process has touched it.
    let watchdog = unsafe { process::inherited_fd(3) };
    let watchdog = watchdog.map_err(|_| Error::usage("`agents standby` is started by the engine itself").hint("agents up"))?;
    process::set_name("standby");
    let began = monotonic();
    while wait(&[(watchdog.as_fd(), PollFlags::IN)], None)?[0].is_empty() {}
    wait(&[], Some(began + STANDBY_PAUSE))?;
    // It is connected to, as by whoever needs one: where nothing is wanted any more, it goes as soon as we have.
    let mut pause = WATCHDOG_RETRY_MAX;
    while let Err(e) = start::watchdog(layout) {
        if !fs::is_dir(&layout.runtime) {
            return Err(e);
        }
        wait(&[], Some(monotonic() + pause))?;
        pause = LOOK_AGAIN_MAX.min(pause * 2);
    }
    Ok(())
}

/// What the watchdog knows of its standby.
#[derive(Default)]
pub(super) struct Standby {
    there: Option<There>,
    /// Not started again before this.
    not_before: Option<Duration>,
    /// That it could not be started was said.
    told: bool,
}

struct There {
    process: ProcessId,
    /// Readable when it has ended.
    end: OwnedFd,
    since: Duration,
    /// It would start the program that this process was before.
    outdated: bool,
    dismissed: bool,
}

impl There {
    fn has_ended(&self) -> bool {
        wait_for_end(&self.end, Duration::ZERO).unwrap_or(false)
    }

    /// Killed, as it has nothing to put in order and may be stopped.
    fn dismiss(&mut self) {
        self.dismissed = true;
        // It may be gone already.
        let _ = pidfd_send_signal(&self.end, Signal::KILL);
    }
}

impl Standby {
    /// One that the program before this one had started.
    pub fn of_program_before(process: ProcessId) -> Standby {
        let there = process.open().map(|end| There { process, end, since: monotonic(), outdated: true, dismissed: false });
        Standby { there, ..Standby::default() }
    }

    pub fn is_gone(&self) -> bool {
        self.there.is_none()
    }

    /// For the program that this one becomes.
    pub fn process(&self) -> Option<ProcessId> {
        self.there.as_ref().map(|there| there.process)
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.there.as_ref().map(|there| there.end.as_fd())
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.not_before
    }
}

impl Watchdog {
    /// Sees to it that there is a standby while it is needed, and none otherwise.
    pub(super) fn keep_standby(&mut self) {
        let needed = self.needs_standby();
        if let Some(there) = self.standby.there.take_if(|there| there.has_ended())
            && !there.dismissed
        {
            self.standby.not_before = Some(there.since + STANDBY_PAUSE);
            self.log("standby-died", "", "who waits for this watchdog's end has ended; another one takes its place");
        }
        if !needed {
            self.standby.not_before = None;
        }
        let may_start = needed && self.standby.not_before.is_none_or(|at| at <= monotonic());
        match &mut self.standby.there {
            Some(there) if !needed && !there.dismissed => there.dismiss(),
            Some(there) if may_start && there.outdated && !there.dismissed => self.start_standby(),
            None if may_start => self.start_standby(),
            Some(_) | None => {}
        }
    }

    /// The queue has something to do, and no host stays that would notice this process's death: those of tasks come and go.
    fn needs_standby(&self) -> bool {
        let stays = |session: &String| tasks::of(session).is_none() && matches!(self.watch.host(session), Host::Up { .. });
        self.tasks.has_work() && !self.links.keys().any(stays)
    }

    fn start_standby(&mut self) {
        let started = ProcessId::own().open().ok_or(std::io::ErrorKind::NotFound.into()).and_then(|own| start::standby(&self.layout, &own));
        match started {
            Ok(pid) => {
                let there = ProcessId::of(pid).and_then(|process| Some((process, process.open()?)));
                let there = there.map(|(process, end)| There { process, end, since: monotonic(), outdated: false, dismissed: false });
                // One that ended at once is no more than one that was killed a moment later.
                let not_before = there.is_none().then(|| monotonic() + STANDBY_PAUSE);
                if let Some(mut before) = std::mem::replace(&mut self.standby, Standby { there, not_before, told: false }).there {
                    before.dismiss();
                }
            }
            Err(e) => {
                self.standby.not_before = Some(monotonic() + TASK_TROUBLE_PAUSE);
                if !std::mem::replace(&mut self.standby.told, true) {
                    self.log(
                        "standby-not-started",
                        "",
                        &format!("{e}; should this watchdog be killed, the queue waits for the next command"),
                    );
                }
            }
        }
    }
}
