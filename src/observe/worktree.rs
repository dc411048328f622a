//! What is changed in one repository, as `git status` would count it: the index against HEAD, the work tree against the index.
//!
//! The quick way looks at each file once and asks git's library only where something is there that cannot be decided from names, sizes and times. The
//! library is asked for everything where the index holds anything unusual. Neither way runs a program or writes anything.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use agents::os::folder::{Folder, Kind, Stat};
use gix::bstr::{BStr, BString, ByteSlice};
use gix::dir::entry::Status;
use gix::dir::walk::{EmissionMode, delegate::Collect};
use gix::index::entry::{self, Flags, Mode};
use gix::index::{Entry, State};
use gix::status::plumbing::index_as_worktree::traits::{FastEq, SubmoduleStatus};
use gix::status::plumbing::index_as_worktree_with_renames as library;
use gix::{ObjectId, Repository};

/// How many paths are changed, and in which way. Submodules are listed, not counted: they are repositories of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The index differs from HEAD.
    pub staged: usize,
    /// The work tree differs from the index.
    pub modified: usize,
    /// Neither tracked nor ignored; a folder of such counts once.
    pub untracked: usize,
    /// Not merged.
    pub conflicts: usize,
    pub submodules: Vec<Submodule>,
}

/// What the index says of a submodule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    pub path: BString,
    pub commit: ObjectId,
}

type Outcome<T> = Result<T, String>;

fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Counts what is changed, `head` being HEAD's commit if there is one.
pub fn changes(repository: &Repository, head: Option<ObjectId>) -> Outcome<Changes> {
    count(repository, head, true)
}

/// The same from git's library alone: slower, and what the quick way is held against.
pub fn changes_by_library(repository: &Repository, head: Option<ObjectId>) -> Outcome<Changes> {
    count(repository, head, false)
}

fn count(repository: &Repository, head: Option<ObjectId>, quickly: bool) -> Outcome<Changes> {
    let index = repository.index_or_empty().map_err(said)?;
    let plain = is_plain(&index);
    let found = if quickly && plain { Walk::of(repository, &index)? } else { None };
    let mut changes = match found {
        Some(changes) => changes,
        None => worktree_by_library(repository, &index)?,
    };
    changes.staged = staged(repository, &index, head, quickly && plain)?;
    changes.submodules = submodules(&index);
    Ok(changes)
}

fn is_plain(index: &State) -> bool {
    let unusual = Flags::INTENT_TO_ADD | Flags::SKIP_WORKTREE | Flags::ASSUME_VALID;
    !index.is_sparse() && index.entries().iter().all(|e| e.stage_raw() == 0 && !e.flags.intersects(unusual))
}

/// Whether git has noted in the index that it is this tree, as it does as long as nothing has been added to it since.
fn is_tree(index: &State, tree: ObjectId) -> bool {
    index.tree().is_some_and(|t| t.num_entries.is_some() && t.id == tree)
}

fn submodules(index: &State) -> Vec<Submodule> {
    index.entries().iter().filter(|e| e.mode.is_submodule()).map(|e| Submodule { path: e.path(index).into(), commit: e.id }).collect()
}

/// [`changes`] of a repository with the settings that git makes one with, whose HEAD holds `tree`. It is opened only where something is not tracked, which
/// may be ignored. `None`: more has to be looked at.
pub fn changes_by_sight(folder: &Path, index: &gix::index::File, tree: ObjectId) -> Option<Changes> {
    if !is_plain(index) || !is_tree(index, tree) {
        return None;
    }
    let options = entry::stat::Options { trust_ctime: true, check_stat: true, use_nsec: true, use_stdev: false };
    let walk = Walk::over(folder, index, options, true)?;
    let untracked = if walk.unknown.is_empty() { 0 } else { walk.untracked(&super::git::open_at(folder).ok()?, index).ok()? };
    Some(Changes { modified: walk.modified, untracked, submodules: submodules(index), ..Changes::default() })
}

