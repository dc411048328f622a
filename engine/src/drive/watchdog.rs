//! The watchdog: one per project. It holds a connection to every host and a copy of every terminal, and replaces a host that dies.
//!
//! It answers for the whole project from what the hosts have told it, so one connection tells the state of all sessions.

mod boot;
mod clerk;
mod clients;
mod evidence;
pub(super) mod handover;
mod leave;
mod notices;
mod orders;
pub(super) mod standby;
mod storm;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};

use jiff::Timestamp;
use rustix::event::PollFlags;

use self::handover::Upgrade;
use self::leave::Leave;
use self::notices::Teller;
use self::standby::Standby;
use super::{interest, jitter, start, wait};
use crate::contract::control::{FromHost, JSON, ToHost};
use crate::contract::layout::Layout;
use crate::contract::records::Event as Record;
use crate::contract::status::{Activity, AgentStatus, Daemon, EngineStatus, State};
use crate::core::limits;
use crate::core::storm::Storm;
use crate::core::turns::Turns;
use crate::core::watch::{Action, Event, Host, Watch};
use crate::error::{Error, Result};
use crate::os::clock::{monotonic, now};
use crate::os::lock::Lock;
use crate::os::process;
use crate::os::socket::{Fill, Listener, Stream};
use crate::store;
use crate::store::meta::{Meta, Wanted};

/// The connection to one session's host, and what it has said.
struct Link {
    stream: Option<Stream>,
    /// Kept when the host dies: the next one goes on with it.
    terminal: Option<OwnedFd>,
    status: AgentStatus,
    /// The operator asked for a new start, and the host has not yet said that it is at it.
    restarting: bool,
    /// What the host said before it ended without ever reporting.
    refusal: String,
}

struct Client {
    stream: Stream,
    subscribed: bool,
    /// Is told when these have come to rest.
    settling: Option<Vec<String>>,
    /// Is told what came of the upgrade.
    upgrading: bool,
    /// Is told when this has been done with tasks.
    awaited: Option<orders::Awaited>,
    gone: bool,
}

struct Watchdog {
    layout: Layout,
    project: String,
    since: Timestamp,
    /// How many descriptors there may be.
    descriptors: u64,
    watch: Watch,
    links: BTreeMap<String, Link>,
    /// Those that are not a declared agent's own.
    spawned: BTreeSet<String>,
    clients: Vec<Client>,
    actions: Vec<Action>,
    /// Somebody is to be told of a change.
    changed: bool,
    /// Another program is to take over.
    upgrade: Option<Upgrade>,
    /// After a boot: whose turn it is to come back.
    turns: Option<Turns>,
    storm: Storm,
    /// What hosts are to be told of it.
    slowed: Vec<(String, ToHost)>,
    tasks: tasks::Tasks,
    teller: Teller,
    standby: Standby,
    leave: Leave,
}

/// The lock's descriptor is at least this.
const LOCK_LEAST: i32 = 16;

/// The watchdog's whole life. Descriptor 3 is its lock, 4 its listening socket.
pub fn main(layout: Layout) -> Result<()> {
    let foreign = || Error::usage("`agents watchdog` is started by the engine itself").hint("agents up");
    // SAFETY: `start::spawn_watchdog` promises these descriptors, and nothing else in this process has touched them.
    let (lock, listener) = unsafe {
        let lock = Lock::from_fd(process::inherited_fd(3).map_err(|_| foreign())?);
        (lock, Listener::from_fd(process::inherited_fd(4).map_err(|_| foreign())?)?)
    };
    process::set_name("watchdog");
    crate::os::cgroup::leave_session();
    // The watch over the queue's folders gets the free place below: closing it takes the kernel milliseconds, which would lie between the end of this
    // process's connections and that of its lock.
    let lock = lock.raised(LOCK_LEAST)?;
    let mut watchdog = Watchdog::new(layout, now());
    watchdog.log("watchdog", "", "started");
    let metas = store::meta::list(&watchdog.layout)?;
    watchdog.look_at_boot(&metas);
    for meta in &metas {
        watchdog.consider(meta);
    }
    watchdog.begin_tasks();
    watchdog.work();
    // Whoever started it for a reason is in the socket's queue by now or comes before the first pause.
    watchdog.live(&lock, listener, false)
}

