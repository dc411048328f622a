//! A daemon that starts another: by one call that copies no page tables, and as a child of its own parent.
//!
//! [`super::process::spawn_daemon`] forks twice, so that the daemon belongs to nobody who may wait for it. What is a daemon itself has such a parent already,
//! and hands it over (`CLONE_PARENT`). Many are started at a time, so what each costs the starter counts.

use std::ffi::{CString, OsString, c_void};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicI32, Ordering};

use super::process::{Daemon, foreign_variables, last_words, place_descriptors, restore_descriptor_limit};

/// Enough for a few system calls.
const STACK_BYTES: usize = 64 << 10;

/// All that the new process needs before it is executed; made before, as it may not allocate.
struct Start {
    program: CString,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    folder: CString,
    /// Descriptors that become its standard ones.
    standard: [i32; 3],
    given: Vec<i32>,
    /// Why it could not be executed.
    error: AtomicI32,
}

/// As [`super::process::spawn_daemon`], for a process that is a daemon itself. The number of the new one.
pub fn spawn_beside(daemon: &Daemon<'_>) -> io::Result<i32> {
    let text = |s: &std::ffi::OsStr| CString::new(s.as_bytes()).map_err(io::Error::from);
    let argv: Vec<CString> =
        std::iter::once(&OsString::from(daemon.arg0)).chain(&daemon.args).map(|a| text(a)).collect::<io::Result<_>>()?;
    let env: Vec<CString> = std::env::vars_os()
        .filter(|(name, _)| !foreign_variables().iter().any(|f| *f == name) && name != super::env::AGENTS_DAEMON)
        .chain([(super::env::AGENTS_DAEMON.into(), daemon.mark.into())])
        .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).map_err(io::Error::from))
        .collect::<io::Result<_>>()?;
    let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    let words = last_words(daemon.stderr);
    let start = Start {
        program: text(daemon.program.as_os_str())?,
        argv: pointers(&argv),
        env: pointers(&env),
        folder: text(daemon.folder.as_os_str())?,
        standard: [null.as_raw_fd(), null.as_raw_fd(), words.as_ref().unwrap_or(&null).as_raw_fd()],
        given: daemon.fds.iter().map(AsRawFd::as_raw_fd).collect(),
        error: AtomicI32::new(0),
    };
    let mut stack = vec![0u8; STACK_BYTES];
    // SAFETY: the new process runs `begin` on a stack of its own, in this memory, while this thread waits until it is executed or has ended; all that
    // it uses outlives that. No signal handler can run in it, as all signals are blocked.
    let result = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let top = stack.as_mut_ptr().add(STACK_BYTES);
        let top = top.sub(top as usize % 16);
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PARENT | libc::SIGCHLD;
        let result = libc::clone(begin, top.cast(), flags, std::ptr::from_ref(&start).cast_mut().cast());
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        if result < 0 { Err(error) } else { Ok(result) }
    };
    let pid = result?;
    match start.error.load(Ordering::Relaxed) {
        0 => Ok(pid),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

extern "C" fn begin(start: *mut c_void) -> libc::c_int {
    // SAFETY: `spawn_beside` passes it and waits. Only system calls are made.
    unsafe {
        let start = &*start.cast_const().cast::<Start>();
        if let Err(error) = execute(start) {
            start.error.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Relaxed);
        }
        libc::_exit(127)
    }
}

/// # Safety
/// Only in a new process that is about to be executed.
unsafe fn execute(start: &Start) -> io::Result<()> {
    let checked = |result: i32| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) };
    // SAFETY: plain system calls on numbers and on what `start` holds.
    unsafe {
        libc::setsid();
        // Out of the way first, as those given may stand where the standard ones go.
        let mut parked = [0; 3];
        for (slot, fd) in parked.iter_mut().zip(start.standard) {
            *slot = checked(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 19))?;
        }
        place_descriptors(&start.given)?;
        for (target, slot) in parked.iter().enumerate() {
            checked(libc::dup2(*slot, target as i32))?;
        }
        restore_descriptor_limit();
        checked(libc::chdir(start.folder.as_ptr()))?;
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        libc::execve(start.program.as_ptr(), start.argv.as_ptr(), start.env.as_ptr());
    }
    Err(io::Error::last_os_error())
}
