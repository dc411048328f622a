//! What the hosts and the watchdog share when they become another program by exec: same process, same descriptors, the state handed over.
//!
//! Nothing may fail after the exec, so what can fail is tried before: the new program is run once beside, with the very record that it is to take over.
//! If it fails all the same, that is the death of a daemon like any other, and the others make good for it.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::contract::handover::{Bytes, Connection, Header, Unsent, VERSION};
use crate::contract::layout::Layout;
use crate::error::{Error, Result};
use crate::os::process;
use crate::os::socket::Stream;
use crate::os::succession::{self, Trial};

/// Followed by the number of the descriptor that holds the record.
pub(super) const TAKE_OVER: &str = "--take-over";
/// The record is on standard input, and only looked at.
pub(super) const TRY: &str = "--try-take-over";

/// How long the new program may take to show that it can take over. Looking at a record takes it milliseconds.
const TRIAL: Duration = Duration::from_secs(5);

/// Which daemon is to be replaced, as its command line says.
pub(super) struct Role<'a> {
    pub verb: &'static str,
    pub layout: &'a Layout,
    pub session: Option<&'a str>,
}

impl Role<'_> {
    fn argv(&self, more: &[&str]) -> Vec<OsString> {
        let mut argv: Vec<OsString> = vec!["agents".into()];
        argv.extend(super::start::args(self.verb, self.layout));
        if let Some(session) = self.session {
            argv.extend(["--session".into(), session.into()]);
        }
        argv.extend(more.iter().map(OsString::from));
        argv
    }

    /// Lets `program` show that it starts and understands this record.
    pub fn try_out(&self, program: &OwnedFd, record: &impl Serialize) -> std::io::Result<Trial> {
        Trial::start(program.as_fd(), &self.argv(&[TRY]), &serde_json::to_vec(record)?, TRIAL)
    }

    /// Becomes `program`. Returns why that failed; then everything is as before.
    pub fn become_program(&self, program: &OwnedFd, record: &impl Serialize, kept: Kept) -> std::io::Error {
        let file = match serde_json::to_vec(record).map_err(Into::into).and_then(|bytes| succession::unnamed_file(&bytes)) {
            Ok(file) => file,
            Err(e) => return e,
        };
        let mut numbers = kept.0;
        numbers.push(file.as_raw_fd());
        succession::become_program(program.as_fd(), &self.argv(&[TAKE_OVER, &file.as_raw_fd().to_string()]), &numbers)
    }
}

/// The numbers of the descriptors that stay open over the exec.
#[derive(Default)]
pub(super) struct Kept(Vec<i32>);

impl Kept {
    pub fn keep(&mut self, fd: impl AsFd) -> i32 {
        let number = fd.as_fd().as_raw_fd();
        self.0.push(number);
        number
    }

    fn keep_all(&mut self, fds: Vec<BorrowedFd<'_>>) -> Vec<i32> {
        fds.into_iter().map(|fd| self.keep(fd)).collect()
    }

    pub fn connection(&mut self, stream: &Stream) -> Connection {
        let fd = self.keep(stream);
        let rest = stream.rest();
        let output = rest.output.into_iter().map(|(bytes, fds)| Unsent { bytes: Bytes(bytes.to_vec()), fds: self.keep_all(fds) });
        Connection { fd, output: output.collect(), input: Bytes(rest.input.to_vec()), input_fds: self.keep_all(rest.input_fds) }
    }
}

pub(super) fn header() -> Header {
    Header { version: VERSION, engine: crate::engine_version() }
}

/// Understands a record, or says what is wrong with it.
pub(super) fn read<T: DeserializeOwned>(record: &[u8]) -> Result<T> {
    let wrong = |e: serde_json::Error| Error::failed(format!("what the running engine hands over is not understood: {e}"));
    let header: Header = serde_json::from_slice(record).map_err(wrong)?;
    if header.version != VERSION {
        return Err(Error::failed(format!(
            "the running engine {} hands over by version {}, and {} understands version {VERSION}",
            header.engine.version,
            header.version,
            env!("CARGO_PKG_VERSION")
        )));
    }
    serde_json::from_slice(record).map_err(wrong)
}

/// The record on standard input, for a trial.
pub(super) fn read_input<T: DeserializeOwned>() -> Result<T> {
    // SAFETY: a trial is started with its record as standard input, and nobody else reads that here.
    read(&succession::read_to_end(unsafe { process::inherited_fd(0) }?)?)
}

