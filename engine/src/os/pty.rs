//! Terminals: opening a pair, starting a program in one, sizes, raw mode.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

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
}

impl Pty {
    /// A new terminal; its master does not block.
    pub fn open(size: Size) -> io::Result<Pty> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let pty = Pty::from_master(master)?;
        set_size(&pty.master, size)?;
        Ok(pty)
    }

    /// The terminal whose master was handed over.
    pub fn from_master(master: OwnedFd) -> io::Result<Pty> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        Ok(Pty { master, slave })
    }

    /// Back to how a fresh terminal is (line mode, echo), whatever the last program left.
    pub fn make_sane(&self) -> io::Result<()> {
        let fresh = Pty::open(Size { rows: 24, cols: 80 })?;
        tcsetattr(&self.slave, OptionalActions::Now, &tcgetattr(&fresh.slave)?)?;
        Ok(())
    }

    /// Bytes typed into the terminal that its program has not read yet.
    pub fn unread_bytes(&self) -> io::Result<u64> {
        rustix::io::ioctl_fionread(&self.slave).map_err(Into::into)
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
}

/// Starts a program as leader of its own session with the terminal as its controlling one. Returns once it is executed, or why not.
pub fn spawn(pty: &Pty, program: &Program<'_>) -> io::Result<ProcessId> {
    let [name, args @ ..] = program.argv else { return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command")) };
    let end = || super::process::duplicate(&pty.slave).map(Stdio::from);
    let mut command = Command::new(name);
    command.args(args).current_dir(program.folder).stdin(end()?).stdout(end()?).stderr(end()?);
    for name in program.env_remove {
        command.env_remove(name);
    }
    command.envs(program.env);
    let lock = program.lock.as_raw_fd();
    // SAFETY: between fork and exec only system calls are made: setsid, ioctl, fcntl.
    unsafe {
        command.pre_exec(move || {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 || libc::fcntl(lock, libc::F_SETFD, 0) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    let pid = child.id() as i32;
    // A child of ours that has ended keeps its entry until it is collected, so it is always found.
    ProcessId::of(pid).ok_or_else(|| io::Error::other("the new process has no entry in /proc"))
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
