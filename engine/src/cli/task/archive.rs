//! What ended long ago: one line each in `tasks/archive.jsonl`, the part before it in `archive.jsonl.1`. Its folder and its log are gone.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::contract::layout::Layout;
use crate::contract::task::{Place as Lies, Task, TaskId};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::os::fs;
use crate::os::lock::Lock;

#[derive(Serialize, Deserialize)]
struct Line {
    state: Lies,
    #[serde(flatten)]
    record: Task,
}

fn newer(layout: &Layout) -> PathBuf {
    layout.tasks().join("archive.jsonl")
}

fn older(layout: &Layout) -> PathBuf {
    layout.tasks().join("archive.jsonl.1")
}

/// The lock of whoever adds to it.
pub(super) fn lock(layout: &Layout) -> Result<Lock> {
    Ok(Lock::wait(&layout.tasks().join("archive.lock"))?)
}

/// Adds tasks; when this returns they are durable. Only with the lock.
pub(super) fn add(layout: &Layout, _lock: &Lock, tasks: &[(Lies, Task)]) -> Result<()> {
    let mut text = vec![];
    for (state, record) in tasks {
        let line = Line { state: *state, record: record.clone() };
        serde_json::to_writer(&mut text, &line).map_err(|e| Error::failed(format!("task {}: {e}", record.task)))?;
        text.push(b'\n');
    }
    let (newer, older) = (newer(layout), older(layout));
    if fs::len_bytes(&newer)? > limits::TASK_ARCHIVE_BYTES {
        fs::rename(&newer, &older)?;
    }
    if fs::create_new(&newer, b"", 0o600)? {
        fs::sync_dir(&layout.tasks())?;
    } else if !fs::read_tail(&newer, 1)?.ends_with(b"\n") {
        // Whoever wrote last was killed in the middle of a line: that task is still where it was.
        text.insert(0, b'\n');
    }
    Ok(fs::append_durable(&newer, &text)?)
}

/// A task that was put away; the last of that number where there are several, as one may have been put away twice.
pub(super) fn find(layout: &Layout, id: TaskId) -> Result<Option<(Lies, Task)>> {
    let words = format!("\"task\":\"{id}\"");
    for file in [newer(layout), older(layout)] {
        if !fs::exists(&file) {
            continue;
        }
        let bytes = fs::read(&file)?;
        let lines = bytes.rsplit(|b| *b == b'\n').filter(|line| contains(line, words.as_bytes()));
        let mut found = lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()).filter(|line| line.record.task == id);
        if let Some(line) = found.next() {
            return Ok(Some((line.state, line.record)));
        }
    }
    Ok(None)
}

/// The id stands near the beginning of a line, before what may be long.
fn contains(line: &[u8], words: &[u8]) -> bool {
    line[..line.len().min(200)].windows(words.len()).any(|w| w == words)
}

#[cfg(test)]
mod tests {
    use super::super::why::tests::task;
    use super::*;
    use crate::contract::task::End;

    #[test]
    fn what_is_put_away_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::from_folders(folder.path(), folder.path());
        fs::create_dirs(&layout.tasks()).unwrap();
        let done = |n| (Lies::Finished(End::Done), task(n, &[]));
        let lock = lock(&layout).unwrap();
        assert_eq!(find(&layout, TaskId(1)).unwrap(), None);
        add(&layout, &lock, &[done(1), done(12)]).unwrap();
        // A line that was cut off spoils none after it.
        fs::append(&newer(&layout), b"{\"state\":\"done\",\"task\":\"t2\",").unwrap();
        add(&layout, &lock, &[done(3), (Lies::Finished(End::Failed), task(1, &[]))]).unwrap();
        assert_eq!(find(&layout, TaskId(1)).unwrap(), Some((Lies::Finished(End::Failed), task(1, &[]))));
        assert_eq!(find(&layout, TaskId(12)).unwrap(), Some(done(12)));
        assert_eq!(find(&layout, TaskId(2)).unwrap(), None);
        assert_eq!(find(&layout, TaskId(3)).unwrap(), Some(done(3)));
    }
}
