//! `agents spawn`, and what `orchestrate` shares with it.

use std::collections::BTreeMap;
use std::io::Read;

use super::sessions::{self, Row};
use super::{Context, interrupt, out, up};
use crate::contract::layout::{CONFIG_FILE, is_name};
use crate::contract::status::{AgentStatus, State};
use crate::error::{Error, Result};
use crate::model::Agent;
use crate::os::lock::Lock;
use crate::os::{clock, env, fs};
use crate::store::instance;
use crate::store::meta::{self, Meta, Wanted};
use crate::store::project::Project;
use crate::store::session::{self, BASE, BRANCH, BRANCH_MADE, ISSUE, NAME, Numbering, OPERATOR, PROMPT, SPAWNED_BY, UNDERWAY, WORKTREE};
use crate::store::worktree::{Branch, Repository};

/// Give work to a new session of an agent, in a git worktree of its own
#[derive(clap::Args)]
pub(super) struct Args {
    /// The agent of agents.toml that plays it; not needed where there is but one
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// The issue it works on; its branch is then `feat/ISSUE`, else `session/ID`
    #[arg(long, value_name = "ID")]
    issue: Option<String>,
    /// What it is to do, told after the agent's own prompt; `-` reads standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Work on this branch; it is made where it does not exist
    #[arg(long, value_name = "BRANCH", conflicts_with = "no_worktree")]
    branch: Option<String>,
    /// Work in the project's own folder
    #[arg(long)]
    no_worktree: bool,
    /// A name for it, beside its id
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What it became, as JSON
    #[arg(long)]
    json: bool,
}

/// A session that is to be.
pub(super) struct Plan {
    pub agent: String,
    pub prefix: String,
    pub numbering: Numbering,
    /// Its branch is `{kind}/{id}` where `branch` says nothing; without a kind, it has no worktree.
    pub kind: Option<&'static str>,
    pub branch: Option<Branch>,
    pub keys: Vec<(&'static str, Option<String>)>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let project = Project::find(&context.folder)?;
    sessions::mind_moved(&project)?;
    instance::prepare(&project)?;
    let agent = chosen(&project, args.agent.as_deref(), |name| format!("agents spawn --agent {name}"))?;
    let prompt = text(args.prompt.as_deref())?;
    if let Some(name) = &args.name {
        check_name(&project, name)?;
    }
    let branch = if args.no_worktree {
        None
    } else {
        Branch::choose(&Repository::around(&project.folder)?, args.branch.as_deref(), args.issue.as_deref())?
    };
    if let Some(issue) = args.issue.as_ref().filter(|i| i.trim().is_empty() || i.chars().any(char::is_control)) {
        return Err(Error::usage(format!("--issue: {issue:?} is no issue's id")));
    }
    let plan = Plan {
        agent: agent.name.clone(),
        prefix: project.config.prefix.clone(),
        numbering: Numbering::Next,
        kind: (!args.no_worktree).then_some("session"),
        branch,
        keys: vec![(ISSUE, args.issue.clone()), (NAME, args.name.clone()), (PROMPT, prompt)],
    };
    let (meta, status) = make(&project, plan, "spawn")?;
    show(&project, &meta, &status, args.json);
    Ok(())
}

/// What was made: a fact on stdout, where it works on stderr.
pub(super) fn show(project: &Project, meta: &Meta, status: &AgentStatus, json: bool) {
    if json {
        return out::json(&Row::of(&project.layout, meta, Some(status), status.state));
    }
    up::show(std::slice::from_ref(status));
    if let Some(branch) = meta.key(BRANCH) {
        out::say(format!("{}: branch {branch} in {}", meta.session, env::shorten(&project.layout.worktree(&meta.session))));
    }
    if status.state == State::Exited {
        out::warn(&format!("{}: its agent has ended already: {}", meta.session, status.reason));
    }
}

/// The text itself, or standard input for `-`.
pub(super) fn text(argument: Option<&str>) -> Result<Option<String>> {
    let Some(argument) = argument else { return Ok(None) };
    let mut text = argument.to_owned();
    if text == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).map_err(|e| Error::failed(format!("standard input: {e}")))?;
    }
    text.truncate(text.trim_end().len());
    if text.is_empty() {
        return Err(Error::usage("--prompt: there is no text").hint("say what is to be done, or leave --prompt out"));
    }
    if text.contains('\0') {
        return Err(Error::usage("--prompt: no program can be given a text with a NUL in it"));
    }
    Ok(Some(text))
}

/// The agent that is named, or the only one.
pub(super) fn chosen<'a>(project: &'a Project, named: Option<&str>, how: impl Fn(&str) -> String) -> Result<&'a Agent> {
    let names = || project.config.agents.iter().map(|a| a.name.as_str());
    match (named, project.config.agents.as_slice()) {
        (Some(name), _) => project.agent(name).ok_or_else(|| super::place::unknown(name, names())),
        (None, [only]) => Ok(only),
        (None, []) => Err(Error::failed(format!("{CONFIG_FILE} declares no agent")).hint("add [agent.NAME]")),
        (None, [first, ..]) => {
            let all: Vec<&str> = names().collect();
            Err(Error::usage(format!("which agent? Declared are: {}", all.join(", "))).hint(how(&first.name)))
        }
    }
}

