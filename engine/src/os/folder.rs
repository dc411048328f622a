//! Folders looked at through their descriptors: where thousands of files are looked at, each costs one system call and no walk along its path.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, openat, statat};

use super::fs::at;

/// What stands behind a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link,
    /// A pipe, a socket, a device.
    Other,
}

/// What the kernel knows of a file, links not followed. Times are seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub kind: Kind,
    pub mode: u32,
    pub size_bytes: u64,
    pub modified: (i64, u32),
    pub changed: (i64, u32),
    pub device: u64,
    pub inode: u64,
    pub uid: u32,
    pub gid: u32,
}

/// An open folder.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
}

const OPEN: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn kind_of(kind: FileType) -> Kind {
    match kind {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Folder,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

fn name(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a name with a zero byte"))
}

impl Folder {
    /// The folder at `path`, which is no link.
    pub fn open(path: &Path) -> io::Result<Folder> {
        openat(rustix::fs::CWD, path, OPEN, Mode::empty()).map(|fd| Folder { fd }).map_err(|e| at(path, e.into()))
    }

    /// The folder of that name in this one; `None`: there is nothing, or something else.
    pub fn folder(&self, folder: &[u8]) -> io::Result<Option<Folder>> {
        match openat(&self.fd, &name(folder)?, OPEN, Mode::empty()) {
            Ok(fd) => Ok(Some(Folder { fd })),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// What stands at that name in this folder; `None`: nothing.
    pub fn stat(&self, file: &[u8]) -> io::Result<Option<Stat>> {
        let found = match statat(&self.fd, &name(file)?, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        Ok(Some(Stat {
            kind: kind_of(FileType::from_raw_mode(found.st_mode)),
            mode: found.st_mode & 0o7777,
            size_bytes: found.st_size as u64,
            modified: (found.st_mtime as i64, found.st_mtime_nsec as u32),
            changed: (found.st_ctime as i64, found.st_ctime_nsec as u32),
            device: found.st_dev as u64,
            inode: found.st_ino as u64,
            uid: found.st_uid,
            gid: found.st_gid,
        }))
    }

    /// Calls `see` with each name in this folder and what stands there.
    pub fn each(&self, mut see: impl FnMut(&[u8], Kind)) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut entries = RawDir::new(&self.fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let found = entry.file_name().to_bytes();
            if matches!(found, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some filesystems do not say.
                FileType::Unknown => match self.stat(found)? {
                    Some(stat) => stat.kind,
                    None => continue,
                },
                kind => kind_of(kind),
            };
            see(found, kind);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fs;

    #[test]
    fn names_are_told_with_what_they_are_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dirs(&root.path().join("inner")).unwrap();
        fs::append(&root.path().join("file"), b"12345").unwrap();
        fs::symlink("inner", &root.path().join("link")).unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let mut found = vec![];
        folder.each(|name, kind| found.push((String::from_utf8_lossy(name).into_owned(), kind))).unwrap();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, [("file".into(), Kind::File), ("inner".into(), Kind::Folder), ("link".into(), Kind::Link)]);
        assert_eq!(folder.stat(b"file").unwrap().unwrap().size_bytes, 5);
        assert_eq!(folder.stat(b"link").unwrap().unwrap().kind, Kind::Link);
        assert!(folder.stat(b"none").unwrap().is_none());
        assert!(folder.folder(b"inner").unwrap().is_some());
        assert!(folder.folder(b"link").unwrap().is_none() && folder.folder(b"file").unwrap().is_none());
        assert!(Folder::open(&root.path().join("link")).is_err());
    }
}
