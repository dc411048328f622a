//! `agents schema`

use super::out;
use crate::contract::{manifest::Manifest, records::Event, status::EngineStatus};
use crate::error::Result;

/// Print the JSON Schema of a file or an answer, so that editors complete and programs can check
#[derive(clap::Args)]
pub(super) struct Args {
    /// Of what
    #[arg(default_value = "config")]
    what: What,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    /// agents.toml
    Config,
    /// What `agents status --json` prints
    Status,
    /// One line of events.jsonl
    Event,
    /// engine.toml
    Manifest,
}

pub(super) fn run(args: &Args) -> Result<()> {
    match args.what {
        What::Config => out::json(&crate::model::config::schema()),
        What::Status => out::json(&schemars::schema_for!(EngineStatus)),
        What::Event => out::json(&schemars::schema_for!(Event)),
        What::Manifest => out::json(&schemars::schema_for!(Manifest)),
    }
    Ok(())
}
