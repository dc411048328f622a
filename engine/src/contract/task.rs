//! A task: what stands in its file, in which folder it lies, how whoever works on it says that it is done.
//!
//! The folder a task lies in is its state, and a move is a rename:
//! `tasks/pending/t12.json`, or `tasks/pending/t12/` once it has run; `tasks/running/t12/`; `tasks/held/t12/`; `tasks/finished/{done,failed,cancelled,timeout}/t12/`.
//! In a folder, `task.json` is the record; beside it lie the files of the work: the plan, sentinels, the prompt.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A task's number, written `t12`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

/// The text is no task's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTaskId;

impl fmt::Display for NoTaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a task's id, which looks like t12")
    }
}

impl std::error::Error for NoTaskId {}

impl FromStr for TaskId {
    type Err = NoTaskId;

    /// Exactly as it is written: `t`, then digits that do not begin with 0.
    fn from_str(text: &str) -> Result<TaskId, NoTaskId> {
        let digits = text.strip_prefix('t').filter(|d| !d.starts_with('0') && d.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|d| d.parse().ok()).map(TaskId).ok_or(NoTaskId)
    }
}

impl Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<TaskId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is to be done, byte for byte: in JSON a string, or `{"hex": "…"}` where it is not UTF-8.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prompt(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PromptShape {
    Text(String),
    Hex { hex: super::handover::Bytes },
}

impl Serialize for Prompt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => PromptShape::Hex { hex: super::handover::Bytes(self.0.clone()) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Prompt, D::Error> {
        Ok(match PromptShape::deserialize(deserializer)? {
            PromptShape::Text(text) => Prompt(text.into_bytes()),
            PromptShape::Hex { hex } => Prompt(hex.0),
        })
    }
}

/// Where a task lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// Not begun, or to be tried again.
    Pending,
    Running,
    /// Interrupted, and only the operator can say whether it may run once more.
    Held,
    Finished(End),
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum End {
    Done,
    Failed,
    Cancelled,
    Timeout,
}

impl End {
    pub const ALL: [End; 4] = [End::Done, End::Failed, End::Cancelled, End::Timeout];

    /// The word, as in JSON and in the folder's name.
    pub fn word(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Failed => "failed",
            End::Cancelled => "cancelled",
            End::Timeout => "timeout",
        }
    }
}

impl Place {
    pub const ALL: [Place; 7] = [
        Place::Pending,
        Place::Running,
        Place::Held,
        Place::Finished(End::Done),
        Place::Finished(End::Failed),
        Place::Finished(End::Cancelled),
        Place::Finished(End::Timeout),
    ];

    /// The word for people and JSON: `pending`, `running`, `held`, `done`, `failed`, `cancelled`, `timeout`.
    pub fn word(self) -> &'static str {
        match self {
            Place::Pending => "pending",
            Place::Running => "running",
            Place::Held => "held",
            Place::Finished(end) => end.word(),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Place, D::Error> {
        let word = String::deserialize(deserializer)?;
        Place::ALL.into_iter().find(|p| p.word() == word).ok_or_else(|| serde::de::Error::custom(format!("{word:?} is no state of a task")))
    }
}

/// `task.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub task: TaskId,
    pub agent: String,
    /// What the operator calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub created_at: Timestamp,
    /// `operator`, or the session that added it.
    pub by: String,
    /// Higher ones first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i64,
    /// All of these have to be done before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<String>,
    /// How long one attempt may take, with its preparation and its verification; none: as agents.toml says when it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How many more attempts after a failed one; none: as agents.toml says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// It gets a git worktree of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub worktree: bool,
    /// It may be run once more where it is not known how far it came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub idempotent: bool,
    /// Run afterwards; not zero means failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verify: Vec<String>,
    /// Not to be started before: a retry's delay, or a usage limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Why it waits or is held, or how it ended, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Where it is about to be moved: what was decided is written before it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Place>,
    /// So many attempts were made before the operator said that it may be tried anew; they do not count.
    #[serde(default, skip_serializing_if = "is_none")]
    pub forgiven: usize,
    /// Oldest first; the last one may be under way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<Attempt>,
    /// Last, as it may be long.
    pub prompt: Prompt,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

fn is_none(n: &usize) -> bool {
    *n == 0
}

/// One try at a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// The boot in which it began, and the monotonic clock then: what is left of its time is not changed by a jump of the clock.
    #[serde(default)]
    pub boot: String,
    #[serde(default)]
    pub started_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// None while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How the agent's process ended, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// What the agent said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<Said>,
    /// What the agent said and how its process ended do not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contradiction: Option<String>,
    /// How the verifying command ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Exit>,
}

