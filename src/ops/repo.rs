//! A project's repository: how it stands (read with gix), and its engine put in place.

use std::path::{Path, PathBuf};

use agents::cli::{Error, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os::{self, fs::Found, git::Git, lock::Lock};
use gix::ObjectId;

use crate::harness::submodule::{OWN_URL, gitmodules, pin_in};
use crate::harness::{Mirror, Resolved};

/// The branch that carries the engine's commits in a project whose harness has no URL.
pub const CARRIER: &str = "refs/heads/engine";

/// How a project's repository stands, as far as its pin is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The branch that HEAD names; `None`: it names a commit.
    pub branch: Option<String>,
    pub head: ObjectId,
    /// What HEAD's tree records for `engine`.
    pub pin: Option<ObjectId>,
    /// What the index records for it.
    pub staged: Option<ObjectId>,
    /// A merge, rebase or the like that is not finished.
    pub busy: Option<String>,
    /// What is checked out; `None`: the engine is not initialised.
    pub engine: Option<ObjectId>,
    /// Whether tracked files of the engine were changed.
    pub engine_dirty: bool,
    /// The engine's own git folder.
    pub engine_git: Option<PathBuf>,
    pub git: PathBuf,
    /// Where the branch that carries the engine stands.
    pub carrier: Option<ObjectId>,
}

fn wrong(folder: &Path, error: impl std::fmt::Display) -> Error {
    Error::failed(format!("{}: {error}", folder.display()))
}

/// Opens a project's repository; the folder itself must be one.
pub fn open(folder: &Path) -> Result<gix::Repository> {
    if !os::fs::is_dir(folder) {
        let found = if os::fs::look(folder)? == Found::Nothing { "is not there" } else { "is no folder" };
        return Err(Error::failed(format!("{} {found}", folder.display())));
    }
    if os::fs::look(&folder.join(".git"))? == Found::Nothing && os::fs::look(&folder.join("HEAD"))? == Found::Nothing {
        return Err(wrong(folder, "expected a git repository, found a folder without `.git`").hint("git init there, or name its root"));
    }
    gix::open(folder).map_err(|e| wrong(folder, e))
}

/// Looks, and changes nothing.
pub fn look(folder: &Path) -> Result<Look> {
    let repository = open(folder)?;
    let what = |e: &dyn std::fmt::Display| wrong(folder, e);
    let mut head = repository.head().map_err(|e| what(&e))?;
    let branch = head.referent_name().map(|n| n.shorten().to_string());
    let commit = head.peel_to_commit().map_err(|_| wrong(folder, "there is no commit yet").hint("commit something first"))?;
    let tree = commit.tree().map_err(|e| what(&e))?;
    let index = repository.index_or_empty().map_err(|e| what(&e))?;
    let staged = index.entry_by_path(ENGINE_FOLDER.into()).filter(|e| e.mode == gix::index::entry::Mode::COMMIT).map(|e| e.id);
    let engine_folder = folder.join(ENGINE_FOLDER);
    if os::fs::look(&engine_folder)? == Found::Link {
        return Err(wrong(&engine_folder, "is a symlink; expected the folder of a git submodule"));
    }
    let (mut engine, mut engine_dirty, mut engine_git) = (None, false, None);
    if os::fs::look(&engine_folder.join(".git"))? != Found::Nothing {
        // The filters that its own configuration names are not run: it may be anybody's.
        let options = gix::open::Options::default().with(gix::sec::Trust::Reduced);
        let inner = gix::open_opts(&engine_folder, options).map_err(|e| wrong(&engine_folder, e))?;
        engine = inner.head_id().ok().map(gix::Id::detach);
        engine_dirty = super::dirt::is_changed(&inner)?;
        engine_git = Some(inner.git_dir().to_path_buf());
    }
    let carrier = repository.try_find_reference(CARRIER).ok().flatten().and_then(|r| r.try_id().map(gix::Id::detach));
    Ok(Look {
        branch,
        head: commit.id,
        pin: pin_in(&tree),
        staged,
        busy: repository.state().map(|s| format!("{s:?}").to_lowercase()),
        engine,
        engine_dirty,
        engine_git,
        git: repository.git_dir().to_path_buf(),
        carrier,
    })
}

