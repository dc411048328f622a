//! The programs that play agents, as data: each file here has the shape of a `[backend.NAME]` table.

use std::collections::BTreeMap;

use crate::contract::records::Endings;
use crate::model::file::BackendTable;

/// The built-in ones.
pub const NAMES: &[&str] = &["claude", "codex", "opencode", "gemini", "aider", "shell"];

/// A program that plays agents.
#[derive(Debug, Clone)]
pub struct Backend {
    pub name: String,
    pub start: Vec<String>,
    pub resume: Option<Vec<String>>,
    /// The first prompt goes in as an argument.
    pub prompt_in_argv: bool,
    /// The conversation's id is made here.
    pub mints_id: bool,
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
            mints_id: table.id.as_deref() == Some("mint"),
            env: table.env.clone(),
            endings: Endings { limited: table.limited.clone(), auth: table.auth.clone(), fatal: table.fatal.clone() },
        }
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
        }
    }
}
