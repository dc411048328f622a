//! What a project says about its task queue.

use std::collections::BTreeMap;
use std::time::Duration;

use super::file::TasksTable;
use super::{duration, name};
use crate::document;
use crate::error::{Error, Result};

/// How the queue runs, and how long what has ended is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tasks {
    /// How many run at once.
    pub parallel: usize,
    /// How many of a lane's run at once, by its name.
    pub lanes: BTreeMap<String, usize>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many further attempts a failed one gets.
    pub retries: u32,
    /// The file with the template around every task's prompt, where the project has its own.
    pub prompt: Option<String>,
    /// What ended longer ago goes to the archive.
    pub keep: Duration,
    /// Of what has ended so many are kept at most, the newest.
    pub keep_count: usize,
}

/// What is wrong with a table: the keys down to the value, what it is, what to write.
pub(super) type Finding = (Vec<String>, String, String);

/// A task that failed so often is not saved by once more.
pub(crate) const RETRIES_MAX: u32 = 100;
/// More at once than this, and the machine has no room left for any.
const PARALLEL_MAX: u32 = 1000;

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks {
            parallel: 2,
            lanes: BTreeMap::new(),
            timeout: Duration::from_secs(3600),
            retries: 0,
            prompt: None,
            keep: Duration::from_secs(30 * 86_400),
            keep_count: 10_000,
        }
    }
}

impl Tasks {
    /// From its table; values that are wrong are told and replaced by their defaults.
    pub(super) fn of(table: &TasksTable, findings: &mut Vec<Finding>) -> Tasks {
        let mut find = |keys: &[&str], message: String, hint: &str| {
            findings.push((keys.iter().map(|k| (*k).to_owned()).collect(), message, hint.to_owned()));
        };
        let mut tasks = Tasks { prompt: table.prompt.clone(), ..Tasks::default() };
        for (key, value, goal) in [("timeout", &table.timeout, &mut tasks.timeout), ("keep", &table.keep, &mut tasks.keep)] {
            match value.as_deref().map(|v| (v, duration::parse(v))) {
                None => {}
                Some((_, Some(time))) if key == "keep" || !time.is_zero() => *goal = time,
                Some((value, _)) => {
                    find(&["tasks", key], format!("`{value}` is no duration"), "write it as \"90s\", \"10m\", \"1h\" or \"7d\"")
                }
            }
        }
        match table.parallel {
            None => {}
            Some(0) => find(&["tasks", "parallel"], "0 tasks at once would never run any".into(), "write 1 or more"),
            Some(n) if n > PARALLEL_MAX => {
                find(&["tasks", "parallel"], format!("{n} tasks at once are too many"), "write 1000 at most");
            }
            Some(n) => tasks.parallel = n as usize,
        }
        match table.retries {
            None => {}
            Some(n) if n > RETRIES_MAX => {
                find(&["tasks", "retries"], format!("{n} retries would never come to an end"), "write 100 at most");
            }
            Some(n) => tasks.retries = n,
        }
        for (lane, limit) in &table.lanes {
            if !name::is_name(lane) {
                let hint = "use 1 to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit";
                find(&["tasks", "lanes", lane], format!("`{lane}` is no name for a lane"), hint);
            } else if *limit == 0 {
                find(&["tasks", "lanes", lane], format!("0 tasks at once would never run any of lane {lane}"), "write 1 or more");
            } else {
                tasks.lanes.insert(lane.clone(), *limit as usize);
            }
        }
        if let Some(prompt) =
            table.prompt.as_deref().filter(|p| p.is_empty() || p.starts_with('/') || p.split('/').any(|part| part == ".."))
        {
            find(
                &["tasks", "prompt"],
                format!("the prompt file {prompt:?} lies outside the project"),
                "write a path below this file's folder",
            );
        }
        tasks.keep_count = table.keep_count.map_or(tasks.keep_count, |n| n as usize);
        tasks
    }

    /// Refuses a lane that the project does not declare: a misspelt one would have no limit.
    pub fn check_lane(&self, lane: &str) -> Result<()> {
        if self.lanes.contains_key(lane) {
            return Ok(());
        }
        let error = Error::usage(format!("there is no lane {lane:?}"));
        let known: Vec<&str> = self.lanes.keys().map(String::as_str).collect();
        Err(match document::nearest(lane, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None if known.is_empty() => error.hint("agents.toml declares none: [tasks.lanes] heavy = 1   declares one"),
            None => error.hint(format!("declared are: {}", known.join(", "))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_has_a_default() {
        let mut findings = vec![];
        assert_eq!(Tasks::of(&TasksTable::default(), &mut findings), Tasks::default());
        let table: TasksTable =
            toml::from_str("parallel = 4\ntimeout = '2h'\nretries = 3\nkeep = '0s'\nkeep_count = 5\nlanes = { heavy = 1 }\n").unwrap();
        let tasks = Tasks::of(&table, &mut findings);
        assert_eq!((tasks.parallel, tasks.timeout.as_secs(), tasks.retries, tasks.keep_count), (4, 7200, 3, 5));
        assert_eq!((tasks.lanes.get("heavy"), tasks.keep), (Some(&1), Duration::ZERO));
        assert_eq!(findings, []);
    }

    #[test]
    fn a_lane_is_one_that_is_declared() {
        let tasks = |lanes: &[&str]| Tasks { lanes: lanes.iter().map(|l| ((*l).to_owned(), 1)).collect(), ..Tasks::default() };
        assert!(tasks(&["heavy"]).check_lane("heavy").is_ok());
        let hint = |lanes: &[&str], lane: &str| tasks(lanes).check_lane(lane).unwrap_err().hints.remove(0);
        assert_eq!(hint(&["heavy", "gpu"], "haevy"), "did you mean `heavy`?");
        assert_eq!(hint(&["heavy", "gpu"], "zzzz"), "declared are: gpu, heavy");
        assert_eq!(hint(&[], "heavy"), "agents.toml declares none: [tasks.lanes] heavy = 1   declares one");
    }
}
