//! Becoming another program without ending: the process stays, with its children, its locks and the descriptors it keeps.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use super::clock::monotonic;
use super::process::ProcessId;

/// What a program under trial says when it can take over.
pub const READY: &str = "ready to take over";

/// The file of the running program, open: what is executed from it is this program, whatever becomes of its name.
pub fn own_program() -> io::Result<OwnedFd> {
    File::open(super::process::own_program()).map(OwnedFd::from)
}

/// Whether this process runs the program in an open file.
pub fn is_own_program(program: &OwnedFd) -> io::Result<bool> {
    let theirs = File::from(program.try_clone()?).metadata()?;
    let ours = std::fs::metadata(super::process::own_program())?;
    Ok((theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino()))
}

/// Whether another process runs the same program file as this one. `None`: it is gone.
pub fn runs_own_program(pid: i32) -> Option<bool> {
    let file = |pid: &str| std::fs::metadata(format!("/proc/{pid}/exe")).ok().map(|m| (m.dev(), m.ino()));
    Some(file(&pid.to_string())? == file("self")?)
}

/// A file without a name that holds these bytes, at its beginning.
pub fn unnamed_file(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("handover", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

/// All bytes of an open file from where it stands.
pub fn read_to_end(file: OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    File::from(file).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Becomes `program`, started under the name `argv[0]`; the descriptors in `kept` stay open under their numbers, all else that is closed on exec is closed.
/// Returns only if that failed: then everything is as before.
///
/// No other thread may be running.
pub fn become_program(program: BorrowedFd<'_>, argv: &[OsString], kept: &[RawFd]) -> io::Error {
    let text = |bytes: &[u8]| CString::new(bytes).map_err(io::Error::from);
    let prepared = || -> io::Result<_> {
        let argv = argv.iter().map(|a| text(a.as_bytes())).collect::<io::Result<Vec<_>>>()?;
        let env = std::env::vars_os().map(|(k, v)| text(&[k.as_bytes(), b"=", v.as_bytes()].concat())).collect::<io::Result<Vec<_>>>()?;
        Ok((argv, env))
    };
    let (argv, env) = match prepared() {
        Ok(prepared) => prepared,
        Err(e) => return e,
    };
    let pointers = |list: &[CString]| list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>();
    let (argv, env) = (pointers(&argv), pointers(&env));
    let close_on_exec = |close: bool| {
        for fd in kept {
            // SAFETY: a plain system call on a number.
            unsafe { libc::fcntl(*fd, libc::F_SETFD, if close { libc::FD_CLOEXEC } else { 0 }) };
        }
    };
    close_on_exec(false);
    // SAFETY: both lists end with a null pointer, and what they point to lives until the call returns.
    unsafe { libc::fexecve(program.as_raw_fd(), argv.as_ptr(), env.as_ptr()) };
    let error = io::Error::last_os_error();
    close_on_exec(true);
    error
}

/// A program that shows beforehand that it starts and understands what it will be handed. It runs beside us and is waited for by whoever polls.
#[derive(Debug)]
pub struct Trial {
    child: Child,
    /// Its number may be another's once it was collected.
    id: Option<ProcessId>,
    /// What it says.
    said: OwnedFd,
    text: Vec<u8>,
    deadline: Duration,
    limit: Duration,
}

impl Trial {
    /// Starts `program` with `record` as its standard input.
    pub fn start(program: BorrowedFd<'_>, argv: &[OsString], record: &[u8], limit: Duration) -> io::Result<Trial> {
        let (said, says) = io::pipe()?;
        let said = OwnedFd::from(said);
        rustix::io::ioctl_fionbio(&said, true)?;
        let [name, args @ ..] = argv else { return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command")) };
        // The child's own copy of the descriptor, closed as it is executed.
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.arg0(name).args(args).stdin(unnamed_file(record)?).stdout(says.try_clone()?).stderr(Stdio::from(says));
        let child = command.spawn()?;
        let id = ProcessId::of(child.id() as i32);
        Ok(Trial { child, id, said, text: vec![], deadline: monotonic() + limit, limit })
    }

    /// Readable when there is something to hear.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.said.as_fd()
    }

    /// When it is no longer waited for.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What came of it; `None` for now. Does not wait for a program that has not ended.
    pub fn outcome(&mut self) -> Option<Result<(), String>> {
        const MOST: usize = 64 << 10;
        loop {
            let mut buffer = [0; 4096];
            match rustix::io::read(&self.said, &mut buffer) {
                Ok(0) => break,
                Ok(got) if self.text.len() < MOST => self.text.extend_from_slice(&buffer[..got]),
                Ok(_) => return Some(Err("it says something else, and more and more of it".into())),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) if monotonic() < self.deadline => return None,
                Err(rustix::io::Errno::AGAIN) => {
                    return Some(Err(format!("it says nothing within {} s", self.limit.as_secs())));
                }
                Err(e) => return Some(Err(io::Error::from(e).to_string())),
            }
        }
        let text = String::from_utf8_lossy(&self.text);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        Some(match lines.as_slice() {
            [.., READY] => Ok(()),
            [first, ..] => Err(first.trim_start_matches("error: ").chars().take(300).collect()),
            [] => Err("it ended without a word".into()),
        })
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // Whoever collects all children here may have collected it already.
        if let Some(id) = self.id.filter(|id| ProcessId::of(id.pid) == Some(*id)) {
            id.signal(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(script: &str, limit: Duration) -> Result<(), String> {
        let shell: OwnedFd = File::open("/bin/sh").unwrap().into();
        let argv = ["sh", "-c", script].map(OsString::from);
        let mut trial = Trial::start(shell.as_fd(), &argv, b"the record\n", limit).unwrap();
        loop {
            if let Some(outcome) = trial.outcome() {
                return outcome;
            }
            let _ = super::super::wait::readable(&[trial.fd()], Some(trial.deadline()));
        }
    }

    #[test]
    fn only_who_says_the_word_has_passed() {
        let long = Duration::from_secs(30);
        assert_eq!(tried(&format!("read line; test \"$line\" = 'the record' && echo {READY}"), long), Ok(()));
        assert_eq!(tried("exit 1", long), Err("it ended without a word".into()));
        assert_eq!(tried("echo error: too new >&2", long), Err("too new".into()));
        assert_eq!(tried(&format!("echo {READY}; echo panicked >&2"), long), Err(READY.into()));
        assert!(tried("exec yes", long).unwrap_err().starts_with("it says something else"));
        assert!(tried("exec sleep 1000", Duration::from_millis(50)).unwrap_err().starts_with("it says nothing"));
    }

    #[test]
    fn what_is_no_program_leaves_everything_as_it_was() {
        let text = unnamed_file(b"no program").unwrap();
        let error = become_program(text.as_fd(), &["x".into()], &[text.as_raw_fd()]);
        assert!(matches!(error.raw_os_error(), Some(libc::ENOEXEC | libc::EACCES)), "{error}");
        assert!(rustix::io::fcntl_getfd(&text).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert!(Trial::start(text.as_fd(), &["x".into()], b"", Duration::from_secs(1)).is_err());
        assert_eq!(read_to_end(text).unwrap(), b"no program");
    }
}
