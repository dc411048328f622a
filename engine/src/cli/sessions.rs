//! What the commands that make, end and bring back sessions share: steps that can be undone, and finishing what was interrupted.

use std::path::Path;
use std::time::Duration;

use super::out;
use super::{ask, status, tmux, up};
use crate::contract::control::ToWatchdog;
use crate::contract::layout::{CONFIG_FILE, Layout};
use crate::contract::records::Event;
use crate::contract::status::{Activity, AgentStatus, State};
use crate::error::{Error, Result};
use crate::os::lock::Lock;
use crate::os::socket::Stream;
use crate::os::{clock, env, fs};
use crate::store::boot::{self, Boot};
use crate::store::conversation;
use crate::store::meta::{self, Meta, STARTED_AT, Wanted};
use crate::store::moved;
use crate::store::project::Project;
use crate::store::session::{self, BASE, BRANCH, BRANCH_MADE, ENDED_AT, ISSUE, PRESERVED, STAYS, UNDERWAY};
use crate::store::worktree::{self, Repository, preserved_ref};
use crate::store::{self, events};

/// A checkout that was moved does not begin anew unsaid.
pub(super) fn mind_moved(project: &Project) -> Result<()> {
    moved::guard(project)?.iter().for_each(|words| out::warn(words));
    Ok(())
}

/// `up`, `down` and `restart` hold the command lock until what they want has settled, which has a limit of its own.
const SETTLED: Duration = Duration::from_secs(150);

/// The command lock, waited for; who has it is said.
pub(super) fn changing(layout: &Layout, command: &str) -> Result<Lock> {
    let words = |holder| format!("waiting for {holder}, who is at work on this project's sessions");
    let mut lock = super::wait_for(&layout.command_lock(), Some(SETTLED), words)?;
    lock.sign(&format!("`agents {command}` (pid {})", std::process::id()))?;
    Ok(lock)
}

/// A session's own lock, for a command that ends it or brings it back.
pub(super) fn operation(layout: &Layout, id: &str) -> Result<Lock> {
    let path = layout.operation_lock(id);
    Lock::try_take(&path)?.ok_or_else(|| {
        Error::busy(format!("another command is at work on session {id}: {}", Lock::holder(&path))).hint("run this again when it is done")
    })
}

pub(super) fn record(layout: &Layout, session: &str, what: &str, why: &str) {
    // The deed is done; an event that cannot be written stops nobody.
    let _ = events::append(layout, &Event { at: clock::now(), session: session.into(), what: what.into(), why: why.into(), pid: None });
}

/// Furnishes a session's worktree.
pub(super) fn furnish(project: &Project, meta: &Meta, lock: &Lock) -> Result<()> {
    worktree::furnish(project, &meta.session, &project.session_folder(meta)?, lock)
}

/// Writes the session down as wanted and has it started. An error: it does not run, and why.
pub(super) fn launch(project: &Project, meta: &mut Meta, command: &str) -> Result<AgentStatus> {
    let layout = &project.layout;
    let agent = project.agent(&meta.agent).ok_or_else(|| undeclared(meta))?;
    project.note_runtime(meta);
    let launch = project.launch(agent, meta, meta.key(STARTED_AT).is_some())?;
    meta.other.remove(UNDERWAY);
    meta.other.entry(STARTED_AT.into()).or_insert_with(|| clock::now().to_string());
    (meta.wanted, meta.status, meta.reason) = (Wanted::Up, String::new(), String::new());
    {
        let _lock = changing(layout, command)?;
        store::notify::write(project)?.iter().for_each(|wrong| out::warn(wrong));
        store::write(layout, &[launch], std::slice::from_ref(meta))?;
        store::run::pardon(layout, &meta.session)?;
    }
    let status = ask::settle_one(layout, &meta.session)?.ok_or_else(|| Error::failed("the watchdog says nothing of it"))?;
    match status.state {
        State::Up | State::Limited | State::Exited => Ok(status),
        State::Starting | State::Failing | State::Down | State::Archived | State::Unknown => Err(up::not_up(&status)),
    }
}

pub(super) fn undeclared(meta: &Meta) -> Error {
    Error::failed(format!("session {} is played by agent {}, which {CONFIG_FILE} does not declare", meta.session, meta.agent))
        .hint(format!("declare [agent.{}] again, or `agents kill {}`", meta.agent, meta.session))
}

/// Ends the session's whole process tree. Afterwards nothing of it runs and nothing brings it back, or this is an error.
pub(super) fn stop(layout: &Layout, meta: &mut Meta) -> Result<()> {
    // A verdict that the watchdog writes at the same moment could overwrite what is wanted, so it is looked at again.
    for _ in 0..3 {
        meta.wanted = Wanted::Down;
        meta::write(layout, meta)?;
        if !store::run::lives(layout, &meta.session) {
            break;
        }
        ask::settle_one(layout, &meta.session)?;
    }
    if store::run::lives(layout, &meta.session) {
        return Err(Error::failed(format!("session {} could not be ended: something of it still runs", meta.session))
            .hint(format!("agents why {}", meta.session)));
    }
    // A watchdog that runs may not have heard yet that it is not wanted.
    if let Ok(mut watchdog) = Stream::connect(&layout.watchdog_socket()) {
        // One that is just ending wants nothing either.
        let _ = ask::settle(layout, &mut watchdog, &ToWatchdog::Settle { sessions: vec![meta.session.clone()], asked: None });
    }
    tmux::clear_away(layout, std::slice::from_ref(&meta.session))
}

