//! `agents done` and `agents fail`: how whoever works on a task says how it ended.

use std::path::PathBuf;

use super::super::out;
use crate::contract::task::{Said, TaskId};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::os::{env, fs};
use crate::store::tasks::sentinel;

/// Say that the task you were given is done; only inside a task
#[derive(clap::Args)]
#[command(after_help = "Example: agents done --note 'all tests pass; the cause was a missing lock'")]
pub(in super::super) struct DoneArgs {
    /// What the operator should know
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    note: String,
}

/// Say that the task you were given cannot be done; only inside a task
#[derive(clap::Args)]
#[command(after_help = "Example: agents fail --reason 'the test database is not reachable'")]
pub(in super::super) struct FailArgs {
    /// Why
    #[arg(long, value_name = "TEXT", required = true, allow_hyphen_values = true)]
    reason: String,
}

pub(in super::super) fn done(args: &DoneArgs) -> Result<()> {
    say(&Said::Done { note: cut(&args.note) }, "done")
}

pub(in super::super) fn fail(args: &FailArgs) -> Result<()> {
    if args.reason.trim().is_empty() {
        return Err(Error::usage("--reason: there is no text").hint("say what stood in the way"));
    }
    say(&Said::Error { reason: cut(&args.reason) }, "failed")
}

fn cut(text: &str) -> String {
    let most = limits::SENTINEL_BYTES_MAX as usize / 2;
    let end = (0..=text.len().min(most)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].trim().to_owned()
}

fn say(said: &Said, word: &str) -> Result<()> {
    let (task, folder) = own()?;
    sentinel::say(&folder, said)?;
    out::say(format!("{task} is {word}; end now, without starting anything else"));
    Ok(())
}

/// The task that this runs in.
fn own() -> Result<(TaskId, PathBuf)> {
    let outside = |what: &str| {
        Error::failed(format!("this does not run inside a task: {what}"))
            .hint("`agents done` and `agents fail` are for the agent that a task was given to")
            .hint("an operator says `agents task cancel ID`")
    };
    let folder = env::get(env::AGENTS_TASK_DIR).map(PathBuf::from).ok_or_else(|| outside("AGENTS_TASK_DIR is not set"))?;
    let task = env::text(env::AGENTS_TASK).and_then(|t| t.parse().ok()).ok_or_else(|| outside("AGENTS_TASK names no task"))?;
    if !folder.is_absolute() || !fs::is_dir(&folder) {
        return Err(outside(&format!("there is no folder {}", folder.display())).hint("the task may have ended already"));
    }
    Ok((task, folder))
}
