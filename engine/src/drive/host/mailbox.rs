//! The mailbox's worker: types what waits there once the program takes input, each message once and in order.
//!
//! Before a message is typed its file says `typing`, and before every piece of it a record in the runtime folder says how far that is. So whoever
//! comes after a host that died knows what of it may stand in the terminal; [`Host::recover`] decides.

use std::time::Duration;

use rustix::termios::{LocalModes, tcgetattr};

use super::Host;
use super::deliver::{Delivery, ENTER, clean};
use crate::contract::control::FromHost;
use crate::contract::mail::{Origin, Standing, Typing};
use crate::contract::status::State;
use crate::core::{limits, session};
use crate::os::clock::monotonic;
use crate::os::fs;
use crate::store::mail;
use crate::term::Draft;

/// A box that could not be read or written is tried again after this.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

pub(super) struct Mailbox {
    /// Clients who may put a message there: when one leaves, the box is looked into.
    announced: Vec<u64>,
    /// When to look into the box, if that depends on time.
    look_at: Option<Duration>,
    /// Something waits there.
    waiting: bool,
    /// Why the first one that waits is not typed.
    why: String,
    draft: Draft,
    /// The program has come to rest since it was started.
    settled: bool,
    started: Duration,
    printed: Option<Duration>,
    pause: Duration,
    /// Taken, but that could not be written down yet.
    unwritten: Option<u64>,
}

impl Mailbox {
    /// For a program that is at rest as far as is known. `drafted`: somebody has left a line half typed.
    pub fn new(drafted: bool) -> Mailbox {
        Mailbox {
            announced: vec![],
            look_at: Some(Duration::ZERO),
            waiting: false,
            why: String::new(),
            draft: if drafted { Draft::left() } else { Draft::default() },
            settled: true,
            started: Duration::ZERO,
            printed: None,
            pause: limits::PAUSE,
            unwritten: None,
        }
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.look_at
    }

    /// The program printed.
    pub fn printed(&mut self) {
        if self.waiting || !self.settled {
            let now = monotonic();
            self.printed = Some(now);
            if self.waiting {
                // What it prints may be that it takes pastes now. Who prints without end is looked at all the same.
                let soon = now + self.pause;
                let known = self.look_at.map(|at| if self.why == NO_PASTE { at.min(soon) } else { at });
                self.look_at = known.or(Some(soon));
            }
        }
    }

    /// Another program starts in the terminal.
    fn anew(&mut self) {
        (self.settled, self.started, self.printed) = (false, monotonic(), None);
        (self.draft, self.pause) = (Draft::default(), limits::PAUSE);
        self.look_at = Some(self.started);
    }
}

/// Why nothing is typed now, and when that may have changed by time alone.
struct Held {
    why: String,
    look_at: Option<Duration>,
}

fn held(why: impl Into<String>) -> Held {
    Held { why: why.into(), look_at: None }
}

/// A piece's echo is read in so many turns at most.
const ECHO_READS_MAX: usize = 16;

/// A message as it goes into a terminal. The last piece is Enter: not in the same read as the text, which it would be taken for a part of.
fn pieces(text: &str, paste: bool) -> Vec<Vec<u8>> {
    let clean = clean(text);
    let bytes = if paste { format!("\x1b[200~{clean}\x1b[201~") } else { clean.replace('\n', "\r") }.into_bytes();
    bytes.chunks(limits::PIECE_BYTES_MAX).map(<[u8]>::to_vec).chain([ENTER.to_vec()]).collect()
}

impl Host {
    /// Somebody has mail for the agent, or is about to; where `interrupt`, what it does now is to end first.
    pub(super) fn mail_asked(&mut self, client: u64, interrupt: bool) {
        if !self.mailbox.announced.contains(&client) {
            self.mailbox.announced.push(client);
        }
        let now = monotonic();
        if interrupt && self.interrupt() {
            // What it prints at that comes first.
            self.mailbox.look_at = Some(now + limits::PAUSE);
            (self.mailbox.waiting, self.mailbox.why) = (true, "it was interrupted just now".into());
        } else {
            self.look_into_mailbox(now);
            self.deliver(now);
        }
        self.clients.answer(client, &self.mail_news());
    }

    fn mail_news(&self) -> FromHost {
        let soon = self.mailbox.look_at.is_some() || self.deliveries.is_typing();
        FromHost::Mail { why: self.mailbox.why.clone(), soon }
    }

