//! A watchdog that becomes another program, after all its hosts have: one of them first, the others when that has gone well, itself last.
//!
//! So where the watchdog is of one engine, no host is of an older one; and where a host fails, the rest stays as it is and is asked again next time.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use super::super::handover::{Kept, Role, header, name, passed, read_from, read_input, take, take_connection};
use super::standby::Standby;
use super::{Client, Link, Watchdog, start};
use crate::contract::control::{FromWatchdog, JSON, ToHost};
use crate::contract::handover as shape;
use crate::contract::layout::Layout;
use crate::core::watch::Event;
use crate::error::Result;
use crate::os::clock::monotonic;
use crate::os::lock::Lock;
use crate::os::process;
use crate::os::socket::Listener;
use crate::os::succession::Trial;

/// How long the hosts may take, each with a trial of its own.
const HOSTS: Duration = Duration::from_secs(20);

/// The program that is to take over, and how far it has come.
pub(super) struct Upgrade {
    program: OwnedFd,
    stage: Stage,
}

enum Stage {
    /// It shows that it understands what this watchdog will hand over.
    Trial(Trial),
    /// By session, what the hosts that were asked have answered; `None`: not yet.
    Hosts { answers: BTreeMap<String, Option<Result<(), String>>>, deadline: Duration },
}

impl Upgrade {
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Trial(trial) => Some(trial.fd()),
            Stage::Hosts { .. } => None,
        }
    }

    pub fn deadline(&self) -> Duration {
        match &self.stage {
            Stage::Trial(trial) => trial.deadline(),
            Stage::Hosts { deadline, .. } => *deadline,
        }
    }
}

/// Whether this program could take over the watchdog whose record is on standard input.
pub(in crate::drive) fn try_out() -> Result<()> {
    let _: shape::Watchdog = read_input()?;
    passed()
}

/// The life of a watchdog from where the program before it left off.
pub(in crate::drive) fn main(layout: Layout, record: i32) -> Result<()> {
    let record: shape::Watchdog = read_from(record)?;
    process::set_name("watchdog");
    let lock = Lock::from_fd(take(record.lock)?);
    let listener = Listener::from_fd(take(record.listener)?)?;
    let before = name(&record.header.engine);
    let mut watchdog = Watchdog::take_over(layout, record)?;
    watchdog.log("upgraded", "", &format!("from {before} to {}", name(&header().engine)));
    watchdog.end_upgrade(Ok(()));
    watchdog.changed = true;
    watchdog.work();
    watchdog.tell();
    watchdog.flush();
    watchdog.live(&lock, listener, true)
}

impl Watchdog {
    /// A client wants all of the engine to become another program.
    pub(super) fn begin_upgrade(&mut self, i: usize, program: Option<OwnedFd>) {
        let reason = match (program, &self.upgrade) {
            (None, _) => "the request came without a program".to_owned(),
            (Some(_), Some(_)) => "another upgrade is under way".to_owned(),
            // Whose turn it is would be forgotten.
            (Some(_), None) if self.turns.is_some() => "sessions are still being brought back after a boot".to_owned(),
            (Some(program), None) => match self.role().try_out(&program, &self.hand_over((0, 0), &mut Kept::default())) {
                Ok(trial) => {
                    self.clients[i].upgrading = true;
                    self.upgrade = Some(Upgrade { program, stage: Stage::Trial(trial) });
                    return;
                }
                Err(e) => e.to_string(),
            },
        };
        self.say(i, &FromWatchdog::Failed { reason });
    }

