//! Signals as readable events (`signalfd`), for programs that wait in one place.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A child has ended.
pub const CHILD: i32 = libc::SIGCHLD;
/// The terminal has another size.
pub const WINDOW: i32 = libc::SIGWINCH;
/// Ctrl-C.
pub const INTERRUPT: i32 = libc::SIGINT;
/// A polite request to end.
pub const TERMINATE: i32 = libc::SIGTERM;
/// The terminal is gone.
pub const HANG_UP: i32 = libc::SIGHUP;

/// Blocks `signals` in this thread and returns a non-blocking descriptor that is readable when one arrived.
pub fn descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: `set` is initialised by sigemptyset before use; the descriptor returned is fresh and owned here alone.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        if libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &set, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// The next signal that arrived, or `None` when there is none for now.
pub fn next(descriptor: &OwnedFd) -> Option<i32> {
    // SAFETY: a signalfd_siginfo is plain data, and the kernel writes exactly its size or nothing.
    unsafe {
        let mut info: libc::signalfd_siginfo = std::mem::zeroed();
        let size = std::mem::size_of_val(&info);
        let got = libc::read(descriptor.as_raw_fd(), (&raw mut info).cast(), size);
        (got == size as isize).then_some(info.ssi_signo as i32)
    }
}

/// A signal's name: `SIGKILL` for 9.
pub fn name(signal: i32) -> String {
    let known = [
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGTRAP, "SIGTRAP"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGFPE, "SIGFPE"),
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGXCPU, "SIGXCPU"),
        (libc::SIGXFSZ, "SIGXFSZ"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    known.iter().find(|(n, _)| *n == signal).map_or_else(|| format!("signal {signal}"), |(_, s)| (*s).to_owned())
}
