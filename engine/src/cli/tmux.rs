//! What commands have to do with tmux, for projects whose sessions are shown in it.

use std::collections::BTreeSet;
use std::io;

use super::{ask, out};
use crate::contract::layout::Layout;
use crate::core::limits::{PANE_FAREWELL, TMUX_GLANCE, TMUX_PATIENCE};
use crate::drive::pane::{client_of, maker_of, tmux_of};
use crate::error::{Error, Result};
use crate::os::clock::monotonic;
use crate::os::lock::Lock;
use crate::os::process::{ProcessId, wait_for_end};
use crate::os::{fs, tmux};
use crate::store::launch;

/// The session's name in tmux, where its host shows it there.
pub(super) fn name_of(layout: &Layout, id: &str) -> Option<String> {
    launch::read(layout, id).ok()?.tmux
}

/// How a session was looked at.
pub(super) enum Seen {
    InTmux,
    /// Why tmux could not be used.
    Not(String),
}

/// Joins the session in tmux until the user detaches or it ends there.
pub(super) fn attach(layout: &Layout, id: &str, name: &str, read_only: bool) -> Result<Seen> {
    if tmux::program().is_none() {
        return Ok(Seen::Not("tmux was not found on PATH".into()));
    }
    if let Err(error) = ask::pane(layout, id, false) {
        return Ok(Seen::Not(error.message));
    }
    let tmux = tmux_of(layout);
    let target = format!("={name}");
    match tmux.call(&["has-session", "-t", &target], TMUX_GLANCE) {
        Ok(answer) if answer.code == 0 => {}
        Ok(answer) => return Ok(Seen::Not(String::from_utf8_lossy(&answer.stderr).trim().to_owned())),
        Err(e) if e.kind() == io::ErrorKind::TimedOut => {
            // Its host finds out whether that lasts, and has another one made.
            let _ = ask::pane(layout, id, true);
            return Ok(Seen::Not(format!("tmux does not answer within {TMUX_GLANCE:?}")));
        }
        Err(e) => return Ok(Seen::Not(e.to_string())),
    }
    let mut args = vec!["attach-session", "-t", &target];
    if read_only {
        args.push("-r");
    }
    let status = tmux.client(&args).map_err(|e| Error::failed(format!("tmux could not be started: {e}")))?;
    if !Lock::is_held(&layout.host_lock(id))? {
        return Err(Error::failed(format!("{id}: the session was stopped")).hint(format!("agents why {id}")));
    }
    if !status.success() {
        return Err(Error::failed(format!("{id}: tmux left it with {status}")).hint(format!("agents attach {id} joins it again")));
    }
    out::say(format!("detached from {id}, which goes on"));
    Ok(Seen::InTmux)
}

/// What there is to say of it to somebody who asks why; none where it is as it should be.
pub(super) fn glance(layout: &Layout) -> Option<String> {
    let tmux = tmux_of(layout);
    let server = tmux.server()?;
    match tmux.call(&["list-sessions"], TMUX_GLANCE) {
        Err(e) if e.kind() == io::ErrorKind::TimedOut => Some(format!(
            "tmux (pid {}) does not answer within {TMUX_GLANCE:?}; agents do not depend on it. It is ended and made anew once it is needed, or by `kill -KILL {0}`",
            server.pid
        )),
        Ok(_) | Err(_) => None,
    }
}

/// After sessions were ended: nothing of theirs is left in tmux, and no server that has nothing to show. Cheap where tmux was never used.
pub(super) fn clear_away(layout: &Layout, ids: &[String]) -> Result<()> {
    // Who makes a pane gives it up when the host is gone; those who show one end with it.
    for id in ids {
        maker_of(layout, id).map_or(Ok(()), see_off)?;
        client_of(layout, id).map_or(Ok(()), see_off)?;
    }
    if !fs::exists(&layout.tmux_socket()) {
        return Ok(());
    }
    let tmux = tmux_of(layout);
    let Some(server) = tmux.server() else { return Ok(()) };
    let names: Vec<String> = ids.iter().map(|id| layout.tmux_name(id)).collect();
    let others = match tmux.call(&["list-panes", "-a", "-F", "#{session_name} #{pane_pid}"], TMUX_PATIENCE) {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let panes = text.lines().filter_map(|line| line.split_once(' '));
            let (ours, others): (Vec<_>, Vec<_>) = panes.partition(|(name, _)| names.iter().any(|n| n == name));
            let processes: Vec<_> = ours.iter().filter_map(|(_, pid)| ProcessId::of(pid.parse().ok()?)).collect();
            for name in ours.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>() {
                // One that has ended by itself meanwhile is as well.
                let _ = tmux.call(&["kill-session", "-t", &format!("={name}")], TMUX_PATIENCE);
            }
            processes.into_iter().try_for_each(see_off)?;
            !others.is_empty()
        }
        Err(e) if e.kind() == io::ErrorKind::TimedOut => {
            // All it holds are faces: those of sessions that run are made anew.
            out::warn(&format!("tmux (pid {}) does not answer and is ended", server.pid));
            tmux::end(server, PANE_FAREWELL)?;
            false
        }
        Err(e) => return Err(Error::failed(format!("tmux could not be called: {e}"))),
    };
    // Without a session it ends by itself, unless somebody has made one meanwhile.
    let Some(process) = server.open().filter(|_| !others) else { return Ok(()) };
    if !wait_for_end(&process, monotonic() + PANE_FAREWELL)? && !has_sessions(&tmux) {
        tmux::end(server, PANE_FAREWELL)?;
    }
    Ok(())
}

/// Waits for a process that is about to end; one that does not is ended.
fn see_off(process: ProcessId) -> Result<()> {
    let Some(fd) = process.open() else { return Ok(()) };
    if !wait_for_end(&fd, monotonic() + PANE_FAREWELL)? {
        tmux::end(process, PANE_FAREWELL)?;
    }
    Ok(())
}

/// Whether somebody has made one in it.
fn has_sessions(tmux: &tmux::Tmux) -> bool {
    tmux.call(&["list-sessions"], TMUX_GLANCE).is_ok_and(|output| output.code == 0)
}
