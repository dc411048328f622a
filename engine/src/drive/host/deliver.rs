//! Typing text for somebody: taken means that the program has read it from its terminal, and, where the backend says how a text in the input box looks, that a
//! message has left that.

use std::collections::VecDeque;
use std::time::Duration;

use rustix::termios::{LocalModes, tcgetattr};

use super::{Host, millis};
use crate::contract::control::FromHost;
use crate::contract::handover::{self, Bytes};
use crate::contract::mail::Standing;
use crate::core::limits;
use crate::core::submit::{Next, Seen, Submit};
use crate::os::clock::monotonic;
use crate::store::mail;

/// The kernel does not tell when a terminal's input was read, so it is asked: at once, whenever the program prints, and at these growing intervals at most.
const LOOK_FIRST: Duration = Duration::from_micros(250);
const LOOK_LAST: Duration = Duration::from_millis(200);

pub(super) const ENTER: &[u8] = b"\r";

const NOT_READ: &str = "typed; its program has not read it yet";
const NOT_LEFT: &str = "typed; it has not left the input box yet";
const STAYS: &str = "typed, and Enter was read, but it stays in the input box";

#[derive(Default)]
pub(super) struct Deliveries {
    queue: VecDeque<Delivery>,
}

pub(super) struct Delivery {
    client: u64,
    /// The message in the mailbox that this is.
    pub message: Option<u64>,
    /// A message's whole text, by which it is known again in the input box; none where another host has begun it.
    text: Option<String>,
    /// How many pieces of it were begun.
    begun: usize,
    paste: bool,
    /// Enter comes last.
    submit: bool,
    /// What is to be typed, piece by piece; the next one only when the one before was read.
    pub pieces: VecDeque<Vec<u8>>,
    typed: bool,
    /// All but Enter was read, and how the input box looks is known.
    enter: Option<Submit>,
    timeout: Duration,
    /// None for a message: that has all the time there is.
    deadline: Option<Duration>,
    look_at: Duration,
    interval: Duration,
    /// The agent ended before it had read all.
    lost: bool,
}

