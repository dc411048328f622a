//! Starting a program inside a control group, so that nothing it starts can ever have been outside.
//!
//! `posix_spawn` cannot do that with every C library that is about: a child of `clone3` is born in the group (`CLONE_INTO_CGROUP`, Linux 5.7), or, where that
//! is not to be had and in the separate hierarchies, writes itself into it before it becomes the program.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cgroup::Entry;

/// Of `linux/sched.h`.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// What is started, and where.
pub(super) struct Start<'a> {
    /// The slave end of the terminal.
    pub terminal: BorrowedFd<'a>,
    pub file: &'a CStr,
    pub argv: &'a [CString],
    pub env: &'a [CString],
    pub folder: &'a CStr,
    /// Stays open in the program.
    pub lock: BorrowedFd<'a>,
    pub entry: &'a Entry,
}

/// All that the child needs; made before, as it may not allocate.
struct Ready {
    file: *const libc::c_char,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    folder: *const libc::c_char,
    terminal: CString,
    lock: i32,
    /// Into which it writes itself.
    procs: Vec<i32>,
    /// Takes why it could not become the program.
    failure: i32,
}

/// As `posix_spawn`: returns once the program is executed, or why it was not.
pub(super) fn start(start: &Start<'_>) -> io::Result<i32> {
    let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
    let (failed, failure) = io::pipe()?;
    let mut ready = Ready {
        file: start.file.as_ptr(),
        argv: pointers(start.argv),
        env: pointers(start.env),
        folder: start.folder.as_ptr(),
        // Opened by the leader of a session that has none, a terminal becomes its controlling one.
        terminal: CString::new(format!("/proc/self/fd/{}", start.terminal.as_raw_fd()))?,
        lock: start.lock.as_raw_fd(),
        procs: vec![],
        failure: failure.as_raw_fd(),
    };
    let all: Vec<i32> = start.entry.procs.iter().map(AsRawFd::as_raw_fd).collect();
    let mut pid = -1;
    if let Some(folder) = &start.entry.folder {
        ready.procs = all.get(1..).unwrap_or_default().to_vec();
        // SAFETY: `ready` holds all that the child uses, and the child makes system calls only.
        pid = unsafe { clone(&ready, Some(folder.as_raw_fd())) };
    }
    if pid < 0 {
        ready.procs = all;
        // SAFETY: as above.
        pid = unsafe { clone(&ready, None) };
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    drop(failure);
    let mut code = [0u8; 4];
    // The write end is closed by exec or by the child's end.
    let told = loop {
        match rustix::io::read(&failed, &mut code) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    if told == 0 {
        return Ok(pid as i32);
    }
    let mut status = 0;
    // SAFETY: our own child, which is ending and has not been collected.
    unsafe { libc::waitpid(pid as i32, &mut status, 0) };
    Err(io::Error::from_raw_os_error(i32::from_ne_bytes(code)))
}

/// # Safety
/// This process must have one thread, or `ready` must suffice without any lock: the child runs in a copy of this memory.
unsafe fn clone(ready: &Ready, group: Option<i32>) -> libc::c_long {
    // The parent waits, so that the terminal and the lock are the child's by the time that it goes on.
    let flags = libc::CLONE_VFORK;
    // SAFETY: without CLONE_VM and a stack either call is a fork; zero means "none" in every field of the structure.
    unsafe {
        let pid = match group {
            Some(group) => {
                let mut args: libc::clone_args = std::mem::zeroed();
                args.flags = flags as u64 | CLONE_INTO_CGROUP;
                args.exit_signal = libc::SIGCHLD as u64;
                args.cgroup = group as u64;
                libc::syscall(libc::SYS_clone3, &args, std::mem::size_of::<libc::clone_args>())
            }
            None => libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0),
        };
        if pid != 0 {
            return pid;
        }
        let code = execute(ready);
        libc::write(ready.failure, (&raw const code).cast(), 4);
        libc::_exit(127)
    }
}

/// Becomes the program; only why it could not comes back.
///
/// # Safety
/// Only in a new process.
unsafe fn execute(ready: &Ready) -> i32 {
    // SAFETY: plain system calls on numbers and on what `ready` holds.
    unsafe {
        let failed = || *libc::__errno_location();
        for procs in &ready.procs {
            // Where it may not, it stays outside that hierarchy.
            libc::write(*procs, c"0".as_ptr().cast(), 1);
        }
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        libc::setsid();
        let terminal = libc::open(ready.terminal.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if terminal < 0 {
            return failed();
        }
        for standard in 0..3 {
            if libc::dup2(terminal, standard) < 0 {
                return failed();
            }
        }
        if libc::fcntl(ready.lock, libc::F_SETFD, 0) < 0 || libc::chdir(ready.folder) < 0 {
            return failed();
        }
        libc::execve(ready.file, ready.argv.as_ptr(), ready.env.as_ptr());
        failed()
    }
}
