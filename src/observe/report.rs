//! What is told about projects: the shape of `fleet status --json`.

use agents::contract::status::{AgentStatus, TaskCounts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All projects that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The registry's path.
    pub registry: String,
    pub projects: Vec<ProjectReport>,
}

/// One project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectReport {
    pub name: String,
    pub location: String,
    pub enabled: bool,
    pub tags: Vec<String>,
    pub harness: String,
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    pub pin: PinReport,
    pub state: ProjectState,
    pub agents: Vec<AgentStatus>,
    /// How many sessions there are beside those of the agents.
    pub sessions: usize,
    pub tasks: TaskCounts,
    /// What a person should know; `null` where there is nothing.
    pub error: Option<String>,
    /// With `--long`: how the repository stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitReport>,
}

/// The engine's pin: what the project's HEAD records, against what the registry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PinReport {
    pub state: PinState,
    /// What HEAD records.
    pub commit: Option<String>,
    /// The tag that names that commit.
    pub version: Option<String>,
}

/// A pin's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PinState {
    /// HEAD, the checked-out engine and the registry agree.
    Ok,
    /// HEAD records, or `engine/` is checked out at, another commit than the registry says.
    Drifted,
    /// The tag now means another commit than when it was pinned.
    Moved,
    /// HEAD records no engine, or there is no repository.
    Missing,
    /// The repository has no commit yet.
    Unborn,
}

/// A project's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProjectState {
    /// Every agent runs, or is at its usage limit.
    Up,
    /// Some agents run; others start, have ended or are down.
    Degraded,
    /// An agent was given up on.
    Failing,
    /// Nothing runs.
    Down,
    /// Its folder is not there.
    Missing,
    /// It is no project: no repository, no file of its engine's, or one that cannot be read.
    Invalid,
    /// It could not be told.
    Unknown,
}

impl ProjectState {
    /// The word, as in JSON.
    pub fn word(self) -> &'static str {
        match self {
            ProjectState::Up => "up",
            ProjectState::Degraded => "degraded",
            ProjectState::Failing => "failing",
            ProjectState::Down => "down",
            ProjectState::Missing => "missing",
            ProjectState::Invalid => "invalid",
            ProjectState::Unknown => "unknown",
        }
    }
}

/// How a project's repository stands. Counts are of paths, as `git status` lists them without looking for renames; the engine's are its own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GitReport {
    /// The branch; `null`: HEAD is detached.
    pub branch: Option<String>,
    pub detached: bool,
    /// The branch that it follows.
    pub upstream: Option<String>,
    /// Commits that the upstream lacks; `null`: no upstream, or it is gone.
    pub ahead: Option<usize>,
    /// Commits that only the upstream has.
    pub behind: Option<usize>,
    /// What was begun and not finished: `merge`, `rebase`, ….
    pub busy: Option<String>,
    pub staged: usize,
    pub modified: usize,
    pub untracked: usize,
    pub conflicts: usize,
    /// The tag that names the pin; `null`: none does.
    pub tag: Option<String>,
    pub engine: EngineReport,
    /// Why the rest cannot be told.
    pub error: Option<String>,
}

/// How the checked-out engine stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineReport {
    pub state: EngineState,
    /// What is checked out.
    pub commit: Option<String>,
    /// The tag that names it.
    pub tag: Option<String>,
    pub staged: usize,
    pub modified: usize,
    pub untracked: usize,
    pub conflicts: usize,
}

/// The checked-out engine beside the pin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EngineState {
    /// What HEAD pins is checked out.
    Ok,
    /// Another commit than HEAD pins is checked out.
    Drifted,
    /// Nothing is checked out.
    Uninitialised,
    /// There is no pin.
    #[default]
    Missing,
}

impl EngineReport {
    /// Whether anything in it was changed.
    pub fn is_dirty(&self) -> bool {
        self.staged + self.modified + self.untracked + self.conflicts > 0
    }
}
