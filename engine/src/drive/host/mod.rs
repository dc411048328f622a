//! The host: owns one session's terminal, is its agent's parent, and serves whoever connects.
//!
//! One thread, one place where it waits. What happens becomes an event of `core::session`; the actions that come back are performed here.

mod activity;
mod agent;
mod awaited;
mod clients;
mod conversation;
mod death;
mod deliver;
mod group;
pub(super) mod handover;
mod mailbox;
mod outbox;
mod pane;
mod stall;
mod task;
mod told;
mod version;
mod wake;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::PollFlags;

use self::activity::Watched;
use self::agent::Agent;
use self::awaited::Awaited;
use self::clients::Clients;
use self::deliver::Deliveries;
use self::handover::Upgrade;
use self::mailbox::Mailbox;
use self::outbox::Outbox;
use self::pane::Pane;
use self::wake::Waker;
use super::{interest, jitter, millis, start, wait};
use crate::contract::layout::Layout;
use crate::contract::records::{Event as Record, Launch, Run};
use crate::contract::status::State;
use crate::core::cause::Remedy;
use crate::core::limits;
use crate::core::restart::{Deaths, Policy};
use crate::core::session::{Action, Event, Phase, Session};
use crate::core::stall::{Slate, Stall};
use crate::error::{Error, Result};
use crate::os::cgroup::{Group, MemoryKills};
use crate::os::clock::{monotonic, now};
use crate::os::lock::Lock;
use crate::os::process;
use crate::os::pty::Pty;
use crate::os::signal;
use crate::os::socket::{Fill, Listener, Stream};
use crate::store;
use crate::term::Recorder;

/// How much of the program's output is taken in one go before others are served.
const OUTPUT_BYTES: usize = 128 << 10;

struct Host {
    layout: Layout,
    id: String,
    launch: Launch,
    /// It was read a moment ago, at the beginning of this host's life.
    launch_is_fresh: bool,
    session: Session,
    pty: Pty,
    recorder: Recorder,
    agent: Option<Agent>,
    /// Those who were asked to end, each with a descriptor that tells when it has.
    ending: Vec<(process::ProcessId, OwnedFd)>,
    /// Whether they were last killed rather than asked.
    killing: bool,
    /// When to look again for a holder of the agent's lock that cannot be found.
    look_again: Option<Duration>,
    /// An earlier host's agent lived here, so its orphans are not all our children.
    scattered: bool,
    events: VecDeque<Event>,
    clients: Clients,
    search: conversation::Search,
    deliveries: Deliveries,
    mailbox: Mailbox,
    outbox: Outbox,
    watched: Watched,
    stall: Stall,
    waker: Waker,
    /// Typed, and not yet taken by the terminal.
    input: VecDeque<u8>,
    state: State,
    since: Timestamp,
    reason: String,
    /// Given up on for want of a file or folder: tells when something changes where it should be.
    awaited: Option<Awaited>,
    /// When to see whether the watchdog that was lost has been replaced.
    watchdog_due: Option<Duration>,
    /// How long it waits before it looks for a watchdog once more.
    watchdog_retry: Duration,
    /// To the watchdog that was told of this host and has not connected yet.
    told_watchdog: Option<Stream>,
    quit: bool,
    /// The agent that was started last has printed something.
    spoke: bool,
    /// Another program is to take over.
    upgrade: Option<Upgrade>,
    /// How often the kernel had killed for want of memory when that was last looked at.
    memory_kills: MemoryKills,
    /// Events that are not written yet: the agent comes first.
    noted: Vec<Record>,
    /// Where the session is shown in tmux.
    pane: Pane,
    /// The agent's program is asked for its version.
    asking: Option<version::Asking>,
    told: version::Told,
    /// The version of the program that was started last; empty where it was not told.
    version: String,
    /// The control group in which its agents are started; empty where none can be made.
    group: Group,
    /// Which caps are not in force, and why.
    uncapped: String,
}

