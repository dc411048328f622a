//! The client of an attached terminal: keys go to the host, output comes from it, and the user's terminal is whole afterwards.

mod key;
mod shown;

use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub use key::DetachKey;
use shown::Shown;

use crate::cli::out;
use crate::contract::control::{BYTES, FromHost, JSON, ToHost};
use crate::core::limits::{HOST_RETURN, INPUT_QUEUE_BYTES_MAX, PANE_HISTORY_LINES};
use crate::error::{Error, Result};
use crate::os::follow::Changes;
use crate::os::socket::{Fill, Stream};
use crate::os::{clock, pty, signal};

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detached {
    /// By the detach key.
    ByKey,
    /// The agent ended, or its host is about to.
    Ended { reason: String },
    /// By a signal to this process, or its terminal is gone.
    Signal(i32),
}

/// The terminal in raw mode, where the panic hook finds it too: `panic = "abort"` runs no destructors.
static RAW: Mutex<Option<pty::Raw>> = Mutex::new(None);

fn leave(bytes: &[u8]) {
    let raw = RAW.lock().map_or_else(|poisoned| poisoned.into_inner().take(), |mut raw| raw.take());
    if raw.is_some() {
        out::raw(bytes);
    }
}

/// Shows a session's terminal on this one until the user detaches or the agent ends. Whatever happens, this terminal is whole afterwards.
pub fn attach(socket: &Path, session_name: &str, detach_key: DetachKey, read_only: bool) -> Result<Detached> {
    show(socket, session_name, Manner { detach_key: Some(detach_key), read_only, history: 0 })
}

/// The same in a pane of tmux, which keeps what scrolls away and knows how to detach.
pub fn pane(socket: &Path, session_name: &str) -> Result<Detached> {
    show(socket, session_name, Manner { detach_key: None, read_only: false, history: PANE_HISTORY_LINES })
}

/// How a client shows a session.
#[derive(Debug, Clone, Copy)]
struct Manner {
    /// None: it stands in a pane.
    detach_key: Option<DetachKey>,
    read_only: bool,
    /// So many lines of scrollback are wanted.
    history: usize,
}

fn show(socket: &Path, session_name: &str, manner: Manner) -> Result<Detached> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    if !stdin.is_terminal() || !stdout.is_terminal() {
        return Err(Error::usage("attach needs a terminal; standard input or output is none").hint("agents logs -f shows output anywhere"));
    }
    let host = connect(socket, session_name)?;
    let signals = signal::descriptor(&[libc::SIGWINCH, libc::SIGTERM, libc::SIGHUP, libc::SIGINT])?;
    if let Some(key) = manner.detach_key {
        let watching = if manner.read_only { ", keys are not sent" } else { "" };
        out::say(format!("attached to {session_name}; {key} detaches{watching}"));
    }
    let size = pty::size(&stdin)?;
    *RAW.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(pty::Raw::enter(&stdin)?);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        leave(&Shown::new().whole());
        before(info);
    }));
    if manner.detach_key.is_some() {
        out::raw(&shown::entering(size.rows));
    }
    let mut client = Client { socket, session_name, manner, host, signals, shown: Shown::new(), typed: vec![] };
    let ended = client.run();
    leave(&client.shown.whole());
    drop(std::panic::take_hook());
    ended
}

fn connect(socket: &Path, session_name: &str) -> Result<Stream> {
    Stream::connect(socket).map_err(|e| {
        let error = Error::failed(format!("{session_name} has no host to attach to")).because(e);
        error.hint("agents status shows what runs; agents up starts it")
    })
}

struct Client<'a> {
    socket: &'a Path,
    session_name: &'a str,
    manner: Manner,
    host: Stream,
    signals: OwnedFd,
    shown: Shown,
    /// The end of what was typed, where the detach key may have begun.
    typed: Vec<u8>,
}

