//! Waiting on many descriptors at once: for whoever listens to several others and has nothing else to do.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::clock::monotonic;

/// Waits until some of these can be read or are at their end, and tells which. None are: `deadline` on [`super::clock::monotonic`] has passed.
pub fn readable(descriptors: &[BorrowedFd<'_>], deadline: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    loop {
        let left = deadline.map(|d| d.saturating_sub(monotonic()));
        let timeout = left.map(|l| Timespec { tv_sec: l.as_secs() as i64, tv_nsec: i64::from(l.subsec_nanos()) });
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => return Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::socket::Stream;
    use std::os::fd::AsFd;

    #[test]
    fn only_those_with_something_to_read_are_told() {
        let (mut a, b) = Stream::pair().unwrap();
        let (c, d) = Stream::pair().unwrap();
        let soon = || Some(monotonic() + Duration::from_millis(20));
        assert_eq!(readable(&[b.as_fd(), d.as_fd()], soon()).unwrap(), [false, false]);
        a.queue(1, b"word", vec![]);
        a.flush().unwrap();
        assert_eq!(readable(&[b.as_fd(), d.as_fd()], None).unwrap(), [true, false]);
        drop(c);
        // A child that another test is just starting may hold the other end for a moment.
        assert_eq!(readable(&[d.as_fd()], None).unwrap(), [true]);
        assert_eq!(readable(&[b.as_fd(), d.as_fd()], None).unwrap(), [true, true]);
    }
}
