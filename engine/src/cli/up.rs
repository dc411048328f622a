//! `agents up`, and what `restart` shares with it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::out::{self, Table, Text, Tone};
use super::place::{command_lock, unknown};
use super::{Context, ask, interrupt, sessions, status, upgrade};
use crate::contract::control::ToWatchdog;
use crate::contract::layout::Layout;
use crate::contract::records::Launch;
use crate::contract::status::{AgentStatus, State};
use crate::drive::start;
use crate::error::{Error, Result};
use crate::model::Agent;
use crate::os::cgroup::remove_leftovers;
use crate::os::lock::Lock;
use crate::os::{clock, fs};
use crate::store::boot::{self, Boot};
use crate::store::meta::{self, Meta, STARTED_AT, Wanted};
use crate::store::project::Project;
use crate::store::session::NAME;
use crate::store::{self, instance, launch};

/// Start the project's agents and spawned sessions, or these; those that run are left alone
#[derive(clap::Args)]
pub(super) struct Args {
    /// Agents' names or sessions' ids; without any, all of agents.toml and all spawned sessions
    #[arg(value_name = "AGENT|SESSION")]
    agents: Vec<String>,
    /// Where the engine runs already and is another one, let it go on; without this, it is replaced while its agents run
    #[arg(long)]
    no_live: bool,
    /// Only those that were not stopped and not given up on: what is there to be brought back after a boot
    #[arg(long)]
    wanted: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let which = Which { words: &args.agents, wanted: args.wanted };
    bring(context, &which, "up", !args.no_live, |sessions, asked| ToWatchdog::Settle { sessions, asked })
}

/// Which agents are meant.
pub(super) struct Which<'a> {
    /// By their names or sessions; all where none is named.
    pub words: &'a [String],
    /// Of these, those that are wanted and not given up on.
    pub wanted: bool,
}

/// Brings these agents up, all where none is named, in the way that `message` asks for. What could not be started is named, the rest is up.
/// `live`: daemons of another engine are replaced first.
pub(super) fn bring(
    context: &Context,
    which: &Which<'_>,
    command: &str,
    live: bool,
    message: impl Fn(Vec<String>, Option<Timestamp>) -> ToWatchdog,
) -> Result<()> {
    let project = Project::find(&context.folder)?;
    let layout = &project.layout;
    project.check_runtime()?;
    sessions::mind_moved(&project)?;
    instance::prepare(&project)?;
    let mut lock = command_lock(layout, command)?;
    let then = format!("what was begun goes on by itself; `agents status` shows it, `agents {command}` completes it");
    let _doing = interrupt::doing("starting agents", &then);
    let (mut metas, mut damaged) = meta::survey(layout)?;
    if metas.iter().any(|m| m.underway().is_some()) {
        drop(lock);
        sessions::recover(&project.folder, &project.config.worktree.symlinks, layout)?;
        lock = command_lock(layout, command)?;
        (metas, damaged) = meta::survey(layout)?;
    }
    let _lock = lock;
    let (mut names, mut spawned) = chosen(&project, &metas, which.words)?;
    if which.wanted {
        names.retain(|name| metas.iter().find(|m| m.agent == *name && !m.is_spawned()).is_some_and(is_kept));
        spawned.retain(|meta| is_kept(meta));
    }
    if which.words.is_empty() && !which.wanted {
        store::tasks::stop(layout, false)?;
    }
    let restored = restored(layout, &metas)?;
    let mut errors: Vec<Error> = vec![];
    let mut sessions: Vec<Meta> = vec![];
    let (mut new_metas, mut new_launches) = (vec![], vec![]);
    let agents = names.into_iter().map(|name| (format!("agent {name}"), intend(&project, name, &metas, &damaged)));
    let spawned = spawned.into_iter().map(|meta| (format!("session {}", meta.session), intend_spawned(&project, meta)));
    for (whose, intent) in agents.chain(spawned) {
        match intent {
            Ok((meta, launch)) => {
                if !metas.contains(&meta) {
                    new_metas.push(meta.clone());
                }
                if !is_written(layout, &launch) {
                    new_launches.push(launch);
                }
                sessions.push(meta);
            }
            Err(error) => errors.push(error.of(whose)),
        }
    }
    let asked = clock::now();
    store::version::learn(layout, &new_launches);
    store::notify::write(&project)?.iter().for_each(|wrong| out::warn(wrong));
    store::write(layout, &new_launches, &new_metas)?;
    sessions.iter().try_for_each(|m| store::run::pardon(layout, &m.session))?;
    let mut settled = vec![];
    let mut ids: Vec<String> = sessions.iter().map(|m| m.session.clone()).collect();
    if which.words.is_empty() {
        // Sessions that no agent of the file stands for come back by themselves; they are waited for.
        ids.extend(restored.keys().filter(|id| !sessions.iter().any(|m| m.session == **id)).cloned());
    }
    let queue = which.words.is_empty() && !store::tasks::are_stopped(layout) && store::tasks::are_waiting(layout)?;
    if ids.is_empty() && which.wanted {
        out::say("nothing is wanted that could be started");
    } else if ids.is_empty() && errors.is_empty() {
        out::say("agents.toml declares no agent: [agent.NAME] is one; `agents schema` says what stands in it");
    }
    if !ids.is_empty() {
        let mut watchdog = start::watchdog(layout)?;
        if live {
            errors.extend(upgrade::when_other(layout, &mut watchdog).err());
        }
        settled = ask::settle(layout, &mut watchdog, &message(ids, Some(asked)))?;
    }
    if queue {
        ask::tasks(layout, &ToWatchdog::Queue { end: false })?;
    }
    forget_never_started(&project, sessions, &metas, &settled)?;
    mention_undeclared(&project, &metas);
    let _ = remove_leftovers();
    show_with(&settled, &restored);
    errors.extend(settled.iter().filter(|a| a.state != State::Up && a.state != State::Limited).map(not_up));
    Error::all(errors).map_or(Ok(()), Err)
}

