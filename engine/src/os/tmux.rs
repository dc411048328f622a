//! The user's own `tmux`, run on a socket and with a configuration of ours, so that theirs is neither read nor touched. No call waits for ever.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use super::clock::monotonic;
use super::process::{Output, ProcessId, Run, run, wait_for_end};
use super::socket::Stream;

/// The first that knows `remain-on-exit failed` and read-only clients whose size does not count.
pub const VERSION_MIN: &str = "3.2";

/// Variables by which tmux would take a command for one that stands in a pane of another server.
const OUTER: [&str; 2] = ["TMUX", "TMUX_PANE"];

/// Where it lies, if it is on `PATH`.
pub fn program() -> Option<PathBuf> {
    super::fs::find_program("tmux", Path::new("/"), &super::env::text("PATH").unwrap_or_default())
}

/// What it says of itself, if it is there.
pub fn version() -> Option<String> {
    let argv = [program()?.to_string_lossy().into_owned(), "-V".to_owned()];
    let output = run(&Run { argv: &argv, timeout: Some(Duration::from_secs(5)), ..Run::default() }).ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether it is at least [`VERSION_MIN`]; what names no number (a build from its sources) is taken for new enough.
pub fn is_new_enough(said: &str) -> bool {
    let number = said.trim().rsplit([' ', '-']).next().unwrap_or_default();
    let part = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let version = |text: &str| text.split_once('.').and_then(|(major, minor)| Some((part(major)?, part(minor)?)));
    version(number).is_none_or(|found| version(VERSION_MIN).is_none_or(|least| found >= least))
}

/// A server of ours: where it listens, by what it is configured.
#[derive(Debug, Clone)]
pub struct Tmux {
    socket: PathBuf,
    config: PathBuf,
}

impl Tmux {
    pub fn new(socket: PathBuf, config: PathBuf) -> Tmux {
        Tmux { socket, config }
    }

    fn argv(&self, args: &[&str]) -> Vec<String> {
        let place = [self.socket.to_string_lossy().into_owned(), self.config.to_string_lossy().into_owned()];
        let own = ["tmux", "-u", "-S", &place[0], "-f", &place[1]];
        own.iter().chain(args).map(|a| (*a).to_owned()).collect()
    }

    /// One call to its end. `TimedOut`: the server does not answer.
    pub fn call(&self, args: &[&str], limit: Duration) -> io::Result<Output> {
        run(&Run { argv: &self.argv(args), folder: Some(Path::new("/")), timeout: Some(limit), ..Run::default() })
    }

    /// A client on this terminal until it ends, which may take days.
    pub fn client(&self, args: &[&str]) -> io::Result<ExitStatus> {
        let argv = self.argv(args);
        let mut command = Command::new(&argv[0]);
        command.args(&argv[1..]);
        for name in OUTER {
            command.env_remove(name);
        }
        command.status()
    }

    /// The server's process, if one listens.
    pub fn server(&self) -> Option<ProcessId> {
        Stream::connect_at_once(&self.socket).ok()?.peer_pid().and_then(ProcessId::of)
    }
}

/// Ends exactly this process for certain. False: it lives on.
pub fn end(process: ProcessId, limit: Duration) -> io::Result<bool> {
    let Some(fd) = process.open() else { return Ok(true) };
    process.signal(Signal::KILL);
    wait_for_end(&fd, monotonic() + limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (said, enough) in [
            ("tmux 3.3a", true),
            ("tmux 3.2", true),
            ("tmux 3.10", true),
            ("tmux 4.0-rc", true),
            ("tmux next-3.5", true),
            ("tmux master", true),
        ] {
            assert_eq!(is_new_enough(said), enough, "{said}");
        }
        for said in ["tmux 3.1c", "tmux 2.9a", "tmux 1.8"] {
            assert!(!is_new_enough(said), "{said}");
        }
    }
}