impl Watchdog {
    fn new(layout: Layout, since: Timestamp) -> Watchdog {
        // Its hosts come of this process and need not find out again where that is counted.
        crate::os::cgroup::memory_kills();
        let project = layout.instance.strip_prefix(&format!("{}-", layout.hash)).unwrap_or(&layout.instance).to_owned();
        let teller = Teller::new(store::notify::told(&layout));
        Watchdog {
            layout,
            project,
            since,
            descriptors: process::raise_descriptor_limit(),
            watch: Watch::default(),
            links: BTreeMap::new(),
            spawned: BTreeSet::new(),
            clients: vec![],
            actions: vec![],
            changed: false,
            upgrade: None,
            turns: None,
            storm: Storm::default(),
            slowed: vec![],
            tasks: tasks::Tasks::new(),
            teller,
            standby: Standby::default(),
            leave: Leave::default(),
        }
    }

    /// Until nothing is wanted any more, or another program takes over. `asked`: somebody has wanted something of it.
    fn live(mut self, lock: &Lock, mut listener: Listener, mut asked: bool) -> Result<()> {
        while !(asked && self.goes(&mut listener)?) {
            asked |= self.turn(&listener)?;
            self.upgrade_when_ready(lock, &listener);
        }
        self.log("watchdog", "", "nothing is wanted any more");
        Ok(())
    }

