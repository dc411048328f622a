//! All projects' queues in one table.

use agents::cli::out::{Table, Text, Tone};
use agents::contract::task::{End, Place};
use jiff::Timestamp;

use crate::observe::tasks::{QueueReport, TaskReport};

/// One line a task. `since` puts a moment into words.
pub fn table(queues: &[QueueReport], since: impl Fn(Timestamp) -> String) -> Table {
    let tasks = || queues.iter().flat_map(|q| &q.tasks);
    let names = tasks().any(|t| t.name.is_some());
    let mut head = vec!["PROJECT", "TASK", "STATE"];
    head.extend(names.then_some("NAME"));
    head.extend(["AGENT", "TRY", "SINCE", "NOTE", "PROMPT"]);
    let mut table = Table::new(&head);
    let none = || Text::of(Tone::Dim, "-");
    for (queue, task) in queues.iter().flat_map(|q| q.tasks.iter().map(move |t| (q, t))) {
        let mut row = vec![Text::of(Tone::Strong, &queue.name), task.task.to_string().into(), state(task.state)];
        if names {
            row.push(task.name.as_ref().map_or_else(none, Text::from));
        }
        row.push(task.agent.as_str().into());
        row.push(match task.attempts {
            0 => none(),
            1 => "1".into(),
            n => Text::of(Tone::Warn, n.to_string()),
        });
        row.push(since(task.started_at.filter(|_| task.state == Place::Running).unwrap_or(task.created_at)).into());
        row.push(note(queue, task, &since));
        row.push(Text::of(Tone::Dim, &task.begins));
        table.row(row);
    }
    table
}

/// What a state looks like.
fn state(place: Place) -> Text {
    let tone = match place {
        Place::Running => Tone::Accent,
        Place::Pending => Tone::Plain,
        Place::Held => Tone::Warn,
        Place::Finished(End::Done) => Tone::Good,
        Place::Finished(End::Failed | End::Timeout) => Tone::Bad,
        Place::Finished(End::Cancelled) => Tone::Dim,
    };
    Text::of(tone, place.word())
}

fn note(queue: &QueueReport, task: &TaskReport, since: impl Fn(Timestamp) -> String) -> Text {
    let ended = |a: &&crate::observe::tasks::Awaited| matches!(a.state, None | Some(Place::Finished(_)));
    let dim = |text: String| Text::of(Tone::Dim, text);
    if task.state == Place::Held {
        let what = if task.reason.is_empty() { "held" } else { &task.reason };
        return Text::of(Tone::Warn, format!("{what}; fleet task retry {0}/{1} or cancel", queue.name, task.task));
    }
    if let Some(culprit) = task.waits_for.iter().find(ended) {
        let how = culprit.state.map_or("is gone", |p| if p == Place::Finished(End::Cancelled) { "was cancelled" } else { "failed" });
        return Text::of(Tone::Warn, format!("blocked: {} {how}", culprit.task));
    }
    if let [first, rest @ ..] = task.waits_for.as_slice() {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        return dim(format!("waits for {}{more}", first.task));
    }
    match (task.state, task.not_before) {
        (Place::Pending, Some(at)) if at > agents::os::clock::now() => dim(format!("not before {}", since(at))),
        (Place::Pending, _) if queue.stopped => dim(format!("stopped: fleet start {}", queue.name)),
        _ => dim(String::new()),
    }
}

/// `3 projects, 2 running, 5 pending, 1 held, 2 failed`, and what could not be read.
pub fn summary(queues: &[QueueReport]) -> Text {
    let mut text = Text::of(Tone::Dim, if queues.len() == 1 { "1 project".into() } else { format!("{} projects", queues.len()) });
    for place in [Place::Running, Place::Pending, Place::Held] {
        let count = queues.iter().flat_map(|q| &q.tasks).filter(|t| t.state == place).count();
        if count > 0 {
            text = text.and(Tone::Dim, format!(", {count} ")).join(state(place));
        }
    }
    let failed: usize = queues.iter().map(|q| q.failed).sum();
    if failed > 0 {
        text = text.and(Tone::Dim, format!(", {failed} ")).and(Tone::Bad, "failed");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::tasks::Awaited;
    use agents::contract::task::TaskId;

    fn task(n: u64, state: Place) -> TaskReport {
        TaskReport {
            task: TaskId(n),
            state,
            name: None,
            agent: "lead".into(),
            lane: None,
            priority: 0,
            after: vec![],
            created_at: "2026-02-17T10:30:00Z".parse().unwrap(),
            started_at: None,
            attempts: 0,
            reason: String::new(),
            not_before: None,
            waits_for: vec![],
            begins: "do it".into(),
        }
    }

    #[test]
    fn a_glance_tells_it_all() {
        let queue = |name: &str, tasks| QueueReport { name: name.into(), tasks, ..QueueReport::default() };
        let mut runs = task(1, Place::Running);
        (runs.name, runs.attempts) = (Some("build".into()), 2);
        let mut waits = task(2, Place::Pending);
        waits.waits_for =
            vec![Awaited { task: TaskId(1), state: Some(Place::Running) }, Awaited { task: TaskId(4), state: Some(Place::Pending) }];
        let mut blocked = task(3, Place::Pending);
        blocked.waits_for = vec![Awaited { task: TaskId(9), state: Some(Place::Finished(End::Failed)) }];
        let mut held = task(7, Place::Held);
        held.reason = "interrupted\nby a reboot".into();
        let mut later = task(8, Place::Pending);
        later.not_before = "2126-02-17T10:30:00Z".parse().ok();
        let mut api = queue("api", vec![held, later, task(10, Place::Pending)]);
        (api.stopped, api.failed) = (true, 2);
        let queues = [queue("web", vec![runs, waits, blocked]), api, queue("docs", vec![])];
        insta::assert_snapshot!(table(&queues, |at| at.strftime("%H:%M").to_string()).render(false), @r"
        PROJECT  TASK  STATE    NAME   AGENT  TRY  SINCE  NOTE                                                        PROMPT
        web      t1    running  build  lead   2    10:30                                                              do it
        web      t2    pending  -      lead   -    10:30  waits for t1 and 1 more                                     do it
        web      t3    pending  -      lead   -    10:30  blocked: t9 failed                                          do it
        api      t7    held     -      lead   -    10:30  interrupted␤by a reboot; fleet task retry api/t7 or cancel  do it
        api      t8    pending  -      lead   -    10:30  not before 10:30                                            do it
        api      t10   pending  -      lead   -    10:30  stopped: fleet start api                                    do it
        ");
        insta::assert_snapshot!(summary(&queues).render(false), @"3 projects, 1 running, 4 pending, 1 held, 2 failed");
        insta::assert_snapshot!(table(&[], |_| String::new()).render(false), @"PROJECT  TASK  STATE  AGENT  TRY  SINCE  NOTE  PROMPT");
    }
}
