//! How a project's repository stands beyond its pin: what is changed, where its branch is, what its engine's work tree holds.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use agents::contract::layout::ENGINE_FOLDER;
use agents::os::fs;
use gix::ObjectId;
use gix::bstr::BStr;
use gix::refs::FullNameRef;

use super::lean::{self, Trees};
use super::pin::open;
use super::report::{EngineState, GitReport};
use super::worktree::{self, Changes};
use crate::checkout::head::{self, Head};
use crate::harness::mirror::version;

type Outcome<T> = Result<T, String>;

/// Looks at the repository in `folder`, whose HEAD pins `pin`; `name` gives the tag of a commit of the engine's, where its harness knows one.
/// Most are plain, and are not even opened.
pub fn look(folder: &Path, pin: Option<ObjectId>, name: impl Fn(ObjectId) -> Option<String>, trees: &Trees) -> GitReport {
    lean::look(folder, pin, &name, trees).unwrap_or_else(|| look_by_library(folder, pin, &name, trees))
}

/// The same for any repository: slower, and what the lean look is held against.
pub fn look_by_library(folder: &Path, pin: Option<ObjectId>, name: &impl Fn(ObjectId) -> Option<String>, trees: &Trees) -> GitReport {
    let mut report = GitReport::default();
    if let Err(error) = fill(&mut report, folder, pin, name, trees) {
        report.error = Some(error);
    }
    report
}

fn fill(
    report: &mut GitReport,
    folder: &Path,
    pin: Option<ObjectId>,
    name: &impl Fn(ObjectId) -> Option<String>,
    trees: &Trees,
) -> Outcome<()> {
    let repository = open_at(folder)?;
    let head = repository.head().map_err(|e| e.to_string())?;
    let commit = head.id().map(gix::Id::detach);
    if let Some(commit) = commit {
        trees.learn(&repository, commit);
    }
    report.branch = head.referent_name().map(|n| n.shorten().to_string());
    report.detached = head.is_detached();
    report.busy = repository.state().map(busy);
    if let (Some(branch), Some(commit)) = (head.referent_name(), commit) {
        upstream(report, &repository, branch, commit);
    }
    report.tag = pin.and_then(name);
    engine(report, folder, pin, name, trees)?;
    let changes = worktree::changes(&repository, commit)?;
    (report.staged, report.modified) = (changes.staged, changes.modified + changed_submodules(folder, &changes)?);
    (report.untracked, report.conflicts) = (changes.untracked, changes.conflicts);
    Ok(())
}

/// How many submodules beside the engine are changed.
pub fn changed_submodules(folder: &Path, changes: &Changes) -> Outcome<usize> {
    let others = changes.submodules.iter().filter(|s| s.path != ENGINE_FOLDER);
    others.map(|other| is_changed(&folder.join(name_of(other.path.as_ref())), other.commit).map(usize::from)).sum()
}

/// Opened so that nothing is run, and only where its files lie in the folder itself: a repository may name any other.
pub fn open_at(folder: &Path) -> Outcome<gix::Repository> {
    let repository = open(folder)?;
    let canonical = |path: &Path| fs::canonical(path).map_err(|e| e.to_string());
    match repository.workdir() {
        None => Err(format!("{} is a bare repository", folder.display())),
        Some(found) if found == folder || canonical(found)? == canonical(folder)? => Ok(repository),
        Some(found) => Err(format!("core.worktree of {} names another folder: {}", folder.display(), found.display())),
    }
}

fn busy(state: gix::state::InProgress) -> String {
    use gix::state::InProgress;
    let word = match state {
        InProgress::ApplyMailbox | InProgress::ApplyMailboxRebase => "am",
        InProgress::Bisect => "bisect",
        InProgress::CherryPick | InProgress::CherryPickSequence => "cherry-pick",
        InProgress::Merge => "merge",
        InProgress::Rebase | InProgress::RebaseInteractive => "rebase",
        InProgress::Revert | InProgress::RevertSequence => "revert",
    };
    word.into()
}

/// What cannot be resolved is left out: a branch may follow one that is gone.
fn upstream(report: &mut GitReport, repository: &gix::Repository, branch: &FullNameRef, commit: ObjectId) {
    let Some(name) = tracked(repository.config_snapshot().plumbing(), &branch.shorten().to_string()) else { return };
    report.upstream = Some(short(&name).to_owned());
    let found = repository.try_find_reference(name.as_str()).ok().flatten();
    let Some(theirs) = found.and_then(|mut r| r.peel_to_id().ok().map(gix::Id::detach)) else { return };
    let only_in = |one: ObjectId, other: ObjectId| -> Option<usize> {
        if one == other {
            return Some(0);
        }
        let walk = repository.rev_walk([one]).with_hidden([other]).all().ok()?;
        walk.map(|commit| commit.ok()).collect::<Option<Vec<_>>>().map(|commits| commits.len())
    };
    report.ahead = only_in(commit, theirs);
    report.behind = only_in(theirs, commit);
}

