//! What has to outlive a loss of power: written, and on the disk before anybody is told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{NOFOLLOW, at, beside, parent};

/// Replaces a file of record: its bytes are written beside and brought to the disk, renamed over it, and the new name is made durable. After an error the
/// file is the old one or the new one, whole. A symlink at `path` is replaced, not followed. `mode` is that of the new file, for example `0o600`.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_batch(&[(path.to_path_buf(), bytes.to_vec())], mode)
}

/// [`write_atomic`] for many files at about the price of one: each is old or new, and when this returns all are new and durable.
pub fn write_batch(files: &[(PathBuf, Vec<u8>)], mode: u32) -> io::Result<()> {
    write_batch_from(None, files, mode)
}

/// [`write_batch`], the files written in the folder `aside` of the same filesystem first: who watches their own folder sees only whole ones.
pub fn write_batch_from(aside: Option<&Path>, files: &[(PathBuf, Vec<u8>)], mode: u32) -> io::Result<()> {
    Batch { aside, spares: None, mode, beside: vec![] }.write_all(files)
}

/// [`write_batch`] for files that are many and are written again and again: those in the folder `of` change places with the files that they replace,
/// which are kept as spares and written anew the next time. To create and to remove a hundred files is most of what writing them costs.
pub fn write_batch_sparing(spares: &Path, of: &Path, files: &[(PathBuf, Vec<u8>)], mode: u32) -> io::Result<()> {
    // Few are synced one by one, which costs more than their inodes.
    let spares = (files.len() > SYNC_ONE_BY_ONE_MAX).then(|| Spares::of(spares, of));
    Batch { aside: None, spares, mode, beside: vec![] }.write_all(files)
}

/// Up to this many files are synced one by one; for more, one sync of the filesystem is cheaper (measured: about 1 ms each on ext4).
const SYNC_ONE_BY_ONE_MAX: usize = 4;

/// Files that were written beside the ones that they are to replace. Dropped, it removes what was not renamed.
struct Batch<'a> {
    aside: Option<&'a Path>,
    spares: Option<Spares<'a>>,
    mode: u32,
    /// What it is called until then, and what it is to replace.
    beside: Vec<(PathBuf, &'a Path)>,
}

/// Files whose names nobody uses any more. One comes here only once it is durable that it was replaced: until then a loss of power may bring it back.
struct Spares<'a> {
    folder: &'a Path,
    of: &'a Path,
    free: Vec<String>,
    /// What was replaced and is still called like a file that is being written.
    replaced: Vec<PathBuf>,
}

impl<'a> Spares<'a> {
    fn of(folder: &'a Path, of: &'a Path) -> Spares<'a> {
        // Without them all is the same, only slower.
        let free = super::list(folder).unwrap_or_default().into_iter().filter(|name| !name.starts_with('.')).collect();
        Spares { folder, of, free, replaced: vec![] }
    }

    /// One of them under this name, to be written for `path`; false: there is none.
    fn take(&mut self, path: &Path, name: &Path) -> bool {
        if parent(path) != self.of {
            return false;
        }
        while let Some(spare) = self.free.pop() {
            let spare = self.folder.join(spare);
            // Another may take it first.
            if is_plain(&spare) && fs::rename(&spare, name).is_ok() {
                return true;
            }
        }
        false
    }

    /// Puts one in the place of the other, whose name it gets. False: that is not to be had here, or there is no other.
    fn exchange(&mut self, new: &Path, path: &Path) -> bool {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let exchanged = parent(path) == self.of && is_plain(path) && renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE).is_ok();
        if exchanged {
            self.replaced.push(new.to_path_buf());
        }
        exchanged
    }

    /// Keeps what was replaced. What cannot be kept is removed.
    fn keep(self) {
        for old in self.replaced {
            let name = old.file_name().unwrap_or_default().to_string_lossy();
            let kept = self.folder.join(name.trim_start_matches('.').trim_end_matches(".tmp"));
            if fs::rename(&old, &kept).is_err() && super::private_dir(self.folder).and_then(|()| fs::rename(&old, &kept)).is_err() {
                let _ = fs::remove_file(&old);
            }
        }
    }
}

