//! Waiting for files without looking at them again and again: the kernel says when one has changed (`inotify`).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};

use super::fs::at;

/// Tells when something in a folder was created, written or renamed.
#[derive(Debug)]
pub struct Changes {
    fd: OwnedFd,
}

impl Changes {
    /// From now on in `folder`, which must be there.
    pub fn of(folder: &Path) -> io::Result<Changes> {
        let changes = Changes { fd: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? };
        changes.also(folder)?;
        Ok(changes)
    }

    /// From now on in whichever of these folders are there.
    pub fn of_any(folders: &[PathBuf]) -> io::Result<Changes> {
        let changes = Changes { fd: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)? };
        for folder in folders.iter().filter(|f| f.is_dir()) {
            changes.also(folder)?;
        }
        Ok(changes)
    }

    fn also(&self, folder: &Path) -> io::Result<()> {
        let what = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE;
        add_watch(&self.fd, folder, what).map(drop).map_err(|e| at(folder, e.into()))
    }

    /// Takes what has happened so far: whether the file of that name was among it. Does not wait.
    pub fn touched(&mut self, name: &str) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut found = false;
        loop {
            match reader.next() {
                // An event without a name is the queue's overflow: anything may have happened.
                Ok(event) => found |= event.file_name().is_none_or(|n| n.to_bytes() == name.as_bytes()),
                Err(rustix::io::Errno::AGAIN) => return Ok(found),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Takes what has happened so far: whether anything has. Does not wait.
    pub fn drain(&mut self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut any = false;
        loop {
            match reader.next() {
                Ok(_) => any = true,
                Err(rustix::io::Errno::AGAIN) => return Ok(any),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Waits until anything is touched.
    pub fn wait_any(&mut self) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        while !self.drain()? {
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Waits until anything is touched. False: nothing was by `deadline` on [`super::clock::monotonic`].
    pub fn wait_any_by(&mut self, deadline: std::time::Duration) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        while !self.drain()? {
            let left = deadline.saturating_sub(super::clock::monotonic());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    /// Waits until the file of that name is touched.
    pub fn wait(&mut self, name: &str) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, poll};
        while !self.touched(name)? {
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

impl Changes {
    /// Waits until the file of that name is touched. False: it was not by `deadline` on [`super::clock::monotonic`].
    pub fn wait_by(&mut self, name: &str, deadline: std::time::Duration) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        while !self.touched(name)? {
            let left = deadline.saturating_sub(super::clock::monotonic());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A file that grows and is replaced by a fresh one now and then, read to its end and on from there.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    changes: Changes,
    file: Option<File>,
}

impl Follow {
    /// From `start` on, in a folder that must be there; the file need not be.
    pub fn from(path: &Path, start: u64) -> io::Result<Follow> {
        let changes = Changes::of(path.parent().unwrap_or(Path::new(".")))?;
        let mut follow = Follow { path: path.into(), changes, file: None };
        follow.reopen()?;
        if let Some(file) = &mut follow.file {
            file.seek(SeekFrom::Start(start)).map_err(|e| at(path, e))?;
        }
        Ok(follow)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(at(&self.path, e)),
        };
        Ok(())
    }

    fn is_replaced(&self) -> bool {
        let key = |m: std::fs::Metadata| (m.dev(), m.ino());
        let now = std::fs::metadata(&self.path).ok().map(key);
        now.is_some() && now != self.file.as_ref().and_then(|f| f.metadata().ok()).map(key)
    }

    /// Wakes [`Follow::wait`] also by changes in this folder.
    pub fn also(&self, folder: &Path) -> io::Result<()> {
        self.changes.also(folder)
    }

    /// Waits until something has changed in its folder or in one of the others.
    pub fn wait(&mut self) -> io::Result<()> {
        self.changes.wait_any()
    }

    /// What there is more by now; nothing, if nothing is.
    pub fn now(&mut self) -> io::Result<Vec<u8>> {
        let (bytes, replaced) = self.read()?;
        if bytes.is_empty() && replaced { Ok(self.read()?.0) } else { Ok(bytes) }
    }

    /// Reads on; whether the file was replaced, and so is the new one from now on.
    fn read(&mut self) -> io::Result<(Vec<u8>, bool)> {
        // Asked before reading: what comes in between is read now, or the next time.
        let replaced = self.is_replaced();
        let mut bytes = vec![];
        if let Some(file) = &mut self.file {
            let shrunk = file.metadata().is_ok_and(|m| file.stream_position().is_ok_and(|p| p > m.len()));
            if shrunk {
                file.seek(SeekFrom::Start(0)).map_err(|e| at(&self.path, e))?;
            }
            file.read_to_end(&mut bytes).map_err(|e| at(&self.path, e))?;
        }
        if replaced {
            self.reopen()?;
        }
        Ok((bytes, replaced))
    }

    /// Waits until there is more, and returns it.
    pub fn more(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let (bytes, replaced) = self.read()?;
            if !bytes.is_empty() {
                return Ok(bytes);
            }
            if !replaced {
                let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                self.changes.wait(&name)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fs;

    #[test]
    fn what_is_appended_is_read_on_over_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("int-1.log");
        fs::append(&path, b"old new").unwrap();
        let mut follow = Follow::from(&path, 4).unwrap();
        assert_eq!(follow.more().unwrap(), b"new");
        fs::append(&path, b" last").unwrap();
        fs::rename(&path, &folder.path().join("int-1.log.1")).unwrap();
        fs::append(&path, b"fresh").unwrap();
        let mut got = follow.more().unwrap();
        while got.len() < 10 {
            got.extend(follow.more().unwrap());
        }
        assert_eq!(got, b" lastfresh");
    }

    #[test]
    fn a_file_that_comes_later_wakes_the_reader() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("later");
        let mut follow = Follow::from(&path, 0).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || follow.more().unwrap());
            fs::append(&folder.path().join("another"), b"x").unwrap();
            fs::append(&path, b"here").unwrap();
            assert_eq!(reader.join().unwrap(), b"here");
        });
    }
}
