//! The queue in a seeded world of faults: tasks added at any time, agents that end in every way, watchdogs and agents that die at any moment, moves that
//! fail, jumps of the clock, orders of the operator. Then the faults end, and every task must settle. At no moment may a task have two agents.

use super::*;

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
}

/// Where a task lies on the simulated disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lies {
    Pending { due_wall: Option<Duration> },
    Running,
    Held,
    Finished(To),
}

/// What its folder says of the attempt that is under way.
#[derive(Debug, Clone, Copy, Default)]
struct Files {
    begun: [bool; 2],
    ended: [Option<(Exit, Remedy)>; 2],
    said: Option<bool>,
    marked: Option<Why>,
    since: Duration,
}

#[derive(Debug, Clone)]
struct Disk {
    lies: Lies,
    spec: Spec,
    after: Vec<Id>,
    files: Files,
    timeout: Duration,
    /// A move that is decided.
    to: Option<Move>,
    /// How it behaves: one that always fails, one that never ends, …
    kind: u64,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    /// To the watchdog of that generation.
    Tell(u64, Tell),
    /// The agent of that task ends by itself.
    Ends(Id, u64),
    NewWatchdog,
}

#[derive(Debug, Clone, Copy)]
enum Tell {
    Moved(Id),
    Down(Id),
    Said(Id),
}

struct World {
    random: Random,
    now: Duration,
    wall: Duration,
    disk: BTreeMap<Id, Disk>,
    /// By task: which of its lives, and its step.
    agents: BTreeMap<Id, (u64, Step)>,
    watchdog: Option<(u64, Schedule)>,
    queue: Vec<(Duration, u64, Due)>,
    next: u64,
    parallel: usize,
    faults: bool,
    /// A deliberately wrong watchdog that takes whatever ran before it for pending: the simulation must catch it.
    careless: bool,
    violations: Vec<String>,
    starts: BTreeMap<Id, u32>,
    interruptions: BTreeMap<Id, u32>,
}

const ALWAYS_FAILS: u64 = 0;
const NEVER_ENDS: u64 = 1;
const SAYS_AND_STAYS: u64 = 2;

impl World {
    fn new(seed: u64, careless: bool) -> World {
        let mut random = Random(seed);
        let parallel = 1 + random.below(4) as usize;
        World {
            random,
            now: Duration::from_secs(1000),
            wall: Duration::from_secs(1_000_000),
            disk: BTreeMap::new(),
            agents: BTreeMap::new(),
            watchdog: None,
            queue: vec![],
            next: 0,
            parallel,
            faults: true,
            careless,
            violations: vec![],
            starts: BTreeMap::new(),
            interruptions: BTreeMap::new(),
        }
    }

    fn later(&mut self, most_ms: u64, due: Due) {
        let at = self.now + Duration::from_micros(self.random.below(most_ms * 1000));
        self.next += 1;
        self.queue.push((at, self.next, due));
    }

    fn add(&mut self) {
        let id = self.disk.len() as Id + 1;
        let kind = self.random.below(6);
        let after = if id > 1 && self.random.one_in(4) { vec![1 + self.random.below(id - 1)] } else { vec![] };
        let spec = Spec {
            priority: self.random.below(3) as i64,
            lane: self.random.one_in(3).then(|| "heavy".into()),
            retries: self.random.below(4) as u32,
            idempotent: self.random.one_in(2),
            verify: self.random.one_in(4),
            ..Spec::default()
        };
        let timeout = Duration::from_secs(5 + self.random.below(60));
        let disk = Disk { lies: Lies::Pending { due_wall: None }, spec, after, files: Files::default(), timeout, to: None, kind };
        self.disk.insert(id, disk);
        self.show_pending(id);
    }

    fn show_pending(&mut self, id: Id) {
        let disk = &self.disk[&id];
        let Lies::Pending { due_wall } = disk.lies else { return };
        let due = due_wall.filter(|at| *at > self.wall).map(|at| self.now + (at - self.wall));
        let after = disk.after.iter().map(|b| (*b, self.before(*b))).collect();
        let event = Event::Found { id, spec: disk.spec.clone(), found: Found::Pending { due, after } };
        self.tell(event);
    }

    fn before(&self, id: Id) -> Before {
        match self.disk.get(&id).map(|d| d.lies) {
            Some(Lies::Finished(To::Done)) => Before::Well,
            Some(Lies::Pending { .. } | Lies::Running | Lies::Held) => Before::Open,
            Some(Lies::Finished(_)) | None => Before::Badly,
        }
    }

