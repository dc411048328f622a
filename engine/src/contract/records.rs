//! Records on disk that more than one process reads.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::{Activity, Evidence, State};
use super::task::Step;
use crate::os::cgroup::{Caps, Group};
use crate::os::process::ProcessId;
use crate::os::pty::Size;

/// What a session's host starts. Written, mode 0600, before anything is started; read again before every start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    pub session: String,
    pub agent: String,
    pub backend: String,
    /// The first start.
    pub start: Vec<String>,
    /// Every later one, so that the conversation goes on.
    pub resume: Vec<String>,
    /// An agent was started in this session before this was written.
    #[serde(default)]
    pub started: bool,
    /// `start` names the conversation, so that a second start never loses one.
    #[serde(default)]
    pub named: bool,
    /// How the conversation's id is found once the agent runs; `resume` is without it until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<Find>,
    /// The first prompt, where the program is given it as a paste once it takes input.
    #[serde(default)]
    pub paste: Option<String>,
    /// Patterns on the screen: it takes input, it waits for a person, it is at its limit.
    #[serde(default)]
    pub ready: Option<String>,
    #[serde(default)]
    pub waiting: Option<String>,
    #[serde(default)]
    pub limited: Option<String>,
    /// It works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working: Option<String>,
    /// A text stands in its input box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent: Option<String>,
    /// Where its program itself writes down what it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<LiveRecord>,
    /// One that is idle unasked or hangs for so long is nudged, then restarted; none: it is left alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_ms: Option<u64>,
    /// It is woken when so much time has passed since it was last woken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_ms: Option<u64>,
    /// What it is told when its usage limit has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go_on: Option<String>,
    /// One that works and prints nothing for so long hangs; 0: the default.
    #[serde(default)]
    pub silence_ms: u64,
    /// The key that ends what it does.
    #[serde(default)]
    pub interrupt: String,
    pub folder: PathBuf,
    pub env: BTreeMap<String, String>,
    /// Whether a dead agent is brought back.
    pub heal: bool,
    pub restart: Restart,
    /// Between TERM and KILL.
    pub grace_ms: u64,
    /// The terminal's size until somebody attaches.
    pub size: Size,
    /// What its last lines say about its end.
    #[serde(default, skip_serializing_if = "Endings::is_empty")]
    pub endings: Endings,
    /// Its session is a task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskLaunch>,
    /// The session of tmux that shows its terminal, where that is the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmux: Option<String>,
    /// How the program's version is told, which is known before it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Version>,
    /// What the session may use at most.
    #[serde(default, skip_serializing_if = "Caps::is_empty")]
    pub caps: Caps,
}

/// How a program's version is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Prints it.
    pub command: Vec<String>,
    /// Another one is not started; a beginning counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
}

/// A program's own record of what it does: a JSON file for each of its processes, rewritten at every change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRecord {
    /// Where it may lie; `{pid}` is the process. The first whose variables are set counts; `~` and `$NAME` only at the beginning.
    pub file: Vec<String>,
    /// The key of the word that says what it does.
    pub key: String,
    /// The key that says what it waits for.
    #[serde(default)]
    pub what: Option<String>,
    /// The key of the process's start time (field 22 of proc(5)'s stat), by which a record that a dead one left is known.
    #[serde(default)]
    pub start: Option<String>,
    #[serde(default)]
    pub working: Vec<String>,
    #[serde(default)]
    pub waiting: Vec<String>,
    #[serde(default)]
    pub idle: Vec<String>,
}

/// What a host does that runs a step of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLaunch {
    #[serde(default)]
    pub step: Step,
    /// Its worktree is made first, from this folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepare: Option<PathBuf>,
}

/// Patterns that are looked for among the last lines of a program that ended with an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endings {
    /// Its usage limit; the group `at` is until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited: Option<String>,
    /// It wants a login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// Another start cannot help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fatal: Option<String>,
}

impl Endings {
    /// Nothing is to be looked for.
    pub fn is_empty(&self) -> bool {
        *self == Endings::default()
    }
}

/// How a conversation that names itself is found: by a file that the agent's own processes hold open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// A pattern for the file's path, with the group `id`.
    pub file: String,
    /// Goes on with it. `None` stands where the id belongs.
    pub resume: Vec<Option<String>>,
}

/// The conversation that a session's agent was found to have. Its host writes it, nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    pub backend: String,
    pub id: String,
}

/// When a dead agent is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// The second delay; the first start is at once.
    pub backoff_min_ms: u64,
    /// Delays double up to this.
    pub backoff_max_ms: u64,
    /// More deaths than this within the window: `failing`.
    pub burst: u32,
    pub window_ms: u64,
}

/// A host's last word on its session, in the runtime folder: what the next host goes on from. Worth nothing after a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub boot: String,
    pub agent: Option<ProcessId>,
    pub state: State,
    pub since: Timestamp,
    pub heals: u32,
    #[serde(default)]
    pub reason: String,
    /// Whether a start has happened, so that the next one resumes.
    pub started: bool,
    /// There is a conversation that a new start would lose.
    #[serde(default)]
    pub lasting: bool,
    /// The last resume came to nothing, so the next one is a start.
    #[serde(default)]
    pub anew: bool,
    /// At its usage limit: when that is said to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When it died, on the monotonic clock, milliseconds, oldest first; within the window.
    #[serde(default)]
    pub deaths_ms: Vec<u64>,
    #[serde(default)]
    pub activity: Activity,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    /// The version of the program that was started last; empty where it was not asked for or not told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The words on its screen that told of its last usage limit: they may stand there long after that has ended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub limit_words: String,
    /// When that was said to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ends: Option<Timestamp>,
    #[serde(default)]
    pub stall: Stall,
    /// The control group in which its agents are started.
    #[serde(default, skip_serializing_if = "Group::is_empty")]
    pub group: Group,
    /// Which caps are not in force, and why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uncapped: String,
}

/// What was done about an agent that does not go on by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// The message that nudges it waits, or was read.
    #[serde(default)]
    pub nudge: Nudge,
    #[serde(default)]
    pub restarts: u32,
    #[serde(default)]
    pub owes: bool,
    #[serde(default)]
    pub at_once: bool,
    #[serde(default)]
    pub gave_up: bool,
}

/// How far a nudge has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Nudge {
    #[default]
    None,
    Sent,
    Taken,
}

/// One line of `events.jsonl`: a transition, why, and on what evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Empty when the event is the project's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// `up`, `died`, `failing`, `adopted`, `watchdog`, … one word.
    pub what: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}
