//! `agents task show`

use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::super::out::{Text, Tone};
use super::super::{Context, logs, look, out};
use super::rows::{Row, length, state_text, took};
use super::why::Queue;
use super::{Place, absent, named};
use crate::contract::task::{Attempt, Exit, Outcome, Place as Lies, Said, Task, TaskId};
use crate::error::Result;
use crate::model::tasks::Tasks;
use crate::os::{clock, env, fs};
use crate::store::tasks::{self, archive};

/// Show all of a task: what it is, each attempt, why it waits or how it ended, its plan, its last words
#[derive(clap::Args)]
#[command(after_help = "Example: agents task show t12")]
pub(super) struct Args {
    /// This one
    #[arg(value_name = "ID")]
    id: String,
    /// All of its prompt and plan
    #[arg(long)]
    full: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// So many lines of a prompt or a plan are shown.
const LINES: usize = 30;
/// So many of its last lines.
const LAST_LINES: usize = 15;

#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    row: Row,
    /// As it lies on disk.
    record: Task,
    plan: Option<String>,
    /// The last lines of its output.
    output: String,
    /// It was put away.
    archived: bool,
    /// Its own folder, where it has one.
    folder: Option<PathBuf>,
    /// Its git worktree, where that is there.
    worktree: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let layout = &place.layout;
    let rules = place.project.as_ref().ok().map(|p| p.config.tasks.clone());
    let id = named(layout, &args.id)?;
    let (lies, record) = tasks::read(layout, id)?.ok_or_else(|| absent(id))?;
    let archived = if tasks::place(layout, id).is_none() { archive::find(layout, id).map(|(_, folder)| folder) } else { None };
    let queue = Queue::load(layout, rules.clone());
    let now = clock::now();
    let row = Row::of(&queue, lies, &record, now, |at| look::clock_time(at, now));
    let is_archived = archived.is_some();
    let folder = Some(archived.unwrap_or_else(|| layout.task(lies, id))).filter(|f| fs::is_dir(f));
    let plan = folder.as_ref().and_then(|f| fs::read_head(&f.join(tasks::PLAN), PLAN_BYTES_MAX).ok());
    let answer = Answer {
        row,
        plan: plan.map(|p| String::from_utf8_lossy(&p).into_owned()).filter(|p| !p.trim().is_empty()),
        output: logs::tail(layout, &id.to_string(), LAST_LINES),
        archived: is_archived,
        folder,
        worktree: Some(layout.worktree(&id.to_string())).filter(|w| fs::is_dir(w)),
        record,
    };
    if args.json {
        out::json(&answer);
    } else {
        show(&answer, &queue, rules.as_ref(), args.full, now);
    }
    Ok(())
}

/// A plan is read by a person; more than this is no plan.
const PLAN_BYTES_MAX: u64 = 1 << 20;

fn show(answer: &Answer, queue: &Queue, rules: Option<&Tasks>, full: bool, now: Timestamp) {
    let Answer { row, record, .. } = answer;
    let id = row.task;
    let mut head = Text::of(Tone::Strong, id.to_string()).and(Tone::Plain, "  ").join(state_text(row.state));
    if let Some(name) = &row.name {
        head = head.and(Tone::Plain, format!("  {name}"));
    }
    if answer.archived {
        head = head.and(Tone::Dim, "  in the archive");
    }
    out::fact(head);
    facts(answer, queue, rules, now);
    if row.attempts > 0 || !record.attempts.is_empty() {
        out::fact(Text::of(Tone::Dim, "attempts:"));
        record.attempts.iter().enumerate().for_each(|(n, a)| out::fact(attempt(n + 1, a, now)));
    }
    block("prompt:", &String::from_utf8_lossy(&record.prompt.0), if full { usize::MAX } else { LINES });
    if let Some(plan) = &answer.plan {
        block("plan:", plan, if full { usize::MAX } else { LINES });
    }
    if !answer.output.is_empty() {
        block("its last lines:", &answer.output, usize::MAX);
    }
    let choice = match row.state {
        Lies::Held => Some(format!("agents task retry {id}   runs it once more; agents task cancel {id}   gives it up")),
        Lies::Pending => queue.why(record, now).choice(id),
        Lies::Running => Some(format!("agents attach {id}   joins its terminal")),
        Lies::Finished(_) => None,
    };
    if let Some(choice) = choice {
        out::say(Text::of(Tone::Accent, "hint: ").and(Tone::Plain, choice));
    }
}

fn fact(key: &str, value: impl Into<Text>) {
    out::fact(Text::of(Tone::Dim, format!("{key} ")).join(value.into()));
}

