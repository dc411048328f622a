//! Engines: what each says over its watchdog's socket, or what lies on disk where none runs.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agents::contract::control::{FromWatchdog, JSON, ToWatchdog};
use agents::contract::layout::{CONFIG_FILE, Layout, hash};
use agents::contract::status::{Activity, AgentStatus, EngineStatus, State, TaskCounts};
use agents::contract::task::{Place, TaskId};
use agents::os::clock::monotonic;
use agents::os::lock::Lock;
use agents::os::process::{self, Run};
use agents::os::socket::{Fill, Stream};
use agents::os::{env, fs, wait};

use super::report::ProjectState;
use crate::checkout::{drive, trust};
use crate::harness::CARRIED;
use crate::registry::{Harness, Project, Registry};

/// An engine that does not answer for so long hangs.
const ANSWER: Duration = Duration::from_secs(2);
/// The watchdog's socket in a project's runtime folder.
pub const WATCHDOG_SOCKET: &str = "watchdog.sock";
/// What a foreign harness's status command may take.
const COMMAND: Duration = Duration::from_secs(10);

/// What an engine has said, or what was found in its place.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub state: Option<ProjectState>,
    pub agents: Vec<AgentStatus>,
    pub sessions: usize,
    pub tasks: TaskCounts,
    pub note: Option<String>,
}

impl Seen {
    fn of(state: ProjectState, note: impl Into<Option<String>>) -> Seen {
        Seen { state: Some(state), note: note.into(), ..Seen::default() }
    }
}

/// Where the data of all projects lies, listed once for one look at many.
pub struct Places {
    home: PathBuf,
    runtime: PathBuf,
    /// By hash, the instance's name.
    instances: HashMap<String, String>,
    /// The hashes with a runtime folder; `None`: could not be listed.
    running: Option<HashSet<String>>,
}

impl Places {
    pub fn load() -> Places {
        let home = env::agents_home();
        let names = fs::list(&home).unwrap_or_default();
        let instances = names.into_iter().filter_map(|n| n.split_once('-').map(|(h, _)| h.to_owned()).map(|h| (h, n))).collect();
        let runtime = env::agents_runtime();
        let running = fs::list(&runtime).ok().map(HashSet::from_iter);
        Places { home, runtime, instances, running }
    }

    /// Where the data of the project in `folder` lies; none where it has none.
    pub fn layout(&self, folder: &Path) -> Option<Layout> {
        let hash = hash(&fs::canonical(folder).ok()?);
        let instance = self.instances.get(&hash)?;
        Some(Layout::from_folders(&self.home.join(instance), &self.runtime.join(&hash)))
    }

