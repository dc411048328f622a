//! INT, TERM and HUP in a command that changes something: its other threads stand still where they would go on, and its children are ended.
//!
//! Ctrl-C goes to a whole process group, so git may be gone before this process has heard of it, and a hook that git had started is then nobody's below
//! us any more. So whoever is to be ended with us bears a mark (`Mark`). What lost: *being a subreaper all the while* makes us the parent of daemons that
//! another command has left on purpose, which then end with us; *being one only while git runs* does so too where both run side by side; *git in a process group
//! of its own*, which only we signal, is in the background of its terminal, where whoever asks for a passphrase is stopped.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::clock::monotonic;
use super::env::AGENTS_COMMAND;
use super::process::{ProcessId, Tree, become_subreaper, wait_for_end};

/// Where the handler writes the number of what arrived; -1: nobody reads.
static TOLD: AtomicI32 = AtomicI32::new(-1);
/// Set by the handler itself: who waits for a child that ended by the same signal must not take that for a failure.
static ENDING: AtomicBool = AtomicBool::new(false);
/// Held by whoever is just starting a process.
static STARTS: RwLock<()> = RwLock::new(());
/// Of the commands under way.
static MARKS: Mutex<Vec<String>> = Mutex::new(vec![]);

/// How long what runs may go on before it is asked to end. Most of what git does is done by then; asked in the moment in which it makes a lock file, it leaves
/// that behind (a signal that arrives during the call finds a file that git has not noted yet), and every later git stops at it.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long a killed process may take to be gone; only a kernel that waits for a device takes longer.
const GONE: Duration = Duration::from_secs(5);

/// What asks a process to end.
const HEARD: [libc::c_int; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

/// Signals that ask this process to end, as they arrive. Dropped, they end it as they end any other.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Drop for Signals {
    fn drop(&mut self) {
        for signal in HEARD {
            // SAFETY: a plain system call on structures of this frame; only our own handler is taken away.
            unsafe {
                let mut now: libc::sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &mut now);
                if now.sa_sigaction == note as extern "C" fn(libc::c_int) as usize {
                    libc::signal(signal, libc::SIG_DFL);
                }
            }
        }
    }
}

extern "C" fn note(signal: libc::c_int) {
    // SAFETY: only calls that a signal handler may make; what interrupted code sees of errno is put back.
    unsafe {
        let errno = *libc::__errno_location();
        ENDING.store(true, Ordering::SeqCst);
        let byte = signal as u8;
        libc::write(TOLD.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// From now on these signals end nothing by themselves. What was ignored (`nohup`) stays ignored; children begin with the usual handling.
pub fn watch() -> io::Result<Signals> {
    let (read, write) = io::pipe()?;
    rustix::io::ioctl_fionbio(&write, true)?;
    TOLD.store(std::os::fd::IntoRawFd::into_raw_fd(write), Ordering::Relaxed);
    for signal in HEARD {
        // SAFETY: both structures are plain data and initialised; the handler is as it must be.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut before);
            if before.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = note as extern "C" fn(libc::c_int) as usize;
            action.sa_flags = libc::SA_RESTART;
            if libc::sigaction(signal, &action, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(Signals(read.into()))
}

impl Signals {
    /// Waits for the next one, as long as it takes.
    pub fn next(&self) -> io::Result<i32> {
        let mut byte = [0];
        loop {
            match rustix::io::read(&self.0, &mut byte) {
                Ok(1..) => return Ok(i32::from(byte[0])),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Nobody in this process starts another one any more or goes on after one that has ended; all below it are ended, save daemons: what is not done in a
    /// moment with TERM, and with KILL after `grace`, or at once where another signal comes.
    pub fn end_children(&self, grace: Duration) {
        // Whoever was just starting a process has done so.
        drop(STARTS.write());
        // What a child leaves behind when it ends becomes ours.
        let _ = become_subreaper();
        let marks = marks().iter().map(|mark| format!("{AGENTS_COMMAND}={mark}")).collect::<Vec<_>>();
        let patience = monotonic() + PATIENCE.min(grace);
        loop {
            let members = members(&marks);
            if members.is_empty() {
                return;
            }
            if self.or_ended(&members, patience) {
                break;
            }
        }
        let deadline = monotonic() + grace;
        let mut told: HashSet<ProcessId> = HashSet::new();
        loop {
            let members = members(&marks);
            if members.is_empty() {
                return;
            }
            for member in members.iter().filter(|m| told.insert(**m)) {
                member.signal(Signal::TERM);
                member.signal(Signal::CONT);
            }
            if self.or_ended(&members, deadline) {
                break;
            }
        }
        let last = monotonic() + GONE;
        loop {
            let members = members(&marks);
            if members.is_empty() || monotonic() > last {
                return;
            }
            for member in members {
                member.signal(Signal::KILL);
                if let Some(process) = member.open() {
                    let _ = wait_for_end(&process, last);
                }
            }
        }
    }

    /// Waits until one of these has ended. True: it is enough of waiting.
    fn or_ended(&self, members: &[ProcessId], deadline: Duration) -> bool {
        let open: Vec<OwnedFd> = members.iter().filter_map(|m| m.open()).collect();
        let left = deadline.saturating_sub(monotonic());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let fds = std::iter::once(self.0.as_fd()).chain(open.iter().map(AsFd::as_fd));
        let mut fds: Vec<PollFd<'_>> = fds.map(|fd: BorrowedFd<'_>| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let _ = poll(&mut fds, Some(&timeout));
        !fds[0].revents().is_empty() || monotonic() >= deadline
    }
}

/// All below this process, and all that bear one of the marks.
fn members(marks: &[String]) -> Vec<ProcessId> {
    let below = Tree { root: None, reaper: std::process::id() as i32, scattered: false, lock: Path::new(""), mark: "", group: None };
    let marked = |mark| Tree { scattered: true, mark, ..below.clone() }.members();
    let all: HashSet<ProcessId> = marks.iter().flat_map(|mark| marked(mark)).chain(below.members()).collect();
    all.into_iter().collect()
}

fn marks() -> MutexGuard<'static, Vec<String>> {
    MARKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the environment of a command and of all that it starts: they are ended with this process, wherever they hang by then. Dropped, what it has left
/// behind is let be.
#[derive(Debug)]
pub(super) struct Mark(pub String);

impl Mark {
    /// None where nobody listens to signals.
    pub fn new() -> Option<Mark> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        if TOLD.load(Ordering::Relaxed) < 0 {
            return None;
        }
        let own = ProcessId::own();
        let mark = format!("{}-{}-{}", own.pid, own.start, MADE.fetch_add(1, Ordering::Relaxed));
        marks().push(mark.clone());
        Some(Mark(mark))
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        marks().retain(|mark| *mark != self.0);
    }
}

/// Starts a process, unless this one is ending: then it never returns.
pub(super) fn start<T>(start: impl FnOnce() -> T) -> T {
    {
        let _starting = STARTS.read();
        if !ENDING.load(Ordering::SeqCst) {
            return start();
        }
    }
    loop {
        stand_still_if_ending();
    }
}

/// Never returns once the process is ending: for whoever would act on the end of a process that was ended with it.
pub fn stand_still_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