/// Neither a link nor a folder, which would change places just as well.
fn is_plain(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.is_file())
}

impl<'a> Batch<'a> {
    fn write_all(mut self, files: &'a [(PathBuf, Vec<u8>)]) -> io::Result<()> {
        if files.len() > SYNC_ONE_BY_ONE_MAX { self.write_many(files) } else { self.write_few(files) }
    }

    fn write_few(&mut self, files: &'a [(PathBuf, Vec<u8>)]) -> io::Result<()> {
        let mut open = vec![];
        for (path, bytes) in files {
            let file = self.write(path, bytes)?;
            let named = syncs_its_name(&file);
            if named { write_out(&file) } else { file.sync_all() }.map_err(|e| at(path, e))?;
            open.push((path, file, named));
        }
        self.rename()?;
        open.into_iter()
            .try_for_each(|(path, file, named)| if named { file.sync_all().map_err(|e| at(path, e)) } else { sync_dir(parent(path)) })
    }

    fn write_many(&mut self, files: &'a [(PathBuf, Vec<u8>)]) -> io::Result<()> {
        let Some((first, _)) = files.first() else { return Ok(()) };
        files.iter().try_for_each(|(path, bytes)| self.write(path, bytes).map(drop))?;
        sync_filesystem(parent(first))?;
        self.rename()?;
        sync_filesystem(parent(first))?;
        if let Some(spares) = self.spares.take() {
            spares.keep();
        }
        Ok(())
    }

    fn write(&mut self, path: &'a Path, bytes: &[u8]) -> io::Result<File> {
        let beside = beside(path);
        let beside = self.aside.map_or(beside.clone(), |a| a.join(beside.file_name().unwrap_or_default()));
        let spared = self.spares.as_mut().is_some_and(|spares| spares.take(path, &beside));
        let mut options = OpenOptions::new();
        options.write(true).create_new(!spared).mode(self.mode).custom_flags(NOFOLLOW);
        let opened = options.open(&beside).map_err(|e| at(path, e));
        self.beside.push((beside, path));
        let mut file = opened?;
        file.write_all(bytes)
            .and_then(|()| if spared { file.set_len(bytes.len() as u64) } else { Ok(()) })
            .and_then(|()| file.set_permissions(fs::Permissions::from_mode(self.mode)))
            .map_err(|e| at(path, e))?;
        Ok(file)
    }

    fn rename(&mut self) -> io::Result<()> {
        for (beside, path) in &self.beside {
            if !self.spares.as_mut().is_some_and(|spares| spares.exchange(beside, path)) {
                fs::rename(beside, path).map_err(|e| at(path, e))?;
            }
        }
        self.beside.clear();
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for (beside, _) in &self.beside {
            let _ = fs::remove_file(beside);
        }
    }
}

/// Whether who syncs a file has made durable what it is called by then. So it is where a rename changes the file's own record and a journal keeps the order
/// of what was done: one sync is then enough, of the renamed file. Elsewhere the bytes are synced first and their folder after the rename.
fn syncs_its_name(file: &File) -> bool {
    const EXT: u32 = 0xEF53;
    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683E;
    let kind = rustix::fs::fstatfs(file).ok().and_then(|about| u32::try_from(about.f_type).ok());
    kind.is_some_and(|kind| [EXT, XFS, BTRFS].contains(&kind))
}

/// Brings a file's bytes to the disk, and waits for that, but not for what the filesystem notes of them: that comes with whatever is synced next. A rename
/// after this can therefore never become durable before the bytes do.
fn write_out(file: &File) -> io::Result<()> {
    const ALL: libc::c_uint = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the call takes a descriptor that is open, and no memory.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, ALL) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes what happened to names in a folder durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|d| d.sync_all()).map_err(|e| at(path, e))
}

/// Makes a file's bytes durable.
pub fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(|e| at(path, e))
}

/// Makes everything written so far to the filesystem that holds `path` durable: for many files cheaper than each alone.
pub fn sync_filesystem(path: &Path) -> io::Result<()> {
    let folder = File::open(path).map_err(|e| at(path, e))?;
    rustix::fs::syncfs(&folder).map_err(|e| at(path, e.into()))
}