/// Refuses a project whose `.gitmodules` is not what we would have written: exactly one submodule `engine` at `engine`, from where the registry says.
pub fn check_gitmodules(folder: &Path, mirror: &Mirror) -> Result<()> {
    let found = gitmodules(folder)?;
    let expected = engine_url(mirror);
    match same_url(&found, expected) {
        true => Ok(()),
        false => Err(wrong(&folder.join(".gitmodules"), format!("the engine's url is {found}, the registry says {expected}"))
            .hint("correct the one that is wrong, commit, then: git submodule sync engine")),
    }
}

/// Whether two URLs are written for the same repository.
pub fn same_url(a: &str, b: &str) -> bool {
    let plain = |url: &str| url.trim_end_matches('/').trim_end_matches(".git").trim_start_matches("file://").to_owned();
    plain(a) == plain(b)
}

/// The URL that `.gitmodules` and the engine's own configuration name.
pub fn engine_url(mirror: &Mirror) -> &str {
    mirror.url.as_deref().unwrap_or(OWN_URL)
}

/// Puts an engine into a project that has none checked out: git folder under `.git/modules`, objects, work tree. `engine/` must be empty or absent.
pub fn place_engine(folder: &Path, git_folder: &Path, mirror: &Mirror, target: &Resolved, lock: &Lock) -> Result<()> {
    prepare_engine(folder, git_folder, mirror, target)?;
    fill_engine(folder, lock)
}

/// The first half: all but the files. From now on git sees the submodule at its commit.
pub fn prepare_engine(folder: &Path, git_folder: &Path, mirror: &Mirror, target: &Resolved) -> Result<()> {
    let module = git_folder.join("modules").join(ENGINE_FOLDER);
    for below in ["objects/pack", "objects/info", "refs/heads", "refs/tags"] {
        os::fs::create_dirs(&module.join(below))?;
    }
    mirror.share(&module.join("objects"), target.commit)?;
    // From inside `engine/`, the project's own repository is one folder up, wherever it is moved to.
    let (url, refspec) = match mirror.url.as_deref() {
        Some(url) => (url, "+refs/heads/*:refs/remotes/origin/*"),
        None => ("..", "+refs/heads/engine:refs/remotes/origin/engine"),
    };
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n\tworktree = ../../../{ENGINE_FOLDER}\n\
         [remote \"origin\"]\n\turl = {}\n\tfetch = {refspec}\n",
        quoted(url)
    );
    write(&module.join("config"), config.as_bytes())?;
    if target.is_tag {
        tag_in(&module, target)?;
    }
    write(&module.join("HEAD"), format!("{}\n", target.commit).as_bytes())?;
    let engine = folder.join(ENGINE_FOLDER);
    os::fs::create_dirs(&engine)?;
    write(&engine.join(".git"), format!("gitdir: ../.git/modules/{ENGINE_FOLDER}\n").as_bytes())
}

/// The second half: the files.
pub fn fill_engine(folder: &Path, lock: &Lock) -> Result<()> {
    Git::at(&folder.join(ENGINE_FOLDER)).without_hooks().holding(lock).run(&["reset", "--quiet", "--hard"]).map(drop)
}

/// A new file in a place that is only renamed or looked at when it is whole: neither atomic nor synced.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    os::fs::remove_file(path)?;
    Ok(os::fs::write_new(path, bytes, 0o644)?)
}

/// Lets the engine's repository know the tag, so that `git describe` in it says what is checked out.
pub fn tag_in(module: &Path, target: &Resolved) -> Result<()> {
    let path = module.join("refs/tags").join(&target.reference);
    let above = path.parent().unwrap_or(module);
    os::fs::create_dirs(above)?;
    // Made durable with everything else, at the end of the operation; a power loss before that is settled by `mend_tag`.
    let aside = above.join(format!(".{}.tmp", std::process::id()));
    write(&aside, format!("{}\n", target.commit).as_bytes())?;
    Ok(os::fs::rename(&aside, &path)?)
}

/// Removes a tag whose file lost its content with the power: git would stumble over it.
pub fn mend_tag(module: &Path, reference: &str) -> Result<()> {
    let path = module.join("refs/tags").join(reference);
    match matches!(os::fs::look(&path)?, Found::File { size_bytes, .. } if size_bytes < 40) {
        true => Ok(os::fs::remove_file(&path)?),
        false => Ok(()),
    }
}

/// A value for git's configuration files.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Lines for a project's `.git/config` that say its engine is in use. No path of this machine.
pub fn submodule_config(mirror: &Mirror) -> String {
    let url = mirror.url.as_deref().map(|url| format!("\turl = {}\n", quoted(url))).unwrap_or_default();
    format!("[submodule \"{ENGINE_FOLDER}\"]\n\tactive = true\n{url}")
}
