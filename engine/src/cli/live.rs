//! What stays and shows every change: waiting for the next one, and for another size of the terminal that it is drawn on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::out;
use crate::error::Result;
use crate::os::signal;
use crate::os::socket::{Fill, Frame, Stream};
use crate::os::wait::readable;

/// Where changes are shown. Nothing wakes it between two of them.
#[derive(Debug)]
pub(super) struct Live {
    /// Tells that the terminal has another size; none where lines are written to whoever reads them.
    window: Option<OwnedFd>,
}

impl Live {
    /// From now on this program does nothing else.
    pub fn begin(json: bool) -> Result<Live> {
        let window = if json || !out::stdout_is_terminal() { None } else { Some(signal::descriptor(&[signal::WINDOW])?) };
        out::only_shows();
        Ok(Live { window })
    }

    /// Waits for something to read. False: there was nothing by `deadline` on [`crate::os::clock::monotonic`]. Meanwhile what is shown is drawn anew
    /// for every new size.
    pub fn wait(&self, news: BorrowedFd<'_>, deadline: Option<Duration>, draw: &dyn Fn()) -> io::Result<bool> {
        let fds: Vec<BorrowedFd<'_>> = [news].into_iter().chain(self.window.as_ref().map(AsFd::as_fd)).collect();
        loop {
            let ready = readable(&fds, deadline)?;
            match &self.window {
                Some(window) if ready[1] => {
                    while signal::next(window).is_some() {}
                    draw();
                }
                Some(_) | None => return Ok(ready[0]),
            }
        }
    }

    /// The next message, waited for in the same way. An error: nobody is there any more.
    pub fn next(&self, stream: &mut Stream, draw: &dyn Fn()) -> io::Result<Frame> {
        loop {
            if let Some(frame) = stream.next_frame()? {
                return Ok(frame);
            }
            match stream.fill()? {
                Fill::More => {}
                Fill::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                Fill::Nothing => drop(self.wait(stream.as_fd(), None, draw)?),
            }
        }
    }
}