/// A name means one session for as long as that lives.
fn check_name(project: &Project, name: &str) -> Result<()> {
    if !is_name(name) {
        return Err(Error::usage(format!("--name: {name:?} is no name"))
            .hint("use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit"));
    }
    let like_an_id =
        name.strip_prefix(&project.config.prefix).and_then(|r| r.rsplit_once('-')).is_some_and(|(_, n)| n.parse::<u64>().is_ok());
    if like_an_id || project.agent(name).is_some() {
        let whose = if like_an_id { "a session's id" } else { "an agent's name" };
        return Err(Error::usage(format!("--name: {name} is {whose}")).hint("choose another"));
    }
    if let Some(meta) = meta::list(&project.layout)?.iter().find(|m| m.key(NAME) == Some(name)) {
        return Err(Error::failed(format!("session {} has the name {name} already", meta.session)).hint("choose another"));
    }
    Ok(())
}

/// The session that calls this command, if one of this project does.
pub(super) fn caller(project: &Project) -> String {
    let ours = env::get(env::AGENTS_DATA_DIR).is_some_and(|d| d == *project.layout.data.as_os_str());
    env::text(env::AGENTS_SESSION).filter(|id| ours && is_name(id)).unwrap_or_else(|| OPERATOR.into())
}

/// Makes a session and has it started. Any failure takes back every step before it.
pub(super) fn make(project: &Project, plan: Plan, command: &str) -> Result<(Meta, AgentStatus)> {
    project.check_runtime()?;
    let layout = &project.layout;
    let links = &project.config.worktree.symlinks;
    let _doing = interrupt::doing("making a session", "the next command that changes sessions undoes what is not whole");
    sessions::recover(&project.folder, links, layout)?;
    let agent = project.agent(&plan.agent).ok_or_else(|| super::place::unknown(&plan.agent, std::iter::empty()))?;
    let (mut meta, lock) = session::reserve(layout, &plan.prefix, plan.numbering, &fresh(project, agent, &plan)?)?;
    let made = steps(project, &mut meta, &plan, &lock, command);
    match made {
        Ok(status) => {
            let by = meta.key(SPAWNED_BY).unwrap_or_default();
            sessions::record(layout, &meta.session, "spawned", &format!("by {by}"));
            Ok((meta, status))
        }
        Err(error) => {
            let id = meta.session.clone();
            let error = error.of(format!("session {id}"));
            Err(match sessions::undo_spawn(&project.folder, links, layout, meta, &lock) {
                Ok(()) => error,
                Err(undo) => error
                    .because(format!("and it could not be undone: {undo}"))
                    .hint("the next `agents spawn` or `agents kill` tries again"),
            })
        }
    }
}

fn fresh(project: &Project, agent: &Agent, plan: &Plan) -> Result<Meta> {
    let mut meta = Meta {
        session: String::new(),
        agent: agent.name.clone(),
        backend: agent.backend.name.clone(),
        project: project.config.name.clone(),
        runtime: project.config.runtime.word().into(),
        wanted: Wanted::Down,
        status: String::new(),
        reason: String::new(),
        created_at: clock::now(),
        resume_id: if agent.backend.mints_id { Some(crate::os::process::fresh_uuid()?) } else { None },
        other: BTreeMap::new(),
    };
    meta.set(SPAWNED_BY, caller(project));
    meta.set(UNDERWAY, "spawn");
    for (key, value) in &plan.keys {
        if let Some(value) = value {
            meta.set(key, value.clone());
        }
    }
    Ok(meta)
}

fn steps(project: &Project, meta: &mut Meta, plan: &Plan, lock: &Lock, command: &str) -> Result<AgentStatus> {
    if let Some(kind) = plan.kind {
        worktree(project, meta, plan, kind, lock)?;
        sessions::furnish(project, meta, lock)?;
    }
    sessions::launch(project, meta, command)
}

fn worktree(project: &Project, meta: &mut Meta, plan: &Plan, kind: &str, lock: &Lock) -> Result<()> {
    let layout = &project.layout;
    let path = layout.worktree(&meta.session);
    let repository = Repository::around(&project.folder)?;
    let branch = plan.branch.clone().unwrap_or_else(|| Branch { name: format!("{kind}/{}", meta.session), exists: false });
    if fs::look(&path)? != fs::Found::Nothing {
        return Err(Error::failed(format!("{} is in the way", path.display())).hint("look what it is, and move it away"));
    }
    meta.set(BRANCH, branch.name.clone());
    meta.set(WORKTREE, path.display().to_string());
    if branch.exists {
        // What is to be taken back is known before anything is made.
        meta::write(layout, meta)?;
        return repository.add(&path, &branch.name, None, lock);
    }
    let Some(base) = repository.start(project.config.default_branch.as_deref())? else {
        return Err(match &project.config.default_branch {
            Some(name) => Error::failed(format!("default_branch: there is no branch {name}"))
                .hint(format!("make it, or change `default_branch` in {CONFIG_FILE}")),
            None => Error::failed("the project has no commit yet, so no worktree can start from it")
                .hint("commit something first, or use --no-worktree"),
        });
    };
    // Made by somebody else, it is not ours to take back.
    if plan.branch.is_none() && repository.branch(&branch.name)?.is_some() {
        return Err(Error::failed(format!("the branch {} exists already", branch.name))
            .hint(format!("agents spawn --branch {}   goes on with it", branch.name)));
    }
    meta.set(BRANCH_MADE, "yes");
    meta.set(BASE, base.clone());
    meta::write(layout, meta)?;
    repository.add(&path, &branch.name, Some(&base), lock)
}
