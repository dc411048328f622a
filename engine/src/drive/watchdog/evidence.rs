//! What is known of an attempt from the files in its task's folder, and what the record says of it.

use std::path::Path;

use crate::contract::task::{Attempt, End, Ended, Exit, Outcome, Said, Step, TaskId};
use crate::core::schedule as core;
use crate::os::clock::now;
use crate::os::signal;
use crate::store::tasks::sentinel;

pub(super) use crate::contract::task::Remedy;

/// Read once, so that what is decided and what is written down are about the same.
pub(super) struct Evidence {
    pub said: Option<Said>,
    /// It was decided to end it.
    pub marked: Option<End>,
    begun: [bool; 2],
    ended: [Option<Ended>; 2],
}

/// What the record says beside the evidence.
pub(super) struct Words<'a> {
    pub id: TaskId,
    pub timeout: Option<String>,
    pub impossible: Option<String>,
    pub stopped: bool,
    pub verify: &'a str,
}

fn index(step: Step) -> usize {
    match step {
        Step::Work => 0,
        Step::Verify => 1,
    }
}

impl Evidence {
    pub fn of(folder: &Path, worktree: Option<&Path>) -> Evidence {
        let steps = [Step::Work, Step::Verify];
        Evidence {
            said: sentinel::said(folder, worktree),
            marked: sentinel::marked(folder),
            begun: steps.map(|s| sentinel::has_begun(folder, s)),
            ended: steps.map(|s| sentinel::ended(folder, s)),
        }
    }

    pub fn has_begun(&self) -> bool {
        self.begun.contains(&true) || self.said.is_some()
    }

    /// The step that was begun last.
    pub fn step(&self) -> Step {
        if self.begun[1] { Step::Verify } else { Step::Work }
    }

    pub fn ended(&self, step: Step) -> Option<&Ended> {
        self.ended[index(step)].as_ref()
    }

    /// The step's program was never started, and nothing says that it is over.
    pub fn is_unstarted(&self, step: Step) -> bool {
        !self.begun[index(step)] && self.ended(step).is_none()
    }

    /// What the agent said: true for done.
    pub fn is_done(&self) -> Option<bool> {
        self.said.as_ref().map(|said| matches!(said, Said::Done { .. }))
    }

    /// How the step's program ended, and what may be done about it.
    pub fn exit(&self, step: Step) -> (core::Exit, Remedy) {
        match self.ended(step) {
            Some(Ended { exit: Exit::Status(0), .. }) => (core::Exit::Well, Remedy::Again),
            Some(Ended { exit: Exit::Unseen, .. }) | None => (core::Exit::Unseen, Remedy::Again),
            Some(Ended { remedy, .. }) => (core::Exit::Badly, *remedy),
        }
    }

    /// Completes the attempt's record.
    pub fn write(self, attempt: &mut Attempt, outcome: Outcome, step: Step, words: &Words<'_>) {
        attempt.ended_at = Some(now());
        attempt.outcome = Some(outcome);
        attempt.exit = self.ended(Step::Work).map(|e| e.exit);
        attempt.verified = self.ended(Step::Verify).map(|e| e.exit);
        attempt.contradiction = self.contradiction();
        attempt.reason = self.reason(outcome, step, words);
        attempt.said = self.said;
    }

    fn contradiction(&self) -> Option<String> {
        match (&self.said, self.ended(Step::Work).map(|e| e.exit)?) {
            (Some(Said::Done { .. }), Exit::Status(n)) if n != 0 => {
                Some(format!("its agent said that it is done, and exited with status {n}"))
            }
            (Some(Said::Error { .. }), Exit::Status(0)) => Some("its agent gave up, and exited with status 0".into()),
            (Some(Said::Done { .. } | Said::Error { .. }), _) | (None, _) => None,
        }
    }

    fn reason(&self, outcome: Outcome, step: Step, words: &Words<'_>) -> String {
        if let Some(why) = &words.impossible {
            return why.clone();
        }
        let ended = |step| self.ended(step).map_or_else(|| "how it ended is not known".to_owned(), |e| e.reason.clone());
        match (outcome, step, &self.said) {
            (Outcome::Done, _, Some(Said::Done { note })) => note.clone(),
            (Outcome::Done, ..) => String::new(),
            (Outcome::Cancelled, ..) => "cancelled".into(),
            (Outcome::Timeout, ..) => match &words.timeout {
                Some(time) => format!("took longer than {time}"),
                None => "took too long".into(),
            },
            (Outcome::Failed, Step::Work, Some(Said::Error { reason })) if reason.is_empty() => "its agent gave up".into(),
            (Outcome::Failed, Step::Work, Some(Said::Error { reason })) => format!("its agent gave up: {reason}"),
            (Outcome::Failed | Outcome::Limited, Step::Work, _) => ended(Step::Work),
            (Outcome::Failed | Outcome::Limited, Step::Verify, _) => format!("`{}` says no: {}", words.verify, ended(Step::Verify)),
            (Outcome::Interrupted, ..) if words.stopped => "interrupted, as the project was stopped".into(),
            (Outcome::Interrupted, ..) => format!("interrupted: {}", interrupted(self, step, words.id)),
        }
    }
}

fn interrupted(evidence: &Evidence, step: Step, id: TaskId) -> String {
    match evidence.ended(step) {
        Some(Ended { exit: Exit::Signal(n), .. }) => format!("killed by {}", signal::name(*n)),
        Some(_) | None => format!("whatever ran {id} was gone, and how far it came is not known"),
    }
}
