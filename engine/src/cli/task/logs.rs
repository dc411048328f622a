//! `agents task logs`

use super::super::{Context, logs};
use super::{Place, named};
use crate::contract::task::Place as Lies;
use crate::error::{Error, Result};
use crate::store::tasks;

/// Print what a task's agent has written to its terminal, as plain lines
#[derive(clap::Args)]
#[command(after_help = "Example: agents task logs t12 --follow")]
pub(super) struct Args {
    /// This one
    #[arg(value_name = "ID")]
    id: String,
    /// Go on with what comes, line by line, until it has ended
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "raw")]
    lines: Option<usize>,
    /// The bytes as they were written, escape sequences and all
    #[arg(long)]
    raw: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let layout = &place.layout;
    let id = named(layout, &args.id)?;
    let session = id.to_string();
    let shown = logs::Shown { follow: args.follow, lines: args.lines, raw: args.raw };
    if !args.follow && !logs::exists(layout, &session) {
        let state = tasks::state(layout, id).map_or("gone", Lies::word);
        if tasks::place(layout, id).is_none() {
            return Err(Error::failed(format!("task {id} is in the archive, and its log is gone: it is {state}"))
                .hint(format!("agents task show {id}")));
        }
        let yet = if matches!(tasks::place(layout, id), Some(Lies::Finished(_))) { "" } else { " yet" };
        return Err(Error::failed(format!("task {id} has written nothing{yet}: it is {state}")).hint(format!("agents task show {id}")));
    }
    // Another attempt may follow one that has ended: only a task that is at its end says nothing more.
    let over = || !matches!(tasks::place(layout, id), Some(Lies::Pending | Lies::Running));
    let folders = [layout.task_place(Lies::Pending), layout.task_place(Lies::Running)];
    logs::print_log(layout, &session, &shown, Some((&folders, &over)))
}
