//! One project's pin moved to another commit, or everything left as it was.

use std::path::{Path, PathBuf};

use agents::cli::{Error, Result, out};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os::{self, git::Git, lock::Lock, process};
use gix::ObjectId;

use super::journal::Bump;
use super::repo::{self, CARRIER, Look};
use super::{commit, create};
use crate::checkout::drive;
use crate::harness::submodule::pin_in;
use crate::harness::{Mirror, Resolved};
use crate::registry::{Harness, Project};

/// Where a project's pin is to go.
#[derive(Debug, Clone, Copy)]
pub struct Goal<'a> {
    pub harness: &'a Harness,
    pub mirror: &'a Mirror,
    pub target: &'a Resolved,
}

/// What is otherwise refused.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    pub downgrade: bool,
    /// A tag that means another commit than the registry recorded.
    pub moved: bool,
}

/// What is to be done for a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// Pin and checkout are there already.
    Already,
    Move(Bump),
}

/// Looks at a project and decides; changes nothing.
pub fn plan(project: &Project, folder: &Path, goal: Goal<'_>, allowed: Allowed) -> Result<Planned> {
    let look = repo::look(folder)?;
    let shown = folder.display();
    let pin =
        look.pin.ok_or_else(|| Error::failed("HEAD records no engine/ submodule").hint(format!("git -C {shown} submodule status")))?;
    let target = goal.target;
    let recorded = project.commit.as_deref();
    if target.is_tag
        && !allowed.moved
        && project.reference.as_deref() == Some(&target.reference)
        && recorded.is_some_and(|c| c != target.commit.to_string())
    {
        return Err(Error::failed(format!(
            "the tag {} has moved: it was {}, it is {}",
            target.reference,
            short(recorded.unwrap_or_default()),
            short(&target.commit.to_string())
        ))
        .because("a tag that names another commit than before may have been replaced by somebody else")
        .hint(format!("fleet update {} {} --allow-moved   if you know why", project.name, target.reference)));
    }
    if pin == target.commit && look.engine == Some(pin) && look.staged == Some(pin) && !look.engine_dirty {
        return Ok(Planned::Already);
    }
    refuse(&look, folder, pin, goal)?;
    if !allowed.downgrade && goal.mirror.is_downgrade(pin, target.commit) {
        let from = goal.mirror.tag_of(pin).unwrap_or_else(|| short(&pin.to_string()).to_owned());
        return Err(Error::failed(format!("{} is older than {from}, which is pinned now", target.reference))
            .hint(format!("fleet update {} {} --allow-downgrade", project.name, target.reference)));
    }
    Ok(Planned::Move(Bump {
        name: project.name.clone(),
        folder: folder.to_path_buf(),
        harness: goal.harness.name.clone(),
        branch: look.branch.unwrap_or_default(),
        head: look.head.to_string(),
        from: pin.to_string(),
        to: target.commit.to_string(),
        engine: look.engine.map(|id| id.to_string()),
        reference: target.reference.clone(),
        reference_before: project.reference.clone(),
        carrier: look.carrier.map(|id| id.to_string()),
    }))
}

fn refuse(look: &Look, folder: &Path, pin: ObjectId, goal: Goal<'_>) -> Result<()> {
    let shown = folder.display();
    if let Some(busy) = &look.busy {
        return Err(Error::failed(format!("a {busy} is under way in {shown}")).hint("finish or abort it first: git status says how"));
    }
    if look.branch.is_none() {
        return Err(Error::failed(format!("HEAD of {shown} is detached, so a commit would belong to no branch"))
            .hint(format!("git -C {shown} switch main")));
    }
    if look.staged != Some(pin) {
        return Err(Error::failed("a change of engine is staged already").hint(format!("git -C {shown} restore --staged {ENGINE_FOLDER}")));
    }
    if look.engine_dirty {
        return Err(Error::failed("files of engine/ were changed; they would be lost or swept along")
            .hint(format!("git -C {shown}/{ENGINE_FOLDER} stash   or   git -C {shown}/{ENGINE_FOLDER} checkout -- .")));
    }
    if let Some(engine) = look.engine.filter(|id| *id != pin && *id != goal.target.commit && !goal.mirror.has(*id)) {
        return Err(Error::failed(format!(
            "engine/ is at {}, a commit of your own that harness {} does not have",
            short(&engine.to_string()),
            goal.harness.name
        ))
        .hint(format!("keep it on a branch, then: git -C {shown} submodule update {ENGINE_FOLDER}")));
    }
    if let Some(lock) = locks(look).into_iter().find(|l| os::fs::exists(l)) {
        return Err(Error::busy(format!("{} exists: a git command is at work, or died there", lock.display()))
            .hint("wait for it to end; if none runs, remove that file"));
    }
    repo::check_gitmodules(folder, goal.mirror)
}

