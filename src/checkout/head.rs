//! What a repository's HEAD names, read from its few files: faster than opening the repository, and nothing of its configuration is read.

use std::path::{Path, PathBuf};

use agents::os::fs;
use gix::ObjectId;

/// Where HEAD stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    Branch {
        name: String,
        commit: ObjectId,
    },
    Detached(ObjectId),
    Unborn,
    /// Kept in a way that is not read here (reftable, or something odd): ask git's library.
    Other,
    /// No repository.
    None,
}

impl Head {
    pub fn commit(&self) -> Option<ObjectId> {
        match self {
            Head::Branch { commit, .. } | Head::Detached(commit) => Some(*commit),
            Head::Unborn | Head::Other | Head::None => None,
        }
    }
}

/// The git folder of the repository whose work tree is `folder`: `.git` itself, or what the file `.git` names.
pub fn git_folder(folder: &Path) -> Option<PathBuf> {
    let dot = folder.join(".git");
    match fs::look(&dot).ok()? {
        fs::Found::Folder { .. } => Some(dot),
        fs::Found::File { .. } => {
            let text = fs::read_to_string(&dot).ok()?;
            let path = text.strip_prefix("gitdir:")?.trim();
            Some(folder.join(path))
        }
        fs::Found::Nothing | fs::Found::Link | fs::Found::Other => None,
    }
}

/// What HEAD names in the repository whose work tree is `folder`.
pub fn read(folder: &Path) -> Head {
    git_folder(folder).map_or(Head::None, |git| read_in(&git))
}

fn read_in(git: &Path) -> Head {
    let Ok(Some(text)) = fs::read_if_there(&git.join("HEAD")) else { return Head::None };
    let text = text.trim();
    if let Ok(id) = ObjectId::from_hex(text.as_bytes()) {
        return Head::Detached(id);
    }
    let Some(name) = text.strip_prefix("ref:").map(str::trim) else { return Head::Other };
    // A name that could lead out of the folder, or the one that reftable repositories put here, is not followed.
    if !name.starts_with("refs/heads/") || name.contains("..") || name == "refs/heads/.invalid" {
        return Head::Other;
    }
    let branch = |commit| Head::Branch { name: name.trim_start_matches("refs/heads/").to_owned(), commit };
    match reference(&common_folder(git), name) {
        Ok(found) => found.map_or(Head::Unborn, branch),
        Err(Unread) => Head::Other,
    }
}

/// The reference stands there in a way that is not read here.
struct Unread;

impl From<std::io::Error> for Unread {
    fn from(_: std::io::Error) -> Unread {
        Unread
    }
}

fn reference(common: &Path, name: &str) -> Result<Option<ObjectId>, Unread> {
    if let Some(text) = fs::read_if_there(&common.join(name))? {
        return ObjectId::from_hex(text.trim().as_bytes()).map(Some).map_err(|_| Unread);
    }
    Ok(fs::read_if_there(&common.join("packed-refs"))?.and_then(|packed| packed_ref(&packed, name)))
}

/// The commit that a branch, here or of a remote, stands at in the repository with this git folder; `None` where it is not there or not read here.
pub fn commit_of(git: &Path, name: &str) -> Option<ObjectId> {
    let named = (name.starts_with("refs/heads/") || name.starts_with("refs/remotes/")) && !name.contains("..");
    if named { reference(git, name).ok().flatten() } else { None }
}

/// A linked worktree keeps its branches in the main repository.
fn common_folder(git: &Path) -> PathBuf {
    match fs::read_if_there(&git.join("commondir")) {
        Ok(Some(text)) => git.join(text.trim()),
        Ok(None) | Err(_) => git.to_path_buf(),
    }
}

fn packed_ref(packed: &str, name: &str) -> Option<ObjectId> {
    packed.lines().filter(|l| !l.starts_with(['#', '^'])).find_map(|line| {
        let (id, found) = line.split_once(' ')?;
        if found == name { ObjectId::from_hex(id.as_bytes()).ok() } else { None }
    })
}
