//! Unix sockets: framed messages, descriptors passed along, peers of this user only. Never blocks unless asked to.
//!
//! A frame is `kind: u8, descriptors: u8, length: u32 little-endian`, then the payload. The shapes inside are `contract::control`'s.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, sendmsg, socket_with, sockopt,
};

use super::clock::monotonic;
use super::fs::at;

/// A larger payload is refused by the reader: nothing that is sent on purpose comes near it.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;
/// The kernel's limit on descriptors in one message is 253; none of ours carries more than a few.
const DESCRIPTORS_MAX: usize = 8;
const HEADER_BYTES: usize = 6;
const READ_BYTES: usize = 64 << 10;
/// Beyond this, handing over a file costs less than going through the socket's buffer bit by bit.
const BULK_BYTES: usize = 128 << 10;

/// One message.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub payload: Vec<u8>,
    pub fds: Vec<OwnedFd>,
}

impl Frame {
    /// What was queued by [`Stream::queue_bulk`].
    pub fn content(mut self) -> io::Result<Vec<u8>> {
        match self.fds.pop() {
            Some(file) if self.payload.is_empty() => super::succession::read_to_end(file),
            _ => Ok(self.payload),
        }
    }
}

/// A socket that takes connections.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// Given up for a moment where no other descriptor can be had: see [`Listener::turn_away`].
    spare: RefCell<Option<OwnedFd>>,
    /// Nobody can even be turned away: until then it is not listened to.
    deaf_until: Cell<Option<Duration>>,
}

impl Listener {
    /// Listens at `path`, replacing what a dead process left there: the caller holds the lock that says so.
    pub fn bind(path: &Path) -> io::Result<Listener> {
        // Named only once it takes connections: who sees it can connect.
        let unnamed = path.with_extension("new");
        super::fs::remove_file(&unnamed)?;
        let address = address(&unnamed)?;
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        bind(&fd, &address).map_err(|e| at(path, e.into()))?;
        super::fs::set_mode(&unnamed, 0o600)?;
        listen(&fd, 1024)?;
        std::fs::rename(&unnamed, path).map_err(|e| at(path, e))?;
        Ok(Listener { fd, spare: RefCell::new(spare()), deaf_until: Cell::new(None) })
    }

    /// A listening socket that was handed over.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Listener> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Listener { fd, spare: RefCell::new(spare()), deaf_until: Cell::new(None) })
    }

    /// The next connection of this same user; strangers are dropped. `None` when there is none for now.
    pub fn accept(&self) -> Option<Stream> {
        loop {
            match accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => {
                    let ours = sockopt::socket_peercred(&fd).is_ok_and(|c| c.uid == rustix::process::geteuid());
                    if ours {
                        return Some(Stream::new(fd));
                    }
                }
                Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) if self.turn_away() => {}
                Err(rustix::io::Errno::AGAIN) => return None,
                Err(_) => {
                    self.deaf_until.set(Some(monotonic() + DEAF));
                    return None;
                }
            }
        }
    }

    /// What to poll it for.
    pub fn interest(&self) -> PollFlags {
        if self.next_deadline().is_some() { PollFlags::empty() } else { PollFlags::IN }
    }

    /// When it is to be listened to again, where it is not for now.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deaf_until.get().filter(|until| *until > monotonic())
    }

    /// Without a descriptor left, whoever comes is refused instead of left waiting: the poll would wake us for them again and again.
    fn turn_away(&self) -> bool {
        let had_one = self.spare.take().is_some();
        let refused = had_one && accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).map(drop).is_ok();
        self.spare.replace(spare());
        refused
    }
}

/// Who waits to be heard keeps the socket ready, so that without this pause nothing else would be done.
const DEAF: Duration = Duration::from_millis(100);

fn spare() -> Option<OwnedFd> {
    rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC, rustix::fs::Mode::empty()).ok()
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn address(path: &Path) -> io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(path).map_err(|_| {
        io::Error::other(format!(
            "{}: too long for a socket's path (107 bytes at most); set XDG_RUNTIME_DIR to a shorter folder",
            path.display()
        ))
    })
}

/// One end of a connection. Writes are queued and go out when the peer takes them.
#[derive(Debug)]
pub struct Stream {
    fd: OwnedFd,
    input: Vec<u8>,
    input_start: usize,
    input_fds: VecDeque<OwnedFd>,
    output: VecDeque<Chunk>,
    output_bytes: usize,
}

#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    sent: usize,
    fds: Vec<OwnedFd>,
}

/// The state of a connection in the middle of its messages.
#[derive(Debug)]
pub struct Rest<'a> {
    /// Read, and not yet a whole frame.
    pub input: &'a [u8],
    pub input_fds: Vec<BorrowedFd<'a>>,
    /// Queued and not yet taken by the peer, with the descriptors that go along.
    pub output: Vec<(&'a [u8], Vec<BorrowedFd<'a>>)>,
}

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// There may be whole frames now.
    More,
    /// Nothing for now.
    Nothing,
    /// The peer is gone.
    End,
}

