//! Starting a program in a terminal: as leader of its own session, in a folder, with no signal blocked or ignored, and where wanted inside a control group, so
//! that nothing it starts can ever have been outside.
//!
//! Until it becomes the program, the new process lives in this one's memory, on a stack of its own, and this one's thread waits (`CLONE_VM`, `CLONE_VFORK`), as
//! `posix_spawn` does it: no page table is copied, and no page is written twice. What `posix_spawn` cannot do with every C library that is about is to have it
//! born in the group (`CLONE_INTO_CGROUP`, Linux 5.7). Where that is not to be had, and in the separate hierarchies, it writes itself into its groups first.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cgroup::Entry;

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
    /// Into which groups; none: it stays in this process's.
    pub entry: Option<&'a Entry>,
}

/// All that the child uses; made before, as it may not allocate.
struct Ready {
    file: *const libc::c_char,
    argv: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
    folder: *const libc::c_char,
    terminal: CString,
    lock: i32,
    /// Into which it writes itself.
    procs: Vec<i32>,
    /// Why it could not become the program; zero as long as nothing failed. The child writes it.
    failure: i32,
}

/// For the few calls that the child makes.
const STACK_BYTES: usize = 16 << 10;

/// Returns once the program is executed, or why it was not.
pub(super) fn start(start: &Start<'_>) -> io::Result<i32> {
    let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect();
    let mut ready = Ready {
        file: start.file.as_ptr(),
        argv: pointers(start.argv),
        env: pointers(start.env),
        folder: start.folder.as_ptr(),
        // Opened by the leader of a session that has none, a terminal becomes its controlling one.
        terminal: CString::new(format!("/proc/self/fd/{}", start.terminal.as_raw_fd()))?,
        lock: start.lock.as_raw_fd(),
        procs: vec![],
        failure: 0,
    };
    let all: Vec<i32> = start.entry.iter().flat_map(|entry| &entry.procs).map(AsRawFd::as_raw_fd).collect();
    let folder = start.entry.and_then(|entry| entry.folder.as_ref());
    let mut pid = Err(io::ErrorKind::Unsupported.into());
    if let Some(folder) = folder {
        ready.procs = all.get(1..).unwrap_or_default().to_vec();
        pid = with_signals_blocked(|| clone_into(folder.as_raw_fd(), &mut ready));
    }
    if pid.is_err() {
        ready.procs = all;
        pid = with_signals_blocked(|| clone(&mut ready));
    }
    let pid = pid?;
    // SAFETY: the child, which wrote it, has become a program or has ended.
    match unsafe { (&raw const ready.failure).read_volatile() } {
        0 => Ok(pid),
        code => {
            let mut status = 0;
            // SAFETY: our own child, which is ending and has not been collected.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            Err(io::Error::from_raw_os_error(code))
        }
    }
}

/// None of this process's handlers may run in the child, as it has the same memory.
fn with_signals_blocked<T>(run: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are valid, and the thread's own mask is put back.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let result = run();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        result
    }
}

const FLAGS: i32 = libc::CLONE_VM | libc::CLONE_VFORK;

fn clone(ready: &mut Ready) -> io::Result<i32> {
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    // SAFETY: the stack is the child's alone and outlives it in this memory, as this thread goes on only when the child has left it; so does `ready`.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.capacity());
        libc::clone(enter, top.cast(), FLAGS | libc::SIGCHLD, std::ptr::from_mut(ready).cast())
    };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

/// As [`clone`], the child born in the group with this folder. The C library has no function for it.
#[cfg(target_arch = "x86_64")]
fn clone_into(group: i32, ready: &mut Ready) -> io::Result<i32> {
    /// Of `linux/sched.h`.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    // SAFETY: zero means "none" in every field.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = FLAGS as u64 | INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.stack = stack.as_mut_ptr().expose_provenance() as u64;
    args.stack_size = (stack.capacity() * size_of::<u128>()) as u64;
    args.cgroup = group as u64;
    let pid: i64;
    // SAFETY: for the parent this is a system call. The child finds itself at the same place with zero in `rax` and on its own stack, calls `enter` and never
    // leaves it. Memory is as [`clone`] has it.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r8",
            "call r9",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => pid,
            in("rdi") &raw const args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r8") std::ptr::from_mut(ready),
            in("r9") enter as extern "C" fn(*mut libc::c_void) -> i32,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if pid < 0 { Err(io::Error::from_raw_os_error(-pid as i32)) } else { Ok(pid as i32) }
}

#[cfg(not(target_arch = "x86_64"))]
fn clone_into(_group: i32, _ready: &mut Ready) -> io::Result<i32> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The child: becomes the program, or says why not and ends.
extern "C" fn enter(ready: *mut libc::c_void) -> i32 {
    let ready: *mut Ready = ready.cast();
    // SAFETY: `start` holds it until this process has left its memory.
    unsafe {
        let code = execute(&*ready);
        (&raw mut (*ready).failure).write_volatile(code);
        libc::_exit(127)
    }
}

/// Becomes the program; only why it could not comes back.
///
/// # Safety
/// Only in a new process, on a stack of its own.
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