impl Client<'_> {
    fn run(&mut self) -> Result<Detached> {
        self.begin()?;
        loop {
            let _ = self.host.flush();
            let writes = if self.host.queued_bytes() > 0 { PollFlags::OUT } else { PollFlags::empty() };
            let reads = if self.host.queued_bytes() > INPUT_QUEUE_BYTES_MAX { PollFlags::empty() } else { PollFlags::IN };
            let stdin = std::io::stdin();
            let [typed, signalled, said] =
                ready([(stdin.as_fd(), reads), (self.signals.as_fd(), PollFlags::IN), (self.host.as_fd(), PollFlags::IN | writes)], None)?;
            if let Some(ended) = self.own_events(typed, signalled)? {
                return Ok(ended);
            }
            if said && let Some(ended) = self.host_events()? {
                return Ok(ended);
            }
        }
    }

    fn begin(&mut self) -> Result<()> {
        let size = pty::size(std::io::stdin())?;
        let Manner { detach_key, read_only, history } = self.manner;
        self.ask(&ToHost::Attach { size, read_only, pane: detach_key.is_none(), history });
        // Another host's screen comes below what is there already.
        self.manner.history = 0;
        Ok(())
    }

    fn ask(&mut self, message: &ToHost) {
        self.host.queue(JSON, &serde_json::to_vec(message).unwrap_or_default(), vec![]);
    }

    /// Keys and signals.
    fn own_events(&mut self, typed: bool, signalled: bool) -> Result<Option<Detached>> {
        while signalled && let Some(signal) = signal::next(&self.signals) {
            if signal != libc::SIGWINCH {
                return Ok(Some(Detached::Signal(signal)));
            }
            let size = pty::size(std::io::stdin())?;
            self.ask(&ToHost::Resize { size });
        }
        if !typed {
            return Ok(None);
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(std::io::stdin(), &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::IO) => Ok(Some(Detached::Signal(libc::SIGHUP))),
            Ok(n) => Ok(self.keys(&buffer[..n])),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(None),
            Err(e) => Err(std::io::Error::from(e).into()),
        }
    }

    fn keys(&mut self, typed: &[u8]) -> Option<Detached> {
        let old = self.typed.len();
        self.typed.extend_from_slice(typed);
        let found = self.manner.detach_key.and_then(|key| key.find(&self.typed));
        let to_send = found.map_or(typed.len(), |at| at.saturating_sub(old));
        if !self.manner.read_only && to_send > 0 {
            self.host.queue(BYTES, &typed[..to_send], vec![]);
        }
        if found.is_some() {
            let _ = self.host.flush();
            return Some(Detached::ByKey);
        }
        // Only a sequence that has not ended is looked at again with what follows.
        let begun = self.typed.iter().rposition(|b| *b == 0x1b).unwrap_or(self.typed.len());
        let open = self.typed.get(begun..).is_some_and(|s| s.len() < 24 && !s.iter().skip(2).any(|b| (0x40..0x7f).contains(b)));
        self.typed.drain(..if open { begun } else { self.typed.len() });
        None
    }

    /// What the host has to say.
    fn host_events(&mut self) -> Result<Option<Detached>> {
        let fill = self.host.fill().unwrap_or(Fill::End);
        while let Some(frame) = self.host.next_frame()? {
            if frame.kind == BYTES {
                out::raw(&self.shown.filter(&frame.payload));
                continue;
            }
            match serde_json::from_slice(&frame.payload) {
                Ok(FromHost::Detached { reason }) => return Ok(Some(Detached::Ended { reason })),
                Ok(FromHost::Failed { reason }) => return Err(Error::failed(format!("{}: {reason}", self.session_name))),
                _ => {} // a newer host may say more
            }
        }
        if fill == Fill::End { self.reconnect() } else { Ok(None) }
    }

    /// The host is gone without a word: another one adopts the agent, and listens at the same place within milliseconds.
    fn reconnect(&mut self) -> Result<Option<Detached>> {
        let mut folder = Changes::of(self.socket.parent().unwrap_or(Path::new(".")))?;
        let deadline = clock::monotonic() + HOST_RETURN;
        loop {
            if let Ok(host) = Stream::connect(self.socket) {
                self.host = host;
                out::raw(&self.shown.anew());
                self.begin()?;
                return Ok(None);
            }
            let left = deadline.saturating_sub(clock::monotonic());
            if left.is_zero() {
                return Err(Error::failed(format!("{}: its host is gone and none came back within {HOST_RETURN:?}", self.session_name))
                    .hint("agents why tells what happened; agents up starts it again"));
            }
            let stdin = std::io::stdin();
            let waiting = [(stdin.as_fd(), PollFlags::IN), (self.signals.as_fd(), PollFlags::IN), (folder.as_fd(), PollFlags::IN)];
            let [typed, signalled, named] = ready(waiting, Some(left))?;
            if let Some(ended) = self.own_events(typed, signalled)? {
                return Ok(Some(ended));
            }
            if named {
                folder.drain()?;
            }
        }
    }
}

