//! The two machines under a seeded world of faults: deaths of everything at any moment, failing starts, jumps of the clock, repeated commands, a
//! second watchdog. Then the faults end, and everything must settle as wanted. At no moment may a session have two agents.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cause::Remedy;
use super::restart::Policy;
use super::session::{self, Phase, Session};
use super::watch::{self, Watch};

/// A small generator (SplitMix64, Steele, Lea and Flood 2014): the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    fn fraction(&mut self) -> f64 {
        self.below(1001) as f64 / 1000.0
    }
}

#[derive(Debug, Clone)]
enum Due {
    /// To the host of that generation.
    Host(String, u64, session::Event),
    /// To the watchdog of that generation.
    Watchdog(u64, String, watch::Event),
    /// A host's process begins, with its terminal if the watchdog that started it had it.
    HostBegins(String, u64),
    /// Whoever lost the watchdog starts a new one.
    NewWatchdog,
    /// A host that no watchdog has connected to tells the one that runs.
    Here(String),
}

#[derive(Default)]
struct Place {
    wanted: bool,
    agents: u32,
    /// The living agent ignores the request to end.
    stubborn: bool,
    host: Option<(u64, Session)>,
    /// What the last host wrote: state up, given up on, started.
    record: Option<(bool, Option<String>, bool)>,
    /// Until then it is at its usage limit, as the last host wrote.
    limit: Option<Duration>,
}

struct World {
    random: Random,
    now: Duration,
    queue: Vec<(Duration, u64, Due)>,
    next: u64,
    places: BTreeMap<String, Place>,
    watchdog: Option<(u64, Watch)>,
    faults: bool,
    heal: bool,
    /// A deliberately wrong host that starts an agent without looking: the simulation must catch it.
    careless: bool,
}

const POLICY: Policy = Policy {
    backoff_min: Duration::from_millis(200),
    backoff_max: Duration::from_secs(5),
    burst: Some(50),
    window: Duration::from_secs(60),
};

impl World {
    fn new(seed: u64, careless: bool) -> World {
        let mut random = Random(seed);
        let places = (1..=1 + random.below(4)).map(|i| (format!("int-{i}"), Place::default())).collect();
        let heal = !random.one_in(8);
        World { random, now: Duration::from_secs(1000), queue: vec![], next: 0, places, watchdog: None, faults: true, heal, careless }
    }

    fn later(&mut self, due: Due) {
        // What concerns one session goes over one connection or through one queue, so it arrives in order.
        let to = |due: &Due| match due {
            Due::Host(name, generation, _) => Some((name.clone(), *generation)),
            Due::Watchdog(generation, name, _) => Some((name.clone(), *generation)),
            Due::HostBegins(..) | Due::NewWatchdog | Due::Here(_) => None,
        };
        let before = self.queue.iter().filter(|(_, _, d)| to(&due).is_some() && to(d) == to(&due)).map(|(at, ..)| *at).max();
        let at = self.now + Duration::from_micros(self.random.below(3000));
        self.next += 1;
        self.queue.push((before.map_or(at, |b| b.max(at)), self.next, due));
    }

    fn names(&self) -> Vec<String> {
        self.places.keys().cloned().collect()
    }

    fn start_watchdog(&mut self) {
        // The lock lets only one in.
        if self.watchdog.is_some() {
            return;
        }
        self.next += 1;
        self.watchdog = Some((self.next, Watch::default()));
        for name in self.names() {
            self.consider(&name);
        }
    }

    fn consider(&mut self, name: &str) {
        let Some((generation, _)) = self.watchdog else { return };
        let place = &self.places[name];
        let event = watch::Event::Wanted { up: place.wanted, leftovers: place.agents > 0 || place.host.is_some() };
        self.watch_step(generation, name, event);
    }

    fn watch_step(&mut self, generation: u64, name: &str, event: watch::Event) {
        let jitter = self.random.fraction();
        let Some((alive, watch)) = &mut self.watchdog else { return };
        if *alive != generation {
            return;
        }
        for action in watch.step(self.now, name, event, jitter) {
            match action {
                watch::Action::FindOrStart(name) => {
                    if self.places[&name].host.is_some() {
                        self.later(Due::Watchdog(generation, name, watch::Event::HostUp));
                    } else if self.faults && self.random.one_in(10) {
                        let leftovers = self.places[&name].agents > 0 || self.places[&name].host.is_some();
                        self.later(Due::Watchdog(generation, name, watch::Event::HostLost { leftovers }));
                    } else {
                        self.later(Due::HostBegins(name, generation));
                    }
                }
                watch::Action::Stop(name) => {
                    if let Some((host, _)) = self.places[&name].host {
                        self.later(Due::Host(name, host, session::Event::Stop));
                    }
                }
            }
        }
    }

