//! `agents orchestrate`

use super::{Context, sessions, spawn};
use crate::error::{Error, Result};
use crate::store::instance;
use crate::store::project::Project;
use crate::store::session::{CALLER, Numbering, ORCHESTRATOR, PROMPT};
use crate::store::worktree::Repository;

/// Start a session that hands out work to others, in a git worktree of its own
#[derive(clap::Args)]
pub(super) struct Args {
    /// The agent of agents.toml that plays it; default: `orchestrator`, or the only one
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// What it is to see to, told after what every orchestrator is told; `-` reads standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// What it became, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let project = Project::find(&context.folder)?;
    sessions::mind_moved(&project)?;
    instance::prepare(&project)?;
    let names: Vec<&str> = project.config.agents.iter().map(|a| a.name.as_str()).collect();
    let agent = match (&args.agent, names.as_slice()) {
        (Some(name), _) if names.contains(&name.as_str()) => name.clone(),
        (Some(name), _) => return Err(super::place::unknown(name, names.into_iter())),
        (None, _) if names.contains(&ORCHESTRATOR) => ORCHESTRATOR.to_owned(),
        (None, [only]) => (*only).to_owned(),
        (None, []) => return Err(Error::failed("agents.toml declares no agent").hint("add [agent.orchestrator]")),
        (None, [first, ..]) => {
            return Err(Error::usage(format!("which agent? Declared are: {}", names.join(", ")))
                .hint(format!("agents orchestrate --agent {first}   or declare [agent.orchestrator]")));
        }
    };
    Repository::around(&project.folder)?;
    let plan = spawn::Plan {
        agent,
        prefix: format!("{}-{ORCHESTRATOR}", project.config.prefix),
        numbering: Numbering::SmallestFree,
        kind: Some(ORCHESTRATOR),
        branch: None,
        keys: vec![(CALLER, Some(ORCHESTRATOR.into())), (PROMPT, spawn::text(args.prompt.as_deref())?)],
    };
    let (meta, status) = spawn::make(&project, plan, "orchestrate")?;
    spawn::show(&project, &meta, &status, args.json);
    Ok(())
}