    fn start_watchdog(&mut self) {
        if self.watchdog.is_some() {
            return;
        }
        self.next += 1;
        self.watchdog = Some((self.next, Schedule::default()));
        self.tell(Event::Limits { parallel: self.parallel, lanes: [("heavy".to_owned(), 1)].into() });
        let (mut running, mut rest): (Vec<Id>, Vec<Id>) = (vec![], vec![]);
        for (id, disk) in &self.disk {
            if disk.lies == Lies::Running { running.push(*id) } else { rest.push(*id) }
        }
        for id in running.into_iter().chain(rest) {
            self.find_again(id);
        }
        // Only now is it known how many run.
        self.tell(Event::Open(true));
    }

    fn find_again(&mut self, id: Id) {
        let disk = self.disk[&id].clone();
        if let Some(order) = disk.to {
            // Decided by the watchdog before.
            self.arrive(id, order);
            if matches!(self.disk[&id].lies, Lies::Pending { .. }) {
                self.show_pending(id);
            }
            return;
        }
        match disk.lies {
            Lies::Pending { .. } => self.show_pending(id),
            Lies::Held => self.tell(Event::Found { id, spec: disk.spec, found: Found::Held }),
            Lies::Finished(_) => {}
            Lies::Running => {
                let alive = self.agents.contains_key(&id);
                if self.careless || (!alive && !disk.files.begun[0] && disk.files.marked.is_none()) {
                    let disk = self.disk.get_mut(&id).unwrap();
                    (disk.lies, disk.files) = (Lies::Pending { due_wall: None }, Files::default());
                    return self.show_pending(id);
                }
                let step = if disk.files.begun[1] { Step::Verify } else { Step::Work };
                let found = Found::Running { since: disk.files.since, timeout: Some(disk.timeout), step };
                self.tell(Event::Found { id, spec: disk.spec, found });
                if disk.files.said.is_some() {
                    self.tell(Event::Said { id });
                }
                match disk.files.marked {
                    Some(Why::Cancelled) => self.tell(Event::Cancel { id }),
                    Some(_) => self.tell(Event::Late { id }),
                    None if alive => {}
                    None => self.tell_end(id),
                }
            }
        }
    }

    fn tell_end(&mut self, id: Id) {
        let files = self.disk[&id].files;
        let step = self.watchdog.as_ref().and_then(|(_, s)| s.step_of(id)).unwrap_or(Step::Work);
        let (exit, remedy) = files.ended[step as usize].unwrap_or((Exit::Unseen, Remedy::Again));
        if exit == Exit::Unseen {
            *self.interruptions.entry(id).or_default() += 1;
        }
        self.tell(Event::Ended { id, exit, said: files.said, remedy });
    }

    fn tell(&mut self, event: Event) {
        let jitter = self.random.below(1001) as f64 / 1000.0;
        let now = self.now;
        let Some((generation, schedule)) = &mut self.watchdog else { return };
        let generation = *generation;
        for action in schedule.step(now, event, jitter) {
            match action {
                Action::Start(id) => self.start(id),
                Action::Verify(id) => self.spawn(id, Step::Verify),
                Action::End(id, why) => {
                    let disk = self.disk.get_mut(&id).unwrap();
                    if matches!(why, Why::Cancelled | Why::Timeout) {
                        disk.files.marked = Some(why);
                    }
                    if let Some((_, step)) = self.agents.remove(&id) {
                        self.disk.get_mut(&id).unwrap().files.ended[step as usize].get_or_insert((Exit::Badly, Remedy::Again));
                    }
                    self.later(20, Due::Tell(generation, Tell::Down(id)));
                }
                Action::Move(order) => {
                    self.disk.get_mut(&order.id).unwrap().to = Some(order);
                    self.later(20, Due::Tell(generation, Tell::Moved(order.id)));
                }
            }
        }
        // What the rules of the queue say of those that are known to run.
        if self.agents.len() > self.parallel {
            self.violations.push(format!("{} run at once, {} may", self.agents.len(), self.parallel));
        }
        let heavy = self.agents.keys().filter(|id| self.disk[id].spec.lane.is_some()).count();
        if heavy > 1 {
            self.violations.push(format!("{heavy} run in a lane for one"));
        }
    }

