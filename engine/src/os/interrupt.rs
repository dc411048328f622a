//! INT, TERM and HUP in a command that changes something: its other threads stand still where they would go on, and its children are ended.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::clock::monotonic;
use super::process::{ProcessId, Tree, become_subreaper, wait_for_end};

/// Where the handler writes the number of what arrived; -1: nobody reads.
static TOLD: AtomicI32 = AtomicI32::new(-1);
static ENDING: AtomicBool = AtomicBool::new(false);

/// How long a killed process may take to be gone; only a kernel that waits for a device takes longer.
const GONE: Duration = Duration::from_secs(5);

/// Signals that ask this process to end, as they arrive.
#[derive(Debug)]
pub struct Signals(OwnedFd);

extern "C" fn note(signal: libc::c_int) {
    // SAFETY: only calls that a signal handler may make; what interrupted code sees of errno is put back.
    unsafe {
        let errno = *libc::__errno_location();
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
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
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

    /// From now on nobody in this process starts another one or goes on after one that has ended; all below it are ended, save daemons: with TERM, and
    /// with KILL after `grace`, or at once where another signal comes.
    pub fn end_children(&self, grace: Duration) {
        ENDING.store(true, Ordering::SeqCst);
        // What a child leaves behind when it ends becomes ours.
        let _ = become_subreaper();
        let tree = Tree { root: None, reaper: std::process::id() as i32, scattered: false, lock: Path::new(""), mark: "", group: None };
        let deadline = monotonic() + grace;
        let mut told: HashSet<ProcessId> = HashSet::new();
        loop {
            let members = tree.members();
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
            let members = tree.members();
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

/// Never returns once the process is ending: for whoever would start another process, or act on the end of one that was ended with it.
pub fn stand_still_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
