//! What a session's agent is told first: its role from the project's prompt file, then what it was spawned for.

use std::collections::BTreeMap;
use std::path::Path;

use super::meta::Meta;
use super::project::Project;
use super::session::{BRANCH, ISSUE, ORCHESTRATOR, PROMPT};
use crate::contract::layout::CONFIG_FILE;
use crate::document;
use crate::error::{Error, Result};
use crate::model::{Agent, template};
use crate::os::{fs, process};

/// What every session that directs others is told; a template like any prompt.
const DIRECTING: &str = include_str!("orchestrator.md");

/// The session's first prompt; none where nothing says one.
pub(super) fn first(project: &Project, agent: &Agent, meta: &Meta) -> Result<Option<String>> {
    let folder = project.session_folder(meta)?;
    let mut parts = vec![];
    if meta.is_spawned() && meta.caller() == ORCHESTRATOR {
        parts.push(directing(project, meta, &folder)?);
    }
    parts.extend(of_agent(project, agent, &meta.session, &folder)?);
    match (meta.key(PROMPT), meta.key(ISSUE)) {
        (Some(text), _) => parts.push(text.to_owned()),
        (None, Some(issue)) => parts.push(format!("Work on issue {issue}.")),
        (None, None) => {}
    }
    let text = parts.iter().map(|p| p.trim_end()).collect::<Vec<_>>().join("\n\n");
    Ok(Some(text).filter(|t| !t.is_empty()))
}

/// An agent's own prompt file, rendered.
pub(super) fn of_agent(project: &Project, agent: &Agent, session: &str, folder: &Path) -> Result<Option<String>> {
    let Some(relative) = &agent.prompt else { return Ok(None) };
    let file = project.folder.join(relative);
    let missing = |why: String| {
        Error::failed(format!("agent {}: its prompt file {relative} {why}", agent.name))
            .hint(format!("write {}, or change `prompt` in {CONFIG_FILE}", file.display()))
    };
    let text = match fs::look(&file)? {
        fs::Found::Nothing => None,
        _ => document::text(&file)?,
    };
    let Some(text) = text else { return Err(missing("is not there".into())) };
    if !fs::canonical(&file)?.starts_with(&project.folder) {
        return Err(missing("is a link that leads out of the project".into()));
    }
    template::prompt(&file, &text, &agent.prompt_values(&project.config.name, session, folder)).map(Some)
}

fn directing(project: &Project, meta: &Meta, folder: &Path) -> Result<String> {
    let launcher = project.folder.join("engine/agents");
    let program = if fs::is_executable(&launcher) { Some(launcher) } else { process::own_path() };
    let agents = project.config.agents.iter().map(|a| format!("- `{}`, played by {}", a.name, a.backend.name));
    let values = BTreeMap::from([
        ("project", project.config.name.clone()),
        ("session", meta.session.clone()),
        ("folder", folder.display().to_string()),
        ("branch", meta.key(BRANCH).unwrap_or("none of its own").to_owned()),
        ("agents", agents.collect::<Vec<_>>().join("\n")),
        ("program", program.map_or_else(|| "agents".into(), |p| p.display().to_string())),
        ("prefix", project.config.prefix.clone()),
        ("default_branch", project.config.default_branch.clone().unwrap_or_else(|| "the branch that the project's folder is on".into())),
    ]);
    template::prompt(Path::new("orchestrator.md"), DIRECTING, &values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_directs_others_knows_project_agents_and_commands() {
        let words = ["project", "session", "folder", "branch", "agents", "program", "prefix", "default_branch"];
        let values: BTreeMap<&str, String> = words.into_iter().map(|w| (w, format!("<{w}>"))).collect();
        let text = template::prompt(Path::new("orchestrator.md"), DIRECTING, &values).unwrap();
        for word in words {
            assert!(text.contains(&format!("<{word}>")), "{word}");
        }
        for verb in ["spawn", "list", "send", "kill", "restore", "clean", "why", "logs"] {
            assert!(text.contains(&format!("<program> {verb}")), "{verb}");
        }
    }
}