/// Appends in one write and makes it durable. The file must exist.
pub fn append_durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path).map_err(|e| at(path, e))?;
    file.write_all(bytes).and_then(|()| file.sync_data()).map_err(|e| at(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(folder: &Path) -> Vec<(String, String)> {
        let names = super::super::list(folder).unwrap();
        names.into_iter().map(|n| (n.clone(), fs::read_to_string(folder.join(n)).unwrap())).collect()
    }

    #[test]
    fn files_that_are_written_again_change_places_with_spares() {
        let folder = tempfile::tempdir().unwrap();
        let (of, spares, other) = (folder.path().join("of"), folder.path().join("spares"), folder.path().join("other"));
        fs::create_dir(&of).unwrap();
        let inodes = |of: &Path| -> std::collections::BTreeSet<u64> {
            use std::os::unix::fs::MetadataExt;
            fs::read_dir(of).unwrap().map(|e| e.unwrap().metadata().unwrap().ino()).collect()
        };
        let batch = |text: &str| -> Vec<(PathBuf, Vec<u8>)> {
            (0..10).map(|n| (of.join(n.to_string()), text.repeat(1 + n % 3).into_bytes())).chain([(other.clone(), text.into())]).collect()
        };
        let is = |text: &str| all(&of).iter().all(|(n, t)| *t == text.repeat(1 + n.parse::<usize>().unwrap() % 3)) && all(&of).len() == 10;
        write_batch_sparing(&spares, &of, &batch("a long text\n"), 0o600).unwrap();
        assert!(is("a long text\n") && !spares.exists());
        let first = inodes(&of);
        write_batch_sparing(&spares, &of, &batch("other\n"), 0o600).unwrap();
        assert!(is("other\n") && inodes(&spares) == first);
        let second = inodes(&of);
        write_batch_sparing(&spares, &of, &batch("third\n"), 0o600).unwrap();
        assert!(is("third\n") && inodes(&of) == first && inodes(&spares) == second);
        assert_eq!(fs::read_to_string(&other).unwrap(), "third\n");
        // What is none of ours there is left alone, and a link in a file's place is replaced as ever.
        fs::remove_file(of.join("7")).unwrap();
        std::os::unix::fs::symlink(&other, of.join("7")).unwrap();
        std::os::unix::fs::symlink(&other, spares.join("link")).unwrap();
        fs::create_dir(spares.join("folder")).unwrap();
        write_batch_sparing(&spares, &of, &batch("again\n"), 0o600).unwrap();
        assert!(is("again\n") && is_plain(&of.join("7")));
        assert_eq!(fs::read_to_string(&other).unwrap(), "again\n");
        assert!(fs::read_link(spares.join("link")).is_ok() && spares.join("folder").is_dir());
        fs::remove_file(spares.join("link")).unwrap();
        fs::remove_dir(spares.join("folder")).unwrap();
        write_batch_sparing(&spares, &of, &batch("third\n"), 0o600).unwrap();
        // One that cannot be written: the others are as they were, and nothing is left beside them.
        fs::create_dir(of.join("x")).unwrap();
        let mut wrong = batch("fourth\n");
        wrong.insert(5, (of.join("none/y"), vec![]));
        assert!(write_batch_sparing(&spares, &of, &wrong, 0o600).is_err());
        fs::remove_dir(of.join("x")).unwrap();
        assert!(is("third\n"));
        assert_eq!(super::super::list(folder.path()).unwrap(), ["of", "other", "spares"]);
        write_batch_sparing(&spares, &of, &batch("fifth\n"), 0o600).unwrap();
        assert!(is("fifth\n") && all(&spares).len() >= 9);
        let kept = all(&spares).len();
        // A few are written as ever.
        write_batch_sparing(&spares, &of, &[(of.join("1"), b"few\n".to_vec())], 0o600).unwrap();
        assert_eq!((fs::read_to_string(of.join("1")).unwrap().as_str(), all(&spares).len()), ("few\n", kept));
    }
}