/// The first digits of a commit id.
pub fn short(id: &str) -> &str {
    &id[..id.len().min(10)]
}

/// Why a bump was not done, and whether the project is as it was before.
#[derive(Debug)]
pub struct Failure {
    pub error: Error,
    pub is_settled: bool,
}

/// Does it: objects, checkout, the new engine's own check, commit, verification. After a failure everything is as it was, or it says that it is not.
pub fn perform(bump: &Bump, goal: Goal<'_>, lock: &Lock) -> Result<(), Failure> {
    let Err(error) = advance(bump, goal, lock) else { return Ok(()) };
    match settle(bump, lock) {
        Ok(Settled::Done) => Ok(()),
        Ok(_) => Err(Failure { error, is_settled: true }),
        Err(worse) => {
            let error = error.because(format!("putting things back failed too: {worse}")).hint("any changing command tries again");
            Err(Failure { error, is_settled: false })
        }
    }
}

fn advance(bump: &Bump, goal: Goal<'_>, lock: &Lock) -> Result<()> {
    let look = repo::look(&bump.folder)?;
    let unchanged = look.head.to_string() == bump.head && look.engine.map(|id| id.to_string()) == bump.engine && !look.engine_dirty;
    if !unchanged {
        return Err(Error::failed("it changed while it was being updated; nothing was done").hint("run the command again"));
    }
    let target = goal.target;
    let engine = bump.folder.join(ENGINE_FOLDER);
    match &look.engine_git {
        None => repo::place_engine(&bump.folder, &look.git, goal.mirror, target, lock)?,
        Some(module) => {
            goal.mirror.share(&module.join("objects"), target.commit)?;
            if target.is_tag {
                repo::tag_in(module, target)?;
            }
            if look.engine != Some(target.commit) {
                checkout(&engine, &bump.to, lock, false)?;
            }
        }
    }
    if let Some(check) = drive::commands(goal.harness, &bump.folder)?.check {
        drive::run(&check, &bump.folder, "the new engine does not accept the project")?;
    }
    if goal.mirror.url.is_none() {
        goal.mirror.share(&look.git.join("objects"), target.commit)?;
        commit::carry(&bump.folder, target)?;
    }
    if look.pin != Some(target.commit) {
        commit::record(&bump.folder, bump, &message(bump, goal.mirror), lock).map_err(create::identity)?;
    }
    verify(bump)
}

fn message(bump: &Bump, mirror: &Mirror) -> String {
    let tag = ObjectId::from_hex(bump.from.as_bytes()).ok().and_then(|id| mirror.tag_of(id));
    let from = tag.map_or_else(|| short(&bump.from).to_owned(), |tag| format!("{tag} ({})", short(&bump.from)));
    format!("Update engine to {}\n\nFrom {from} to {}.\n", bump.reference, short(&bump.to))
}

fn verify(bump: &Bump) -> Result<()> {
    let look = repo::look(&bump.folder)?;
    let is = |id: Option<ObjectId>| id.is_some_and(|id| id.to_string() == bump.to);
    match is(look.pin) && is(look.staged) && is(look.engine) && !look.engine_dirty {
        true => Ok(()),
        false => Err(Error::failed(format!("after the update, commit, index and engine/ are not all at {}", short(&bump.to)))),
    }
}

/// `force` also overwrites what an interrupted checkout left half written.
fn checkout(engine: &Path, commit: &str, lock: &Lock, force: bool) -> Result<()> {
    let mut args = vec!["-c", "advice.detachedHead=false", "checkout", "--quiet", "--detach"];
    if force {
        args.push("--force");
    }
    args.extend([commit, "--"]);
    Git::at(engine).without_hooks().holding(lock).run(&args).map(drop)
}

/// How an interrupted or failed bump was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The commit was made, so the rest was finished.
    Done,
    /// Everything is as it was.
    Undone,
    /// Somebody moved the pin elsewhere since: left as it is.
    Left,
}

