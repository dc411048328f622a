//! A daemon that starts another of the same program, without executing it again: much of what such a start costs is the program's own beginning.
//!
//! What an exec does for a new process is done by hand: it is a child of its starter's parent and leads a session of its own, has the descriptors it was
//! given and no other, begins with the old limit on them, and shows its own arguments to whoever looks into `/proc`. What stays is the starter's memory
//! as it was at that moment, shared with it until one of them writes there. Where any of this is not to be had, the program is executed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use super::beside::spawn_beside;
use super::process::{Daemon, place_descriptors, remember_descriptor_limit, restore_descriptor_limit};

/// As [`spawn_beside`]; the new process runs `life` and ends with the status that comes back. Its folder, standard descriptors and environment are this
/// process's own, so `daemon` is to be what this one was started with but for arguments and descriptors.
pub fn fork_beside(daemon: &Daemon<'_>, life: impl FnOnce() -> i32) -> io::Result<i32> {
    let Some(map) = is_alone().then(able).flatten() else { return spawn_beside(daemon) };
    let title: Vec<u8> = [OsStr::new(daemon.arg0)]
        .into_iter()
        .chain(daemon.args.iter().map(AsRef::as_ref))
        .flat_map(|arg| arg.as_bytes().iter().copied().chain([0]))
        .collect();
    let given: Vec<i32> = daemon.fds.iter().map(AsRawFd::as_raw_fd).collect();
    const FLAGS: libc::c_long = (libc::CLONE_PARENT | libc::SIGCHLD) as libc::c_long;
    const NONE: libc::c_long = 0;
    // SAFETY: no other thread runs, so memory is whole in the new process; it has this one's stack, and never returns from here.
    match unsafe { libc::syscall(libc::SYS_clone, FLAGS, NONE, NONE, NONE, NONE) } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let _never_back = End;
            // SAFETY: what this process holds of its starter's descriptors is closed or replaced, and none of its owners is ever dropped.
            let begun = unsafe { begin(&given) };
            map.show(title.leak());
            std::process::exit(if begun.is_ok() { life() } else { 127 });
        }
        pid => Ok(pid as i32),
    }
}

/// # Safety
/// Only in a new process of which nothing else uses a descriptor.
unsafe fn begin(given: &[i32]) -> io::Result<()> {
    // SAFETY: plain system calls on numbers.
    unsafe {
        libc::setsid();
        place_descriptors(given)?;
        close_from(3 + given.len() as libc::c_uint)?;
        restore_descriptor_limit();
    }
    remember_descriptor_limit(0);
    Ok(())
}

/// # Safety
/// Nobody may use any of these descriptors any more.
unsafe fn close_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: the caller's promise.
    match unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process has one thread only: `/proc/self/task` has two links of its own, as any folder, and one for each thread.
fn is_alone() -> bool {
    std::fs::metadata("/proc/self/task").is_ok_and(|m| m.nlink() == 3)
}

/// The new process must not go on with its starter's life, whatever happens to its own.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: ends the process.
        unsafe { libc::_exit(101) }
    }
}

/// Where a process's parts lie, as the kernel shows them and takes them back (`struct prctl_mm_map`).
#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct Map {
    code: [u64; 2],
    data: [u64; 2],
    brk: [u64; 2],
    stack: u64,
    arguments: [u64; 2],
    environment: [u64; 2],
    auxv: u64,
    auxv_bytes: u32,
    exe: u32,
}

impl Map {
    /// By proc_pid_stat(5), whose fields count from 1.
    fn own() -> Option<Map> {
        let text = super::fs::read_made_up("/proc/self/stat").ok()?;
        let fields: Vec<&str> = text.get(text.rfind(')')? + 2..)?.split_ascii_whitespace().collect();
        let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
        Some(Map {
            code: [field(26)?, field(27)?],
            data: [field(45)?, field(46)?],
            brk: [field(47)?, 0],
            stack: field(28)?,
            arguments: [field(48)?, field(49)?],
            environment: [field(50)?, field(51)?],
            auxv: 0,
            auxv_bytes: 0,
            // None: the program stays the same.
            exe: u32::MAX,
        })
    }

    fn set(mut self) -> bool {
        // SAFETY: asks where the heap ends; then hands over a structure that is read.
        unsafe {
            self.brk[1] = libc::sbrk(0) as u64;
            let map = std::ptr::from_ref(&self) as libc::c_ulong;
            libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP as libc::c_ulong, map, size_of::<Map>(), 0 as libc::c_ulong) == 0
        }
    }

    /// Shows these arguments, each with a zero at its end.
    fn show(mut self, title: &'static [u8]) {
        let range = title.as_ptr_range();
        self.arguments = [range.start as u64, range.end as u64];
        self.set();
    }
}

/// Whether this kernel lets a process close all it has at once, and say where its arguments lie; how its parts lie.
fn able() -> Option<Map> {
    static ABLE: OnceLock<Option<Map>> = OnceLock::new();
    *ABLE.get_or_init(|| {
        // SAFETY: there is no such descriptor.
        unsafe { close_from(libc::c_uint::MAX) }.ok()?;
        Map::own().filter(|map| map.set())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_arguments_lie_is_read_as_the_kernel_says_it() {
        let map = Map::own().unwrap();
        let line = std::fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(map.arguments[1] - map.arguments[0], line.len() as u64);
    }

    #[test]
    fn another_thread_is_noticed() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(!is_alone());
        drop(go);
        let _ = other.join();
    }
}
