//! Which version the agent's program has: known before it is started, and asked for where the program's file is a new one.

use std::time::Duration;

use super::Host;
use super::agent::FOREIGN;
use crate::core::limits::{VERSION_BYTES_MAX, VERSION_WAIT};
use crate::core::session::{Event, Phase};
use crate::os::clock::monotonic;
use crate::os::process::Ended;
use crate::os::question::Question;
use crate::store::version::Program;

/// The program is being asked; the agent is started when it has answered.
pub(super) struct Asking {
    program: Program,
    question: Question,
    deadline: Option<Duration>,
}

/// What is known of the version of the program that is about to be started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Told {
    #[default]
    NotYet,
    /// It was asked for this start, and answered or did not.
    Answered,
}

impl Asking {
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

impl Host {
    pub(super) fn is_asking_version(&self) -> bool {
        self.asking.is_some()
    }

    /// Before a start: true where the program is asked first. An error: it must not be started, or not yet.
    pub(super) fn ask_version(&mut self) -> Result<bool, String> {
        if std::mem::take(&mut self.told) == Told::Answered {
            return Ok(false);
        }
        let Some(ask) = &self.launch.version else {
            self.version.clear();
            return Ok(false);
        };
        let Some(program) = Program::of(&self.launch) else {
            return match &ask.wanted {
                Some(wanted) => Err(format!("version {wanted} is wanted, and `{}`, which tells it, was not found", ask.command[0])),
                None => Ok(false),
            };
        };
        if let Some(version) = program.known(&self.layout) {
            self.note_version(version);
            return Ok(false);
        }
        match Question::ask(&program.command, &self.launch.folder, &self.launch.env, FOREIGN) {
            Ok(question) => {
                self.asking = Some(Asking { program, question, deadline: Some(monotonic() + VERSION_WAIT) });
                Ok(true)
            }
            Err(e) => program.untold(&e.to_string()).map_or(Ok(false), Err),
        }
    }

    /// What keeps the program from being started: it was told to have another version than the wanted one.
    pub(super) fn wrong_version(&self) -> Option<(String, Vec<std::path::PathBuf>)> {
        let program = Program::of(&self.launch)?;
        let reason = program.mismatch(&program.known(&self.layout)?)?;
        Some((reason, program.folders()))
    }

    /// It has taken too long.
    pub(super) fn give_up_asking(&mut self) {
        let Some(asking) = self.asking.as_mut().filter(|a| a.deadline.is_some_and(|t| t <= monotonic())) else { return };
        asking.deadline = None;
        asking.question.kill();
    }

    /// A child has ended. False: it was not the one that was asked.
    pub(super) fn version_told(&mut self, pid: i32, ended: Ended) -> bool {
        let Some(Asking { program, question, deadline }) = self.asking.take_if(|a| a.question.pid() == pid) else { return false };
        // Somebody may have stopped the session meanwhile.
        if self.session.phase != Phase::Starting {
            return true;
        }
        let said = question.said(VERSION_BYTES_MAX);
        let why = match (ended, deadline) {
            (_, None) => format!("it had not ended after {} s", VERSION_WAIT.as_secs()),
            (Ended::Exit(0), _) => "it printed nothing".to_owned(),
            (Ended::Exit(status), _) => format!("it exited with status {status}"),
            (Ended::Signal(signal), _) => format!("killed by {}", crate::os::signal::name(signal)),
        };
        let version = if ended == Ended::Exit(0) { program.remember(&self.layout, &said) } else { None };
        match (version, program.untold(&why)) {
            (None, Some(reason)) => self.events.push_back(Event::NotSpawned { reason, permanent: false }),
            (version, _) => {
                self.note_version(version.unwrap_or_default());
                self.told = Told::Answered;
                self.spawn();
            }
        }
        true
    }

    fn note_version(&mut self, version: String) {
        if version == self.version {
            return;
        }
        if !self.version.is_empty() && !version.is_empty() {
            self.log_event("version", &format!("its program is {version} now, it was {}", self.version), None);
        }
        self.version = version;
    }
}
