//! `agents check`

use serde::Serialize;

use super::{Context, out};
use crate::contract::layout::CONFIG_FILE;
use crate::error::{Error, Result};
use crate::store::project::{Project, Severity};

/// Check agents.toml and all it names: every finding at once, each with its line
#[derive(clap::Args)]
pub(super) struct Args {
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
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let found = Project::find(&context.folder);
    let (agents, findings) = match &found {
        Ok(project) => (project.config.agents.len(), project.check()),
        Err(_) => (0, vec![]),
    };
    let (errors, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(|(severity, _)| *severity == Severity::Error);
    let mut errors: Vec<Error> = errors.into_iter().map(|(_, error)| error).collect();
    errors.extend(found.err());
    let result = Error::all(errors).map_or(Ok(()), Err);
    if args.json {
        let text = |error: &Error| Error { others: vec![], ..error.clone() }.to_string();
        let errors = result.as_ref().err().map(|e| std::iter::once(e).chain(&e.others).map(text).collect()).unwrap_or_default();
        let warnings = warnings.iter().map(|(_, w)| text(w)).collect();
        out::json(&Answer { valid: result.is_ok(), agents, errors, warnings });
        return result;
    }
    for (_, warning) in warnings {
        out::warn(&warning.to_string());
    }
    result?;
    out::say(format!("{CONFIG_FILE} is valid: {agents} {}", if agents == 1 { "agent" } else { "agents" }));
    Ok(())
}
