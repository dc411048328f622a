//! Those who are connected to a host: the watchdog, attached terminals, askers.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::PollFlags;

use super::super::handover::{Kept, take_connection};
use super::Host;
use crate::contract::control::{BYTES, FromHost, JSON, ToHost};
use crate::contract::handover;
use crate::contract::records::Run;
use crate::contract::status::{Activity, AgentStatus, Evidence, State};
use crate::core::limits;
use crate::core::session::Event;
use crate::os::clock::monotonic;
use crate::os::process::duplicate;
use crate::os::pty::{Size, set_size};
use crate::os::socket::{Fill, Frame, Stream};
use crate::term::Recorder;

/// How long the last words may take.
const FAREWELL: Duration = Duration::from_millis(200);

pub(super) struct Client {
    pub id: u64,
    stream: Stream,
    role: Role,
    /// Wants to know when the session has come to rest after a restart.
    awaits_rest: bool,
    /// Wants to know when nothing is left.
    awaits_end: bool,
    /// Wants to know when the session has its pane.
    awaits_pane: bool,
    gone: bool,
}

#[derive(PartialEq)]
enum Role {
    Asker,
    Watchdog,
    /// `behind`: it takes no output; it gets the whole screen once it does.
    Attached {
        behind: bool,
        /// It types nothing and its size does not count.
        read_only: bool,
        /// It stands in the session's pane.
        pane: bool,
    },
}

#[derive(Default)]
pub(super) struct Clients {
    all: Vec<Client>,
    next: u64,
    /// How large the pane is: that counts again when somebody else who was attached leaves.
    pane_size: Option<Size>,
}

/// Tells a watchdog that this host cannot be, before it ends.
pub(super) fn refuse(stream: &mut Stream, reason: &str) {
    tell(stream, &FromHost::Failed { reason: reason.into() });
    let _ = stream.flush_by(monotonic() + FAREWELL);
}

fn tell(stream: &mut Stream, message: &FromHost) {
    stream.queue(JSON, &serde_json::to_vec(message).unwrap_or_default(), vec![]);
}

impl Clients {
    pub fn add(&mut self, stream: Stream) {
        if self.all.len() < limits::CLIENTS_MAX {
            self.push(stream, Role::Asker);
        }
    }

    pub fn add_watchdog(&mut self, stream: Stream) {
        self.push(stream, Role::Watchdog);
    }

    fn push(&mut self, stream: Stream, role: Role) {
        self.next += 1;
        self.all.push(Client { id: self.next, stream, role, awaits_rest: false, awaits_end: false, awaits_pane: false, gone: false });
    }

    /// For the program that this host becomes.
    pub fn hand_over(&self, kept: &mut Kept) -> Vec<handover::Client> {
        let held = |c: &Client| handover::Client {
            id: c.id,
            connection: kept.connection(&c.stream),
            role: match c.role {
                Role::Asker => handover::Role::Asker,
                Role::Watchdog => handover::Role::Watchdog,
                Role::Attached { behind, read_only, pane } => handover::Role::Attached { behind, read_only, pane },
            },
            awaits_rest: c.awaits_rest,
            awaits_end: c.awaits_end,
            awaits_pane: c.awaits_pane,
        };
        self.all.iter().filter(|c| !c.gone).map(held).collect()
    }

    /// Those whom the program before has served.
    pub fn take_over(held: Vec<handover::Client>, last: u64) -> std::io::Result<Clients> {
        let take = |c: handover::Client| {
            let role = match c.role {
                handover::Role::Asker => Role::Asker,
                handover::Role::Watchdog => Role::Watchdog,
                handover::Role::Attached { behind, read_only, pane } => Role::Attached { behind, read_only, pane },
            };
            let stream = take_connection(c.connection)?;
            let (awaits_rest, awaits_end, awaits_pane) = (c.awaits_rest, c.awaits_end, c.awaits_pane);
            Ok(Client { id: c.id, stream, role, awaits_rest, awaits_end, awaits_pane, gone: false })
        };
        let all = held.into_iter().map(take).collect::<std::io::Result<Vec<Client>>>()?;
        Ok(Clients { all, next: last, pane_size: None })
    }

    /// Whether that client is still there.
    pub fn knows(&self, id: u64) -> bool {
        self.all.iter().any(|c| c.id == id)
    }

