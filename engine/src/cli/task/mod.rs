//! `agents task …`: the queue as its operator sees it. One file a verb.
//!
//! `add` writes tasks and `clean` puts away what has ended; all other changes are asked of the watchdog, which alone moves tasks.

mod add;
mod batch;
mod clean;
mod draft;
mod graph;
mod list;
mod logs;
mod order;
mod rows;
pub(super) mod sentinel;
mod show;
mod wait;
mod why;

use super::place::Place;
use super::{Context, out};
use crate::contract::layout::Layout;
use crate::contract::task::{End, Place as Lies, Task, TaskId};
use crate::drive::start;
use crate::error::{Error, Result};
use crate::os::socket::Stream;
use crate::store::tasks;

/// Queue work for agents, see it run, wait for it
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
A first queue:
  agents task add 'write tests for src/login.rs'
  agents task add 'make the tests pass' --after t1 --verify -- cargo test
  agents task list --watch
  agents task wait t2 && agents task show t2"
)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
#[command(defer = true)]
enum Verb {
    Add(Box<add::Args>),
    List(list::Args),
    Show(show::Args),
    Wait(wait::Args),
    Logs(logs::Args),
    Graph(graph::Args),
    Cancel(order::CancelArgs),
    Retry(order::RetryArgs),
    Timeout(order::TimeoutArgs),
    Clean(clean::Args),
}

/// Somebody has to look at the queue. A watchdog that runs sees it by itself.
fn wake(layout: &Layout) -> Result<()> {
    if tasks::are_stopped(layout) {
        out::say("no task is started until `agents up`: the queue was stopped by `agents down`");
        return Ok(());
    }
    if Stream::connect(&layout.watchdog_socket()).is_ok() {
        return Ok(());
    }
    start::watchdog(layout).map(drop).map_err(|e| e.hint("the task is queued; `agents up` starts what runs it"))
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    match &args.verb {
        Verb::Add(args) => add::run(context, args),
        Verb::List(args) => list::run(context, args),
        Verb::Show(args) => show::run(context, args),
        Verb::Wait(args) => wait::run(context, args),
        Verb::Logs(args) => logs::run(context, args),
        Verb::Graph(args) => graph::run(context, args),
        Verb::Cancel(args) => order::cancel(context, args),
        Verb::Retry(args) => order::retry(context, args),
        Verb::Timeout(args) => order::timeout(context, args),
        Verb::Clean(args) => clean::run(context, args),
    }
}

/// The task that runs under this word, for verbs that look into sessions: none where the word is no task's id.
pub(super) fn session(place: &Place, word: &str) -> Result<Option<String>> {
    let Ok(id) = word.parse::<TaskId>() else { return Ok(None) };
    let layout = &place.layout;
    // An agent may bear such a name.
    if place.declared().contains(&word) {
        return Ok(None);
    }
    match tasks::state(layout, id) {
        Some(Lies::Running) => Ok(Some(id.to_string())),
        Some(place) => Err(Error::failed(format!("task {id} does not run: it is {}", place.word())).hint(format!("agents task show {id}"))),
        None => Err(absent(id)),
    }
}

/// The task that a word names: its id, or the name of the only task that has not ended and bears it, else of the newest that has and is not put away.
fn named(layout: &Layout, word: &str) -> Result<TaskId> {
    if let Ok(id) = word.parse::<TaskId>() {
        return tasks::state(layout, id).map(|_| id).ok_or_else(|| absent(id));
    }
    let live = live(layout);
    let bearers: Vec<TaskId> = live.iter().filter(|(_, t)| t.name.as_deref() == Some(word)).map(|(_, t)| t.task).collect();
    match bearers.as_slice() {
        [only] => Ok(*only),
        [] => {
            if let Some(id) = ended_named(layout, word) {
                return Ok(id);
            }
            let error = Error::usage(format!("there is no task {word:?}"));
            let names = live.iter().filter_map(|(_, t)| t.name.as_deref());
            Err(match crate::document::nearest(word, names) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("an id looks like t12; the names that are known: agents task list --all"),
            })
        }
        many => {
            let ids: Vec<String> = many.iter().map(ToString::to_string).collect();
            Err(Error::usage(format!("{} tasks are named {word}: {}", many.len(), ids.join(", "))).hint("name one by its id"))
        }
    }
}

/// The tasks that words name, each once, in their order.
fn all_named(layout: &Layout, words: &[String]) -> Result<Vec<TaskId>> {
    let mut ids = vec![];
    let mut wrong = vec![];
    for word in words {
        match named(layout, word) {
            Ok(id) if !ids.contains(&id) => ids.push(id),
            Ok(_) => {}
            Err(e) => wrong.push(e),
        }
    }
    Error::all(wrong).map_or(Ok(ids), Err)
}

/// The newest of those that have ended and bear this name. They are read one after the other.
fn ended_named(layout: &Layout, word: &str) -> Option<TaskId> {
    if !crate::model::name::is_name(word) {
        return None;
    }
    let ids = FINISHED.into_iter().flat_map(|lies| tasks::list(layout, lies).unwrap_or_default().into_iter().map(move |id| (id, lies)));
    let mut ids: Vec<(TaskId, Lies)> = ids.collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    let bears = |(id, lies): &(TaskId, Lies)| tasks::read_at(layout, *lies, *id).is_ok_and(|t| t.name.as_deref() == Some(word));
    ids.into_iter().find(bears).map(|(id, _)| id)
}

fn absent(id: TaskId) -> Error {
    Error::usage(format!("there is no task {id}")).hint("agents task list --all")
}

/// All tasks that have not ended, by number; a warning for each whose record cannot be read.
fn live(layout: &Layout) -> Vec<(Lies, Task)> {
    let mut found = vec![];
    for place in [Lies::Running, Lies::Held, Lies::Pending] {
        found.extend(lying(layout, place));
    }
    found
}

/// The tasks that lie there, by number.
fn lying(layout: &Layout, place: Lies) -> Vec<(Lies, Task)> {
    let mut found = vec![];
    match tasks::list(layout, place) {
        Ok(ids) => ids.into_iter().for_each(|id| match tasks::read_at(layout, place, id) {
            Ok(task) => found.push((place, task)),
            // It has moved since.
            Err(_) if tasks::place(layout, id) != Some(place) => {}
            Err(e) => out::warn(&e.to_string()),
        }),
        Err(e) => out::warn(&e.to_string()),
    }
    found
}

const FINISHED: [Lies; 4] =
    [Lies::Finished(End::Done), Lies::Finished(End::Failed), Lies::Finished(End::Cancelled), Lies::Finished(End::Timeout)];