    /// Waits for something to happen and deals with it. True once anybody has connected or anything was wanted.
    fn turn(&mut self, listener: &Listener) -> Result<bool> {
        let links: Vec<String> = self.links.iter().filter(|(_, l)| l.stream.is_some()).map(|(s, _)| s.clone()).collect();
        let mut asked = vec![(listener.as_fd(), listener.interest())];
        asked.extend(links.iter().filter_map(|s| self.links[s].stream.as_ref()).map(interest));
        asked.extend(self.clients.iter().map(|c| interest(&c.stream)));
        asked.extend(self.upgrade.iter().filter_map(Upgrade::fd).map(|fd| (fd, PollFlags::IN)));
        asked.extend(self.teller.fd().map(|fd| (fd, PollFlags::IN)));
        asked.extend(self.standby.fd().into_iter().chain(self.leave.fd()).map(|fd| (fd, PollFlags::IN)));
        let before_tasks = asked.len();
        asked.extend(self.tasks.fds().into_iter().map(|fd| (fd, PollFlags::IN)));
        let due = self.upgrade.as_ref().map(Upgrade::deadline);
        let turns = self.turns.as_ref().and_then(Turns::next_deadline);
        let ready = wait(
            &asked,
            [
                self.watch.next_deadline(),
                due,
                turns,
                self.storm.next_deadline(),
                self.tasks.next_deadline(),
                self.tidy_deadline(),
                self.teller.next_deadline(),
                self.standby.next_deadline(),
                listener.next_deadline(),
            ]
            .into_iter()
            .flatten()
            .min(),
        )?;
        drop(asked);

        for (session, ready) in links.iter().zip(&ready[1..]) {
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                self.hear(session);
            }
        }
        for (i, ready) in ready[1 + links.len()..].iter().take(self.clients.len()).enumerate() {
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                self.serve(i);
            }
        }
        if ready[0].contains(PollFlags::IN) {
            self.notice_tasks();
            while let Some(stream) = listener.accept() {
                if self.clients.len() < limits::CLIENTS_MAX {
                    self.clients.push(Client { stream, subscribed: false, settling: None, upgrading: false, awaited: None, gone: false });
                }
            }
        }
        if ready[before_tasks..].iter().any(|r| !r.is_empty()) {
            self.hear_of_tasks();
        }
        if self.watch.next_deadline().is_some_and(|t| t <= monotonic()) {
            self.actions.extend(self.watch.step(monotonic(), "", Event::Wake, jitter()));
        }
        self.take_turns();
        self.look_at_storm();
        self.tell_people();
        self.work();
        self.tidy();
        self.tell();
        let anybody = !self.clients.is_empty() || !self.watch.is_idle() || self.tasks.is_alive();
        self.flush();
        Ok(anybody)
    }

    /// Reads what is wanted of a session, and whether anything of it is left without a host.
    fn consider(&mut self, meta: &Meta) {
        if meta.is_spawned() {
            self.spawned.insert(meta.session.clone());
        }
        self.want(&meta.session, meta.wanted == Wanted::Up);
        if let Some(link) = self.links.get_mut(&meta.session).filter(|l| l.status.since.is_none()) {
            (link.status.name, link.status.backend) = (meta.agent.clone(), meta.backend.clone());
            // Until its host has spoken.
            let verdict = [State::Failing, State::Exited].into_iter().find(|s| s.word() == meta.status);
            (link.status.state, link.status.reason) = match (meta.wanted, verdict) {
                (Wanted::Down, _) => (State::Down, meta.reason.clone()),
                (Wanted::Up, Some(verdict)) => (verdict, meta.reason.clone()),
                (Wanted::Up, None) => (State::Starting, String::new()),
            };
        }
    }

    fn want(&mut self, session: &str, up: bool) {
        let leftovers = self.has_leftovers(session);
        self.links.entry(session.to_owned()).or_insert_with(|| Link {
            stream: None,
            terminal: None,
            status: AgentStatus {
                name: String::new(),
                session: session.to_owned(),
                state: State::Down,
                activity: Activity::Unknown,
                evidence: None,
                pid: None,
                since: None,
                heals: 0,
                reason: String::new(),
                backend: String::new(),
                until: None,
                stuck: false,
                version: String::new(),
            },
            restarting: false,
            refusal: String::new(),
        });
        self.step(session, Event::Wanted { up, leftovers });
        if !up {
            self.gives_up_turn(session);
        }
        if !up && *self.watch.host(session) == Host::Absent {
            self.is_down(session);
            self.task_may_be_down(session);
        }
    }

    fn is_down(&mut self, session: &str) {
        if let Some(link) = self.links.get_mut(session).filter(|l| l.status.state != State::Down) {
            link.terminal = None;
            let status = AgentStatus { state: State::Down, pid: None, since: Some(now()), reason: String::new(), ..link.status.clone() };
            link.status = AgentStatus { activity: Activity::Unknown, evidence: None, until: None, stuck: false, ..status };
        }
    }

    /// Whether an agent, or a host that is not connected, lives. What cannot be told counts as yes: then somebody looks closer.
    fn has_leftovers(&self, session: &str) -> bool {
        store::run::lives(&self.layout, session)
    }

    fn step(&mut self, session: &str, event: Event) {
        self.actions.extend(self.watch.step(monotonic(), session, event, jitter()));
    }

    fn work(&mut self) {
        while self.work_on_tasks() || !self.actions.is_empty() {
            for action in std::mem::take(&mut self.actions) {
                match action {
                    Action::FindOrStart(session) if !self.may_start(&session) => {}
                    Action::FindOrStart(session) if self.is_found(&session) => {}
                    Action::FindOrStart(session) => self.start_host(&session),
                    Action::Stop(session) => self.ask(&session, &ToHost::Stop),
                }
            }
        }
        // Before a host that was told to end hears of it.
        self.keep_standby();
    }

    fn ask(&mut self, session: &str, message: &ToHost) {
        if let Some(stream) = self.links.get_mut(session).and_then(|l| l.stream.as_mut()) {
            stream.queue(JSON, &serde_json::to_vec(message).unwrap_or_default(), vec![]);
        }
    }

    /// Whether the session needs no new host: a living one is connected to, or there can be none beside the others.
    fn is_found(&mut self, session: &str) -> bool {
        // A connection and a terminal each.
        let others = self.links.values().filter(|l| l.stream.is_some()).count();
        let needed = 2 * (others as u64 + 1) + limits::DESCRIPTORS_RESERVED;
        let Some(link) = self.links.get_mut(session) else { return true };
        link.refusal.clear();
        if needed > self.descriptors {
            link.refusal = format!("too many open files for another session: at most {} are allowed (`ulimit -n`)", self.descriptors);
            self.lost(session);
            return true;
        }
        let Ok(stream) = Stream::connect(&self.layout.host_socket(session)) else { return false };
        link.stream = Some(stream);
        self.ask(session, &ToHost::Watch);
        true
    }

    fn start_host(&mut self, session: &str) {
        let Some(link) = self.links.get_mut(session) else { return };
        match start::host(&self.layout, session, link.terminal.as_ref()) {
            Ok(stream) => link.stream = Some(stream),
            Err(e) => {
                link.refusal = format!("its host could not be started: {e}");
                self.lost(session);
            }
        }
    }

    /// A host has said something, or its connection has ended.
    fn hear(&mut self, session: &str) {
        let Some(mut stream) = self.links.get_mut(session).and_then(|l| l.stream.take()) else { return };
        let fill = stream.fill();
        let mut sound = matches!(fill, Ok(Fill::More | Fill::Nothing));
        loop {
            match stream.next_frame() {
                Ok(Some(mut frame)) => match serde_json::from_slice(&frame.payload) {
                    Ok(FromHost::Report { status, .. }) => self.report(session, *status, frame.fds.pop()),
                    Ok(FromHost::Failed { reason }) => {
                        if let Some(link) = self.links.get_mut(session) {
                            link.refusal = reason;
                        }
                    }
                    Ok(FromHost::Spoke) => self.has_spoken(session),
                    Ok(FromHost::Activity { activity, evidence }) => self.does(session, activity, evidence),
                    Ok(FromHost::Upgraded) => self.host_upgraded(session, Ok(())),
                    Ok(FromHost::NotUpgraded { reason }) => self.host_upgraded(session, Err(reason)),
                    Ok(FromHost::Taken | FromHost::Mail { .. } | FromHost::Done | FromHost::Detached { .. }) | Err(_) => {}
                },
                Ok(None) => break,
                Err(_) => {
                    sound = false;
                    break;
                }
            }
        }
        if sound {
            if let Some(link) = self.links.get_mut(session) {
                link.stream = Some(stream);
            }
        } else {
            self.lost(session);
        }
    }

    fn report(&mut self, session: &str, status: AgentStatus, terminal: Option<OwnedFd>) {
        let Some(link) = self.links.get_mut(session) else { return };
        if terminal.is_some() {
            link.terminal = terminal;
        }
        if !is_held(&status) {
            link.restarting = false;
        }
        if let Some(id) = tasks::of(session) {
            link.status = status.clone();
            self.changed = true;
            self.step(session, Event::HostUp);
            return self.task_report(id, &status);
        }
        let held = matches!(status.state, State::Failing | State::Exited);
        if held && !link.restarting {
            self.keep_verdict(session, &status);
        }
        self.notice_death(session, &status);
        if let Some(link) = self.links.get_mut(session) {
            link.status = status;
        }
        self.changed = true;
        self.notice(session);
        self.has_rested(session);
        self.step(session, Event::HostUp);
    }

    /// A verdict that only the operator may reverse outlives every process: it is written down.
    fn keep_verdict(&mut self, session: &str, status: &AgentStatus) {
        let Ok(mut meta) = store::meta::read(&self.layout, session) else { return };
        if meta.status != status.state.word() || meta.reason != status.reason {
            meta.status = status.state.word().into();
            meta.reason = status.reason.clone();
            if let Err(e) = store::meta::write(&self.layout, &meta) {
                self.log("not-written", session, &e.to_string());
            }
        }
    }

    fn lost(&mut self, session: &str) {
        let leftovers = self.has_leftovers(session);
        let stopped = *self.watch.host(session) == Host::Stopping;
        self.host_upgraded(session, Err("it ended meanwhile".into()));
        let Some(link) = self.links.get_mut(session) else { return };
        link.stream = None;
        self.changed = true;
        if stopped && !leftovers {
            self.is_down(session);
        } else if !link.refusal.is_empty() {
            let reason = link.refusal.clone();
            link.status = AgentStatus { state: State::Starting, reason: reason.clone(), ..link.status.clone() };
            self.log("host-not-started", session, &reason);
        } else {
            self.log("host-died", session, "its connection ended");
        }
        self.has_rested(session);
        self.step(session, Event::HostLost { leftovers });
        self.task_may_be_down(session);
    }

    fn status(&self) -> EngineStatus {
        let (running, others): (Vec<_>, Vec<_>) = self.links.iter().partition(|(session, _)| tasks::of(session).is_some());
        let of = |spawned: bool| {
            let links = others.iter().filter(|(session, _)| self.spawned.contains(*session) == spawned);
            links.map(|(_, link)| link.status.clone()).collect()
        };
        EngineStatus {
            instance: self.layout.instance.clone(),
            project: self.project.clone(),
            engine: crate::engine_version(),
            watchdog: Some(Daemon { pid: std::process::id() as i32, since: self.since }),
            agents: of(false),
            sessions: of(true),
            tasks: self.tasks.counts(),
            running: running.into_iter().map(|(_, link)| link.status.clone()).collect(),
        }
    }

    fn log(&self, what: &str, session: &str, why: &str) {
        // A full disk must not end the watchdog; events are shed then.
        let _ = store::events::append(
            &self.layout,
            &Record { at: now(), session: session.into(), what: what.into(), why: why.into(), pid: None },
        );
    }
}

/// Its next start is due at some later time.
fn waits(status: &AgentStatus) -> bool {
    status.state == State::Starting && !status.reason.is_empty()
}

/// Nothing runs, and only the operator makes it start now.
fn is_held(status: &AgentStatus) -> bool {
    waits(status) || matches!(status.state, State::Failing | State::Exited)
}
