//! Commands that are run to their end, their output kept.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;

use super::super::env::AGENTS_COMMAND;
use super::super::interrupt::{self, Mark};

/// What a command that was run to its end left behind.
#[derive(Debug)]
pub struct Output {
    /// Exit status; 128 + n for signal n.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// How a command is run to its end.
#[derive(Debug, Default)]
pub struct Run<'a> {
    pub argv: &'a [String],
    pub folder: Option<&'a Path>,
    pub env: &'a [(String, String)],
    pub timeout: Option<std::time::Duration>,
    /// It leaves nobody behind on purpose: whoever it has started ends with this process, if that is interrupted meanwhile, also where it has gone before.
    pub whole: bool,
}

/// Runs a command with no standard input, and waits for its end, or until the time is up: then it is killed and the error's kind is `TimedOut`.
pub fn run(run: &Run<'_>) -> io::Result<Output> {
    run_holding(run, None)
}

/// [`run`] with one descriptor that the command and all below it inherit: a lock that is to stay held until the last of them has ended,
/// even if this process dies before.
pub fn run_holding(run: &Run<'_>, held: Option<BorrowedFd<'_>>) -> io::Result<Output> {
    let [program, args @ ..] = run.argv else { return Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty command")) };
    let mut expression = duct::cmd(program, args).stdin_null().stdout_capture().stderr_capture().unchecked();
    if let Some(folder) = run.folder {
        expression = expression.dir(folder);
    }
    for (name, value) in run.env {
        expression = expression.env(name, value);
    }
    if let Some(held) = held.map(|fd| fd.as_raw_fd()) {
        expression = expression.before_spawn(move |command| {
            // SAFETY: one system call on a number; the descriptor is borrowed for longer than the start takes.
            unsafe {
                command.pre_exec(move || match libc::fcntl(held, libc::F_SETFD, 0) {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                });
            }
            Ok(())
        });
    }
    let mark = if run.whole { Mark::new() } else { None };
    if let Some(mark) = &mark {
        expression = expression.env(AGENTS_COMMAND, &mark.0);
    }
    let handle = interrupt::start(|| expression.start())?;
    let output = match run.timeout {
        None => handle.wait()?,
        Some(timeout) => match handle.wait_timeout(timeout)? {
            Some(output) => output,
            None => {
                handle.kill()?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("{program}: no answer within {timeout:?}")));
            }
        },
    };
    // Ended with us, by the signal that ends us: nothing is done about it.
    interrupt::stand_still_if_ending();
    let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
    Ok(Output { code, stdout: output.stdout.clone(), stderr: output.stderr.clone() })
}
