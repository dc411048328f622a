//! Projects' task queues, read as they lie on disk: the folder a task lies in is its state. Nothing is run and nobody is asked.

use std::path::{Path, PathBuf};

use agents::contract::layout::Layout;
use agents::contract::task::{End, Outcome, Place, Task, TaskId};
use agents::os::fs;
use jiff::Timestamp;
use serde::Serialize;

use super::engine::{Places, task_ids as ids};
use crate::parallel;
use crate::registry::Project;

/// So much of a prompt's first line is shown.
const BEGINS_CHARS: usize = 60;

/// One project's queue.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct QueueReport {
    pub name: String,
    /// No task is started until the project is.
    pub stopped: bool,
    /// Those that have not ended: what runs, what is held, then what waits, in the order in which it is taken.
    pub tasks: Vec<TaskReport>,
    /// How many have failed or took too long.
    pub failed: usize,
    /// What could not be read.
    pub error: Option<String>,
}

/// A task that has not ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskReport {
    pub task: TaskId,
    pub state: Place,
    pub name: Option<String>,
    pub agent: String,
    pub lane: Option<String>,
    pub priority: i64,
    pub after: Vec<TaskId>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub attempts: usize,
    pub reason: String,
    pub not_before: Option<Timestamp>,
    /// What it waits for that has not ended well, and how that stands.
    pub waits_for: Vec<Awaited>,
    /// How its prompt begins.
    pub begins: String,
}

/// A task that another waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Awaited {
    pub task: TaskId,
    /// None: it is gone.
    pub state: Option<Place>,
}

/// The folders of a project's queue in which changes show; none where it never had one.
pub fn folders(places: &Places, folder: &Path) -> Vec<PathBuf> {
    let Some(layout) = places.layout(folder) else { return vec![] };
    let shown = [Place::Pending, Place::Running, Place::Held, Place::Finished(End::Failed), Place::Finished(End::Timeout)];
    let mut folders: Vec<PathBuf> = shown.iter().map(|p| layout.task_place(*p)).collect();
    folders.push(layout.tasks());
    folders
}

/// The queues of these projects.
pub fn look(projects: &[&Project]) -> Vec<QueueReport> {
    let places = Places::load();
    parallel::each(projects, |project| {
        let report = QueueReport { name: project.name.clone(), ..QueueReport::default() };
        let Some(folder) = project.folder() else {
            return QueueReport { error: Some("on another machine, which this version cannot ask".into()), ..report };
        };
        match places.layout(folder) {
            Some(layout) => queue(&layout, report),
            None => report,
        }
    })
}

fn queue(layout: &Layout, mut report: QueueReport) -> QueueReport {
    report.stopped = fs::exists(&layout.tasks_stopped());
    let mut errors = vec![];
    for place in [Place::Running, Place::Held, Place::Pending] {
        let mut here = vec![];
        for id in ids(layout, place) {
            match read(layout, place, id) {
                Ok(task) => here.push(task),
                // It has moved since.
                Err(_) if !is_there(layout, place, id) => {}
                Err(e) => errors.push(format!("{id}: {e}")),
            }
        }
        if place == Place::Pending {
            here.sort_by_key(|t| (std::cmp::Reverse(t.priority), t.task));
        }
        report.tasks.extend(here.into_iter().map(|t| told(layout, place, t)));
    }
    report.failed = [End::Failed, End::Timeout].into_iter().map(|end| ids(layout, Place::Finished(end)).len()).sum();
    report.error = errors.first().map(|first| match errors.len() {
        1 => first.clone(),
        n => format!("{first}; and {} more", n - 1),
    });
    report
}

fn record(layout: &Layout, place: Place, id: TaskId) -> PathBuf {
    let folder = layout.task(place, id);
    let file = folder.with_extension("json");
    if fs::is_file(&file) { file } else { folder.join("task.json") }
}

fn is_there(layout: &Layout, place: Place, id: TaskId) -> bool {
    fs::is_file(&record(layout, place, id))
}

fn read(layout: &Layout, place: Place, id: TaskId) -> Result<Task, String> {
    let path = record(layout, place, id);
    let bytes = fs::read(&path).map_err(|e| e.to_string())?;
    serde_json::from_slice(&bytes).map_err(|e| format!("{}: not a task's record: {e}", path.display()))
}

fn told(layout: &Layout, place: Place, task: Task) -> TaskReport {
    let all = Place::ALL;
    let waits_for = if place == Place::Pending { task.after.as_slice() } else { &[] };
    let waits_for = waits_for
        .iter()
        .map(|id| Awaited { task: *id, state: all.into_iter().find(|p| is_there(layout, *p, *id)) })
        .filter(|a| a.state != Some(Place::Finished(End::Done)))
        .collect();
    let begun = (place == Place::Running).then(|| begun(layout, task.task)).flatten();
    TaskReport {
        state: place,
        begins: begins(&task.prompt.0),
        started_at: begun.or_else(|| task.attempts.last().map(|a| a.started_at)),
        attempts: task.attempts.iter().filter(|a| a.outcome != Some(Outcome::Limited)).count() + usize::from(begun.is_some()),
        task: task.task,
        name: task.name,
        agent: task.agent,
        lane: task.lane,
        priority: task.priority,
        after: task.after,
        created_at: task.created_at,
        reason: task.reason,
        not_before: task.not_before,
        waits_for,
    }
}

/// When the attempt that is under way began: it stands in a file of its own until it ends.
fn begun(layout: &Layout, id: TaskId) -> Option<Timestamp> {
    let bytes = fs::read(&layout.task(Place::Running, id).join("attempt.json")).ok()?;
    serde_json::from_slice::<agents::contract::task::Begun>(&bytes).ok().map(|b| b.attempt.started_at)
}

fn begins(prompt: &[u8]) -> String {
    let start = prompt.trim_ascii_start();
    let head = String::from_utf8_lossy(&start[..start.len().min(BEGINS_CHARS * 4)]).into_owned();
    let line = head.lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(BEGINS_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
