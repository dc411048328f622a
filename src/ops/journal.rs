//! The journal of a fleet home: what is about to be done is written down before, so that the next command can finish or undo it.
//!
//! One file of JSON lines an operation, `journal/{number}.jsonl` among the records of the home: the intent, steps, the end. Only the home's lock holder writes.

use std::path::{Path, PathBuf};

use agents::cli::interrupt::{Doing, doing};
use agents::cli::{Error, Result};
use agents::os::{self, clock};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How many operations are remembered.
const KEPT_MAX: usize = 1000;

/// What an operation is going to do: everything that finishing or undoing it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum Intent {
    /// A project is made, or cloned, in `partial`, and becomes `folder` by one rename.
    Create {
        name: String,
        folder: PathBuf,
        partial: PathBuf,
        /// What the registry is to say; `None`: it is not registered.
        entry: Option<Entry>,
    },
    /// Pins move.
    Update { bumps: Vec<Bump> },
    /// Only the registry's text changes: `what` is the command, for people; `after` the id of the new text as git's blob.
    Registry { what: String, before: String, after: String },
    /// A created project is moved aside and forgotten.
    Uncreate { name: String, folder: PathBuf, aside: PathBuf },
}

/// A project's entry, as it is to stand in the registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub location: String,
    pub harness: String,
    pub reference: String,
    pub commit: String,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub repo: Option<String>,
}

/// One project's pin before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bump {
    pub name: String,
    pub folder: PathBuf,
    pub harness: String,
    /// The branch that HEAD names.
    pub branch: String,
    /// HEAD's commit before.
    pub head: String,
    pub from: String,
    pub to: String,
    /// What was checked out in `engine/` before; `None`: it was not initialised.
    pub engine: Option<String>,
    /// The ref that was asked for; recorded with `to`.
    pub reference: String,
    /// What the registry said before.
    pub reference_before: Option<String>,
    /// Where the branch that carries the engine in the project's own repository stood, where there is one.
    #[serde(default)]
    pub carrier: Option<String>,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Intent {
        at: String,
        /// The operation that this one reverses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        undoes: Option<u64>,
        #[serde(flatten)]
        intent: Intent,
    },
    Step {
        step: String,
    },
    End {
        at: String,
        #[serde(flatten)]
        end: End,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum End {
    Done,
    /// Everything is as it was before.
    Undone {
        why: String,
    },
    /// Done for some projects; these were left as they were.
    Partly {
        failed: Vec<String>,
    },
}

/// An operation as the journal tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub number: u64,
    pub at: Timestamp,
    pub intent: Intent,
    pub undoes: Option<u64>,
    pub steps: Vec<String>,
    /// `None`: it was interrupted.
    pub end: Option<End>,
}

impl Record {
    /// The operation in a few words.
    pub fn title(&self) -> String {
        title(&self.intent, self.undoes)
    }
}

fn title(intent: &Intent, undoes: Option<u64>) -> String {
    let what = match intent {
        Intent::Create { name, .. } => format!("create {name}"),
        Intent::Update { bumps } => {
            let names: Vec<&str> = bumps.iter().take(4).map(|b| b.name.as_str()).collect();
            let more = if bumps.len() > 4 { format!(" and {} more", bumps.len() - 4) } else { String::new() };
            format!("update {}{more}", names.join(" "))
        }
        Intent::Registry { what, .. } => what.clone(),
        Intent::Uncreate { name, .. } => format!("move {name} aside"),
    };
    match undoes {
        Some(number) => format!("undo {number}: {what}"),
        None => what,
    }
}

/// While it runs, an interruption says what becomes of it.
fn told(title: &str) -> Doing {
    doing(&format!("at `{title}`"), "the next fleet command that changes something finishes or undoes it")
}

/// The journal of one home.
#[derive(Debug, Clone)]
pub struct Journal {
    folder: PathBuf,
}

/// An operation under way. Dropped without an end it counts as interrupted.
#[derive(Debug)]
pub struct Running {
    path: PathBuf,
    _doing: Doing,
    pub number: u64,
}

impl Journal {
    /// Among these records.
    pub fn of(records: &Path) -> Journal {
        Journal { folder: records.join("journal") }
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes the intent, durably.
    pub fn begin(&self, intent: &Intent, undoes: Option<u64>) -> Result<Running> {
        let numbers = self.numbers()?;
        if !os::fs::is_dir(&self.folder) {
            os::fs::private_dir(&self.folder)?;
            os::fs::sync_dir(self.folder.parent().unwrap_or(&self.folder))?;
        }
        for old in &numbers[..numbers.len().saturating_sub(KEPT_MAX)] {
            os::fs::remove_file(&self.path(*old))?;
        }
        let number = numbers.last().map_or(1, |n| n + 1);
        let path = self.path(number);
        let line = Line::Intent { at: clock::now().to_string(), undoes, intent: intent.clone() };
        let doing = told(&title(intent, undoes));
        os::fs::write_atomic(&path, &encode(&line), 0o600)?;
        Ok(Running { path, _doing: doing, number })
    }

    /// The operation that was interrupted, if one was: only the last can be, as everyone looks here before beginning.
    pub fn unfinished(&self) -> Result<Option<(Record, Running)>> {
        let Some(number) = self.numbers()?.last().copied() else { return Ok(None) };
        let record = self.read(number)?;
        let path = self.path(number);
        Ok((record.end.is_none()).then(|| {
            let _doing = told(&record.title());
            (record, Running { path, _doing, number })
        }))
    }

    /// Everything that was done, oldest first. What cannot be read is left out and named in the second list.
    pub fn records(&self) -> Result<(Vec<Record>, Vec<Error>)> {
        let (mut records, mut odd) = (vec![], vec![]);
        for number in self.numbers()? {
            match self.read(number) {
                Ok(record) => records.push(record),
                Err(error) => odd.push(error),
            }
        }
        Ok((records, odd))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:06}.jsonl"))
    }

