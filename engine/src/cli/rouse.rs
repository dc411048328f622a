//! Daemons that were stopped (SIGSTOP) and so answer nobody: a command that waits for them wakes them, and ends those that are stopped again.
//!
//! Only what the kernel calls stopped counts. One that is slow is waited for.

use std::path::PathBuf;

use rustix::process::Signal;

use super::out;
use crate::contract::layout::{Layout, is_name};
use crate::contract::records::Event;
use crate::drive::start;
use crate::os::clock::now;
use crate::os::process::{self, ProcessId};
use crate::store::{events, meta};

/// What one command has woken so far.
pub(super) struct Rouser<'a> {
    layout: &'a Layout,
    woken: Vec<ProcessId>,
}

impl<'a> Rouser<'a> {
    pub(super) fn of(layout: &'a Layout) -> Rouser<'a> {
        Rouser { layout, woken: vec![] }
    }

    /// Looks for daemons of this project that are stopped. The first time they are woken; whom that did not help is ended: the watchdog or host
    /// that takes its place goes on with what lives.
    pub(super) fn rouse(&mut self) {
        for (daemon, who, session) in stopped(self.layout) {
            if !self.woken.contains(&daemon) {
                self.woken.push(daemon);
                if daemon.signal(Signal::CONT) {
                    self.tell(&format!("{who} (pid {}) was stopped (SIGSTOP), and was woken", daemon.pid), "woken", &session, daemon);
                }
            } else if daemon.signal(Signal::KILL) {
                let words = format!("{who} (pid {}) was stopped again, and was killed; another one takes its place", daemon.pid);
                self.tell(&words, "killed", &session, daemon);
            }
        }
    }

    fn tell(&self, words: &str, what: &str, session: &str, daemon: ProcessId) {
        out::warn(words);
        let event = Event { at: now(), session: session.into(), what: what.into(), why: words.into(), pid: Some(daemon.pid) };
        // Said already; a full disk must not keep the command from its work.
        let _ = events::append(self.layout, &event);
    }
}

/// The project's daemons that are stopped: who they are in words, and a host's session. Each holds the lock of what it claims to be.
fn stopped(layout: &Layout) -> Vec<(ProcessId, String, String)> {
    let holding = |words: Vec<std::ffi::OsString>, lock: PathBuf| process::stopped(&words).into_iter().filter(move |d| d.holds(&lock));
    let mut found: Vec<_> = holding(start::args(start::WATCHDOG, layout), layout.watchdog_lock())
        .map(|daemon| (daemon, "the watchdog".to_owned(), String::new()))
        .collect();
    // Nobody stopped at all is the usual case, and costs one look.
    if process::stopped(&start::args(start::HOST, layout)).is_empty() {
        return found;
    }
    let sessions = meta::survey(layout).map(|(metas, damaged)| {
        metas.into_iter().map(|m| m.session).chain(damaged.into_iter().map(|(id, _)| id)).filter(|id| is_name(id)).collect::<Vec<_>>()
    });
    for session in sessions.unwrap_or_default() {
        let words = start::host_args(layout, &session);
        found.extend(holding(words, layout.host_lock(&session)).map(|d| (d, format!("the host of {session}"), session.clone())));
    }
    found
}

/// Who of the project's daemons does nothing because it was stopped, for an error's hint.
pub(super) fn hint(layout: &Layout) -> Option<String> {
    let (daemon, who, _) = stopped(layout).into_iter().next()?;
    Some(format!("{who} was stopped (SIGSTOP): `kill -CONT {0}` lets it go on; `agents up` and `agents down` do so themselves", daemon.pid))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    use rustix::process::{Pid, WaitOptions, kill_process, waitpid};

    use super::*;
    use crate::os::fs;
    use crate::os::lock::Lock;

    /// A process that looks like the project's watchdog to whoever reads its command line and open files.
    fn look_alike(layout: &Layout, lock: Option<Lock>) -> Child {
        let mut command = Command::new("/bin/sh");
        command.current_dir(&layout.data).args(start::args(start::WATCHDOG, layout)).stdin(std::process::Stdio::piped());
        if let Some(lock) = lock {
            let held = crate::os::process::duplicate(lock.fd()).unwrap();
            // SAFETY: one system call on a number.
            unsafe {
                command.pre_exec(move || {
                    use std::os::fd::AsRawFd;
                    libc::fcntl(held.as_raw_fd(), libc::F_SETFD, 0);
                    Ok(())
                });
            }
        }
        command.spawn().unwrap()
    }

    fn freeze(child: &Child) {
        let pid = Pid::from_child(child);
        kill_process(pid, Signal::STOP).unwrap();
        assert!(waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap().1.stopped());
    }

    #[test]
    fn who_is_stopped_is_woken_once_and_then_ended() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::from_folders(folder.path(), folder.path());
        fs::append(&folder.path().join(start::WATCHDOG), b"read line\n").unwrap();
        let mut watchdog = look_alike(&layout, Some(Lock::try_take(&layout.watchdog_lock()).unwrap().unwrap()));
        // Of this name, and holding nothing.
        let mut stranger = look_alike(&layout, None);
        let id = ProcessId::of(watchdog.id() as i32).unwrap();
        let mut rouser = Rouser::of(&layout);
        rouser.rouse();
        assert!(rouser.woken.is_empty(), "one that is only slow is left alone");
        freeze(&watchdog);
        freeze(&stranger);
        assert!(hint(&layout).unwrap().contains(&format!("kill -CONT {}", id.pid)));
        rouser.rouse();
        assert!(rouser.woken == [id] && !id.is_stopped());
        freeze(&watchdog);
        rouser.rouse();
        assert_eq!(watchdog.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(ProcessId::of(stranger.id() as i32).unwrap().is_stopped());
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}
