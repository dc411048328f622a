//! Somebody else's hold on a lock.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that has signed nothing; the lock is free once this is dropped.
pub struct Held {
    child: Child,
    /// Whether the kernel tells who holds it: on some filesystems its list numbers the disk otherwise than the file does.
    listed: bool,
}

impl Held {
    pub fn of(path: &Path) -> Held {
        let mut flock = Command::new("flock");
        let mut child = flock.arg(path).args(["sh", "-c", "echo held; exec sleep 1000"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let file = std::fs::metadata(path).unwrap();
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        let entry = format!(" {} {major:02x}:{minor:02x}:{} ", child.id(), file.ino());
        let listed = std::fs::read_to_string("/proc/locks").unwrap_or_default().contains(&entry);
        if !listed {
            println!("skipped: who is named, as the kernel's list of locks does not show {} under its own number", path.display());
        }
        Held { child, listed }
    }

    /// Whether this text names the holder, where that can be known.
    pub fn is_in(&self, text: &str) -> bool {
        !self.listed || (text.contains(&format!("(process {})", self.child.id())) && text.contains("`flock "))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The lock is the kernel's, and goes with the last who inherited it.
        let _ = Command::new("pkill").args(["-P", &self.child.id().to_string()]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
