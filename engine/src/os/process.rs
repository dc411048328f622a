//! Processes: who they are, ending whole trees of them, starting daemons.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use super::cgroup::Group;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::fs::read_made_up;

mod command;

pub use command::{Output, Run, run, run_holding};

/// A process that cannot be mistaken for a later one of the same number: pid and start time (clock ticks since boot, field 22 of proc(5)'s stat).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ProcessId {
    pub pid: i32,
    pub start: u64,
}

/// The fields of `/proc/PID/stat` that are used here.
#[derive(Debug, Clone, Copy)]
struct Stat {
    id: ProcessId,
    parent: i32,
    session: i32,
    zombie: bool,
    stopped: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = read_made_up(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself hold parentheses and blanks.
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(15)?.parse().ok()?;
    Some(Stat { id: ProcessId { pid, start }, parent, session, zombie: matches!(state, "Z" | "X"), stopped: state == "T" })
}

impl ProcessId {
    /// How many bytes it has read in its life, from wherever (`rchar` of proc_pid_io(5)); none where that may not be known.
    pub fn bytes_read(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/io", self.pid)).ok()?;
        text.lines().find_map(|l| l.strip_prefix("rchar: ")).and_then(|n| n.parse().ok())
    }

    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<ProcessId> {
        stat(pid).map(|s| s.id)
    }

    /// This process.
    pub fn own() -> ProcessId {
        ProcessId::of(std::process::id() as i32).unwrap_or(ProcessId { pid: std::process::id() as i32, start: 0 })
    }

    /// Whether it still runs; one that has ended and waits to be collected does not.
    pub fn is_alive(self) -> bool {
        stat(self.pid).is_some_and(|s| s.id == self && !s.zombie)
    }

    /// Whether it was stopped (SIGSTOP, Ctrl-Z) and does nothing until somebody lets it go on. One that is only slow, or traced, is not.
    pub fn is_stopped(self) -> bool {
        stat(self.pid).is_some_and(|s| s.id == self && s.stopped)
    }

    /// Whether it holds this file open.
    pub fn holds(self, path: &Path) -> bool {
        holds(self.pid, file_key(path)) && ProcessId::of(self.pid) == Some(self)
    }

    /// Whether it leads a session of its own.
    pub fn leads_session(self) -> bool {
        stat(self.pid).is_some_and(|s| s.id == self && s.session == self.pid)
    }

    /// A descriptor that is readable when it ends. `None`: it is gone. The number cannot have been reused, as it is checked after opening.
    pub fn open(self) -> Option<OwnedFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        (ProcessId::of(self.pid) == Some(self)).then_some(fd)
    }

    /// Sends a signal to exactly this process. False: it is gone.
    pub fn signal(self, signal: Signal) -> bool {
        self.open().is_some_and(|fd| pidfd_send_signal(fd, signal).is_ok())
    }
}

fn all_pids() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return vec![] };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// How a session's processes are recognised, however they tried to get away. The engine's own daemons, which an agent may have started for another
/// project, are none of them, nor is anything below those.
#[derive(Debug, Clone)]
pub struct Tree<'a> {
    /// The agent itself, if known: it, its terminal session and everything below it.
    pub root: Option<ProcessId>,
    /// The process whose children they are or become (a subreaper since before the agent was started); it itself is not one of them.
    pub reaper: i32,
    /// Whether the agent was started by another reaper, which is gone: then orphans may be anywhere, and all of `/proc` is searched for those that
    /// hold the lock or carry the mark.
    pub scattered: bool,
    /// A file that they hold open: the lock they inherited.
    pub lock: &'a Path,
    /// `NAME=value` in their environment.
    pub mark: &'a str,
    /// The control group that they were started in, if there is one.
    pub group: Option<&'a Group>,
}

