//! Questions to the daemons, each with a time limit: a daemon that hangs must not hang the command too.

use std::io::ErrorKind;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rouse::{self, Rouser};
use crate::contract::control::{FromHost, FromWatchdog, JSON, ToHost, ToWatchdog};
use crate::contract::layout::Layout;
use crate::contract::status::{Activity, AgentStatus, EngineStatus};
use crate::contract::task::Answer;
use crate::core::limits::{SILENCE_MAX, SILENCE_MIN};
use crate::drive::start;
use crate::error::{Error, Result};
use crate::os::clock::{monotonic, now};
use crate::os::lock::Lock;
use crate::os::socket::{Frame, Stream};
use crate::os::succession;

/// What a daemon answers from memory.
const AT_ONCE: Duration = Duration::from_secs(5);
/// Ending an agent takes its grace, starting one what its machine needs.
const SETTLED: Duration = Duration::from_secs(120);

/// So many watchdogs may be found ending, one after the other, before something else must be wrong.
const ENDING_MAX: usize = 10;

fn queue(stream: &mut Stream, who: &str, message: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(message).map_err(|e| Error::failed(e.to_string()))?;
    stream.queue(JSON, &bytes, vec![]);
    stream.flush_by(monotonic() + AT_ONCE).map_err(|e| silent(stream, who, &e))
}

fn silent(stream: &Stream, who: &str, error: &std::io::Error) -> Error {
    // The watchdog's socket was opened by the command that started it, and bears that one's number.
    let pid = stream.peer_pid().filter(|_| who != WATCHDOG).map(|p| format!(" (pid {p})")).unwrap_or_default();
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            Error::failed(format!("{who}{pid} hung up before it had answered"))
                .hint("it has ended, or has more clients than it takes: run the same command again")
        }
        ErrorKind::TimedOut => Error::failed(format!("{who}{pid} does not answer"))
            .hint("it may be stopped or the machine overloaded; when killed it is replaced, and the agents live on"),
        _ => Error::failed(format!("{who}{pid}: {error}")),
    }
}

fn frame(stream: &mut Stream, who: &str, limit: Duration) -> Result<Frame> {
    stream.next_by(monotonic() + limit).map_err(|e| silent(stream, who, &e))
}

fn answer<T: DeserializeOwned>(stream: &mut Stream, who: &str, limit: Duration) -> Result<T> {
    let frame = frame(stream, who, limit)?;
    serde_json::from_slice(&frame.payload).map_err(|e| strange(who).because(e))
}

fn strange(who: &str) -> Error {
    Error::failed(format!("{who} answered something else than was asked"))
        .hint("it may be of another version: `agents down`, then `agents up`")
}

const WATCHDOG: &str = "the watchdog";

/// The whole project's state, by its watchdog; none where none runs.
pub(super) fn status(layout: &Layout) -> Result<Option<EngineStatus>> {
    let mut tries = 0;
    loop {
        tries += 1;
        let Ok(mut stream) = Stream::connect(&layout.watchdog_socket()) else { return Ok(None) };
        stream.queue(JSON, &serde_json::to_vec(&ToWatchdog::Status).map_err(|e| Error::failed(e.to_string()))?, vec![]);
        match stream.flush_by(monotonic() + AT_ONCE).and_then(|()| stream.next_by(monotonic() + AT_ONCE)) {
            Ok(frame) => return status_in(serde_json::from_slice(&frame.payload).map_err(|e| strange(WATCHDOG).because(e))?).map(Some),
            // It was just ending: there is another one now, or none.
            Err(e) if has_hung_up(&e) && tries < ENDING_MAX => {}
            Err(e) => {
                let error = silent(&stream, WATCHDOG, &e);
                return Err(match rouse::hint(layout) {
                    Some(hint) => Error { hints: vec![hint], ..error },
                    None => error,
                });
            }
        }
    }
}

/// The same, on a connection that is there, for a command that goes on to change something: a watchdog that was stopped is woken.
pub(super) fn status_of(layout: &Layout, stream: &mut Stream) -> Result<EngineStatus> {
    status_in(exchange(layout, stream, &ToWatchdog::Status, AT_ONCE)?)
}

fn status_in(answer: FromWatchdog) -> Result<EngineStatus> {
    match answer {
        FromWatchdog::Status { status } => Ok(status),
        FromWatchdog::Settled { .. } | FromWatchdog::Upgraded { .. } | FromWatchdog::Tasks { .. } => Err(strange(WATCHDOG)),
        FromWatchdog::Failed { reason } => Err(Error::failed(reason)),
    }
}

