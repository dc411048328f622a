//! `agents task graph`

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Context, out};
use super::rows::{begins, state_text};
use super::why::{Queue, Why};
use super::{FINISHED, Place, all_named, lying};
use crate::contract::task::{End, Place as Lies, Task, TaskId};
use crate::error::Result;
use crate::os::clock;
use crate::store::tasks;

use out::{Text, Tone};

/// Draw what waits for what: the tasks that have not ended, and those they came after
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  agents task graph
  agents task graph --dot | dot -Tsvg > tasks.svg")]
pub(super) struct Args {
    /// Only these, what they wait for and what waits for them
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Also all that have ended
    #[arg(short, long)]
    all: bool,
    /// As a DOT graph, for graphviz
    #[arg(long)]
    dot: bool,
}

/// A task as it is drawn.
struct Node {
    place: Option<Lies>,
    blocked: Option<String>,
    label: String,
    after: Vec<TaskId>,
}

type Nodes = BTreeMap<TaskId, Node>;

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let layout = &place.layout;
    let only = all_named(layout, &args.ids)?;
    let queue = Queue::load(layout, place.project.as_ref().ok().map(|p| p.config.tasks.clone()));
    let mut all: Vec<(Lies, Task)> = queue.live.values().cloned().collect();
    if args.all || !only.is_empty() {
        FINISHED.into_iter().for_each(|lies| all.extend(lying(layout, lies)));
    }
    // What they came after, also where that has ended; not what that came after in its turn.
    let known: BTreeSet<TaskId> = all.iter().map(|(_, t)| t.task).collect();
    let missing: BTreeSet<TaskId> = all.iter().flat_map(|(_, t)| t.after.iter().copied()).filter(|id| !known.contains(id)).collect();
    let mut gone = vec![];
    for id in missing {
        match tasks::read(layout, id) {
            Ok(Some((place, task))) => all.push((place, Task { after: vec![], ..task })),
            Ok(None) | Err(_) => gone.push(id),
        }
    }
    let now = clock::now();
    let mut nodes: Nodes = all
        .into_iter()
        .map(|(place, task)| {
            let why = (place == Lies::Pending).then(|| queue.why(&task, now));
            let blocked = why.filter(|w| matches!(w, Why::Blocked(..))).map(|w| w.words(|at| at.to_string()));
            let label = task.name.clone().unwrap_or_else(|| begins(&task.prompt));
            (task.task, Node { place: Some(place), blocked, label, after: task.after })
        })
        .collect();
    nodes.extend(gone.into_iter().map(|id| (id, Node { place: None, blocked: None, label: "gone".into(), after: vec![] })));
    if !only.is_empty() {
        nodes = around(nodes, &only);
    }
    if args.dot {
        out::fact(dot(&nodes));
    } else if nodes.is_empty() {
        out::say("no task is queued");
    } else {
        tree(&nodes).into_iter().for_each(out::fact);
    }
    Ok(())
}

/// Who waits for each, by number.
fn followers(nodes: &Nodes) -> BTreeMap<TaskId, Vec<TaskId>> {
    let mut after: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
    for (id, node) in nodes {
        for before in node.after.iter().filter(|b| nodes.contains_key(b)) {
            after.entry(*before).or_default().push(*id);
        }
    }
    after
}

/// These, all that they wait for however far up, and all that waits for them.
fn around(nodes: Nodes, only: &[TaskId]) -> Nodes {
    let followers = followers(&nodes);
    let reach = |next: &dyn Fn(TaskId) -> Vec<TaskId>| {
        let mut seen: BTreeSet<TaskId> = BTreeSet::new();
        let mut open = only.to_vec();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(next(id));
            }
        }
        seen
    };
    let up = reach(&|id| nodes.get(&id).map(|n| n.after.clone()).unwrap_or_default());
    let down = reach(&|id| followers.get(&id).cloned().unwrap_or_default());
    nodes.into_iter().filter(|(id, _)| up.contains(id) || down.contains(id)).collect()
}

fn describe(id: TaskId, node: &Node) -> Text {
    let text = Text::of(Tone::Strong, id.to_string()).and(Tone::Plain, " ");
    let text = match (node.place, &node.blocked) {
        (_, Some(why)) => text.and(Tone::Warn, why),
        (Some(place), None) => text.join(state_text(place)),
        (None, None) => return text.and(Tone::Bad, "gone"),
    };
    text.and(Tone::Dim, format!("  {}", node.label.replace('\n', "␤")))
}

