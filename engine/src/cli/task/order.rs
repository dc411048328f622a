//! `agents task cancel`, `retry`, `timeout`: what is asked of the watchdog.

use std::time::Duration;

use super::super::{Context, ask, out};
use super::{Place, all_named};
use crate::contract::control::ToWatchdog;
use crate::contract::task::{Answer, Order, TaskId};
use crate::error::{Error, Result};
use crate::model::duration;
use crate::store::{instance, tasks};

/// End tasks that run, with all their processes, and take those that wait out of the queue
#[derive(clap::Args)]
#[command(after_help = "Example: agents task cancel t12 t13")]
pub(super) struct CancelArgs {
    /// These
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Run tasks once more: those that have failed, took too long, were cancelled or are held
#[derive(clap::Args)]
#[command(after_help = "Example: agents task retry t12")]
pub(super) struct RetryArgs {
    /// These
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Give a task more time, or another limit for one attempt
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  agents task timeout t12 +30m   # half an hour more than it has now
  agents task timeout t12 2h     # two hours from its attempt's beginning")]
pub(super) struct TimeoutArgs {
    /// This one
    #[arg(value_name = "ID")]
    id: String,
    /// So much more (+30m), or so long from the attempt's beginning (2h)
    #[arg(value_name = "TIME", value_parser = change)]
    time: Change,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A new limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Change {
    time: Duration,
    more: bool,
}

fn change(text: &str) -> std::result::Result<Change, String> {
    let (more, time) = text.strip_prefix('+').map_or((false, text), |rest| (true, rest));
    let time = duration::parse(time).filter(|t| !t.is_zero() && *t <= crate::core::limits::TASK_TIMEOUT_MAX);
    time.map(|time| Change { time, more }).ok_or_else(|| "write +30m for so much more, or 2h for so long in all; 365d at most".to_owned())
}

pub(super) fn cancel(context: &Context, args: &CancelArgs) -> Result<()> {
    order(context, &args.ids, Order::Cancel, "cancelled", args.json)
}

pub(super) fn retry(context: &Context, args: &RetryArgs) -> Result<()> {
    order(context, &args.ids, Order::Retry, "queued again", args.json)
}

pub(super) fn timeout(context: &Context, args: &TimeoutArgs) -> Result<()> {
    let order_ = Order::Timeout { ms: args.time.time.as_millis() as u64, more: args.time.more };
    order(context, std::slice::from_ref(&args.id), order_, "has its new limit", args.json)
}

/// Has it done, to all that are named; each refusal is told, none stops the others.
fn order(context: &Context, words: &[String], order: Order, done: &str, json: bool) -> Result<()> {
    let place = Place::find(context)?;
    if let Ok(project) = &place.project {
        instance::prepare(project)?;
    }
    let ids = all_named(&place.layout, words)?;
    let answers = ask::tasks(&place.layout, &ToWatchdog::Order { tasks: ids.clone(), order: order.clone() })?;
    if json {
        out::json(&answers);
    }
    let mut errors = vec![];
    for id in ids {
        match answers.iter().find(|a| a.task == id) {
            Some(Answer { refused: None, .. }) if json => {}
            Some(Answer { refused: None, .. }) => {
                out::say(out::Text::of(out::Tone::Strong, id.to_string()).and(out::Tone::Plain, format!(" {done}")))
            }
            Some(Answer { refused: Some(why), .. }) => errors.push(refused(id, why)),
            None => errors.push(Error::failed(format!("task {id}: the watchdog says nothing of it"))),
        }
    }
    if order == Order::Retry && tasks::are_stopped(&place.layout) {
        out::say("no task is started until `agents up`: the queue was stopped by `agents down`");
    }
    Error::all(errors).map_or(Ok(()), Err)
}

fn refused(id: TaskId, why: &str) -> Error {
    // Most reasons name it themselves.
    let whose = format!("task {id}");
    let error = if why.starts_with(&whose) { Error::failed(why) } else { Error::failed(why).of(whose) };
    error.hint(format!("agents task show {id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_time_or_another_limit() {
        let minutes = |n: u64| Duration::from_secs(n * 60);
        assert_eq!(change("+30m"), Ok(Change { time: minutes(30), more: true }));
        assert_eq!(change("2h"), Ok(Change { time: minutes(120), more: false }));
        for bad in ["", "+", "30", "-5m", "++5m", "0s", "366d"] {
            assert!(change(bad).is_err(), "{bad:?}");
        }
    }
}