    /// Presses the key that ends what the program does, unless that would answer a question.
    fn interrupt(&mut self) -> bool {
        let asks = self.screen_says().is_some_and(|held| held.why.starts_with(ASKS));
        if self.agent.is_none() || asks || self.launch.interrupt.is_empty() {
            return false;
        }
        self.input.extend(self.launch.interrupt.as_bytes());
        true
    }

    /// Those who announced a message and have left: it may be there.
    pub(super) fn mail_announced(&mut self) {
        let before = self.mailbox.announced.len();
        let clients = &self.clients;
        self.mailbox.announced.retain(|id| clients.knows(*id));
        if self.mailbox.announced.len() < before && self.mailbox.look_at.is_none() {
            self.mailbox.look_at = Some(monotonic());
        }
    }

    /// Somebody who is attached types.
    pub(super) fn mail_typed(&mut self, bytes: &[u8]) {
        let before = self.mailbox.draft.is_empty();
        self.mailbox.draft.typed(bytes);
        self.draft_changed(before);
    }

    /// A text was left in the input line.
    pub(super) fn mail_left(&mut self) {
        let before = self.mailbox.draft.is_empty();
        self.mailbox.draft = Draft::left();
        self.draft_changed(before);
    }

    /// Another text was typed to its end.
    pub(super) fn mailbox_again(&mut self) {
        if self.mailbox.waiting {
            self.mailbox.look_at.get_or_insert(monotonic());
        }
    }

    fn draft_changed(&mut self, before: bool) {
        let now = self.mailbox.draft.is_empty();
        if now == before {
            return;
        }
        // For the host that may come after this one.
        if now {
            let _ = fs::remove_file(&self.layout.draft(&self.id));
            if self.mailbox.waiting {
                self.mailbox.look_at = Some(monotonic() + limits::PAUSE);
            }
        } else {
            let _ = fs::replace(&self.layout.draft(&self.id), b"", 0o600);
        }
    }

    pub(super) fn mail_agent_started(&mut self) {
        let _ = fs::remove_file(&self.layout.draft(&self.id));
        self.mailbox.anew();
    }

    /// The agent has ended in the middle of a message: it was taken if all of it was read; otherwise the next one gets it, whole.
    pub(super) fn mail_agent_ended(&mut self) {
        let Some(delivery) = self.deliveries.take_message() else { return };
        let Some(id) = delivery.message else { return };
        let read = self.input.is_empty() && self.pty.unread_bytes().is_ok_and(|n| n == 0);
        if delivery.pieces.is_empty() && read && !delivery.stays() {
            self.mail_taken(id);
        } else {
            self.put_back(id);
        }
    }

    /// Nobody reads the rest of it; the message waits again.
    fn put_back(&mut self, id: u64) {
        let _ = self.pty.discard_unread();
        self.input.clear();
        self.mail_turn(id, Standing::Queued);
    }

    pub(super) fn mail_taken(&mut self, id: u64) {
        self.mail_turn(id, Standing::Taken);
        self.mailbox.pause = limits::PAUSE;
        match mail::origin(&self.layout, &self.id, id) {
            Some(Origin::Nudge) => {
                self.activity_reminded();
                self.stall_nudged();
            }
            Some(Origin::Wake | Origin::GoOn) => self.activity_reminded(),
            Some(Origin::Sent | Origin::Prompt) | None => self.activity_asked(),
        }
    }

    fn mail_turn(&mut self, id: u64, to: Standing) {
        let now = monotonic();
        match mail::turn(&self.layout, &self.id, id, Standing::Typing, to) {
            Ok(_) => {
                self.mailbox.unwritten = None;
                self.mailbox.look_at = Some(now);
                let _ = fs::remove_file(&self.layout.typing(&self.id));
                let news = self.mail_news();
                self.mailbox.announced.iter().for_each(|client| self.clients.answer(*client, &news));
            }
            Err(e) => {
                self.mailbox.unwritten = (to == Standing::Taken).then_some(id);
                (self.mailbox.why, self.mailbox.look_at) = (e.to_string(), Some(now + TROUBLE_PAUSE));
            }
        }
    }

    /// Takes the first message that waits, if the program takes input now.
    pub(super) fn look_into_mailbox(&mut self, now: Duration) {
        self.mailbox.look_at = None;
        if self.deliveries.is_typing() {
            self.mailbox.why = self.deliveries.why().into();
            return; // its end looks again
        }
        if let Err(e) = self.next_message(now) {
            (self.mailbox.why, self.mailbox.look_at) = (e.to_string(), Some(now + TROUBLE_PAUSE));
        }
    }

