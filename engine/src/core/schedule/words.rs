//! What is said to the queue, and what it says.

use std::collections::BTreeMap;
use std::time::Duration;

/// A task's number.
pub type Id = u64;

/// What is known of a task beyond its state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    pub priority: i64,
    pub lane: Option<String>,
    /// Attempts that failed and count.
    pub failed: u32,
    /// How many more than one may be made.
    pub retries: u32,
    /// It may be run again where it is not known how far it came.
    pub idempotent: bool,
    /// Its result is verified by a command.
    pub verify: bool,
    /// How often it was interrupted: whoever is, again and again, waits.
    pub interrupted: u32,
}

/// How a task stands that another one waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    Open,
    Well,
    /// It failed, was cancelled or is not there: who waits for it is blocked.
    Badly,
}

/// Where a task is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Pending {
        due: Option<Duration>,
        after: Vec<(Id, Before)>,
    },
    /// Its agent, or its verification, runs or has ended unseen by now.
    Running {
        since: Duration,
        timeout: Option<Duration>,
        step: Step,
    },
    Held,
}

/// The programs of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Work,
    Verify,
}

/// Why a running task is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Cancelled,
    Timeout,
    /// Its agent has said how it went and does not end.
    Said,
    /// No task is to run now.
    Stopped,
}

/// How the program of a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Well,
    Badly,
    /// Nobody knows.
    Unseen,
}

/// What may be done about a bad end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    Again,
    NotBefore(Duration),
    Never,
}

/// Where a task goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Done,
    Failed,
    Cancelled,
    Timeout,
    Held,
    /// Tried again, not before that time.
    Pending(Option<Duration>),
}

/// What became of the attempt that ends with a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Failed,
    Cancelled,
    Timeout,
    Interrupted,
    Limited,
}

/// A move to be made durable, with what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    pub id: Id,
    pub to: To,
    /// Of the attempt that ends with it; none where none was under way.
    pub outcome: Option<Outcome>,
    /// It was the verification that ended it.
    pub step: Step,
    /// The operator grants it all its attempts anew.
    pub forgive: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A task that was not in the queue.
    Found {
        id: Id,
        spec: Spec,
        found: Found,
    },
    /// A task is not there any more.
    Gone {
        id: Id,
    },
    /// Its attempt has begun.
    Started {
        id: Id,
        timeout: Option<Duration>,
    },
    /// It lies where it lay, and the reason is none of the task's: nothing is started for a moment.
    Trouble {
        id: Id,
    },
    /// It can never be started as it is. An attempt was begun and has failed.
    Impossible {
        id: Id,
    },
    /// The agent has said that it is done, or that it gives up.
    Said {
        id: Id,
    },
    /// All of the step's processes are gone. `said`: what the agent said, true for done.
    Ended {
        id: Id,
        exit: Exit,
        said: Option<bool>,
        remedy: Remedy,
    },
    /// A move is durable, or failed.
    Moved {
        id: Id,
        done: bool,
    },
    Cancel {
        id: Id,
    },
    /// A watchdog before this one had decided that it has had its time.
    Late {
        id: Id,
    },
    Retry {
        id: Id,
    },
    /// A running attempt may take so long from its beginning on.
    Timeout {
        id: Id,
        timeout: Option<Duration>,
    },
    /// How many may run at once, and in each lane; a lane without a limit has none of its own.
    Limits {
        parallel: usize,
        lanes: BTreeMap<String, usize>,
    },
    /// Whether tasks may be started.
    Open(bool),
    /// Those that run are to be ended.
    EndAll,
    /// One that is in nobody's queue any more has got another state: it was finished, and is tried again or forgotten.
    Elsewhere {
        id: Id,
        before: Before,
    },
    /// The deadline has come.
    Wake,
}

/// What the watchdog has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer `Started`, `Trouble`, `Impossible` or `Gone`.
    Start(Id),
    /// Start the verifying command. Answer `Ended`.
    Verify(Id),
    /// End all its processes, for this reason. Answer `Ended`.
    End(Id, Why),
    /// Answer `Moved`.
    Move(Move),
}
