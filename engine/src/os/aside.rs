//! A command that is run beside: nobody waits for it but whoever polls, and only so long.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::clock::monotonic;
use super::succession::unnamed_file;

/// So much of what it says on standard error is told.
const WORDS_BYTES_MAX: u64 = 4096;

/// A command that runs.
#[derive(Debug)]
pub struct Aside {
    /// Its program, as it begins its errors.
    name: String,
    child: Child,
    /// Readable when it has ended.
    end: OwnedFd,
    /// What it says on standard error.
    words: File,
    deadline: Duration,
    limit: Duration,
}

impl Aside {
    /// Starts it in a process group of its own, with this input; what it prints is not read, and nobody ever waits for a pipe of it.
    pub fn start(argv: &[String], folder: &Path, input: &[u8], limit: Duration) -> io::Result<Aside> {
        let [program, args @ ..] = argv else { return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command")) };
        let words = File::from(unnamed_file(b"")?);
        let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).process_group(0);
        command.stdin(unnamed_file(input)?).stdout(Stdio::null()).stderr(words.try_clone()?);
        command.env_remove(super::env::AGENTS_DAEMON);
        let mut child = command.spawn()?;
        let end = Pid::from_raw(child.id() as i32).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match end {
            Some(Ok(end)) => Ok(Aside { name, child, end, words, deadline: monotonic() + limit, limit }),
            Some(Err(e)) => {
                let _ = child.kill().and_then(|()| child.wait());
                Err(e.into())
            }
            None => Err(io::Error::other("it has no number")),
        }
    }

    /// Readable when it has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// When it is ended.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// What came of it; `None` for now. One whose time is up is killed with all of its group.
    pub fn outcome(&mut self) -> Option<Result<(), String>> {
        let late = monotonic() >= self.deadline;
        match self.child.try_wait() {
            Ok(None) if !late => None,
            Ok(None) => {
                self.kill();
                Some(Err(format!("it has not ended within {} s, and was killed", self.limit.as_secs())))
            }
            Ok(Some(status)) if status.success() => Some(Ok(())),
            Ok(Some(status)) => Some(Err(self.said(status))),
            Err(e) => Some(Err(e.to_string())),
        }
    }

    fn said(&mut self, status: ExitStatus) -> String {
        let mut bytes = vec![];
        let _ = self.words.rewind().and_then(|()| (&self.words).take(WORDS_BYTES_MAX).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        let lines = || text.lines().map(str::trim).filter(|l| !l.is_empty());
        // Some say what is wrong and then give advice at length: curl, of a certificate.
        let error = lines().rfind(|l| l.strip_prefix(self.name.as_str()).is_some_and(|l| l.starts_with(": ")));
        format!("{status}: {}", error.or_else(|| lines().next_back()).unwrap_or("without a word"))
    }

    fn kill(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            // Not collected yet, so the number is still its own.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, limit: Duration) -> Result<(), String> {
        let argv = ["sh", "-c", script].map(str::to_owned);
        let mut aside = Aside::start(&argv, Path::new("/"), b"the input\n", limit).unwrap();
        loop {
            if let Some(outcome) = aside.outcome() {
                return outcome;
            }
            let _ = super::super::wait::readable(&[aside.fd()], Some(aside.deadline()));
        }
    }

    #[test]
    fn what_came_of_it_is_told() {
        let long = Duration::from_secs(30);
        assert_eq!(run("read line; test \"$line\" = 'the input'; yes | head -c 1000000", long), Ok(()));
        assert_eq!(run("echo one >&2; echo two >&2; exit 3", long), Err("exit status: 3: two".into()));
        assert_eq!(
            run("echo 'sh: it is the key' >&2; echo 'see the manual' >&2; exit 3", long),
            Err("exit status: 3: sh: it is the key".into())
        );
        assert_eq!(run("exit 3", long), Err("exit status: 3: without a word".into()));
        let late = run("sleep 1000 & sleep 1000", Duration::from_millis(50)).unwrap_err();
        assert!(late.contains("was killed"), "{late}");
        assert!(Aside::start(&["/nonexistent".into()], Path::new("/"), b"", long).is_err());
    }
}
