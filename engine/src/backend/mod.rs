//! The programs that play agents, as data: each file here has the shape of a `[backend.NAME]` table.

use std::collections::BTreeMap;

use crate::contract::records::{Endings, LiveRecord};
use crate::model::file::{BackendTable, RecordTable};

/// The built-in ones.
pub const NAMES: &[&str] = &["claude", "codex", "opencode", "gemini", "aider", "shell"];

/// Escape: what most of these programs are interrupted with.
const INTERRUPT: &str = "\u{1b}";

/// A program that plays agents.
#[derive(Debug, Clone)]
pub struct Backend {
    pub name: String,
    pub start: Vec<String>,
    pub resume: Option<Vec<String>>,
    /// The first prompt goes in as an argument.
    pub prompt_in_argv: bool,
    /// It is pasted once the program takes input.
    pub prompt_as_paste: bool,
    /// Patterns on the screen.
    pub ready: Option<String>,
    pub waiting: Option<String>,
    pub limited: Option<String>,
    pub working: Option<String>,
    /// Where the program writes down what it does.
    pub record: Option<LiveRecord>,
    /// The key that ends what it does.
    pub interrupt: String,
    /// The conversation's id is made here.
    pub mints_id: bool,
    /// Arguments after the program's name, and environment, by which it trusts its folder unasked.
    pub trust: (Vec<String>, BTreeMap<String, String>),
    /// A pattern for the path of the file that tells the conversation's id.
    pub id_file: Option<String>,
    pub env: BTreeMap<String, String>,
    /// What its last lines say about its end.
    pub endings: Endings,
}

impl Backend {
    /// From a table that has been checked.
    pub fn from_table(name: &str, table: &BackendTable) -> Backend {
        Backend {
            name: name.to_owned(),
            start: table.start.clone(),
            resume: table.resume.clone(),
            prompt_in_argv: table.deliver.as_deref().is_none_or(|d| d == "argv"),
            prompt_as_paste: table.deliver.as_deref() == Some("paste"),
            ready: table.ready.clone(),
            waiting: table.waiting.clone(),
            limited: table.limited.clone(),
            working: table.working.clone(),
            record: table.record.as_ref().map(live_record),
            interrupt: table.interrupt.clone().unwrap_or_else(|| INTERRUPT.to_owned()),
            mints_id: table.id.as_deref() == Some("mint"),
            trust: (table.trust.clone(), table.trust_env.clone()),
            id_file: table.id_file.clone(),
            env: table.env.clone(),
            endings: Endings { limited: table.limited.clone(), auth: table.auth.clone(), fatal: table.fatal.clone() },
        }
    }
}

fn live_record(table: &RecordTable) -> LiveRecord {
    LiveRecord {
        file: table.file.clone(),
        key: table.key.clone(),
        what: table.what.clone(),
        start: table.start.clone(),
        working: table.working.clone(),
        waiting: table.waiting.clone(),
        idle: table.idle.clone(),
    }
}

/// The built-in backend of that name.
pub fn built_in(name: &str) -> Option<Backend> {
    let text = match name {
        "claude" => include_str!("claude.toml"),
        "codex" => include_str!("codex.toml"),
        "opencode" => include_str!("opencode.toml"),
        "gemini" => include_str!("gemini.toml"),
        "aider" => include_str!("aider.toml"),
        "shell" => include_str!("shell.toml"),
        _ => return None,
    };
    // A test reads every one of them.
    let table: BackendTable = toml::from_str(text).ok()?;
    Some(Backend::from_table(name, &table))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_is_a_table_of_known_keys() {
        for name in NAMES {
            let file = format!("src/backend/{name}.toml");
            let text = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(&file)).unwrap();
            let table: BackendTable = crate::document::read(std::path::Path::new(&file), &text).unwrap();
            assert!(crate::model::template::unknown_placeholder(&table.start).is_none(), "{name}");
            assert!(built_in(name).is_some(), "{name}");
            for pattern in [&table.ready, &table.waiting, &table.working, &table.limited, &table.id_file].into_iter().flatten() {
                assert!(regex_lite::Regex::new(pattern).is_ok(), "{name}: {pattern}");
            }
        }
    }

    #[test]
    fn no_prompt_is_taken_for_a_flag() {
        let prompt = "--yolo\n\"it's\" $HOME; {model}";
        let values = BTreeMap::from([("prompt", prompt.to_owned()), ("resume_id", "0-1".to_owned())]);
        for name in NAMES.iter().filter(|n| **n != "shell") {
            let text = std::fs::read_to_string(format!("{}/src/backend/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap();
            let table: BackendTable = toml::from_str(&text).unwrap();
            let task = table.task.unwrap();
            for template in [&table.start, &task] {
                let argv = crate::model::template::argv(template, &values, &[]);
                let Some(at) = argv.iter().position(|a| a.contains(prompt)) else {
                    assert_eq!((*name, template), ("aider", &table.start), "only it reads a file");
                    continue;
                };
                let joined = argv[at].strip_suffix(prompt).is_some_and(|flag| flag.starts_with("--") && flag.ends_with('='));
                let after_all_flags = argv[at] == prompt && argv[at - 1] == "--" && at + 1 == argv.len();
                assert!(joined || after_all_flags, "{name}: {argv:?}");
                assert!(!argv.iter().any(|a| a == "--model"), "{name}: a flag without its value: {argv:?}");
            }
        }
    }

    #[test]
    fn the_patterns_tell_the_screens_that_were_seen() {
        let read = |name: &str| -> BackendTable {
            toml::from_str(&std::fs::read_to_string(format!("{}/src/backend/{name}.toml", env!("CARGO_MANIFEST_DIR"))).unwrap()).unwrap()
        };
        let is = |pattern: &Option<String>, screen: &str| regex_lite::Regex::new(pattern.as_ref().unwrap()).unwrap().is_match(screen);
        let (claude, codex) = (read("claude"), read("codex"));
        let trust = " Quick safety check: Is this a project you created or one you trust?\n ❯ 1. Yes, I trust this folder\n   2. No, exit\n Enter to confirm · Esc to cancel\n";
        assert!(is(&claude.waiting, trust) && !is(&claude.ready, trust));
        assert!(is(&claude.ready, "● Hello.\n────\n❯\u{a0}\n────\n  ? for shortcuts"));
        assert!(!is(&claude.ready, "────\n❯ half a line\n────"), "somebody is typing");
        assert!(is(&codex.ready, "• Hello.\n› Ask Codex to do anything\n  model · ~/w"));
        let file = "/home/me/.codex/sessions/2026/11/21/rollout-2026-11-21T09-33-21-01a1fd74-069a-7963-9c8d-117b31bbd381.jsonl";
        let found = regex_lite::Regex::new(codex.id_file.as_ref().unwrap()).unwrap();
        assert_eq!(&found.captures(file).unwrap()["id"], "01a1fd74-069a-7963-9c8d-117b31bbd381");
    }
}