impl Tree<'_> {
    /// All living processes of the tree. None means none: what hands its life on while we look (forks and ends) is looked for again.
    pub fn members(&self) -> Vec<ProcessId> {
        let mut found: HashMap<i32, ProcessId> = HashMap::new();
        let mut ended: HashSet<i32> = HashSet::new();
        loop {
            let mut open: Vec<i32> = children(self.reaper);
            open.extend(self.root.filter(|r| ProcessId::of(r.pid) == Some(*r)).map(|r| r.pid));
            if self.scattered {
                open.extend(self.strays());
            }
            open.extend(self.grouped());
            let mut news = false;
            while let Some(pid) = open.pop() {
                if found.contains_key(&pid) || ended.contains(&pid) || pid == self.reaper || is_daemon(pid) {
                    continue;
                }
                match stat(pid) {
                    Some(s) if !s.zombie => {
                        open.extend(children(pid));
                        found.insert(pid, s.id);
                    }
                    // Its children became the reaper's when it ended, which may be after those were listed.
                    Some(_) | None => news |= ended.insert(pid),
                }
            }
            if !found.is_empty() || !news {
                return found.into_values().collect();
            }
        }
    }

    /// All in the control group, but the daemons that an agent has started and that have not left it yet, and what is below those.
    fn grouped(&self) -> Vec<i32> {
        let Some(all) = self.group.map(Group::members) else { return vec![] };
        let mut daemons: HashSet<i32> = all.iter().copied().filter(|pid| is_daemon(*pid)).collect();
        while !daemons.is_empty() {
            let below: Vec<i32> =
                all.iter().copied().filter(|p| !daemons.contains(p) && stat(*p).is_some_and(|s| daemons.contains(&s.parent))).collect();
            if below.is_empty() {
                break;
            }
            daemons.extend(below);
        }
        all.into_iter().filter(|pid| !daemons.contains(pid)).collect()
    }

    fn strays(&self) -> Vec<i32> {
        // Looking through everybody's descriptors is slow, and needless while the root is known or when nobody holds the lock.
        let rootless = self.root.is_none_or(|r| !r.is_alive());
        let lock = if rootless && super::lock::Lock::is_held(self.lock).unwrap_or(true) { file_key(self.lock) } else { None };
        let ours = |pid: &i32| {
            stat(*pid).is_some_and(|s| self.root.is_some_and(|r| s.session == r.pid)) || has_variable(*pid, self.mark) || holds(*pid, lock)
        };
        all_pids().into_iter().filter(|p| *p != self.reaper && ours(p)).collect()
    }

    /// The member that leads the terminal's session: the agent, where its number was never written down.
    pub fn leader(&self) -> Option<ProcessId> {
        let lock = file_key(self.lock)?;
        all_pids().into_iter().filter(|p| holds(*p, Some(lock))).filter_map(stat).find(|s| s.session == s.id.pid && !s.zombie).map(|s| s.id)
    }
}

/// The children of all threads of a process.
fn children(pid: i32) -> Vec<i32> {
    if pid == std::process::id() as i32 && is_childless() {
        return vec![];
    }
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return vec![] };
    let mut all = vec![];
    for thread in threads.flatten() {
        match read_made_up(thread.path().join("children")) {
            Ok(list) => all.extend(list.split_ascii_whitespace().filter_map(|p| p.parse::<i32>().ok())),
            // A kernel without CONFIG_PROC_CHILDREN has no such file for anybody.
            Err(_) if !Path::new("/proc/thread-self/children").exists() => return children_by_scan(pid),
            Err(_) => {}
        }
    }
    all
}

/// Whether this process has no child, living or not yet collected: the kernel tells that quicker than `/proc` does.
fn is_childless() -> bool {
    // SAFETY: a plain system call that writes one structure; nothing is collected by it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == -1
            && io::Error::last_os_error().raw_os_error() == Some(libc::ECHILD)
    }
}

fn children_by_scan(pid: i32) -> Vec<i32> {
    all_pids().into_iter().filter(|p| stat(*p).is_some_and(|s| s.parent == pid)).collect()
}