    /// The last number that a client was given.
    pub fn last(&self) -> u64 {
        self.next
    }

    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.all.iter().map(|c| &c.stream)
    }

    pub fn has_watchdog(&self) -> bool {
        self.all.iter().any(|c| c.role == Role::Watchdog && !c.gone)
    }

    fn pane(&self) -> Option<&Client> {
        self.all.iter().find(|c| matches!(c.role, Role::Attached { pane: true, .. }) && !c.gone)
    }

    pub fn has_pane(&self) -> bool {
        self.pane().is_some()
    }

    /// Whether it has not taken all that it was sent.
    pub fn pane_is_behind(&self) -> bool {
        self.pane().is_some_and(|c| c.stream.queued_bytes() > 0)
    }

    pub fn await_pane(&mut self, id: u64) {
        self.all.iter_mut().filter(|c| c.id == id).for_each(|c| c.awaits_pane = true);
    }

    /// There is one now, or why not.
    pub fn answer_for_pane(&mut self, message: &FromHost) {
        for client in self.all.iter_mut().filter(|c| c.awaits_pane) {
            client.awaits_pane = false;
            tell(&mut client.stream, message);
        }
    }

    /// It is not wanted any more.
    pub fn dismiss_pane(&mut self) {
        for client in self.all.iter_mut().filter(|c| matches!(c.role, Role::Attached { pane: true, .. })) {
            tell(&mut client.stream, &FromHost::Detached { reason: "the session is no longer shown in tmux".into() });
        }
    }

    /// Output, as it is, to those attached who take it.
    pub fn broadcast(&mut self, bytes: &[u8]) {
        for client in &mut self.all {
            if let Role::Attached { behind, .. } = &mut client.role {
                *behind |= client.stream.queued_bytes() > limits::CLIENT_QUEUE_BYTES_MAX;
                if !*behind {
                    client.stream.queue(BYTES, bytes, vec![]);
                }
            }
        }
    }

    /// The whole screen to those attached.
    pub fn redraw(&mut self, recorder: &mut Recorder) {
        if self.all.iter().any(|c| matches!(c.role, Role::Attached { .. })) {
            let screen = recorder.redraw();
            self.broadcast(&screen);
        }
    }

    /// The session's state to the watchdog, with the terminal, and to those who wait for it.
    pub fn report(&mut self, status: &AgentStatus, run: &Run, master: impl AsFd) {
        let at_rest = !matches!(status.state, State::Starting);
        let message =
            serde_json::to_vec(&FromHost::Report { status: Box::new(status.clone()), run: Box::new(run.clone()) }).unwrap_or_default();
        for client in &mut self.all {
            let fds = match client.role {
                Role::Watchdog => duplicate(&master).into_iter().collect(),
                Role::Asker | Role::Attached { .. } if client.awaits_rest && at_rest => vec![],
                Role::Asker | Role::Attached { .. } => continue,
            };
            client.awaits_rest = false;
            client.stream.queue(JSON, &message, fds);
        }
        self.flush();
    }

    /// The agent has said its first words.
    pub fn spoke(&mut self) {
        self.all.iter_mut().filter(|c| c.role == Role::Watchdog).for_each(|c| tell(&mut c.stream, &FromHost::Spoke));
    }

    /// To the watchdog: what the agent does now.
    pub fn tell_activity(&mut self, activity: Activity, evidence: Option<Evidence>) {
        let message = FromHost::Activity { activity, evidence };
        self.all.iter_mut().filter(|c| c.role == Role::Watchdog).for_each(|c| tell(&mut c.stream, &message));
    }

    pub fn answer(&mut self, id: u64, message: &FromHost) {
        if let Some(client) = self.all.iter_mut().find(|c| c.id == id) {
            tell(&mut client.stream, message);
        }
    }

    pub fn flush(&mut self) {
        for client in &mut self.all {
            client.gone |= client.stream.flush().is_err();
        }
    }

    pub fn farewell(&mut self) {
        for client in &mut self.all {
            match client.role {
                Role::Attached { .. } => tell(&mut client.stream, &FromHost::Detached { reason: "the session was stopped".into() }),
                Role::Asker | Role::Watchdog if client.awaits_end => tell(&mut client.stream, &FromHost::Done),
                Role::Asker | Role::Watchdog => {}
            }
        }
        let deadline = monotonic() + FAREWELL;
        for client in &mut self.all {
            let _ = client.stream.flush_by(deadline);
        }
    }
}

