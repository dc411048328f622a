//! What ended long ago: `tasks/archive/2026-11/done/t12/`, by the month of its end and how it ended. Putting a task away is one rename, so at every moment
//! it lies in one place only. Its log goes after that; where that was interrupted, with the next that is put away.
//!
//! Whoever puts away holds the archive's lock, and so does whoever takes a finished task back into the queue: none is at both. Nothing else changes the
//! archive, but a person may remove what is no longer wanted of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{Move, RECORD, list, note, read_at, read_record, settle};
use crate::contract::layout::Layout;
use crate::contract::task::{End, Place, Task, TaskId};
use crate::core::keep::{Keep, Lying};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::os::fs;
use crate::os::lock::Lock;

/// A finished task: by the moment of its end.
pub(crate) type Ended = (Timestamp, (TaskId, End));

fn folder(layout: &Layout) -> PathBuf {
    layout.tasks().join("archive")
}

/// Its months, the newest first.
fn months(layout: &Layout) -> Result<Vec<PathBuf>> {
    let folder = folder(layout);
    let mut names = if fs::is_dir(&folder) { fs::list(&folder)? } else { vec![] };
    names.sort_unstable_by(|one, other| other.cmp(one));
    Ok(names.iter().map(|name| folder.join(name)).collect())
}

/// Where a task lies that was put away, and how it ended.
pub(crate) fn find(layout: &Layout, id: TaskId) -> Option<(End, PathBuf)> {
    let months = months(layout).ok()?;
    let places = months.iter().flat_map(|month| End::ALL.map(|end| (end, month.join(end.word()).join(id.to_string()))));
    places.into_iter().find(|(_, folder)| fs::is_file(&folder.join(RECORD)))
}

/// The record of a task that lies in this folder of the archive.
pub(crate) fn read(folder: &Path, id: TaskId) -> Result<Task> {
    read_record(&folder.join(RECORD), id)
}

/// All that was put away, the newest month first.
pub(crate) fn all(layout: &Layout) -> Result<Vec<(End, TaskId, PathBuf)>> {
    let mut found = vec![];
    for month in months(layout)? {
        for end in End::ALL {
            let place = month.join(end.word());
            let ids = if fs::is_dir(&place) { fs::list(&place)? } else { vec![] };
            found.extend(ids.iter().filter_map(|name| Some((end, name.parse::<TaskId>().ok()?, place.join(name)))));
        }
    }
    Ok(found)
}

/// Held by whoever puts away or brings back: one at a time, so that each knows what is there.
pub(crate) fn lock(layout: &Layout) -> Result<Lock> {
    Ok(Lock::wait_moments(&layout.tasks().join("archive.lock"))?)
}

/// When a task ended.
pub(crate) fn ended_at(task: &Task) -> Timestamp {
    task.attempts.last().and_then(|a| a.ended_at).unwrap_or(task.created_at)
}

/// The finished tasks that are asked for, and what of them cannot be read.
pub(crate) fn ended(layout: &Layout, asked: impl Fn(TaskId) -> bool) -> (Vec<Ended>, Vec<Error>) {
    let (mut found, mut errors) = (vec![], vec![]);
    for end in End::ALL {
        let place = Place::Finished(end);
        let ids = list(layout, place).unwrap_or_else(|e| {
            errors.push(e);
            vec![]
        });
        for id in ids.into_iter().filter(|id| asked(*id)) {
            match read_at(layout, place, id) {
                Ok(task) => found.push((ended_at(&task), (id, end))),
                // It has moved since.
                Err(_) if super::place(layout, id) != Some(place) => {}
                Err(e) => errors.push(e),
            }
        }
    }
    (found, errors)
}

/// Why a task is not put away, if it is not.
pub(crate) fn stays(layout: &Layout, id: TaskId, needed: &BTreeSet<TaskId>) -> Option<String> {
    if needed.contains(&id) {
        return Some("others wait for it".into());
    }
    let worktree = layout.worktree(&id.to_string());
    fs::is_dir(&worktree).then(|| format!("its worktree {} is there", crate::os::env::shorten(&worktree)))
}