fn is_daemon(pid: i32) -> bool {
    let start = format!("{}=", super::env::AGENTS_DAEMON);
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|e| e.split(|b| *b == 0).any(|v| v.starts_with(start.as_bytes())))
}

type FileKey = (u64, u64);

fn file_key(path: &Path) -> Option<FileKey> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

fn holds(pid: i32, key: Option<FileKey>) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Some(key) = key else { return false };
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries.flatten().any(|e| std::fs::metadata(e.path()).is_ok_and(|m| (m.dev(), m.ino()) == key))
}

/// The paths of the files that a process of ours holds open, as far as they have one.
pub fn open_files(process: ProcessId) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{}/fd", process.pid)) else { return vec![] };
    let paths = entries.flatten().filter_map(|e| std::fs::read_link(e.path()).ok()).filter(|p| p.is_absolute()).collect();
    // Another process may have its number by now.
    if process.is_alive() { paths } else { vec![] }
}

fn has_variable(pid: i32, mark: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|e| e.split(|b| *b == 0).any(|v| v == mark.as_bytes()))
}

/// Living processes of this program name (at most 15 bytes) that stand in `folder` or below it. One pass over `/proc`.
pub fn working_in(folder: &Path, name: &str) -> Vec<ProcessId> {
    let here = |pid: &i32| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim_end() == name)
            && std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    };
    all_pids().into_iter().filter(here).filter_map(stat).filter(|s| !s.zombie).map(|s| s.id).collect()
}

/// The processes of a project: daemons that name its data folder on their command line, and all that carry one of the marks that begin so. One pass
/// over `/proc`.
pub fn of_project(data: &Path, marks: &str) -> Vec<ProcessId> {
    use std::os::unix::ffi::OsStrExt;
    let marks = format!("{}={marks}", super::env::AGENTS_MARK);
    let ours = |pid: &i32| {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let names = |line: &[u8]| {
            let mut words = line.split(|b| *b == 0).skip(1);
            matches!(words.next(), Some(b"host" | b"watchdog" | b"standby")) && words.any(|w| w == data.as_os_str().as_bytes())
        };
        names(&read("cmdline")) || (!is_daemon(*pid) && read("environ").split(|b| *b == 0).any(|v| v.starts_with(marks.as_bytes())))
    };
    let others = all_pids().into_iter().filter(|p| *p != std::process::id() as i32);
    others.filter(ours).filter_map(stat).filter(|s| !s.zombie).map(|s| s.id).collect()
}

/// Processes that were stopped (see [`ProcessId::is_stopped`]) and carry these words on their command line, one after the other and first. One pass over `/proc`.
pub fn stopped(words: &[OsString]) -> Vec<ProcessId> {
    use std::os::unix::ffi::OsStrExt;
    let wanted: Vec<u8> = words.iter().flat_map(|w| [w.as_bytes(), b"\0"].concat()).collect();
    let ours = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.splitn(2, |b| *b == 0).nth(1).is_some_and(|args| args.starts_with(&wanted))
    };
    all_pids().into_iter().filter_map(stat).filter(|s| s.stopped && ours(&s.id.pid)).map(|s| s.id).collect()
}

/// What a daemon is started with.
#[derive(Debug)]
pub struct Daemon<'a> {
    pub program: PathBuf,
    /// The name it sees itself started under.
    pub arg0: &'a str,
    pub args: Vec<OsString>,
    /// Become descriptors 3, 4, … in this order.
    pub fds: Vec<BorrowedFd<'a>>,
    pub folder: &'a Path,
    /// Where its standard error goes, appended.
    pub stderr: &'a Path,
    /// Whose daemon it is: the value of `AGENTS_DAEMON` in its environment.
    pub mark: &'a str,
}

