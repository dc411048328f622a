//! Many tasks in one file, as JSON lines or TOML: the whole is read and checked before any is added, and every finding names its line.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::contract::task::TaskId;
use crate::core::graph::{self, Fault, Node};
use crate::document;
use crate::error::{Error, Place, Result};

/// One task, in the words of `agents task add`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[schemars(title = "a task to be added")]
pub(super) struct Entry {
    /// Who is to do it. Default: the only agent there is.
    pub agent: Option<String>,
    /// What is to be done.
    pub prompt: Option<String>,
    /// The file that says what is to be done, beside this one.
    pub file: Option<PathBuf>,
    /// What it is called; others of this file may name it in `after`.
    pub name: Option<String>,
    /// These have to be done before: ids, or names in this file.
    #[serde(default)]
    pub after: Vec<String>,
    /// Higher ones first.
    pub priority: Option<i64>,
    /// How many of this lane run at once is limited in agents.toml.
    pub lane: Option<String>,
    /// How long one attempt may take.
    pub timeout: Option<String>,
    /// How many further attempts it gets when it fails.
    pub retries: Option<u32>,
    /// It gets a git worktree of its own.
    #[serde(default)]
    pub worktree: bool,
    /// It may run once more where it is not known how far it came.
    #[serde(default)]
    pub idempotent: bool,
    /// A command that is run afterwards; not zero means failed.
    #[serde(default)]
    pub verify: Vec<String>,
}

/// A file of tasks.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Tasks {
    #[serde(default)]
    task: Vec<Entry>,
}

/// What a file holds, and where each of it stands.
#[derive(Debug)]
pub(super) struct Batch {
    pub entries: Vec<Entry>,
    file: PathBuf,
    text: String,
    /// Where each entry begins, and whether the text is JSON.
    starts: Vec<usize>,
    json: bool,
}

impl Batch {
    /// JSON lines where the first thing in it is `{`, else TOML with `[[task]]`.
    pub fn parse(file: &Path, text: &str) -> Result<Batch> {
        let json = text.trim_start().starts_with('{');
        let (entries, starts) = if json { lines(file, text)? } else { tables(file, text)? };
        if entries.is_empty() {
            return Err(Error::invalid(file, "there is no task in it")
                .hint(r#"a line for each, {"prompt": "what to do"}, or a [[task]] with prompt = "what to do""#));
        }
        Ok(Batch { entries, file: file.into(), text: text.into(), starts, json })
    }

    /// The place of a key's value in an entry; of the entry where the key is not there.
    pub fn place(&self, entry: usize, key: &str) -> Place {
        let start = self.starts.get(entry).copied().unwrap_or(0);
        let offset = if self.json { start + key_in_line(&self.text[start..], key) } else { self.key_in_table(entry, key).unwrap_or(start) };
        document::place(&self.file, &self.text, offset)
    }

    fn key_in_table(&self, entry: usize, key: &str) -> Option<usize> {
        let (root, _) = DeTable::parse_recoverable(&self.text);
        let DeValue::Array(items) = root.get_ref().get("task")?.get_ref() else { return None };
        let DeValue::Table(table) = items.get(entry)?.get_ref() else { return None };
        table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.span().start)
    }

    /// An error about a key of an entry.
    pub fn wrong(&self, entry: usize, key: &str, error: Error) -> Error {
        Error { kind: crate::error::Kind::Invalid, place: Some(self.place(entry, key)), ..error }
    }

    /// What these wait for is there, and nothing waits for itself. `exists`: a task that was added before.
    pub fn check_order(&self, exists: impl Fn(&str) -> bool) -> Vec<Error> {
        let faults = graph::check(&self.nodes(), exists);
        faults.into_iter().map(|fault| self.describe(fault)).collect()
    }

    /// The entries so that whatever is waited for stands before who waits.
    pub fn order(&self) -> Vec<usize> {
        graph::order(&self.nodes())
    }

    fn nodes(&self) -> Vec<Node<'_>> {
        self.entries.iter().map(|e| Node { name: e.name.as_deref(), after: &e.after }).collect()
    }

