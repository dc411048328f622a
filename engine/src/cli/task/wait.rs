//! `agents task wait`

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsFd;
use std::time::Duration;

use super::super::{Context, ask, look, out};
use super::rows::{Row, length, took};
use super::why::{Queue, Why};
use super::{FINISHED, Place, all_named, wake};
use crate::contract::control::ToWatchdog;
use crate::contract::layout::Layout;
use crate::contract::task::{End, Place as Lies, TaskId};
use crate::error::{Error, Kind, Result};
use crate::model::duration;
use crate::os::clock::{self, monotonic};
use crate::os::wait::readable;
use crate::os::watch::{Change, Watch};
use crate::store::tasks;

/// Wait until tasks have ended; the exit status tells how
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  agents task wait t12 && echo well done
  agents task wait t12 t13 --timeout 30m

Exit status: 0 all are done; 1 one has failed, was cancelled, took too long, is held or blocked; 75 not in time.")]
pub(super) struct Args {
    /// These; without any, all that have not ended
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// No longer than this (90s, 10m, 1h)
    #[arg(long, value_name = "DURATION", value_parser = limit)]
    timeout: Option<Duration>,
    /// As JSON, when all have ended
    #[arg(long)]
    json: bool,
}

fn limit(text: &str) -> std::result::Result<Duration, String> {
    duration::parse(text).ok_or_else(|| "write it as 90s, 10m or 1h".to_owned())
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let deadline = args.timeout.map(|limit| monotonic() + limit);
    let mut watch = watched(&place.layout)?;
    let ids = if args.ids.is_empty() {
        let live = [Lies::Running, Lies::Held, Lies::Pending].map(|lies| tasks::list(&place.layout, lies));
        live.into_iter().collect::<Result<Vec<_>>>()?.concat()
    } else {
        all_named(&place.layout, &args.ids)?
    };
    let mut waiting =
        Waiting { place: &place, open: ids.iter().copied().collect(), told: BTreeMap::new(), quiet: args.json, all: ids.len() };
    waiting.look(None);
    if !waiting.open.is_empty() {
        wake(&place.layout)?;
        // What is waited for may wait for an agents.toml that has been put right since.
        if !tasks::are_stopped(&place.layout) {
            ask::tasks(&place.layout, &ToWatchdog::Queue { end: false })?;
        }
    }
    let in_time = loop {
        if waiting.open.is_empty() {
            break true;
        }
        waiting.progress();
        if !readable(&[watch.as_fd()], deadline)?[0] {
            break false;
        }
        let mut some = BTreeSet::new();
        let mut any = false;
        for change in watch.take()? {
            match change {
                Change::In(lies, name) => {
                    let id = tasks::id_of(&name);
                    // Whatever has not ended well may block others.
                    any |= lies != Lies::Finished(End::Done) || id.is_none();
                    some.extend(id);
                }
                Change::Anything => any = true,
            }
        }
        waiting.look((!any).then_some(&some));
    };
    out::progress("");
    waiting.end(&ids, in_time, args.json)
}

fn watched(layout: &Layout) -> Result<Watch<Lies>> {
    tasks::prepare(layout)?;
    let mut watch = Watch::new()?;
    for lies in FINISHED.into_iter().chain([Lies::Held]) {
        watch.add(&layout.task_place(lies), lies)?;
    }
    Ok(watch)
}

struct Waiting<'a> {
    place: &'a Place,
    open: BTreeSet<TaskId>,
    /// What became of the others.
    told: BTreeMap<TaskId, Row>,
    quiet: bool,
    all: usize,
}

impl Waiting<'_> {
    /// Looks at those of `some`, or at all, and tells of each that will not change any more by itself.
    fn look(&mut self, some: Option<&BTreeSet<TaskId>>) {
        let layout = &self.place.layout;
        let again: Vec<TaskId> = self.open.iter().copied().filter(|id| some.is_none_or(|s| s.contains(id))).collect();
        if again.is_empty() {
            return;
        }
        let now = clock::now();
        // Whether others block it matters only where something may have.
        let queue = if some.is_none() {
            Queue::load(layout, self.place.project.as_ref().ok().map(|p| p.config.tasks.clone()))
        } else {
            Queue::without_others(layout)
        };
        for id in again {
            let Ok(Some((lies, task))) = tasks::read(layout, id) else {
                if tasks::state(layout, id).is_none() {
                    self.open.remove(&id);
                }
                continue;
            };
            let over = match lies {
                Lies::Finished(_) | Lies::Held => true,
                Lies::Pending => some.is_none() && matches!(queue.why(&task, now), Why::Blocked(..)),
                Lies::Running => false,
            };
            if over {
                let row = Row::of(&queue, lies, &task, now, |at| look::clock_time(at, now));
                if !self.quiet {
                    out::progress("");
                    let took = task.attempts.last().map(|a| format!(" in {}", length(took(a, now)))).unwrap_or_default();
                    let why = if row.why.is_empty() { String::new() } else { format!(": {}", row.why) };
                    let state =
                        if lies == Lies::Pending { out::Text::of(out::Tone::Warn, "blocked") } else { super::rows::state_text(lies) };
                    let why = if lies == Lies::Pending { why.replacen(": blocked: ", ": ", 1) } else { why };
                    out::fact(
                        out::Text::of(out::Tone::Strong, id.to_string())
                            .and(out::Tone::Plain, " ")
                            .join(state)
                            .and(out::Tone::Plain, took + &why),
                    );
                }
                self.open.remove(&id);
                self.told.insert(id, row);
            }
        }
    }

    fn progress(&self) {
        let ended = self.all - self.open.len();
        let failed = self.told.values().filter(|r| r.state != Lies::Finished(End::Done)).count();
        let failed = if failed > 0 { format!(", {failed} not well") } else { String::new() };
        const CELLS: usize = 20;
        let full = ended * CELLS / self.all.max(1);
        out::progress(&format!("{}{} {ended} of {} ended{failed}", "█".repeat(full), "░".repeat(CELLS - full), self.all));
    }

    fn end(&self, ids: &[TaskId], in_time: bool, json: bool) -> Result<()> {
        if json {
            out::json(&ids.iter().filter_map(|id| self.told.get(id)).collect::<Vec<_>>());
        }
        if !in_time {
            let open: Vec<String> = self.open.iter().take(10).map(ToString::to_string).collect();
            let more = self.open.len().saturating_sub(open.len());
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(Error::new(Kind::Busy, format!("not in time: {}{more}", open.join(", "))).hint("agents task list"));
        }
        let mut errors = vec![];
        for id in ids {
            match self.told.get(id) {
                Some(row) if row.state == Lies::Finished(End::Done) => {}
                Some(row) => {
                    let ended = match row.state {
                        Lies::Finished(End::Done) => "is done",
                        Lies::Finished(End::Failed) => "has failed",
                        Lies::Finished(End::Cancelled) => "was cancelled",
                        Lies::Finished(End::Timeout) => "took too long",
                        Lies::Held => "is held",
                        Lies::Pending | Lies::Running => "is blocked",
                    };
                    errors.push(Error::failed(format!("task {id} {ended}")).hint(format!("agents task show {id}")));
                }
                None => errors.push(Error::failed(format!("task {id} is gone: somebody has removed its folder"))),
            }
        }
        Error::all(errors).map_or(Ok(()), Err)
    }
}
