//! `agents task add`

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::{Context, interrupt, out};
use super::batch::{Batch, Entry};
use super::{all_named, draft, wake};
use crate::contract::layout::Layout;
use crate::contract::task::{End, Place as Lies, Task, TaskId};
use crate::core::limits;
use crate::error::{Error, Kind, Result};
use crate::os::fs;
use crate::store::project::Project;
use crate::store::tasks::batch::{self, Batch as Together};
use crate::store::{instance, tasks};

/// Queue a task, or many from a file; prints each id once the task is on disk for good
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  agents task add 'write tests for src/login.rs'
  agents task add tester 'make the tests pass' --after t12 --timeout 2h --retries 2 --verify -- cargo test
  git diff | agents task add reviewer - --name review
  agents task add --from work.jsonl

A file of tasks has a line for each, {\"prompt\": \"what to do\", \"name\": \"a\", \"after\": [\"t12\", \"b\"]}, or a [[task]] in TOML; the keys are the options'.
It is checked as a whole before any of it is added.")]
pub(super) struct Args {
    /// Who is to do it, then what is to be done; with one word that is what is to be done. `-` reads standard input
    #[arg(value_name = "[AGENT] PROMPT|-")]
    words: Vec<OsString>,
    /// What is to be done stands in this file
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    file: Option<PathBuf>,
    /// Add all that stand in this file, as JSON lines or TOML; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["words", "after", "priority", "timeout", "retries", "worktree", "name", "lane", "idempotent", "verify"])]
    from: Option<PathBuf>,
    /// These have to be done before; ids or names, separated by commas
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    after: Vec<String>,
    /// Higher ones first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i64>,
    /// How long one attempt may take (90s, 10m, 1h)
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// How many further attempts it gets when it fails
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Do it in a git worktree of its own
    #[arg(long)]
    worktree: bool,
    /// What to call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many of this lane run at once is limited in agents.toml, [tasks.lanes]
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// It may run once more where it is not known how far it came
    #[arg(long)]
    idempotent: bool,
    /// Run the command after `--` when it is done; not zero means failed
    #[arg(long, requires = "command")]
    verify: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What was added.
#[derive(Debug, Serialize)]
struct Added {
    task: TaskId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    agent: String,
}

impl Added {
    fn of(task: &Task) -> Added {
        Added { task: task.task, name: task.name.clone(), agent: task.agent.clone() }
    }
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let project = Project::find(&context.folder)?;
    instance::prepare(&project)?;
    let layout = &project.layout;
    batch::finish(layout, true)?;
    let Some(file) = &args.from else {
        let added = Added::of(&one(&project, context, args)?);
        if args.json {
            out::json(&added)
        } else {
            out::fact(added.task.to_string())
        }
        return wake(layout);
    };
    let doing = interrupt::doing(
        &format!("adding the tasks of {}", file.display()),
        "all of them are added, or none; the same command again completes it and adds none twice",
    );
    let mut batch = many(&project, context, file)?;
    batch.tasks.sort_by_key(|t| t.task);
    if args.json {
        out::json(&batch.tasks.iter().map(Added::of).collect::<Vec<_>>());
    } else {
        // At once, as there may be thousands.
        let ids: String = batch.tasks.iter().map(|t| format!("{}\n", t.task)).collect();
        out::lines(ids.as_bytes());
    }
    wake(layout)?;
    drop(doing);
    batch.told()
}

fn one(project: &Project, context: &Context, args: &Args) -> Result<Task> {
    let layout = &project.layout;
    let (agent, words) = match (args.words.as_slice(), &args.file) {
        ([], None) => {
            return Err(Error::usage("what is to be done is not said").hint("agents task add 'what to do'").hint("agents task add --help"));
        }
        ([agent, prompt], None) => (Some(agent), Some(prompt)),
        ([only], None) if project.agent(&only.to_string_lossy()).is_some() => {
            let agent = only.to_string_lossy();
            return Err(Error::usage(format!("what {agent} is to do is not said")).hint(format!("agents task add {agent} 'what to do'")));
        }
        ([prompt], None) => (None, Some(prompt)),
        ([], Some(_)) => (None, None),
        ([agent], Some(_)) => (Some(agent), None),
        (_, Some(file)) => return Err(Error::usage(format!("the prompt is said twice: as a word, and in {}", file.display()))),
        _ => return Err(Error::usage("there are too many words: put the prompt in quotes")),
    };
    if !args.verify && !args.command.is_empty() {
        return Err(Error::usage("a command was given, and nothing to do with it").hint("--verify -- CMD   runs it when the task is done"));
    }
    let prompt = match (words, &args.file) {
        (Some(words), _) => text(words)?,
        (None, Some(file)) => read(&context.folder.join(file), "--file")?,
        (None, None) => vec![],
    };
    let entry = Entry {
        agent: agent.map(|a| a.to_string_lossy().into_owned()),
        name: args.name.clone(),
        priority: args.priority,
        lane: args.lane.clone(),
        timeout: args.timeout.clone(),
        retries: args.retries,
        worktree: args.worktree,
        idempotent: args.idempotent,
        verify: args.command.iter().map(|a| a.clone().into_string()).collect::<std::result::Result<_, _>>().map_err(|word| {
            Error::usage(format!("--verify: {:?} is not UTF-8", word.to_string_lossy())).hint("put the command into a script")
        })?,
        ..Entry::default()
    };
    let mut task = draft::task(project, &entry, prompt).map_err(|wrong| {
        let told = wrong.into_iter().map(|(key, e)| if key == "prompt" || key == "agent" { e } else { e.of(format!("--{key}")) });
        all(told.collect())
    })?;
    task.after = all_named(layout, &args.after).map_err(|e| e.of("--after"))?;
    task.after.iter().for_each(|id| warn_of(layout, *id));
    add(layout, vec![task]).map(|mut tasks| tasks.remove(0))
}

fn all(errors: Vec<Error>) -> Error {
    Error::all(errors).unwrap_or_else(|| Error::failed("something is wrong with it"))
}

/// What a task waits for may have ended in another way already: that it waits for the operator then should be no surprise.
fn warn_of(layout: &Layout, id: TaskId) {
    if let Some(Lies::Finished(end @ (End::Failed | End::Cancelled | End::Timeout))) = tasks::state(layout, id) {
        out::warn(&format!("{id} has ended as {}: what waits for it is blocked until `agents task retry {id}`", end.word()));
    }
}

/// Gives numbers and writes down; when this returns all of it is on disk for good.
fn add(layout: &Layout, mut new: Vec<Task>) -> Result<Vec<Task>> {
    let numbers = tasks::reserve(layout, new.len() as u64)?;
    for (task, number) in new.iter_mut().zip(numbers) {
        task.task = TaskId(number);
    }
    tasks::add(layout, &new)?;
    Ok(new)
}

/// All of a file, or nothing.
fn many(project: &Project, context: &Context, file: &Path) -> Result<Together> {
    let layout = &project.layout;
    let (bytes, shown, folder) = if file == Path::new("-") {
        (stdin()?, PathBuf::from("standard input"), context.folder.clone())
    } else {
        let path = context.folder.join(file);
        (read(&path, "--from")?, file.to_path_buf(), path.parent().unwrap_or(Path::new("/")).to_path_buf())
    };
    let text = String::from_utf8(bytes)
        .map_err(|e| Error::invalid(&shown, format!("it is not UTF-8 at byte {}", e.utf8_error().valid_up_to())))?;
    let source = batch::source(&folder, &text);
    if let Some(together) = batch::interrupted(layout, &source)? {
        out::say("these were added by a command that was interrupted before it had said so; none is added twice");
        return Ok(together);
    }
    let batch = Batch::parse(&shown, &text)?;
    if batch.entries.len() > limits::TASKS_AT_ONCE_MAX {
        let most = limits::TASKS_AT_ONCE_MAX;
        return Err(Error::invalid(&shown, format!("{} tasks are in it; {most} are taken at once", batch.entries.len())).hint("split it"));
    }
    let mut wrong = vec![];
    let mut drafts = vec![];
    for (n, entry) in batch.entries.iter().enumerate() {
        let prompt = match (&entry.prompt, &entry.file) {
            (Some(_), Some(_)) => Err(("file", Error::failed("`prompt` and `file` both say what is to be done").hint("leave one out"))),
            (Some(prompt), None) => Ok(prompt.clone().into_bytes()),
            (None, Some(file)) => read(&folder.join(file), "file").map_err(|e| ("file", e)),
            (None, None) => Err(("prompt", Error::failed("it does not say what is to be done").hint("prompt = \"what to do\""))),
        };
        let task = prompt.map_err(|e| vec![e]).and_then(|prompt| draft::task(project, entry, prompt));
        match task {
            Ok(task) => drafts.push(task),
            Err(found) => wrong.extend(found.into_iter().map(|(key, e)| batch.wrong(n, key, e))),
        }
    }
    let known = |word: &str| word.parse::<TaskId>().is_ok_and(|id| tasks::state(layout, id).is_some());
    wrong.extend(batch.check_order(known));
    wrong.sort_by_key(|e| e.place.as_ref().map(|p| (p.line, p.column)));
    if !wrong.is_empty() {
        if let Some(last) = wrong.last_mut() {
            last.hints.push("nothing was added".into());
        }
        return Err(Error { kind: Kind::Invalid, ..all(wrong) });
    }
    let numbers = tasks::reserve(layout, drafts.len() as u64)?;
    let ids: Vec<TaskId> = numbers.map(TaskId).collect();
    let of_name = |word: &str| batch.entries.iter().position(|e| e.name.as_deref() == Some(word)).map(|n| ids[n]);
    for (n, task) in drafts.iter_mut().enumerate() {
        task.task = ids[n];
        task.after = batch.entries[n].after.iter().filter_map(|w| of_name(w).or_else(|| w.parse().ok())).collect();
        task.after.dedup();
    }
    // What is waited for is there before who waits for it, whenever this is killed.
    let mut ordered: Vec<Option<Task>> = drafts.iter().cloned().map(Some).collect();
    let in_order: Vec<Task> = batch.order().into_iter().filter_map(|n| ordered[n].take()).collect();
    in_order.iter().flat_map(|t| &t.after).filter(|id| !ids.contains(id)).for_each(|id| warn_of(layout, *id));
    batch::add(layout, source, in_order)
}

/// What is to be done, byte for byte; from standard input without the newline that ends a file.
fn text(word: &OsStr) -> Result<Vec<u8>> {
    if word != "-" {
        return Ok(word.as_bytes().to_vec());
    }
    let mut bytes = stdin()?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

fn stdin() -> Result<Vec<u8>> {
    let mut bytes = vec![];
    let most = limits::TASK_FILE_BYTES_MAX;
    // One more than is taken, to see that there is more.
    std::io::stdin().take(most + 1).read_to_end(&mut bytes).map_err(|e| Error::failed(format!("standard input: {e}")))?;
    if bytes.len() as u64 > most {
        return Err(Error::usage(format!("standard input has more than {most} bytes")).hint("split it"));
    }
    Ok(bytes)
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>> {
    let bytes = fs::read_head(path, limits::TASK_FILE_BYTES_MAX + 1).map_err(|e| Error::failed(format!("{what}: {e}")))?;
    if bytes.len() as u64 > limits::TASK_FILE_BYTES_MAX {
        return Err(
            Error::usage(format!("{what}: {} has more than {} bytes", path.display(), limits::TASK_FILE_BYTES_MAX)).hint("split it")
        );
    }
    Ok(bytes)
}
