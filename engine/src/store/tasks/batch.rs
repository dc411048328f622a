//! Many tasks that are added together: all of them or none, and once, also where their adder is killed.
//!
//! All are written down in one file first, `tasks/adding/t12`, whose coming decides that they are added. The adder holds a lock on it and takes it away when
//! it has said which tasks they are. One without a holder was interrupted: whoever comes next adds what is missing, and the same tasks added once more
//! are found to be those.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cli::out;
use crate::contract::layout::Layout;
use crate::contract::task::{Task, TaskId};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::os::fs;
use crate::os::lock::Lock;

const LOCK: &str = "lock";
/// The end of the name where all are there, and nobody has been told so.
const UNTOLD: &str = ".untold";

#[derive(Serialize, Deserialize)]
struct Record {
    /// What they were made from.
    source: String,
    /// In the order in which they become tasks.
    tasks: Vec<Task>,
}

/// Tasks that are there for good, and are to be told.
#[derive(Debug)]
pub(crate) struct Batch {
    pub tasks: Vec<Task>,
    path: PathBuf,
    _held: Lock,
}

/// What a text of tasks in this folder is known by.
pub(crate) fn source(folder: &Path, text: &str) -> String {
    use std::os::unix::ffi::OsStrExt;
    let digest = Sha256::new().chain_update(folder.as_os_str().as_bytes()).chain_update([0]).chain_update(text).finalize();
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

fn folder(layout: &Layout) -> PathBuf {
    layout.tasks().join("adding")
}

/// Held by whoever writes in there or looks for what was left.
fn lock(folder: &Path) -> Result<Lock> {
    Ok(Lock::wait_moments(&folder.join(LOCK))?)
}

/// Adds these, whose numbers were reserved. When this returns they are durable.
pub(crate) fn add(layout: &Layout, source: String, tasks: Vec<Task>) -> Result<Batch> {
    let first = tasks.iter().map(|t| t.task).min().ok_or_else(|| Error::failed("there is no task to be added"))?;
    let folder = folder(layout);
    fs::private_dir(&folder)?;
    let (path, new) = (folder.join(first.to_string()), folder.join(format!(".{first}.tmp")));
    let record = Record { source, tasks };
    let json = serde_json::to_vec(&record).map_err(|e| Error::failed(format!("tasks from {first} on: {e}")))?;
    let held = {
        let _lock = lock(&folder)?;
        fs::remove_half_written(&folder, ".")?;
        fs::write_atomic(&new, &json, 0o600)?;
        // On the file itself, so that it is never there without.
        let held = Lock::try_take(&new)?.ok_or_else(|| Error::busy(format!("{} is held by {}", new.display(), Lock::holder(&new))))?;
        fs::rename(&new, &path)?;
        held
    };
    if let Err(e) = super::add(layout, &record.tasks) {
        if record.tasks.iter().all(|t| super::state(layout, t.task).is_none()) {
            fs::remove_file(&path)?;
        }
        return Err(e);
    }
    Ok(Batch { tasks: record.tasks, path, _held: held })
}

impl Batch {
    /// It was told: added once more, they are others. Not durable, so that this is the last step; after a power cut the same tasks may once be taken for
    /// these, which is said.
    pub fn told(self) -> Result<()> {
        Ok(fs::remove_file(&self.path)?)
    }
}

/// Those that were left there without their adder, and under which name.
fn left(folder: &Path) -> Result<Vec<(String, Record, Lock)>> {
    let mut left: Vec<(String, Record, Lock)> = vec![];
    for name in fs::list(folder)? {
        if name.strip_suffix(UNTOLD).unwrap_or(&name).parse::<TaskId>().is_err() {
            continue;
        }
        let path = folder.join(&name);
        let Some(held) = Lock::try_take(&path)? else { continue };
        // Its adder took it away between two of these looks: gone, or made anew by the look at its lock.
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            fs::remove_file(&path)?;
            continue;
        }
        match serde_json::from_slice(&bytes) {
            Ok(record) => left.push((name, record, held)),
            Err(e) => {
                let aside = folder.join(format!("{name}.damaged"));
                out::warn(&format!("{}: what is left of an `agents task add --from` cannot be read: {e}", aside.display()));
                fs::rename(&path, &aside)?;
            }
        }
    }
    left.sort_by_key(|(_, record, _)| record.tasks.iter().map(|t| t.task).min());
    Ok(left)
}

fn complete(layout: &Layout, record: &Record) -> Result<()> {
    let missing: Vec<Task> = record.tasks.iter().filter(|t| super::state(layout, t.task).is_none()).cloned().collect();
    if missing.is_empty() { Ok(()) } else { super::add(layout, &missing) }
}

/// Those that were made from this and of which nobody was told, as their adder was interrupted.
pub(crate) fn interrupted(layout: &Layout, source: &str) -> Result<Option<Batch>> {
    let folder = folder(layout);
    if !fs::is_dir(&folder) {
        return Ok(None);
    }
    let _lock = lock(&folder)?;
    let Some((name, record, held)) = left(&folder)?.into_iter().find(|(_, record, _)| record.source == source) else { return Ok(None) };
    complete(layout, &record)?;
    Ok(Some(Batch { tasks: record.tasks, path: folder.join(name), _held: held }))
}

/// Adds what is missing of those that were interrupted. Before numbers are reserved: theirs are taken. Who does not wait lets somebody else do it who is
/// just there.
pub(crate) fn finish(layout: &Layout, wait: bool) -> Result<()> {
    let folder = folder(layout);
    if !fs::list(&folder)?.iter().any(|name| name != LOCK) {
        return Ok(());
    }
    let lock = if wait { Some(lock(&folder)?) } else { Lock::try_take(&folder.join(LOCK))? };
    let Some(_lock) = lock else { return Ok(()) };
    fs::remove_half_written(&folder, ".")?;
    let left = left(&folder)?;
    let untold = left.len().saturating_sub(limits::TASK_BATCHES_UNTOLD_MAX);
    for (n, (name, record, _held)) in left.iter().enumerate() {
        let path = folder.join(name);
        if !name.ends_with(UNTOLD) {
            complete(layout, record)?;
            fs::rename(&path, &folder.join(format!("{name}{UNTOLD}")))?;
        } else if n < untold {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
