//! Killing parts of a running project, and waiting for what the daemons themselves say: events over sockets, no looking again and again.

use std::time::Duration;

use agents::cli::{Error, Result};
use agents::contract::control::{FromHost, FromWatchdog, JSON, ToHost, ToWatchdog};
use agents::contract::layout::Layout;
use agents::contract::status::{AgentStatus, EngineStatus, State};
use agents::os::clock::monotonic;
use agents::os::follow::Changes;
use agents::os::process::ProcessId;
use agents::os::socket::Stream;
use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::stage::Stage;

/// Whoever is not back by then has failed.
const LIMIT: Duration = Duration::from_secs(10);
const WATCHDOG_SOCKET: &str = "watchdog.sock";

/// Who died, who came, and how long nobody was there.
pub struct Healed {
    pub old: i32,
    pub new: i32,
    pub took: Duration,
}

/// A project whose watchdog tells every change.
pub struct Watched {
    name: String,
    layout: Layout,
    stream: Stream,
    status: EngineStatus,
}

impl Watched {
    pub fn open(stage: &Stage, name: &str) -> Result<Watched> {
        let layout = stage.layout(name)?;
        let mut stream = Stream::connect(&layout.watchdog_socket())?;
        ask(&mut stream, &ToWatchdog::Subscribe)?;
        let status = next(&mut stream, monotonic() + LIMIT)?;
        Ok(Watched { name: name.to_owned(), layout, stream, status })
    }

    fn agent(&self) -> Result<&AgentStatus> {
        self.status.agents.first().filter(|a| a.state == State::Up).ok_or_else(|| self.failed("its agent is not up"))
    }

    fn failed(&self, what: &str) -> Error {
        Error::failed(format!("project {}: {what}", self.name))
    }

    /// Until its agent is up under another number.
    pub fn kill_agent(mut self, before: impl Fn(i32)) -> Result<Healed> {
        let old = self.agent()?.pid.ok_or_else(|| self.failed("its agent has no process"))?;
        before(old);
        let (start, deadline) = self.kill(old)?;
        loop {
            self.status = next(&mut self.stream, deadline)?;
            if let Ok(AgentStatus { pid: Some(new), .. }) = self.agent()
                && *new != old
            {
                return Ok(Healed { old, new: *new, took: monotonic() - start });
            }
        }
    }

    /// Until a new host answers for the same agent.
    pub fn kill_host(mut self, before: impl Fn(i32)) -> Result<Healed> {
        let agent = self.agent()?.clone();
        let socket = self.layout.host_socket(&agent.session);
        let old = Stream::connect(&socket)?.peer_pid().ok_or_else(|| self.failed("its host's number is not known"))?;
        before(old);
        let (start, deadline) = self.kill(old)?;
        loop {
            // The watchdog says when it has lost the one, and when it has heard of the other.
            next(&mut self.stream, deadline)?;
            let Ok(mut host) = Stream::connect(&socket) else { continue };
            if ask(&mut host, &ToHost::Status).is_err() {
                continue;
            }
            let Ok(FromHost::Report { status, .. }) = answer(&mut host, deadline) else { continue };
            let new = host.peer_pid().unwrap_or(0);
            if status.state == State::Up && new != old {
                let took = monotonic() - start;
                return match status.pid == agent.pid {
                    true => Ok(Healed { old, new, took }),
                    false => Err(self.failed("its agent was not adopted, but replaced")),
                };
            }
        }
    }

    /// Until a new watchdog tells of the same agent.
    pub fn kill_watchdog(mut self, before: impl Fn(i32)) -> Result<Healed> {
        let agent = self.agent()?.clone();
        let old = self.status.watchdog.as_ref().map(|w| w.pid).ok_or_else(|| self.failed("it has no watchdog"))?;
        before(old);
        let mut changes = Changes::of(&self.layout.runtime)?;
        let (start, deadline) = self.kill(old)?;
        loop {
            if let Ok(mut stream) = Stream::connect(&self.layout.watchdog_socket())
                && ask(&mut stream, &ToWatchdog::Subscribe).is_ok()
            {
                while let Ok(status) = next(&mut stream, deadline) {
                    self.status = status;
                    let new = self.status.watchdog.as_ref().map_or(0, |w| w.pid);
                    if new != old && self.agent().is_ok_and(|a| a.pid == agent.pid) {
                        return Ok(Healed { old, new, took: monotonic() - start });
                    }
                }
            }
            if !changes.wait_by(WATCHDOG_SOCKET, deadline)? {
                return Err(self.failed("no new watchdog has come"));
            }
        }
    }

    fn kill(&self, pid: i32) -> Result<(Duration, Duration)> {
        let process = ProcessId::of(pid).ok_or_else(|| self.failed(&format!("process {pid} is gone already")))?;
        let start = monotonic();
        process.signal(Signal::KILL);
        Ok((start, start + LIMIT))
    }
}

fn ask(stream: &mut Stream, message: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(message).map_err(|e| Error::failed(e.to_string()))?;
    stream.queue(JSON, &bytes, vec![]);
    Ok(stream.flush_by(monotonic() + LIMIT)?)
}

fn answer<T: DeserializeOwned>(stream: &mut Stream, deadline: Duration) -> Result<T> {
    let frame = stream.next_by(deadline)?;
    serde_json::from_slice(&frame.payload).map_err(|e| Error::failed(format!("a daemon said what nobody understands: {e}")))
}

/// The next state that the watchdog tells.
fn next(stream: &mut Stream, deadline: Duration) -> Result<EngineStatus> {
    match answer(stream, deadline)? {
        FromWatchdog::Status { status } => Ok(status),
        FromWatchdog::Settled { .. } | FromWatchdog::Upgraded { .. } | FromWatchdog::Tasks { .. } => {
            Err(Error::failed("the watchdog answered something else than was asked"))
        }
        FromWatchdog::Failed { reason } => Err(Error::failed(reason)),
    }
}