/// Whether the session is to be brought back by nobody's word. One that was given up on is told.
fn is_kept(meta: &Meta) -> bool {
    if meta.wanted == Wanted::Down {
        return false;
    }
    if !meta.status.is_empty() {
        out::warn(&format!("agent {} ({}) stays {}: {}", meta.agent, meta.session, meta.status, meta.reason));
    }
    meta.status.is_empty()
}

/// After a boot: the sessions that come back, each with a word on how. From then on they are resumed.
fn restored(layout: &Layout, metas: &[Meta]) -> Result<BTreeMap<String, &'static str>> {
    if boot::begin(layout, metas)? == Boot::Same {
        return Ok(BTreeMap::new());
    }
    let how = |m: &Meta| match launch::read(layout, &m.session) {
        Ok(launch) if launch.resume != launch.start => "back after the boot, conversation resumed",
        Ok(_) | Err(_) => "back after the boot, begun anew",
    };
    Ok(boot::interrupted(metas).filter(|m| m.status.is_empty()).map(|m| (m.session.clone(), how(m))).collect())
}

/// Whether that is what the session's host has been told. Of one that runs it knows by itself that it was started.
fn is_written(layout: &Layout, launch: &Launch) -> bool {
    launch::read(layout, &launch.session).is_ok_and(|written| {
        let runs = || Lock::is_held(&layout.host_lock(&launch.session)).unwrap_or(false);
        written == *launch || (runs() && Launch { started: launch.started, ..written } == *launch)
    })
}

/// The declared agents and the spawned sessions that the words name; without words all, save sessions whose agent has ended its work.
fn chosen<'a>(project: &'a Project, metas: &'a [Meta], words: &[String]) -> Result<(Vec<&'a str>, Vec<&'a Meta>)> {
    let declared: Vec<&str> = project.config.agents.iter().map(|a| a.name.as_str()).collect();
    let spawned = || metas.iter().filter(|m| m.is_spawned() && m.underway().is_none());
    if words.is_empty() {
        return Ok((declared, spawned().filter(|m| m.status != "exited").collect()));
    }
    let (mut agents, mut sessions) = (vec![], vec![]);
    for word in words {
        let by_session = || metas.iter().find(|m| m.session == *word && !m.is_spawned()).map(|m| m.agent.as_str());
        let agent = declared.iter().find(|d| *d == word).or_else(|| declared.iter().find(|d| by_session() == Some(d)));
        let session = || spawned().find(|m| m.session == *word).or_else(|| spawned().find(|m| m.key(NAME) == Some(word)));
        match (agent, session()) {
            (Some(agent), _) if !agents.contains(agent) => agents.push(*agent),
            (None, Some(meta)) if !sessions.contains(&meta) => sessions.push(meta),
            (Some(_), _) | (None, Some(_)) => {}
            (None, None) => {
                let ids = metas.iter().map(|m| m.session.as_str());
                return Err(unknown(word, declared.iter().copied().chain(ids)));
            }
        }
    }
    Ok((agents, sessions))
}

/// What a spawned session is to be. Nothing is made anew where its worktree should be.
fn intend_spawned(project: &Project, meta: &Meta) -> Result<(Meta, Launch)> {
    let agent = project.agent(&meta.agent).ok_or_else(|| sessions::undeclared(meta))?;
    let worktree = project.layout.worktree(&meta.session);
    if meta.has_worktree() && !fs::is_dir(&worktree) {
        return Err(Error::failed(format!("its worktree {} is gone", worktree.display()))
            .hint(format!("`agents kill {0}`, then `agents restore {0}`, makes it anew from its branch", meta.session)));
    }
    wanted(project, agent, meta.clone())
}