/// Asks the watchdog and waits for its answer. Daemons that were stopped are woken or replaced meanwhile. Where the watchdog hangs up, because it was just
/// ending, was killed or had to be, the next one is asked the same: whatever is asked may be asked twice.
fn exchange(layout: &Layout, stream: &mut Stream, message: &ToWatchdog, limit: Duration) -> Result<FromWatchdog> {
    let bytes = serde_json::to_vec(message).map_err(|e| Error::failed(e.to_string()))?;
    let mut rouser = Rouser::of(layout);
    for _ in 0..ENDING_MAX {
        stream.queue(JSON, &bytes, vec![]);
        match stream.flush_by(monotonic() + AT_ONCE).and_then(|()| patient(&mut rouser, stream, limit)) {
            Ok(frame) => return serde_json::from_slice(&frame.payload).map_err(|e| strange(WATCHDOG).because(e)),
            Err(e) if has_hung_up(&e) => *stream = start::watchdog(layout)?,
            Err(e) => return Err(silent(stream, WATCHDOG, &e)),
        }
    }
    Err(Error::failed("the watchdog hangs up again and again before it answers")
        .hint("it ends each time, or has more clients than it takes: run the same command again"))
}

/// The watchdog's next frame; after some silence those who were stopped are roused.
fn patient(rouser: &mut Rouser<'_>, stream: &mut Stream, limit: Duration) -> std::io::Result<Frame> {
    let end = monotonic() + limit;
    let mut silence = SILENCE_MIN;
    loop {
        match stream.next_by(end.min(monotonic() + silence)) {
            Err(e) if e.kind() == ErrorKind::TimedOut && monotonic() < end => rouser.rouse(),
            heard => return heard,
        }
        silence = SILENCE_MAX.min(silence * 2);
    }
}

fn has_hung_up(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

/// Asks the watchdog to act, and waits until all of it has come to rest.
pub(super) fn settle(layout: &Layout, stream: &mut Stream, message: &ToWatchdog) -> Result<Vec<AgentStatus>> {
    match exchange(layout, stream, message, SETTLED)? {
        FromWatchdog::Settled { sessions } => Ok(sessions),
        FromWatchdog::Status { .. } | FromWatchdog::Upgraded { .. } | FromWatchdog::Tasks { .. } => Err(strange(WATCHDOG)),
        FromWatchdog::Failed { reason } => Err(Error::failed(reason)),
    }
}

/// [`settle`] for one session, with a watchdog that is started if there is none.
pub(super) fn settle_one(layout: &Layout, session: &str) -> Result<Option<AgentStatus>> {
    match insist(layout, &ToWatchdog::Settle { sessions: vec![session.to_owned()], asked: Some(now()) })? {
        FromWatchdog::Settled { sessions } => Ok(sessions.into_iter().next()),
        FromWatchdog::Failed { reason } => Err(Error::failed(reason)),
        FromWatchdog::Status { .. } | FromWatchdog::Upgraded { .. } | FromWatchdog::Tasks { .. } => Err(strange(WATCHDOG)),
    }
}

/// What is wanted of tasks, of a watchdog that is started if there is none; an answer for each when it is done and on disk for good.
pub(super) fn tasks(layout: &Layout, message: &ToWatchdog) -> Result<Vec<Answer>> {
    match insist(layout, message)? {
        FromWatchdog::Tasks { answers } => Ok(answers),
        FromWatchdog::Failed { reason } => Err(Error::failed(reason)),
        FromWatchdog::Status { .. } | FromWatchdog::Upgraded { .. } | FromWatchdog::Settled { .. } => Err(strange(WATCHDOG)),
    }
}

/// [`exchange`] with a watchdog that is started if there is none.
fn insist(layout: &Layout, message: &ToWatchdog) -> Result<FromWatchdog> {
    exchange(layout, &mut start::watchdog(layout)?, message, SETTLED)
}

/// Has the session's host see to its pane in tmux, and waits until it is there. `hung`: tmux does not answer. An error: why there is none.
pub(super) fn pane(layout: &Layout, session: &str, hung: bool) -> Result<()> {
    let mut stream = Stream::connect(&layout.host_socket(session)).map_err(|_| not_running(session))?;
    queue(&mut stream, &who(session), &ToHost::Pane { hung })?;
    let frame = match stream.next_by(monotonic() + AT_ONCE) {
        Err(e) if e.kind() == ErrorKind::TimedOut => return Err(Error::failed(format!("its pane is not there after {AT_ONCE:?}"))),
        frame => frame.map_err(|e| silent(&stream, &who(session), &e))?,
    };
    match serde_json::from_slice(&frame.payload) {
        Ok(FromHost::Done) => Ok(()),
        Ok(FromHost::Failed { reason }) => Err(Error::failed(reason)),
        Ok(_) | Err(_) => Err(strange(&who(session))),
    }
}

/// Makes the watchdog and all hosts become the program that runs this command; how many hosts there are. An error: why they go on as they are.
pub(super) fn upgrade(layout: &Layout, stream: &mut Stream) -> Result<usize> {
    let message = serde_json::to_vec(&ToWatchdog::Upgrade).map_err(|e| Error::failed(e.to_string()))?;
    stream.queue(JSON, &message, vec![succession::own_program()?]);
    let said = stream.flush_by(monotonic() + AT_ONCE).and_then(|()| patient(&mut Rouser::of(layout), stream, SETTLED));
    let frame = said.map_err(|e| silent(stream, WATCHDOG, &e))?;
    match serde_json::from_slice(&frame.payload).map_err(|e| strange(WATCHDOG).because(e))? {
        FromWatchdog::Upgraded { hosts } => Ok(hosts),
        FromWatchdog::Status { .. } | FromWatchdog::Settled { .. } | FromWatchdog::Tasks { .. } => Err(strange(WATCHDOG)),
        FromWatchdog::Failed { reason } => Err(Error::failed(reason)),
    }
}

/// A connection on which the watchdog sends its status at every change; none where none runs.
pub(super) fn subscribe(layout: &Layout) -> Result<Option<Stream>> {
    let Ok(mut stream) = Stream::connect(&layout.watchdog_socket()) else { return Ok(None) };
    queue(&mut stream, WATCHDOG, &ToWatchdog::Subscribe)?;
    Ok(Some(stream))
}

/// A session's host, or why there is nobody to talk to.
fn host(layout: &Layout, session: &str) -> Result<Stream> {
    Stream::connect(&layout.host_socket(session)).map_err(|e| match e.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => not_running(session),
        _ => Error::from(e),
    })
}

