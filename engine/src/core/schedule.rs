//! The task queue: which task starts when, what its end means, what follows. Finished tasks are not in it.
//!
//! The watchdog performs the actions and feeds every outcome back. A task is started only while it is pending, that is, after the watchdog has
//! seen it pending on disk; between the end of an attempt and the next stands a move that was answered. So nobody runs one twice at once.

mod words;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use words::*;

use super::limits::{TASK_BACKOFF_MAX, TASK_BACKOFF_MIN, TASK_FAREWELL, TASK_TROUBLE_PAUSE};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// `due`: not before; `after`: those it waits for.
    Pending {
        due: Option<Duration>,
        after: BTreeMap<Id, Before>,
    },
    /// It is being started.
    Starting,
    Running {
        since: Duration,
        timeout: Option<Duration>,
        step: Step,
        ending: Option<Why>,
        said: Option<Duration>,
    },
    /// It lies somewhere and is on its way; tried again at `again`.
    Moving {
        order: Move,
        again: Option<Duration>,
    },
    Held,
}

#[derive(Debug, Clone)]
struct Entry {
    spec: Spec,
    stage: Stage,
    /// Wanted while it was moving: done when it has arrived.
    wish: Option<Wish>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Cancel,
    Retry,
}

/// The queue.
#[derive(Debug, Clone, Default)]
pub struct Schedule {
    tasks: BTreeMap<Id, Entry>,
    /// Pending, and nothing but room is wanting; the next one first.
    ready: BTreeSet<(Reverse<i64>, Id)>,
    /// Pending until a time.
    due: BTreeSet<(Duration, Id)>,
    /// Who waits for whom.
    waiters: BTreeMap<Id, BTreeSet<Id>>,
    /// Starting or running.
    busy: BTreeSet<Id>,
    moving: BTreeSet<Id>,
    held: BTreeSet<Id>,
    parallel: usize,
    lanes: BTreeMap<String, usize>,
    open: bool,
    /// Nothing is started before this: there is trouble.
    pause: Option<Duration>,
}

impl Schedule {
    /// Whether it is in the queue.
    pub fn knows(&self, id: Id) -> bool {
        self.tasks.contains_key(&id)
    }

    /// Whether it waits.
    pub fn is_pending(&self, id: Id) -> bool {
        matches!(self.tasks.get(&id), Some(Entry { stage: Stage::Pending { .. }, .. }))
    }

    /// Whether anything is on its way.
    pub fn is_moving(&self) -> bool {
        !self.moving.is_empty()
    }

    /// Whether it is started, runs or is being ended.
    pub fn is_busy(&self, id: Id) -> bool {
        self.busy.contains(&id)
    }

    /// The step that runs, if one does.
    pub fn step_of(&self, id: Id) -> Option<Step> {
        match self.tasks.get(&id)?.stage {
            Stage::Running { step, .. } => Some(step),
            Stage::Pending { .. } | Stage::Starting | Stage::Moving { .. } | Stage::Held => None,
        }
    }

    /// Why it is being ended, if it is.
    pub fn ending(&self, id: Id) -> Option<Why> {
        match self.tasks.get(&id)?.stage {
            Stage::Running { ending, .. } => ending,
            Stage::Pending { .. } | Stage::Starting | Stage::Moving { .. } | Stage::Held => None,
        }
    }

    /// Whether anything is under way with it: then an order about it is not yet followed.
    pub fn rests(&self, id: Id) -> bool {
        self.tasks.get(&id).is_none_or(|e| e.wish.is_none() && !matches!(e.stage, Stage::Moving { .. }))
    }

