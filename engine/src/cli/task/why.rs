//! Why a task is not begun: what it waits for, or whom it has to let go first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::live;
use crate::contract::layout::Layout;
use crate::contract::task::{End, Place as Lies, Task, TaskId};
use crate::model::tasks::Tasks;
use crate::os::lock::Lock;
use crate::store::tasks;

/// What keeps a pending task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// It is about to be started.
    Next,
    Stopped,
    /// A retry's delay, or a usage limit.
    Until(Timestamp, String),
    /// These have to be done before.
    After(Vec<TaskId>),
    /// It can never run unless somebody acts: the task that stands in its way, and where that lies; nowhere where it is gone.
    Blocked(TaskId, Option<Lies>),
    /// As many as may run at once do.
    Full(usize),
    LaneFull(String, usize),
}

/// All tasks that have not ended, and what is known of how the queue runs.
pub(super) struct Queue {
    pub live: BTreeMap<TaskId, (Lies, Task)>,
    pub stopped: bool,
    /// None where agents.toml is invalid.
    pub rules: Option<Tasks>,
    ended: RefCell<BTreeMap<TaskId, Option<Lies>>>,
    layout: Option<Layout>,
}

impl Queue {
    /// What is known without reading any other task.
    pub fn without_others(layout: &Layout) -> Queue {
        Queue { live: BTreeMap::new(), stopped: false, rules: None, ended: RefCell::default(), layout: Some(layout.clone()) }
    }

    pub fn load(layout: &Layout, rules: Option<Tasks>) -> Queue {
        let live = live(layout).into_iter().map(|(place, task)| (task.task, (place, task))).collect();
        Queue { live, stopped: tasks::are_stopped(layout), rules, ended: RefCell::default(), layout: Some(layout.clone()) }
    }

    /// Where a task lies; asked of the disk once for those that have ended.
    pub fn place(&self, id: TaskId) -> Option<Lies> {
        if let Some((place, _)) = self.live.get(&id) {
            return Some(*place);
        }
        *self.ended.borrow_mut().entry(id).or_insert_with(|| self.layout.as_ref().and_then(|layout| tasks::state(layout, id)))
    }

    pub fn running(&self) -> impl Iterator<Item = &Task> {
        self.live.values().filter(|(place, _)| *place == Lies::Running).map(|(_, task)| task)
    }

    /// Why a pending task is not begun.
    pub fn why(&self, task: &Task, now: Timestamp) -> Why {
        if let Some((id, place)) = self.culprit(task) {
            return Why::Blocked(id, place);
        }
        let open: Vec<TaskId> = task.after.iter().copied().filter(|id| self.place(*id) != Some(Lies::Finished(End::Done))).collect();
        if !open.is_empty() {
            return Why::After(open);
        }
        if self.stopped {
            return Why::Stopped;
        }
        if let Some(until) = task.not_before.filter(|at| *at > now) {
            return Why::Until(until, task.reason.clone());
        }
        let Some(rules) = &self.rules else { return Why::Next };
        if let Some((lane, limit)) = task.lane.as_ref().and_then(|lane| Some((lane, *rules.lanes.get(lane)?)))
            && self.running().filter(|t| t.lane.as_ref() == Some(lane)).count() >= limit
        {
            return Why::LaneFull(lane.clone(), limit);
        }
        if self.running().count() >= rules.parallel { Why::Full(rules.parallel) } else { Why::Next }
    }

    /// Something is to be done, and nobody sees to it: all was killed at once, or the machine was started again.
    pub fn is_unattended(&self, now: Timestamp) -> bool {
        let goes_on = |task: &Task| matches!(self.why(task, now), Why::Next | Why::Until(..) | Why::Full(_) | Why::LaneFull(..));
        let alone = |layout: &Layout| Lock::is_held(&layout.watchdog_lock()).is_ok_and(|held| !held);
        !self.stopped
            && self.layout.as_ref().is_some_and(alone)
            && self.live.values().any(|(place, task)| *place == Lies::Running || (*place == Lies::Pending && goes_on(task)))
    }

    /// The first task, however far up, that has ended in another way than well, or is gone. Held ones may still end well, so they only wait.
    fn culprit(&self, task: &Task) -> Option<(TaskId, Option<Lies>)> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<TaskId> = task.after.iter().rev().copied().collect();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            match self.place(id) {
                Some(Lies::Finished(End::Done) | Lies::Running) => {}
                Some(Lies::Pending | Lies::Held) => {
                    open.extend(self.live.get(&id).into_iter().flat_map(|(_, task)| task.after.iter().rev()));
                }
                place @ (Some(Lies::Finished(End::Failed | End::Cancelled | End::Timeout)) | None) => return Some((id, place)),
            }
        }
        None
    }

    /// The pending ones as they would be taken: the higher priority first, then the older.
    pub fn pending(&self) -> Vec<&Task> {
        let mut pending: Vec<&Task> = self.live.values().filter(|(place, _)| *place == Lies::Pending).map(|(_, task)| task).collect();
        pending.sort_by_key(|t| (std::cmp::Reverse(t.priority), t.task));
        pending
    }
}

