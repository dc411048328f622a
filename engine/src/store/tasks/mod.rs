//! Tasks: one file or folder each, and the folder it lies in is its state.
//!
//! `add` makes them; after that only the watchdog moves them, each move decided in the record first and then one rename. Finished ones are read by
//! nobody who does not ask for them.

pub(crate) mod archive;
pub(crate) mod batch;
pub(crate) mod launch;
mod number;
pub(crate) mod sentinel;

use std::path::{Path, PathBuf};

use crate::contract::layout::Layout;
use crate::contract::records::Launch;
use crate::contract::status::TaskCounts;
use crate::contract::task::{Begun, Place, Task, TaskId};
use crate::error::{Error, Result};
use crate::os::process::ProcessId;
use crate::os::{clock, fs};

use number::note;
pub(crate) use number::reserve;

const RECORD: &str = "task.json";
const ATTEMPT: &str = "attempt.json";
/// What a host starts for it; it may hold secrets, and goes when the attempt is over.
pub(crate) const LAUNCH: &str = "launch.json";
/// What its agent is told, as a file.
pub(crate) const PROMPT: &str = "prompt";
/// Where its agent writes what it means to do.
pub(crate) const PLAN: &str = "plan.md";

/// Makes the folders. Cheap where all is there.
pub(crate) fn prepare(layout: &Layout) -> Result<()> {
    fs::private_dir(&layout.tasks())?;
    fs::private_dir(&layout.tasks().join("finished"))?;
    Place::ALL.iter().try_for_each(|place| Ok(fs::private_dir(&layout.task_place(*place))?))
}

/// Where the record of a task that is said to lie there would be. A pending one is a file until it has run.
fn record(layout: &Layout, place: Place, id: TaskId) -> PathBuf {
    let folder = layout.task(place, id);
    if place == Place::Pending && !fs::is_dir(&folder) { pending_file(layout, id) } else { folder.join(RECORD) }
}

fn pending_file(layout: &Layout, id: TaskId) -> PathBuf {
    layout.task_place(Place::Pending).join(format!("{id}.json"))
}

fn text(task: &Task) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(task).map_err(|e| Error::failed(format!("task {}: {e}", task.task)))?;
    json.push(b'\n');
    Ok(json)
}

/// Adds tasks whose numbers were reserved; when this returns they are durable, in their order.
pub(crate) fn add(layout: &Layout, tasks: &[Task]) -> Result<()> {
    let files: Vec<_> = tasks.iter().map(|t| Ok((pending_file(layout, t.task), text(t)?))).collect::<Result<_>>()?;
    Ok(fs::write_batch_from(Some(&layout.tasks()), &files, 0o600)?)
}

