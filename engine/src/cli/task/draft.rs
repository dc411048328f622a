//! One task as it was asked for, checked: by whom, in what time, after what.

use crate::contract::task::{Prompt, Task, TaskId};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::model::{duration, name, tasks::RETRIES_MAX};
use crate::os::clock;
use crate::store::project::Project;
use crate::store::worktree::Repository;

use super::batch::Entry;

/// Whatever is wrong with a task, each with the key it is about.
pub(super) type Wrong = Vec<(&'static str, Error)>;

/// A task as asked for becomes one that can be written down; its number and what it waits for come later.
pub(super) fn task(project: &Project, entry: &Entry, prompt: Vec<u8>) -> std::result::Result<Task, Wrong> {
    let mut wrong = vec![];
    let mut keep = |key, result: Result<()>| wrong.extend(result.err().map(|e| (key, e)));
    let agent = agent(project, entry.agent.as_deref());
    keep("prompt", check_prompt(&prompt));
    keep("name", entry.name.as_deref().map_or(Ok(()), check_name));
    keep("lane", entry.lane.as_deref().map_or(Ok(()), |lane| project.config.tasks.check_lane(lane)));
    let timeout = entry.timeout.as_deref().map(limit).transpose();
    if let Some(retries) = entry.retries.filter(|r| *r > RETRIES_MAX) {
        let error = Error::usage(format!("{retries} retries would never come to an end"));
        keep("retries", Err(error.hint(format!("{RETRIES_MAX} at most"))));
    }
    keep("verify", check_verify(&entry.verify));
    if entry.worktree {
        let around = Repository::around(&project.folder).map(drop);
        let hint = "`git init` and a first commit make it one; without --worktree it works in the project's folder";
        keep("worktree", around.map_err(|e| Error { hints: vec![hint.into()], ..e }));
    }
    let (agent, timeout) = match (agent, timeout) {
        (Ok(agent), Ok(timeout)) if wrong.is_empty() => (agent, timeout),
        (agent, timeout) => {
            wrong.extend(agent.err().map(|e| ("agent", e)));
            wrong.extend(timeout.err().map(|e| ("timeout", e)));
            return Err(wrong);
        }
    };
    Ok(Task {
        task: TaskId::default(),
        agent,
        name: entry.name.clone(),
        created_at: clock::now(),
        by: super::super::spawn::caller(project),
        priority: entry.priority.unwrap_or(0),
        after: vec![],
        lane: entry.lane.clone(),
        timeout_ms: timeout,
        retries: entry.retries,
        worktree: entry.worktree,
        idempotent: entry.idempotent,
        verify: entry.verify.clone(),
        prompt: Prompt(prompt),
        ..Task::default()
    })
}

/// The agent that is named, or the only one; it must be able to do a task and end.
fn agent(project: &Project, named: Option<&str>) -> Result<String> {
    let agent = super::super::spawn::chosen(project, named, |name| format!("agents task add {name} 'what to do'"))?;
    if agent.backend.task.is_none() {
        let backend = &agent.backend.name;
        return Err(Error::failed(format!(
            "agent {}: its backend {backend} has no `task` command, so it cannot do a task and end",
            agent.name
        ))
        .hint(format!("give [backend.{backend}] in agents.toml   task = [\"program\", \"{{prompt}}\"]")));
    }
    Ok(agent.name.clone())
}

fn check_prompt(prompt: &[u8]) -> Result<()> {
    if prompt.iter().all(u8::is_ascii_whitespace) {
        return Err(Error::usage("there is no text that says what is to be done").hint("agents task add 'what to do'"));
    }
    if prompt.len() > limits::TASK_PROMPT_BYTES_MAX {
        return Err(Error::usage(format!("the prompt has {} bytes; {} are taken at most", prompt.len(), limits::TASK_PROMPT_BYTES_MAX))
            .hint("write it to a file in the project, and let the prompt name that"));
    }
    Ok(())
}

/// A name that cannot be taken for an id.
fn check_name(text: &str) -> Result<()> {
    if !name::is_name(text) {
        return Err(Error::usage(format!("{text:?} is no name for a task"))
            .hint("use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit"));
    }
    if text.strip_prefix('t').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit())) {
        return Err(Error::usage(format!("the name {text} looks like a task's id")).hint("choose another"));
    }
    Ok(())
}

fn check_verify(argv: &[String]) -> Result<()> {
    if argv.first().is_some_and(String::is_empty) || argv.iter().any(|a| a.contains('\0')) {
        return Err(Error::usage("the verifying command names no program, or has a NUL in it"));
    }
    Ok(())
}

/// How long an attempt may take, in milliseconds.
fn limit(text: &str) -> Result<u64> {
    let time = duration::parse(text).filter(|t| !t.is_zero() && *t <= limits::TASK_TIMEOUT_MAX);
    let time = time.ok_or_else(|| {
        Error::usage(format!("`{text}` is no time that an attempt could take")).hint("write it as 90s, 10m, 1h or 2d; 365d at most")
    })?;
    Ok(time.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_no_ids() {
        for good in ["build", "t", "test-1", "t1a", "1t"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "t1", "t012", "-x", "a b", "../x", "A", "x.lock", "a\n", "t99999999999999999999999"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits_are_times() {
        assert_eq!(limit("90s").unwrap(), 90_000);
        for bad in ["0s", "", "1", "-1s", "366d", "99999999999999999d"] {
            assert!(limit(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// Whatever is taken as a name is safe as a file's name, and is no id.
        #[test]
        fn hostile_names_are_refused(text in "[a-zA-Z0-9./_\\\\ \n\u{0}~-]{0,70}", any in any::<String>()) {
            for text in [text, any] {
                if check_name(&text).is_ok() {
                    prop_assert!(!text.contains(['/', '\0', '\n', ' ', '\\', '~']) && !text.starts_with(['.', '-']) && text.len() <= 64);
                    prop_assert!(text.parse::<TaskId>().is_err());
                }
            }
        }
    }
}
