//! What the engine itself has to say to its agent, through the mailbox like everybody else. A sender may hold the box's lock and be stopped; a host waits for
//! nobody, so a thread waits for the lock and everything else goes on.

use std::os::fd::{AsFd, BorrowedFd};

use super::Host;
use crate::contract::handover::Letter;
use crate::contract::mail::Origin;
use crate::core::session::Phase;
use crate::error::Result;
use crate::os::clock::monotonic;
use crate::os::lock::{Coming, Lock};
use crate::store::mail;

#[derive(Default)]
pub(super) struct Outbox {
    /// In their order, one of a kind.
    letters: Vec<Letter>,
    /// Their lock.
    coming: Option<Coming>,
}

impl Outbox {
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.coming.as_ref().map(AsFd::as_fd)
    }

    /// For the program that this host becomes.
    pub fn hand_over(&self) -> Vec<Letter> {
        self.letters.clone()
    }
}

impl Host {
    /// One of its kind at a time.
    pub(super) fn remind(&mut self, origin: Origin, text: &str) {
        match self.post(origin, text) {
            Ok(true) => {
                let now = monotonic();
                self.look_into_mailbox(now);
                self.deliver(now);
            }
            Ok(false) => {}
            Err(e) => self.log_event("not-written", &e.to_string(), None),
        }
    }

    /// Sees to it that a message of that kind waits in the box. False: not yet.
    fn post(&mut self, origin: Origin, text: &str) -> Result<bool> {
        let waits = mail::waits(&self.layout, &self.id, origin).unwrap_or(false);
        if waits || mail::try_put(&self.layout, &self.id, origin, text)? {
            self.outbox.letters.retain(|letter| letter.origin != origin);
            return Ok(true);
        }
        self.await_mailbox()?;
        if !self.outbox.letters.iter().any(|letter| letter.origin == origin) {
            self.outbox.letters.push(Letter { origin, text: text.to_owned() });
        }
        Ok(false)
    }

    fn await_mailbox(&mut self) -> Result<()> {
        if self.outbox.coming.is_none() {
            let path = mail::lock_path(&self.layout, &self.id)?;
            self.outbox.coming = Some(Coming::of(&path)?);
            self.log_event("mail-waits", &format!("its mailbox is held by {}", Lock::holder(&path)), None);
        }
        Ok(())
    }

    /// Before the agent is started: where its program is given its first prompt as a paste, that goes into the box. False: not yet.
    pub(super) fn post_prompt(&mut self) -> Result<bool, String> {
        match self.launch.paste.clone() {
            Some(text) if !self.session.resumes() => self.post(Origin::Prompt, &text).map_err(|e| e.to_string()),
            Some(_) | None => Ok(true),
        }
    }

    /// The box is free for what waits.
    pub(super) fn post_waiting(&mut self) {
        let Some(lock) = self.outbox.coming.as_ref().and_then(Coming::take) else { return };
        self.outbox.coming = None;
        let mut trouble = None;
        match lock {
            Ok(lock) => {
                for Letter { origin, text } in std::mem::take(&mut self.outbox.letters) {
                    trouble = mail::put_holding(&self.layout, &lock, &self.id, origin, &text).err().or(trouble);
                }
            }
            Err(e) => trouble = Some(e.into()),
        }
        if let Some(e) = trouble {
            self.log_event("not-written", &e.to_string(), None);
        }
        if self.session.phase == Phase::Starting && self.agent.is_none() && !self.is_asking_version() {
            return self.spawn();
        }
        let now = monotonic();
        self.look_into_mailbox(now);
        self.deliver(now);
    }

    /// What the program before this one had to say.
    pub(super) fn take_over_letters(&mut self, letters: Vec<Letter>) {
        letters.iter().for_each(|letter| self.remind(letter.origin, &letter.text));
    }
}
