//! The session's pane in tmux, as its host sees it: there while a client in it is connected, made anew when that is gone. tmux itself is never waited for.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use super::super::pane::{PANE_COMES, client_of, start_maker};
use super::Host;
use crate::contract::control::FromHost;
use crate::core::limits;
use crate::os::clock::monotonic;
use crate::os::pty;
use crate::os::socket::{Fill, Stream};

/// What is known of it.
#[derive(Default)]
pub(super) struct Pane {
    /// At work on it; its connection ends when it is done.
    maker: Option<Stream>,
    /// When to have it made, if nobody has come until then.
    due: Option<Duration>,
    /// How long to wait after the next failure.
    pause: Duration,
    /// Why there is none.
    trouble: String,
    /// Since when it has taken no output.
    stuck: Option<Duration>,
}

impl Pane {
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.maker.as_ref().map(AsFd::as_fd)
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        let stuck = self.stuck.map(|since| since + limits::TMUX_PATIENCE).filter(|_| self.maker.is_none());
        [self.due, stuck].into_iter().flatten().min()
    }

    /// Why the session is not shown as it should be; empty where it is.
    pub fn trouble(&self) -> &str {
        &self.trouble
    }
}

impl Host {
    /// At the beginning, and when another way to be shown may be wanted: sees that there is a pane where one is wanted.
    pub(super) fn pane_begin(&mut self) {
        if self.launch.tmux.is_none() || self.clients.has_pane() || self.pane.maker.is_some() || self.pane.due.is_some() {
            return;
        }
        // The client of the host before finds this one by itself.
        let finds_us = client_of(&self.layout, &self.id).is_some();
        self.pane.due = Some(if finds_us { monotonic() + PANE_COMES } else { monotonic() });
    }

    /// Its client has connected.
    pub(super) fn pane_came(&mut self) {
        let trouble = std::mem::take(&mut self.pane.trouble);
        self.pane = Pane { trouble, ..Pane::default() };
        self.log_event("tmux", "shown in its pane", None);
        self.pane_says(String::new());
        self.clients.answer_for_pane(&FromHost::Done);
    }

    /// Its client is gone.
    pub(super) fn pane_left(&mut self) {
        self.pane.stuck = None;
        if self.launch.tmux.is_some() && !self.quit {
            self.log_event("tmux", "its pane is gone, and made anew", None);
            self.pane.due = Some(monotonic());
        }
    }

    /// Somebody wants the pane to be there.
    pub(super) fn pane_wanted(&mut self, id: u64, hung: bool) {
        if self.launch.tmux.is_none() {
            return self.clients.answer(id, &FromHost::Failed { reason: "the session is not shown in tmux".into() });
        }
        if hung && self.pane.maker.is_none() {
            self.pane_start(true);
        }
        if self.clients.has_pane() {
            return self.clients.answer(id, &FromHost::Done);
        }
        self.clients.await_pane(id);
        if self.pane.maker.is_none() {
            self.pane.due = Some(monotonic());
        }
    }

    /// What time calls for, and what its maker has said.
    pub(super) fn pane_keep(&mut self) {
        let time = monotonic();
        self.pane_hear();
        if self.pane.maker.is_some() {
            return;
        }
        if self.pane.due.is_some_and(|t| t <= time) {
            self.pane.due = None;
            self.pane_start(false);
        } else if self.pane.stuck.is_some_and(|since| since + limits::TMUX_PATIENCE <= time) {
            self.pane.stuck = Some(time);
            self.pane_start(true);
        }
    }

    /// All that could be sent has been: whether the pane has taken it.
    pub(super) fn pane_flushed(&mut self) {
        self.pane.stuck = self.clients.pane_is_behind().then(|| self.pane.stuck.unwrap_or_else(monotonic));
    }

    fn pane_start(&mut self, look: bool) {
        let size = pty::size(&self.pty.master).unwrap_or(self.launch.size);
        match start_maker(&self.layout, &self.id, size, look) {
            Ok(Some(stream)) => self.pane.maker = Some(stream),
            Ok(None) => self.pane.due = Some(monotonic() + limits::LOOK_AGAIN_MIN),
            Err(e) => self.pane_failed(format!("its pane could not be made: {e}")),
        }
    }

    fn pane_hear(&mut self) {
        let Some(mut maker) = self.pane.maker.take() else { return };
        let ended = !matches!(maker.fill(), Ok(Fill::More | Fill::Nothing));
        while let Ok(Some(frame)) = maker.next_frame() {
            if let Ok(FromHost::Failed { reason }) = serde_json::from_slice(&frame.payload) {
                return self.pane_failed(reason);
            }
        }
        if !ended {
            self.pane.maker = Some(maker);
        } else if !self.clients.has_pane() {
            // Made, and its client on the way.
            self.pane.due = Some(monotonic() + PANE_COMES);
        }
    }

    fn pane_failed(&mut self, reason: String) {
        self.clients.answer_for_pane(&FromHost::Failed { reason: reason.clone() });
        if self.clients.has_pane() {
            // Only looked after: whom it was about will leave by themselves.
            return;
        }
        let pause = self.pane.pause.max(limits::LOOK_AGAIN_MIN);
        self.pane.pause = (pause * 2).min(limits::LOOK_AGAIN_MAX);
        self.pane.due = Some(monotonic() + pause);
        self.pane_says(reason);
    }

    /// Whoever sees the session's state sees this.
    fn pane_says(&mut self, trouble: String) {
        if self.pane.trouble == trouble {
            return;
        }
        if !trouble.is_empty() {
            self.log_event("tmux", &trouble, None);
        }
        self.pane.trouble = trouble;
        self.clients.report(&self.status(), &self.run_record(), &self.pty.master);
    }
}
