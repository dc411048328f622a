//! Terminals: opening a pair, starting a program in one, sizes, raw mode.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::born::{self, Start};
use super::cgroup::Group;
use super::process::ProcessId;

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Size {
    pub rows: u16,
    pub cols: u16,
}

/// A terminal's two ends. The slave end is kept open so that the terminal outlives the programs in it.
#[derive(Debug)]
pub struct Pty {
    pub master: OwnedFd,
    pub slave: OwnedFd,
    /// How the terminal was when it was new; not known of one that was handed over.
    fresh: Option<Termios>,
}

impl Pty {
    /// A new terminal; its master does not block.
    pub fn open(size: Size) -> io::Result<Pty> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let mut pty = Pty::from_master(master)?;
        pty.fresh = Some(tcgetattr(&pty.slave)?);
        set_size(&pty.master, size)?;
        Ok(pty)
    }

    /// The terminal whose master was handed over.
    pub fn from_master(master: OwnedFd) -> io::Result<Pty> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        Ok(Pty { master, slave, fresh: None })
    }

    /// The terminal whose two ends were handed over.
    pub fn from_ends(master: OwnedFd, slave: OwnedFd) -> io::Result<Pty> {
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Pty { master, slave, fresh: None })
    }

    /// Back to how a fresh terminal is (line mode, echo), whatever the last program left.
    pub fn make_sane(&self) -> io::Result<()> {
        let fresh = match &self.fresh {
            Some(fresh) => fresh.clone(),
            None => tcgetattr(&Pty::open(Size { rows: 24, cols: 80 })?.slave)?,
        };
        tcsetattr(&self.slave, OptionalActions::Now, &fresh).map_err(Into::into)
    }

    /// Bytes typed into the terminal that its program has not read yet.
    pub fn unread_bytes(&self) -> io::Result<u64> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        // What was written a moment ago may be on its way through the kernel; polling the reader's end makes it arrive (n_tty_poll).
        let _ = poll(&mut [PollFd::new(&self.slave, PollFlags::IN)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        rustix::io::ioctl_fionread(&self.slave).map_err(Into::into)
    }
}

impl Pty {
    /// Forgets what was typed and not read.
    pub fn discard_unread(&self) -> io::Result<()> {
        rustix::termios::tcflush(&self.slave, rustix::termios::QueueSelector::IFlush).map_err(Into::into)
    }
}

/// The size of the terminal behind a descriptor.
pub fn size(fd: impl AsFd) -> io::Result<Size> {
    let w = tcgetwinsize(fd)?;
    Ok(Size { rows: w.ws_row, cols: w.ws_col })
}

/// Sets the size; the program in the terminal gets SIGWINCH from the kernel.
pub fn set_size(fd: impl AsFd, size: Size) -> io::Result<()> {
    tcsetwinsize(fd, Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }).map_err(Into::into)
}

/// What is started in a terminal.
#[derive(Debug)]
pub struct Program<'a> {
    pub argv: &'a [String],
    pub folder: &'a Path,
    pub env: &'a BTreeMap<String, String>,
    pub env_remove: &'a [&'a str],
    /// Stays open in the program and all below it: their lock.
    pub lock: BorrowedFd<'a>,
    /// The control group that it is born in; without one it stays in this process's.
    pub group: Option<&'a Group>,
}

/// Starts a program as leader of its own session with the terminal as its controlling one. Returns once it is executed, or why not.
///
/// A process that has much memory starts another as fast as one that has little. The program begins with no signal blocked and none ignored, whatever this
/// process does for itself.
pub fn spawn(pty: &Pty, program: &Program<'_>) -> io::Result<ProcessId> {
    let [name, rest @ ..] = program.argv else { return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command")) };
    let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().filter(|(k, _)| !program.env_remove.iter().any(|r| k == r)).collect();
    env.extend(program.env.iter().map(|(k, v)| (k.into(), v.into())));
    let search = env.get(OsStr::new("PATH")).map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    let file = super::fs::find_program(name, program.folder, &search).ok_or(io::ErrorKind::NotFound)?;
    let text = |bytes: &OsStr| CString::new(bytes.as_bytes()).map_err(io::Error::from);
    let argv = std::iter::once(name).chain(rest).map(|a| text(a.as_ref())).collect::<io::Result<Vec<_>>>()?;
    let env = env.iter().map(|(k, v)| text(&[k.as_os_str(), v].join(OsStr::new("=")))).collect::<io::Result<Vec<_>>>()?;
    let file = text(file.as_os_str())?;
    let folder = text(program.folder.as_os_str())?;
    let entry = program.group.map(Group::entry);
    let start = |file: &CStr, argv: &[CString]| {
        let terminal = pty.slave.as_fd();
        born::start(&Start { terminal, file, argv, env: &env, folder: &folder, lock: program.lock, entry: entry.as_ref() })
    };
    let pid = match start(&file, &argv) {
        // No `#!` line: a script for the shell, as execvp takes it.
        Err(e) if e.raw_os_error() == Some(libc::ENOEXEC) => {
            let shell = c"/bin/sh";
            let argv = [shell.to_owned(), file].into_iter().chain(argv.into_iter().skip(1)).collect::<Vec<_>>();
            start(shell, &argv)
        }
        other => other,
    }?;
    // A child of ours that has ended keeps its entry until it is collected, so it is always found.
    ProcessId::of(pid).ok_or_else(|| io::Error::other("the new process has no entry in /proc"))
}

/// The keys typed into a terminal, waiting for at least one. An error: it is gone.
pub fn typed(terminal: impl AsFd) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 256];
    match rustix::io::read(terminal, &mut buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(got) => Ok(buffer[..got].to_vec()),
        Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(vec![]),
        Err(e) => Err(e.into()),
    }
}