/// Puts tasks away; when this returns it is durable. Answers which were, and with an error for each that could not be: that is where it was. Only with the lock.
pub(crate) fn put_away(layout: &Layout, _lock: &Lock, tasks: &[Ended]) -> (Vec<TaskId>, Vec<Error>) {
    let (mut all, mut errors) = (vec![], vec![]);
    // A person may remove what is in the archive, and then nothing else tells the highest number.
    if let Some(e) = note(layout).err().filter(|_| !tasks.is_empty()) {
        return (all, vec![e]);
    }
    for some in tasks.chunks(limits::TASKS_ARCHIVED_AT_ONCE) {
        let mut put = vec![];
        for (at, (id, end)) in some {
            let goal = folder(layout).join(at.strftime("%Y-%m").to_string()).join(end.word());
            match move_into(layout, &goal, *id, *end) {
                Ok(true) => put.push((*id, goal)),
                // It is not there any more.
                Ok(false) => {}
                Err(e) => errors.push(e.of(format!("task {id}"))),
            }
        }
        let goals: BTreeSet<&PathBuf> = put.iter().map(|(_, goal)| goal).collect();
        errors.extend(goals.into_iter().filter_map(|goal| fs::sync_dir(goal).err()).map(Error::from));
        all.extend(put.into_iter().map(|(id, _)| id));
    }
    errors.extend(remove_logs(layout).err());
    (all, errors)
}

fn move_into(layout: &Layout, goal: &Path, id: TaskId, end: End) -> Result<bool> {
    if !fs::is_dir(goal) {
        let above: Vec<&Path> = goal.ancestors().take_while(|above| *above != layout.tasks()).collect();
        above.iter().rev().try_for_each(|folder| fs::private_dir(folder))?;
        above.iter().filter_map(|folder| folder.parent()).try_for_each(fs::sync_dir)?;
    }
    Ok(fs::rename_if_there(&layout.task(Place::Finished(end), id), &goal.join(id.to_string()))?)
}

/// What the agents of tasks printed that lie in the archive and nowhere else.
fn remove_logs(layout: &Layout) -> Result<()> {
    let of = |name: &str| name.split_once('.').and_then(|(id, _)| id.parse::<TaskId>().ok());
    let logs = fs::list(&layout.logs())?;
    let mut kept = BTreeSet::new();
    for place in Place::ALL {
        kept.extend(list(layout, place)?);
    }
    let mut known: Option<(TaskId, bool)> = None;
    for (name, id) in logs.iter().filter_map(|name| Some((name, of(name)?))).filter(|(_, id)| !kept.contains(id)) {
        // The logs of one task stand together.
        let (_, gone) = *known.insert(known.filter(|(of, _)| *of == id).unwrap_or_else(|| (id, find(layout, id).is_some())));
        if gone {
            fs::remove_file(&layout.logs().join(name))?;
        }
    }
    Ok(())
}

/// Makes moves of finished tasks back into the queue durable, each with what it printed. One that was put away meanwhile stays away.
pub(crate) fn bring_back(layout: &Layout, moves: &[Move]) -> Vec<Result<()>> {
    let _lock = match lock(layout) {
        Ok(lock) => lock,
        Err(e) => return moves.iter().map(|_| Err(e.clone())).collect(),
    };
    let one = |m: &Move| {
        let id = m.task.task;
        if super::place(layout, id).is_none() {
            return Err(Error::failed(format!("task {id} was put into the archive meanwhile")).hint("add it anew to do it once more"));
        }
        settle(layout, std::slice::from_ref(m)).remove(0)
    };
    moves.iter().map(one).collect()
}

/// What came of [`tidy`].
pub(crate) struct Tidied {
    /// So many were put away.
    pub count: usize,
    /// What is left.
    pub lying: Lying,
    pub errors: Vec<Error>,
    /// Records that cannot be read: they stay.
    pub damaged: Vec<Error>,
}

/// Puts away what is no longer kept.
pub(crate) fn tidy(layout: &Layout, keep: &Keep, needed: &BTreeSet<TaskId>, now: Timestamp) -> Result<Tidied> {
    let lock = lock(layout)?;
    let (mut left, damaged) = ended(layout, |id| stays(layout, id, needed).is_none());
    let gone = keep.outdated(&mut left, now);
    let (put, errors) = put_away(layout, &lock, &gone);
    let lying = Lying { count: left.len(), oldest: left.last().map(|(at, _)| *at) };
    let oldest = lying.oldest.map_or(String::new(), |at| at.to_string());
    fs::replace(&oldest_file(layout), format!("{oldest}\n").as_bytes(), 0o600)?;
    Ok(Tidied { count: put.len(), lying, errors, damaged })
}

/// Says when the first of those that are kept has ended, so that not all of them have to be read whenever a watchdog begins. Not durable: where nothing is
/// said, they are looked at.
fn oldest_file(layout: &Layout) -> PathBuf {
    layout.tasks().join("oldest")
}

/// What lies there, by names alone and what was noted.
pub(crate) fn lying(layout: &Layout) -> Result<Lying> {
    let counts = End::ALL.map(|end| list(layout, Place::Finished(end)).map(|ids| ids.len()));
    let oldest = fs::read_if_there(&oldest_file(layout)).unwrap_or_default().unwrap_or_default();
    Ok(Lying { count: counts.into_iter().sum::<Result<usize>>()?, oldest: oldest.trim().parse().ok() })
}
