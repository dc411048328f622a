//! The commit that records a pin, and the branch that carries the engine.

use std::path::Path;

use agents::cli::{Error, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os::{self, git::Git, lock::Lock};
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

/// Commits the pin that is checked out in `engine/`, and nothing else: in this process where that gives what git would give, else by git.
pub fn record(folder: &Path, bump: &Bump, message: &str, lock: &Lock) -> Result<()> {
    let repository = repo::open(folder)?;
    if is_plain(&repository) && record_plainly(&repository, bump, message)? {
        return Ok(());
    }
    let git = Git::at(folder).holding(lock);
    git.run(&["commit", "--quiet", "--only", "--message", message, "--", ENGINE_FOLDER]).map(drop)
}

/// The hooks that a commit runs.
const HOOKS: [&str; 6] = ["pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "reference-transaction", "post-index-change"];

/// Whether nothing of the user's takes part in a commit: no hook, no signature.
fn is_plain(repository: &gix::Repository) -> bool {
    let config = repository.config_snapshot();
    let hooks = repository.common_dir().join("hooks");
    config.string("core.hooksPath").is_none()
        && config.boolean("commit.gpgSign") != Some(true)
        && config.sections_by_name("hook").is_none_or(|mut sections| sections.next().is_none())
        && !HOOKS.iter().any(|hook| os::fs::is_executable(&hooks.join(hook)))
}

/// False: nothing was done, as the index or the identity is such that git should do it.
fn record_plainly(repository: &gix::Repository, bump: &Bump, message: &str) -> Result<bool> {
    let wrong = |e: &dyn std::fmt::Display| Error::failed(format!("{}: {e}", bump.folder.display()));
    let path = repository.index_path();
    let mut index_lock = gix::lock::File::acquire_to_update_resource(&path, gix::lock::acquire::Fail::Immediately, None, 0)
        .map_err(|e| Error::busy(format!("{}: {e}", path.display())).hint("another git command is at work there; try again"))?;
    let mut index = repository.open_index().map_err(|e| wrong(&e))?;
    let odd = index.link().is_some() || index.is_sparse() || index.untracked().is_some() || index.fs_monitor().is_some();
    if odd || !matches!(repository.committer(), Some(Ok(_))) || !matches!(repository.author(), Some(Ok(_))) {
        return Ok(false);
    }
    let to = ObjectId::from_hex(bump.to.as_bytes()).map_err(|e| wrong(&e))?;
    let head = repository.head_commit().map_err(|e| wrong(&e))?;
    let tree = head.tree().map_err(|e| wrong(&e))?;
    let mut tree: gix::objs::Tree = tree.decode().map_err(|e| wrong(&e))?.into();
    let pin = tree.entries.iter_mut().find(|e| e.filename == ENGINE_FOLDER && e.mode.is_commit());
    let staged = index.entry_mut_by_path_and_stage(ENGINE_FOLDER.into(), gix::index::entry::Stage::Unconflicted);
    let (Some(pin), Some(staged), true) = (pin, staged, head.id.to_string() == bump.head) else { return Ok(false) };
    (pin.oid, staged.id) = (to, to);
    index.remove_tree();
    index.write_to(&mut index_lock, gix::index::write::Options::default()).map_err(|e| wrong(&e))?;
    let tree = repository.write_object(&tree).map_err(|e| wrong(&e))?.detach();
    // Moves the branch only from the commit that was looked at.
    repository.commit("HEAD", message, tree, [head.id]).map_err(|e| wrong(&e))?;
    index_lock.commit().map_err(|e| wrong(&e.error))?;
    Ok(true)
}