    /// Those that others wait for, in the queue or not.
    pub fn awaited(&self) -> impl Iterator<Item = Id> + '_ {
        self.waiters.keys().copied()
    }

    /// Those that are started, run or are being ended.
    pub fn busy(&self) -> impl Iterator<Item = Id> + '_ {
        self.busy.iter().copied()
    }

    /// How many are pending, running, held; those on their way count where they go, if that is in the queue.
    pub fn counts(&self) -> (usize, usize, usize) {
        let held = self.held.len();
        let leaving = self.moving.iter().filter(|id| !self.tasks.get(id).is_some_and(|e| stays_pending(&e.stage))).count();
        (self.tasks.len() - self.busy.len() - held - leaving, self.busy.len(), held)
    }

    /// Whether something runs, is on its way, or will start by itself: now or at its time.
    pub fn is_alive(&self) -> bool {
        !self.busy.is_empty() || !self.moving.is_empty() || (self.open && (!self.ready.is_empty() || !self.due.is_empty()))
    }

    /// When [`Event::Wake`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        let running = self.busy.iter().filter_map(|id| deadline(&self.tasks.get(id)?.stage));
        let moving = self.moving.iter().filter_map(|id| deadline(&self.tasks.get(id)?.stage));
        let starts = self.open && self.parallel > 0;
        let due = self.due.first().map(|(at, _)| *at).filter(|_| starts);
        let pause = self.pause.filter(|_| starts && !self.ready.is_empty());
        running.chain(moving).chain(due).chain(pause).min()
    }

    /// Takes an event; `jitter` is between 0 and 1. Events that make no sense in a stage change nothing: they are late or repeated.
    #[must_use]
    pub fn step(&mut self, now: Duration, event: Event, jitter: f64) -> Vec<Action> {
        let mut actions = vec![];
        match event {
            Event::Found { id, spec, found } => self.found(id, spec, found),
            Event::Gone { id } => self.gone(id),
            Event::Started { id, timeout } => self.started(now, id, timeout, &mut actions),
            Event::Trouble { id } => {
                if matches!(self.stage(id), Some(Stage::Starting)) {
                    self.pause = Some(now + TASK_TROUBLE_PAUSE);
                    self.busy.remove(&id);
                    self.enter_pending(id, None, BTreeMap::new());
                    self.follow_wish(id, &mut actions);
                }
            }
            Event::Impossible { id } => {
                if matches!(self.stage(id), Some(Stage::Starting)) {
                    self.send(id, To::Failed, Some(Outcome::Failed), Step::Work, &mut actions);
                }
            }
            Event::Said { id } => {
                if let Some(Stage::Running { step: Step::Work, ending: None, said: said @ None, .. }) = self.stage(id) {
                    *said = Some(now + TASK_FAREWELL);
                }
            }
            Event::Ended { id, exit, said, remedy } => self.ended(now, id, exit, said, remedy, jitter, &mut actions),
            Event::Moved { id, done } => self.moved(now, id, done, &mut actions),
            Event::Cancel { id } => self.cancel(id, &mut actions),
            Event::Late { id } => self.end(id, Why::Timeout, &mut actions),
            Event::Retry { id } => self.retry(id, &mut actions),
            Event::Timeout { id, timeout: to } => {
                if let Some(Stage::Running { timeout, .. }) = self.stage(id) {
                    *timeout = to;
                }
            }
            Event::Limits { parallel, lanes } => (self.parallel, self.lanes) = (parallel, lanes),
            Event::Open(open) => (self.open, self.pause) = (open, None),
            Event::EndAll => {
                for id in self.busy.clone() {
                    self.end(id, Why::Stopped, &mut actions);
                }
            }
            Event::Elsewhere { id, before } => self.tell_waiters(id, before),
            Event::Wake => {}
        }
        self.keep_time(now, &mut actions);
        self.start_ready(now, &mut actions);
        actions
    }

    fn stage(&mut self, id: Id) -> Option<&mut Stage> {
        self.tasks.get_mut(&id).map(|e| &mut e.stage)
    }

    fn found(&mut self, id: Id, spec: Spec, found: Found) {
        if self.tasks.contains_key(&id) {
            return;
        }
        self.tasks.insert(id, Entry { spec, stage: Stage::Held, wish: None });
        match found {
            Found::Pending { due, after } => self.enter_pending(id, due, after.into_iter().collect()),
            Found::Running { since, timeout, step } => {
                self.busy.insert(id);
                self.set(id, Stage::Running { since, timeout, step, ending: None, said: None });
            }
            Found::Held => drop(self.held.insert(id)),
        }
        self.tell_waiters(id, Before::Open);
    }

    fn set(&mut self, id: Id, stage: Stage) {
        if let Some(entry) = self.tasks.get_mut(&id) {
            entry.stage = stage;
        }
    }

    fn enter_pending(&mut self, id: Id, due: Option<Duration>, after: BTreeMap<Id, Before>) {
        for before in after.keys() {
            self.waiters.entry(*before).or_default().insert(id);
        }
        self.set(id, Stage::Pending { due, after });
        self.sort_in(id);
    }

    /// Puts a pending task where it belongs.
    fn sort_in(&mut self, id: Id) {
        let Some(Entry { spec, stage: Stage::Pending { due, after }, .. }) = self.tasks.get(&id) else { return };
        let key = (Reverse(spec.priority), id);
        let free = after.values().all(|b| *b == Before::Well);
        let due = *due;
        self.ready.remove(&key);
        if let Some(at) = due {
            self.due.remove(&(at, id));
        }
        match due {
            Some(at) if free => drop(self.due.insert((at, id))),
            None if free => drop(self.ready.insert(key)),
            Some(_) | None => {}
        }
    }

    /// Takes a pending task out of all lists.
    fn take_out(&mut self, id: Id) {
        let Some(Entry { spec, stage: Stage::Pending { due, after }, .. }) = self.tasks.get(&id) else { return };
        self.ready.remove(&(Reverse(spec.priority), id));
        if let Some(at) = due {
            self.due.remove(&(*at, id));
        }
        for before in after.keys() {
            if let Some(waiters) = self.waiters.get_mut(before) {
                waiters.remove(&id);
                if waiters.is_empty() {
                    self.waiters.remove(before);
                }
            }
        }
    }

    fn tell_waiters(&mut self, id: Id, how: Before) {
        for waiter in self.waiters.get(&id).cloned().unwrap_or_default() {
            if let Some(Stage::Pending { after, .. }) = self.stage(waiter) {
                after.insert(id, how);
                self.sort_in(waiter);
            }
        }
    }

    fn gone(&mut self, id: Id) {
        match self.stage(id) {
            Some(Stage::Pending { .. }) => self.take_out(id),
            Some(Stage::Starting) => drop(self.busy.remove(&id)),
            Some(Stage::Held) => drop(self.held.remove(&id)),
            Some(Stage::Moving { .. }) => drop(self.moving.remove(&id)),
            // Whoever took its folder away: the end of its processes is awaited.
            Some(Stage::Running { .. }) | None => return,
        }
        self.tasks.remove(&id);
        self.tell_waiters(id, Before::Badly);
    }

    fn started(&mut self, now: Duration, id: Id, timeout: Option<Duration>, actions: &mut Vec<Action>) {
        let Some(stage @ Stage::Starting) = self.stage(id) else { return };
        *stage = Stage::Running { since: now, timeout, step: Step::Work, ending: None, said: None };
        self.follow_wish(id, actions);
    }

    /// Ends a running task, unless it is being ended for a reason that counts as much.
    fn end(&mut self, id: Id, why: Why, actions: &mut Vec<Action>) {
        let Some(Stage::Running { ending, .. }) = self.stage(id) else { return };
        let weight = |why: Option<Why>| match why {
            None => 0,
            Some(Why::Said | Why::Stopped | Why::Timeout) => 1,
            Some(Why::Cancelled) => 2,
        };
        if weight(*ending) < weight(Some(why)) {
            *ending = Some(why);
            actions.push(Action::End(id, why));
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn ended(&mut self, now: Duration, id: Id, exit: Exit, said: Option<bool>, remedy: Remedy, jitter: f64, actions: &mut Vec<Action>) {
        let Some(Entry { spec, stage: Stage::Running { step: running, ending: why, said: told, .. }, .. }) = self.tasks.get_mut(&id) else {
            return;
        };
        let (step, ending) = (*running, *why);
        let outcome = match (ending, step) {
            (Some(Why::Cancelled), _) => Outcome::Cancelled,
            (Some(Why::Timeout), _) => Outcome::Timeout,
            (_, Step::Work) => match (said, exit) {
                (Some(true), _) => Outcome::Done,
                (Some(false), _) => Outcome::Failed,
                // What it exits with when asked to end says nothing of its work.
                (None, _) if ending == Some(Why::Stopped) => Outcome::Interrupted,
                (None, Exit::Well) => Outcome::Done,
                (None, Exit::Badly) if matches!(remedy, Remedy::NotBefore(_)) => Outcome::Limited,
                (None, Exit::Badly) => Outcome::Failed,
                (None, Exit::Unseen) => Outcome::Interrupted,
            },
            (_, Step::Verify) => match exit {
                Exit::Well => Outcome::Done,
                Exit::Unseen => Outcome::Interrupted,
                Exit::Badly if ending == Some(Why::Stopped) => Outcome::Interrupted,
                Exit::Badly => Outcome::Failed,
            },
        };
        if outcome == Outcome::Done && step == Step::Work && spec.verify && ending != Some(Why::Stopped) {
            (*running, *why, *told) = (Step::Verify, None, None);
            actions.push(Action::Verify(id));
            return;
        }
        let outcome = if outcome == Outcome::Done && step == Step::Work && spec.verify { Outcome::Interrupted } else { outcome };
        let to = match outcome {
            Outcome::Done => To::Done,
            Outcome::Cancelled => To::Cancelled,
            Outcome::Limited => {
                let Remedy::NotBefore(at) = remedy else { return };
                To::Pending(Some(at))
            }
            Outcome::Failed | Outcome::Timeout => {
                spec.failed += 1;
                let end = if outcome == Outcome::Timeout { To::Timeout } else { To::Failed };
                // Who said that it gives up has a cause that another try may not meet.
                let never = remedy == Remedy::Never && said.is_none() && outcome == Outcome::Failed;
                if never || spec.failed > spec.retries { end } else { To::Pending(Some(now + backoff(spec.failed, jitter))) }
            }
            Outcome::Interrupted if spec.idempotent => {
                spec.interrupted += 1;
                let wait = if ending == Some(Why::Stopped) || spec.interrupted == 1 {
                    None
                } else {
                    Some(now + backoff(spec.interrupted - 1, jitter))
                };
                To::Pending(wait)
            }
            Outcome::Interrupted => To::Held,
        };
        self.send(id, to, Some(outcome), step, actions);
    }

    fn send(&mut self, id: Id, to: To, outcome: Option<Outcome>, step: Step, actions: &mut Vec<Action>) {
        self.take_out(id);
        self.busy.remove(&id);
        self.held.remove(&id);
        self.moving.insert(id);
        let order = Move { id, to, outcome, step, forgive: false };
        self.set(id, Stage::Moving { order, again: None });
        actions.push(Action::Move(order));
    }

    fn moved(&mut self, now: Duration, id: Id, done: bool, actions: &mut Vec<Action>) {
        let Some(Stage::Moving { order, again }) = self.stage(id) else { return };
        if !done {
            *again = Some(now + TASK_TROUBLE_PAUSE);
            return;
        }
        let order = *order;
        self.moving.remove(&id);
        match order.to {
            To::Pending(due) => self.enter_pending(id, due, BTreeMap::new()),
            To::Held => {
                self.held.insert(id);
                self.set(id, Stage::Held);
            }
            To::Done | To::Failed | To::Cancelled | To::Timeout => {
                self.tasks.remove(&id);
                self.tell_waiters(id, if order.to == To::Done { Before::Well } else { Before::Badly });
                return;
            }
        }
        self.follow_wish(id, actions);
    }

    fn follow_wish(&mut self, id: Id, actions: &mut Vec<Action>) {
        match self.tasks.get_mut(&id).and_then(|e| e.wish.take()) {
            Some(Wish::Cancel) => self.cancel(id, actions),
            Some(Wish::Retry) => self.retry(id, actions),
            None => {}
        }
    }

    fn cancel(&mut self, id: Id, actions: &mut Vec<Action>) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        match entry.stage {
            Stage::Pending { .. } | Stage::Held => self.send(id, To::Cancelled, None, Step::Work, actions),
            Stage::Running { .. } => self.end(id, Why::Cancelled, actions),
            Stage::Starting | Stage::Moving { .. } => entry.wish = Some(Wish::Cancel),
        }
    }

    fn retry(&mut self, id: Id, actions: &mut Vec<Action>) {
        let Some(entry) = self.tasks.get_mut(&id) else { return };
        match &mut entry.stage {
            Stage::Held => {
                (entry.spec.failed, entry.spec.interrupted) = (0, 0);
                self.held.remove(&id);
                self.moving.insert(id);
                let order = Move { id, to: To::Pending(None), outcome: None, step: Step::Work, forgive: true };
                self.set(id, Stage::Moving { order, again: None });
                actions.push(Action::Move(order));
            }
            Stage::Pending { due: due @ Some(_), after } => {
                let after = after.clone();
                let at = due.take();
                if let Some(at) = at {
                    self.due.remove(&(at, id));
                }
                self.enter_pending(id, None, after);
            }
            Stage::Moving { .. } => entry.wish = Some(Wish::Retry),
            Stage::Pending { due: None, .. } | Stage::Starting | Stage::Running { .. } => {}
        }
    }

    /// Ends what has had its time, makes ready what was waiting for its own, repeats moves that failed.
    fn keep_time(&mut self, now: Duration, actions: &mut Vec<Action>) {
        for id in self.busy.clone() {
            let Some(stage @ Stage::Running { said, .. }) = self.tasks.get(&id).map(|e| &e.stage) else { continue };
            if deadline(stage).is_some_and(|t| t <= now) {
                self.end(id, if said.is_some() { Why::Said } else { Why::Timeout }, actions);
            }
        }
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            if let Some(Stage::Pending { due, .. }) = self.stage(id) {
                *due = None;
                self.sort_in(id);
            }
        }
        for id in self.moving.clone() {
            if let Some(Stage::Moving { order, again }) = self.stage(id)
                && again.is_some_and(|t| t <= now)
            {
                *again = None;
                actions.push(Action::Move(*order));
            }
        }
    }

    fn start_ready(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.pause.is_some_and(|t| t <= now) {
            self.pause = None;
        }
        if !self.open || self.pause.is_some() || self.busy.len() >= self.parallel || self.ready.is_empty() {
            return;
        }
        let mut used: BTreeMap<String, usize> = BTreeMap::new();
        for lane in self.busy.iter().filter_map(|id| self.tasks.get(id)?.spec.lane.as_ref()) {
            *used.entry(lane.clone()).or_default() += 1;
        }
        let mut chosen = vec![];
        for (_, id) in &self.ready {
            if self.busy.len() + chosen.len() >= self.parallel {
                break;
            }
            let Some(entry) = self.tasks.get(id) else { continue };
            if let Some(lane) = &entry.spec.lane {
                let used = used.entry(lane.clone()).or_default();
                if self.lanes.get(lane).is_some_and(|limit| *used >= *limit) {
                    continue;
                }
                *used += 1;
            }
            chosen.push(*id);
        }
        for id in chosen {
            self.take_out(id);
            self.busy.insert(id);
            self.set(id, Stage::Starting);
            actions.push(Action::Start(id));
        }
    }
}

fn stays_pending(stage: &Stage) -> bool {
    matches!(stage, Stage::Moving { order: Move { to: To::Pending(_), .. }, .. })
}

fn deadline(stage: &Stage) -> Option<Duration> {
    match stage {
        // Who has said how it went is not late any more.
        Stage::Running { ending: None, said: Some(at), .. } => Some(*at),
        Stage::Running { since, timeout: Some(timeout), ending: None, said: None, .. } => Some(*since + *timeout),
        Stage::Moving { again, .. } => *again,
        Stage::Running { .. } | Stage::Pending { .. } | Stage::Starting | Stage::Held => None,
    }
}

/// How long a task waits after so many attempts that failed.
fn backoff(failed: u32, jitter: f64) -> Duration {
    let doubled = TASK_BACKOFF_MIN.saturating_mul(1u32.checked_shl(failed.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(TASK_BACKOFF_MAX).mul_f64(0.75 + 0.5 * jitter.clamp(0.0, 1.0)).min(TASK_BACKOFF_MAX)
}

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;