    fn host_begins(&mut self, name: &str, by: u64) {
        self.next += 1;
        let generation = self.next;
        let terminal = self.watchdog.as_ref().is_some_and(|(alive, _)| *alive == by) && !self.random.one_in(6);
        let heal = self.heal;
        let Some(place) = self.places.get_mut(name) else { return };
        if place.host.is_some() {
            // Its lock is held: the second one says so and ends.
            return self.later(Due::Watchdog(by, name.into(), watch::Event::HostLost { leftovers: true }));
        }
        let mut session = Session::new(POLICY, heal, Duration::from_millis(500));
        let event = match &place.record {
            _ if place.agents > 0 && terminal && !self.careless => session::Event::Adopted,
            _ if place.agents > 0 && !self.careless => session::Event::Stranded,
            _ if !place.wanted => session::Event::Stop,
            Some((true, ..)) if !self.careless => {
                session.phase = Phase::Up { since: self.now };
                session::Event::Died { reason: "with its host".into(), remedy: Remedy::AtOnce }
            }
            _ if place.limit.is_some_and(|until| until > self.now) && !self.careless => {
                session::Event::Limited { until: place.limit.unwrap_or_default(), reason: "limit".into() }
            }
            Some((_, Some(reason), _)) => session::Event::Stay { failing: true, reason: reason.clone() },
            Some(_) | None => session::Event::Start,
        };
        place.host = Some((generation, session));
        if terminal || self.watchdog.as_ref().is_some_and(|(alive, _)| *alive == by) {
            self.later(Due::Watchdog(by, name.into(), watch::Event::HostUp));
        } else if self.watchdog.is_some() {
            self.later(Due::Here(name.into()));
        } else {
            self.later(Due::NewWatchdog);
        }
        self.host_step(name, generation, event);
    }

    fn host_step(&mut self, name: &str, generation: u64, event: session::Event) {
        let jitter = self.random.fraction();
        let now = self.now;
        let Some(place) = self.places.get_mut(name) else { return };
        let Some((alive, session)) = &mut place.host else { return };
        if *alive != generation {
            return;
        }
        // Only the operator ends a limit before its time.
        let ends_limit = matches!(event, session::Event::Restart | session::Event::Stop);
        let actions = session.step(now, event, jitter);
        match session.phase {
            Phase::Limited { until, .. } => place.limit = Some(until),
            _ if ends_limit => place.limit = None,
            _ => {}
        }
        place.record = Some((
            matches!(session.phase, Phase::Up { .. }),
            if let Phase::Failing { reason } = &session.phase { Some(reason.clone()) } else { None },
            session.started,
        ));
        for action in actions {
            self.perform(name, generation, action);
        }
    }

    fn perform(&mut self, name: &str, generation: u64, action: session::Action) {
        let faulty = self.faults && self.random.one_in(8);
        let stubborn = self.random.one_in(4);
        let Some(place) = self.places.get_mut(name) else { return };
        let outcome = match action {
            session::Action::Spawn if faulty => session::Event::NotSpawned { reason: "no memory".into(), permanent: false },
            session::Action::Spawn => {
                assert!(place.limit.is_none_or(|until| until <= self.now), "{name} is started before its limit has ended");
                place.limit = None;
                place.agents += 1;
                place.stubborn = stubborn;
                assert!(place.agents == 1, "{name} has {} agents", place.agents);
                session::Event::Spawned
            }
            session::Action::Terminate if place.agents > 0 && place.stubborn => return,
            session::Action::Terminate | session::Action::Kill => {
                place.agents = 0;
                session::Event::Clear
            }
            session::Action::GoOn | session::Action::Announce => return,
            session::Action::Quit => {
                place.host = None;
                place.record = None;
                place.limit = None;
                return self.host_is_gone(name);
            }
        };
        self.later(Due::Host(name.into(), generation, outcome));
    }

    fn host_is_gone(&mut self, name: &str) {
        let leftovers = self.places[name].agents > 0;
        if let Some((watchdog, _)) = self.watchdog {
            self.later(Due::Watchdog(watchdog, name.into(), watch::Event::HostLost { leftovers }));
        }
    }

    fn fault(&mut self) {
        let names = self.names();
        let name = names[self.random.below(names.len() as u64) as usize].clone();
        match self.random.below(11) {
            0 | 1 => {
                let place = self.places.get_mut(&name).unwrap();
                if place.agents > 0 {
                    place.agents = 0;
                    let remedy = match self.random.below(8) {
                        0 => Remedy::NotBefore(self.now + Duration::from_secs(self.random.below(4000))),
                        1 => Remedy::Slower,
                        2 => Remedy::Never,
                        _ => Remedy::Again,
                    };
                    let died = session::Event::Died { reason: "killed".into(), remedy };
                    if let Some((host, _)) = place.host {
                        self.later(Due::Host(name, host, died));
                    }
                }
            }
            2 => {
                if self.places.get_mut(&name).unwrap().host.take().is_some() {
                    self.host_is_gone(&name);
                }
            }
            3 => {
                self.watchdog = None;
                if self.places.values().any(|p| p.host.is_some()) {
                    self.later(Due::NewWatchdog);
                }
            }
            4 => self.now += Duration::from_secs(self.random.below(100_000)),
            5 => {
                let up = self.random.one_in(2);
                self.command(&name, up);
            }
            9 => {
                if let Some((host, _)) = self.places[&name].host {
                    self.later(Due::Host(name, host, session::Event::Stalled { reason: "idle".into() }));
                }
            }
            10 => {
                let until = self.now + Duration::from_secs(self.random.below(4000));
                let freed = self.random.one_in(3);
                if let Some((host, _)) = self.places[&name].host {
                    let event = if freed { session::Event::Freed } else { session::Event::Reached { until, reason: "limit".into() } };
                    self.later(Due::Host(name, host, event));
                }
            }
            7 => {
                let until = self.now + Duration::from_secs(self.random.below(100));
                if let Some((host, _)) = self.places[&name].host {
                    self.later(Due::Host(name, host, session::Event::Slow { until, why: "storm".into() }));
                }
            }
            6 => {
                if let Some((host, _)) = self.places[&name].host {
                    self.later(Due::Host(name, host, session::Event::Restart));
                }
            }
            _ => self.start_watchdog(),
        }
    }