    /// Asks the engine of the project in `folder`, and waits for nobody.
    pub fn ask(&self, harness: &Harness, folder: &Path) -> Asked {
        let foreign = harness.url.is_some() || harness.status.is_some();
        if foreign && !speaks_our_protocol(harness, folder) {
            return Asked::Command;
        }
        let Ok(canonical) = fs::canonical(folder) else { return Asked::Answered(Seen::of(ProjectState::Missing, None)) };
        let hash = hash(&canonical);
        if self.running.as_ref().is_some_and(|r| !r.contains(&hash)) {
            return Asked::Answered(self.at_rest(folder, &hash));
        }
        let mut stream = match Stream::connect_at_once(&self.runtime.join(&hash).join(WATCHDOG_SOCKET)) {
            Ok(stream) => stream,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
                return Asked::Answered(self.at_rest(folder, &hash));
            }
            Err(e) => return Asked::Answered(silent(&e)),
        };
        match say(&mut stream, &ToWatchdog::Status) {
            Ok(()) => Asked::Waiting(stream),
            Err(e) => Asked::Answered(silent(&e)),
        }
    }

    /// No watchdog listens: what lies on disk says how the project is; one that could not be started is no project.
    fn at_rest(&self, folder: &Path, hash: &str) -> Seen {
        let seen = self.sessions_at_rest(hash);
        match (seen.state, unstartable(folder)) {
            (Some(ProjectState::Down), Some(why)) => Seen { state: Some(ProjectState::Invalid), note: Some(why), ..seen },
            _ => seen,
        }
    }

    /// What the files and locks of its sessions say.
    fn sessions_at_rest(&self, hash: &str) -> Seen {
        let Some(instance) = self.instances.get(hash) else { return Seen::of(ProjectState::Down, None) };
        let layout = Layout::from_folders(&self.home.join(instance), &self.runtime.join(hash));
        let has_runtime = fs::is_dir(&layout.runtime);
        let mut seen = Seen { tasks: tasks_at_rest(&layout), ..Seen::of(ProjectState::Down, None) };
        let mut spawned: Vec<AgentStatus> = vec![];
        for session in fs::list(&layout.sessions()).unwrap_or_default() {
            if session.starts_with('.') {
                continue;
            }
            let text = fs::read_if_there(&layout.session(&session)).ok().flatten().unwrap_or_default();
            let value = |key: &str| {
                text.lines().find_map(|l| l.split_once('=').filter(|(k, _)| *k == key).map(|(_, v)| v.to_owned())).unwrap_or_default()
            };
            let held = |path: PathBuf| has_runtime && Lock::is_held(&path).unwrap_or(true);
            let alive = held(layout.agent_lock(&session)) || held(layout.host_lock(&session));
            let (state, reason) = match (alive, value("wanted") == "up", value("status").as_str()) {
                (true, ..) => (State::Unknown, "it lives, and no watchdog looks after it".to_owned()),
                (false, true, "failing") => (State::Failing, value("reason")),
                (false, true, _) => (State::Down, "it should be up, and nothing runs".to_owned()),
                (false, false, _) => (State::Down, String::new()),
            };
            let kind = if value("spawnedBy").is_empty() { &mut seen.agents } else { &mut spawned };
            kind.push(AgentStatus {
                name: value("agent"),
                session,
                state,
                activity: Activity::Unknown,
                evidence: None,
                pid: None,
                since: None,
                heals: 0,
                reason,
                backend: value("backend"),
                version: value("version"),
                until: None,
                stuck: false,
            });
        }
        seen.sessions = spawned.len();
        let all = || seen.agents.iter().chain(&spawned);
        let has = |state: State| all().any(|a| a.state == state);
        if has(State::Unknown) {
            seen.state = Some(ProjectState::Unknown);
            seen.note = Some("agents live, and no watchdog answers; `fleet start` brings one back".into());
        } else if has(State::Failing) {
            seen.state = Some(ProjectState::Failing);
        } else if all().any(|a| !a.reason.is_empty()) {
            seen.note = Some("it should be up, and nothing runs: `fleet start` brings it back".into());
        }
        seen
    }
}

