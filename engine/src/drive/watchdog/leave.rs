//! When the watchdog may go, and how it does without leaving somebody who counts on it.

use std::os::fd::{AsFd, BorrowedFd};

use super::Watchdog;
use crate::error::Result;
use crate::os::fs;
use crate::os::lock::{Coming, Lock};
use crate::os::socket::Listener;

/// Whoever starts a watchdog holds the lock that it needs to go, and may be stopped: until that comes, everybody is served.
#[derive(Default)]
pub(super) struct Leave(Option<Coming>);

impl Leave {
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(AsFd::as_fd)
    }
}

impl Watchdog {
    /// Nothing is wanted of it. Those who only watch do not keep it: they wait for the next one by themselves.
    fn is_idle(&self) -> bool {
        let quiet = self.watch.is_idle() && !self.tasks.is_alive() && self.teller.is_idle() && self.standby.is_gone();
        quiet && self.clients.iter().all(|c| c.subscribed)
    }

    /// Takes the socket away, where nothing keeps it. False: something does, or may do in a moment.
    pub(super) fn goes(&mut self, listener: &mut Listener) -> Result<bool> {
        if !self.is_idle() {
            self.leave.0 = None;
            return Ok(false);
        }
        // Whoever holds it can connect; and whoever takes it after this finds no socket, and waits for the end of this process.
        let Some(_starting) = self.start_lock()? else { return Ok(false) };
        fs::remove_file(&self.layout.watchdog_socket())?;
        if !self.has_new_tasks() {
            return Ok(true);
        }
        // Somebody has added a task meanwhile, and counts on this watchdog.
        *listener = Listener::bind(&self.layout.watchdog_socket())?;
        self.look_for_tasks();
        self.work();
        Ok(false)
    }

    fn start_lock(&mut self) -> Result<Option<Lock>> {
        if let Some(coming) = &self.leave.0 {
            let Some(lock) = coming.take() else { return Ok(None) };
            self.leave.0 = None;
            return Ok(Some(lock?));
        }
        let path = self.layout.start_lock();
        let free = Lock::try_take(&path)?;
        if free.is_none() {
            self.leave.0 = Some(Coming::of(&path)?);
        }
        Ok(free)
    }
}
