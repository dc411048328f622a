//! A session's pane in tmux: the client that shows the session in it, and the short-lived process that sees to it that there is one.
//!
//! tmux is only the face. The terminal, its log and the agent are the host's, so whatever becomes of tmux, they go on; and no host ever waits for it.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::start::{MAKE_PANE, PANE, args};
use crate::contract::control::{FromHost, JSON};
use crate::contract::layout::Layout;
use crate::contract::records::Event;
use crate::core::limits::{HOST_RETURN, PANE_FAREWELL, TMUX_HISTORY_LINES, TMUX_PATIENCE};
use crate::error::{Error, Result};
use crate::os::beside::spawn_beside;
use crate::os::clock::{monotonic, now};
use crate::os::lock::Lock;
use crate::os::process::{self, Daemon, Output, ProcessId};
use crate::os::pty::Size;
use crate::os::socket::Stream;
use crate::os::tmux::{self, Tmux};
use crate::os::wait::readable;
use crate::os::{fs, signal};
use crate::store::{events, launch};
use crate::term::client::{self, Detached};

/// The window that holds the pane, by which it is found among others that somebody may have opened beside it.
const WINDOW: &str = "agent";

/// A server that is just ending refuses whoever comes; the next one is there at once.
const TRIES: usize = 3;

/// The project's own tmux.
pub fn tmux_of(layout: &Layout) -> Tmux {
    Tmux::new(layout.tmux_socket(), layout.tmux_config())
}

/// The process that shows the session in its pane, if one does.
pub fn client_of(layout: &Layout, id: &str) -> Option<ProcessId> {
    holder(&layout.pane_lock(id))
}

/// The process that makes the session's pane, if one does.
pub fn maker_of(layout: &Layout, id: &str) -> Option<ProcessId> {
    holder(&layout.pane_maker_lock(id))
}

/// Who has signed a lock and holds it.
fn holder(path: &Path) -> Option<ProcessId> {
    // What cannot be told counts as alive.
    if !Lock::is_held(path).unwrap_or(true) {
        return None;
    }
    let signed = Lock::signed(path);
    let (pid, start) = signed.split_once(' ')?;
    Some(ProcessId { pid: pid.parse().ok()?, start: start.parse().ok()? }).filter(|id| id.is_alive())
}

fn signature(process: ProcessId) -> String {
    format!("{} {}", process.pid, process.start)
}

/// The life of the client in a pane. It ends well, and tmux closes the pane, only where the host says that it ends; otherwise the pane stays, for the
/// next client.
pub(super) fn show(layout: &Layout, id: &str) -> Result<()> {
    process::set_name(&format!("pane {id}"));
    let Some(mut lock) = Lock::try_take(&layout.pane_lock(id))? else {
        return Err(Error::failed(format!("{id} is shown in another pane already")));
    };
    lock.sign(&signature(ProcessId::own()))?;
    match client::pane(&layout.host_socket(id), id)? {
        Detached::Ended { .. } | Detached::ByKey => Ok(()),
        Detached::Signal(signal) => Err(Error::failed(format!("ended by {}", signal::name(signal)))),
    }
}

/// For a host: has the session's pane made. The connection's end says that it has been done; a reason on it, that it could not be.
/// `look`: only sees whether tmux answers, and ends it where it does not. None: the maker of an earlier host is at it.
pub(super) fn start_maker(layout: &Layout, id: &str, size: Size, look: bool) -> io::Result<Option<Stream>> {
    let Some(mut lock) = Lock::try_take(&layout.pane_maker_lock(id))? else { return Ok(None) };
    let (ours, theirs) = Stream::pair()?;
    let theirs = theirs.into_fd();
    let mut args = args(MAKE_PANE, layout);
    args.extend(["--session".into(), id.into()]);
    args.extend(["--rows".into(), size.rows.to_string().into(), "--cols".into(), size.cols.to_string().into()]);
    if look {
        args.push("--look".into());
    }
    let pid = spawn_beside(&Daemon {
        program: process::own_program(),
        arg0: "agents",
        args,
        fds: vec![theirs.as_fd(), lock.fd()],
        folder: Path::new("/"),
        stderr: &layout.daemon_log(),
        mark: &layout.hash,
    })?;
    // Before this copy of it goes: whoever finds it held finds by whom.
    ProcessId::of(pid).map_or(Ok(()), |maker| lock.sign(&signature(maker)))?;
    Ok(Some(ours))
}