    fn start(&mut self, id: Id) {
        if self.faults && self.random.one_in(20) {
            return self.tell(Event::Trouble { id });
        }
        let now = self.now;
        let disk = self.disk.get_mut(&id).unwrap();
        if !matches!(disk.lies, Lies::Pending { .. }) {
            return self.violations.push(format!("t{id} is started and lies {:?}", disk.lies));
        }
        let timeout = disk.timeout;
        (disk.lies, disk.files) = (Lies::Running, Files { since: now, ..Files::default() });
        self.tell(Event::Started { id, timeout: Some(timeout) });
        self.spawn(id, Step::Work);
    }

    fn spawn(&mut self, id: Id, step: Step) {
        if self.agents.contains_key(&id) {
            self.violations.push(format!("t{id} has two agents"));
        }
        if self.watchdog.is_none() {
            return;
        }
        self.next += 1;
        let life = self.next;
        self.agents.insert(id, (life, step));
        *self.starts.entry(id).or_default() += u32::from(step == Step::Work);
        let disk = self.disk.get_mut(&id).unwrap();
        disk.files.begun[step as usize] = true;
        let kind = disk.kind;
        if step == Step::Work && kind == SAYS_AND_STAYS {
            disk.files.said = Some(true);
            if let Some((generation, _)) = self.watchdog {
                self.later(5000, Due::Tell(generation, Tell::Said(id)));
            }
        } else if step == Step::Verify || kind != NEVER_ENDS {
            self.later(8000, Due::Ends(id, life));
        }
    }

    fn agent_ends(&mut self, id: Id, life: u64) {
        let Some((_, step)) = self.agents.get(&id).copied().filter(|(l, _)| *l == life) else { return };
        self.agents.remove(&id);
        let at = self.now + Duration::from_secs(self.random.below(100));
        let (luck, faults) = (self.random.below(10), self.faults);
        let files = &mut self.disk.get_mut(&id).unwrap();
        let end = match (files.kind, luck) {
            (ALWAYS_FAILS, _) => (Exit::Badly, Remedy::Again),
            (_, 0) if faults => (Exit::Badly, Remedy::NotBefore(at)),
            (_, 1) if faults => (Exit::Badly, Remedy::Never),
            (_, 2) if faults => (Exit::Badly, Remedy::Again),
            _ => (Exit::Well, Remedy::Again),
        };
        files.files.ended[step as usize] = Some(end);
        if step == Step::Work && luck == 3 && faults {
            files.files.said = Some(false);
        }
        self.tell_end_if_watched(id);
    }

    /// The host tells the watchdog that is there; one that comes later finds it on disk.
    fn tell_end_if_watched(&mut self, id: Id) {
        if self.watchdog.as_ref().is_some_and(|(_, s)| s.step_of(id).is_some()) {
            self.tell_end(id);
        }
    }

    fn arrive(&mut self, id: Id, order: Move) {
        let (now, wall) = (self.now, self.wall);
        let disk = self.disk.get_mut(&id).unwrap();
        disk.to = None;
        match order.outcome {
            Some(Outcome::Failed | Outcome::Timeout) => disk.spec.failed += 1,
            Some(Outcome::Interrupted) => disk.spec.interrupted += 1,
            Some(Outcome::Done | Outcome::Cancelled | Outcome::Limited) | None => {}
        }
        if order.forgive {
            (disk.spec.failed, disk.spec.interrupted) = (0, 0);
        }
        disk.lies = match order.to {
            To::Pending(due) => Lies::Pending { due_wall: due.map(|at| wall + at.saturating_sub(now)) },
            To::Held => Lies::Held,
            to => Lies::Finished(to),
        };
        disk.files = Files::default();
    }