/// The running program itself, also when its file has been replaced since.
pub fn own_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// The running program's file as it was named when it started.
pub fn own_path() -> Option<PathBuf> {
    std::fs::read_link(own_program()).ok()
}

/// Variables of the agent that may have started a daemon: nothing of that one's.
pub(super) fn foreign_variables() -> [&'static str; 9] {
    use super::env::{
        AGENTS_COMMAND, AGENTS_CONFIG, AGENTS_DATA_DIR, AGENTS_MARK, AGENTS_PROGRAM, AGENTS_PROJECT, AGENTS_SESSION, AGENTS_TASK,
        AGENTS_TASK_DIR,
    };
    [
        AGENTS_COMMAND,
        AGENTS_MARK,
        AGENTS_SESSION,
        AGENTS_PROJECT,
        AGENTS_DATA_DIR,
        AGENTS_CONFIG,
        AGENTS_PROGRAM,
        AGENTS_TASK,
        AGENTS_TASK_DIR,
    ]
}

/// Where a daemon's standard error goes. Where nothing can be written, a daemon without last words is better than none.
pub(super) fn last_words(path: &Path) -> Option<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(super::fs::NOFOLLOW).open(path).ok()
}

/// Starts a process that belongs to nobody: own session, no terminal, no descriptors but those given, nothing in its environment of the agent that may
/// have started it, parent init (or the next subreaper above). Returns when it has been executed, or why it could not be.
pub fn spawn_daemon(daemon: &Daemon<'_>) -> io::Result<()> {
    let stderr = last_words(daemon.stderr).map_or_else(Stdio::null, Stdio::from);
    let mut command = Command::new(&daemon.program);
    command.arg0(daemon.arg0).args(&daemon.args).current_dir(daemon.folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    for name in foreign_variables() {
        command.env_remove(name);
    }
    command.env(super::env::AGENTS_DAEMON, daemon.mark);
    let sources: Vec<i32> = daemon.fds.iter().map(AsRawFd::as_raw_fd).collect();
    // SAFETY: between fork and exec only system calls are made: setsid, fork, dup, _exit.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            match libc::fork() {
                -1 => return Err(io::Error::last_os_error()),
                0 => {}
                _ => libc::_exit(0),
            }
            place_descriptors(&sources)?;
            restore_descriptor_limit();
            Ok(())
        });
    }
    let mut between = command.spawn()?;
    between.wait().map(drop)
}

/// Becomes another program: same process, same terminal. Returns only why it could not.
pub fn become_command(argv: &[String], folder: &Path) -> io::Error {
    let [program, arguments @ ..] = argv else { return io::Error::new(io::ErrorKind::InvalidInput, "an empty command") };
    Command::new(program).args(arguments).current_dir(folder).exec()
}

/// The limit on descriptors that this process began with, where it has raised it since; 0: it has not.
static DESCRIPTORS_BEFORE: AtomicU64 = AtomicU64::new(0);

/// Raises this process's own limit on descriptors as far as it may; daemons started from here begin with the old one. How many it may have now.
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let before = limit.current.unwrap_or(u64::MAX);
    if setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_err() {
        return before;
    }
    DESCRIPTORS_BEFORE.store(before, Ordering::Relaxed);
    limit.maximum.unwrap_or(u64::MAX)
}

/// The limit on descriptors before [`raise_descriptor_limit`], for the program that this process becomes; 0: it was not raised.
pub fn descriptor_limit_before() -> u64 {
    DESCRIPTORS_BEFORE.load(Ordering::Relaxed)
}

/// What [`descriptor_limit_before`] was in the program that this process was: daemons started from here go on to begin with that.
pub fn remember_descriptor_limit(before: u64) {
    DESCRIPTORS_BEFORE.store(before, Ordering::Relaxed);
}

