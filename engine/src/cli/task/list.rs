//! `agents task list`

use std::os::fd::AsFd;
use std::time::Duration;

use jiff::Timestamp;

use super::super::live::Live;
use super::super::{Context, look, out};
use super::rows::{Row, summary, table};
use super::why::Queue;
use super::{FINISHED, Place, lying};
use crate::contract::layout::Layout;
use crate::contract::task::{End, Place as Lies, Task};
use crate::error::{Error, Result};
use crate::os::clock;
use crate::os::follow::Changes;
use crate::store::instance;
use crate::store::tasks::{self, archive};

/// Show the queue: what runs, what waits and for what, what is held; --all also what has ended
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  agents task list
  agents task list --state failed,timeout
  agents task list --archived --state failed
  agents task list --watch")]
pub(super) struct Args {
    /// Also those that have ended
    #[arg(short, long)]
    all: bool,
    /// Those that were put away, instead
    #[arg(long, conflicts_with_all = ["all", "watch"])]
    archived: bool,
    /// Only those in these states
    #[arg(long, value_name = "STATE", value_delimiter = ',', conflicts_with = "all")]
    state: Vec<State>,
    /// Stay, and show every change as it happens
    #[arg(short, long)]
    watch: bool,
    /// As JSON; with --watch one line at every change
    #[arg(long)]
    json: bool,
}

/// A state as it is named on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum State {
    Pending,
    Running,
    Held,
    Done,
    Failed,
    Cancelled,
    Timeout,
}

impl State {
    pub fn place(self) -> Lies {
        match self {
            State::Pending => Lies::Pending,
            State::Running => Lies::Running,
            State::Held => Lies::Held,
            State::Done => Lies::Finished(End::Done),
            State::Failed => Lies::Finished(End::Failed),
            State::Cancelled => Lies::Finished(End::Cancelled),
            State::Timeout => Lies::Finished(End::Timeout),
        }
    }
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    if let Err(error) = &place.project {
        out::warn(&format!("agents.toml is invalid: {error}"));
    }
    if args.watch {
        return watch(&place, args);
    }
    let now = clock::now();
    let view = View::of(&place, args, now);
    if args.json {
        out::json(&view.rows);
        return Ok(());
    }
    if !view.rows.is_empty() {
        out::table(&table(&view.rows, now, None));
    }
    out::say(view.last_line(&place.layout));
    Ok(())
}

/// What is shown.
struct View {
    rows: Vec<Row>,
    counts: Vec<(Lies, usize)>,
    archived: bool,
    /// Nobody runs what waits.
    unattended: bool,
}

impl View {
    fn of(place: &Place, args: &Args, now: Timestamp) -> View {
        let layout = &place.layout;
        let queue = Queue::load(layout, place.project.as_ref().ok().map(|p| p.config.tasks.clone()));
        let wanted = |lies: Lies| match lies {
            lies if !args.state.is_empty() => args.state.iter().any(|s| s.place() == lies),
            Lies::Finished(_) => args.all || args.archived,
            Lies::Pending | Lies::Running | Lies::Held => true,
        };
        let row = |lies, task: &_| Row::of(&queue, lies, task, now, |at| look::clock_time(at, now));
        let of_live = |lies: Lies| queue.live.values().filter(move |(p, _)| *p == lies).map(|(_, task)| task);
        if args.archived {
            return View::of_archived(layout, wanted, row);
        }
        let mut rows: Vec<Row> = vec![];
        let mut counts = vec![];
        for (lies, tasks) in [
            (Lies::Running, of_live(Lies::Running).collect()),
            (Lies::Held, of_live(Lies::Held).collect()),
            (Lies::Pending, queue.pending()),
        ] {
            let tasks: Vec<_> = tasks;
            counts.push((lies, tasks.len()));
            if wanted(lies) {
                rows.extend(tasks.into_iter().map(|task| row(lies, task)));
            }
        }
        let mut ended = vec![];
        for lies in FINISHED.into_iter().filter(|lies| wanted(*lies)) {
            let found = lying(layout, lies);
            counts.push((lies, found.len()));
            ended.extend(found);
        }
        // The last one first: that is the one that is looked for.
        let mut ended: Vec<Row> = ended.iter().map(|(lies, task)| row(*lies, task)).collect();
        ended.sort_by_key(|row| std::cmp::Reverse((row.ended_at, row.task)));
        rows.extend(ended);
        for lies in [Lies::Finished(End::Failed), Lies::Finished(End::Timeout)].into_iter().filter(|lies| !wanted(*lies)) {
            counts.push((lies, tasks::list(layout, lies).map_or(0, |ids| ids.len())));
        }
        View { rows, counts, archived: false, unattended: queue.is_unattended(now) }
    }

