//! `agents restore`

use super::place::Place;
use super::sessions::{self, changing, finish_kill, operation};
use super::{Context, interrupt, kill, out, spawn};
use crate::contract::layout::is_name;
use crate::contract::status::AgentStatus;
use crate::error::{Error, Result};
use crate::os::fs;
use crate::os::lock::Lock;
use crate::store::instance;
use crate::store::meta::{Meta, STARTED_AT};
use crate::store::project::Project;
use crate::store::session::{self, BRANCH, BRANCH_MADE, ENDED_AT, PRESERVED, STAYS, TIP, UNDERWAY, WORKTREE};
use crate::store::worktree::Repository;

/// Bring an archived session back: its worktree from its branch, its uncommitted work, its conversation
#[derive(clap::Args)]
pub(super) struct Args {
    /// Its id
    #[arg(value_name = "ID")]
    session: String,
    /// What it became, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let project = place.project.clone()?;
    project.check_runtime()?;
    sessions::mind_moved(&project)?;
    instance::prepare(&project)?;
    kill::prepare(&place)?;
    let (layout, id) = (&project.layout, &args.session);
    if !is_name(id) {
        return Err(Error::usage(format!("{id:?} is no session's id")).hint("agents list --archived"));
    }
    if fs::exists(&layout.session(id)) {
        return Err(
            Error::failed(format!("session {id} is not archived, it is live")).hint("`agents list` shows it; `agents up` starts it")
        );
    }
    let lock = operation(layout, id)?;
    let _doing = interrupt::doing(&format!("restoring session {id}"), "the next command that changes sessions finishes or undoes it");
    let mut meta = {
        let _lock = changing(layout, "restore")?;
        if let Some(archived) = session::archive_list(layout)?.0.iter().find(|m| m.session == *id) {
            check(&project, archived)?;
        }
        session::unarchive(layout, id)?
    };
    let archived = meta.clone();
    meta.other.remove(ENDED_AT);
    match steps(&project, &mut meta, &lock) {
        Ok(status) => {
            sessions::record(layout, id, "restored", "by command");
            spawn::show(&project, &meta, &status, args.json);
            Ok(())
        }
        Err(error) => {
            let error = error.of(format!("session {id}"));
            // Once it was launched, its agent may have done something.
            let meta = if meta.key(UNDERWAY).is_some() { archived } else { meta };
            Err(match finish_kill(&project.folder, &project.config.worktree.symlinks, layout, meta, &lock) {
                Ok(_) => error.hint("it is archived as before"),
                Err(undo) => error.because(format!("and it could not be archived again: {undo}")),
            })
        }
    }
}

/// What speaks against it, before anything is changed.
fn check(project: &Project, archived: &Meta) -> Result<()> {
    if project.agent(&archived.agent).is_none() {
        return Err(sessions::undeclared(archived));
    }
    let path = project.layout.worktree(&archived.session);
    // Only what had to stay there when the session was ended is its own.
    let is_own = || Ok::<_, Error>(archived.key(STAYS).is_some() && Repository::around(&project.folder)?.has(&path));
    if archived.has_worktree() && fs::look(&path)? != fs::Found::Nothing && !is_own()? {
        return Err(
            Error::failed(format!("{} is in the way, and is not its worktree", path.display())).hint("look what it is, and move it away")
        );
    }
    Ok(())
}

fn steps(project: &Project, meta: &mut Meta, lock: &Lock) -> Result<AgentStatus> {
    if meta.has_worktree() {
        worktree(project, meta, lock)?;
    }
    let agent = project.agent(&meta.agent).ok_or_else(|| sessions::undeclared(meta))?;
    if meta.backend != agent.backend.name {
        out::warn(&format!("{}: it was played by {}, and begins anew with {}", meta.session, meta.backend, agent.backend.name));
        meta.backend = agent.backend.name.clone();
        meta.resume_id = if agent.backend.mints_id { Some(crate::os::process::fresh_uuid()?) } else { None };
        meta.other.remove(STARTED_AT);
    }
    sessions::launch(project, meta, "restore")
}

fn worktree(project: &Project, meta: &mut Meta, lock: &Lock) -> Result<()> {
    let path = project.layout.worktree(&meta.session);
    let repository = Repository::around(&project.folder)?;
    meta.set(WORKTREE, path.display().to_string());
    if fs::look(&path)? != fs::Found::Nothing {
        // It had to stay when the session was ended, with all in it.
        return Ok(());
    }
    let branch = meta.key(BRANCH).unwrap_or_default().to_owned();
    let from = match (repository.branch(&branch)?, meta.key(TIP)) {
        (Some(_), _) => None,
        (None, Some(tip)) if repository.commit(tip)?.is_some() => Some(tip.to_owned()),
        (None, _) => {
            return Err(Error::failed(format!("its branch {branch} is gone, and so is the commit that it stood at"))
                .hint("if the branch lies elsewhere, fetch it, then run this again"));
        }
    };
    repository.add(&path, &branch, from.as_deref(), lock)?;
    if from.is_some() {
        meta.set(BRANCH_MADE, "yes");
    }
    if let Some(preserved) = meta.key(PRESERVED).map(str::to_owned) {
        if repository.commit(&preserved)?.is_some() && repository.put_back(&path, &preserved, lock)? {
            meta.other.remove(PRESERVED);
        } else {
            out::warn(&format!(
                "{}: {branch} has moved, so what was uncommitted was not put back; it is in {}",
                meta.session,
                crate::store::worktree::preserved_ref(&meta.session)
            ));
        }
    }
    sessions::furnish(project, meta, lock)
}
