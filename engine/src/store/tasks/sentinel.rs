//! The files in a task's folder by which its agent, its host and its watchdog say how far it is. Each is there or not, whatever dies when.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::contract::task::{End, Ended, Said, Step};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::os::fs;

/// The agent has done it.
pub(crate) const DONE: &str = ".done";
/// It gives up.
pub(crate) const ERROR: &str = ".error";
/// The folder of a task's own worktree in which a program that can write only there may say the same, as `done` or `error`. Git ignores it.
pub(crate) const IN_WORKTREE: &str = ".agents-task";

/// Of these words any may be missing; what is no JSON is taken as it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Words {
    note: String,
    reason: String,
}

fn words(path: &Path) -> Option<Words> {
    if !fs::is_file(path) {
        return None;
    }
    let bytes = fs::read_head(path, limits::SENTINEL_BYTES_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    let plain = || Words { note: text.clone(), reason: text.clone() };
    Some(serde_json::from_str(&text).unwrap_or_else(|_| plain()))
}

/// What the agent has said: in its task's folder, else in its worktree. Whoever says both is believed the worse.
pub(crate) fn said(folder: &Path, worktree: Option<&Path>) -> Option<Said> {
    let beside = worktree.map(|w| w.join(IN_WORKTREE));
    let places =
        |name: &str| [Some(folder.join(name)), beside.as_ref().map(|b| b.join(&name[1..]))].into_iter().flatten().collect::<Vec<PathBuf>>();
    let find = |name| places(name).iter().find_map(|p| words(p));
    find(ERROR).map(|w| Said::Error { reason: w.reason }).or_else(|| find(DONE).map(|w| Said::Done { note: w.note }))
}

/// Says it, durably.
pub(crate) fn say(folder: &Path, said: &Said) -> Result<()> {
    let (name, json) = match said {
        Said::Done { note } => (DONE, serde_json::json!({ "note": note })),
        Said::Error { reason } => (ERROR, serde_json::json!({ "reason": reason })),
    };
    Ok(fs::write_atomic(&folder.join(name), format!("{json}\n").as_bytes(), 0o600)?)
}

fn mark_path(folder: &Path, end: End) -> PathBuf {
    folder.join(format!(".{}", end.word()))
}

/// Decides that it ends as cancelled or timed out, before it is ended. Durable: it is not run again.
pub(crate) fn mark(folder: &Path, end: End) -> Result<()> {
    Ok(fs::write_atomic(&mark_path(folder, end), b"", 0o600)?)
}

/// Whether that was decided.
pub(crate) fn marked(folder: &Path) -> Option<End> {
    [End::Cancelled, End::Timeout].into_iter().find(|end| fs::exists(&mark_path(folder, *end)))
}

fn step_path(folder: &Path, step: Step, what: &str) -> PathBuf {
    let step = match step {
        Step::Work => "work",
        Step::Verify => "verify",
    };
    folder.join(format!("{step}.{what}"))
}

/// Takes the room in which the end of this step will be written down, so that a disk that is full by then hides no end.
pub(crate) fn take_room(folder: &Path, step: Step) -> Result<()> {
    Ok(fs::replace(&step_path(folder, step, "room"), &[b' '; limits::TASK_END_BYTES], 0o600)?)
}

/// Before the program of this step is started. False: it was started before, and is not to be started again.
pub(crate) fn begin(folder: &Path, step: Step) -> Result<bool> {
    Ok(fs::create_new(&step_path(folder, step, "started"), b"", 0o600)?)
}

/// Whether the program of this step was started.
pub(crate) fn has_begun(folder: &Path, step: Step) -> bool {
    fs::exists(&step_path(folder, step, "started"))
}

/// How it ended.
pub(crate) fn ended(folder: &Path, step: Step) -> Option<Ended> {
    serde_json::from_slice(&fs::read(&step_path(folder, step, "ended")).ok()?).ok()
}

/// Notes how it ended; the first word counts. Not durable: after another boot nobody believes it without the agent's own word.
pub(crate) fn end(folder: &Path, ended: &Ended) -> Result<()> {
    let path = step_path(folder, ended.step, "ended");
    if fs::exists(&path) {
        return Ok(());
    }
    let json = serde_json::to_vec(ended).map_err(|e| Error::failed(e.to_string()))?;
    let room = step_path(folder, ended.step, "room");
    if json.len() <= limits::TASK_END_BYTES && fs::is_file(&room) {
        fs::overwrite(&room, &json, 0o600)?;
        return Ok(fs::rename_if_there(&room, &path).map(drop)?);
    }
    Ok(fs::replace(&path, &json, 0o600)?)
}

/// Where nothing more is to be written of its attempt.
pub(super) fn give_room(folder: &Path) -> Result<()> {
    [Step::Work, Step::Verify].into_iter().try_for_each(|step| Ok(fs::remove_file(&step_path(folder, step, "room"))?))
}

/// Before another attempt: nothing of the last one may be taken for a word of the next.
pub(super) fn clear(folder: &Path) -> Result<()> {
    let marks = End::ALL.map(|end| mark_path(folder, end));
    let steps = [Step::Work, Step::Verify].into_iter().flat_map(|s| ["started", "ended"].map(|what| step_path(folder, s, what)));
    marks.into_iter().chain(steps).chain([folder.join(ERROR)]).try_for_each(|path| Ok(fs::remove_file(&path)?))
}

/// The same in a task's own worktree, which stays for the next attempt.
pub(crate) fn clear_worktree(worktree: &Path) -> Result<()> {
    ["done", "error"].iter().try_for_each(|name| Ok(fs::remove_file(&worktree.join(IN_WORKTREE).join(name))?))
}