    fn fault(&mut self) {
        let ids: Vec<Id> = self.disk.keys().copied().collect();
        match self.random.below(12) {
            0..=2 => self.add(),
            3 => {
                // The watchdog dies; what its clerk was at is done or not.
                self.watchdog = None;
                self.later(2000, Due::NewWatchdog);
            }
            4 | 5 if !self.agents.is_empty() => {
                let nth = self.random.below(self.agents.len() as u64) as usize;
                let (id, (_, step)) = self.agents.iter().nth(nth).map(|(a, b)| (*a, *b)).unwrap();
                self.agents.remove(&id);
                if self.random.one_in(2) {
                    self.disk.get_mut(&id).unwrap().files.ended[step as usize] = Some((Exit::Badly, Remedy::Again));
                }
                self.tell_end_if_watched(id);
            }
            6 => {
                // Everything dies at once.
                self.watchdog = None;
                self.agents.clear();
                self.later(2000, Due::NewWatchdog);
            }
            7 => self.wall = self.wall.saturating_sub(Duration::from_secs(50)) + Duration::from_secs(self.random.below(100)),
            8 | 9 if !ids.is_empty() => {
                let id = ids[self.random.below(ids.len() as u64) as usize];
                let event = if self.random.one_in(2) { Event::Cancel { id } } else { Event::Retry { id } };
                self.tell(event);
            }
            _ => {}
        }
    }

    fn run_until(&mut self, end: Duration) {
        loop {
            let deadline = self.watchdog.as_ref().and_then(|(_, s)| s.next_deadline());
            let next = self.queue.iter().map(|(at, n, _)| (*at, *n)).min();
            let at = [deadline, next.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(at) = at.filter(|at| *at <= end) else { break };
            self.pass(at.max(self.now));
            if let Some((_, n)) = next.filter(|(t, _)| *t <= self.now) {
                let i = self.queue.iter().position(|(_, m, _)| *m == n).unwrap();
                let (_, _, due) = self.queue.remove(i);
                self.happen(due);
            } else {
                self.tell(Event::Wake);
                let again = self.watchdog.as_ref().and_then(|(_, s)| s.next_deadline());
                assert!(again.is_none_or(|t| t > self.now), "woken for nothing at {:?}: {again:?}", self.now);
            }
        }
        self.pass(end);
    }

    fn pass(&mut self, to: Duration) {
        self.wall += to - self.now;
        self.now = to;
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::NewWatchdog => self.start_watchdog(),
            Due::Ends(id, life) => self.agent_ends(id, life),
            Due::Tell(generation, _) if self.watchdog.as_ref().is_none_or(|(g, _)| *g != generation) => {}
            Due::Tell(_, Tell::Said(id)) => self.tell(Event::Said { id }),
            Due::Tell(_, Tell::Down(id)) => self.tell_end_if_watched(id),
            Due::Tell(_, Tell::Moved(id)) => {
                let done = !(self.faults && self.random.one_in(10));
                if let Some(order) = self.disk[&id].to.filter(|_| done) {
                    self.arrive(id, order);
                }
                self.tell(Event::Moved { id, done });
            }
        }
    }

    fn settled(&self, id: Id) -> bool {
        match self.disk[&id].lies {
            Lies::Finished(_) | Lies::Held => true,
            Lies::Pending { .. } => self.disk[&id].after.iter().any(|b| {
                matches!(self.disk[b].lies, Lies::Finished(to) if to != To::Done)
                    || (!matches!(self.disk[b].lies, Lies::Finished(_)) && self.settled(*b))
            }),
            Lies::Running => false,
        }
    }
}

fn live(seed: u64, careless: bool) -> Vec<String> {
    let mut world = World::new(seed, careless);
    world.start_watchdog();
    for _ in 0..3 {
        world.add();
    }
    for _ in 0..60 {
        let wait = Duration::from_millis(world.random.below(4000));
        world.run_until(world.now + wait);
        world.fault();
    }
    world.faults = false;
    if world.watchdog.is_none() {
        world.start_watchdog();
    }
    world.run_until(world.now + Duration::from_secs(4 * 3600));
    let mut violations = std::mem::take(&mut world.violations);
    for (id, disk) in &world.disk {
        if !world.settled(*id) {
            violations.push(format!("t{id} has not settled: {disk:?}"));
        }
        let starts = world.starts.get(id).copied().unwrap_or(0);
        if disk.spec.failed > disk.spec.retries + 1 || starts > 400 {
            violations.push(format!("t{id} was started {starts} times, {} failed, {} retries", disk.spec.failed, disk.spec.retries));
        }
    }
    violations
}

#[test]
fn nothing_is_lost_or_doubled_and_all_settles() {
    for seed in 0..1000 {
        assert_eq!(live(seed, false), Vec::<String>::new(), "seed {seed}");
    }
}

#[test]
fn a_careless_watchdog_is_caught() {
    assert!((0..50).any(|seed| live(seed, true).iter().any(|v| v.contains("two agents"))));
}