/// The watchdog that runs, if one does, speaks of it no more.
fn forget(layout: &Layout, id: &str) {
    if let Ok(mut watchdog) = Stream::connect(&layout.watchdog_socket()) {
        // One that ends meanwhile has nothing to forget.
        let _ = ask::settle(layout, &mut watchdog, &ToWatchdog::Forget { sessions: vec![id.to_owned()] });
    }
}

/// Ends a session that is marked as being ended: its tree, then its worktree, whose work is kept first, then its metadata goes to the archive.
/// Repeats what an interrupted one has done. What the operator should know is said.
pub(super) fn finish_kill(project_folder: &Path, links: &[String], layout: &Layout, mut meta: Meta, lock: &Lock) -> Result<Meta> {
    let id = meta.session.clone();
    stop(layout, &mut meta)?;
    // What cannot be read is not kept from ending.
    if let Ok(Some(found)) = conversation::read(layout, &id, &meta.backend) {
        meta.resume_id = Some(found);
    }
    if meta.has_worktree() {
        put_away(project_folder, links, layout, &mut meta, lock)?;
    }
    fs::remove_file(&layout.launch(&id))?;
    fs::remove_file(&layout.launch(&id).with_extension("prompt"))?;
    fs::remove_file(&layout.run(&id))?;
    meta.other.remove(UNDERWAY);
    (meta.status, meta.reason) = (String::new(), String::new());
    meta.other.entry(ENDED_AT.into()).or_insert_with(|| clock::now().to_string());
    {
        let _lock = changing(layout, "kill")?;
        session::archive(layout, &meta)?;
    }
    fs::remove_file(&layout.conversation(&id))?;
    fs::remove_file(&layout.wake(&id))?;
    forget(layout, &id);
    record(layout, &id, "archived", "ended by command");
    Ok(meta)
}

/// Keeps what the worktree holds, then takes it away if all of it could be kept.
fn put_away(project_folder: &Path, links: &[String], layout: &Layout, meta: &mut Meta, lock: &Lock) -> Result<()> {
    let id = meta.session.clone();
    let path = layout.worktree(&id);
    let repository = Repository::around(project_folder)?;
    if meta.key(UNDERWAY) == Some("restore") {
        // No agent has run in it yet: it holds less than what was kept when the session was ended, or is the one that had to stay.
        return if meta.key(STAYS).is_some() { Ok(()) } else { repository.remove(&path) };
    }
    let links = linked(&repository, &path, links);
    let work = repository.preserve(&id, &path, &links, &layout.runtime.join(format!("{id}.index")), lock)?;
    worktree::note(meta, &work);
    // Before the worktree goes: a second try finds nothing in it any more.
    meta::write(layout, meta)?;
    match &work.stays {
        Some(why) => out::warn(&format!("{id}: its worktree stays in {}, as {why}", env::shorten(&path))),
        None => repository.remove(&path)?,
    }
    if let Some(commit) = &work.preserved {
        out::say(format!("{id}: uncommitted work is kept as {} in {}", &commit[..12], preserved_ref(&id)));
    }
    Ok(())
}

/// Which of the links that a worktree is furnished with are links still.
fn linked(repository: &Repository, worktree: &Path, links: &[String]) -> Vec<String> {
    let inside = links.iter().map(|l| repository.inside.join(l));
    inside.filter(|l| is_link(&worktree.join(l))).map(|l| l.display().to_string()).collect()
}

fn is_link(path: &Path) -> bool {
    matches!(fs::look(path), Ok(fs::Found::Link))
}

/// Takes back every step of a spawn, the last first.
pub(super) fn undo_spawn(project_folder: &Path, links: &[String], layout: &Layout, mut meta: Meta, lock: &Lock) -> Result<()> {
    let id = meta.session.clone();
    meta.set(UNDERWAY, "spawn");
    {
        let _lock = changing(layout, "spawn")?;
        meta.wanted = Wanted::Down;
        meta::write(layout, &meta)?;
    }
    stop(layout, &mut meta)?;
    if meta.has_worktree() {
        let repository = Repository::around(project_folder)?;
        let path = layout.worktree(&id);
        // An agent that had started may have left something; what is half made has nothing.
        if meta.key(STARTED_AT).is_some() {
            let links = linked(&repository, &path, links);
            let work = repository.preserve(&id, &path, &links, &layout.runtime.join(format!("{id}.index")), lock)?;
            if let Some(commit) = &work.preserved {
                out::say(format!("{id}: what it had written is kept as {} in {}", &commit[..12], preserved_ref(&id)));
            }
        }
        repository.remove(&path)?;
        if let (Some(branch), Some("yes")) = (meta.key(BRANCH), meta.key(BRANCH_MADE)) {
            repository.clear_branch_lock(branch)?;
            // With a commit of its own it is work, and stays.
            if let Some(tip) = repository.branch(branch)?
                && meta.key(BASE).is_none_or(|base| base == tip)
            {
                repository.remove_branch(branch, &tip)?;
            }
        }
    }
    for path in [
        layout.launch(&id),
        layout.launch(&id).with_extension("prompt"),
        layout.conversation(&id),
        layout.wake(&id),
        layout.run(&id),
        worktree::setup_log(layout, &id),
        layout.log(&id),
    ] {
        fs::remove_file(&path)?;
    }
    fs::remove_file(&layout.session(&id))?;
    forget(layout, &id);
    Ok(())
}

