//! Tasks as rows: what `list` prints for people and as JSON.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::super::out::{Table, Text, Tone};
use super::why::{Queue, Why};
use crate::contract::task::{Attempt, End, Outcome, Place as Lies, Prompt, Task, TaskId};

/// So much of a prompt's first line is shown.
const BEGINS_CHARS: usize = 60;

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Row {
    pub task: TaskId,
    pub state: Lies,
    pub name: Option<String>,
    pub agent: String,
    pub lane: Option<String>,
    pub priority: i64,
    pub after: Vec<TaskId>,
    pub created_at: Timestamp,
    /// Of the last attempt.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub attempts: usize,
    /// Why it waits, is held, or ended so.
    pub why: String,
    /// It cannot go on unless somebody acts.
    pub blocked: bool,
    /// What the agent said does not fit how it ended.
    pub contradiction: bool,
    /// How its prompt begins.
    pub begins: String,
}

impl Row {
    /// `time` puts a moment into words.
    pub fn of(queue: &Queue, place: Lies, task: &Task, now: Timestamp, time: impl Fn(Timestamp) -> String) -> Row {
        let last = task.attempts.last();
        let why = (place == Lies::Pending).then(|| queue.why(task, now));
        let blocked = place == Lies::Held || matches!(why, Some(Why::Blocked(..)));
        Row {
            task: task.task,
            state: place,
            name: task.name.clone(),
            agent: task.agent.clone(),
            lane: task.lane.clone(),
            priority: task.priority,
            after: task.after.clone(),
            created_at: task.created_at,
            started_at: last.map(|a| a.started_at),
            ended_at: last.and_then(|a| a.ended_at),
            attempts: counted(task),
            why: match why {
                Some(why) => why.words(time),
                None => reason(place, task),
            },
            blocked,
            contradiction: last.is_some_and(|a| a.contradiction.is_some()),
            begins: begins(&task.prompt),
        }
    }
}

/// The attempts that count as such.
pub(super) fn counted(task: &Task) -> usize {
    task.attempts.iter().filter(|a| a.outcome != Some(Outcome::Limited)).count()
}

fn reason(place: Lies, task: &Task) -> String {
    let last = task.attempts.last();
    let contradiction = last.and_then(|a| a.contradiction.clone());
    let reason = Some(task.reason.clone()).filter(|r| !r.is_empty()).or_else(|| last.map(|a| a.reason.clone())).unwrap_or_default();
    match (place, contradiction) {
        (_, Some(what)) => what,
        (Lies::Held, None) if reason.is_empty() => format!("agents task retry {0} or cancel {0}", task.task),
        (Lies::Held, None) => format!("{reason}; agents task retry {0} or cancel {0}", task.task),
        (Lies::Finished(End::Done), None) => String::new(),
        (_, None) => reason,
    }
}

