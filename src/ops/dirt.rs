//! Whether tracked files of a repository were changed.

use std::path::Path;

use agents::cli::{Error, Result};
use agents::os;
use gix::index::entry::{Flags, Mode, Stage};

/// Sizes and times beside the index's say so at once, in this thread; what they leave open the library decides.
pub fn is_changed(repository: &gix::Repository) -> Result<bool> {
    if is_untouched(repository).unwrap_or(false) {
        return Ok(false);
    }
    repository.is_dirty().map_err(|e| Error::failed(format!("{}: {e}", repository.git_dir().display())))
}

/// `None`, or false: not proven.
fn is_untouched(repository: &gix::Repository) -> Option<bool> {
    let work_tree = repository.workdir()?;
    let index = repository.index().ok()?;
    let staged = index.tree().filter(|t| t.num_entries.is_some())?;
    if staged.id != repository.head_tree_id().ok()? {
        return Some(false);
    }
    let (options, written) = (repository.stat_options().ok()?, index.timestamp());
    let told_apart = Flags::ASSUME_VALID | Flags::SKIP_WORKTREE | Flags::INTENT_TO_ADD;
    for entry in index.entries() {
        let is_file = matches!(entry.mode, Mode::FILE | Mode::FILE_EXECUTABLE);
        if !is_file || entry.stage() != Stage::Unconflicted || entry.flags.intersects(told_apart) {
            return Some(false);
        }
        let path = work_tree.join(gix::path::from_bstr(entry.path(&index)).ok()?);
        let found = gix::index::fs::Metadata::from_path_no_follow(&path).ok()?;
        let stat = gix::index::entry::Stat::from_fs(&found).ok()?;
        // The times may be too coarse to tell a change of mode right after the checkout.
        let same_mode = found.is_executable() == (entry.mode == Mode::FILE_EXECUTABLE);
        if !found.is_file() || !same_mode || !stat.matches(&entry.stat, options) {
            return Some(false);
        }
        // Written in the same moment as the index: only the content tells.
        if entry.stat.is_racy(written, options) && !holds(&path, entry.id) {
            return Some(false);
        }
    }
    Some(true)
}

fn holds(path: &Path, id: gix::ObjectId) -> bool {
    let hashed = |bytes: Vec<u8>| gix::objs::compute_hash(id.kind(), gix::objs::Kind::Blob, &bytes).ok();
    os::fs::read(path).ok().and_then(hashed).is_some_and(|found| found == id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, args: &[&str]) {
        let identity = ["-c", "user.name=a", "-c", "user.email=a@b"];
        assert!(Command::new("git").current_dir(folder).args(identity).args(args).status().unwrap().success(), "{args:?}");
    }

    #[test]
    fn every_change_of_a_tracked_file_is_seen_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        git(folder, &["init", "-q"]);
        for name in ["a", "b"] {
            std::fs::write(folder.join(name), "1234\n").unwrap();
        }
        git(folder, &["add", "."]);
        git(folder, &["commit", "-q", "-m", "start"]);
        let look = || is_changed(&gix::open(folder).unwrap()).unwrap();
        std::fs::write(folder.join("untracked"), "").unwrap();
        assert!(!look());
        let changes: [(&str, &[&str]); 6] = [
            ("same size, same moment", &["sh", "-c", "printf '4321\\n' >a"]),
            ("longer", &["sh", "-c", "echo more >>b"]),
            ("gone", &["rm", "a"]),
            ("executable", &["chmod", "+x", "a"]),
            ("a link", &["ln", "-sf", "b", "a"]),
            ("staged", &["sh", "-c", "echo staged >a; git add a"]),
        ];
        for (what, argv) in changes {
            git(folder, &["reset", "-q", "--hard"]);
            assert!(!look(), "before: {what}");
            assert!(Command::new(argv[0]).args(&argv[1..]).current_dir(folder).status().unwrap().success());
            assert!(look(), "{what}");
        }
        git(folder, &["reset", "-q", "--hard"]);
        git(folder, &["update-index", "--assume-unchanged", "a"]);
        assert!(!look());
    }
}