/// The host's whole life. Descriptor 3 is the watchdog's connection; 4, if `terminal`, the master of the terminal an earlier host left.
pub fn main(layout: Layout, id: &str, terminal: bool) -> Result<()> {
    // SAFETY: `start::host` promises these descriptors, and nothing else in this process has touched them.
    let (watchdog, master) = unsafe {
        let watchdog =
            process::inherited_fd(3).map_err(|_| Error::usage("`agents host` is started by the engine itself").hint("agents up"))?;
        (watchdog, if terminal { Some(process::inherited_fd(4)?) } else { None })
    };
    process::set_name(&format!("host {id}"));
    let mut watchdog = Stream::from_fd(watchdog)?;
    let lock = match Lock::wait_at_most(&layout.host_lock(id), limits::HOST_LOCK_WAIT) {
        Ok(lock) => lock,
        Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {
            clients::refuse(&mut watchdog, &format!("another host has this session: {e}"));
            return Ok(());
        }
        Err(e) => {
            clients::refuse(&mut watchdog, &e.to_string());
            return Err(e.into());
        }
    };
    process::become_subreaper()?;
    let signals = signal::descriptor(&[signal::CHILD])?;
    let listener = Listener::bind(&layout.host_socket(id))?;
    let (activity, evidence) = activity::of_run(store::run::read(&layout, id).as_ref());
    let mut host = match Host::begin(layout, id, master) {
        Ok(host) => host,
        Err(e) => {
            clients::refuse(&mut watchdog, &e.to_string());
            return Err(e);
        }
    };
    host.clients.add_watchdog(watchdog);
    host.mail_begin();
    if host.agent.is_some() {
        host.activity_found(activity, evidence);
    }
    host.work();
    host.launch_is_fresh = false;
    host.pane_begin();
    host.live(&lock, &listener, &signals)
}

impl Host {
    fn begin(layout: Layout, id: &str, master: Option<OwnedFd>) -> Result<Host> {
        let meta = store::meta::read(&layout, id);
        let launch = store::launch::read(&layout, id)?;
        let record = store::run::read(&layout, id);
        let adoptable = master.is_some();
        let pty = match master {
            Some(master) => Pty::from_master(master)?,
            None => Pty::open(launch.size)?,
        };
        let size = crate::os::pty::size(&pty.master).unwrap_or(launch.size);
        let recorder = Recorder::open(&layout.log(id), size)?;
        let mut host = Host::new(layout, id, launch, pty, recorder);
        host.launch_is_fresh = true;
        let (launch, session) = (&host.launch, &mut host.session);
        session.started = launch.started;
        session.lasting = launch.started && !launch.named;
        if let Some(run) = &record {
            session.lasting |= run.lasting || (run.state == State::Up && !launch.named && lived(run) >= limits::CONVERSATION_AFTER);
            session.anew = run.anew;
            session.deaths = Deaths::from_record(run.deaths_ms.iter().map(|ms| millis(*ms)));
            session.heals = run.heals;
            session.started |= run.started;
            (host.state, host.since, host.reason) = (run.state, run.since, run.reason.clone());
            host.version = run.version.clone();
            host.recall_stall(run);
        }
        let first = host.first_event(record.as_ref(), meta, adoptable)?;
        host.events.push_back(first);
        Ok(host)
    }

    /// A host that has not looked around yet.
    fn new(layout: Layout, id: &str, launch: Launch, pty: Pty, recorder: Recorder) -> Host {
        let session = Session { named: launch.named, ..Session::new(policy(&launch), launch.heal, millis(launch.grace_ms)) };
        Host {
            launch,
            launch_is_fresh: false,
            session,
            pty,
            recorder,
            agent: None,
            ending: vec![],
            killing: false,
            look_again: None,
            scattered: false,
            events: VecDeque::new(),
            clients: Clients::default(),
            search: conversation::Search::default(),
            deliveries: Deliveries::default(),
            mailbox: Mailbox::new(crate::os::fs::exists(&layout.draft(id))),
            outbox: Outbox::default(),
            watched: Watched::new(),
            stall: Stall::new(None, Slate::default()),
            waker: Waker::default(),
            input: VecDeque::new(),
            state: State::Starting,
            since: now(),
            reason: String::new(),
            awaited: None,
            watchdog_due: None,
            watchdog_retry: limits::WATCHDOG_RETRY_MIN,
            told_watchdog: None,
            quit: false,
            spoke: false,
            upgrade: None,
            memory_kills: MemoryKills::default(),
            noted: vec![],
            pane: Pane::default(),
            asking: None,
            told: version::Told::default(),
            version: String::new(),
            group: Group::default(),
            uncapped: String::new(),
            id: id.to_owned(),
            layout,
        }
    }

