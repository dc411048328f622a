//! `engine.toml` at a harness's root: what the engine is and how it is driven.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The file's name.
pub const MANIFEST_FILE: &str = "engine.toml";

/// A harness's manifest, protocol 1. Unknown keys are taken: a newer harness may say more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    pub engine: Engine,
    #[serde(default)]
    pub commands: Commands,
}

/// Who the engine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    pub name: String,
    pub version: String,
    /// Which version of these shapes it speaks.
    pub protocol: u32,
}

/// Argv each, run in the project's root. Absent ones the harness does not have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Commands {
    /// Starts the project; again when it runs is fine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<Vec<String>>,
    /// Makes what runs go on as this engine, without ending anything. Absent: it is stopped and started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Vec<String>>,
    /// Stops it; nothing survives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub down: Option<Vec<String>>,
    /// Prints [`super::status::EngineStatus`] as JSON, or any text with exit 0 for up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<String>>,
    /// Exit 0: the project's files are valid for this engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Vec<String>>,
}