/// The tasks that lie there, by number.
pub(super) fn task_ids(layout: &Layout, place: Place) -> Vec<TaskId> {
    let names = fs::list(&layout.task_place(place)).unwrap_or_default();
    let mut ids: Vec<TaskId> = names.iter().filter_map(|n| n.strip_suffix(".json").unwrap_or(n).parse().ok()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// How many tasks there are; what cannot be listed counts as none.
fn tasks_at_rest(layout: &Layout) -> TaskCounts {
    if !fs::is_dir(&layout.tasks()) {
        return TaskCounts::default();
    }
    let Ok(counts) = TaskCounts::of(|place| Ok::<_, Infallible>(task_ids(layout, place).len()));
    counts
}

/// Why no engine could read the project's configuration, as far as that can be told without knowing what it may hold.
fn unstartable(folder: &Path) -> Option<String> {
    match fs::read_text_if_there(&folder.join(CONFIG_FILE)) {
        Ok(None) => Some(format!("it has no {CONFIG_FILE}")),
        Ok(Some(text)) => {
            let error = toml::de::DeTable::parse(&text).err()?;
            let line = error.span().and_then(|s| text.get(..s.start)).map_or(1, |before| before.matches('\n').count() + 1);
            Some(format!("{CONFIG_FILE}:{line}: {}", error.message()))
        }
        Err(e) => Some(e.to_string()),
    }
}

fn speaks_our_protocol(harness: &Harness, folder: &Path) -> bool {
    harness.status.is_none() && drive::manifest(folder).ok().flatten().is_some_and(|m| m.engine.name == CARRIED)
}

/// What became of a question.
#[derive(Debug)]
pub enum Asked {
    Answered(Seen),
    /// The answer comes over this connection.
    Waiting(Stream),
    /// Only the harness's own status command can tell.
    Command,
}

/// Sends a question to a watchdog. A fresh connection takes it whole.
pub fn say(stream: &mut Stream, message: &ToWatchdog) -> std::io::Result<()> {
    stream.queue(JSON, &serde_json::to_vec(message)?, vec![]);
    match stream.flush()? {
        true => Ok(()),
        false => Err(ErrorKind::WouldBlock.into()),
    }
}

fn silent(why: &std::io::Error) -> Seen {
    Seen::of(ProjectState::Unknown, format!("its watchdog does not answer: {why}"))
}

/// The answers of all that were asked, each with its number. Who says nothing for two seconds hangs.
pub fn answers(mut waiting: Vec<(usize, Stream)>) -> Vec<(usize, Seen)> {
    let deadline = monotonic() + ANSWER;
    let mut said = vec![];
    while !waiting.is_empty() {
        let descriptors: Vec<_> = waiting.iter().map(|(_, stream)| stream.as_fd()).collect();
        let ready = match wait::readable(&descriptors, Some(deadline)) {
            Ok(ready) if ready.contains(&true) => ready,
            Ok(_) => {
                let why = std::io::Error::new(ErrorKind::TimedOut, format!("nothing for {} s", ANSWER.as_secs()));
                said.extend(waiting.iter().map(|(i, _)| (*i, silent(&why))));
                break;
            }
            Err(e) => {
                said.extend(waiting.iter().map(|(i, _)| (*i, silent(&e))));
                break;
            }
        };
        let mut still = vec![];
        for ((i, mut stream), ready) in waiting.into_iter().zip(ready) {
            match if ready { answer(&mut stream) } else { Ok(None) } {
                Ok(Some(status)) => said.push((i, running(status))),
                Ok(None) => still.push((i, stream)),
                Err(e) => said.push((i, silent(&e))),
            }
        }
        waiting = still;
    }
    said
}

/// What has arrived: the status, or `None` for now.
fn answer(stream: &mut Stream) -> std::io::Result<Option<EngineStatus>> {
    if stream.fill()? == Fill::End {
        return Err(std::io::Error::new(ErrorKind::UnexpectedEof, "it has gone"));
    }
    while let Some(frame) = stream.next_frame()? {
        match serde_json::from_slice(&frame.payload)? {
            FromWatchdog::Status { status } => return Ok(Some(status)),
            FromWatchdog::Failed { reason } => return Err(std::io::Error::other(reason)),
            FromWatchdog::Settled { .. } | FromWatchdog::Upgraded { .. } | FromWatchdog::Tasks { .. } => {}
        }
    }
    Ok(None)
}

/// What the engine itself says, made into the project's state.
fn running(status: EngineStatus) -> Seen {
    // Sessions that were stopped one by one say nothing about the project.
    let counted: Vec<AgentStatus> = status
        .agents
        .iter()
        .chain(status.sessions.iter().filter(|s| s.state != State::Down && s.state != State::Exited))
        .cloned()
        .collect();
    let note = counted.iter().find(|a| a.state == State::Failing).map(|a| format!("{}: {}", a.session, a.reason));
    Seen { state: Some(state_of(&counted)), agents: status.agents, sessions: status.sessions.len(), tasks: status.tasks, note }
}

/// One state for all agents: the worst that somebody should know of.
pub fn state_of(agents: &[AgentStatus]) -> ProjectState {
    let runs = |a: &&AgentStatus| matches!(a.state, State::Up | State::Limited);
    let up = agents.iter().filter(runs).count();
    if agents.iter().any(|a| a.state == State::Failing) {
        ProjectState::Failing
    } else if agents.iter().any(|a| a.state == State::Unknown) {
        ProjectState::Unknown
    } else if agents.iter().all(|a| matches!(a.state, State::Down | State::Archived)) {
        ProjectState::Down
    } else if up == agents.iter().filter(|a| !matches!(a.state, State::Archived)).count() {
        ProjectState::Up
    } else {
        ProjectState::Degraded
    }
}

/// What a harness's own status command says, where the operator trusts the project.
pub fn ask_command(registry: &Registry, project: &Project, harness: &Harness, folder: &Path) -> Seen {
    if let Err(e) = trust::check(registry, project, folder) {
        return Seen::of(ProjectState::Unknown, e.message);
    }
    let argv = match drive::commands(harness, folder) {
        Ok(commands) => commands.status,
        Err(e) => return Seen::of(ProjectState::Invalid, e.message),
    };
    let Some(mut argv) = argv else { return Seen::of(ProjectState::Unknown, "its harness has no status command".to_owned()) };
    if let Some(program) = argv.first_mut().filter(|p| p.contains('/')) {
        *program = folder.join(&*program).display().to_string();
    }
    match process::run(&Run { argv: &argv, folder: Some(folder), timeout: Some(COMMAND), ..Run::default() }) {
        Err(e) => Seen::of(ProjectState::Unknown, format!("`{}`: {e}", argv.join(" "))),
        Ok(output) => {
            if let Ok(status) = serde_json::from_slice::<EngineStatus>(&output.stdout) {
                return running(status);
            }
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let state = if output.code == 0 { ProjectState::Up } else { ProjectState::Down };
            Seen::of(state, Some(text).filter(|t| !t.is_empty()))
        }
    }
}