/// The record behind a descriptor that was handed over.
pub(super) fn read_from<T: DeserializeOwned>(number: i32) -> Result<T> {
    read(&succession::read_to_end(take(number)?)?)
}

/// A descriptor that was handed over.
pub(super) fn take(number: i32) -> std::io::Result<OwnedFd> {
    // SAFETY: the record names each descriptor once, and the program before left them open for this one.
    unsafe { process::inherited_fd(number) }
}

fn take_all(numbers: Vec<i32>) -> std::io::Result<Vec<OwnedFd>> {
    numbers.into_iter().map(take).collect()
}

pub(super) fn take_connection(held: Connection) -> std::io::Result<Stream> {
    let output = held.output.into_iter().map(|unsent| Ok((unsent.bytes.0, take_all(unsent.fds)?)));
    let output = output.collect::<std::io::Result<Vec<_>>>()?;
    Stream::with_rest(take(held.fd)?, held.input.0, take_all(held.input_fds)?, output)
}

/// A trial's last word.
pub(super) fn passed() -> Result<()> {
    crate::cli::out::fact(succession::READY);
    Ok(())
}

/// How an engine is named in an event: its version, and the beginning of its tree.
pub(super) fn name(engine: &crate::contract::status::EngineVersion) -> String {
    match engine.tree.get(..12) {
        Some(tree) => format!("{} ({tree})", engine.version),
        None => engine.version.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::handover as shape;

    const HEADER: &str = r#""version": 1, "engine": {"version": "0.1.0", "tree": ""}, "lock": 3, "listener": 4"#;

    /// Records as the first engine that could hand over wrote them, with a field of a later one.
    #[test]
    fn the_first_records_are_understood() {
        let status = r#"{"name": "a", "session": "int-1", "state": "up", "pid": 7, "since": null, "heals": 0}"#;
        let connection = r#"{"fd": 9, "input": "00ff", "input_fds": [10], "output": [{"bytes": "61", "fds": [11]}]}"#;
        let watchdog = format!(
            r#"{{{HEADER}, "since": "2026-11-21T10:00:00Z", "later": {{}}, "links": [
                {{"wanted": true, "status": {status}, "connection": {connection}, "terminal": 8}}]}}"#
        );
        let read_back: shape::Watchdog = read(watchdog.as_bytes()).unwrap();
        assert_eq!((read_back.links[0].terminal, read_back.links[0].status.pid, read_back.clients.len()), (Some(8), Some(7), 0));
        assert_eq!(read_back.links[0].connection.as_ref().map(|c| c.input.0.clone()), Some(vec![0, 255]));
        let launch = r#"{"session": "int-1", "agent": "a", "backend": "shell", "start": ["sh"], "resume": ["sh"], "folder": "/", "env": {},
            "heal": true, "restart": {"backoff_min_ms": 1, "backoff_max_ms": 2, "burst": 3, "window_ms": 4}, "grace_ms": 5,
            "size": {"rows": 24, "cols": 80}}"#;
        let run = r#"{"boot": "b", "agent": {"pid": 7, "start": 8}, "state": "up", "since": "2026-11-21T10:00:00Z", "heals": 0, "started": true}"#;
        let host = format!(
            r#"{{{HEADER}, "master": 5, "slave": 6, "launch": {launch}, "run": {run}, "later": [], "asked_by": 1,
                "phase": {{"is": "up", "since_us": 12}},
                "clients": [{{"id": 1, "connection": {connection}, "role": {{"is": "attached", "behind": false, "read_only": true}}}}]}}"#
        );
        let read_back: shape::Host = read(host.as_bytes()).unwrap();
        assert_eq!((read_back.phase, read_back.clients[0].id), (shape::Phase::Up { since_us: 12 }, 1));
    }

    #[test]
    fn a_record_that_is_not_understood_is_refused_with_the_reason() {
        let newer = HEADER.replace("\"version\": 1", "\"version\": 2");
        let error = read::<shape::Watchdog>(format!("{{{newer}}}").as_bytes()).unwrap_err();
        assert!(error.message.contains("hands over by version 2") && error.message.contains("understands version 1"), "{error}");
        for torn in ["", "{", "{}", &format!("{{{HEADER}}}")] {
            assert!(read::<shape::Watchdog>(torn.as_bytes()).unwrap_err().message.contains("is not understood"), "{torn}");
        }
    }
}
