//! What a daemon hands to the program that it becomes: its state, and the numbers of the descriptors that stay open over the exec.
//!
//! One release writes it and another reads it, so it is as fixed as a file's format. Fields may be added: who does not know them passes them over, and who
//! misses them takes the default. What cannot be said so gets a new [`VERSION`]. Times are microseconds on the monotonic clock, which is the same for
//! all processes of the machine.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::mail::Origin;
use super::records::{Launch, Run};
use super::status::{AgentStatus, EngineVersion};
use crate::os::process::ProcessId;

/// The version of these shapes.
pub const VERSION: u32 = 1;

/// Read before anything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub version: u32,
    /// Who wrote it.
    pub engine: EngineVersion,
}

/// A session's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    #[serde(flatten)]
    pub header: Header,
    pub lock: i32,
    pub listener: i32,
    pub master: i32,
    pub slave: i32,
    pub launch: Launch,
    pub run: Run,
    pub phase: Phase,
    /// The agent was started by a host before the one that writes this.
    #[serde(default)]
    pub adopted: bool,
    /// The agent was resumed, not started.
    #[serde(default)]
    pub resumed: bool,
    #[serde(default)]
    pub scattered: bool,
    #[serde(default)]
    pub ending: Vec<ProcessId>,
    #[serde(default)]
    pub killing: bool,
    #[serde(default)]
    pub look_again_us: Option<u64>,
    #[serde(default)]
    pub watchdog_due_us: Option<u64>,
    /// Why the log has gaps.
    #[serde(default)]
    pub incomplete: Option<String>,
    /// Typed, and not yet taken by the terminal.
    #[serde(default)]
    pub input: Bytes,
    #[serde(default)]
    pub clients: Vec<Client>,
    /// The last number that a client was given.
    #[serde(default)]
    pub last_client: u64,
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
    /// What waits until the mailbox is free.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<Letter>,
    /// The client that waits to hear what came of it.
    pub asked_by: u64,
}

/// Where a session stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Phase {
    Down,
    Starting,
    Up { since_us: u64 },
    Backoff { until_us: u64, reason: String },
    Ending { then: Then, kill_at_us: Option<u64> },
    Limited { until_us: u64, reason: String },
    Failing { reason: String },
    Exited { reason: String },
}

/// What follows once nothing is left of the old agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Then {
    Quit,
    Start,
    Heal {
        reason: String,
        ran_us: u64,
        #[serde(default)]
        remedy: Remedy,
    },
}

/// What is to be done about a death.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Remedy {
    #[default]
    Again,
    AtOnce,
    Slower,
    NotBefore {
        until_us: u64,
    },
    Never,
}

/// Somebody who is connected to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    pub id: u64,
    pub connection: Connection,
    pub role: Role,
    #[serde(default)]
    pub awaits_rest: bool,
    #[serde(default)]
    pub awaits_end: bool,
    #[serde(default)]
    pub awaits_pane: bool,
}

/// What a client is to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub enum Role {
    Asker,
    Watchdog,
    Attached {
        behind: bool,
        read_only: bool,
        #[serde(default)]
        pane: bool,
    },
}

/// A connection with what was read of it and not yet understood, and what was said and not yet sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub fd: i32,
    #[serde(default)]
    pub input: Bytes,
    #[serde(default)]
    pub input_fds: Vec<i32>,
    #[serde(default)]
    pub output: Vec<Unsent>,
}

/// Bytes of a message that the peer has not taken yet, and the descriptors that go with its first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsent {
    pub bytes: Bytes,
    #[serde(default)]
    pub fds: Vec<i32>,
}

/// A text that is being typed for somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub client: u64,
    pub pieces: Vec<Bytes>,
    pub typed: bool,
    pub timeout_us: u64,
    pub deadline_us: Option<u64>,
    pub lost: bool,
    /// From the mailbox: its id, how many pieces were begun, and whether they are a paste.
    #[serde(default)]
    pub message: Option<u64>,
    #[serde(default)]
    pub begun: usize,
    #[serde(default)]
    pub paste: bool,
}

/// What a host itself has to say to its agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    pub origin: Origin,
    pub text: String,
}

/// A project's watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watchdog {
    #[serde(flatten)]
    pub header: Header,
    pub lock: i32,
    pub listener: i32,
    pub since: Timestamp,
    /// The limit on descriptors that it began with; 0: it has not raised it.
    #[serde(default)]
    pub descriptors_before: u64,
    pub links: Vec<Link>,
    #[serde(default)]
    pub clients: Vec<Asker>,
    /// The process that waits for its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<ProcessId>,
}

/// A session as its project's watchdog knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub wanted: bool,
    pub status: AgentStatus,
    /// To its host.
    pub connection: Option<Connection>,
    /// The terminal's master.
    pub terminal: Option<i32>,
    #[serde(default)]
    pub restarting: bool,
    #[serde(default)]
    pub refusal: String,
}

/// Somebody who is connected to a watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    pub connection: Connection,
    #[serde(default)]
    pub subscribed: bool,
    #[serde(default)]
    pub settling: Option<Vec<String>>,
    /// It waits to hear what came of the upgrade.
    #[serde(default)]
    pub upgrading: bool,
    /// It waits until this has been done with tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<super::task::Awaited>,
}

/// Bytes, in JSON as hex digits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = self.0.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
        serializer.serialize_str(&digits.map(char::from).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
        let pairs = text.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = pairs.map(|pair| if let [a, b] = pair { Some(digit(*a)? << 4 | digit(*b)?) } else { None }).collect();
        bytes.map(Bytes).ok_or_else(|| serde::de::Error::custom("these are no hex digits in pairs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        let all = Bytes((0..=255).collect());
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&text).unwrap(), all);
        for wrong in ["\"0\"", "\"0g\"", "\"\u{e9}\"", "1"] {
            assert!(serde_json::from_str::<Bytes>(wrong).is_err(), "{wrong}");
        }
    }
}
