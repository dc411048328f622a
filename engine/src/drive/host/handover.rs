//! A host that becomes another program: nothing of its session is touched, nobody who is connected notices.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::super::handover::{Kept, Role, header, name, passed, read_from, read_input, take};
use super::agent::Agent;
use super::clients::Clients;
use super::deliver::Deliveries;
use super::{Host, start};
use crate::contract::control::FromHost;
use crate::contract::handover::{self as shape, Bytes};
use crate::contract::layout::Layout;
use crate::core::cause::Remedy;
use crate::core::restart::Deaths;
use crate::core::session::{Phase, Then};
use crate::error::Result;
use crate::os::clock::monotonic;
use crate::os::lock::Lock;
use crate::os::pty::{self, Pty};
use crate::os::socket::Listener;
use crate::os::succession::{self, Trial};
use crate::os::{process, signal};
use crate::term::Recorder;

/// The program that is to take over, while it shows that it can.
pub(super) struct Upgrade {
    program: OwnedFd,
    /// Who wants to hear what came of it.
    asked_by: u64,
    trial: Trial,
}

impl Upgrade {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.trial.fd()
    }

    pub fn deadline(&self) -> Duration {
        self.trial.deadline()
    }
}

/// Whether this program could take over the host whose record is on standard input.
pub(in crate::drive) fn try_out() -> Result<()> {
    let record: shape::Host = read_input()?;
    phase(record.phase);
    passed()
}

/// The life of a host from where the program before it left off.
pub(in crate::drive) fn main(layout: Layout, id: &str, record: i32) -> Result<()> {
    let mut record: shape::Host = read_from(record)?;
    let letters = std::mem::take(&mut record.letters);
    process::set_name(&format!("host {id}"));
    let lock = Lock::from_fd(take(record.lock)?);
    let listener = Listener::from_fd(take(record.listener)?)?;
    process::become_subreaper()?;
    let signals = signal::descriptor(&[signal::CHILD])?;
    let (asked_by, before) = (record.asked_by, name(&record.header.engine));
    let (activity, evidence) = super::activity::of_run(Some(&record.run));
    let mut host = Host::take_over(layout, id, record)?;
    host.clients.answer(asked_by, &FromHost::Upgraded);
    host.log_event("upgraded", &format!("from {before} to {}", name(&header().engine)), Some(std::process::id() as i32));
    // Who ended meanwhile has said so to nobody.
    host.collect_children();
    host.notice_ends();
    if host.agent.is_some() {
        host.activity_found(activity, evidence);
        // The program that they knew may be deleted by now.
        let _ = host.offer_program();
    }
    if host.session.phase == Phase::Starting {
        // The program was being asked for its version, by a question that is lost.
        host.spawn();
    }
    host.watch_awaited();
    host.pane_begin();
    // It may have been about to look.
    host.search.agent_stirred(host.launch.find.is_some());
    host.work();
    host.take_over_letters(letters);
    host.live(&lock, &listener, &signals)
}

impl Host {
    /// Somebody wants this host to become another program; that is tried out first.
    pub(super) fn begin_upgrade(&mut self, asked_by: u64, program: Option<OwnedFd>) {
        match self.try_out(asked_by, program) {
            Ok(true) => self.clients.answer(asked_by, &FromHost::Upgraded),
            Ok(false) => {}
            Err(reason) => self.clients.answer(asked_by, &FromHost::NotUpgraded { reason }),
        }
    }

    /// True: it is that program already.
    fn try_out(&mut self, asked_by: u64, program: Option<OwnedFd>) -> Result<bool, String> {
        let Some(program) = program else { return Err("the request came without a program".into()) };
        if self.upgrade.is_some() {
            return Err("another upgrade of it is under way".into());
        }
        if succession::is_own_program(&program).map_err(|e| e.to_string())? {
            return Ok(true);
        }
        // What the record says of descriptors is not needed to try it.
        let record = self.hand_over((0, 0), asked_by, &mut Kept::default());
        let trial = self.role().try_out(&program, &record).map_err(|e| e.to_string())?;
        self.upgrade = Some(Upgrade { program, asked_by, trial });
        Ok(false)
    }