/// The user's own terminal in raw mode; as it was before, however this ends.
#[derive(Debug)]
pub struct Raw {
    fd: OwnedFd,
    before: Termios,
}

impl Raw {
    /// Raw mode on the terminal behind `fd`.
    pub fn enter(fd: impl AsFd) -> io::Result<Raw> {
        let fd = super::process::duplicate(fd)?;
        let before = tcgetattr(&fd)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&fd, OptionalActions::Flush, &raw)?;
        Ok(Raw { fd, before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.fd, OptionalActions::Flush, &self.before);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, clippy::disallowed_macros)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// Runs the script in a terminal until it ends; what it printed.
    fn said(script: &str) -> String {
        said_in(script, None)
    }

    fn said_in(script: &str, group: Option<&Group>) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("script");
        std::fs::write(&file, script).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let _blocked = crate::os::signal::descriptor(&[crate::os::signal::CHILD]).unwrap();
        let lock = std::fs::File::create(folder.path().join("lock")).unwrap();
        let pty = Pty::open(Size { rows: 24, cols: 80 }).unwrap();
        let argv = ["./script".to_owned(), "a b".to_owned()];
        let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
        let program = Program { argv: &argv, folder: folder.path(), env: &env, env_remove: &["HOME"], lock: lock.as_fd(), group };
        let id = spawn(&pty, &program).unwrap();
        let mut status = 0;
        // SAFETY: our own child, waited for once.
        assert_eq!(unsafe { libc::waitpid(id.pid, &mut status, 0) }, id.pid);
        // The kernel hands a terminal's output on in its own time, so the end is marked.
        rustix::io::write(&pty.slave, b"THE END").unwrap();
        let mut out = String::new();
        while !out.ends_with("THE END") {
            let mut buffer = [0u8; 4096];
            match rustix::io::read(&pty.master, &mut buffer) {
                Ok(n) => out.push_str(&String::from_utf8_lossy(&buffer[..n])),
                Err(rustix::io::Errno::AGAIN) => {
                    rustix::event::poll(&mut [rustix::event::PollFd::new(&pty.master, rustix::event::PollFlags::IN)], None).unwrap();
                }
                Err(e) => panic!("{e}"),
            }
        }
        out.trim_end_matches("THE END").replace("\r\n", "\n")
    }

    #[test]
    fn a_program_gets_its_terminal_its_folder_and_a_clean_slate() {
        let script = "#!/bin/sh\necho \"$GREETING $1 ${HOME-no home}\"; ls -d script; echo in the terminal >/dev/tty\ngrep SigBlk /proc/self/status; grep -oE 'SigIgn.*' /proc/self/status | tail -c 8\n";
        // The C library's own real-time signals, 32 and 33, are its business: the last seven digits are those of the others.
        assert_eq!(said(script), "hello a b no home\nscript\nin the terminal\nSigBlk:\t0000000000000000\n0000000\n");
    }

    #[test]
    fn a_script_without_a_first_line_is_the_shells() {
        assert!(said("echo \"$0 $1\"\n").ends_with("/script a b\n"));
    }

    #[test]
    fn one_that_is_born_into_a_group_is_no_different() {
        let name = format!("agents-test-pty-{}", std::process::id());
        let made = Group::make(&name, &crate::os::cgroup::Caps::default());
        if made.group.is_empty() {
            return println!("skipped: no control group can be made here");
        }
        let script = "#!/bin/sh\necho \"$GREETING $1\"; grep -c /agents-test-pty- /proc/self/cgroup; echo in the terminal >/dev/tty\ngrep SigBlk /proc/self/status; grep -oE 'SigIgn.*' /proc/self/status | tail -c 8\n";
        let said = said_in(script, Some(&made.group));
        made.group.remove();
        assert_eq!(said, "hello a b\n1\nin the terminal\nSigBlk:\t0000000000000000\n0000000\n");
        let missing = spawn_missing(Some(&made.group));
        assert_eq!(missing.unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }

    /// The interpreter of a script is missing: found only by executing it.
    fn spawn_missing(group: Option<&Group>) -> io::Result<ProcessId> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("script"), "#!/no/such/interpreter\n").unwrap();
        std::fs::set_permissions(folder.path().join("script"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let pty = Pty::open(Size { rows: 24, cols: 80 }).unwrap();
        let lock = tempfile::tempfile().unwrap();
        let argv = ["./script".to_owned()];
        spawn(&pty, &Program { argv: &argv, folder: folder.path(), env: &BTreeMap::new(), env_remove: &[], lock: lock.as_fd(), group })
    }

    #[test]
    fn what_is_not_there_is_said() {
        let pty = Pty::open(Size { rows: 24, cols: 80 }).unwrap();
        let lock = tempfile::tempfile().unwrap();
        let argv = ["no-such-program".to_owned()];
        let program =
            Program { argv: &argv, folder: Path::new("/"), env: &BTreeMap::new(), env_remove: &[], lock: lock.as_fd(), group: None };
        assert_eq!(spawn(&pty, &program).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