/// Brings a project between two pins to one of them: forward where the commit is made, else back. Again does nothing more.
pub fn settle(bump: &Bump, lock: &Lock) -> Result<Settled> {
    let folder = &bump.folder;
    clear_locks(folder)?;
    let pin = head_pin(folder)?;
    let (goal, settled) = match &pin {
        Some(pin) if *pin == bump.to => (&bump.to, Settled::Done),
        Some(pin) if *pin == bump.from => (bump.engine.as_ref().unwrap_or(&bump.from), Settled::Undone),
        _ => return Ok(Settled::Left),
    };
    let engine = folder.join(ENGINE_FOLDER);
    if os::fs::exists(&engine.join(".git")) {
        restore_engine(&engine, bump, goal, lock)?;
    }
    let look = repo::look(folder)?;
    let staged = look.staged.map(|id| id.to_string());
    if staged.as_ref() != pin.as_ref() && staged.as_ref() == Some(if settled == Settled::Done { &bump.from } else { &bump.to }) {
        Git::at(folder).without_hooks().holding(lock).run(&["reset", "--quiet", "--", ENGINE_FOLDER])?;
    }
    if settled == Settled::Undone && look.carrier.map(|id| id.to_string()) != bump.carrier {
        let git = Git::at(folder).without_hooks().holding(lock);
        match &bump.carrier {
            Some(before) => git.run(&["update-ref", CARRIER, before])?,
            None => git.run(&["update-ref", "-d", CARRIER])?,
        };
    }
    Ok(settled)
}

fn restore_engine(engine: &Path, bump: &Bump, goal: &str, lock: &Lock) -> Result<()> {
    let repository = repo::open(engine)?;
    repo::mend_tag(repository.git_dir(), &bump.reference)?;
    let at = repository.head_id().ok().map(|id| id.to_string());
    let whole = super::dirt::is_changed(&repository).is_ok_and(|changed| !changed);
    if whole && at.as_deref() == Some(goal) {
        return Ok(());
    }
    let git = Git::at(engine).without_hooks().holding(lock);
    if !whole {
        // It was clean before we began, so what differs is ours; kept all the same, in case somebody edited since.
        if let Ok(kept) = git.run(&["stash", "create"])
            && !kept.is_empty()
        {
            git.run(&["update-ref", &format!("refs/agents/preserved/{}", short(&kept)), &kept])?;
        }
        // All the way to the new commit first: from there the way back also removes the files that only the new one has.
        checkout(engine, &bump.to, lock, true)?;
    }
    checkout(engine, goal, lock, true)
}

/// HEAD's pin, read without the index, which may be missing half way.
fn head_pin(folder: &Path) -> Result<Option<String>> {
    let repository = repo::open(folder)?;
    let tree = repository.head_tree().map_err(|e| Error::failed(format!("{}: {e}", folder.display())))?;
    Ok(pin_in(&tree).map(|id| id.to_string()))
}

/// The locks that git takes for what we ask of it.
fn locks(look: &Look) -> Vec<PathBuf> {
    let mut locks = vec![look.git.join("index.lock"), look.git.join("HEAD.lock"), look.git.join(format!("{CARRIER}.lock"))];
    if let Some(branch) = &look.branch {
        locks.push(look.git.join(format!("refs/heads/{branch}.lock")));
    }
    if let Some(engine) = &look.engine_git {
        locks.extend([engine.join("index.lock"), engine.join("HEAD.lock")]);
    }
    locks
}

/// Removes locks that a killed git left. There were none when we began, so they are ours, unless somebody's git runs there now.
fn clear_locks(folder: &Path) -> Result<()> {
    let repository = repo::open(folder)?;
    let git = repository.git_dir();
    let mut found = vec![git.join(format!("{CARRIER}.lock"))];
    found.extend(repository.head_name().ok().flatten().map(|n| git.join(format!("{}.lock", n.as_bstr()))));
    let mut collect = |folder: &Path, ends: &[&str]| -> Result<()> {
        let names = os::fs::list(folder)?;
        found.extend(names.iter().filter(|n| ends.iter().any(|end| n.ends_with(end))).map(|n| folder.join(n)));
        Ok(())
    };
    collect(git, &[".lock"])?;
    if let Ok(engine) = gix::open(folder.join(ENGINE_FOLDER)) {
        collect(engine.git_dir(), &[".lock"])?;
        collect(&engine.git_dir().join("refs/tags"), &[".lock", ".tmp"])?;
    }
    found.retain(|l| os::fs::exists(l));
    if found.is_empty() {
        return Ok(());
    }
    if let Some(alive) = process::working_in(&os::fs::canonical(folder)?, "git").first() {
        return Err(
            Error::busy(format!("git (process {}) is at work in {}", alive.pid, folder.display())).hint("try again when it is done")
        );
    }
    for lock in found {
        out::say(format!("removed {}, left by an interrupted update", lock.display()));
        os::fs::remove_file(&lock)?;
    }
    Ok(())
}