    fn of_archived(layout: &Layout, wanted: impl Fn(Lies) -> bool, row: impl Fn(Lies, &Task) -> Row) -> View {
        let found = archive::all(layout).unwrap_or_else(|e| {
            out::warn(&e.to_string());
            vec![]
        });
        let mut view = View { rows: vec![], counts: vec![], archived: true, unattended: false };
        for (end, id, folder) in found.into_iter().filter(|(end, ..)| wanted(Lies::Finished(*end))) {
            match archive::read(&folder, id) {
                Ok(task) => view.rows.push(row(Lies::Finished(end), &task)),
                Err(e) => out::warn(&e.to_string()),
            }
        }
        view.rows.sort_by_key(|row| std::cmp::Reverse((row.ended_at, row.task)));
        view.counts = FINISHED.map(|lies| (lies, view.rows.iter().filter(|row| row.state == lies).count())).into();
        view
    }

    fn last_line(&self, layout: &Layout) -> out::Text {
        if self.counts.iter().all(|(_, count)| *count == 0) {
            let none = if self.archived { "no such task was put away" } else { "no task is queued: agents task add 'what to do'" };
            return out::Text::from(none);
        }
        let mut text = summary(&self.counts);
        if tasks::are_stopped(layout) {
            text = text.and(out::Tone::Warn, "  ·  stopped: agents up");
        } else if self.unattended {
            text = text.and(out::Tone::Warn, "  ·  nobody runs them: agents up");
        }
        text
    }
}

/// Shows every change. Nothing wakes it in between, so moments are shown, not lengths of time.
fn watch(place: &Place, args: &Args) -> Result<()> {
    if !args.json && !out::stdout_is_terminal() {
        return Err(Error::usage("--watch draws on a terminal; standard output is none")
            .hint("--watch --json writes a line at every change, anywhere"));
    }
    if let Ok(project) = &place.project {
        instance::prepare(project)?;
    }
    let layout = &place.layout;
    tasks::prepare(layout)?;
    let folders: Vec<_> = Lies::ALL.iter().map(|lies| layout.task_place(*lies)).chain([layout.tasks()]).collect();
    let mut changes = Changes::of_any(&folders)?;
    let live = Live::begin(args.json)?;
    let mut shown: Option<View> = None;
    loop {
        let now = clock::now();
        // Who begins to run them changes nothing that is watched.
        let view = View { unattended: false, ..View::of(place, args, now) };
        if shown.as_ref().is_none_or(|shown| shown.rows != view.rows) {
            show(&view, layout, now, args.json);
        }
        let draw = || show(&view, layout, now, args.json);
        while !changes.drain()? {
            live.wait(changes.as_fd(), None, &draw)?;
        }
        // What comes in a burst is shown together.
        let until = clock::monotonic() + TOGETHER;
        while live.wait(changes.as_fd(), Some(until), &draw)? {
            changes.drain()?;
        }
        shown = Some(view);
    }
}

/// Changes come in bursts: what follows within this time is shown with the first.
const TOGETHER: Duration = Duration::from_millis(50);

fn show(view: &View, layout: &Layout, now: Timestamp, json: bool) {
    if json {
        return out::json(&view.rows);
    }
    let moment = |at| look::clock_time(at, now);
    out::page(&out::laid_out(&table(&view.rows, now, Some(&moment))), Some(&view.last_line(layout)));
}