fn facts(answer: &Answer, queue: &Queue, rules: Option<&Tasks>, now: Timestamp) {
    let Answer { row, record, .. } = answer;
    let mut agent = Text::of(Tone::Plain, &row.agent);
    if let Some(lane) = &row.lane {
        agent = agent.and(Tone::Plain, format!(", lane {lane}"));
    }
    if row.priority != 0 {
        agent = agent.and(Tone::Plain, format!(", priority {}", row.priority));
    }
    if record.idempotent {
        agent = agent.and(Tone::Plain, ", may run again");
    }
    fact("agent", agent);
    fact("added", format!("{} by {}", look::clock_time(record.created_at, now), record.by));
    if !row.after.is_empty() {
        let of = |id: &TaskId| {
            Text::of(Tone::Plain, format!("{id} ")).join(queue.place(*id).map_or_else(|| Text::of(Tone::Bad, "gone"), state_text))
        };
        let mut after = Text::new();
        for (n, id) in row.after.iter().enumerate() {
            after = if n > 0 { after.and(Tone::Plain, ", ") } else { after }.join(of(id));
        }
        fact("after", after);
    }
    if !row.why.is_empty() {
        let tone = if row.blocked || row.contradiction { Tone::Warn } else { Tone::Plain };
        fact("because", Text::of(tone, &row.why));
    }
    let limit = record.timeout_ms.map(std::time::Duration::from_millis).or(rules.map(|r| r.timeout));
    let retries = record.retries.or(rules.map(|r| r.retries));
    let mut limits = vec![];
    limits.extend(limit.map(|l| format!("{} an attempt", length(l))));
    limits.extend(retries.map(|r| match r {
        0 => "no retries".to_owned(),
        1 => "1 retry".to_owned(),
        n => format!("{n} retries"),
    }));
    if !limits.is_empty() {
        fact("limit", limits.join(", "));
    }
    if !record.verify.is_empty() {
        fact("verify", record.verify.join(" "));
    }
    if let Some(worktree) = &answer.worktree {
        fact("worktree", env::shorten(worktree));
    } else if record.worktree {
        fact("worktree", "one of its own, when it runs");
    }
    if let Some(folder) = &answer.folder {
        fact("folder", env::shorten(folder));
    }
}

fn attempt(n: usize, attempt: &Attempt, now: Timestamp) -> Text {
    let mut text = Text::of(Tone::Dim, format!("  {n}  {}  ", look::clock_time(attempt.started_at, now)));
    text = match attempt.outcome {
        None => text.and(Tone::Accent, "under way"),
        Some(Outcome::Done) => text.and(Tone::Good, "done"),
        Some(Outcome::Failed) => text.and(Tone::Bad, "failed"),
        Some(Outcome::Cancelled) => text.and(Tone::Dim, "cancelled"),
        Some(Outcome::Timeout) => text.and(Tone::Bad, "timeout"),
        Some(Outcome::Interrupted) => text.and(Tone::Warn, "interrupted"),
        Some(Outcome::Limited) => text.and(Tone::Warn, "at its usage limit"),
    };
    text = text.and(Tone::Plain, format!(" {} {}", if attempt.outcome.is_some() { "in" } else { "for" }, length(took(attempt, now))));
    let mut words = vec![];
    words.extend(Some(attempt.reason.clone()).filter(|r| !r.is_empty()));
    words.extend(attempt.exit.map(|e| format!("its agent ended {}", exit(e))));
    words.extend(attempt.said.as_ref().map(|s| match s {
        Said::Done { note } if note.is_empty() => "it said done".to_owned(),
        Said::Done { note } => format!("it said done: {note}"),
        Said::Error { reason } => format!("it said failed: {reason}"),
    }));
    words.extend(attempt.verified.map(|v| format!("verified {}", exit(v))));
    if !words.is_empty() {
        text = text.and(Tone::Plain, format!("  {}", words.join("; ").replace('\n', "␤")));
    }
    match &attempt.contradiction {
        Some(what) => text.and(Tone::Warn, format!("  contradiction: {what}")),
        None => text,
    }
}

fn exit(exit: Exit) -> String {
    match exit {
        Exit::Status(status) => format!("with status {status}"),
        Exit::Signal(signal) => format!("by {}", crate::os::signal::name(signal)),
        Exit::NotStarted => "before it began".into(),
        Exit::Unseen => "unseen".into(),
    }
}

fn block(title: &str, text: &str, most: usize) {
    out::fact(Text::of(Tone::Dim, title));
    let lines: Vec<&str> = text.lines().collect();
    for line in lines.iter().take(most) {
        out::fact(Text::of(Tone::Dim, "  │ ").and(Tone::Plain, *line));
    }
    if lines.len() > most {
        out::fact(Text::of(Tone::Dim, format!("  … {} more lines: --full shows them", lines.len() - most)));
    }
}
