//! The commit that records a pin, and the branch that carries the engine.

use std::path::Path;

use agents::cli::{Error, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os::{git::Git, lock::Lock};
use gix::ObjectId;
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit};

use super::journal::Bump;
use super::repo::{self, CARRIER};
use crate::harness::Resolved;

/// Author and committer of the commits on the carrying branch: nobody's work, so nobody's name, and the same for everyone.
const SIGNATURE: &str = "agents <agents@engine.invalid> 1767225600 +0000";

/// Makes the carrying branch reach the target without ever letting go of what it reached before: every pin in the project's history stays
/// fetchable, and pushing the branch is always a fast-forward.
pub fn carry(folder: &Path, target: &Resolved) -> Result<()> {
    let repository = repo::open(folder)?;
    let wrong = |e: &dyn std::fmt::Display| Error::failed(format!("{}: the branch engine: {e}", folder.display()));
    let at = |name: &str| -> Result<Option<ObjectId>> {
        let found = repository.try_find_reference(name).map_err(|e| wrong(&e))?;
        Ok(found.and_then(|r| r.try_id().map(gix::Id::detach)))
    };
    let local = at(CARRIER)?;
    let base = match local {
        Some(id) => Some(id),
        None => at("refs/remotes/origin/engine")?,
    };
    let tip = match base {
        None => target.commit,
        Some(base) if reaches(&repository, base, target.commit) => base,
        Some(base) => {
            let text = format!(
                "tree {}\nparent {base}\nparent {}\nauthor {SIGNATURE}\ncommitter {SIGNATURE}\n\nCarry {}\n",
                target.tree, target.commit, target.reference
            );
            use gix::objs::Write;
            repository.objects.write_buf(gix::objs::Kind::Commit, text.as_bytes()).map_err(|e| wrong(&e))?
        }
    };
    if local == Some(tip) {
        return Ok(());
    }
    let expected = local.map_or(PreviousValue::MustNotExist, |id| PreviousValue::MustExistAndMatch(id.into()));
    move_reference(&repository, CARRIER, tip, expected, "carry the engine").map_err(|e| wrong(&e.message))
}

fn reaches(repository: &gix::Repository, from: ObjectId, to: ObjectId) -> bool {
    from == to || repository.merge_base(from, to).is_ok_and(|base| base.is_some_and(|b| b.detach() == to))
}

fn move_reference(repository: &gix::Repository, name: &str, to: ObjectId, expected: PreviousValue, why: &str) -> Result<()> {
    let failed = |e: &dyn std::fmt::Display| Error::failed(e.to_string());
    let log = LogChange { message: why.into(), ..LogChange::default() };
    let name = name.try_into().map_err(|e: gix::validate::reference::name::Error| failed(&e))?;
    let edit = RefEdit { change: Change::Update { log, expected, new: to.into() }, name, deref: false };
    repository.edit_reference(edit).map(drop).map_err(|e| failed(&e))
}

/// Commits the pin that is checked out in `engine/`, and nothing else.
pub fn record(folder: &Path, _bump: &Bump, message: &str, lock: &Lock) -> Result<()> {
    let git = Git::at(folder).holding(lock);
    git.run(&["commit", "--quiet", "--only", "--message", message, "--", ENGINE_FOLDER]).map(drop)
}