/// The first line that says something, cut.
pub(super) fn begins(prompt: &Prompt) -> String {
    // No more than may be shown is looked at: a prompt may be long.
    let start = prompt.0.trim_ascii_start();
    let head = String::from_utf8_lossy(&start[..start.len().min(BEGINS_CHARS * 4)]).into_owned();
    let line = head.lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(BEGINS_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// What a state looks like.
pub(super) fn state_text(state: Lies) -> Text {
    let tone = match state {
        Lies::Running => Tone::Accent,
        Lies::Pending => Tone::Plain,
        Lies::Held => Tone::Warn,
        Lies::Finished(End::Done) => Tone::Good,
        Lies::Finished(End::Failed | End::Timeout) => Tone::Bad,
        Lies::Finished(End::Cancelled) => Tone::Dim,
    };
    Text::of(tone, state.word())
}

/// A length of time in its two largest units: `850ms`, `12s`, `3m 20s`, `2h 05m`, `3d 4h`.
pub(super) fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// From one moment to another; nothing where the clock was set back in between.
pub(super) fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// How long an attempt took; one that is under way, so far.
pub(super) fn took(attempt: &Attempt, now: Timestamp) -> Duration {
    between(attempt.started_at, attempt.ended_at.unwrap_or(now))
}

/// `moving`: somebody looks at it as it changes, and nothing redraws a length of time, so what goes on is shown by when it began.
pub(super) fn table(rows: &[Row], now: Timestamp, moving: Option<&dyn Fn(Timestamp) -> String>) -> Table {
    let has = |f: fn(&Row) -> bool| rows.iter().any(f);
    let (names, lanes, notes) = (has(|r| r.name.is_some()), has(|r| r.lane.is_some()), has(|r| !r.why.is_empty()));
    let mut head = vec!["TASK", "STATE"];
    head.extend(names.then_some("NAME"));
    head.push("AGENT");
    head.extend(lanes.then_some("LANE"));
    head.extend(["TRY", if moving.is_some() { "SINCE" } else { "FOR" }]);
    head.extend(notes.then_some("NOTE"));
    head.push("PROMPT");
    let mut table = Table::new(&head);
    let none = || Text::of(Tone::Dim, "-");
    for row in rows {
        let time = match (row.state, row.started_at, row.ended_at) {
            (Lies::Finished(_), Some(from), Some(to)) if moving.is_none() => length(between(from, to)),
            (Lies::Finished(_), _, to) => to.map_or_else(|| "-".into(), |to| moving.map_or_else(|| length(between(to, now)), |m| m(to))),
            (Lies::Running, Some(from), _) => moving.map_or_else(|| length(between(from, now)), |m| m(from)),
            (Lies::Running | Lies::Pending | Lies::Held, ..) => {
                moving.map_or_else(|| length(between(row.created_at, now)), |m| m(row.created_at))
            }
        };
        let mut cells = vec![Text::of(Tone::Strong, row.task.to_string()), state_text(row.state)];
        if names {
            cells.push(row.name.as_ref().map_or_else(none, Text::from));
        }
        cells.push(row.agent.as_str().into());
        if lanes {
            cells.push(row.lane.as_ref().map_or_else(none, Text::from));
        }
        cells.push(match row.attempts {
            0 => none(),
            1 => "1".into(),
            n => Text::of(Tone::Warn, n.to_string()),
        });
        cells.push(time.into());
        if notes {
            let tone = match (row.blocked || row.contradiction, row.state) {
                (true, _) => Tone::Warn,
                (false, Lies::Finished(End::Failed | End::Timeout)) => Tone::Bad,
                (false, _) => Tone::Dim,
            };
            cells.push(Text::of(tone, &row.why));
        }
        cells.push(Text::of(Tone::Dim, &row.begins));
        table.row(cells);
    }
    table
}

/// `2 running, 5 pending, 1 held, 3 failed`.
pub(super) fn summary(counts: &[(Lies, usize)]) -> Text {
    let mut text = Text::new();
    for (n, (place, count)) in counts.iter().filter(|(_, count)| *count > 0).enumerate() {
        if n > 0 {
            text = text.and(Tone::Dim, ", ");
        }
        text = text.and(Tone::Dim, format!("{count} ")).join(state_text(*place));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::why::tests::{queue, task};
    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-02-17T{time}Z").parse().unwrap()
    }

    fn attempt(from: &str, to: Option<&str>, outcome: Option<Outcome>, reason: &str) -> Attempt {
        Attempt { started_at: at(from), ended_at: to.map(at), outcome, reason: reason.into(), ..Attempt::default() }
    }

    #[test]
    fn a_glance_tells_it_all() {
        let mut runs = task(1, &[]);
        runs.name = Some("build".into());
        runs.attempts =
            vec![attempt("10:30:00", Some("10:30:05"), Some(Outcome::Failed), "ended with status 1"), attempt("10:31:00", None, None, "")];
        let mut failed = task(2, &[]);
        failed.attempts = vec![attempt("10:30:00", Some("10:30:00.850"), Some(Outcome::Failed), "ended with status 1\nat once")];
        let mut held = task(3, &[]);
        held.reason = "interrupted".into();
        held.attempts = vec![attempt("10:30:00", Some("10:32:00"), Some(Outcome::Interrupted), "")];
        let mut odd = task(4, &[]);
        odd.attempts = vec![attempt("10:30:00", Some("12:35:00"), Some(Outcome::Failed), "")];
        odd.attempts[0].contradiction = Some("it said done, and ended with status 3".into());
        let all = [
            (Lies::Running, runs),
            (Lies::Pending, task(5, &[1])),
            (Lies::Pending, task(6, &[2])),
            (Lies::Held, held),
            (Lies::Finished(End::Failed), failed),
            (Lies::Finished(End::Failed), odd),
        ];
        let live = all.iter().filter(|(p, _)| !matches!(p, Lies::Finished(_))).cloned().collect();
        let queue = queue(live, &[(2, End::Failed)]);
        let now = at("10:34:20");
        let rows: Vec<Row> = all.iter().map(|(place, task)| Row::of(&queue, *place, task, now, |at| at.to_string())).collect();
        insta::assert_snapshot!(table(&rows, now, None).render(false), @r"
        TASK  STATE    NAME   AGENT  TRY  FOR     NOTE                                            PROMPT
        t1    running  build  lead   2    3m 20s                                                  do work 1
        t5    pending  -      lead   -    4m 20s  waits for t1                                    do work 5
        t6    pending  -      lead   -    4m 20s  blocked: t2 failed                              do work 6
        t3    held     -      lead   1    4m 20s  interrupted; agents task retry t3 or cancel t3  do work 3
        t2    failed   -      lead   1    850ms   ended with status 1␤at once                     do work 2
        t4    failed   -      lead   1    2h 05m  it said done, and ended with status 3           do work 4
        ");
        insta::assert_snapshot!(table(&rows[..2], now, Some(&|at: Timestamp| at.strftime("%H:%M").to_string())).render(false), @r"
        TASK  STATE    NAME   AGENT  TRY  SINCE  NOTE          PROMPT
        t1    running  build  lead   2    10:31                do work 1
        t5    pending  -      lead   -    10:30  waits for t1  do work 5
        ");
        let coloured = table(&rows, now, None).render(true);
        for (word, code) in [("running", "36m"), ("held", "33m"), ("failed", "1m\u{1b}[31m")] {
            assert!(coloured.contains(&format!("\u{1b}[{code}{word}")), "{word}: {coloured:?}");
        }
    }

    #[test]
    fn times_have_two_units() {
        let lengths = [0, 850, 12_000, 200_000, 7_500_000, 273_600_000].map(|ms| length(Duration::from_millis(ms)));
        assert_eq!(lengths, ["0ms", "850ms", "12s", "3m 20s", "2h 05m", "3d 4h"]);
        assert_eq!(between(at("10:30:00"), at("10:29:00")), Duration::ZERO);
    }

    #[test]
    fn a_prompt_is_told_by_how_it_begins() {
        let begins = |bytes: &[u8]| begins(&Prompt(bytes.to_vec()));
        assert_eq!(begins(b"\n\n  fix it  \nand more"), "fix it");
        assert_eq!(begins(&[b"x".repeat(100), b"\n".to_vec()].concat()), format!("{}…", "x".repeat(60)));
        assert_eq!(begins(b"\xff\x00\x1b"), "\u{fffd}\0\u{1b}");
        assert_eq!(begins("é".repeat(2000).as_bytes()).chars().count(), 61);
    }
}
