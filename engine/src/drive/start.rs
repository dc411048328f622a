//! Starting the daemons, each exactly once.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::contract::control::{JSON, ToWatchdog};
use crate::contract::layout::Layout;
use crate::error::{Error, Result};
use crate::os::fork::fork_beside;
use crate::os::lock::Lock;
use crate::os::process::{Daemon, own_program, spawn_daemon};
use crate::os::socket::{Listener, Stream};

pub const WATCHDOG: &str = "watchdog";
pub const HOST: &str = "host";
/// Starts another watchdog where this project has no host that would.
pub const STANDBY: &str = "standby";
/// In a task's terminal, before its agent.
pub const TASK_WORKTREE: &str = "task-worktree";
/// The client in a session's pane.
pub const PANE: &str = "pane";
pub const MAKE_PANE: &str = "make-pane";

pub fn args(verb: &str, layout: &Layout) -> Vec<OsString> {
    vec![verb.into(), "--data".into(), layout.data.clone().into(), "--runtime".into(), layout.runtime.clone().into()]
}

/// How the command line of a session's host begins.
pub fn host_args(layout: &Layout, session: &str) -> Vec<OsString> {
    let mut args = args(HOST, layout);
    args.extend(["--session".into(), session.into()]);
    args
}

/// A connection to the project's watchdog, which is started if there is none.
///
/// The starter takes the watchdog's lock and binds its socket, and hands both over: so a second one cannot arise, and whoever connects meanwhile waits
/// in the socket's queue.
pub fn watchdog(layout: &Layout) -> Result<Stream> {
    if let Ok(stream) = Stream::connect(&layout.watchdog_socket()) {
        return Ok(stream);
    }
    let _starting = Lock::wait_moments(&layout.start_lock())?;
    if let Ok(stream) = Stream::connect(&layout.watchdog_socket()) {
        return Ok(stream);
    }
    match Lock::try_take(&layout.watchdog_lock())? {
        Some(lock) => spawn_watchdog(layout, lock)?,
        // It holds its lock and does not listen: it is just ending, and the kernel wakes us when it has.
        None => spawn_watchdog(layout, Lock::wait_moments(&layout.watchdog_lock())?)?,
    }
    Stream::connect(&layout.watchdog_socket()).map_err(|e| Error::failed("the watchdog does not listen").because(e))
}

/// Starts a watchdog if none runs and nobody else is at it. False: somebody is.
pub fn try_watchdog(layout: &Layout) -> io::Result<bool> {
    let Some(_starting) = Lock::try_take(&layout.start_lock())? else { return Ok(false) };
    let Some(lock) = Lock::try_take(&layout.watchdog_lock())? else { return Ok(false) };
    spawn_watchdog(layout, lock).map(|()| true)
}

/// Tells the watchdog of a host that it may not know. The connection is to be kept until that watchdog has connected in turn: one that is only being
/// started finds it in its socket's queue, and where it ends before, nobody has heard.
pub fn tell_watchdog(layout: &Layout, session: &str) -> io::Result<Stream> {
    let mut stream = Stream::connect(&layout.watchdog_socket())?;
    stream.queue(JSON, &serde_json::to_vec(&ToWatchdog::Here { session: session.into() })?, vec![]);
    stream.flush()?;
    Ok(stream)
}

fn spawn_watchdog(layout: &Layout, lock: Lock) -> io::Result<()> {
    let listener = Listener::bind(&layout.watchdog_socket())?;
    spawn_daemon(&Daemon {
        program: own_program(),
        arg0: "agents",
        args: args(WATCHDOG, layout),
        fds: vec![lock.fd(), listener.as_fd()],
        folder: Path::new("/"),
        stderr: &layout.daemon_log(),
        mark: &layout.hash,
    })
}

/// For the watchdog: starts a session's host. The connection to it is there from its first moment. `terminal`: the master of the terminal that an earlier host left.
pub fn host(layout: &Layout, session: &str, terminal: Option<&OwnedFd>) -> io::Result<Stream> {
    let (ours, theirs) = Stream::pair()?;
    let theirs = theirs.into_fd();
    let mut args = host_args(layout, session);
    let mut fds = vec![theirs.as_fd()];
    if let Some(terminal) = terminal {
        args.push("--terminal".into());
        fds.push(terminal.as_fd());
    }
    beside(layout, args, fds, || super::host::main(layout.clone(), session, terminal.is_some()))?;
    Ok(ours)
}

/// For the watchdog: starts the process that waits for its end. `watchdog`: tells when that has come.
pub fn standby(layout: &Layout, watchdog: &OwnedFd) -> io::Result<i32> {
    beside(layout, args(STANDBY, layout), vec![watchdog.as_fd()], || super::watchdog::standby::main(layout))
}

/// Another daemon of the watchdog's own kind; its number.
fn beside(layout: &Layout, args: Vec<OsString>, fds: Vec<BorrowedFd<'_>>, life: impl FnOnce() -> Result<()>) -> io::Result<i32> {
    let (program, stderr) = (own_program(), layout.daemon_log());
    let daemon = Daemon { program, arg0: "agents", args, fds, folder: Path::new("/"), stderr: &stderr, mark: &layout.hash };
    fork_beside(&daemon, || match life() {
        Ok(()) => 0,
        Err(error) => {
            crate::cli::out::error(&error);
            error.kind.exit_code().into()
        }
    })
}
