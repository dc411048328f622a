//! The user's own `git`, run so that a hostile repository or URL gains nothing by it.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::lock::Lock;
use super::process::{Output, Run, run_holding};
use crate::error::{Error, Result};

/// Variables that would make git look elsewhere than where it is told to.
const GIT_VARIABLES: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
];

/// A git command in a folder.
#[derive(Debug, Clone)]
pub struct Git<'a> {
    folder: &'a Path,
    env: Vec<(String, String)>,
    config: Vec<String>,
    timeout: Option<Duration>,
    holding: Option<&'a Lock>,
}

impl<'a> Git<'a> {
    /// Git in `folder`. Only local files, https and ssh may be fetched from; nothing is asked on the terminal; no fsmonitor runs.
    pub fn at(folder: &'a Path) -> Git<'a> {
        Git {
            folder,
            env: vec![("GIT_TERMINAL_PROMPT".into(), "0".into()), ("LC_ALL".into(), "C".into())],
            config: [
                "protocol.allow=never",
                "protocol.file.allow=always",
                "protocol.https.allow=always",
                "protocol.ssh.allow=always",
                "core.fsmonitor=false",
            ]
            .map(str::to_owned)
            .to_vec(),
            timeout: None,
            holding: None,
        }
    }
    /// Git and its hooks inherit the lock, so that it stays held until they have ended, even if this process is killed.
    #[must_use]
    pub fn holding(mut self, lock: &'a Lock) -> Self {
        self.holding = Some(lock);
        self
    }
    /// Sets a variable for this command.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }
    /// `-c NAME=VALUE`.
    #[must_use]
    pub fn config(mut self, setting: impl Into<String>) -> Self {
        self.config.push(setting.into());
        self
    }
    /// No hook of the repository runs.
    #[must_use]
    pub fn without_hooks(self) -> Self {
        self.config("core.hooksPath=/dev/null")
    }
    /// Ends it after this long.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs it to its end, whatever its exit status.
    pub fn output(&self, args: &[&str]) -> io::Result<Output> {
        let mut argv: Vec<String> = vec!["env".into()];
        for name in GIT_VARIABLES.iter().filter(|n| super::env::get(n).is_some() && !self.env.iter().any(|(name, _)| name == *n)) {
            argv.extend(["-u".into(), (*name).into()]);
        }
        if argv.len() == 1 {
            argv.clear();
        }
        argv.push("git".into());
        for setting in &self.config {
            argv.extend(["-c".into(), setting.clone()]);
        }
        argv.extend(args.iter().map(|a| (*a).to_owned()));
        let run = Run { argv: &argv, folder: Some(self.folder), env: &self.env, timeout: self.timeout, whole: true };
        run_holding(&run, self.holding.map(Lock::fd))
    }

    fn end(&self, args: &[&str]) -> Result<Output> {
        self.output(args).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::failed("git was not found").hint("install git 2.30 or newer and see that it is on PATH"),
            _ => Error::failed(format!("{}: {e}", self.what(args))),
        })
    }

    fn what(&self, args: &[&str]) -> String {
        format!("git {} in {}", args.join(" "), self.folder.display())
    }

    /// Runs it; its standard output without the last newline, or an error with what git said.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let output = self.end(args)?;
        if output.code == 0 {
            return Ok(text(&output));
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let mut error = Error::failed(format!("{} ended with status {}", self.what(args), output.code));
        for line in said.lines().filter(|l| !l.trim().is_empty()).take(5) {
            error = error.because(line.trim());
        }
        if said.contains("No space left on device") {
            error = error.hint("make room there, then run this again");
        }
        Err(error)
    }

    /// Runs it for an answer that may be no; then there is none. One that a signal has ended has not answered, which is an error.
    pub fn ask(&self, args: &[&str]) -> Result<Option<String>> {
        let output = self.end(args)?;
        match output.code {
            0 => Ok(Some(text(&output))),
            1..=SIGNALS => Ok(None),
            code => {
                Err(Error::failed(format!("{} was ended by {}", self.what(args), super::signal::name(code - SIGNALS)))
                    .hint("run this again"))
            }
        }
    }
}

/// A status above this tells a signal.
const SIGNALS: i32 = 128;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
}