    fn role(&self) -> Role<'_> {
        Role { verb: start::WATCHDOG, layout: &self.layout, session: None }
    }

    /// A host has answered, or has ended.
    pub(super) fn host_upgraded(&mut self, session: &str, answer: Result<(), String>) {
        if let Some(Upgrade { stage: Stage::Hosts { answers, .. }, .. }) = &mut self.upgrade
            && let Some(open @ None) = answers.get_mut(session)
        {
            *open = Some(answer);
        }
    }

    /// Goes on with the upgrade as far as that is possible now. Does not return where all of it has gone well.
    pub(super) fn upgrade_when_ready(&mut self, lock: &Lock, listener: &Listener) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if let Stage::Trial(trial) = &mut upgrade.stage {
            match trial.outcome() {
                None => return,
                Some(Err(reason)) => return self.end_upgrade(Err(format!("the new program does not take over: {reason}"))),
                Some(Ok(())) => upgrade.stage = Stage::Hosts { answers: BTreeMap::new(), deadline: monotonic() + HOSTS },
            }
        }
        match self.ask_hosts() {
            None => {}
            Some(Err(reason)) => self.end_upgrade(Err(reason)),
            // Whoever is being told is our child; its end is a moment away.
            Some(Ok(())) if !self.teller.is_idle() => {}
            Some(Ok(())) => {
                let reason = self.become_program(lock, listener);
                self.end_upgrade(Err(format!("the hosts were replaced, the watchdog was not: {reason}")));
            }
        }
    }

    /// Asks those that were not asked yet, when it is their turn. `None`: answers are awaited.
    fn ask_hosts(&mut self) -> Option<Result<(), String>> {
        let Some(Upgrade { program, stage: Stage::Hosts { answers, deadline } }) = &mut self.upgrade else { return None };
        // A host that ended because it was to end has taken nothing along.
        answers.retain(|session, answer| matches!(answer, None | Some(Ok(()))) || self.watch.is_wanted(session));
        let failed = answers.iter().find_map(|(session, answer)| Some((session, answer.as_ref()?.as_ref().err()?)));
        let waiting = answers.values().any(Option::is_none);
        if let Some((session, reason)) = failed.filter(|_| !waiting) {
            return Some(Err(format!("the host of {session} was not replaced: {reason}")));
        }
        if waiting {
            let silent = answers.iter().find(|(_, a)| a.is_none()).map_or("", |(session, _)| session);
            let late = monotonic() >= *deadline;
            return late.then(|| Err(format!("the host of {silent} has not answered within {} s", HOSTS.as_secs())));
        }
        let most = if answers.is_empty() { 1 } else { usize::MAX };
        let left = self.links.iter_mut().filter(|(session, link)| link.stream.is_some() && !answers.contains_key(*session));
        let mut asked = vec![];
        for (session, link) in left.take(most) {
            let Some(stream) = &mut link.stream else { continue };
            let answer = match process::duplicate(&*program) {
                Ok(copy) => {
                    stream.queue(JSON, &serde_json::to_vec(&ToHost::Upgrade).unwrap_or_default(), vec![copy]);
                    // A connection that broke is noticed when it is read.
                    let _ = stream.flush();
                    None
                }
                Err(e) => Some(Err(e.to_string())),
            };
            asked.push((session.clone(), answer));
        }
        let all = asked.is_empty();
        answers.extend(asked);
        all.then_some(Ok(()))
    }

    /// Tells who waits for it what came of the upgrade.
    fn end_upgrade(&mut self, result: Result<(), String>) {
        self.upgrade = None;
        if let Err(reason) = &result {
            self.log("not-upgraded", "", reason);
        }
        let hosts = self.links.values().filter(|l| l.stream.is_some()).count();
        for i in 0..self.clients.len() {
            if std::mem::take(&mut self.clients[i].upgrading) {
                let message = match &result {
                    Ok(()) => FromWatchdog::Upgraded { hosts },
                    Err(reason) => FromWatchdog::Failed { reason: reason.clone() },
                };
                self.say(i, &message);
            }
        }
        self.flush();
    }

    fn become_program(&mut self, lock: &Lock, listener: &Listener) -> String {
        let Some(Upgrade { program, .. }) = self.upgrade.take() else { return "there is no program".into() };
        let mut kept = Kept::default();
        let fds = (kept.keep(lock.fd()), kept.keep(listener));
        let record = self.hand_over(fds, &mut kept);
        self.role().become_program(&program, &record, kept).to_string()
    }

    fn hand_over(&self, (lock, listener): (i32, i32), kept: &mut Kept) -> shape::Watchdog {
        let link = |(session, link): (&String, &Link)| shape::Link {
            wanted: self.watch.is_wanted(session),
            status: link.status.clone(),
            connection: link.stream.as_ref().map(|s| kept.connection(s)),
            terminal: link.terminal.as_ref().map(|t| kept.keep(t)),
            restarting: link.restarting,
            refusal: link.refusal.clone(),
        };
        let links = self.links.iter().map(link).collect();
        let asker = |c: &Client| shape::Asker {
            connection: kept.connection(&c.stream),
            subscribed: c.subscribed,
            settling: c.settling.clone(),
            upgrading: c.upgrading,
            awaited: c.awaited.clone(),
        };
        let clients = self.clients.iter().filter(|c| !c.gone).map(asker).collect();
        let descriptors_before = process::descriptor_limit_before();
        let standby = self.standby.process();
        shape::Watchdog { header: header(), lock, listener, since: self.since, descriptors_before, links, clients, standby }
    }

    /// As after a death, but nothing has to be looked for: what was connected still is.
    fn take_over(layout: Layout, record: shape::Watchdog) -> Result<Watchdog> {
        let mut watchdog = Watchdog::new(layout, record.since);
        let spawned = crate::store::meta::list(&watchdog.layout)?.into_iter().filter(crate::store::meta::Meta::is_spawned);
        watchdog.spawned = spawned.map(|meta| meta.session).collect();
        process::remember_descriptor_limit(record.descriptors_before);
        for held in record.links {
            let session = held.status.session.clone();
            let stream = held.connection.map(take_connection).transpose()?;
            let terminal = held.terminal.map(take).transpose()?;
            let connected = stream.is_some();
            let link = Link { stream, terminal, status: held.status, restarting: held.restarting, refusal: held.refusal };
            watchdog.links.insert(session.clone(), link);
            if connected {
                // The host that it asks to be found is there.
                let _ = watchdog.watch.step(monotonic(), &session, Event::Wanted { up: held.wanted, leftovers: true }, 0.0);
                watchdog.step(&session, Event::HostUp);
            } else {
                let leftovers = watchdog.has_leftovers(&session);
                watchdog.step(&session, Event::Wanted { up: held.wanted, leftovers });
            }
        }
        for held in record.clients {
            let stream = take_connection(held.connection)?;
            let (subscribed, settling, upgrading) = (held.subscribed, held.settling, held.upgrading);
            let awaited = held.awaited;
            watchdog.clients.push(Client { stream, subscribed, settling, upgrading, awaited, gone: false });
        }
        watchdog.standby = record.standby.map(Standby::of_program_before).unwrap_or_default();
        watchdog.begin_tasks();
        Ok(watchdog)
    }
}