impl Stream {
    fn new(fd: OwnedFd) -> Stream {
        Stream { fd, input: vec![], input_start: 0, input_fds: VecDeque::new(), output: VecDeque::new(), output_bytes: 0 }
    }

    /// Connects. `NotFound` and `ConnectionRefused` mean that nobody listens. A connection to another user's process is refused.
    pub fn connect(path: &Path) -> io::Result<Stream> {
        Self::connect_with(path, SocketFlags::CLOEXEC)
    }

    /// As [`Stream::connect`], but waits for nobody: `WouldBlock` means that the listener takes no more connections for now.
    pub fn connect_at_once(path: &Path) -> io::Result<Stream> {
        Self::connect_with(path, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }

    fn connect_with(path: &Path, flags: SocketFlags) -> io::Result<Stream> {
        let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&fd, &address(path)?).map_err(|e| at(path, e.into()))?;
        if sockopt::socket_peercred(&fd)?.uid != rustix::process::geteuid() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: another user listens there", path.display())));
        }
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Stream::new(fd))
    }

    /// A connection that was handed over.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Stream> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Stream::new(fd))
    }

    /// Two connected ends. One may be handed to another process with [`Stream::into_fd`].
    pub fn pair() -> io::Result<(Stream, Stream)> {
        let (a, b) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
        Ok((Stream::new(a), Stream::new(b)))
    }

    /// The descriptor alone; what was queued or read is lost.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// What another program needs to go on with this connection where it stands, beside the descriptor itself.
    pub fn rest(&self) -> Rest<'_> {
        Rest {
            input: &self.input[self.input_start..],
            input_fds: self.input_fds.iter().map(AsFd::as_fd).collect(),
            output: self.output.iter().map(|c| (&c.bytes[c.sent..], c.fds.iter().map(AsFd::as_fd).collect())).collect(),
        }
    }

    /// A connection that another program has left as its [`Stream::rest`] says.
    pub fn with_rest(fd: OwnedFd, input: Vec<u8>, input_fds: Vec<OwnedFd>, output: Vec<(Vec<u8>, Vec<OwnedFd>)>) -> io::Result<Stream> {
        let mut stream = Stream::from_fd(fd)?;
        (stream.input, stream.input_fds) = (input, input_fds.into());
        stream.output_bytes = output.iter().map(|(bytes, _)| bytes.len()).sum();
        stream.output = output.into_iter().map(|(bytes, fds)| Chunk { bytes, sent: 0, fds }).collect();
        Ok(stream)
    }

    /// The peer's process, as the kernel knows it.
    pub fn peer_pid(&self) -> Option<i32> {
        sockopt::socket_peercred(&self.fd).ok().map(|c| c.pid.as_raw_nonzero().get())
    }

    /// Queues a frame. Call [`Stream::flush`] to send.
    pub fn queue(&mut self, kind: u8, payload: &[u8], fds: Vec<OwnedFd>) {
        assert!(fds.len() <= DESCRIPTORS_MAX && payload.len() <= PAYLOAD_BYTES_MAX);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
        bytes.push(kind);
        bytes.push(fds.len() as u8);
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(payload);
        self.output_bytes += bytes.len();
        self.output.push_back(Chunk { bytes, sent: 0, fds });
    }

    /// Queues a frame whose payload may be large: then it goes along as a file in memory, which the peer reads in one go. See [`Frame::content`].
    pub fn queue_bulk(&mut self, kind: u8, payload: &[u8]) {
        let file = (payload.len() > BULK_BYTES).then(|| super::succession::unnamed_file(payload));
        match file {
            Some(Ok(file)) => self.queue(kind, &[], vec![file]),
            Some(Err(_)) | None => self.queue(kind, payload, vec![]),
        }
    }

    /// Bytes queued and not yet taken by the kernel.
    pub fn queued_bytes(&self) -> usize {
        self.output_bytes
    }

    /// Sends what the peer takes now; true when nothing is left. Descriptors go with their frame's first byte.
    pub fn flush(&mut self) -> io::Result<bool> {
        while let Some(chunk) = self.output.front_mut() {
            let rest = [IoSlice::new(&chunk.bytes[chunk.sent..])];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let borrowed: Vec<BorrowedFd<'_>> = chunk.fds.iter().map(AsFd::as_fd).collect();
            if !borrowed.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            match sendmsg(&self.fd, &rest, &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    chunk.fds.clear();
                    chunk.sent += sent;
                    self.output_bytes -= sent;
                    if chunk.sent == chunk.bytes.len() {
                        self.output.pop_front();
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    /// Reads once what has arrived.
    pub fn fill(&mut self) -> io::Result<Fill> {
        if self.input_start > 0 {
            self.input.drain(..self.input_start);
            self.input_start = 0;
        }
        let old = self.input.len();
        self.input.resize(old + READ_BYTES, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let result = recvmsg(&self.fd, &mut [IoSliceMut::new(&mut self.input[old..])], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.input_fds.extend(fds);
            }
        }
        let got = result.as_ref().map_or(0, |r| r.bytes);
        self.input.truncate(old + got);
        if self.input.is_empty() {
            self.input = Vec::new(); // an idle connection keeps no buffer
        }
        match result {
            Ok(_) if got == 0 => Ok(Fill::End),
            Ok(_) => Ok(Fill::More),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(Fill::Nothing),
            Err(rustix::io::Errno::CONNRESET) => Ok(Fill::End),
            Err(e) => Err(e.into()),
        }
    }

    /// The next whole frame that has arrived. An error means that the peer does not speak this protocol.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        let input = &self.input[self.input_start..];
        let [kind, fds, a, b, c, d, ..] = *input else { return Ok(None) };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > PAYLOAD_BYTES_MAX || usize::from(fds) > DESCRIPTORS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak this protocol"));
        }
        if input.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        if self.input_fds.len() < usize::from(fds) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message came without its descriptors"));
        }
        let payload = input[HEADER_BYTES..HEADER_BYTES + length].to_vec();
        self.input_start += HEADER_BYTES + length;
        if self.input_start == self.input.len() {
            self.input = Vec::new();
            self.input_start = 0;
        }
        let fds = self.input_fds.drain(..usize::from(fds)).collect();
        Ok(Some(Frame { kind, payload, fds }))
    }

    /// Sends everything queued, waiting for the peer to take it, at most until `deadline` on [`super::clock::monotonic`].
    pub fn flush_by(&mut self, deadline: Duration) -> io::Result<()> {
        while !self.flush()? {
            wait(self.fd.as_fd(), PollFlags::OUT, deadline)?;
        }
        Ok(())
    }

    /// Waits for the next frame, at most until `deadline` on [`super::clock::monotonic`]. `UnexpectedEof`: the peer is gone; `TimedOut`: too late.
    pub fn next_by(&mut self, deadline: Duration) -> io::Result<Frame> {
        loop {
            if let Some(frame) = self.next_frame()? {
                return Ok(frame);
            }
            match self.fill()? {
                Fill::More => {}
                Fill::End => return Err(io::ErrorKind::UnexpectedEof.into()),
                Fill::Nothing => wait(self.fd.as_fd(), PollFlags::IN, deadline)?,
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn wait(fd: BorrowedFd<'_>, what: PollFlags, deadline: Duration) -> io::Result<()> {
    let left = deadline.saturating_sub(super::clock::monotonic());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let timeout = rustix::event::Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    match poll(&mut [PollFd::new(&fd, what)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_descriptors_arrive_whole_and_in_order() {
        let (mut a, mut b) = Stream::pair().unwrap();
        let big = vec![7u8; 3 << 20];
        let file = std::fs::File::open("/dev/null").unwrap();
        a.queue(1, b"first", vec![]);
        a.queue(2, &big, vec![file.into()]);
        a.queue(3, b"", vec![]);
        let mut got = vec![];
        while got.len() < 3 {
            a.flush().unwrap();
            b.fill().unwrap();
            while let Some(frame) = b.next_frame().unwrap() {
                got.push(frame);
            }
        }
        assert_eq!((got[0].kind, got[0].payload.as_slice(), got[0].fds.len()), (1, b"first".as_slice(), 0));
        assert_eq!((got[1].kind, got[1].payload.len(), got[1].fds.len()), (2, big.len(), 1));
        assert_eq!((got[2].kind, got[2].payload.len(), got[2].fds.len()), (3, 0, 0));
        drop(a);
        // A child that another test is just starting may hold the other end for a moment.
        super::super::wait::readable(&[b.as_fd()], None).unwrap();
        assert_eq!(b.fill().unwrap(), Fill::End);
    }

    #[test]
    fn a_connection_goes_on_in_the_middle_of_a_message() {
        let (mut a, mut b) = Stream::pair().unwrap();
        let big = vec![7u8; 3 << 20];
        a.queue(1, &big, vec![std::fs::File::open("/dev/null").unwrap().into()]);
        a.queue(2, b"last", vec![std::fs::File::open("/dev/null").unwrap().into()]);
        let again = |s: Stream| {
            let rest = s.rest();
            let own = |fds: Vec<BorrowedFd<'_>>| fds.into_iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect::<Vec<_>>();
            let (input, output) = (rest.input.to_vec(), rest.output.into_iter().map(|(bytes, fds)| (bytes.to_vec(), own(fds))).collect());
            let input_fds = own(rest.input_fds);
            Stream::with_rest(s.fd, input, input_fds, output).unwrap()
        };
        let mut got = vec![];
        while got.len() < 2 {
            a.flush().unwrap();
            b.fill().unwrap();
            (a, b) = (again(a), again(b));
            got.extend(b.next_frame().unwrap());
        }
        assert_eq!((got[0].payload.len(), got[0].fds.len()), (big.len(), 1));
        assert_eq!((got[1].payload.as_slice(), got[1].fds.len()), (b"last".as_slice(), 1));
        assert_eq!(a.queued_bytes(), 0);
    }

    #[test]
    fn a_peer_that_speaks_something_else_is_an_error() {
        let (a, mut b) = Stream::pair().unwrap();
        rustix::io::write(&a.fd, b"GET / HTTP/1.1\r\n").unwrap();
        b.fill().unwrap();
        assert!(b.next_frame().is_err());
    }
}
