//! The shape of `fleet.toml`: keys and their types, nothing else. What they mean is in [`super`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

/// The registry: which projects exist, where, on which harness, at which ref.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(title = "fleet.toml", deny_unknown_fields)]
pub(super) struct File {
    /// The registry itself, and defaults.
    #[serde(default)]
    pub fleet: FleetTable,
    /// Kinds of engine, by name.
    #[serde(default)]
    pub harness: BTreeMap<String, HarnessTable>,
    /// The projects, in the order in which they are shown.
    #[serde(default)]
    #[schemars(with = "Vec<ProjectTable>")]
    pub project: Vec<Spanned<ProjectTable>>,
}

/// The registry itself, and defaults.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct FleetTable {
    /// The version of this file's format. Default: 1.
    #[schemars(range(min = 1))]
    pub version: Option<u32>,
    /// The folder in which `fleet create NAME` makes projects. Default: `~/projects`.
    pub root: Option<String>,
    /// The harness of a project that names none. Default: `agents`.
    pub harness: Option<String>,
}

/// A kind of engine: a git repository with an `engine.toml`, or one whose commands stand here.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct HarnessTable {
    /// Where its repository is: https, ssh, or a path. Not needed for `agents`, which `fleet` carries.
    pub url: Option<String>,
    /// The tag or branch of a project that names none.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// Argv that starts a project, run in its root; instead of the manifest's.
    pub up: Option<Vec<String>>,
    /// Argv that stops a project; instead of the manifest's.
    pub down: Option<Vec<String>>,
    /// Argv that tells whether a project is up: exit 0, or status as JSON; instead of the manifest's.
    pub status: Option<Vec<String>>,
    /// Argv that checks a project's files for this engine; instead of the manifest's.
    pub check: Option<Vec<String>>,
    /// Only tags with a good signature are pinned. Default: false.
    #[serde(default)]
    pub signed: bool,
}

/// One project.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ProjectTable {
    /// Unique; lower case letters, digits, `.`, `_` and `-`, 64 at most, beginning with a letter or digit.
    #[schemars(regex(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$"))]
    pub name: String,
    /// A folder here (`~/projects/web`, or relative to this file's folder), or `ssh://host/folder`.
    pub location: String,
    /// A harness of this file, or `agents`. Default: that of `[fleet]`.
    pub harness: Option<String>,
    /// The tag or branch its engine is to be at. Default: the harness's.
    #[serde(rename = "ref")]
    pub reference: Option<String>,
    /// The commit that `ref` meant when it was pinned.
    #[schemars(regex(pattern = "^([0-9a-f]{40}|[0-9a-f]{64})$"))]
    pub commit: Option<String>,
    /// Whether `--all` takes it. Default: true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Where its secrets are: a file, or the argv of a command that prints them. Never a value.
    pub secrets: Option<SecretsValue>,
    /// The engine's own file in the project. Default: `agents.toml`.
    pub config: Option<String>,
    /// Where another machine can clone it from.
    pub repo: Option<String>,
    /// Words to select it by (`-t TAG`).
    #[serde(default)]
    pub tags: Vec<String>,
}

fn yes() -> bool {
    true
}

/// A file, or a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected the path of a file, or a command as a list of words")]
pub enum SecretsValue {
    /// The path of a file that only its owner may read.
    File(String),
    /// Argv of a command that prints them.
    Command(Vec<String>),
}