    fn role(&self) -> Role<'_> {
        Role { verb: start::HOST, layout: &self.layout, session: Some(&self.id) }
    }

    /// Becomes the other program once that has shown that it can take over; goes on otherwise, and says why.
    pub(super) fn upgrade_when_ready(&mut self, lock: &Lock, listener: &Listener) {
        if self.quit {
            return;
        }
        let Some(outcome) = self.upgrade.as_mut().and_then(|u| u.trial.outcome()) else { return };
        let Some(Upgrade { program, asked_by, trial }) = self.upgrade.take() else { return };
        drop(trial);
        let reason = match outcome {
            Ok(()) => {
                self.work();
                if self.quit {
                    return;
                }
                let mut kept = Kept::default();
                let fds = (kept.keep(lock.fd()), kept.keep(listener));
                let record = self.hand_over(fds, asked_by, &mut kept);
                self.role().become_program(&program, &record, kept).to_string()
            }
            Err(reason) => reason,
        };
        self.log_event("not-upgraded", &reason, None);
        self.write_events();
        self.clients.answer(asked_by, &FromHost::NotUpgraded { reason });
        self.clients.flush();
    }

    fn hand_over(&self, (lock, listener): (i32, i32), asked_by: u64, kept: &mut Kept) -> shape::Host {
        shape::Host {
            header: header(),
            lock,
            listener,
            master: kept.keep(&self.pty.master),
            slave: kept.keep(&self.pty.slave),
            launch: self.launch.clone(),
            run: self.run_record(),
            phase: phase_record(&self.session.phase),
            adopted: self.agent.as_ref().is_some_and(|a| a.adopted),
            resumed: self.session.resumed,
            scattered: self.scattered,
            ending: self.ending.iter().map(|(id, _)| *id).collect(),
            killing: self.killing,
            look_again_us: self.look_again.map(micros),
            watchdog_due_us: self.watchdog_due.map(micros),
            incomplete: self.recorder.incomplete().map(str::to_owned),
            input: Bytes(self.input.iter().copied().collect()),
            clients: self.clients.hand_over(kept),
            last_client: self.clients.last(),
            deliveries: self.deliveries.hand_over(),
            letters: self.outbox.hand_over(),
            asked_by,
        }
    }

    fn take_over(layout: Layout, id: &str, record: shape::Host) -> Result<Host> {
        let pty = Pty::from_ends(take(record.master)?, take(record.slave)?)?;
        let size = pty::size(&pty.master).unwrap_or(record.launch.size);
        let mut recorder = Recorder::open(&layout.log(id), size)?;
        if let Some(reason) = record.incomplete {
            recorder.remember_incomplete(reason);
        }
        let mut host = Host::new(layout, id, record.launch, pty, recorder);
        let run = record.run;
        host.session.limit = super::living_limit(&run);
        host.recall_stall(&run);
        (host.state, host.since, host.reason, host.version) = (run.state, run.since, run.reason, run.version);
        (host.group, host.uncapped) = (run.group, run.uncapped);
        host.memory_kills = host.count_memory_kills();
        host.session.phase = phase(record.phase);
        host.session.deaths = Deaths::from_record(run.deaths_ms.into_iter().map(Duration::from_millis));
        (host.session.heals, host.session.started, host.session.lasting) = (run.heals, run.started, run.lasting);
        (host.session.anew, host.session.resumed) = (run.anew, record.resumed);
        host.agent = run.agent.map(|id| Agent::taken_over(id, record.adopted));
        host.scattered = record.scattered;
        host.killing = record.killing;
        host.look_again = record.look_again_us.map(Duration::from_micros);
        host.watchdog_due = record.watchdog_due_us.map(Duration::from_micros);
        let was_ending = !record.ending.is_empty();
        host.ending = record.ending.into_iter().filter_map(|id| Some((id, id.open()?))).collect();
        if was_ending && host.ending.is_empty() {
            host.look_again = Some(monotonic());
        }
        host.input = record.input.0.into();
        host.clients = Clients::take_over(record.clients, record.last_client)?;
        host.deliveries = Deliveries::take_over(record.deliveries);
        Ok(host)
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

fn phase_record(phase: &Phase) -> shape::Phase {
    match phase {
        Phase::Down => shape::Phase::Down,
        Phase::Starting => shape::Phase::Starting,
        Phase::Up { since } => shape::Phase::Up { since_us: micros(*since) },
        Phase::Backoff { until, reason } => shape::Phase::Backoff { until_us: micros(*until), reason: reason.clone() },
        Phase::Ending { then, kill_at } => shape::Phase::Ending {
            then: match then {
                Then::Quit => shape::Then::Quit,
                Then::Start => shape::Then::Start,
                Then::Heal { reason, ran, remedy } => {
                    shape::Then::Heal { reason: reason.clone(), ran_us: micros(*ran), remedy: remedy_record(*remedy) }
                }
            },
            kill_at_us: kill_at.map(micros),
        },
        Phase::Limited { until, reason } => shape::Phase::Limited { until_us: micros(*until), reason: reason.clone() },
        Phase::Failing { reason } => shape::Phase::Failing { reason: reason.clone() },
        Phase::Exited { reason } => shape::Phase::Exited { reason: reason.clone() },
    }
}

fn phase(record: shape::Phase) -> Phase {
    match record {
        shape::Phase::Down => Phase::Down,
        shape::Phase::Starting => Phase::Starting,
        shape::Phase::Up { since_us } => Phase::Up { since: Duration::from_micros(since_us) },
        shape::Phase::Backoff { until_us, reason } => Phase::Backoff { until: Duration::from_micros(until_us), reason },
        shape::Phase::Ending { then, kill_at_us } => Phase::Ending {
            then: match then {
                shape::Then::Quit => Then::Quit,
                shape::Then::Start => Then::Start,
                shape::Then::Heal { reason, ran_us, remedy: shape } => {
                    Then::Heal { reason, ran: Duration::from_micros(ran_us), remedy: remedy(shape) }
                }
            },
            kill_at: kill_at_us.map(Duration::from_micros),
        },
        shape::Phase::Limited { until_us, reason } => Phase::Limited { until: Duration::from_micros(until_us), reason },
        shape::Phase::Failing { reason } => Phase::Failing { reason },
        shape::Phase::Exited { reason } => Phase::Exited { reason },
    }
}

fn remedy_record(remedy: Remedy) -> shape::Remedy {
    match remedy {
        Remedy::Again => shape::Remedy::Again,
        Remedy::AtOnce => shape::Remedy::AtOnce,
        Remedy::Slower => shape::Remedy::Slower,
        Remedy::NotBefore(until) => shape::Remedy::NotBefore { until_us: micros(until) },
        Remedy::Never => shape::Remedy::Never,
    }
}

fn remedy(record: shape::Remedy) -> Remedy {
    match record {
        shape::Remedy::Again => Remedy::Again,
        shape::Remedy::AtOnce => Remedy::AtOnce,
        shape::Remedy::Slower => Remedy::Slower,
        shape::Remedy::NotBefore { until_us } => Remedy::NotBefore(Duration::from_micros(until_us)),
        shape::Remedy::Never => Remedy::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_comes_back_as_it_was() {
        let at = Duration::from_micros(1_234_567);
        let remedies = [Remedy::Again, Remedy::AtOnce, Remedy::Slower, Remedy::NotBefore(at), Remedy::Never];
        let mut then = vec![Then::Quit, Then::Start];
        then.extend(remedies.map(|remedy| Then::Heal { reason: "r".into(), ran: at, remedy }));
        let mut all = vec![Phase::Down, Phase::Starting, Phase::Up { since: at }, Phase::Backoff { until: at, reason: "r".into() }];
        all.extend(then.into_iter().map(|then| Phase::Ending { then, kill_at: Some(at) }));
        all.extend([Phase::Limited { until: at, reason: "r".into() }]);
        all.extend([Phase::Failing { reason: "r".into() }, Phase::Exited { reason: "r".into() }]);
        for one in all {
            let text = serde_json::to_string(&phase_record(&one)).unwrap();
            assert_eq!(phase(serde_json::from_str(&text).unwrap()), one, "{text}");
        }
    }
}
