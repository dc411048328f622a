//! Sessions beside the one that each declared agent has: what their metadata says of them, how their ids are reserved, the archive.

use std::path::PathBuf;

use jiff::Timestamp;

use super::meta::{self, Meta};
use crate::contract::layout::Layout;
use crate::error::{Error, Result};
use crate::model::name::is_name;
use crate::os::fs;
use crate::os::lock::Lock;
use crate::os::process::ProcessId;

/// Who asked for the session: [`OPERATOR`], or another session's id. What has this key is no declared agent's own session.
pub(crate) const SPAWNED_BY: &str = "spawnedBy";
pub(crate) const OPERATOR: &str = "operator";
/// `spawn`, `kill` or `restore`, see [`Meta::underway`]. Without a holder of the session's operation lock, it was interrupted.
pub(crate) const UNDERWAY: &str = "underway";
/// Where its worktree lies. What has this key has one.
pub(crate) const WORKTREE: &str = "worktree";
pub(crate) const BRANCH: &str = "branch";
/// `yes`: the branch was made for the session.
pub(crate) const BRANCH_MADE: &str = "branchMade";
/// The commit that its branch began at.
pub(crate) const BASE: &str = "base";
/// The commit that its worktree stood at when it was ended.
pub(crate) const TIP: &str = "tip";
/// The commit that holds what was uncommitted when it was ended.
pub(crate) const PRESERVED: &str = "preserved";
/// Why its worktree was left where it is when it was ended.
pub(crate) const STAYS: &str = "worktreeStays";
pub(crate) const ISSUE: &str = "issue";
/// The session of tmux that shows it.
pub(crate) const TMUX_NAME: &str = "tmuxName";
/// What the operator calls it.
pub(crate) const NAME: &str = "name";
/// What it is to do, in the words of whoever spawned it.
pub(crate) const PROMPT: &str = "prompt";
/// `orchestrator` for a session that directs others.
pub(crate) const CALLER: &str = "caller";
pub(crate) const ORCHESTRATOR: &str = "orchestrator";
pub(crate) const ENDED_AT: &str = "endedAt";

impl Meta {
    /// One of the further keys.
    pub fn key(&self, key: &str) -> Option<&str> {
        self.other.get(key).map(String::as_str)
    }
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.other.insert(key.into(), value.into());
    }
    /// It was spawned, and is not a declared agent's own.
    pub fn is_spawned(&self) -> bool {
        self.other.contains_key(SPAWNED_BY)
    }
    /// `spawn`, `kill` or `restore`: begun and not ended. A live one whose end is written down was being moved to the archive.
    pub fn underway(&self) -> Option<&str> {
        self.key(UNDERWAY).or_else(|| self.key(ENDED_AT).map(|_| "kill"))
    }
    pub fn has_worktree(&self) -> bool {
        self.other.contains_key(WORKTREE)
    }
    /// What its agent is to the engine when it calls a command.
    pub fn caller(&self) -> &str {
        let directs = self.agent == ORCHESTRATOR && !self.is_spawned();
        self.key(CALLER).unwrap_or(if directs { ORCHESTRATOR } else { "agent" })
    }
}

/// Which number a new session gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// One more than the highest that live and archived sessions have.
    Next,
    /// The smallest that none of them has.
    SmallestFree,
}

/// Takes an id `{prefix}-{n}` for a session that is as `fresh` says, with its operation lock. Any number of processes may do so at once.
/// Not yet durable: the caller goes on to write it.
pub(crate) fn reserve(layout: &Layout, prefix: &str, numbering: Numbering, fresh: &Meta) -> Result<(Meta, Lock)> {
    let taken = meta::taken(layout, prefix)?;
    let mut n = match numbering {
        Numbering::Next => taken.last().copied().unwrap_or(0),
        Numbering::SmallestFree => 0,
    };
    loop {
        n += 1;
        if taken.contains(&n) {
            continue;
        }
        let meta = Meta { session: format!("{prefix}-{n}"), ..fresh.clone() };
        if !is_name(&meta.session) {
            return Err(Error::failed(format!("{:?} is no session's id", meta.session)).hint("choose a shorter `session_prefix`"));
        }
        // Before the file, so that whoever finds a file without a holder of its lock knows that its maker is gone.
        let Some(lock) = Lock::try_take(&layout.operation_lock(&meta.session))? else { continue };
        if !fs::create_new(&layout.session(&meta.session), meta.to_text().as_bytes(), 0o600)? {
            continue;
        }
        // It may have been made, ended and archived since the numbers were read.
        if archived(layout, &meta.session)?.is_none() {
            return Ok((meta, lock));
        }
        fs::remove_file(&layout.session(&meta.session))?;
    }
}