/// Waits until one of the descriptors is ready, or time is up; which are.
fn ready<const N: usize>(wanted: [(BorrowedFd<'_>, PollFlags); N], timeout: Option<Duration>) -> Result<[bool; N]> {
    let mut polled = wanted.each_ref().map(|(fd, flags)| PollFd::new(fd, *flags));
    let timeout = timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(polled.each_ref().map(|p| !p.revents().is_empty())),
        Err(e) => Err(std::io::Error::from(e).into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;
    use crate::os::process::ProcessId;
    use crate::os::pty::{Program, Pty, Size};
    use crate::os::socket::{Frame, Listener};
    use crate::os::wait::readable;
    use std::collections::BTreeMap;

    const SOCKET: &str = "TERM_CLIENT_TEST_SOCKET";
    const READ_ONLY: &str = "TERM_CLIENT_TEST_READ_ONLY";
    /// Generous, as machines are slow now and then; what is waited for takes milliseconds.
    const PATIENCE: Duration = Duration::from_secs(120);

    /// The client itself, run by the tests below in a terminal of its own.
    #[test]
    #[ignore = "a part of other tests"]
    fn client_process() {
        let Ok(socket) = std::env::var(SOCKET) else { return };
        let ended = attach(Path::new(&socket), "int-1 (lead)", DetachKey::default(), std::env::var(READ_ONLY).is_ok());
        out::fact(format!("ended: {ended:?}"));
    }

    struct Stage {
        folder: tempfile::TempDir,
        pty: Pty,
        client: ProcessId,
        shown: Vec<u8>,
        listener: Listener,
        host: Stream,
        sane: String,
    }

    fn soon() -> Duration {
        clock::monotonic() + PATIENCE
    }

    fn settings(pty: &Pty) -> String {
        format!("{:?}", rustix::termios::tcgetattr(&pty.slave).unwrap())
    }

    impl Stage {
        fn new(env: &[&str]) -> Stage {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("s.sock");
            let listener = Listener::bind(&socket).unwrap();
            let pty = Pty::open(Size { rows: 10, cols: 40 }).unwrap();
            let sane = settings(&pty);
            let lock = crate::os::process::duplicate(&pty.master).unwrap();
            let mut vars = BTreeMap::from([(SOCKET.to_owned(), socket.display().to_string())]);
            vars.extend(env.iter().map(|name| ((*name).to_owned(), "1".to_owned())));
            let words = ["--exact", "term::client::tests::client_process", "--ignored", "--nocapture", "--test-threads=1"];
            // The test program runs the client in one of its threads: signals must be blocked in all of them, so from the start.
            let program =
                ["env".to_owned(), "--block-signal=WINCH,TERM,HUP,INT".to_owned(), std::env::current_exe().unwrap().display().to_string()];
            let argv: Vec<String> = program.into_iter().chain(words.map(String::from)).collect();
            let program = Program { argv: &argv, folder: folder.path(), env: &vars, env_remove: &[], lock: lock.as_fd(), group: None };
            let client = pty::spawn(&pty, &program).unwrap();
            let host = accept(&listener);
            Stage { folder, pty, client, shown: vec![], listener, host, sane }
        }

        fn asked(&mut self) -> ToHost {
            let frame = self.frame();
            assert_eq!(frame.kind, JSON);
            serde_json::from_slice(&frame.payload).unwrap()
        }

        fn frame(&mut self) -> Frame {
            self.host.next_by(soon()).unwrap()
        }

        fn say(&mut self, kind: u8, payload: &[u8]) {
            self.host.queue(kind, payload, vec![]);
            self.host.flush_by(soon()).unwrap();
        }

        fn press(&self, keys: &[u8]) {
            rustix::io::write(&self.pty.master, keys).unwrap();
        }

        /// Waits until the user's terminal has been sent this.
        fn shows(&mut self, text: &str) {
            while !String::from_utf8_lossy(&self.shown).contains(text) {
                let left = readable(&[self.pty.master.as_fd()], Some(soon())).unwrap();
                assert!(left[0], "{text:?} not in {:?}", String::from_utf8_lossy(&self.shown));
                let mut buffer = [0; 4096];
                let read = rustix::io::read(&self.pty.master, &mut buffer).unwrap();
                self.shown.extend_from_slice(&buffer[..read]);
            }
        }

        fn ends_whole(&mut self, how: &str) {
            self.shows(how);
            let shown = String::from_utf8_lossy(&self.shown).into_owned();
            for off in ["\x1b[?25h", "\x1b[?2004l", "\x1b[?1004l", "\x1b[?1000l", "\x1b[m"] {
                assert!(shown.contains(off), "{off:?} not in {shown:?}");
            }
            assert_eq!(settings(&self.pty), self.sane);
        }
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            self.client.signal(rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(rustix::process::Pid::from_raw(self.client.pid), rustix::process::WaitOptions::empty());
        }
    }

    fn accept(listener: &Listener) -> Stream {
        assert!(readable(&[listener.as_fd()], Some(soon())).unwrap()[0], "nobody connected");
        listener.accept().unwrap()
    }

    #[test]
    fn keys_go_in_output_comes_out_and_the_detach_key_ends_it() {
        let mut s = Stage::new(&[]);
        s.shows("attached to int-1 (lead); Ctrl-\\ detaches");
        assert_eq!(s.asked(), ToHost::Attach { size: Size { rows: 10, cols: 40 }, read_only: false, pane: false, history: 0 });
        s.say(BYTES, b"\x1b[?1049h\x1b[>1u\x1b[?2004hhello\x1b[6n\x1b[c there");
        s.shows("hello there");
        s.press(b"ls\r\x03");
        assert_eq!(s.frame().payload, b"ls\r\x03");
        pty::set_size(&s.pty.master, Size { rows: 20, cols: 50 }).unwrap();
        assert_eq!(s.asked(), ToHost::Resize { size: Size { rows: 20, cols: 50 } });
        s.press(b"x\x1b[92;5u");
        assert_eq!(s.frame().payload, b"x");
        s.ends_whole("ended: Ok(ByKey)");
        let shown = String::from_utf8_lossy(&s.shown).into_owned();
        assert!(shown.contains("\x1b[<1u\x1b[?1049l"), "{shown:?}");
    }

    #[test]
    fn the_agents_end_and_a_signal_leave_the_terminal_whole() {
        let mut s = Stage::new(&[]);
        s.asked();
        let bye = serde_json::to_vec(&FromHost::Detached { reason: "the agent ended: exit 0".into() }).unwrap();
        s.say(BYTES, b"\x1b[?25l\x1b[31mcut \x1b]2;off");
        s.say(JSON, &bye);
        s.ends_whole("ended: Ok(Ended { reason: \"the agent ended: exit 0\" })");
        use rustix::process::Signal;
        for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
            let mut s = Stage::new(&[]);
            s.asked();
            s.client.signal(signal);
            s.ends_whole(&format!("ended: Ok(Signal({}))", signal.as_raw()));
        }
    }

    #[test]
    fn a_new_host_at_the_same_place_is_found() {
        let mut s = Stage::new(&[READ_ONLY]);
        s.asked();
        let socket = s.folder.path().join("s.sock");
        std::fs::remove_file(&socket).unwrap();
        let (away, _) = Stream::pair().unwrap();
        drop(std::mem::replace(&mut s.host, away));
        s.listener = Listener::bind(&socket).unwrap();
        s.host = accept(&s.listener);
        assert_eq!(s.asked(), ToHost::Attach { size: Size { rows: 10, cols: 40 }, read_only: true, pane: false, history: 0 });
        s.press(b"not sent\x1c");
        s.ends_whole("ended: Ok(ByKey)");
        assert!(s.host.next_by(soon()).is_err(), "a reader's keys were sent");
    }
}