impl Why {
    /// In words; `time` puts a moment into them.
    pub fn words(&self, time: impl Fn(Timestamp) -> String) -> String {
        match self {
            Why::Next => String::new(),
            Why::Stopped => "the queue is stopped: agents up".into(),
            Why::Until(at, reason) if reason.is_empty() => format!("until {}", time(*at)),
            Why::Until(at, reason) => format!("until {}: {reason}", time(*at)),
            Why::After(ids) => {
                let few: Vec<String> = ids.iter().take(5).map(ToString::to_string).collect();
                let more = ids.len().saturating_sub(few.len());
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                format!("waits for {}{more}", few.join(", "))
            }
            Why::Blocked(id, None) => format!("blocked: {id} is gone"),
            Why::Blocked(id, Some(place)) => format!("blocked: {id} {}", ended_word(*place)),
            Why::Full(most) => format!("{most} of {most} run"),
            Why::LaneFull(lane, most) => format!("lane {lane}: {most} of {most} run"),
        }
    }

    /// What lets it go on, where that takes somebody.
    pub fn choice(&self, task: TaskId) -> Option<String> {
        match self {
            Why::Blocked(_, None) => Some(format!("agents task cancel {task}")),
            Why::Blocked(id, Some(_)) => Some(format!("agents task retry {id}   or   agents task cancel {task}")),
            Why::Stopped => Some("agents up".into()),
            Why::Next | Why::Until(..) | Why::After(_) | Why::Full(_) | Why::LaneFull(..) => None,
        }
    }
}

fn ended_word(place: Lies) -> &'static str {
    match place {
        Lies::Finished(End::Cancelled) => "was cancelled",
        Lies::Finished(End::Timeout) => "took too long",
        Lies::Finished(End::Failed) => "failed",
        Lies::Finished(End::Done) => "is done",
        Lies::Pending => "is pending",
        Lies::Running => "runs",
        Lies::Held => "is held",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn task(n: u64, after: &[u64]) -> Task {
        let at = "2026-02-17T10:30:00Z".parse().unwrap();
        let prompt = crate::contract::task::Prompt(format!("do work {n}\nand more of it").into_bytes());
        let after = after.iter().map(|n| TaskId(*n)).collect();
        Task { task: TaskId(n), agent: "lead".into(), created_at: at, by: "operator".into(), after, prompt, ..Task::default() }
    }

    pub fn queue(live: Vec<(Lies, Task)>, ended: &[(u64, End)]) -> Queue {
        let ended = ended.iter().map(|(n, end)| (TaskId(*n), Some(Lies::Finished(*end)))).collect();
        let live = live.into_iter().map(|(place, task)| (task.task, (place, task))).collect();
        Queue { live, stopped: false, rules: Some(Tasks::default()), ended: RefCell::new(ended), layout: None }
    }

    fn words(queue: &Queue, n: u64) -> String {
        queue.why(&queue.live[&TaskId(n)].1, Timestamp::UNIX_EPOCH).words(|at| at.to_string())
    }

    #[test]
    fn what_a_task_waits_for_is_said() {
        let mut later = task(5, &[]);
        (later.not_before, later.reason) = (Some("2026-02-17T12:00:00Z".parse().unwrap()), "usage limit".into());
        let mut heavy = [task(6, &[]), task(7, &[])];
        heavy.iter_mut().for_each(|t| t.lane = Some("heavy".into()));
        let [runs, waits] = heavy;
        let live = vec![
            (Lies::Running, runs),
            (Lies::Pending, waits),
            (Lies::Pending, task(2, &[1, 6, 10])),
            (Lies::Pending, task(3, &[11])),
            (Lies::Pending, task(4, &[3, 6])),
            (Lies::Pending, later),
            (Lies::Pending, task(8, &[10])),
            (Lies::Pending, task(9, &[99])),
            (Lies::Held, task(1, &[])),
        ];
        let mut queue = queue(live, &[(10, End::Done), (11, End::Timeout)]);
        queue.rules.as_mut().unwrap().lanes.insert("heavy".into(), 1);
        let all: Vec<String> = [2, 3, 4, 5, 7, 8, 9].map(|n| format!("t{n} {}", words(&queue, n))).into();
        insta::assert_snapshot!(all.join("\n"), @r"
        t2 waits for t1, t6
        t3 blocked: t11 took too long
        t4 blocked: t11 took too long
        t5 until 2026-02-17T12:00:00Z: usage limit
        t7 lane heavy: 1 of 1 run
        t8 
        t9 blocked: t99 is gone
        ");
        queue.rules.as_mut().unwrap().parallel = 1;
        assert_eq!(words(&queue, 8), "1 of 1 run");
        queue.stopped = true;
        assert_eq!((words(&queue, 8), words(&queue, 2)), ("the queue is stopped: agents up".into(), "waits for t1, t6".into()));
        assert_eq!(queue.pending().iter().map(|t| t.task.0).collect::<Vec<_>>(), [2, 3, 4, 5, 7, 8, 9]);
    }
}