    fn next_message(&mut self, now: Duration) -> crate::error::Result<()> {
        let first = mail::waiting(&self.layout, &self.id)?.into_iter().next();
        self.mailbox.waiting = first.is_some();
        self.mailbox.why.clear();
        let Some((id, standing)) = first else { return Ok(()) };
        if self.mailbox.unwritten == Some(id) {
            self.mail_turn(id, Standing::Taken);
            return Ok(());
        }
        if standing == Standing::Typing {
            return self.recover(id, now);
        }
        if let Some(Held { why, look_at }) = self.what_holds(now) {
            (self.mailbox.why, self.mailbox.look_at) = (why, look_at);
            return Ok(());
        }
        let (_, text) = mail::read(&self.layout, &self.id, id, standing)?;
        if let Err(why) = self.can_deliver(&text) {
            self.mailbox.why = why;
            return Ok(());
        }
        if !mail::turn(&self.layout, &self.id, id, Standing::Queued, Standing::Typing)? {
            self.mailbox.look_at = Some(now);
            return Ok(());
        }
        let paste = self.recorder.modes().bracketed_paste;
        self.deliveries.push(Delivery::of_message(id, &text, pieces(&text, paste), 0, paste));
        self.mailbox.why = self.deliveries.why().into();
        Ok(())
    }

    /// A message that was being typed when the host before this one died.
    fn recover(&mut self, id: u64, now: Duration) -> crate::error::Result<()> {
        // The record is written before anything is typed and goes with the terminal: without one, nothing of it stands anywhere.
        let Some(typing) = mail::typing(&self.layout, &self.id).filter(|t| t.message == id) else {
            self.mail_turn(id, Standing::Queued);
            return Ok(());
        };
        let (_, text) = mail::read(&self.layout, &self.id, id, Standing::Typing)?;
        let pieces = pieces(&text, typing.paste);
        let unread = self.pty.unread_bytes().unwrap_or(0);
        let same = self.agent.as_ref().is_some_and(|a| a.id == typing.agent);
        if !same {
            let read = typing.begun >= pieces.len() && unread == 0;
            if read {
                self.mail_taken(id)
            } else {
                self.put_back(id)
            }
            return Ok(());
        }
        // Before it decides, what the dead host has typed has to show: it has just been made to arrive, and its echo is read now.
        self.take_output();
        let printed = self.log_bytes() != typing.log_bytes;
        let last = pieces.get(typing.begun.wrapping_sub(1)).map_or(0, Vec::len) as u64;
        let lost = typing.typed < typing.begun && unread == 0 && ((typing.shows && !printed) || self.has_not_read(&typing.reads, last));
        let begun = typing.begun.saturating_sub(usize::from(lost)).min(pieces.len());
        self.deliveries.push(Delivery::of_message(id, &text, pieces, begun, typing.paste));
        self.mailbox.why = self.deliveries.why().into();
        self.deliver(now);
        Ok(())
    }

    /// At the start of a host's life: what the one before it was typing, where its agent is gone.
    pub(super) fn mail_begin(&mut self) {
        if self.agent.is_none() {
            self.look_into_mailbox(monotonic());
        } else {
            // What the dead host has typed is still on its way to the screen.
            self.mailbox.look_at = Some(monotonic() + limits::PAUSE);
        }
    }

    fn log_bytes(&self) -> u64 {
        match fs::look(&self.layout.log(&self.id)) {
            Ok(fs::Found::File { size_bytes, .. }) => size_bytes,
            Ok(_) | Err(_) => 0,
        }
    }

    /// What each process of the agent's has read so far.
    fn reads(&self) -> Vec<(i32, u64)> {
        self.members().iter().filter_map(|id| Some((id.pid, id.bytes_read()?))).collect()
    }

    /// Whether the agent's processes have certainly read less than this many bytes since, of whatever.
    fn has_not_read(&self, before: &[(i32, u64)], bytes: u64) -> bool {
        let now = self.reads();
        let known = |pid: i32| before.iter().find(|(p, _)| *p == pid).map_or(0, |(_, n)| *n);
        let all_live = !before.is_empty() && before.iter().all(|(pid, _)| now.iter().any(|(p, _)| p == pid));
        all_live && now.iter().map(|(pid, n)| n.saturating_sub(known(*pid))).sum::<u64>() < bytes
    }