    /// What `up` and `down` do: write what is wanted, see that a watchdog runs, tell it.
    fn command(&mut self, name: &str, up: bool) {
        let place = self.places.get_mut(name).unwrap();
        place.wanted = up;
        let given_up =
            place.host.as_ref().filter(|(_, s)| matches!(s.phase, Phase::Failing { .. } | Phase::Exited { .. })).map(|(g, _)| *g);
        if up
            && place.host.is_none()
            && let Some(record) = &mut place.record
        {
            record.1 = None;
        }
        self.start_watchdog();
        self.consider(name);
        if let Some(host) = given_up.filter(|_| up) {
            self.later(Due::Host(name.into(), host, session::Event::Restart));
        }
    }

    /// Delivers what is due next, or moves on to the next deadline of a machine. False: nothing is left to happen.
    fn advance(&mut self) -> bool {
        let queued = self.queue.iter().map(|(at, ..)| *at).min();
        let watchdog = self.watchdog.as_ref().and_then(|(_, w)| w.next_deadline());
        let hosts = self.places.values().filter_map(|p| p.host.as_ref()?.1.next_deadline()).min();
        let Some(at) = [queued, watchdog, hosts].into_iter().flatten().min() else { return false };
        self.now = self.now.max(at);
        if watchdog.is_some_and(|t| t <= self.now) {
            let generation = self.watchdog.as_ref().map_or(0, |(g, _)| *g);
            self.watch_step(generation, "", watch::Event::Wake);
        }
        for name in self.names() {
            if let Some((host, session)) = &self.places[&name].host
                && session.next_deadline().is_some_and(|t| t <= self.now)
            {
                let host = *host;
                self.host_step(&name, host, session::Event::Wake);
            }
        }
        self.queue.sort_by_key(|(at, n, _)| (*at, *n));
        if self.queue.first().is_some_and(|(at, ..)| *at <= self.now) {
            let (_, _, due) = self.queue.remove(0);
            match due {
                Due::Host(name, generation, event) => self.host_step(&name, generation, event),
                Due::Watchdog(generation, name, event) => self.watch_step(generation, &name, event),
                Due::HostBegins(name, by) => self.host_begins(&name, by),
                Due::NewWatchdog => self.start_watchdog(),
                Due::Here(name) => self.consider(&name),
            }
        }
        true
    }

    fn settle(&mut self) {
        self.faults = false;
        for name in self.names() {
            let wanted = self.places[&name].wanted;
            self.command(&name, wanted);
        }
        let mut steps = 0;
        while self.advance() {
            steps += 1;
            assert!(steps < 20_000, "it never settles");
        }
        for (name, place) in &self.places {
            let phase = place.host.as_ref().map(|(_, s)| &s.phase);
            if !place.wanted {
                assert!(place.agents == 0 && phase.is_none(), "{name} is not wanted, yet there is {phase:?} with {} agents", place.agents);
            } else {
                let given_up = matches!(phase, Some(Phase::Failing { .. }) | Some(Phase::Exited { .. }));
                assert!(
                    given_up || (place.agents == 1 && matches!(phase, Some(Phase::Up { .. }))),
                    "{name} is wanted, yet there is {phase:?} with {} agents",
                    place.agents
                );
            }
        }
    }
}

fn run(seed: u64, careless: bool) {
    let mut world = World::new(seed, careless);
    for name in world.names() {
        world.command(&name, true);
    }
    for _ in 0..400 {
        if world.random.one_in(3) {
            world.fault();
        }
        world.advance();
    }
    world.settle();
}

#[test]
fn whatever_dies_everything_settles_and_nothing_is_doubled() {
    for seed in 0..1000 {
        if std::panic::catch_unwind(|| run(seed, false)).is_err() {
            panic!("seed {seed} fails");
        }
    }
}

#[test]
fn the_simulation_catches_a_host_that_does_not_look() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let caught = (0..50).filter(|seed| std::panic::catch_unwind(|| run(*seed, true)).is_err()).count();
    std::panic::set_hook(hook);
    assert!(caught > 0, "a host that starts agents without looking was never caught");
}
