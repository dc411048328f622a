//! What is said over the sockets. A frame's kind says how its payload reads: [`JSON`] one of the messages below, [`BYTES`] terminal data as it is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::records::Run;
use super::status::{Activity, AgentStatus, EngineStatus, Evidence};
use super::task::{Answer, Order, TaskId};
use crate::os::pty::Size;

/// The payload is one message, as JSON.
pub const JSON: u8 = 1;
/// The payload is terminal output (from a host) or input (to one).
pub const BYTES: u8 = 2;

/// To a host. One connection carries any number of requests; answers come in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum ToHost {
    /// From the watchdog: [`FromHost::Report`] at once with the terminal's master descriptor, then one at every change.
    Watch,
    /// From now on [`BYTES`] frames go both ways: first what redraws the screen, then output as it comes.
    /// One that only looks on changes neither size nor input.
    Attach {
        size: Size,
        #[serde(default)]
        read_only: bool,
        /// It stands in the session's pane in tmux.
        #[serde(default)]
        pane: bool,
        /// So many lines of scrollback before the screen.
        #[serde(default)]
        history: usize,
    },
    /// See to it that the session has its pane in tmux. Answer: `Done` when it has, `Failed` where that cannot be. `hung`: tmux did not answer the
    /// one who asks; it is looked after, and if it answers nobody it is ended, and the pane made by another.
    Pane {
        #[serde(default)]
        hung: bool,
    },
    /// The attached client's terminal has a new size.
    Resize { size: Size },
    /// Text for the agent, as a paste where it takes one, then Enter if `submit`. Answer: `Taken` or `Failed`.
    Send { text: String, submit: bool, timeout_ms: u64 },
    /// There is a message in the session's mailbox, or will be before this connection ends; `interrupt`: end first what the agent does. Answer: `Mail`,
    /// and again whenever a message is taken or goes back to wait.
    Mail {
        #[serde(default)]
        interrupt: bool,
    },
    /// The last `lines` lines of scrollback and the screen: a `BYTES` frame. `styled` keeps colours as SGR sequences.
    Capture { lines: usize, styled: bool },
    /// End the agent with all below it, then the host itself. Answer: `Done` when nothing is left.
    Stop,
    /// End the agent and start it anew. Answer: `Report` when it runs or has failed.
    Restart,
    /// Many sessions die at the same time: one that waits for its next start waits at least so long from now. No answer.
    Slow { wait_ms: u64, why: String },
    /// From a hook of the agent's program: what it does now, and what it waits for. Answer: `Taken` or `Failed`.
    Hook {
        activity: Activity,
        #[serde(default)]
        what: String,
    },
    /// Answer: `Report`.
    Status,
    /// Become the program whose open file comes along. Answer: `Upgraded` by that program, or `NotUpgraded`.
    Upgrade,
}

/// From a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum FromHost {
    Report {
        status: Box<AgentStatus>,
        run: Box<Run>,
    },
    /// To the watchdog: the agent that was started last has printed its first output.
    Spoke,
    /// To the watchdog: its agent does something else now.
    Activity {
        activity: Activity,
        evidence: Option<Evidence>,
    },
    Taken,
    /// Why the first message that waits is not taken yet; empty where none waits. `soon`: that should change in a moment.
    Mail {
        why: String,
        soon: bool,
    },
    Done,
    /// The agent ended while the client was attached, or the host is about to.
    Detached {
        reason: String,
    },
    Failed {
        reason: String,
    },
    /// This is the program that the host was to become.
    Upgraded,
    /// The host goes on as it was.
    NotUpgraded {
        reason: String,
    },
}

/// To the watchdog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum ToWatchdog {
    /// Answer: `Status`.
    Status,
    /// `Status` at once and at every change, until the connection ends.
    Subscribe,
    /// From a host that no watchdog has connected to. No answer; the watchdog connects.
    Here { session: String },
    /// The wanted state on disk has changed for these sessions: act on it. Answer: `Settled` when each runs, is down, or has said why not.
    ///
    /// Who was given up on or waits is started at once, unless that came of a start after `asked`: then it is the answer, not what was asked about.
    Settle {
        sessions: Vec<String>,
        #[serde(default)]
        asked: Option<Timestamp>,
    },
    /// End these sessions, whose metadata cannot be read and so cannot say it. Answer: `Settled`.
    End { sessions: Vec<String> },
    /// Restart these sessions' agents; also those that are `failing`. Answer: `Settled`. What has been started since `asked` is as new as was asked for.
    Restart {
        sessions: Vec<String>,
        #[serde(default)]
        asked: Option<Timestamp>,
    },
    /// These sessions are archived or were never made: speak of them no more. Answer: `Settled`.
    Forget { sessions: Vec<String> },
    /// What is wanted of these tasks. Answer: `Tasks`, one for each, when it is on disk for good.
    Order { tasks: Vec<TaskId>, order: Order },
    /// Whether tasks may be started has changed on disk. `end`: those that run are ended. Answer: `Tasks` when none of them runs any more.
    Queue {
        #[serde(default)]
        end: bool,
    },
    /// Make all hosts and the watchdog itself become the program whose open file comes along; agents notice nothing. Answer: `Upgraded` or `Failed`.
    Upgrade,
}

/// From the watchdog.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
#[allow(clippy::large_enum_variant)]
pub enum FromWatchdog {
    Status {
        status: EngineStatus,
    },
    Settled {
        sessions: Vec<AgentStatus>,
    },
    Tasks {
        answers: Vec<Answer>,
    },
    Failed {
        reason: String,
    },
    /// This is the program that was to take over, with this many hosts.
    Upgraded {
        hosts: usize,
    },
}