    fn numbers(&self) -> Result<Vec<u64>> {
        // What stands there is acted on: an interrupted operation is finished or undone, and folders are removed for it.
        os::fs::own_dir_if_there(&self.folder).map_err(|e| Error::from(e).hint("move it away; fleet makes its own"))?;
        let names = os::fs::list(&self.folder)?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|n| n.strip_suffix(".jsonl")?.parse().ok()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A last line that was cut short counts as not written.
    fn read(&self, number: u64) -> Result<Record> {
        let path = self.path(number);
        let text = os::fs::read_to_string(&path)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let odd =
            |why: String| Error::invalid(&path, why).hint("the journal is written by fleet alone; move this file away if you changed it");
        let mut record = None;
        for line in whole.lines() {
            match (serde_json::from_str(line).map_err(|e| odd(e.to_string()))?, &mut record) {
                (Line::Intent { at, undoes, intent }, None) => {
                    let at = at.parse().map_err(|e| odd(format!("{at}: {e}")))?;
                    record = Some(Record { number, at, intent, undoes, steps: vec![], end: None });
                }
                (Line::Step { step }, Some(record)) => record.steps.push(step),
                (Line::End { end, .. }, Some(record)) => record.end = Some(end),
                (_, _) => return Err(odd("expected one intent, then steps, then the end".into())),
            }
        }
        record.ok_or_else(|| odd("holds no intent".into()))
    }
}

impl Running {
    /// The operation's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes that a step is done, durably.
    pub fn step(&self, step: impl Into<String>) -> Result<()> {
        Ok(os::fs::append_durable(&self.path, &encode(&Line::Step { step: step.into() }))?)
    }

    /// Writes the intent again, now that all of it is known, with a first step.
    pub fn amend(&self, intent: &Intent, step: &str) -> Result<()> {
        let line = Line::Intent { at: clock::now().to_string(), undoes: None, intent: intent.clone() };
        let step = Line::Step { step: step.to_owned() };
        Ok(os::fs::write_atomic(&self.path, &[encode(&line), encode(&step)].concat(), 0o600)?)
    }

    /// Writes the end, durably: from now on nobody finishes or undoes it.
    pub fn end(self, end: End) -> Result<()> {
        let line = encode(&Line::End { at: clock::now().to_string(), end });
        // After a line that was cut short, a new one begins.
        let torn = !os::fs::read(&self.path)?.ends_with(b"\n");
        if torn {
            let text = os::fs::read(&self.path)?;
            let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
            return Ok(os::fs::write_atomic(&self.path, &[&text[..whole], &line].concat(), 0o600)?);
        }
        Ok(os::fs::append_durable(&self.path, &line)?)
    }
}

fn encode(line: &Line) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;

    fn intent() -> Intent {
        Intent::Registry { what: "remove web".into(), before: "a\n".into(), after: "b\n".into() }
    }

    #[test]
    fn an_operation_is_unfinished_until_its_end_is_written() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::of(home.path());
        assert!(journal.unfinished().unwrap().is_none());
        let running = journal.begin(&intent(), None).unwrap();
        running.step("one").unwrap();
        let (record, again) = journal.unfinished().unwrap().unwrap();
        assert_eq!((record.number, record.steps, record.intent), (1, vec!["one".to_owned()], intent()));
        again.end(End::Done).unwrap();
        assert!(journal.unfinished().unwrap().is_none());
        journal.begin(&intent(), Some(1)).unwrap().end(End::Undone { why: "test".into() }).unwrap();
        let (records, odd) = journal.records().unwrap();
        assert_eq!((records.len(), records[1].undoes, odd.len()), (2, Some(1), 0));
    }

    #[test]
    fn a_cut_at_any_byte_leaves_it_unfinished_or_whole() {
        let home = tempfile::tempdir().unwrap();
        let journal = Journal::of(home.path());
        let running = journal.begin(&intent(), None).unwrap();
        let path = journal.path(1);
        let begun = std::fs::read(&path).unwrap().len();
        running.step("one").unwrap();
        running.end(End::Done).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in begun..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (_, running) = journal.unfinished().unwrap().unwrap_or_else(|| panic!("cut at {cut} reads as ended"));
            running.end(End::Done).unwrap();
            assert!(journal.unfinished().unwrap().is_none(), "cut at {cut} cannot be ended");
        }
    }
}