    fn describe(&self, fault: Fault) -> Error {
        let line = |entry: usize| self.place(entry, "").line;
        match fault {
            Fault::Twice { task, first } => {
                let name = self.entries[task].name.as_deref().unwrap_or_default();
                let message = format!("the name {name:?} is that of the task in line {} already", line(first));
                Error::invalid_at(self.place(task, "name"), message).hint("give each a name of its own")
            }
            Fault::Unknown { task, after } => {
                let word = &self.entries[task].after[after];
                let error = if word.parse::<TaskId>().is_ok() {
                    Error::failed(format!("after: there is no task {word}")).hint("agents task list --all")
                } else {
                    let names: Vec<&str> = self.entries.iter().filter_map(|e| e.name.as_deref()).collect();
                    let error = Error::failed(format!("after: no task of this file is named {word:?}"));
                    if names.is_empty() {
                        error.hint("name one, or write an id such as t12")
                    } else {
                        error.hint(document::suggest(word, names))
                    }
                };
                self.wrong(task, "after", error)
            }
            Fault::Circle(tasks) => {
                let name = |task: &usize| format!("{:?} (line {})", self.entries[*task].name.as_deref().unwrap_or_default(), line(*task));
                let whole: Vec<String> = tasks.iter().chain(tasks.first()).map(name).collect();
                let message = format!("these wait for each other: {}", whole.join(" → "));
                Error::invalid_at(self.place(tasks[0], "after"), message).hint("take one of them out of an `after`")
            }
        }
    }
}

/// Where a key's value begins in an object's text, as far as that can be told without reading it: the first quoted word of that name with a colon after it.
fn key_in_line(line: &str, key: &str) -> usize {
    let line = line.split('\n').next().unwrap_or_default();
    let quoted = format!("\"{key}\"");
    let value = |(at, _): (usize, &str)| {
        let rest = &line[at + quoted.len()..];
        let after = rest.trim_start().strip_prefix(':')?;
        Some(line.len() - after.trim_start().len())
    };
    line.match_indices(&quoted).find_map(value).unwrap_or(0)
}

fn lines(file: &Path, text: &str) -> Result<(Vec<Entry>, Vec<usize>)> {
    let schema = schemars::schema_for!(Entry);
    let known: Vec<&str> = schema.get("properties").and_then(|p| p.as_object()).into_iter().flatten().map(|(k, _)| k.as_str()).collect();
    let (mut entries, mut starts, mut findings) = (vec![], vec![], vec![]);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = start;
        start += line.len();
        if line.trim().is_empty() {
            continue;
        }
        match entry(line, &known) {
            Ok(entry) => {
                entries.push(entry);
                starts.push(at);
            }
            Err(wrong) => findings.extend(wrong.into_iter().map(|(column, mut error)| {
                error.place = Some(document::place(file, text, at + column));
                error
            })),
        }
    }
    match Error::all(findings) {
        Some(error) => Err(error),
        None => Ok((entries, starts)),
    }
}

