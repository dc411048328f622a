//! What runs first in the terminal of a task with a worktree of its own: it makes that, then becomes the agent's program.
//!
//! So the watchdog and the host wait for nothing, what it takes is in the task's log, and it is ended with the rest of the task.

use std::path::PathBuf;

use crate::contract::layout::Layout;
use crate::contract::task::{Ended, Exit, Place, Remedy, Step, TaskId};
use crate::error::{Error, Result};
use crate::os::lock::Lock;
use crate::os::{clock, fs, process};
use crate::store::launch;
use crate::store::project::Project;
use crate::store::tasks::sentinel::{self, IN_WORKTREE};
use crate::store::worktree::{self, Repository};

/// There once the worktree was made as a whole.
const READY: &str = "ready";

/// Does not return where all goes well.
pub(super) fn main(layout: Layout, session: &str) -> Result<()> {
    let foreign = || Error::usage("`agents task-worktree` is started by the engine itself").hint("agents task add --worktree");
    let id: TaskId = session.parse().map_err(|_| foreign())?;
    let launch = launch::read(&layout, session)?;
    let error = match prepare(&layout, id) {
        Ok(()) => {
            let error = process::become_command(&launch.start, &launch.folder);
            Error::failed(format!("`{}` could not be started: {error}", launch.start.first().map_or("", String::as_str)))
        }
        Err(e) => e.of(format!("task {id}: its worktree could not be made")),
    };
    let ended = Ended { step: Step::Work, at: clock::now(), exit: Exit::NotStarted, reason: error.to_string(), remedy: Remedy::Again };
    sentinel::end(&layout.task(Place::Running, id), &ended)?;
    Err(error)
}

/// Makes the worktree, or takes the one of an earlier attempt as it is. Killed at any point, it can be repeated.
fn prepare(layout: &Layout, id: TaskId) -> Result<()> {
    use std::os::unix::ffi::OsStringExt;
    let origin = PathBuf::from(std::ffi::OsString::from_vec(fs::read(&layout.origin())?));
    let project = Project { layout: layout.clone(), ..Project::find(&origin)? };
    let session = id.to_string();
    // Git that an attempt before this one had started may still be at it.
    let lock = Lock::wait(&layout.operation_lock(&session))?;
    let repository = Repository::around(&project.folder)?;
    let path = layout.worktree(&session);
    let words = path.join(IN_WORKTREE);
    if repository.has(&path) && fs::exists(&words.join(READY)) {
        return sentinel::clear_worktree(&path);
    }
    if fs::look(&path)? != fs::Found::Nothing {
        // Half made: no agent has ever worked in it.
        repository.remove(&path)?;
    }
    let branch = format!("task/{id}");
    repository.clear_branch_lock(&branch)?;
    if repository.branch(&branch)?.is_some() {
        repository.add(&path, &branch, None, &lock)?;
    } else {
        let Some(base) = repository.start(project.config.default_branch.as_deref())? else {
            return Err(
                Error::failed("there is no commit that a worktree could start from").hint("commit something, or leave out --worktree")
            );
        };
        repository.add(&path, &branch, Some(&base), &lock)?;
    }
    worktree::furnish(&project, &session, &path.join(&repository.inside), &lock)?;
    fs::private_dir(&words)?;
    // Git passes over the folder, also where somebody adds everything.
    fs::replace(&words.join(".gitignore"), b"*\n", 0o600)?;
    Ok(fs::replace(&words.join(READY), b"", 0o600)?)
}
