//! `agents task clean`

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::super::{Context, out};
use super::list::State;
use super::rows::between;
use super::{FINISHED, Place, all_named, archive, live, lying};
use crate::contract::layout::Layout;
use crate::contract::task::{Place as Lies, Task, TaskId};
use crate::core::limits;
use crate::error::{Error, Result};
use crate::model::duration;
use crate::os::{clock, env, fs};
use crate::store::tasks;

/// Put tasks that have ended into the archive: their records are kept, their logs and folders go
///
/// Without anything said, those that agents.toml no longer keeps: ended longer ago than `keep`, or more than `keep_count`. Whatever others still wait
/// for stays, and so does what has a git worktree.
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
    // One at a time, so that none is put away twice.
    let lock = archive::lock(layout)?;
    let mut ended: Vec<(Lies, Task)> = FINISHED.into_iter().flat_map(|lies| lying(layout, lies)).collect();
    let now = clock::now();
    let mut errors = vec![];
    if !named.is_empty() {
        let open = named.iter().filter(|id| !ended.iter().any(|(_, t)| t.task == **id));
        errors.extend(open.map(|id| {
            let state = tasks::place(layout, *id).map_or("gone", Lies::word);
            Error::failed(format!("task {id} has not ended: it is {state}")).hint(format!("agents task cancel {id}"))
        }));
        ended.retain(|(_, t)| named.contains(&t.task));
    } else if args.older.is_some() || !args.state.is_empty() {
        ended.retain(|(lies, task)| {
            let old = args.older.is_none_or(|older| between(ended_at(task), now) >= older);
            old && (args.state.is_empty() || args.state.iter().any(|s| s.place() == *lies))
        });
    } else {
        let rules = place.project.as_ref().map_err(Clone::clone)?.config.tasks.clone();
        ended = outdated(ended, rules.keep, rules.keep_count, now);
    }
    let needed: BTreeSet<TaskId> = live(layout).into_iter().flat_map(|(_, t)| t.after).collect();
    let mut goes = vec![];
    for (lies, task) in ended {
        let worktree = layout.worktree(&task.task.to_string());
        if needed.contains(&task.task) {
            out::say(format!("{} stays: others wait for it", task.task));
        } else if fs::is_dir(&worktree) {
            out::say(format!("{} stays: its worktree {} is there", task.task, env::shorten(&worktree)));
        } else {
            goes.push((lies, task));
        }
    }
    let facts: Vec<Cleaned> = goes.iter().map(|(state, t)| Cleaned { task: t.task, state: *state }).collect();
    if !args.dry_run && !goes.is_empty() {
        // Nothing may tell the highest number afterwards.
        tasks::note(layout)?;
        for some in goes.chunks(limits::TASKS_ARCHIVED_AT_ONCE) {
            archive::add(layout, &lock, some)?;
            for (lies, task) in some {
                errors.extend(remove(layout, *lies, task.task).err().map(|e| e.of(format!("task {}", task.task))));
            }
        }
    }
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

/// The record goes last: whoever is killed before has left it for the next.
fn remove(layout: &Layout, lies: Lies, id: TaskId) -> Result<()> {
    let Lies::Finished(end) = lies else { return Ok(()) };
    let log = layout.log(&id.to_string());
    for path in [log.with_extension("log.1"), log.with_extension("setup.log"), log] {
        fs::remove_file(&path)?;
    }
    tasks::remove(layout, end, id).map(drop)
}

fn ended_at(task: &Task) -> Timestamp {
    task.attempts.last().and_then(|a| a.ended_at).unwrap_or(task.created_at)
}

/// What is no longer kept.
fn outdated(mut ended: Vec<(Lies, Task)>, keep: Duration, keep_count: usize, now: Timestamp) -> Vec<(Lies, Task)> {
    ended.sort_by_key(|(_, t)| std::cmp::Reverse((ended_at(t), t.task)));
    let kept = ended.iter().take(keep_count).take_while(|(_, t)| between(ended_at(t), now) < keep).count();
    ended.split_off(kept)
}

#[cfg(test)]
mod tests {
    use super::super::why::tests::task;
    use super::*;
    use crate::contract::task::{Attempt, End};

    #[test]
    fn what_is_old_or_too_many_is_no_longer_kept() {
        let now: Timestamp = "2026-02-17T12:00:00Z".parse().unwrap();
        let all = |hours: &[i64]| -> Vec<(Lies, Task)> {
            let ended = |(n, hours): (usize, &i64)| {
                let at = now - jiff::SignedDuration::from_hours(*hours);
                let attempt = Attempt { started_at: at, ended_at: Some(at), ..Attempt::default() };
                (Lies::Finished(End::Done), Task { attempts: vec![attempt], ..task(n as u64 + 1, &[]) })
            };
            hours.iter().enumerate().map(ended).collect()
        };
        let hours = |n: u64| Duration::from_secs(n * 3600);
        let gone = |keep, count| outdated(all(&[1, 30, 5, 2]), keep, count, now).iter().map(|(_, t)| t.task.0).collect::<Vec<_>>();
        assert_eq!(gone(hours(24), 10), [2]);
        assert_eq!(gone(hours(24), 2), [3, 2]);
        assert_eq!(gone(hours(5), 10), [3, 2]);
        assert_eq!(gone(hours(0), 10).len(), 4);
        assert_eq!(gone(hours(100), 0).len(), 4);
    }
}