    /// Until it is to end, or another program takes over.
    fn live(mut self, lock: &Lock, listener: &Listener, signals: &OwnedFd) -> Result<()> {
        while !self.quit {
            self.turn(listener, signals)?;
            self.upgrade_when_ready(lock, listener);
        }
        self.farewell();
        Ok(())
    }

    /// What this host finds: a living agent, a given-up one, one to end, or nothing.
    fn first_event(&mut self, record: Option<&Run>, meta: Result<store::meta::Meta>, adoptable: bool) -> Result<Event> {
        let lock = self.layout.agent_lock(&self.id);
        let alive = if record.is_some_and(|run| run.agent.is_some()) { Lock::is_taken(&lock)? } else { Lock::is_held(&lock)? };
        self.find_group(record);
        // What has let go of the lock may still be there; no other agent is started beside it.
        let strays = !alive && !self.members().is_empty();
        // All that an agent starts is born in its group: without one, and where something of it lives, they are looked for everywhere.
        self.scattered = alive || (record.is_some() && self.group().is_none());
        if alive && adoptable && self.adopt(record) {
            self.session.limit = record.and_then(living_limit);
            return Ok(Event::Adopted);
        }
        if let Some(event) = self.first_of_task(alive) {
            return Ok(event);
        }
        // What is wanted cannot be told: a living agent was taken over, anything else waits for somebody who puts it right.
        let meta = meta?;
        if alive {
            return Ok(Event::Stranded);
        }
        if meta.wanted == store::meta::Wanted::Down {
            return Ok(Event::Stop);
        }
        if [State::Failing, State::Exited].iter().any(|s| meta.status == s.word()) {
            return Ok(Event::Stay { failing: meta.status == State::Failing.word(), reason: meta.reason });
        }
        match record {
            // It ran under the host before this one and is gone: nobody saw how.
            Some(Run { state: State::Up, .. }) => {
                self.session.phase = Phase::Up { since: monotonic() };
                Ok(Event::Died { reason: "ended together with its host".into(), remedy: Remedy::AtOnce })
            }
            Some(Run { state: state @ (State::Failing | State::Exited), reason, .. }) => {
                Ok(Event::Stay { failing: *state == State::Failing, reason: reason.clone() })
            }
            Some(Run { state: State::Limited, until: Some(until), reason, .. }) => Ok(Host::still_limited(*until, reason.clone())),
            Some(_) | None if strays => Ok(Event::Stranded),
            Some(_) | None => Ok(Event::Start),
        }
    }

    /// When something is due although nothing happens.
    fn next_deadline(&self) -> Option<Duration> {
        let awaited = self.awaited.as_ref().and_then(Awaited::next_deadline);
        let upgrade = self.upgrade.as_ref().map(Upgrade::deadline);
        let due = [
            self.session.next_deadline(),
            self.search.next_deadline(),
            self.watchdog_due,
            self.deliveries.next_deadline(),
            self.mailbox.next_deadline(),
            self.watched.next_deadline(),
            self.stall_due(),
            self.wake_due(),
            self.look_again,
            self.pane.next_deadline(),
            self.asking.as_ref().and_then(version::Asking::next_deadline),
            awaited,
            upgrade,
        ];
        due.into_iter().flatten().min()
    }

