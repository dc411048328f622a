//! Messages for an agent: what lies in a session's mailbox, and what is told of it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::os::process::ProcessId;

/// The first line of a message's file, as JSON; the text follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub at: Timestamp,
    pub origin: Origin,
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Somebody sent it.
    Sent,
    /// The agent's first prompt, where its program is given that as a paste.
    Prompt,
    /// The engine wakes it, as `wake` says.
    Wake,
    /// The engine tells it to go on, as it has stalled.
    Nudge,
    /// The engine tells it that its usage limit has ended.
    GoOn,
}

/// What has become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It waits.
    Queued,
    /// It is being typed, or is typed and not read yet.
    Typing,
    Taken,
    Dropped,
}

/// One message that waits, as `agents mail --json` prints it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    pub id: u64,
    pub standing: Standing,
    #[schemars(with = "String")]
    pub at: Timestamp,
    pub origin: Origin,
    pub size_bytes: u64,
    /// Its first line, cut.
    pub begins: String,
}

/// How far a message has been typed, in the runtime folder: written before every piece of it and after, for the host that may come after this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    pub message: u64,
    pub agent: ProcessId,
    /// It goes in as a bracketed paste.
    pub paste: bool,
    /// So many of its pieces were begun.
    pub begun: usize,
    /// So many were given to the terminal for certain; one more may have been.
    #[serde(default)]
    pub typed: usize,
    /// The terminal itself echoes what is typed, so something must have been printed since.
    pub shows: bool,
    /// The log's length then.
    pub log_bytes: u64,
    /// Where the program reads byte by byte, what each of its processes had read by then, of whatever; none: that cannot be told.
    #[serde(default)]
    pub reads: Vec<(i32, u64)>,
}