impl Host {
    /// Takes what clients sent, and forgets those who left. `ready` is in the clients' order.
    pub(super) fn serve(&mut self, ready: &[PollFlags]) {
        for (i, ready) in ready.iter().enumerate() {
            if ready.intersects(PollFlags::OUT) {
                self.catch_up(i);
            }
            if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                continue;
            }
            let fill = self.clients.all[i].stream.fill();
            loop {
                match self.clients.all[i].stream.next_frame() {
                    Ok(Some(frame)) => self.handle(i, frame),
                    Ok(None) => break,
                    Err(_) => {
                        self.clients.all[i].gone = true;
                        break;
                    }
                }
            }
            if !matches!(fill, Ok(Fill::More | Fill::Nothing)) {
                self.clients.all[i].gone = true;
            }
        }
        let had_watchdog = self.clients.all.iter().any(|c| c.role == Role::Watchdog);
        let leave = |pane: bool| move |c: &Client| matches!(c.role, Role::Attached { pane: is, .. } if is == pane) && c.gone;
        let (pane_leaves, others_leave) = (self.clients.all.iter().any(leave(true)), self.clients.all.iter().any(leave(false)));
        self.clients.all.retain(|c| !c.gone);
        self.mail_announced();
        if pane_leaves && !self.clients.has_pane() {
            self.pane_left();
        } else if others_leave && let Some(size) = self.clients.pane_size.filter(|_| self.clients.has_pane()) {
            self.resize(size);
        }
        if had_watchdog && !self.clients.has_watchdog() {
            self.replace_watchdog();
        }
    }

    /// A client that was behind and has taken all: the screen as it is now.
    fn catch_up(&mut self, i: usize) {
        let client = &mut self.clients.all[i];
        let drained = client.stream.flush().is_ok_and(|all| all);
        if let Role::Attached { behind, .. } = &mut client.role
            && *behind
            && drained
        {
            *behind = false;
            client.stream.queue(BYTES, &self.recorder.redraw(), vec![]);
        }
    }

    fn handle(&mut self, i: usize, frame: Frame) {
        if frame.kind == BYTES {
            if matches!(self.clients.all[i].role, Role::Attached { read_only: false, .. })
                && self.input.len() + frame.payload.len() <= limits::INPUT_QUEUE_BYTES_MAX
            {
                self.mail_typed(&frame.payload);
                if frame.payload.contains(&b'\r') {
                    self.activity_asked();
                }
                self.input.extend(frame.payload);
            }
            return;
        }
        let Ok(message) = serde_json::from_slice::<ToHost>(&frame.payload) else {
            // From a newer client: it is told, and the rest of the connection goes on.
            let id = self.clients.all[i].id;
            return self.clients.answer(id, &FromHost::Failed { reason: "this engine does not know that request".into() });
        };
        let id = self.clients.all[i].id;
        match message {
            ToHost::Watch => {
                // The newest watchdog is the one.
                self.clients.all.iter_mut().filter(|c| c.role == Role::Watchdog).for_each(|c| c.gone = true);
                self.clients.all[i].role = Role::Watchdog;
                (self.watchdog_due, self.told_watchdog) = (None, None);
                self.watchdog_retry = limits::WATCHDOG_RETRY_MIN;
                let (status, run) = (self.status(), self.run_record());
                self.clients.report(&status, &run, &self.pty.master);
            }
            ToHost::Attach { size, read_only, pane, history } => {
                self.clients.all[i].role = Role::Attached { behind: false, read_only, pane };
                self.resize_for(i, size);
                if pane {
                    self.pane_came();
                }
                if history > 0 {
                    let lines = self.recorder.history(history);
                    self.clients.all[i].stream.queue(BYTES, &lines, vec![]);
                }
                let screen = self.recorder.redraw();
                self.clients.all[i].stream.queue(BYTES, &screen, vec![]);
            }
            ToHost::Resize { size } => self.resize_for(i, size),
            ToHost::Pane { hung } => self.pane_wanted(id, hung),
            ToHost::Send { text, submit, timeout_ms } => self.queue_delivery(id, &text, submit, timeout_ms),
            ToHost::Hook { activity, what } => {
                let message = self.hook(activity, &what).map_or_else(|reason| FromHost::Failed { reason }, |()| FromHost::Taken);
                self.clients.answer(id, &message);
            }
            ToHost::Mail { interrupt } => self.mail_asked(id, interrupt),
            ToHost::Capture { lines, styled } => {
                let bytes = self.recorder.capture(lines, styled);
                self.clients.all[i].stream.queue_bulk(BYTES, &bytes);
            }
            ToHost::Stop => {
                self.clients.all[i].awaits_end = true;
                self.events.push_back(Event::Stop);
            }
            ToHost::Restart => {
                self.clients.all[i].awaits_rest = true;
                self.stall_restarted();
                self.events.push_back(Event::Restart);
            }
            ToHost::Slow { wait_ms, why } => {
                self.events.push_back(Event::Slow { until: monotonic() + Duration::from_millis(wait_ms), why });
            }
            ToHost::Upgrade => self.begin_upgrade(id, frame.fds.into_iter().next()),
            ToHost::Status => {
                let message = FromHost::Report { status: Box::new(self.status()), run: Box::new(self.run_record()) };
                self.clients.answer(id, &message);
            }
        }
    }

    /// The client that came or changed last decides the size.
    fn resize_for(&mut self, i: usize, size: Size) {
        let Role::Attached { read_only: false, pane, .. } = self.clients.all[i].role else { return };
        if pane {
            self.clients.pane_size = Some(size);
        }
        self.resize(size);
    }

    fn resize(&mut self, size: Size) {
        if size.rows > 0 && size.cols > 0 && set_size(&self.pty.master, size).is_ok() {
            self.recorder.resize(size);
        }
    }
}