/// What the agent's session is to be: its metadata, and what its host starts. Reserves an id where it has none.
fn intend(project: &Project, name: &str, metas: &[Meta], damaged: &[(String, Error)]) -> Result<(Meta, Launch)> {
    let agent = project.agent(name).ok_or_else(|| unknown(name, std::iter::empty()))?;
    let meta = match metas.iter().find(|m| m.agent == name && !m.is_spawned()) {
        Some(meta) => meta.clone(),
        // One of the unreadable could be this agent's, and it may run: a second one must not.
        None if !damaged.is_empty() => {
            let mut error = Error::failed("whether it has a session cannot be told");
            for (_, damage) in damaged {
                error = error.because(&damage.message);
            }
            return Err(error.hint("put these files right, or move them away, then run this again"));
        }
        None => {
            let fresh = Meta {
                session: String::new(),
                agent: name.into(),
                backend: agent.backend.name.clone(),
                project: project.config.name.clone(),
                runtime: project.config.runtime.word().into(),
                // Until all is known that is needed to start it.
                wanted: Wanted::Down,
                status: String::new(),
                reason: String::new(),
                created_at: clock::now(),
                resume_id: None,
                other: BTreeMap::new(),
            };
            meta::reserve(&project.layout, &project.config.prefix, fresh)?
        }
    };
    wanted(project, agent, meta)
}

/// The session as it is to run, and what its host starts.
fn wanted(project: &Project, agent: &Agent, mut meta: Meta) -> Result<(Meta, Launch)> {
    if meta.backend != agent.backend.name {
        // Another program knows nothing of that conversation.
        meta.backend = agent.backend.name.clone();
        meta.resume_id = None;
        meta.other.remove(STARTED_AT);
        store::conversation::forget(&project.layout, &meta.session)?;
    }
    if let Some(id) = store::conversation::read(&project.layout, &meta.session, &agent.backend.name)?
        && agent.backend.id_file.is_some()
    {
        meta.resume_id = Some(id);
    }
    if meta.resume_id.is_none() && agent.backend.mints_id {
        meta.resume_id = Some(crate::os::process::fresh_uuid()?);
    }
    (meta.wanted, meta.status, meta.reason) = (Wanted::Up, String::new(), String::new());
    project.note_runtime(&mut meta);
    let launch = project.launch(agent, &meta, meta.other.contains_key(STARTED_AT))?;
    meta.other.entry(STARTED_AT.into()).or_insert_with(|| clock::now().to_string());
    Ok((meta, launch))
}

/// What was to start for the first time and could not be started at all has no conversation.
fn forget_never_started(project: &Project, sessions: Vec<Meta>, before: &[Meta], settled: &[AgentStatus]) -> Result<()> {
    let started_before = |id: &str| before.iter().any(|m| m.session == id && m.other.contains_key(STARTED_AT));
    let never = |id: &str| settled.iter().any(|a| a.session == id && a.state == State::Failing && a.heals == 0 && a.pid.is_none());
    for meta in sessions.iter().filter(|m| !started_before(&m.session) && never(&m.session)) {
        // By now it may say why it is failing.
        let mut meta = meta::read(&project.layout, &meta.session)?;
        meta.other.remove(STARTED_AT);
        meta::write(&project.layout, &meta)?;
    }
    Ok(())
}

fn mention_undeclared(project: &Project, metas: &[Meta]) {
    let declared = |name: &str| project.config.agents.iter().any(|a| a.name == name);
    for meta in metas.iter().filter(|m| m.wanted == Wanted::Up && !m.is_spawned() && !declared(&m.agent)) {
        out::warn(&format!(
            "{} still runs agent {}, which agents.toml no longer declares; `agents down {0}` ends it",
            meta.session, meta.agent
        ));
    }
}

pub(super) fn not_up(agent: &AgentStatus) -> Error {
    let why = if agent.reason.is_empty() { String::new() } else { format!(": {}", agent.reason) };
    Error::failed(format!("agent {} ({}) is {}{why}", agent.name, agent.session, agent.state.word()))
        .hint(format!("agents why {}", agent.name))
}

/// One line for each: who, where, what.
pub(super) fn show(settled: &[AgentStatus]) {
    show_with(settled, &BTreeMap::new());
}

fn show_with(settled: &[AgentStatus], words: &BTreeMap<String, &'static str>) {
    if settled.is_empty() {
        return;
    }
    let mut table = Table::default();
    for agent in settled {
        let mut row: Vec<Text> = vec![Text::of(Tone::Strong, &agent.name), agent.session.as_str().into(), status::state_text(agent.state)];
        row.push(agent.pid.map_or_else(Text::new, |pid| format!("pid {pid}").into()));
        row.extend(words.get(&agent.session).filter(|_| agent.state == State::Up).map(|w| Text::from(*w)));
        table.row(row);
    }
    out::table(&table);
}
