//! Locks that the kernel drops when their holder dies (`flock`). Alive is a lock, never a pid in a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::fs::{NOFOLLOW, at, read_made_up};
use super::wake::Wake;
use crate::error::Busy;

/// Who keeps a lock for longer that is taken for moments only is stopped, stuck, or no program of ours. On a busy machine moments may last.
const MOMENTS: Duration = Duration::from_secs(20);

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
            Ok(()) => Ok(Some(Lock::marked(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(at(path, e.into())),
        }
    }

    /// The lock of a file that has just been locked. A second lock of the same descriptor is its mark, for [`Lock::is_held`]: unlike `flock`'s it can be
    /// looked at without being taken. It comes after the first and goes with it; a network filesystem that has one kind of lock needs no mark.
    fn marked(file: File) -> Lock {
        let _ = whole(&file, libc::F_OFD_SETLK, libc::F_WRLCK);
        Lock { file }
    }

    /// Waits for the lock as long as it takes; the kernel wakes us.
    pub fn wait(path: &Path) -> io::Result<Lock> {
        let file = open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Lock::marked(file)),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(at(path, e.into())),
            }
        }
    }

    /// [`Lock::wait`] for a lock that everybody holds for moments: who does not let go of it is named, in an error of the kind `ResourceBusy`.
    pub fn wait_moments(path: &Path) -> io::Result<Lock> {
        Lock::wait_at_most(path, MOMENTS)
    }

    /// [`Lock::wait`], but not longer than this; then an error of the kind `ResourceBusy`.
    pub fn wait_at_most(path: &Path, limit: Duration) -> io::Result<Lock> {
        if let Some(lock) = Lock::try_take(path)? {
            return Ok(lock);
        }
        let coming = Coming::of(path)?;
        coming.taken.recv_timeout(limit).unwrap_or_else(|_| {
            let held = format!("{} is held by {}", path.display(), Lock::holder(path));
            Err(io::Error::new(io::ErrorKind::ResourceBusy, Busy(held)))
        })
    }

    /// Whether somebody holds it now. Does not create the file, and who looks is in nobody's way.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        let file = match OpenOptions::new().read(true).open(path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(false),
            Err(e) => return Err(at(path, e)),
        };
        let in_the_way = whole(&file, libc::F_OFD_GETLK, libc::F_RDLCK).map_err(|e| at(path, e))?;
        Ok(in_the_way != libc::F_UNLCK)
    }

    /// [`Lock::is_held`], also by a program that leaves no mark: `flock(1)`, or an engine from before there were marks. The kernel's list of all locks is
    /// read for that, which takes its time, and is not to be had on every filesystem.
    pub fn is_taken(path: &Path) -> io::Result<bool> {
        Ok(Lock::is_held(path)? || taker(path).is_some())
    }

    /// Writes who holds it, for the message that others print. Says nothing about whether it is held.
    pub fn sign(&mut self, who: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(who.as_bytes())
    }

    /// Who holds it, for people: what they wrote with [`Lock::sign`], unless the kernel knows that it is somebody else.
    pub fn holder(path: &Path) -> String {
        let signed = Lock::signed(path);
        match taker(path) {
            Some(pid) if !signed.contains(&format!(" {pid})")) => {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line: String = String::from_utf8_lossy(&line).replace('\0', " ").trim().chars().take(200).collect();
                if line.is_empty() { format!("process {pid}") } else { format!("`{line}` (process {pid})") }
            }
            _ if signed.is_empty() => "another process".to_owned(),
            _ => signed,
        }
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

/// A lock that somebody holds, waited for by a thread of its own: for whoever has other things to do meanwhile. Readable when it has come.
#[derive(Debug)]
pub struct Coming {
    taken: mpsc::Receiver<io::Result<Lock>>,
    wake: Wake,
}

impl Coming {
    pub fn of(path: &Path) -> io::Result<Coming> {
        let (sender, taken) = mpsc::channel();
        let wake = Wake::new()?;
        let (path, bell) = (path.to_path_buf(), wake.bell()?);
        // The kernel wakes whoever waits for a lock, and knows no limit to that.
        std::thread::Builder::new().spawn(move || {
            // Where nobody waits any more, it is free again at once.
            let _ = sender.send(Lock::wait(&path));
            bell.ring();
        })?;
        Ok(Coming { taken, wake })
    }

    /// The lock, once it has come; it comes once.
    pub fn take(&self) -> Option<io::Result<Lock>> {
        self.taken.try_recv().ok()
    }
}

impl AsFd for Coming {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Takes a lock of this kind over the whole file, or asks which kind is in its way. The kind that the kernel then names.
fn whole(file: &File, command: libc::c_int, kind: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: plain numbers, for which zeroes are valid: from the start of the file to its end, whatever that will be.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open, and both commands take a pointer to a lock, which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock.l_type.into()),
    }
}

/// The process that took it, by the kernel's list (proc_locks(5)). It may have ended since and left it to those that it started; none where the kernel
/// numbers the file's disk otherwise, as some filesystems have it.
fn taker(path: &Path) -> Option<u32> {
    let metadata = std::fs::metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    let file = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let locks = read_made_up("/proc/locks").ok()?;
    let mut lines = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // `1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF`; with an arrow after the number: somebody who waits.
    lines.find(|words| words.get(1) == Some(&"FLOCK") && words.get(5) == Some(&file.as_str()))?.get(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_until_the_last_copy_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = || Lock::is_held(&path).unwrap();
        assert!(!held() && !path.exists());
        let first = Lock::try_take(&path).unwrap().unwrap();
        let copy = first.fd().try_clone_to_owned().unwrap();
        assert!(held());
        drop(first);
        assert!(held() && Lock::try_take(&path).unwrap().is_none());
        drop(copy);
        // By a program of another kind.
        let other = open(&path).unwrap();
        flock(&other, FlockOperation::LockExclusive).unwrap();
        assert!(!held() && Lock::is_taken(&path).unwrap());
        drop(other);
        let waited = Lock::wait_at_most(&path, MOMENTS).unwrap();
        assert!(held());
        drop(waited);
        let since = std::time::Instant::now();
        while held() {
            assert!(since.elapsed() < MOMENTS, "held by nobody");
            std::thread::yield_now();
        }
    }
}