pub(super) fn not_running(session: &str) -> Error {
    Error::failed(format!("session {session} is not running")).hint(format!("`agents why {session}` says why, `agents up` starts it"))
}

fn who(session: &str) -> String {
    format!("the host of {session}")
}

/// What a session's host says of it.
pub(super) fn report(layout: &Layout, session: &str) -> Result<AgentStatus> {
    let mut stream = host(layout, session)?;
    queue(&mut stream, &who(session), &ToHost::Status)?;
    let answer = answer(&mut stream, &who(session), AT_ONCE).map_err(|e| match rouse::hint(layout) {
        Some(hint) => Error { hints: vec![hint], ..e },
        None => e,
    });
    match answer? {
        FromHost::Report { status, .. } => Ok(*status),
        FromHost::Failed { reason } => Err(Error::failed(reason)),
        FromHost::Spoke
        | FromHost::Activity { .. }
        | FromHost::Mail { .. }
        | FromHost::Taken
        | FromHost::Done
        | FromHost::Detached { .. }
        | FromHost::Upgraded
        | FromHost::NotUpgraded { .. } => Err(strange(&who(session))),
    }
}

/// Gives the agent a text; returns when it has taken it.
pub(super) fn send(layout: &Layout, session: &str, text: String, submit: bool, limit: Duration) -> Result<()> {
    let mut stream = host(layout, session)?;
    queue(&mut stream, &who(session), &ToHost::Send { text, submit, timeout_ms: limit.as_millis() as u64 })?;
    match answer(&mut stream, &who(session), limit + AT_ONCE)? {
        FromHost::Taken => Ok(()),
        FromHost::Failed { reason } => {
            Err(Error::failed(format!("session {session} has not taken the text: {reason}")).hint(format!("agents capture {session}")))
        }
        FromHost::Detached { reason } => Err(Error::failed(format!("session {session} has not taken the text: {reason}"))),
        FromHost::Report { .. }
        | FromHost::Spoke
        | FromHost::Activity { .. }
        | FromHost::Mail { .. }
        | FromHost::Done
        | FromHost::Upgraded
        | FromHost::NotUpgraded { .. } => Err(strange(&who(session))),
    }
}

