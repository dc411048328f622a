//! `agents task clean`

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use super::super::{Context, out};
use super::list::State;
use super::rows::between;
use super::{Place, all_named, live};
use crate::contract::task::{Place as Lies, TaskId};
use crate::core::keep::Keep;
use crate::error::{Error, Result};
use crate::model::duration;
use crate::os::{clock, fs};
use crate::store::tasks::{self, archive};

/// Put tasks that have ended into the archive now: their folders are kept there, their logs go
///
/// Without anything said, those that agents.toml no longer keeps: ended longer ago than `keep`, or more than `keep_count`; these go by themselves too, a
/// tenth later. Whatever others still wait for stays, and so does what has a git worktree.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  agents task clean --older 7d
  agents task clean --state done,cancelled --dry-run")]
pub(super) struct Args {
    /// These
    #[arg(value_name = "ID", conflicts_with_all = ["older", "state"])]
    ids: Vec<String>,
    /// Those that ended longer ago (12h, 7d)
    #[arg(long, value_name = "DURATION", value_parser = age)]
    older: Option<Duration>,
    /// Those that ended so
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<State>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn age(text: &str) -> std::result::Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write it as 90s, 12h or 7d".to_owned())
}

#[derive(Serialize)]
struct Cleaned {
    task: TaskId,
    state: Lies,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let layout = &place.layout;
    if !fs::is_dir(&layout.tasks()) {
        out::say("nothing to clean");
        return Ok(());
    }
    let named = all_named(layout, &args.ids)?;
    if let Some(state) = args.state.iter().find(|s| !matches!(s.place(), Lies::Finished(_))) {
        let error = Error::usage(format!("tasks that are {} have not ended", state.place().word()));
        return Err(error.hint("--state done,failed,cancelled,timeout").hint("agents task cancel ID   takes one out of the queue"));
    }
    let lock = archive::lock(layout)?;
    let needed: BTreeSet<TaskId> = live(layout).into_iter().flat_map(|(_, t)| t.after).collect();
    let (mut ended, mut errors) = archive::ended(layout, |_| true);
    let now = clock::now();
    if !named.is_empty() {
        let open = named.iter().filter(|id| !ended.iter().any(|(_, (ended, _))| ended == *id));
        errors.extend(open.filter_map(|id| match (tasks::place(layout, *id), tasks::state(layout, *id)) {
            (None, Some(_)) => None,
            (_, state) => {
                let error = Error::failed(format!("task {id} has not ended: it is {}", state.map_or("gone", Lies::word)));
                Some(error.hint(format!("agents task cancel {id}")))
            }
        }));
        ended.retain(|(_, (id, _))| named.contains(id));
    } else if args.older.is_some() || !args.state.is_empty() {
        ended.retain(|(at, (_, end))| {
            let old = args.older.is_none_or(|older| between(*at, now) >= older);
            old && (args.state.is_empty() || args.state.iter().any(|s| s.place() == Lies::Finished(*end)))
        });
    } else {
        let rules = &place.project.as_ref().map_err(Clone::clone)?.config.tasks;
        ended = Keep { age: rules.keep, count: rules.keep_count }.outdated(&mut ended, now);
    }
    ended.sort_unstable_by_key(|(_, (id, _))| *id);
    ended.retain(|(_, (id, _))| match archive::stays(layout, *id, &needed) {
        Some(why) => {
            out::say(format!("{id} stays: {why}"));
            false
        }
        None => true,
    });
    if !args.dry_run {
        let (put, failed) = archive::put_away(layout, &lock, &ended);
        errors.extend(failed);
        ended.retain(|(_, (id, _))| put.contains(id));
    }
    let facts: Vec<Cleaned> = ended.iter().map(|(_, (task, end))| Cleaned { task: *task, state: Lies::Finished(*end) }).collect();
    if args.json {
        out::json(&facts);
    } else if facts.is_empty() {
        if errors.is_empty() {
            out::say("nothing to clean");
        }
    } else if args.dry_run {
        facts.iter().for_each(|f| out::fact(format!("{}  {}  would go to the archive", f.task, f.state.word())));
    } else {
        out::say(format!("{} {} now in the archive", facts.len(), if facts.len() == 1 { "task is" } else { "tasks are" }));
    }
    Error::all(errors).map_or(Ok(()), Err)
}
