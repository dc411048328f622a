//! How a project's repository stands, read from its few files without opening it: as [`super::git`] tells it, for repositories that are as plain as most.
//!
//! Whatever is not plain (a setting that is not known here, an unfinished merge, an index that differs from HEAD, a file that its times do not tell about)
//! is left to git's library: there is no answer then, and never another one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use agents::contract::layout::ENGINE_FOLDER;
use agents::os::folder::Folder;
use agents::os::{env, fs};
use gix::ObjectId;
use gix::bstr::ByteSlice;
use gix::config::{File, Source};

use super::git;
use super::report::{EngineState, GitReport};
use super::worktree::{self, Changes};
use crate::checkout::head::{self, Head};
use crate::harness::mirror::version;

/// Names in a repository's own folder that tell of something unfinished, or of a way to keep things that is not read here.
const ODD: &[&[u8]] = &[
    b"MERGE_HEAD",
    b"CHERRY_PICK_HEAD",
    b"REVERT_HEAD",
    b"BISECT_LOG",
    b"rebase-apply",
    b"rebase-merge",
    b"sequencer",
    b"commondir",
    b"config.worktree",
    b"reftable",
];

/// Settings of a repository's own that change nothing here, whatever they say.
const HARMLESS: &[&str] = &["remote", "branch", "submodule", "user"];

/// Settings in `core` by which files are looked at; where they come from outside, repositories are not plain.
const LOOKING: &[&str] =
    &["filemode", "ignorecase", "precomposeunicode", "symlinks", "trustctime", "checkstat", "worktree", "bare", "repositoryformatversion"];

/// Variables that point git elsewhere.
const POINTING: &[&str] = &["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_CONFIG_COUNT", "GIT_CONFIG_PARAMETERS"];

/// Which tree a commit holds. That never changes, so it is kept from one look to the next.
#[derive(Debug, Default)]
pub struct Trees {
    known: HashMap<ObjectId, ObjectId>,
    fresh: Mutex<HashMap<ObjectId, ObjectId>>,
}

impl Trees {
    /// As kept in this file: a commit and its tree a line. Without it, none are known.
    pub fn load(file: &Path) -> Trees {
        let text = fs::read_if_there(file).ok().flatten().unwrap_or_default();
        let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).ok();
        let known = text.lines().filter_map(|l| l.split_once(' ')).filter_map(|(commit, tree)| Some((id(commit)?, id(tree)?)));
        Trees { known: known.collect(), fresh: Mutex::default() }
    }

    /// What was learned, as lines for the file.
    pub fn learned(self) -> String {
        let fresh = self.fresh.into_inner().unwrap_or_default();
        fresh.iter().map(|(commit, tree)| format!("{commit} {tree}\n")).collect()
    }

    /// Notes the tree of a repository's commit, where that is news.
    pub fn learn(&self, repository: &gix::Repository, commit: ObjectId) {
        if self.known.contains_key(&commit) || self.fresh.lock().is_ok_and(|fresh| fresh.contains_key(&commit)) {
            return;
        }
        let tree = repository.find_commit(commit).ok().and_then(|c| c.tree_id().ok().map(gix::Id::detach));
        if let (Some(tree), Ok(mut fresh)) = (tree, self.fresh.lock()) {
            fresh.insert(commit, tree);
        }
    }
}

/// Looks at the repository in `folder` as [`git::look`] does; `None`: it is not plain enough.
pub fn look(folder: &Path, pin: Option<ObjectId>, name: &impl Fn(ObjectId) -> Option<String>, trees: &Trees) -> Option<GitReport> {
    if !is_ordinary() {
        return None;
    }
    let (branch, commit) = match head::read(folder) {
        Head::Branch { name, commit } => (Some(name), commit),
        Head::Detached(commit) => (None, commit),
        Head::Unborn | Head::Other | Head::None => return None,
    };
    let mut report = GitReport { detached: branch.is_none(), tag: pin.and_then(name), ..GitReport::default() };
    let own = Plain::open(folder)?;
    if let Some(branch) = &branch {
        own.upstream(&mut report, branch, commit)?;
    }
    report.branch = branch;
    if let Some(pin) = pin {
        engine(&mut report, &folder.join(ENGINE_FOLDER), pin, name, trees)?;
    }
    let changes = own.changes(commit, trees)?;
    (report.modified, report.untracked) = (changes.modified + git::changed_submodules(folder, &changes).ok()?, changes.untracked);
    Some(report)
}

fn engine(report: &mut GitReport, folder: &Path, pin: ObjectId, name: &impl Fn(ObjectId) -> Option<String>, trees: &Trees) -> Option<()> {
    let head = head::read(folder);
    report.engine.state = EngineState::Uninitialised;
    if head == Head::None {
        return Some(());
    }
    let commit = head.commit()?;
    let own = Plain::open(folder)?;
    let engine = &mut report.engine;
    engine.state = if commit == pin { EngineState::Ok } else { EngineState::Drifted };
    engine.commit = Some(commit.to_string());
    if report.tag.is_none() {
        report.tag = own.tag_of(pin)?;
    }
    engine.tag = if commit == pin { report.tag.clone() } else { name(commit).map_or_else(|| own.tag_of(commit), |n| Some(Some(n)))? };
    let changes = own.changes(commit, trees)?;
    (engine.modified, engine.untracked) = (changes.modified, changes.untracked);
    Some(())
}

