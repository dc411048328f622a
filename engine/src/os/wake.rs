//! A bell (`eventfd`) by which one thread wakes another that waits in poll.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// What the waiting thread holds.
#[derive(Debug)]
pub struct Wake(OwnedFd);

/// What the other one rings.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Wake {
    pub fn new() -> io::Result<Wake> {
        Ok(Wake(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub fn bell(&self) -> io::Result<Bell> {
        Ok(Bell(super::process::duplicate(&self.0)?))
    }

    /// Until it is rung again.
    pub fn hush(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}

impl Bell {
    pub fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