/// Removes what writers that were killed left beside the files they were about to replace.
pub(crate) fn sweep(layout: &Layout) -> Result<()> {
    let above = |path: PathBuf| path.parent().map(PathBuf::from).unwrap_or_default();
    for folder in [layout.sessions(), layout.archive(), above(layout.launch("any"))] {
        for name in fs::list(&folder)? {
            let pid = name.strip_prefix('.').and_then(|n| n.strip_suffix(".tmp")).and_then(|n| n.rsplit('.').nth(1)?.parse().ok());
            if pid.is_some_and(|pid| ProcessId::of(pid).is_none()) {
                fs::remove_file(&folder.join(name))?;
            }
        }
    }
    Ok(())
}

/// Sessions' files that stay empty: their maker was ended before it wrote a word.
pub(crate) fn empty(layout: &Layout) -> Result<Vec<String>> {
    let names = fs::list(&layout.sessions())?.into_iter().filter(|name| is_name(name));
    Ok(names.filter(|name| matches!(fs::look(&layout.session(name)), Ok(fs::Found::File { size_bytes: 0, .. }))).collect())
}

fn archive_name(meta: &Meta) -> String {
    let at: Option<Timestamp> = meta.key(ENDED_AT).and_then(|t| t.parse().ok());
    format!("{}_{}", meta.session, at.unwrap_or(meta.created_at).strftime("%Y-%m-%dT%H-%M-%S"))
}

/// Moves a session's metadata, which must be complete, to the archive.
pub(crate) fn archive(layout: &Layout, meta: &Meta) -> Result<()> {
    meta::write(layout, meta)?;
    Ok(fs::rename(&layout.session(&meta.session), &layout.archive().join(archive_name(meta)))?)
}

/// The session that a name in the archive belongs to.
pub(super) fn owner(name: &str) -> Option<&str> {
    name.rsplit_once('_').map(|(id, _)| id).filter(|id| is_name(id))
}

/// Where the archived session of exactly this id lies.
pub(crate) fn archived(layout: &Layout, id: &str) -> Result<Option<PathBuf>> {
    let names = fs::list(&layout.archive())?;
    Ok(names.iter().rev().find(|name| owner(name) == Some(id)).map(|name| layout.archive().join(name)))
}

/// All archived sessions, the last ended first, and an error for each that cannot be read.
pub(crate) fn archive_list(layout: &Layout) -> Result<(Vec<Meta>, Vec<Error>)> {
    let (mut metas, mut errors) = (vec![], vec![]);
    for name in fs::list(&layout.archive())? {
        let Some(id) = owner(&name) else { continue };
        let path = layout.archive().join(&name);
        match fs::read_to_string(&path).map_err(Error::from).and_then(|text| parse(&path, id, &text)) {
            Ok(meta) => metas.push(meta),
            Err(error) => errors.push(error),
        }
    }
    metas.sort_by_cached_key(|m| std::cmp::Reverse(m.key(ENDED_AT).unwrap_or_default().to_owned()));
    Ok((metas, errors))
}

fn parse(path: &std::path::Path, id: &str, text: &str) -> Result<Meta> {
    Meta::parse(id, text).map_err(|what| Error::failed(format!("{}: not a session's metadata: {what}", path.display())))
}

/// Makes an archived session live again, marked as being restored. The move is one rename.
pub(crate) fn unarchive(layout: &Layout, id: &str) -> Result<Meta> {
    let Some(path) = archived(layout, id)? else {
        return Err(Error::failed(format!("no session {id} is archived")).hint("agents list --archived"));
    };
    let mut meta = parse(&path, id, &fs::read_to_string(&path)?)?;
    meta.set(UNDERWAY, "restore");
    fs::write_atomic(&path, meta.to_text().as_bytes(), 0o600)?;
    fs::rename(&path, &layout.session(id))?;
    Ok(meta)
}
