//! Whom the watchdog tells, what it tells them, and what it has told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::AgentStatus;

/// Whom to tell; written, mode 0600, when agents are started. Not there: nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// Argv of a command that is given a [`Notice`] as JSON on standard input; empty: none.
    #[serde(default)]
    pub command: Vec<String>,
    /// A URL that the same is posted to.
    #[serde(default)]
    pub webhook: Option<String>,
    pub on: Vec<Kind>,
    /// The project's folder, in which the command runs.
    pub folder: PathBuf,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Waiting,
    Failing,
    Limited,
    Stuck,
    Done,
    Storm,
    /// One that a newer engine knows.
    #[serde(other)]
    Other,
}

impl Kind {
    /// The word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Waiting => "waiting",
            Kind::Failing => "failing",
            Kind::Limited => "limited",
            Kind::Stuck => "stuck",
            Kind::Done => "done",
            Kind::Storm => "storm",
            Kind::Other => "other",
        }
    }
}

/// One event, for one session or several to which it happened at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    pub event: Kind,
    #[schemars(with = "String")]
    pub at: Timestamp,
    pub project: String,
    pub instance: String,
    /// All of it in a sentence, for people.
    pub text: String,
    /// As they stood when it happened; none where it is about the whole project.
    pub sessions: Vec<AgentStatus>,
}

/// What was told of each session last, so that another watchdog does not tell it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    pub sessions: BTreeMap<String, ToldOf>,
}

/// What was told of one session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldOf {
    pub event: Kind,
    pub since: String,
}