/// Finishes or undoes what an interrupted command has left, and says which.
pub(super) fn recover(project_folder: &Path, links: &[String], layout: &Layout) -> Result<()> {
    let (mut left, mut unstarted) = (vec![], vec![]);
    {
        let _lock = changing(layout, "spawn")?;
        // A watchdog that is started after a boot brings back what ran before it.
        match boot::look(layout) {
            Boot::Same => boot::finish(layout)?,
            Boot::Other => drop(boot::begin(layout, &meta::list(layout)?)?),
            Boot::Restoring => {}
        }
        session::sweep(layout)?;
        for id in session::empty(layout)? {
            if let Some(_lock) = Lock::try_take(&layout.operation_lock(&id))? {
                fs::remove_file(&layout.session(&id))?;
            }
        }
        for meta in meta::list(layout)?.into_iter().filter(|m| m.is_spawned() || m.underway().is_some()) {
            if meta.underway().is_none() {
                if is_unstarted(layout, &meta)? {
                    unstarted.push(meta.session);
                }
                continue;
            }
            // Read again, as its command may have ended it between the two looks.
            if let Some(lock) = Lock::try_take(&layout.operation_lock(&meta.session))?
                && let Ok(meta) = meta::read(layout, &meta.session)
                && meta.underway().is_some()
            {
                left.push((meta, lock));
            }
        }
    }
    for id in unstarted {
        ask::settle_one(layout, &id)?;
    }
    for (meta, lock) in left {
        let id = meta.session.clone();
        if meta.underway() == Some("spawn") {
            undo_spawn(project_folder, links, layout, meta, &lock)?;
            out::say(format!("{id}: an interrupted spawn was undone"));
        } else {
            let word = meta.underway().unwrap_or_default().to_owned();
            finish_kill(project_folder, links, layout, meta, &lock)?;
            let what = if word == "restore" { "an interrupted restore was undone" } else { "an interrupted kill was finished" };
            out::say(format!("{id}: {what}"));
        }
    }
    Ok(())
}

/// Whether it is wanted and nobody starts it: its spawn was ended after the last step was written down and before it was done.
fn is_unstarted(layout: &Layout, meta: &Meta) -> Result<bool> {
    let is_wanted = meta.wanted == Wanted::Up && meta.status.is_empty();
    let nobody =
        || Ok::<_, Error>(!store::run::lives(layout, &meta.session) && Lock::try_take(&layout.operation_lock(&meta.session))?.is_some());
    Ok(is_wanted && boot::look(layout) == Boot::Same && nobody()?)
}

/// What a list says of a session.
#[derive(serde::Serialize)]
pub(super) struct Row {
    pub session: String,
    pub name: Option<String>,
    pub agent: String,
    pub state: State,
    pub activity: Activity,
    pub issue: Option<String>,
    pub branch: Option<String>,
    pub worktree: Option<String>,
    pub pid: Option<i32>,
    #[serde(rename = "spawnedBy")]
    pub spawned_by: Option<String>,
    #[serde(rename = "createdAt")]
    pub created_at: String,
    #[serde(rename = "endedAt", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preserved: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl Row {
    pub(super) fn of(layout: &Layout, meta: &Meta, status: Option<&AgentStatus>, otherwise: State) -> Row {
        let key = |key: &str| meta.key(key).map(str::to_owned);
        Row {
            session: meta.session.clone(),
            name: key(session::NAME),
            agent: meta.agent.clone(),
            state: status.map_or(otherwise, |s| s.state),
            activity: status.map_or(Activity::Unknown, |s| s.activity),
            issue: key(ISSUE),
            branch: key(BRANCH),
            worktree: meta
                .has_worktree()
                .then(|| layout.worktree(&meta.session))
                .filter(|p| fs::is_dir(p))
                .map(|p| p.display().to_string()),
            pid: status.and_then(|s| s.pid),
            spawned_by: key(session::SPAWNED_BY),
            created_at: meta.created_at.to_string(),
            ended_at: key(ENDED_AT),
            preserved: key(PRESERVED),
            reason: status.map(|s| status::remark(s).to_owned()).unwrap_or_default(),
        }
    }
}