/// A text as it may be typed: without what would act as a key.
pub(super) fn clean(text: &str) -> String {
    text.replace("\r\n", "\n").chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

impl Delivery {
    /// A message of the mailbox, of which so many pieces were begun already.
    pub fn of_message(id: u64, text: &str, pieces: Vec<Vec<u8>>, begun: usize, paste: bool) -> Delivery {
        Delivery {
            client: 0,
            message: Some(id),
            text: Some(clean(text)),
            begun,
            paste,
            submit: true,
            pieces: pieces.into_iter().skip(begun).collect(),
            typed: begun > 0,
            enter: None,
            timeout: Duration::MAX,
            deadline: None,
            look_at: monotonic(),
            interval: LOOK_FIRST,
            lost: false,
        }
    }

    fn next_look(&self) -> Option<Duration> {
        match (&self.enter, self.message, self.deadline) {
            (Some(enter), ..) if !self.typed => enter.next_look(),
            (_, Some(_), _) => Some(self.look_at),
            (_, None, None) => Some(Duration::ZERO),
            (_, None, Some(end)) => Some(self.look_at.min(end)),
        }
    }

    /// Only Enter is left to be done, or to be seen at work.
    fn is_at_enter(&self) -> bool {
        self.message.is_some() && !self.typed && self.pieces.len() <= 1
    }

    /// Whether Enter was read and has not done its work.
    pub fn stays(&self) -> bool {
        self.enter.as_ref().is_some_and(Submit::stays)
    }

    fn look_last(&self) -> Duration {
        if self.message.is_some() { limits::LOOK_AGAIN_MAX } else { LOOK_LAST }
    }
}

impl Deliveries {
    pub fn next_deadline(&self) -> Option<Duration> {
        self.queue.front().and_then(Delivery::next_look)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a message of the mailbox is among them.
    pub fn is_typing(&self) -> bool {
        self.queue.iter().any(|d| d.message.is_some())
    }

    pub fn push(&mut self, delivery: Delivery) {
        self.queue.push_back(delivery);
    }

    /// The message among them, which nobody reads any more.
    pub fn take_message(&mut self) -> Option<Delivery> {
        let at = self.queue.iter().position(|d| d.message.is_some())?;
        self.queue.remove(at)
    }

    /// Why the message among them is not taken yet.
    pub fn why(&self) -> &'static str {
        match self.queue.iter().find(|d| d.message.is_some()).and_then(|d| d.enter.as_ref()) {
            Some(enter) if enter.stays() => STAYS,
            Some(_) => NOT_LEFT,
            None => NOT_READ,
        }
    }

    /// The program printed: perhaps it has read.
    pub fn look_now(&mut self) {
        let Some(first) = self.queue.front_mut() else { return };
        let now = monotonic();
        if let Some(enter) = &mut first.enter {
            enter.printed(now);
        }
        if first.typed {
            (first.look_at, first.interval) = (first.look_at.min(now + LOOK_FIRST), LOOK_FIRST);
        }
    }

    /// For the program that this host becomes.
    pub fn hand_over(&self) -> Vec<handover::Delivery> {
        let held = |d: &Delivery| handover::Delivery {
            client: d.client,
            pieces: d.pieces.iter().cloned().map(Bytes).collect(),
            typed: d.typed,
            timeout_us: u64::try_from(d.timeout.as_micros()).unwrap_or(u64::MAX),
            deadline_us: d.deadline.map(|t| t.as_micros() as u64),
            lost: d.lost,
            message: d.message,
            begun: d.begun,
            paste: d.paste,
        };
        self.queue.iter().map(held).collect()
    }

    /// What the program before was typing.
    pub fn take_over(held: Vec<handover::Delivery>) -> Deliveries {
        let take = |d: handover::Delivery| Delivery {
            client: d.client,
            message: d.message,
            text: None,
            begun: d.begun,
            paste: d.paste,
            submit: true,
            pieces: d.pieces.into_iter().map(|p| p.0).collect(),
            typed: d.typed,
            enter: None,
            timeout: Duration::from_micros(d.timeout_us),
            deadline: d.deadline_us.map(Duration::from_micros),
            look_at: monotonic(),
            interval: LOOK_FIRST,
            lost: d.lost,
        };
        Deliveries { queue: held.into_iter().map(take).collect() }
    }

    pub fn agent_ended(&mut self) {
        for delivery in &mut self.queue {
            delivery.lost = true;
            delivery.look_at = Duration::ZERO;
        }
    }
}

impl Host {
    pub(super) fn queue_delivery(&mut self, client: u64, text: &str, submit: bool, timeout_ms: u64) {
        if let Err(reason) = self.can_deliver(text) {
            return self.clients.answer(client, &FromHost::Failed { reason });
        }
        let clean = clean(text);
        let mut pieces = VecDeque::new();
        if self.recorder.modes().bracketed_paste {
            pieces.push_back(format!("\x1b[200~{clean}\x1b[201~").into_bytes());
        } else {
            pieces.push_back(clean.replace('\n', "\r").into_bytes());
        }
        if submit {
            // Not in the same read as the text: programs take it for a line break of the paste then.
            pieces.push_back(ENTER.to_vec());
        }
        pieces.retain(|p| !p.is_empty());
        let timeout = millis(timeout_ms);
        let now = monotonic();
        self.deliveries.queue.push_back(Delivery {
            client,
            message: None,
            text: None,
            begun: 0,
            paste: false,
            submit,
            pieces,
            typed: false,
            enter: None,
            timeout,
            deadline: None,
            look_at: now,
            interval: LOOK_FIRST,
            lost: false,
        });
    }

    pub(super) fn can_deliver(&self, text: &str) -> Result<(), String> {
        if self.agent.is_none() {
            return Err(format!("the agent is not running: {} {}", self.state.word(), self.reason));
        }
        if text.len() > limits::INPUT_QUEUE_BYTES_MAX {
            return Err(format!("{} bytes are too many; {} at most", text.len(), limits::INPUT_QUEUE_BYTES_MAX));
        }
        let line_mode = tcgetattr(&self.pty.slave).is_ok_and(|t| t.local_modes.contains(LocalModes::ICANON));
        let longest = text.lines().map(str::len).max().unwrap_or(0);
        if line_mode && longest > limits::LINE_MODE_BYTES_MAX {
            return Err(format!(
                "a line of {longest} bytes would be cut: the program reads lines of at most {} bytes from its terminal",
                limits::LINE_MODE_BYTES_MAX
            ));
        }
        Ok(())
    }

    /// Moves the first delivery on as far as the program lets it.
    pub(super) fn deliver(&mut self, now: Duration) {
        while let Some(first) = self.deliveries.queue.front_mut() {
            let deadline = match first.message {
                Some(_) => Duration::MAX,
                None => *first.deadline.get_or_insert(now + first.timeout),
            };
            if first.lost {
                self.end_delivery(Err("the agent ended before it had read all of it".into()));
                continue;
            }
            if first.typed && now >= first.look_at {
                let read = self.input.is_empty() && self.pty.unread_bytes().is_ok_and(|n| n == 0);
                if read {
                    first.typed = false;
                    first.interval = LOOK_FIRST;
                    if let Some(enter) = &mut first.enter {
                        enter.read(now);
                    }
                } else {
                    first.interval = (first.interval * 2).min(first.look_last());
                    first.look_at = now + first.interval;
                }
            }
            if first.is_at_enter() && self.launch.unsent.is_some() {
                match self.at_enter(now) {
                    Next::PressEnter => {}
                    Next::Wait => return,
                    Next::Taken => {
                        self.end_delivery(Ok(()));
                        continue;
                    }
                }
            }
            let Some(first) = self.deliveries.queue.front_mut() else { return };
            if !first.typed
                && let Some(piece) = first.pieces.pop_front()
            {
                // A line that is not complete yet counts as read: its program gets the whole one at Enter.
                (first.typed, first.look_at) = (true, now);
                first.begun += 1;
                let (message, begun, paste) = (first.message, first.begun, first.paste);
                let noted = message.and_then(|message| self.note_typing(message, begun, paste));
                self.input.extend(piece);
                // At once: what was noted and is not typed when the host dies may be taken for typed.
                self.type_input();
                if let Some(noted) = noted.filter(|_| self.input.is_empty()) {
                    self.note_typed(noted);
                }
            } else if !first.typed {
                self.end_delivery(Ok(()));
                continue;
            }
            if now >= deadline {
                self.end_delivery(Err(
                    "the program has not read it from its terminal in time; what it has not read is still there for it".into()
                ));
                continue;
            }
            return;
        }
    }

    /// Only Enter is left: looks, when it is time to, whether the text stands in the input box.
    fn at_enter(&mut self, now: Duration) -> Next {
        let Some(first) = self.deliveries.queue.front_mut() else { return Next::Wait };
        let enter = first.enter.get_or_insert_with(|| Submit::new(now, first.pieces.is_empty()));
        if enter.next_look().is_none_or(|due| due > now) {
            return Next::Wait;
        }
        let (message, known) = (first.message, first.text.take());
        let says = self.look_at_screen();
        let read = |id| mail::read(&self.layout, &self.id, id, Standing::Typing).ok().map(|(_, text)| clean(&text));
        let text = known.or_else(|| message.and_then(read));
        let (ready, mut asks) = (says.ready == Some(true), says.waiting.is_some());
        let in_box = match &text {
            Some(text) => says.holds(text),
            // Its file cannot be read, so nobody knows whose text stands there: it is not taken, and nothing is pressed.
            None => {
                asks |= says.unsent.is_some();
                says.unsent.is_some()
            }
        };
        let seen = Seen { in_box, ready, asks };
        let Some(first) = self.deliveries.queue.front_mut() else { return Next::Wait };
        first.text = text;
        let next = first.enter.as_mut().map_or(Next::Wait, |enter| enter.look(now, seen));
        if next == Next::PressEnter && first.pieces.is_empty() {
            first.pieces.push_back(ENTER.to_vec());
        }
        next
    }

    fn end_delivery(&mut self, result: Result<(), String>) {
        if let Some(done) = self.deliveries.queue.pop_front() {
            if let Some(id) = done.message {
                return self.mail_taken(id);
            }
            if !done.submit && result.is_ok() {
                self.mail_left();
            } else {
                self.activity_asked();
            }
            self.mailbox_again();
            let message = match result {
                Ok(()) => FromHost::Taken,
                Err(reason) => FromHost::Failed { reason },
            };
            self.clients.answer(done.client, &message);
        }
    }
}