/// The maker's life. Descriptor 3 is its host's connection, 4 its lock.
pub(super) fn make(layout: &Layout, id: &str, size: Size, look: bool) -> Result<()> {
    let foreign = || Error::usage(format!("`agents {MAKE_PANE}` is started by the engine itself")).hint("agents up");
    // SAFETY: `start_maker` promises these descriptors, and nothing else in this process has touched them.
    let (host, _lock) = unsafe {
        let host = process::inherited_fd(3).map_err(|_| foreign())?;
        (host, Lock::from_fd(process::inherited_fd(4).map_err(|_| foreign())?))
    };
    process::set_name(&format!("make-pane {id}"));
    let mut host = Stream::from_fd(host)?;
    let maker = Maker { layout, id, tmux: tmux_of(layout), size, host: &host };
    if let Err(reason) = if look { maker.look() } else { maker.make() } {
        host.queue(JSON, &serde_json::to_vec(&FromHost::Failed { reason }).unwrap_or_default(), vec![]);
        // Whoever no longer listens needs no reason.
        let _ = host.flush();
    }
    Ok(())
}

struct Maker<'a> {
    layout: &'a Layout,
    id: &'a str,
    tmux: Tmux,
    size: Size,
    host: &'a Stream,
}

impl Maker<'_> {
    fn make(&self) -> Result<(), String> {
        if tmux::program().is_none() {
            return Err("tmux was not found on PATH".into());
        }
        if self.other_client_stays()? {
            return Ok(());
        }
        let program = self.prepare().map_err(|e| e.to_string())?;
        let mut said = String::new();
        for _ in 0..TRIES {
            if !self.is_wanted() {
                return Ok(());
            }
            match self.try_make(&program) {
                Ok(output) if output.code == 0 => return self.take_back(),
                Ok(output) => said = words(&output),
                Err(reason) => said = reason,
            }
        }
        Err(said)
    }

    /// Whether the host still waits. One that is gone has no use for a pane, and its client is there where it has hung up.
    fn is_wanted(&self) -> bool {
        readable(&[self.host.as_fd()], Some(monotonic())).is_ok_and(|gone| gone == [false])
    }

    /// A session that ended while its pane was made leaves nothing behind.
    fn take_back(&self) -> Result<(), String> {
        let lives = Lock::is_held(&self.layout.host_lock(self.id)).unwrap_or(true);
        if !lives {
            self.call(&["kill-session".to_owned(), "-t".to_owned(), format!("={}", self.layout.tmux_name(self.id))])?;
        }
        Ok(())
    }

    /// Whether a client that lives is the one that is wanted. One that has lost its host has a moment to go, and is ended then.
    fn other_client_stays(&self) -> Result<bool, String> {
        let Some((client, fd)) = client_of(self.layout, self.id).and_then(|c| Some((c, c.open()?))) else { return Ok(false) };
        let ended = readable(&[fd.as_fd(), self.host.as_fd()], Some(monotonic() + PANE_FAREWELL)).map_err(|e| e.to_string())?;
        match ended[..] {
            [true, _] => Ok(false),
            // The host has it: nothing more is wanted of us.
            [false, true] => Ok(true),
            _ => match tmux::end(client, PANE_FAREWELL) {
                Ok(true) => Ok(false),
                Ok(false) | Err(_) => Err(format!("the client of an earlier pane (pid {}) does not end", client.pid)),
            },
        }
    }

    /// Writes what tmux reads; under which name it starts this program.
    fn prepare(&self) -> io::Result<PathBuf> {
        let path = self.layout.tmux_config();
        let wanted = configuration();
        if fs::read_if_there(&path)?.as_deref() != Some(&wanted) {
            fs::write_atomic(&path, wanted.as_bytes(), 0o600)?;
        }
        // The file may be gone by now; what a living process runs can still be started.
        let host = self.host.peer_pid().unwrap_or(std::process::id() as i32);
        let own = process::own_path().filter(|p| fs::exists(p)).unwrap_or_else(|| PathBuf::from(format!("/proc/{host}/exe")));
        let link = self.layout.program();
        fs::create_dir(link.parent().unwrap_or(&link), 0o700)?;
        fs::relink(&own, &link)?;
        Ok(link)
    }

    /// One try: in the pane that is there, else in a session, else in a window of the session that is there without it.
    fn try_make(&self, program: &Path) -> Result<Output, String> {
        let name = self.layout.tmux_name(self.id);
        let pane = format!("={name}:={WINDOW}.0");
        let session = format!("={name}:");
        let folder = launch::read(self.layout, self.id).map_or_else(|_| "/".into(), |l| l.folder.display().to_string());
        // tmux reads formats in it.
        let folder = plain(&folder.replace('#', "##"));
        let (rows, cols) = (self.size.rows.to_string(), self.size.cols.to_string());
        let own = [program.into()].into_iter().chain(args(PANE, self.layout)).chain(["--session".into(), self.id.into()]);
        let own: Vec<String> = own.map(|a: std::ffi::OsString| plain(&a.to_string_lossy())).collect();
        let with_command =
            |args: &[&str]| -> Vec<String> { args.iter().map(|a| (*a).to_owned()).chain(["--".to_owned()]).chain(own.clone()).collect() };
        let mut again = with_command(&["respawn-pane", "-k", "-c", &folder, "-t", &pane]);
        again.extend([";", "clear-history", "-t", &pane].map(str::to_owned));
        let fresh = with_command(&["new-session", "-d", "-s", &name, "-n", WINDOW, "-x", &cols, "-y", &rows, "-c", &folder]);
        let beside = with_command(&["new-window", "-t", &session, "-n", WINDOW, "-c", &folder]);
        let mut output = self.call(&again)?;
        if output.code != 0 {
            output = self.call(&fresh)?;
        }
        if output.code != 0 && words(&output).contains("duplicate session") {
            output = self.call(&beside)?;
        }
        Ok(output)
    }

    /// Whether the server answers; one that does not is ended, and what it has shown is made anew by those who notice.
    fn look(&self) -> Result<(), String> {
        self.call(&["list-sessions".to_owned()]).map(drop)
    }

    /// A call to the server, whichever state it is in. One that answers nobody is ended: all it holds are faces of what lives elsewhere.
    fn call(&self, args: &[String]) -> Result<Output, String> {
        // Whom the call will reach; by the time it fails another may listen.
        let server = self.tmux.server();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match self.tmux.call(&args, TMUX_PATIENCE) {
            Ok(output) => Ok(output),
            Err(e) if e.kind() == io::ErrorKind::TimedOut => Err(self.noted(match server {
                Some(server) => match tmux::end(server, HOST_RETURN) {
                    Ok(true) => format!("tmux (pid {}) did not answer within {TMUX_PATIENCE:?} and was ended", server.pid),
                    Ok(false) | Err(_) => format!("tmux (pid {}) does not answer and cannot be ended", server.pid),
                },
                None => format!("tmux did not answer within {TMUX_PATIENCE:?}"),
            })),
            Err(e) => Err(format!("tmux could not be called: {e}")),
        }
    }
}