/// Each task below one it waits for; one that waits for several stands below the last of them, and says the others.
fn tree(nodes: &Nodes) -> Vec<Text> {
    let parent = |node: &Node| node.after.iter().copied().filter(|b| nodes.contains_key(b)).max();
    let mut children: BTreeMap<TaskId, Vec<TaskId>> = BTreeMap::new();
    let mut roots = vec![];
    for (id, node) in nodes {
        match parent(node).filter(|p| p != id) {
            Some(parent) => children.entry(parent).or_default().push(*id),
            None => roots.push(*id),
        }
    }
    let mut lines = vec![];
    // With what stands before the line, and before those below it.
    let mut open: Vec<(TaskId, String, String)> = roots.into_iter().rev().map(|id| (id, String::new(), String::new())).collect();
    while let Some((id, before, below)) = open.pop() {
        let Some(node) = nodes.get(&id) else { continue };
        let above = parent(node);
        let others: Vec<String> = node.after.iter().filter(|b| Some(**b) != above).map(ToString::to_string).collect();
        let mut line = Text::of(Tone::Dim, before).join(describe(id, node));
        if !others.is_empty() {
            line = line.and(Tone::Dim, format!("  (also after {})", others.join(", ")));
        }
        lines.push(line);
        let own = children.get(&id).map(Vec::as_slice).unwrap_or_default();
        for (n, child) in own.iter().enumerate().rev() {
            let (turn, line) = if n + 1 == own.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            open.push((*child, format!("{below}{turn}"), format!("{below}{line}")));
        }
    }
    lines
}

/// The same for graphviz.
fn dot(nodes: &Nodes) -> String {
    let mut out = String::from("digraph tasks {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for (id, node) in nodes {
        let state = match (node.place, &node.blocked) {
            (_, Some(_)) => "blocked",
            (Some(place), None) => place.word(),
            (None, None) => "gone",
        };
        let colour = match node.place {
            _ if node.blocked.is_some() => "orange",
            Some(Lies::Running) => "blue",
            Some(Lies::Held) => "orange",
            Some(Lies::Finished(End::Done)) => "darkgreen",
            Some(Lies::Finished(End::Failed | End::Timeout)) => "red",
            Some(Lies::Pending) => "black",
            Some(Lies::Finished(End::Cancelled)) | None => "gray",
        };
        out.push_str(&format!("  \"{id}\" [label=\"{id} {state}\\n{}\", color={colour}];\n", quoted(&node.label)));
    }
    for (id, node) in nodes {
        for before in node.after.iter().filter(|b| nodes.contains_key(b)) {
            out.push_str(&format!("  \"{before}\" -> \"{id}\";\n"));
        }
    }
    out.push('}');
    out
}

/// Inside a quoted string of DOT. Control characters are made harmless by the gate.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "␤")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Nodes {
        let node = |place, label: &str, after: &[u64]| Node {
            place: Some(place),
            blocked: None,
            label: label.into(),
            after: after.iter().map(|n| TaskId(*n)).collect(),
        };
        let mut blocked = node(Lies::Pending, "publish", &[3, 5]);
        blocked.blocked = Some("blocked: t3 failed".into());
        let all = [
            (1, node(Lies::Finished(End::Done), "build", &[])),
            (2, node(Lies::Running, "te\"st\\", &[1])),
            (3, node(Lies::Finished(End::Failed), "docs", &[1])),
            (4, node(Lies::Pending, "deploy", &[2, 3])),
            (5, node(Lies::Pending, "alone\nfor now", &[])),
            (6, blocked),
        ];
        all.into_iter().map(|(n, node)| (TaskId(n), node)).collect()
    }

    fn drawn(nodes: &Nodes) -> String {
        tree(nodes).iter().map(|line| line.render(false) + "\n").collect()
    }

    #[test]
    fn a_graph_is_drawn_as_a_tree() {
        insta::assert_snapshot!(drawn(&nodes()), @r#"
        t1 done  build
        ├─ t2 running  te"st\
        └─ t3 failed  docs
           └─ t4 pending  deploy  (also after t2)
        t5 pending  alone␤for now
        └─ t6 blocked: t3 failed  publish  (also after t3)
        "#);
        insta::assert_snapshot!(drawn(&around(nodes(), &[TaskId(2)])), @r#"
        t1 done  build
        └─ t2 running  te"st\
           └─ t4 pending  deploy  (also after t3)
        "#);
        insta::assert_snapshot!(dot(&nodes()), @r#"
        digraph tasks {
          rankdir=LR;
          node [shape=box, style=rounded];
          "t1" [label="t1 done\nbuild", color=darkgreen];
          "t2" [label="t2 running\nte\"st\\", color=blue];
          "t3" [label="t3 failed\ndocs", color=red];
          "t4" [label="t4 pending\ndeploy", color=black];
          "t5" [label="t5 pending\nalone␤for now", color=black];
          "t6" [label="t6 blocked\npublish", color=orange];
          "t1" -> "t2";
          "t1" -> "t3";
          "t2" -> "t4";
          "t3" -> "t4";
          "t3" -> "t6";
          "t5" -> "t6";
        }
        "#);
    }

    proptest::proptest! {
        #[test]
        fn every_task_is_drawn_once(edges in proptest::collection::vec((1u64..15, 1u64..15), 0..40)) {
            let mut all: Nodes = (1..15).map(|n| (TaskId(n), Node { place: Some(Lies::Pending), blocked: None, label: "x".into(), after: vec![] })).collect();
            for (a, b) in edges.into_iter().filter(|(a, b)| a > b) {
                all.get_mut(&TaskId(a)).unwrap().after.push(TaskId(b));
            }
            let mut seen: Vec<u64> = tree(&all).iter().map(|l| l.render(false)).map(|l| l.split_once('t').unwrap().1.split(' ').next().unwrap().parse().unwrap()).collect();
            seen.sort_unstable();
            proptest::prop_assert_eq!(seen, (1..15).collect::<Vec<u64>>());
        }
    }
}