/// One line; what is wrong with it, each with the byte in the line.
fn entry(line: &str, known: &[&str]) -> std::result::Result<Entry, Vec<(usize, Error)>> {
    let invalid = |message: String| Error::new(crate::error::Kind::Invalid, message);
    let strange = |e: serde_json::Error| {
        let text = e.to_string();
        let words = text.rsplit_once(" at line ").map_or(text.as_str(), |(words, _)| words);
        vec![(
            e.column().saturating_sub(1).min(line.len()),
            invalid(words.to_owned()).hint(r#"write {"prompt": "what to do"}, all in one line"#),
        )]
    };
    let value: serde_json::Value = serde_json::from_str(line).map_err(strange)?;
    let unknown: Vec<_> = value.as_object().into_iter().flat_map(|o| o.keys()).filter(|k| !known.contains(&k.as_str())).collect();
    if !unknown.is_empty() {
        let told = |key: &String| {
            (key_start(line, key), invalid(format!("unknown key `{key}`")).hint(document::suggest(key, known.iter().copied())))
        };
        return Err(unknown.into_iter().map(told).collect());
    }
    serde_json::from_str(line).map_err(strange)
}

fn key_start(line: &str, key: &str) -> usize {
    line.find(&format!("\"{key}\"")).unwrap_or(0)
}

fn tables(file: &Path, text: &str) -> Result<(Vec<Entry>, Vec<usize>)> {
    let tasks: Tasks = document::read(file, text)?;
    let (root, _) = DeTable::parse_recoverable(text);
    let starts = match root.get_ref().get("task").map(|t| t.get_ref()) {
        Some(DeValue::Array(items)) => items.iter().map(|item| item.span().start).collect(),
        _ => vec![],
    };
    Ok((tasks.task, starts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Batch> {
        Batch::parse(Path::new("work"), text)
    }

    fn order(text: &str) -> String {
        let batch = parse(text).unwrap();
        Error::all(batch.check_order(|word| word == "t1")).map_or_else(|| format!("{:?}", batch.order()), |e| e.to_string())
    }

    #[test]
    fn both_forms_say_the_same() {
        let json = parse(
            r#"{"prompt": "build", "name": "build", "priority": -3, "verify": ["make", "test"]}

{"agent": "lead", "file": "two.md", "after": ["build", "t1"], "timeout": "2h", "retries": 1, "worktree": true, "idempotent": true, "lane": "heavy"}"#,
        )
        .unwrap();
        let toml = parse(
            "[[task]]\nprompt = 'build'\nname = 'build'\npriority = -3\nverify = ['make', 'test']\n\n[[task]]\nagent = 'lead'\nfile = 'two.md'\nafter = ['build', 't1']\ntimeout = '2h'\nretries = 1\nworktree = true\nidempotent = true\nlane = 'heavy'\n",
        )
        .unwrap();
        assert_eq!(json.entries, toml.entries);
        assert_eq!((json.place(1, "timeout").line, toml.place(1, "timeout").line), (3, 11));
        assert_eq!((json.place(0, "name").column, toml.place(0, "name").column), (29, 8));
    }

    #[test]
    fn every_finding_has_its_line() {
        insta::assert_snapshot!(parse("{\"promt\": \"x\"}\n{\"prompt\": 5}\nnothing\n{\"prompt\": \"fine\"}\n").unwrap_err(), @r#"
        work:1:2: unknown key `promt`
        hint: did you mean `prompt`?
        error: work:2:12: invalid type: integer `5`, expected a string
        hint: write {"prompt": "what to do"}, all in one line
        error: work:3:2: expected ident
        hint: write {"prompt": "what to do"}, all in one line
        "#);
        insta::assert_snapshot!(parse("[[task]]\npromt = 'x'\n[[task]]\nretries = 'many'\n").unwrap_err(), @r#"
        work:2:1: unknown key `promt` in [task]
        hint: did you mean `prompt`?
        error: work:4:11: invalid type: string "many", expected u32
        "#);
        insta::assert_snapshot!(parse("\n# nothing\n").unwrap_err(), @r#"
        work: there is no task in it
        hint: a line for each, {"prompt": "what to do"}, or a [[task]] with prompt = "what to do"
        "#);
    }

    #[test]
    fn what_waits_for_nothing_or_for_itself_is_refused() {
        insta::assert_snapshot!(order("{\"prompt\": \"a\", \"name\": \"a\", \"after\": [\"t1\"]}\n{\"prompt\": \"b\", \"after\": [\"a\"]}\n"), @"[0, 1]");
        insta::assert_snapshot!(order("[[task]]\nprompt = 'b'\nafter = ['a']\n[[task]]\nprompt = 'a'\nname = 'a'\n"), @"[1, 0]");
        insta::assert_snapshot!(
            order("{\"prompt\": \"a\", \"name\": \"build\", \"after\": [\"t9\"]}\n{\"prompt\": \"b\", \"name\": \"build\", \"after\": [\"biuld\"]}\n"),
            @r#"
        work:2:25: the name "build" is that of the task in line 1 already
        hint: give each a name of its own
        error: work:1:43: after: there is no task t9
        hint: agents task list --all
        error: work:2:43: after: no task of this file is named "biuld"
        hint: did you mean `build`?
        "#);
        insta::assert_snapshot!(order("[[task]]\nprompt = 'a'\nafter = ['x']\n"), @r#"
        work:3:9: after: no task of this file is named "x"
        hint: name one, or write an id such as t12
        "#);
        insta::assert_snapshot!(
            order("[[task]]\nprompt = 'a'\nname = 'a'\nafter = ['b']\n[[task]]\nprompt = 'b'\nname = 'b'\nafter = ['c']\n[[task]]\nprompt = 'c'\nname = 'c'\nafter = ['a']\n"),
            @r#"
        work:4:9: these wait for each other: "a" (line 1) → "b" (line 5) → "c" (line 9) → "a" (line 1)
        hint: take one of them out of an `after`
        "#);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ \\[\\]{}\"'=:,\\\\a-z\n\u{e9}#0-9]{0,120}") {
            if let Ok(batch) = parse(&text) {
                for entry in 0..batch.entries.len() + 1 {
                    batch.place(entry, "prompt");
                }
                batch.check_order(|_| false);
            }
        }

        #[test]
        fn no_line_is_lost(prompts in prop::collection::vec(any::<String>(), 1..8)) {
            let text: String = prompts.iter().map(|p| format!("{}\n", serde_json::json!({ "prompt": p }))).collect();
            let got: Vec<String> = parse(&text).unwrap().entries.into_iter().filter_map(|e| e.prompt).collect();
            prop_assert_eq!(got, prompts);
        }
    }
}