impl Maker<'_> {
    /// Written down by whoever did it: the host may be another by now.
    fn noted(&self, why: String) -> String {
        let event = Event { at: now(), session: self.id.into(), what: "tmux".into(), why: why.clone(), pid: None };
        let _ = events::append(self.layout, &event);
        why
    }
}

/// An argument that tmux does not take for the end of a command.
fn plain(argument: &str) -> String {
    argument.strip_suffix(';').map_or_else(|| argument.to_owned(), |rest| format!("{rest}\\;"))
}

/// What tmux said on a failure.
fn words(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if text.is_empty() { format!("tmux ended with status {}", output.code) } else { format!("tmux: {text}") }
}

/// Nothing of the user's own configuration is read. The keys are tmux's, and the one that detaches everywhere else.
fn configuration() -> String {
    format!(
        "# Written by the engine; changes do not last.
set -g history-limit {TMUX_HISTORY_LINES}
set -g remain-on-exit failed
set -g status off
set -g mouse on
set -g focus-events on
set -g default-terminal tmux-256color
set -g update-environment ''
set -g allow-rename off
set -g automatic-rename off
set -g base-index 0
set -g pane-base-index 0
set -s escape-time 10
set -s extended-keys on
set -as terminal-features ',*:RGB'
bind -n 'C-\\' detach-client
# What a person starts in a window of their own is no daemon of the engine's.
set-environment -gu {}
",
        crate::os::env::AGENTS_DAEMON
    )
}

/// How long a wait for a pane may take before somebody asks again.
pub(super) const PANE_COMES: Duration = HOST_RETURN;
