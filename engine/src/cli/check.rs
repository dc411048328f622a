//! `agents check`

use std::collections::BTreeMap;

use serde::Serialize;

use super::Context;
use super::out::{self, Text, Tone};
use crate::contract::layout::CONFIG_FILE;
use crate::error::{Error, Result};
use crate::os::env;
use crate::store::project::{Project, Severity};
use crate::store::version::Program;

/// Check agents.toml and all it names: every finding at once, each with its line
#[derive(clap::Args)]
pub(super) struct Args {
    /// Ask each agent's program for its version too, where its backend says how
    #[arg(long)]
    programs: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    valid: bool,
    agents: usize,
    errors: Vec<String>,
    warnings: Vec<String>,
    /// By agent; with `--programs`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    versions: BTreeMap<String, String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let found = Project::find(&context.folder);
    let (agents, mut findings) = match &found {
        Ok(project) => (project.config.agents.len(), project.check()),
        Err(_) => (0, vec![]),
    };
    let versions = match &found {
        Ok(project) if args.programs => versions(project, &mut findings),
        Ok(_) | Err(_) => BTreeMap::new(),
    };
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(|(severity, _)| *severity == Severity::Error);
    let mut errors: Vec<Error> = errors.into_iter().map(|(_, error)| error).collect();
    errors.extend(found.err());
    let result = Error::all(errors).map_or(Ok(()), Err);
    if args.json {
        let text = |error: &Error| Error { others: vec![], ..error.clone() }.to_string();
        let errors = result.as_ref().err().map(|e| std::iter::once(e).chain(&e.others).map(text).collect()).unwrap_or_default();
        let warnings = warnings.iter().map(|(_, w)| text(w)).collect();
        out::json(&Answer { valid: result.is_ok(), agents, errors, warnings, versions });
        return result;
    }
    for (agent, version) in &versions {
        out::fact(Text::of(Tone::Strong, agent).and(Tone::Plain, format!("  {version}")));
    }
    for (_, warning) in warnings {
        out::warn(&warning.to_string());
    }
    result?;
    out::say(format!("{CONFIG_FILE} is valid: {agents} {}", if agents == 1 { "agent" } else { "agents" }));
    Ok(())
}

/// What each agent's program says of its version; what is not as wanted is a finding.
fn versions(project: &Project, findings: &mut Vec<(Severity, Error)>) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for agent in &project.config.agents {
        let search = agent.env.get("PATH").cloned().or_else(|| env::text("PATH")).unwrap_or_default();
        // What is not found is a finding already.
        let Some(program) = agent.backend.version.as_ref().and_then(|v| Program::find(v, &project.folder, &search)) else { continue };
        let of = |reason: String| Error::failed(format!("agent {}: {reason}", agent.name));
        match program.ask(&project.layout, &project.folder, &agent.env) {
            Ok(version) => {
                findings.extend(program.mismatch(&version).map(|reason| (Severity::Error, of(reason))));
                told.insert(agent.name.clone(), format!("{} {version}", agent.backend.name));
            }
            Err(why) => {
                let severity = if program.wanted.is_some() { Severity::Error } else { Severity::Warning };
                let reason =
                    program.untold(&why).unwrap_or_else(|| format!("`{}` does not tell its version: {why}", program.command.join(" ")));
                findings.push((severity, of(reason)));
            }
        }
    }
    told
}