/// Back to the limit on descriptors before [`raise_descriptor_limit`].
///
/// # Safety
/// Only between fork and exec.
pub(super) unsafe fn restore_descriptor_limit() {
    let before = DESCRIPTORS_BEFORE.load(Ordering::Relaxed);
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on a structure of this frame.
    unsafe {
        if before > 0 && libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = before;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// Makes `sources` the descriptors 3, 4, …, kept over exec.
///
/// # Safety
/// Only between fork and exec.
pub(super) unsafe fn place_descriptors(sources: &[i32]) -> io::Result<()> {
    // First out of the way, so that no target overwrites a source.
    const MOST: usize = 16;
    let mut parked = [0i32; MOST];
    assert!(sources.len() <= MOST);
    for (slot, source) in parked.iter_mut().zip(sources) {
        // SAFETY: plain system call on numbers.
        *slot = unsafe { libc::fcntl(*source, libc::F_DUPFD_CLOEXEC, 3 + MOST as libc::c_int) };
        if *slot < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for (i, slot) in parked.iter().take(sources.len()).enumerate() {
        // SAFETY: as above; dup2 clears close-on-exec.
        if unsafe { libc::dup2(*slot, 3 + i as i32) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let first = 3 + sources.len() as libc::c_uint;
    // What this process itself inherited, such as an agent's lock, must not live on in a daemon. Before Linux 5.11 the call fails and nothing is closed.
    // SAFETY: a plain system call on numbers.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Ok(())
}

/// Descriptor `n` as inherited from the starter, from now on closed on exec.
///
/// # Safety
/// Each number may be taken once, and only where the starter promised it.
pub unsafe fn inherited_fd(n: i32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: a plain system call on a number; it fails where the number is no descriptor.
    if unsafe { libc::fcntl(n, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the caller's promise.
    let fd = unsafe { OwnedFd::from_raw_fd(n) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// From now on orphans below this process become its children (`PR_SET_CHILD_SUBREAPER`).
pub fn become_subreaper() -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(Into::into)
}

/// The name `ps` and `top` show, 15 bytes.
pub fn set_name(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Exit(i32),
    Signal(i32),
}

/// Collects one ended child, if there is one.
pub fn reap() -> Option<(i32, Ended)> {
    let mut status = 0;
    // SAFETY: a plain system call that writes one int.
    match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
        pid if pid > 0 && libc::WIFEXITED(status) => Some((pid, Ended::Exit(libc::WEXITSTATUS(status)))),
        pid if pid > 0 && libc::WIFSIGNALED(status) => Some((pid, Ended::Signal(libc::WTERMSIG(status)))),
        _ => None,
    }
}

/// Lets this process open as many descriptors as it may at most: for whoever talks to more than a thousand others at once.
pub fn allow_many_descriptors() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

/// A descriptor's copy, closed on exec.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(Into::into)
}

/// Waits until the process behind a descriptor has ended. False: it has not by `deadline` (monotonic).
pub fn wait_for_end(process: &OwnedFd, deadline: std::time::Duration) -> io::Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    loop {
        let left = deadline.saturating_sub(super::clock::monotonic());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(ended) => return Ok(ended > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// A fresh random UUID (version 4), from the kernel.
pub fn fresh_uuid() -> io::Result<String> {
    Ok(super::fs::read_to_string(Path::new("/proc/sys/kernel/random/uuid"))?.trim().to_owned())
}

/// Becomes another program: returns only if that failed.
pub fn exec(argv: &[String], folder: &Path) -> io::Error {
    let [program, args @ ..] = argv else { return io::Error::new(io::ErrorKind::InvalidInput, "an empty command") };
    Command::new(program).args(args).current_dir(folder).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_the_same_by_either_way() {
        let own = std::process::id() as i32;
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id() as i32;
        assert!(children(own).contains(&pid) && !is_childless());
        assert!(children_by_scan(own).contains(&pid));
        assert!(!children_by_scan(pid).contains(&own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children(own).contains(&pid) && !children_by_scan(own).contains(&pid));
    }
}
