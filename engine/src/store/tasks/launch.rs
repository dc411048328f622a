//! What a task's host starts: the backend's command line for tasks, with a prompt that tells the protocol, or the command that verifies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sentinel::{DONE, ERROR, IN_WORKTREE};
use super::{PLAN, PROMPT};
use crate::contract::layout::CONFIG_FILE;
use crate::contract::records::{Launch, TaskLaunch};
use crate::contract::task::{Place, Step, Task};
use crate::error::{Error, Result};
use crate::model::agent::{Agent, TaskStart};
pub(crate) use crate::model::duration::words as duration_words;
use crate::model::tasks::Tasks;
use crate::model::template;
use crate::os::{env, fs, process};
use crate::store::project::{ARGUMENT_BYTES_MAX, Project};
use crate::store::prompt;
use crate::store::worktree::Repository;

/// What an agent is told around its task; a template like any prompt.
const PROTOCOL: &str = include_str!("task.md");
/// Stands for the task's own prompt while the rest is rendered: that is bytes, and no template.
const HERE: &str = "\u{1}PROMPT\u{1}";

/// Where a task's programs run: the project's folder, or the same place in the task's own worktree.
pub(crate) fn folder(project: &Project, task: &Task) -> Result<PathBuf> {
    if !task.worktree {
        return Ok(project.folder.clone());
    }
    Ok(project.layout.worktree(&task.task.to_string()).join(Repository::around(&project.folder)?.inside))
}

/// How long one attempt may take.
pub(crate) fn timeout(project: Option<&Project>, task: &Task) -> Duration {
    task.timeout_ms.map_or_else(|| project.map_or_else(Tasks::default, |p| p.config.tasks.clone()).timeout, Duration::from_millis)
}

/// What the host of a running task starts for this step. Writes the prompt into the task's folder. An error: it can never be started so.
pub(crate) fn launch(project: &Project, task: &Task, step: Step) -> Result<Launch> {
    let Some(agent) = project.agent(&task.agent) else {
        return Err(
            Error::failed(format!("{CONFIG_FILE} declares no agent {}", task.agent)).hint(format!("declare [agent.{}]", task.agent))
        );
    };
    let id = task.task.to_string();
    let own = project.layout.task(Place::Running, task.task);
    let folder = folder(project, task)?;
    let prompt_file = own.join(PROMPT);
    let argv = match step {
        Step::Work => work(project, task, agent, &folder, &prompt_file)?,
        Step::Verify => task.verify.clone(),
    };
    if argv.first().is_none_or(String::is_empty) {
        return Err(Error::failed(format!("backend {} has no command line for tasks", agent.backend.name))
            .hint(format!("write `task = [\"program\", \"{{prompt}}\"]` in [backend.{}]", agent.backend.name)));
    }
    let env = [
        (env::AGENTS_SESSION, id.clone()),
        (env::AGENTS_PROJECT, project.config.name.clone()),
        (env::AGENTS_DATA_DIR, project.layout.data.display().to_string()),
        (env::AGENTS_CONFIG, project.folder.join(CONFIG_FILE).display().to_string()),
        (env::AGENTS_CALLER, "agent".to_owned()),
        (env::AGENTS_MARK, project.layout.mark(&id)),
        (env::AGENTS_TASK, id.clone()),
        (env::AGENTS_TASK_DIR, own.display().to_string()),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value)).into();
    let prepare = (task.worktree && step == Step::Work).then(|| project.folder.clone());
    Ok(agent.task_launch(TaskStart { session: &id, folder: &folder, argv, env, task: TaskLaunch { step, prepare } }))
}

fn work(project: &Project, task: &Task, agent: &Agent, folder: &Path, prompt_file: &Path) -> Result<Vec<String>> {
    let Some(form) = &agent.backend.task else { return Ok(vec![]) };
    let text = if agent.backend.task_bare { task.prompt.0.clone() } else { told(project, task, agent, folder)? };
    fs::replace(prompt_file, &text, 0o600)?;
    let short = format!("Your task stands in the file {}. Read all of it, then do what it says.", prompt_file.display());
    // What no argument can hold is read from the file.
    let argument = match String::from_utf8(text) {
        Ok(text) if text.len() < ARGUMENT_BYTES_MAX && !text.contains('\0') => text,
        Ok(_) | Err(_) => short,
    };
    let values = BTreeMap::from([
        ("session", task.task.to_string()),
        ("task", task.task.to_string()),
        ("worktree", folder.display().to_string()),
        ("prompt_file", prompt_file.display().to_string()),
        ("prompt", argument),
    ]);
    Ok(agent.task_argv(form, values))
}

/// The agent's role, the task, and how to report.
fn told(project: &Project, task: &Task, agent: &Agent, folder: &Path) -> Result<Vec<u8>> {
    let id = task.task.to_string();
    let own = project.layout.task(Place::Running, task.task);
    let role = prompt::of_agent(project, agent, &id, folder)?.unwrap_or_default();
    let sentinels = if task.worktree { folder_above(project, &id).join(IN_WORKTREE) } else { own.clone() };
    let name = |name: &str| sentinels.join(if task.worktree { &name[1..] } else { name }).display().to_string();
    let launcher = project.folder.join("engine/agents");
    let program = if fs::is_executable(&launcher) { Some(launcher) } else { process::own_path() };
    let values = BTreeMap::from([
        ("role", role.trim_end().to_owned()),
        ("prompt", HERE.to_owned()),
        ("task", id.clone()),
        ("name", task.name.clone().unwrap_or_default()),
        ("attempt", task.attempts.len().max(1).to_string()),
        ("project", project.config.name.clone()),
        ("agent", agent.name.clone()),
        ("folder", folder.display().to_string()),
        ("plan", own.join(PLAN).display().to_string()),
        ("done_file", name(DONE)),
        ("error_file", name(ERROR)),
        ("program", program.map_or_else(|| "agents".into(), |p| p.display().to_string())),
    ]);
    let (file, text) = match &project.config.tasks.prompt {
        Some(relative) => {
            let file = project.folder.join(relative);
            let text = fs::read_to_string(&file).map_err(|e| {
                Error::failed(format!("the template for tasks cannot be read: {e}"))
                    .hint(format!("write it, or change `prompt` of [tasks] in {CONFIG_FILE}"))
            })?;
            (file, text)
        }
        None => (PathBuf::from("task.md"), PROTOCOL.to_owned()),
    };
    let around = template::prompt(&file, &text, &values)?;
    let Some((before, after)) = around.split_once(HERE) else {
        return Err(Error::failed(format!(
            "{}: the template does not say {{{{ prompt }}}}, so no agent would learn its task",
            file.display()
        )));
    };
    Ok([before.trim_start().as_bytes(), &task.prompt.0, after.as_bytes()].concat())
}

/// The top of a task's own worktree.
fn folder_above(project: &Project, id: &str) -> PathBuf {
    project.layout.worktree(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_names_all_that_is_needed() {
        let words = ["role", "prompt", "task", "folder", "plan", "done_file", "error_file", "program"];
        let values: BTreeMap<&str, String> =
            words.into_iter().chain(["name", "attempt", "project", "agent"]).map(|w| (w, format!("<{w}>"))).collect();
        let text = template::prompt(Path::new("task.md"), PROTOCOL, &values).unwrap();
        for word in words {
            assert!(text.contains(&format!("<{word}>")), "{word}");
        }
        assert!(text.contains("<program> done") && text.contains("<program> fail"));
    }
}
