//! The daemons: they perform what `core` decides and feed back what came of it.

mod handover;
pub mod host;
pub mod pane;
mod prepare;
pub mod start;
pub mod watchdog;

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, Result};
use crate::os;

/// The hidden command lines of the daemons. `None`: it is another command.
pub fn daemon(args: &[String]) -> Option<Result<()>> {
    let verb = args.first()?.as_str();
    if ![start::HOST, start::WATCHDOG, start::STANDBY, start::PANE, start::MAKE_PANE, start::TASK_WORKTREE].contains(&verb) {
        return None;
    }
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).map(String::as_str);
    let (Some(data), Some(runtime)) = (value("--data"), value("--runtime")) else {
        return Some(Err(Error::usage(format!("`agents {verb}` is started by the engine itself")).hint("agents up")));
    };
    let layout = crate::contract::layout::Layout::from_folders(data.as_ref(), runtime.as_ref());
    let tries = args.iter().any(|a| a == handover::TRY);
    let record = value(handover::TAKE_OVER).and_then(|n| n.parse::<i32>().ok());
    let number = |name: &str| value(name).and_then(|n| n.parse::<u16>().ok()).unwrap_or_default();
    Some(match (verb, value("--session"), record) {
        (start::PANE, Some(session), _) => pane::show(&layout, session),
        (start::MAKE_PANE, Some(session), _) => {
            let size = os::pty::Size { rows: number("--rows"), cols: number("--cols") };
            pane::make(&layout, session, size, args.iter().any(|a| a == "--look"))
        }
        (start::WATCHDOG, ..) if tries => watchdog::handover::try_out(),
        (start::WATCHDOG, _, Some(record)) => watchdog::handover::main(layout, record),
        (start::WATCHDOG, _, None) => watchdog::main(layout),
        (start::STANDBY, ..) => watchdog::standby::main(&layout),
        (start::TASK_WORKTREE, session, _) => prepare::main(layout, session.unwrap_or_default()),
        (_, Some(_), _) if tries => host::handover::try_out(),
        (_, Some(session), Some(record)) => host::handover::main(layout, session, record),
        (_, Some(session), None) => host::main(layout, session, args.iter().any(|a| a == "--terminal")),
        (_, None, _) => Err(Error::usage(format!("`agents {verb}` is started by the engine itself")).hint("agents up")),
    })
}

/// Waits until one of the descriptors is ready for what is asked of it, or the deadline (monotonic) has come. Answers in the order of the question.
fn wait(asked: &[(BorrowedFd<'_>, PollFlags)], deadline: Option<Duration>) -> std::io::Result<Vec<PollFlags>> {
    let mut fds: Vec<PollFd<'_>> = asked.iter().map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags)).collect();
    let timeout = deadline.map(|at| {
        let left = at.saturating_sub(os::clock::monotonic());
        Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
    });
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => Ok(fds.iter().map(PollFd::revents).collect()),
        Err(rustix::io::Errno::INTR) => Ok(vec![PollFlags::empty(); asked.len()]),
        Err(e) => Err(e.into()),
    }
}

/// What a connection waits for: always input, room for output where some is queued.
fn interest(stream: &os::socket::Stream) -> (BorrowedFd<'_>, PollFlags) {
    let out = if stream.queued_bytes() > 0 { PollFlags::OUT } else { PollFlags::empty() };
    (stream.as_fd(), PollFlags::IN | out)
}

/// A number from 0 to 1 that differs from process to process and moment to moment: spreads what would come all at once.
fn jitter() -> f64 {
    f64::from(os::clock::monotonic().subsec_micros() % 1000) / 1000.0
}

fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
