//! What waits for what: a set of new tasks is whole only if everything they wait for exists and nothing waits for itself.

use std::collections::BTreeMap;

/// A task that is to be added. `after` names others of the same set, or tasks that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    pub name: Option<&'a str>,
    pub after: &'a [String],
}

/// What is wrong with a set; tasks by their place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Two of one name.
    Twice { task: usize, first: usize },
    /// The `after`th of what it waits for is nowhere.
    Unknown { task: usize, after: usize },
    /// Each waits for the next, the last for the first.
    Circle(Vec<usize>),
}

/// Everything that is wrong. `exists` says whether a word names a task that is there already; the set's own names come first.
pub(crate) fn check(nodes: &[Node<'_>], exists: impl Fn(&str) -> bool) -> Vec<Fault> {
    let mut faults = vec![];
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (task, node) in nodes.iter().enumerate() {
        let Some(name) = node.name else { continue };
        match places.get(name) {
            Some(first) => faults.push(Fault::Twice { task, first: *first }),
            None => drop(places.insert(name, task)),
        }
    }
    for (task, node) in nodes.iter().enumerate() {
        for (after, word) in node.after.iter().enumerate() {
            if !places.contains_key(word.as_str()) && !exists(word) {
                faults.push(Fault::Unknown { task, after });
            }
        }
    }
    let edges: Vec<Vec<usize>> = nodes.iter().map(|n| n.after.iter().filter_map(|w| places.get(w.as_str()).copied()).collect()).collect();
    faults.extend(circles(&edges).into_iter().map(Fault::Circle));
    faults
}

/// The circles that a walk along the edges runs into: every node on no circle is passed once. Without recursion, as a chain may be long.
fn circles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        OnPath,
        Done,
    }
    let mut marks = vec![Mark::New; edges.len()];
    let mut found = vec![];
    for start in 0..edges.len() {
        if marks[start] != Mark::New {
            continue;
        }
        // Each with the edge that is taken next.
        let mut path = vec![(start, 0)];
        marks[start] = Mark::OnPath;
        while let Some((node, next)) = path.last_mut() {
            let Some(to) = edges[*node].get(*next).copied() else {
                marks[*node] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[to] {
                Mark::New => {
                    marks[to] = Mark::OnPath;
                    path.push((to, 0));
                }
                Mark::OnPath => {
                    let from = path.iter().position(|(n, _)| *n == to).unwrap_or(0);
                    found.push(path[from..].iter().map(|(n, _)| *n).collect());
                }
                Mark::Done => {}
            }
        }
    }
    found
}

/// The same set so that whatever is waited for stands before who waits, else in its own order. Needs a set without faults.
pub(crate) fn order(nodes: &[Node<'_>]) -> Vec<usize> {
    let places: BTreeMap<&str, usize> = nodes.iter().enumerate().filter_map(|(i, n)| Some((n.name?, i))).collect();
    let mut placed = vec![false; nodes.len()];
    let mut out = Vec::with_capacity(nodes.len());
    for start in 0..nodes.len() {
        let mut path = vec![start];
        while let Some(task) = path.last().copied() {
            let first = nodes[task].after.iter().filter_map(|w| places.get(w.as_str()).copied()).find(|p| !placed[*p] && *p != task);
            match first {
                Some(first) if path.len() <= nodes.len() => path.push(first),
                Some(_) | None => {
                    path.pop();
                    if !std::mem::replace(&mut placed[task], true) {
                        out.push(task);
                    }
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faults(set: &[(&str, &[&str])]) -> Vec<Fault> {
        with(set, |nodes| check(nodes, |word| word == "t1"))
    }

    fn with<R>(set: &[(&str, &[&str])], f: impl FnOnce(&[Node<'_>]) -> R) -> R {
        let after: Vec<Vec<String>> = set.iter().map(|(_, a)| a.iter().map(|w| (*w).to_owned()).collect()).collect();
        let nodes: Vec<Node<'_>> =
            set.iter().zip(&after).map(|((name, _), after)| Node { name: Some(*name).filter(|n| !n.is_empty()), after }).collect();
        f(&nodes)
    }

    #[test]
    fn what_is_wrong_with_a_set() {
        assert_eq!(faults(&[("a", &["t1"]), ("b", &["a"]), ("", &["a", "b"])]), []);
        assert_eq!(faults(&[("a", &["t1", "t2"])]), [Fault::Unknown { task: 0, after: 1 }]);
        assert_eq!(faults(&[("a", &[]), ("a", &[])]), [Fault::Twice { task: 1, first: 0 }]);
        assert_eq!(faults(&[("a", &["a"])]), [Fault::Circle(vec![0])]);
        assert_eq!(faults(&[("", &["a"]), ("a", &["b"]), ("b", &["c"]), ("c", &["a"])]), [Fault::Circle(vec![1, 2, 3])]);
        // Two ways to the same task are no circle.
        assert_eq!(faults(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c", "a"])]), []);
    }

    #[test]
    fn a_long_chain_is_no_burden() {
        let names: Vec<String> = (0..20_000).map(|i| format!("n{i}")).collect();
        let after: Vec<Vec<String>> = (0..20_000).map(|i| names.get(i + 1).cloned().into_iter().collect()).collect();
        let nodes: Vec<Node<'_>> = names.iter().zip(&after).map(|(name, after)| Node { name: Some(name), after }).collect();
        assert_eq!(check(&nodes, |_| false), []);
        assert_eq!(order(&nodes).first(), Some(&19_999));
    }

    proptest! {
        /// Edges that only go back make no circle; one that goes on from the end of such an edge makes one.
        #[test]
        fn a_circle_is_found_exactly_where_one_is(edges in prop::collection::vec((0usize..12, 0usize..12), 0..40)) {
            let names: Vec<String> = (0..12).map(|i| format!("n{i}")).collect();
            let set = |edges: &[(usize, usize)]| -> Vec<Vec<String>> {
                (0..12).map(|i| edges.iter().filter(|(from, _)| *from == i).map(|(_, to)| names[*to].clone()).collect()).collect()
            };
            let back: Vec<_> = edges.iter().filter(|(a, b)| a > b).copied().collect();
            let after = set(&back);
            let nodes: Vec<Node<'_>> = names.iter().zip(&after).map(|(n, after)| Node { name: Some(n), after }).collect();
            prop_assert_eq!(check(&nodes, |_| false), vec![]);
            let order = order(&nodes);
            let place = |task: usize| order.iter().position(|t| *t == task).unwrap();
            prop_assert!(back.iter().all(|(a, b)| place(*b) < place(*a)));
            prop_assert_eq!(order.len(), 12);
            if let Some((a, b)) = back.first() {
                let mut round = back.clone();
                round.push((*b, *a));
                let after = set(&round);
                let nodes: Vec<Node<'_>> = names.iter().zip(&after).map(|(n, after)| Node { name: Some(n), after }).collect();
                prop_assert!(check(&nodes, |_| false).iter().any(|f| matches!(f, Fault::Circle(_))));
            }
        }
    }
}