/// The tasks that lie there, by number. Nothing but names is read.
pub(crate) fn list(layout: &Layout, place: Place) -> Result<Vec<TaskId>> {
    let names = fs::list(&layout.task_place(place))?;
    let mut ids: Vec<TaskId> = names.iter().filter_map(|n| id_of(n)).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// The task that a name in one of the folders belongs to.
pub(crate) fn id_of(name: &str) -> Option<TaskId> {
    name.strip_suffix(".json").unwrap_or(name).parse().ok()
}

/// How many there are, of what a person should see.
pub(crate) fn counts(layout: &Layout) -> Result<TaskCounts> {
    TaskCounts::of(|place| list(layout, place).map(|ids| ids.len()))
}

/// Where a task lies; none: there is none of this number, or none any more.
pub(crate) fn place(layout: &Layout, id: TaskId) -> Option<Place> {
    // Twice, as one that moves meanwhile may be missed; in the order in which tasks move.
    let lies = |place: &Place| fs::is_file(&record(layout, *place, id));
    Place::ALL.into_iter().find(lies).or_else(|| Place::ALL.into_iter().find(lies))
}

/// How a task stands, also one that was put away: that has ended, and so it lies at none of the places.
pub(crate) fn state(layout: &Layout, id: TaskId) -> Option<Place> {
    place(layout, id).or_else(|| archive::find(layout, id).map(|(end, _)| Place::Finished(end)))
}

/// How a task stands, also one that was put away, and its record; of one that runs with the attempt that is under way.
pub(crate) fn read(layout: &Layout, id: TaskId) -> Result<Option<(Place, Task)>> {
    for _ in 0..3 {
        let Some(place) = place(layout, id) else {
            let Some((end, folder)) = archive::find(layout, id) else { return Ok(None) };
            return archive::read(&folder, id).map(|task| Some((Place::Finished(end), task)));
        };
        match read_at(layout, place, id) {
            // Moved since.
            Err(_) if self::place(layout, id) != Some(place) => {}
            read => return read.map(|task| Some((place, task))),
        }
    }
    Err(Error::busy(format!("task {id} moves faster than it can be read")).hint("run this again"))
}

/// The record of a task that lies there.
pub(crate) fn read_at(layout: &Layout, place: Place, id: TaskId) -> Result<Task> {
    let mut task = read_record(&record(layout, place, id), id)?;
    let folder = layout.task(place, id);
    if let Some(begun) = begun(&folder).filter(|b| b.n == task.attempts.len()) {
        task.attempts.push(begun.attempt);
        // What was decided before it began was done.
        task.to = None;
    }
    Ok(task)
}

fn read_record(path: &Path, id: TaskId) -> Result<Task> {
    let task: Task = serde_json::from_slice(&fs::read(path)?).map_err(|e| {
        Error::failed(format!("{}: not a task's record: {e}", path.display())).hint("put the file right, or move it out of the folder")
    })?;
    if task.task != id {
        return Err(Error::failed(format!("{}: holds task {} and not {id}", path.display(), task.task))
            .hint("move it to its own place, or out of the folder"));
    }
    Ok(task)
}

/// The attempt that is under way, as far as that was written down.
fn begun(folder: &Path) -> Option<Begun> {
    serde_json::from_slice(&fs::read(&folder.join(ATTEMPT)).ok()?).ok()
}

/// Notes that an attempt begins or how far it is. Not durable: what a power cut leaves of it is of another boot, and then the attempt is over.
pub(crate) fn write_begun(layout: &Layout, id: TaskId, begun: &Begun) -> Result<()> {
    let json = serde_json::to_vec(begun).map_err(|e| Error::failed(format!("task {id}: {e}")))?;
    Ok(fs::replace(&layout.task(Place::Running, id).join(ATTEMPT), &json, 0o600)?)
}

/// Takes a pending task to run it. False: it is not there. Not durable yet: whoever starts it calls [`make_claim_durable`] before.
pub(crate) fn claim(layout: &Layout, id: TaskId) -> Result<bool> {
    let to = layout.task(Place::Running, id);
    if fs::rename_if_there(&layout.task(Place::Pending, id), &to)? {
        return Ok(true);
    }
    fs::create_dir(&to, 0o700)?;
    if fs::rename_if_there(&pending_file(layout, id), &to.join(RECORD))? {
        return Ok(true);
    }
    fs::remove_dir_if_empty(&to);
    Ok(false)
}

/// Puts a task back that was claimed and of which nothing was started.
pub(crate) fn unclaim(layout: &Layout, id: TaskId) -> Result<()> {
    let folder = layout.task(Place::Running, id);
    if !fs::is_file(&folder.join(RECORD)) {
        return Ok(());
    }
    sentinel::give_room(&folder)?;
    for name in [ATTEMPT, LAUNCH, PROMPT] {
        fs::remove_file(&folder.join(name))?;
    }
    fs::rename_if_there(&folder, &layout.task(Place::Pending, id)).map(drop).map_err(Into::into)
}

/// What the host of a running task starts. Not durable: after a power cut nothing is started from it.
pub(crate) fn write_launch(layout: &Layout, id: TaskId, launch: &Launch) -> Result<()> {
    let json = serde_json::to_vec(launch).map_err(|e| Error::failed(format!("task {id}: {e}")))?;
    Ok(fs::replace(&layout.launch(&id.to_string()), &json, 0o600)?)
}

/// From now on no power cut makes it look as if nobody had begun it.
pub(crate) fn make_claim_durable(layout: &Layout, id: TaskId) -> Result<()> {
    fs::sync_dir(&layout.task(Place::Running, id))?;
    fs::sync_dir(&layout.task_place(Place::Running))?;
    Ok(fs::sync_dir(&layout.task_place(Place::Pending))?)
}

/// A move that was decided: the record says so in `to`.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    pub from: Place,
    pub task: Task,
}