fn staged(repository: &Repository, index: &State, head: Option<ObjectId>, quickly: bool) -> Outcome<usize> {
    let tree = match head {
        Some(commit) => repository.find_commit(commit).map_err(said)?.tree_id().map_err(said)?.detach(),
        None => ObjectId::empty_tree(repository.object_hash()),
    };
    if quickly && is_tree(index, tree) {
        return Ok(0);
    }
    let mut count = 0;
    let conflicted = |path: &BStr| index.entry_range(path).is_some_and(|r| index.entries()[r].iter().any(|e| e.stage_raw() != 0));
    let promised = |path: &BStr| index.entry_by_path(path).is_some_and(|e| e.flags.contains(Flags::INTENT_TO_ADD));
    repository
        .tree_index_status(&tree, index, None, gix::status::tree_index::TrackRenames::Disabled, |change, _, _| {
            let path = change.fields().0;
            count += usize::from(!conflicted(path) && !promised(path));
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .map_err(said)?;
    Ok(count)
}

/// One walk over the tracked files and the folders that hold them.
struct Walk<'a> {
    index: &'a State,
    options: entry::stat::Options,
    executable_bit: bool,
    modified: usize,
    /// What is not tracked, and whether it is a folder.
    unknown: Vec<(BString, bool)>,
}

/// Something that names, sizes and times do not decide.
struct Undecided;

impl From<std::io::Error> for Undecided {
    fn from(_: std::io::Error) -> Undecided {
        Undecided
    }
}

impl<'a> Walk<'a> {
    /// `None`: the library has to look.
    fn of(repository: &Repository, index: &'a gix::index::File) -> Outcome<Option<Changes>> {
        let able = repository.filesystem_options().map_err(said)?;
        if able.ignore_case || able.precompose_unicode || !able.symlink {
            return Ok(None);
        }
        let options = entry::stat::Options { use_nsec: true, ..repository.stat_options().map_err(said)? };
        let found = repository.workdir().and_then(|folder| Walk::over(folder, index, options, able.executable_bit));
        let Some(walk) = found else { return Ok(None) };
        let untracked = walk.untracked(repository, index)?;
        Ok(Some(Changes { modified: walk.modified, untracked, ..Changes::default() }))
    }

    fn over(folder: &Path, index: &'a State, options: entry::stat::Options, executable_bit: bool) -> Option<Walk<'a>> {
        let mut walk = Walk { index, options, executable_bit, modified: 0, unknown: vec![] };
        let root = Folder::open(folder).ok()?;
        walk.folder(&root, 0..index.entries().len(), 0).ok()?;
        Some(walk)
    }

    /// `entries` are those below `folder`, whose path has `depth` bytes with the last slash.
    fn folder(&mut self, folder: &Folder, entries: Range<usize>, depth: usize) -> Result<(), Undecided> {
        let index = self.index;
        let mut known: Vec<&[u8]> = vec![];
        let mut at = entries.start;
        while at < entries.end {
            let entry = &index.entries()[at];
            let below: &'a [u8] = &entry.path(index)[depth..];
            let Some(slash) = below.find_byte(b'/') else {
                known.push(below);
                self.file(folder, entry, below)?;
                at += 1;
                continue;
            };
            let prefix = &entry.path(index)[..=depth + slash];
            let end = at + index.entries()[at..entries.end].partition_point(|e| e.path(index).starts_with(prefix));
            known.push(&below[..slash]);
            match folder.folder(&below[..slash])? {
                Some(inner) => self.folder(&inner, at..end, depth + slash + 1)?,
                None if folder.stat(&below[..slash])?.is_none() => {
                    self.modified += index.entries()[at..end].iter().filter(|e| !e.mode.is_submodule()).count();
                }
                None => return Err(Undecided),
            }
            at = end;
        }
        known.sort_unstable();
        let path = if entries.is_empty() { &[][..] } else { &index.entries()[entries.start].path(index)[..depth] };
        let unknown = &mut self.unknown;
        folder.each(|name, kind| {
            let repository = depth == 0 && name == b".git";
            if !repository && kind != Kind::Other && known.binary_search(&name).is_err() {
                unknown.push(([path, name].concat().into(), kind == Kind::Folder));
            }
        })?;
        Ok(())
    }

    fn file(&mut self, folder: &Folder, entry: &Entry, name: &[u8]) -> Result<(), Undecided> {
        let Some(stat) = folder.stat(name)? else {
            self.modified += usize::from(!entry.mode.is_submodule());
            return Ok(());
        };
        let expected = match entry.mode {
            Mode::COMMIT => Kind::Folder,
            Mode::SYMLINK => Kind::Link,
            Mode::FILE | Mode::FILE_EXECUTABLE => Kind::File,
            _ => return Err(Undecided),
        };
        if stat.kind != expected {
            return Err(Undecided);
        }
        if entry.mode.is_submodule() {
            return Ok(());
        }
        self.modified += usize::from(self.differs(entry, &stat)?);
        Ok(())
    }

    fn differs(&self, entry: &Entry, stat: &Stat) -> Result<bool, Undecided> {
        if self.executable_bit && stat.kind == Kind::File && (stat.mode & 0o100 != 0) != (entry.mode == Mode::FILE_EXECUTABLE) {
            return Ok(true);
        }
        // git records the low 32 bits of a size, and zero where it could not tell either.
        let (recorded, found) = (entry.stat.size, stat.size_bytes as u32);
        if recorded == 0 && (found != 0 || !entry.id.is_empty_blob()) {
            return Err(Undecided);
        }
        if recorded != found {
            return Ok(true);
        }
        let time = |(secs, nsecs): (i64, u32)| entry::stat::Time { secs: secs as u32, nsecs };
        let now = entry::Stat {
            mtime: time(stat.modified),
            ctime: time(stat.changed),
            dev: stat.device as u32,
            ino: stat.inode as u32,
            uid: stat.uid,
            gid: stat.gid,
            size: found,
        };
        // Written in the same moment as the index: it may have changed since without its times telling.
        let racy = entry.stat.is_racy(self.index.timestamp(), self.options);
        if now.matches(&entry.stat, self.options) && !racy { Ok(false) } else { Err(Undecided) }
    }

    /// How many of the unknown names are not ignored. A folder may hold only ignored files, or nothing: then the library walks.
    fn untracked(&self, repository: &Repository, index: &gix::index::File) -> Outcome<usize> {
        if self.unknown.is_empty() {
            return Ok(0);
        }
        let source = gix::worktree::stack::state::ignore::Source::WorktreeThenIdMappingIfNotSkipped;
        let mut excludes = repository.excludes(index, None, source).map_err(said)?;
        let mut count = 0;
        for (path, is_folder) in &self.unknown {
            let mode = if *is_folder { Mode::DIR } else { Mode::FILE };
            match (excludes.at_entry(path.as_bstr(), Some(mode)).map_err(said)?.is_excluded(), is_folder) {
                (true, _) => {}
                (false, false) => count += 1,
                (false, true) => return untracked_by_library(repository, index),
            }
        }
        Ok(count)
    }
}

/// The library's walk, with folders of nothing but untracked files as one. It takes a folder whose tracked files are all gone for such a one,
/// which git does not: then every file is looked at.
fn untracked_by_library(repository: &Repository, index: &State) -> Outcome<usize> {
    let found = walk(repository, index, EmissionMode::CollapseDirectory)?;
    if !found.iter().any(|path| index.path_is_directory(path.as_bstr())) {
        return Ok(found.iter().filter(|path| !is_tracked(index, path.as_bstr())).count());
    }
    let mut shown = BTreeSet::new();
    for path in walk(repository, index, EmissionMode::Matching)? {
        let folders = path.find_iter("/").map(|slash| path[..slash].as_bstr());
        let top = folders.chain([path.as_bstr()]).find(|part| !index.path_is_directory(part)).unwrap_or(path.as_bstr());
        if !is_tracked(index, top) {
            shown.insert(BString::from(top));
        }
    }
    Ok(shown.len())
}

/// A tracked file that has become a folder: git tells that the file is gone, and nothing of the folder.
fn is_tracked(index: &State, path: &BStr) -> bool {
    index.entry_range(path).is_some()
}

fn walk(repository: &Repository, index: &State, mode: EmissionMode) -> Outcome<Vec<BString>> {
    let mut found = Collect::default();
    let options = repository.dirwalk_options().map_err(said)?.emit_untracked(mode);
    repository.dirwalk(index, None::<&BStr>, &AtomicBool::new(false), options, &mut found).map_err(said)?;
    let entries = found.unorded_entries.into_iter().map(|(entry, _)| entry);
    let shown = |e: &gix::dir::Entry| e.status == Status::Untracked && e.disk_kind != Some(gix::dir::entry::Kind::Untrackable);
    Ok(entries.filter(shown).map(|e| e.rela_path).collect())
}

/// Submodules are somebody else's to look at.
#[derive(Clone)]
struct NoSubmodules;

impl SubmoduleStatus for NoSubmodules {
    type Output = ();

    fn status(&mut self, _: &Entry, _: &BStr) -> gix::Result<Option<()>> {
        Ok(None)
    }
}

impl<'index> library::VisitEntry<'index> for Changes {
    type ContentChange = ();
    type SubmoduleStatus = ();

    fn visit_entry(&mut self, entry: library::Entry<'index, (), ()>) {
        use library::Summary;
        if matches!(&entry, library::Entry::Modification { entry, .. } if entry.mode.is_submodule()) {
            return;
        }
        match entry.summary() {
            Some(Summary::Conflict) => self.conflicts += 1,
            Some(_) => self.modified += 1,
            None => {}
        }
    }
}

fn worktree_by_library(repository: &Repository, index: &State) -> Outcome<Changes> {
    let mut changes = Changes::default();
    let options = gix::status::index_worktree::Options {
        sorting: None,
        dirwalk_options: None,
        rewrites: None,
        // One thread a project is quicker than several, as there are many projects.
        thread_limit: Some(1),
    };
    repository
        .index_worktree_status(
            index,
            None::<&BStr>,
            &mut changes,
            FastEq,
            NoSubmodules,
            &mut gix::progress::Discard,
            &AtomicBool::new(false),
            options,
        )
        .map_err(said)?;
    changes.untracked = untracked_by_library(repository, index)?;
    Ok(changes)
}