/// A repository with nothing unusual in it.
struct Plain<'a> {
    folder: &'a Path,
    git: PathBuf,
    settings: File,
}

impl<'a> Plain<'a> {
    fn open(folder: &'a Path) -> Option<Plain<'a>> {
        let git = head::git_folder(folder)?;
        let mut odd = false;
        let see = |name: &[u8], _| odd |= ODD.contains(&name) || name.starts_with(b"sharedindex");
        Folder::open(&git).ok()?.each(see).ok()?;
        let settings = if odd { None } else { settings(&git.join("config"), Source::Local) }?;
        let plain = Plain { folder, git, settings };
        plain.is_plain().then_some(plain)
    }

    fn is_plain(&self) -> bool {
        self.settings.sections().all(|section| {
            let name = section.header().name().to_str_lossy().to_ascii_lowercase();
            let core = |key: String| match (key.to_ascii_lowercase().as_str(), section.value(&key)) {
                ("repositoryformatversion", Some(value)) => value == "0",
                ("filemode", Some(value)) => value == "true",
                ("bare", Some(value)) => value == "false",
                ("worktree", Some(value)) => self.is_own(&value.to_str_lossy()),
                ("logallrefupdates", _) => true,
                _ => false,
            };
            HARMLESS.contains(&name.as_str()) || (name == "core" && section.value_names().all(core))
        })
    }

    /// Whether the work tree that the settings name is the folder that was asked about.
    fn is_own(&self, worktree: &str) -> bool {
        fs::is_same(&self.git.join(worktree), self.folder).unwrap_or(false)
    }

    /// Where the branch it follows stands elsewhere, commits have to be counted.
    fn upstream(&self, report: &mut GitReport, branch: &str, commit: ObjectId) -> Option<()> {
        let Some(name) = git::tracked(&self.settings, branch) else { return Some(()) };
        if head::commit_of(&self.git, &name)? != commit {
            return None;
        }
        report.upstream = Some(git::short(&name).to_owned());
        (report.ahead, report.behind) = (Some(0), Some(0));
        Some(())
    }

    /// The tag that names a commit, the highest version of several, where all tags are packed: then what an annotated one means is written beside it.
    fn tag_of(&self, commit: ObjectId) -> Option<Option<String>> {
        let mut loose = false;
        if let Ok(folder) = Folder::open(&self.git.join("refs/tags")) {
            folder.each(|_, _| loose = true).ok()?;
        }
        if loose {
            return None;
        }
        let packed = fs::read_if_there(&self.git.join("packed-refs")).ok()?.unwrap_or_default();
        let Some((header, lines)) = packed.split_once('\n') else { return Some(None) };
        if !(header.starts_with("# pack-refs with:") && header.contains(" fully-peeled ")) {
            return None;
        }
        let hex = commit.to_string();
        let (mut tags, mut last) = (vec![], None);
        for line in lines.lines() {
            match (line.strip_prefix('^'), line.split_once(' ')) {
                (Some(means), _) if means == hex => tags.extend(last),
                (None, Some((id, name))) => {
                    last = name.strip_prefix("refs/tags/");
                    tags.extend(last.filter(|_| id == hex));
                }
                (Some(_), _) | (None, None) => {}
            }
        }
        Some(tags.into_iter().max_by_key(|t| version(t)).map(str::to_owned))
    }

    fn changes(&self, commit: ObjectId, trees: &Trees) -> Option<Changes> {
        let tree = trees.known.get(&commit)?;
        // The checksum is git's concern when it writes: it looks at it no more than we do.
        let options = gix::index::decode::Options { thread_limit: Some(1), ..Default::default() };
        let index = gix::index::File::at(self.git.join("index"), gix::hash::Kind::Sha1, true, options).ok()?;
        worktree::changes_by_sight(self.folder, &index, *tree)
    }
}

fn settings(file: &Path, source: Source) -> Option<File> {
    let text = fs::read_if_there(file).ok()??;
    File::from_bytes_no_includes(text.as_bytes(), gix::config::file::Metadata::from(source), Default::default()).ok()
}

/// Whether nothing outside the repositories changes how they are looked at.
pub fn is_ordinary() -> bool {
    static ORDINARY: OnceLock<bool> = OnceLock::new();
    *ORDINARY.get_or_init(|| {
        let tame = |file: PathBuf, source| match fs::read_if_there(&file) {
            Ok(None) => true,
            Ok(Some(_)) => settings(&file, source).is_some_and(|settings| settings.sections().all(|s| is_tame(&s))),
            Err(_) => false,
        };
        let mut variable = |name: &str| env::text(name).map(OsString::from);
        let sources = [Source::System, Source::Git, Source::User];
        POINTING.iter().all(|name| env::text(name).is_none())
            && sources.into_iter().filter_map(|s| Some((s.storage_location(&mut variable)?, s))).all(|(file, source)| tame(file, source))
    })
}

fn is_tame(section: &gix::config::file::SectionRef<'_>) -> bool {
    match section.header().name().to_str_lossy().to_ascii_lowercase().as_str() {
        "core" => !section.value_names().any(|key| LOOKING.contains(&key.to_ascii_lowercase().as_str())),
        "include" | "includeif" | "branch" | "remote" | "extensions" | "index" | "status" | "url" => false,
        _ => true,
    }
}