    /// Waits for something to happen, and deals with it.
    fn turn(&mut self, listener: &Listener, signals: &OwnedFd) -> Result<()> {
        let deadline = self.next_deadline().into_iter().chain(listener.next_deadline()).min();
        let typing = if self.input.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut asked = vec![
            (listener.as_fd(), listener.interest()),
            (signals.as_fd(), PollFlags::IN),
            (self.pty.master.as_fd(), PollFlags::IN | typing),
        ];
        if let Some(fd) = self.agent.as_ref().and_then(Agent::descriptor) {
            asked.push((fd, PollFlags::IN));
        }
        asked.extend(self.ending.iter().map(|(_, fd)| (fd.as_fd(), PollFlags::IN)));
        asked.extend(self.awaited.iter().filter_map(Awaited::descriptor).map(|fd| (fd, PollFlags::IN)));
        asked.extend(self.upgrade.iter().map(|upgrade| (upgrade.fd(), PollFlags::IN)));
        asked.extend(self.watched.descriptor().map(|fd| (fd, PollFlags::IN)));
        asked.extend(self.pane.descriptor().map(|fd| (fd, PollFlags::IN)));
        asked.extend(self.outbox.descriptor().map(|fd| (fd, PollFlags::IN)));
        asked.extend(self.told_watchdog.iter().map(|stream| (stream.as_fd(), PollFlags::IN)));
        let first_client = asked.len();
        asked.extend(self.clients.streams().map(interest));
        let ready = wait(&asked, deadline)?;
        drop(asked);

        if ready[2].intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.take_output();
        }
        if ready[1].contains(PollFlags::IN) {
            while signal::next(signals).is_some() {}
            self.collect_children();
            self.look_whether_stopped();
        }
        if ready[3..first_client].iter().any(|r| !r.is_empty()) {
            self.notice_ends();
            self.record_stirred();
            self.post_waiting();
            self.hear_watchdog();
        }
        if self.awaited.is_some() {
            self.reconsider(false);
        }
        self.serve(&ready[first_client..]);
        if ready[0].contains(PollFlags::IN) {
            while let Some(stream) = listener.accept() {
                self.clients.add(stream);
            }
        }
        self.keep_time();
        self.work();
        self.type_input();
        self.clients.flush();
        self.pane_flushed();
        Ok(())
    }

    fn keep_time(&mut self) {
        let time = monotonic();
        if self.session.next_deadline().is_some_and(|t| t <= time) {
            self.events.push_back(Event::Wake);
        }
        if self.look_again.is_some_and(|t| t <= time) {
            self.look_again = None;
            self.end_tree(self.killing);
        }
        if self.watchdog_due.is_some_and(|t| t <= time) {
            self.watchdog_due = None;
            self.replace_watchdog();
        }
        self.pane_keep();
        self.look_for_conversation();
        self.give_up_asking();
        self.deliver(time);
        if self.mailbox.next_deadline().is_some_and(|t| t <= time) {
            self.look_into_mailbox(time);
            self.deliver(time);
        }
        self.keep_activity(time);
        // First: who is woken now has no reason to be told to go on.
        self.wake_if_due();
        self.keep_stall(time);
    }

    /// Works off the events; what they cause may bring more.
    fn work(&mut self) {
        while let Some(event) = self.events.pop_front() {
            self.note(&event);
            for action in self.session.step(monotonic(), event, jitter()) {
                match action {
                    Action::Spawn => self.spawn(),
                    Action::Terminate => self.end_tree(false),
                    Action::Kill => self.end_tree(true),
                    Action::Announce => self.announce(),
                    Action::GoOn => self.go_on(),
                    Action::Quit => self.quit = true,
                }
            }
        }
        self.write_events();
    }

    /// Reads what the program printed: to the log, to those attached, and its questions answered. False: it had printed nothing.
    fn take_output(&mut self) -> bool {
        let mut buffer: Vec<u8> = Vec::with_capacity(OUTPUT_BYTES);
        while buffer.len() < OUTPUT_BYTES {
            match rustix::io::read(&self.pty.master, rustix::buffer::spare_capacity(&mut buffer)) {
                Ok(0) => break,
                // What a message's echo is must be in the log before anything else is waited for: the next host tells by it what was typed.
                Ok(_) if self.deliveries.is_typing() => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if buffer.is_empty() {
            return false;
        }
        if !std::mem::replace(&mut self.spoke, true) {
            self.clients.spoke();
        }
        let whole = self.recorder.incomplete().is_none();
        let answer = self.recorder.output(&buffer);
        if whole && self.recorder.incomplete().is_some() {
            self.clients.report(&self.status(), &self.run_record(), &self.pty.master);
        }
        self.input.extend(answer);
        self.clients.broadcast(&buffer);
        self.search.agent_stirred(self.launch.find.is_some());
        self.deliveries.look_now();
        self.mailbox.printed();
        self.activity_printed(buffer.len());
        true
    }

    fn type_input(&mut self) {
        while !self.input.is_empty() {
            let (front, _) = self.input.as_slices();
            match rustix::io::write(&self.pty.master, front) {
                Ok(n) => drop(self.input.drain(..n)),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        if self.input.is_empty() {
            self.input = VecDeque::new();
        }
    }

    /// The watchdog's connection has ended: one of the hosts replaces it, and it will connect to all.
    fn replace_watchdog(&mut self) {
        self.told_watchdog = None;
        if self.quit || self.clients.has_watchdog() {
            return;
        }
        // Whoever started it, it connects; if it does not, look again.
        self.watchdog_due = Some(monotonic() + limits::WATCHDOG_RETRY_MAX);
        match start::try_watchdog(&self.layout) {
            Ok(true) => {}
            // Another host is at it, or the dead one still holds its lock.
            Ok(false) => match start::tell_watchdog(&self.layout, &self.id) {
                Ok(stream) => self.told_watchdog = Some(stream),
                Err(_) => self.look_for_watchdog_soon(),
            },
            Err(e) => self.log_event("watchdog", &format!("could not be started: {e}"), None),
        }
    }

    fn look_for_watchdog_soon(&mut self) {
        self.watchdog_due = Some(monotonic() + self.watchdog_retry);
        self.watchdog_retry = limits::WATCHDOG_RETRY_MAX.min(self.watchdog_retry * 2);
    }

    /// The watchdog that was told of this host says nothing; where it has hung up, it was the dead one, or has no place.
    fn hear_watchdog(&mut self) {
        let hung_up = |stream: &mut Stream| !matches!(stream.fill(), Ok(Fill::More | Fill::Nothing));
        if self.told_watchdog.as_mut().is_some_and(hung_up) {
            self.told_watchdog = None;
            self.look_for_watchdog_soon();
        }
    }

    /// The last words to all clients, and nothing left behind.
    fn farewell(mut self) {
        self.clients.farewell();
        let _ = crate::os::fs::remove_file(&self.layout.host_socket(&self.id));
        let _ = store::run::clear(&self.layout, &self.id);
        self.group.remove();
        let _ = crate::os::fs::remove_file(&self.layout.run(&self.id));
        // The connections end with the process, not before it: whoever sees one end may say that no process is left.
        std::mem::forget(self);
    }
}

/// How long ago the state was entered that was recorded; after a jump of the clock, nothing.
fn lived(run: &Run) -> Duration {
    now().duration_since(run.since).try_into().unwrap_or_default()
}

/// The limit at which a living agent stands.
fn living_limit(run: &Run) -> Option<(Duration, String)> {
    let until = run.until.filter(|_| run.state == State::Limited)?;
    Some((death::on_the_monotonic_clock(until), run.reason.clone()))
}

fn policy(launch: &Launch) -> Policy {
    Policy {
        backoff_min: millis(launch.restart.backoff_min_ms),
        backoff_max: millis(launch.restart.backoff_max_ms),
        burst: Some(launch.restart.burst),
        window: millis(launch.restart.window_ms),
    }
}
