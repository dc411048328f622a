//! What `agents status --json` prints and the watchdog's socket answers.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::task::{End, Place};

/// One project's engine, as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineStatus {
    pub instance: String,
    pub project: String,
    pub engine: EngineVersion,
    /// `None`: no watchdog runs.
    pub watchdog: Option<Daemon>,
    pub agents: Vec<AgentStatus>,
    #[serde(default)]
    pub sessions: Vec<AgentStatus>,
    #[serde(default)]
    pub tasks: TaskCounts,
    /// The sessions of the tasks that run, each under its task's id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub running: Vec<AgentStatus>,
}

/// Which engine runs: the version in its manifest and the git tree it was built from (empty when unknown).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineVersion {
    pub version: String,
    pub tree: String,
}

/// A daemon of the engine's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Daemon {
    pub pid: i32,
    #[schemars(with = "String")]
    pub since: Timestamp,
}

/// One agent and its session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStatus {
    /// The role in `agents.toml`.
    pub name: String,
    /// `{prefix}-{n}`; empty when it never had a session.
    pub session: String,
    pub state: State,
    #[serde(default)]
    pub activity: Activity,
    /// What tells so; none where nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    pub pid: Option<i32>,
    /// Since when it is in this state.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// How often it was brought back since it was last started by the operator.
    pub heals: u32,
    /// Why it is in this state, in words; empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub backend: String,
    /// At its usage limit: when that is said to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// It was told to go on and resumed in vain, and is left alone until somebody asks something of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stuck: bool,
    /// The version of the program that plays it, as it said before it was started.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
}

/// A session's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// About to run: being started, or waiting for its next start.
    Starting,
    Up,
    /// At its usage limit, left alone until that ends.
    Limited,
    /// Given up on until the operator acts or the cause changes.
    Failing,
    /// Ended, and not to be restarted.
    Exited,
    Down,
    Archived,
    /// Cannot be told. Nothing irreversible is done to it.
    #[serde(other)]
    Unknown,
}

impl State {
    /// The word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Up => "up",
            State::Limited => "limited",
            State::Failing => "failing",
            State::Exited => "exited",
            State::Down => "down",
            State::Archived => "archived",
            State::Unknown => "unknown",
        }
    }
}

/// What a session's agent does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Activity {
    Working,
    Waiting,
    Idle,
    /// It lives and does not move: stopped, or at work without a word for long.
    Hung,
    #[default]
    #[serde(other)]
    Unknown,
}

impl Activity {
    /// The word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Activity::Working => "working",
            Activity::Waiting => "waiting",
            Activity::Idle => "idle",
            Activity::Hung => "hung",
            Activity::Unknown => "unknown",
        }
    }
}

/// What an agent's activity is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    pub source: Source,
    /// What it waits for, or why it is taken to hang; in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// Since when it does that.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When the source said so last, or first since the watchdog was told.
    #[schemars(with = "String")]
    pub seen: Timestamp,
}

/// Who tells what an agent does, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Its program's own record.
    Record,
    /// A hook that the program calls.
    Hook,
    /// Patterns on its screen.
    Screen,
    /// The state of its process.
    Process,
    /// One that a newer engine knows.
    #[serde(other)]
    Other,
}

/// How many tasks there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskCounts {
    #[serde(default)]
    pub pending: usize,
    #[serde(default)]
    pub running: usize,
    #[serde(default)]
    pub failed: usize,
    /// Interrupted; the operator has to say whether they may run once more.
    #[serde(default)]
    pub held: usize,
}

impl TaskCounts {
    /// By how many lie at each place: of those that have ended, only what a person should see.
    pub fn of<E>(count: impl Fn(Place) -> Result<usize, E>) -> Result<TaskCounts, E> {
        Ok(TaskCounts {
            pending: count(Place::Pending)?,
            running: count(Place::Running)?,
            held: count(Place::Held)?,
            failed: count(Place::Finished(End::Failed))? + count(Place::Finished(End::Timeout))?,
        })
    }
}