    /// Notes that the next piece is about to be typed; answers with what was noted.
    pub(super) fn note_typing(&mut self, message: u64, begun: usize, paste: bool) -> Option<Typing> {
        let agent = self.agent.as_ref()?.id;
        let modes = tcgetattr(&self.pty.slave).map_or(LocalModes::ICANON, |t| t.local_modes);
        let shows = modes.contains(LocalModes::ECHO);
        // The echo of the piece before has to be in the log: what is printed from here on is this one's. A program that prints without end is not waited for.
        let _ = self.pty.unread_bytes();
        let _ = (0..ECHO_READS_MAX).all(|_| self.take_output());
        // A line that is not complete cannot be read yet.
        let reads = if modes.contains(LocalModes::ICANON) { vec![] } else { self.reads() };
        let typing = Typing { message, agent, paste, begun, typed: begun.saturating_sub(1), shows, log_bytes: self.log_bytes(), reads };
        // The runtime folder is memory; where even that is full, what is typed matters more than what a next host would know.
        let _ = mail::write_typing(&self.layout, &self.id, &typing);
        Some(typing)
    }

    /// Notes that the piece which was begun last is in the terminal: from here on its echo may be read, and says nothing to the next host any more.
    pub(super) fn note_typed(&self, typing: Typing) {
        let _ = mail::write_typing(&self.layout, &self.id, &Typing { typed: typing.begun, ..typing });
    }

    /// Why nothing is to be typed now.
    fn what_holds(&mut self, now: Duration) -> Option<Held> {
        if self.agent.is_none() || self.state != State::Up {
            let reason = if self.reason.is_empty() { String::new() } else { format!(": {}", self.reason) };
            return Some(held(format!("the agent is {}{reason}", self.state.word())));
        }
        if !self.deliveries.is_empty() {
            return Some(held("another text is being typed"));
        }
        if !self.mailbox.settled {
            let due = self.mailbox.printed.map_or(self.mailbox.started + limits::MAIL_SETTLE_SILENT, |at| at + limits::MAIL_SETTLE);
            if now < due {
                return Some(Held { why: "the agent has just been started".into(), look_at: Some(due) });
            }
            self.mailbox.settled = true;
        }
        // Some draw their input box before they are ready for a paste, and would take its first letters for keys.
        let due = self.mailbox.started + limits::PASTE_WAIT;
        if self.launch.unsent.is_some() && !self.recorder.modes().bracketed_paste && now < due {
            return Some(Held { why: NO_PASTE.into(), look_at: Some(due) });
        }
        if !self.mailbox.draft.is_empty() {
            return Some(held("a line is half typed in its terminal"));
        }
        let says = self.screen_says();
        if says.is_some() {
            self.mailbox.pause = (self.mailbox.pause * 2).min(limits::LOOK_PAUSE_MAX);
        }
        says
    }

    /// What the screen has against it, where the backend says what to look for.
    fn screen_says(&mut self) -> Option<Held> {
        let says = self.look_at_screen();
        if let Some(words) = says.waiting {
            return Some(held(format!("{ASKS}: {words}")));
        }
        // It was noticed just now; what was said of a limit that has ended may stand there for long.
        if let (Some((words, _)), Some(session::Event::Reached { .. })) = (says.limited, self.events.back()) {
            return Some(held(format!("it is at its limit: {words}")));
        }
        if says.ready == Some(false) {
            return Some(held("it takes no input now"));
        }
        None
    }
}

const NO_PASTE: &str = "it takes no paste yet";
const ASKS: &str = "it waits for a person";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_of_a_text_acts_as_a_key_or_ends_its_paste() {
        let all: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        let hostile = format!("a\x1b[201~\r\x03b\u{9b}201~\r\n{all}");
        for paste in [true, false] {
            let pieces = pieces(&hostile, paste);
            let typed = pieces[..pieces.len() - 1].concat();
            let inner = if paste { &typed[6..typed.len() - 6] } else { &typed[..] };
            let text = std::str::from_utf8(inner).unwrap();
            assert!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')), "{text:?}");
            assert!(!paste || !text.contains('\r'));
            assert_eq!(pieces.last().unwrap(), b"\r");
        }
    }

    #[test]
    fn a_long_text_goes_in_pieces_that_fit_and_comes_out_whole() {
        let text = "0123456789\n".repeat(100_000);
        let pieces = pieces(&text, true);
        assert!(pieces.len() > 30 && pieces.iter().all(|p| p.len() <= limits::PIECE_BYTES_MAX));
        assert_eq!(pieces.concat(), format!("\x1b[200~{text}\x1b[201~\r").into_bytes());
    }
}