/// A reference as people call it.
pub fn short(name: &str) -> &str {
    name.strip_prefix("refs/remotes/").or_else(|| name.strip_prefix("refs/heads/")).unwrap_or(name)
}

/// The reference that tracks what `branch` follows. git's library tells it only of repositories whose settings it trusts, but these run nothing.
pub fn tracked(settings: &gix::config::File, branch: &str) -> Option<String> {
    let key = |name: &str| format!("branch.{branch}.{name}");
    let remote = settings.string(key("remote").as_str())?.to_string();
    let merge = settings.string(key("merge").as_str())?.to_string();
    if remote == "." {
        return Some(merge);
    }
    let specs = settings.strings(format!("remote.{remote}.fetch").as_str())?;
    specs.iter().find_map(|spec| {
        let spec = spec.to_string();
        let (from, to) = spec.strip_prefix('+').unwrap_or(&spec).split_once(':')?;
        match (from.split_once('*'), to.split_once('*')) {
            (None, None) => (from == merge).then(|| to.to_owned()),
            (Some((start, end)), Some((to_start, to_end))) => {
                let middle = merge.strip_prefix(start)?.strip_suffix(end)?;
                Some(format!("{to_start}{middle}{to_end}"))
            }
            (None, Some(_)) | (Some(_), None) => None,
        }
    })
}

fn engine(
    report: &mut GitReport,
    folder: &Path,
    pin: Option<ObjectId>,
    name: &impl Fn(ObjectId) -> Option<String>,
    trees: &Trees,
) -> Outcome<()> {
    let folder = folder.join(ENGINE_FOLDER);
    let engine = &mut report.engine;
    let Some(pin) = pin else { return Ok(()) };
    engine.state = EngineState::Uninitialised;
    let head = head::read(&folder);
    if head == Head::None {
        return Ok(());
    }
    let repository = open_at(&folder).map_err(|e| format!("{ENGINE_FOLDER}: {e}"))?;
    let commit = head.commit().or_else(|| repository.head_id().ok().map(gix::Id::detach));
    if let Some(commit) = commit {
        trees.learn(&repository, commit);
    }
    engine.state = if commit == Some(pin) { EngineState::Ok } else { EngineState::Drifted };
    engine.commit = commit.map(|c| c.to_string());
    // Where the harness has no mirror here, the engine's own repository may know the tag.
    report.tag = report.tag.take().or_else(|| tag_in(&repository, pin));
    engine.tag = match commit {
        Some(commit) if commit != pin => name(commit).or_else(|| tag_in(&repository, commit)),
        Some(_) => report.tag.clone(),
        None => None,
    };
    let Changes { staged, modified, untracked, conflicts, .. } =
        worktree::changes(&repository, commit).map_err(|e| format!("{ENGINE_FOLDER}: {e}"))?;
    (engine.staged, engine.modified, engine.untracked, engine.conflicts) = (staged, modified, untracked, conflicts);
    Ok(())
}

fn tag_in(repository: &gix::Repository, commit: ObjectId) -> Option<String> {
    let references = repository.references().ok()?;
    let tags = references.tags().ok()?.filter_map(Result::ok).filter_map(|mut r| {
        let name = r.name().shorten().to_string();
        (r.peel_to_id().ok()? == commit).then_some(name)
    });
    tags.max_by_key(|t| version(t))
}

/// Whether a submodule that is no engine differs from what the index says, in commit or content.
fn is_changed(folder: &Path, commit: ObjectId) -> Outcome<bool> {
    match head::read(folder) {
        Head::None => Ok(!fs::is_dir(folder)),
        head if head.commit().is_some_and(|c| c != commit) => Ok(true),
        head => {
            let repository = open_at(folder)?;
            let changes = worktree::changes(&repository, head.commit())?;
            let inside = |s: &worktree::Submodule| is_changed(&folder.join(name_of(s.path.as_ref())), s.commit);
            let own = changes.staged + changes.modified + changes.untracked + changes.conflicts;
            Ok(own > 0 || changes.submodules.iter().map(inside).collect::<Outcome<Vec<_>>>()?.contains(&true))
        }
    }
}

/// A path as the index has it: on Unix, any bytes.
fn name_of(path: &BStr) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
