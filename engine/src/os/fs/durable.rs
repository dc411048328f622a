//! What has to outlive a loss of power: written, and on the disk before anybody is told.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{at, beside, parent};

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
    let mut batch = Batch { aside, mode, beside: vec![] };
    if files.len() > SYNC_ONE_BY_ONE_MAX { batch.write_many(files) } else { batch.write_few(files) }
}

/// Up to this many files are synced one by one; for more, one sync of the filesystem is cheaper (measured: about 1 ms each on ext4).
const SYNC_ONE_BY_ONE_MAX: usize = 4;

/// Files that were written beside the ones that they are to replace. Dropped, it removes what was not renamed.
struct Batch<'a> {
    aside: Option<&'a Path>,
    mode: u32,
    /// What it is called until then, and what it is to replace.
    beside: Vec<(PathBuf, &'a Path)>,
}

impl<'a> Batch<'a> {
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
        sync_filesystem(parent(first))
    }

    fn write(&mut self, path: &'a Path, bytes: &[u8]) -> io::Result<File> {
        let beside = beside(path);
        let beside = self.aside.map_or(beside.clone(), |a| a.join(beside.file_name().unwrap_or_default()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(self.mode).open(&beside).map_err(|e| at(path, e))?;
        self.beside.push((beside, path));
        file.write_all(bytes).and_then(|()| file.set_permissions(fs::Permissions::from_mode(self.mode))).map_err(|e| at(path, e))?;
        Ok(file)
    }

    fn rename(&mut self) -> io::Result<()> {
        self.beside.iter().try_for_each(|(beside, path)| fs::rename(beside, path).map_err(|e| at(path, e)))?;
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
