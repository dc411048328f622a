//! Locks that the kernel drops when their holder dies (`flock`). Alive is a lock, never a pid in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::fs::{NOFOLLOW, at};

/// A held lock: dropped with the last copy of its descriptor, in whatever process that is.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(NOFOLLOW)
        .open(path)
        .map_err(|e| at(path, e))
}

impl Lock {
    /// Takes the lock if nobody holds it. The descriptor is closed on exec.
    pub fn try_take(path: &Path) -> io::Result<Option<Lock>> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(at(path, e.into())),
        }
    }

    /// Waits for the lock as long as it takes; the kernel wakes us.
    pub fn wait(path: &Path) -> io::Result<Lock> {
        let file = open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Lock { file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(at(path, e.into())),
            }
        }
    }

    /// Whether somebody holds it now. Does not create the file.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        let file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(false),
            Err(e) => return Err(at(path, e)),
        };
        // A shared lock, so that two who look at once do not see each other.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(e) => Err(at(path, e.into())),
        }
    }

    /// Writes who holds it, for the message that others print. Says nothing about whether it is held.
    pub fn sign(&mut self, who: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(who.as_bytes())
    }

    /// What the last holder wrote with [`Lock::sign`].
    pub fn signed(path: &Path) -> String {
        let mut text = String::new();
        let _ = File::open(path).and_then(|f| f.take(1000).read_to_string(&mut text));
        text.trim().to_owned()
    }

    /// A lock that another process took and handed over.
    pub fn from_fd(fd: OwnedFd) -> Lock {
        Lock { file: File::from(fd) }
    }

    /// The same lock under a descriptor that is at least `least`. Of a process that dies, the kernel closes the higher ones first.
    pub fn raised(self, least: i32) -> io::Result<Lock> {
        Ok(Lock { file: File::from(rustix::io::fcntl_dupfd_cloexec(&self.file, least)?) })
    }

    /// The descriptor, to be inherited by a child.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