/// Writes the records and moves the tasks; when this returns it is durable. Killed at any point, it can be repeated from what the records say.
pub(crate) fn settle(layout: &Layout, moves: &[Move]) -> Vec<Result<()>> {
    let mut results: Vec<Result<()>> = moves.iter().map(|m| decide(layout, m).and_then(|()| finish_move(layout, m))).collect();
    let mut places: Vec<Place> = moves.iter().zip(&results).filter(|(_, r)| r.is_ok()).filter_map(|(m, _)| m.task.to).collect();
    places.sort_unstable();
    places.dedup();
    for place in places {
        if let Err(e) = fs::sync_dir(&layout.task_place(place)) {
            let words = e.to_string();
            let concerned = moves.iter().zip(&mut results).filter(|(m, r)| m.task.to == Some(place) && r.is_ok());
            concerned.for_each(|(_, r)| *r = Err(Error::failed(words.clone())));
        }
    }
    results
}

/// From here on it is certain where the task goes.
fn decide(layout: &Layout, m: &Move) -> Result<()> {
    let id = m.task.task;
    let folder = layout.task(m.from, id);
    if m.from == Place::Pending && fs::create_dir(&folder, 0o700)? {
        // One that has never run gets its folder now.
        if !fs::rename_if_there(&pending_file(layout, id), &folder.join(RECORD))? {
            fs::remove_dir_if_empty(&folder);
            return Err(Error::failed(format!("task {id} is not pending any more")));
        }
    }
    Ok(fs::write_atomic(&folder.join(RECORD), &text(&m.task)?, 0o600)?)
}

fn finish_move(layout: &Layout, m: &Move) -> Result<()> {
    let id = m.task.task;
    let Some(to) = m.task.to else { return Ok(()) };
    let folder = layout.task(m.from, id);
    for name in [ATTEMPT, LAUNCH, PROMPT] {
        fs::remove_file(&folder.join(name))?;
    }
    if m.from == Place::Running {
        sentinel::give_room(&folder)?;
    }
    if to == Place::Pending {
        sentinel::clear(&folder)?;
    }
    if to != m.from && !fs::rename_if_there(&folder, &layout.task(to, id))? {
        return Err(Error::failed(format!("task {id} was moved by somebody else: {} is gone", folder.display())));
    }
    Ok(())
}

/// Rewrites the record of a task where it lies, durably.
pub(crate) fn write(layout: &Layout, place: Place, task: &Task) -> Result<()> {
    let mut task = task.clone();
    let folder = layout.task(place, task.task);
    // The attempt that is under way stands in a file of its own.
    if begun(&folder).is_some_and(|b| b.n + 1 == task.attempts.len()) {
        task.attempts.pop();
    }
    let path = record(layout, place, task.task);
    Ok(fs::write_batch_from(Some(&layout.tasks()), &[(path, text(&task)?)], 0o600)?)
}

/// Removes what writers that were killed have left, and claims that came to nothing; adds what they had begun to add. Waits for nobody.
pub(crate) fn sweep(layout: &Layout) -> Result<()> {
    for name in fs::list(&layout.tasks())? {
        let mut parts = name.strip_prefix('.').unwrap_or_default().rsplit('.');
        let pid = match (parts.next(), parts.next(), parts.next()) {
            (Some("tmp"), Some(_), Some(pid)) => pid.parse().ok(),
            _ => None,
        };
        if pid.is_some_and(|pid| ProcessId::of(pid).is_none()) {
            fs::remove_file(&layout.tasks().join(&name))?;
        }
    }
    for place in [Place::Pending, Place::Running] {
        for id in list(layout, place)? {
            let folder = layout.task(place, id);
            if fs::is_dir(&folder) && !fs::is_file(&folder.join(RECORD)) {
                fs::remove_dir_if_empty(&folder);
            }
        }
    }
    batch::finish(layout, false)
}

/// Whether there is anything for a watchdog to do or to look at.
pub(crate) fn are_waiting(layout: &Layout) -> Result<bool> {
    Ok(!list(layout, Place::Pending)?.is_empty() || !list(layout, Place::Running)?.is_empty())
}

/// Whether the operator wants tasks to be started.
pub(crate) fn are_stopped(layout: &Layout) -> bool {
    fs::exists(&layout.tasks_stopped())
}

/// Says so, durably. The watchdog has to be told.
pub(crate) fn stop(layout: &Layout, stopped: bool) -> Result<()> {
    if stopped == are_stopped(layout) || !fs::is_dir(&layout.tasks()) {
        return Ok(());
    }
    if stopped {
        return Ok(fs::write_atomic(&layout.tasks_stopped(), format!("{}\n", clock::now()).as_bytes(), 0o600)?);
    }
    fs::remove_file(&layout.tasks_stopped())?;
    Ok(fs::sync_dir(&layout.tasks())?)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests;