/// What a hook of the agent's program says.
pub(super) fn hook(layout: &Layout, session: &str, activity: Activity, what: String) -> Result<()> {
    let mut stream = host(layout, session)?;
    queue(&mut stream, &who(session), &ToHost::Hook { activity, what })?;
    match answer(&mut stream, &who(session), AT_ONCE)? {
        FromHost::Taken => Ok(()),
        FromHost::Failed { reason } | FromHost::Detached { reason } => Err(Error::failed(reason)),
        FromHost::Report { .. }
        | FromHost::Spoke
        | FromHost::Activity { .. }
        | FromHost::Mail { .. }
        | FromHost::Done
        | FromHost::Upgraded
        | FromHost::NotUpgraded { .. } => Err(strange(&who(session))),
    }
}

/// The last `lines` lines above the screen, and the screen.
pub(super) fn capture(layout: &Layout, session: &str, lines: usize, styled: bool) -> Result<Vec<u8>> {
    let mut stream = host(layout, session)?;
    queue(&mut stream, &who(session), &ToHost::Capture { lines, styled })?;
    let frame = frame(&mut stream, &who(session), AT_ONCE * 6)?;
    if frame.kind != JSON {
        return Ok(frame.content()?);
    }
    match serde_json::from_slice(&frame.payload) {
        Ok(FromHost::Failed { reason }) => Err(Error::failed(reason)),
        Ok(_) | Err(_) => Err(strange(&who(session))),
    }
}

/// A session's host, which is told of mail; or why there is none to tell.
pub(super) struct Mailbox {
    stream: Result<Stream>,
    /// What the host says to the announcement was not read yet.
    unheard: bool,
}

impl Mailbox {
    fn new(layout: &Layout, session: &str) -> Mailbox {
        Mailbox { stream: host(layout, session), unheard: false }
    }

    /// From now on the host looks into the box when this connection ends, however it ends. What it says to that is heard when there is more to say, as it
    /// reads what was asked also of who has died; or at once where it must not find by this what is put there next: what interrupts first.
    pub(super) fn open(layout: &Layout, session: &str, interrupts: bool) -> Mailbox {
        let mut mailbox = Mailbox::new(layout, session);
        let told = if interrupts { mailbox.ask(session, false).map(drop) } else { mailbox.queue(session, false) };
        match told {
            Ok(()) => mailbox.unheard = !interrupts,
            Err(e) => mailbox.stream = Err(e),
        }
        mailbox
    }

    fn queue(&mut self, session: &str, interrupt: bool) -> Result<()> {
        let stream = self.stream.as_mut().map_err(|e| Error::failed(&e.message))?;
        queue(stream, &who(session), &ToHost::Mail { interrupt })
    }

    fn ask(&mut self, session: &str, interrupt: bool) -> Result<(String, bool)> {
        if std::mem::take(&mut self.unheard) {
            self.answer(session)?;
        }
        self.queue(session, interrupt)?;
        self.answer(session)
    }

    fn answer(&mut self, session: &str) -> Result<(String, bool)> {
        let stream = self.stream.as_mut().map_err(|e| Error::failed(&e.message))?;
        match answer(stream, &who(session), AT_ONCE)? {
            FromHost::Mail { why, soon } => Ok((why, soon)),
            FromHost::Failed { reason } | FromHost::Detached { reason } => Err(Error::failed(reason)),
            FromHost::Taken
            | FromHost::Spoke
            | FromHost::Activity { .. }
            | FromHost::Report { .. }
            | FromHost::Done
            | FromHost::Upgraded
            | FromHost::NotUpgraded { .. } => Err(strange(&who(session))),
        }
    }

    /// The message is there: why it is not taken yet, and whether it will be in a moment. Where there is no host, the next one finds it.
    pub(super) fn there_is_mail(&mut self, layout: &Layout, session: &str, interrupt: bool) -> (String, bool) {
        let mut told = self.ask(session, interrupt);
        if told.is_err() {
            // That host may have been replaced meanwhile.
            told = Mailbox::new(layout, session).ask(session, interrupt);
        }
        told.unwrap_or_else(|e| (e.message, Lock::is_held(&layout.host_lock(session)).unwrap_or(false)))
    }

    /// Waits until the host has news of the box. False: it had none by `deadline`, or hung up.
    pub(super) fn has_news_by(&mut self, deadline: Duration) -> bool {
        self.stream.as_mut().is_ok_and(|stream| stream.next_by(deadline).is_ok())
    }

    /// Why the first message that waits is not taken.
    pub(super) fn why(layout: &Layout, session: &str) -> Result<String> {
        let mut mailbox = Mailbox::new(layout, session);
        Ok(mailbox.ask(session, false).map_or_else(|e| e.message, |(why, _)| why))
    }
}