/// `attempt.json`: the try that is under way. It becomes part of the record when that is next written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// How many tries were made before.
    pub n: usize,
    pub attempt: Attempt,
}

/// What became of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Done,
    Failed,
    Cancelled,
    Timeout,
    /// It ended with whatever ran it; how far it came is not known.
    Interrupted,
    /// At its usage limit; this counts as no attempt.
    Limited,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    Status(i32),
    Signal(i32),
    /// It could not be started.
    NotStarted,
    /// Nobody saw it.
    Unseen,
}

/// What an agent says of its task: the file `.done` or `.error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    Done { note: String },
    Error { reason: String },
}

/// What the host of a task's session has seen, in the task's folder: for the watchdog, or the one after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Which of the attempt's programs.
    pub step: Step,
    pub at: Timestamp,
    pub exit: Exit,
    /// In words.
    pub reason: String,
    pub remedy: Remedy,
}

/// The programs of an attempt, one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    #[default]
    Work,
    Verify,
}

/// What may be done about the end of a task's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Whatever it was, another try may go better.
    Again,
    /// Not before this time: a usage limit.
    NotBefore(Timestamp),
    /// Another try cannot help.
    Never,
}

/// What is asked of the watchdog about tasks: nobody else moves them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "kebab-case")]
pub enum Order {
    /// End it where it runs; it is finished as `cancelled`.
    Cancel,
    /// Once more from the beginning: one that is held or finished, but not done. One that waits for its time starts when it can.
    Retry,
    /// This attempt, and later ones, may take so long; `more`: so much longer than now.
    Timeout { ms: u64, more: bool },
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub task: TaskId,
    /// Why it was not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// Somebody waits until this has been done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    pub answers: Vec<Answer>,
    /// They are to have left the queue.
    pub gone: bool,
    /// None is to run.
    pub quiet: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_in_one_way_only() {
        for (text, expected) in [
            ("t1", Some(1)),
            ("t18446744073709551615", Some(u64::MAX)),
            ("t18446744073709551616", None),
            ("t0", None),
            ("t01", None),
            ("t", None),
            ("T1", None),
            ("t1 ", None),
            ("t+1", None),
            ("t1/../t2", None),
            ("12", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<TaskId>().ok().map(|t| t.0), expected, "{text:?}");
        }
        assert_eq!(TaskId(12).to_string(), "t12");
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_as_an_id_is_written_the_same(text in "[t0-9./ -]{0,24}", any in proptest::prelude::any::<String>()) {
            for text in [text, any] {
                if let Ok(id) = text.parse::<TaskId>() {
                    proptest::prop_assert_eq!(id.to_string(), text);
                }
            }
        }

        #[test]
        fn prompts_keep_every_byte(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let json = serde_json::to_string(&Prompt(bytes.clone())).unwrap();
            proptest::prop_assert_eq!(serde_json::from_str::<Prompt>(&json).unwrap().0, bytes);
        }
    }

    #[test]
    fn a_record_of_few_words_is_read() {
        let text =
            r#"{"task": "t3", "agent": "lead", "created_at": "2026-11-30T10:00:00Z", "by": "operator", "prompt": "go", "later": {"a": 1}}"#;
        let task: Task = serde_json::from_str(text).unwrap();
        assert_eq!((task.task, task.prompt.0.as_slice(), task.retries), (TaskId(3), b"go".as_slice(), None));
    }
}
