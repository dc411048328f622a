//! A project's entry as it is shown: the shape of `fleet list --json` and `fleet get --json`, every default filled in.

use schemars::JsonSchema;
use serde::Serialize;

use super::file::SecretsValue;
use super::{Location, Project, Registry, Secrets};

/// What `fleet list --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct List {
    /// The registry's file.
    pub registry: String,
    /// In the registry's order.
    pub projects: Vec<Entry>,
}

/// One project as the registry has it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Entry {
    pub name: String,
    /// The absolute path of a folder here, or `ssh://host/folder`.
    pub location: String,
    pub harness: String,
    /// The tag or branch asked for.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The commit that it meant when it was pinned.
    pub commit: Option<String>,
    pub enabled: bool,
    /// Where its secrets are: a file, or a command. Never what they are.
    pub secrets: Option<SecretsValue>,
    /// The engine's own file in the project.
    pub config: String,
    pub repo: Option<String>,
    pub tags: Vec<String>,
}

/// A list of projects.
pub fn list(registry: &Registry, projects: &[&Project]) -> List {
    List { registry: registry.path.display().to_string(), projects: projects.iter().map(|p| of(p)).collect() }
}

/// A project's entry.
pub fn of(project: &Project) -> Entry {
    Entry {
        name: project.name.clone(),
        location: match &project.location {
            Location::Here(folder) => folder.display().to_string(),
            there => there.to_string(),
        },
        harness: project.harness.clone(),
        reference: project.reference.clone(),
        commit: project.commit.clone(),
        enabled: project.enabled,
        secrets: project.secrets.as_ref().map(|s| match s {
            Secrets::File(path) => SecretsValue::File(path.display().to_string()),
            Secrets::Command(argv) => SecretsValue::Command(argv.clone()),
        }),
        config: project.config.clone(),
        repo: project.repo.clone(),
        tags: project.tags.clone(),
    }
}

impl Entry {
    /// Keys in the order in which they are written, each with its values as words; a key that the registry says nothing about has none.
    pub fn values(&self) -> Vec<(&'static str, Vec<String>)> {
        let some = |text: &Option<String>| text.iter().cloned().collect();
        let secrets = match &self.secrets {
            None => vec![],
            Some(SecretsValue::File(path)) => vec![path.clone()],
            Some(SecretsValue::Command(argv)) => argv.clone(),
        };
        vec![
            ("name", vec![self.name.clone()]),
            ("location", vec![self.location.clone()]),
            ("harness", vec![self.harness.clone()]),
            ("ref", some(&self.reference)),
            ("commit", some(&self.commit)),
            ("enabled", vec![self.enabled.to_string()]),
            ("secrets", secrets),
            ("config", vec![self.config.clone()]),
            ("repo", some(&self.repo)),
            ("tags", self.tags.clone()),
        ]
    }
}
