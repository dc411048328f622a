//! `fleet schema`: JSON Schemas, for editors and for programs that read the output.

use agents::cli::Result;
use agents::cli::out;
use schemars::{Schema, schema_for};

use crate::cli::Context;
use crate::{observe, registry};

/// Print a JSON Schema
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of what
    #[arg(value_enum, default_value_t = What::Registry)]
    what: What,
}

/// What has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The registry, fleet.toml
    Registry,
    /// What `fleet list --json` prints
    List,
    /// What `fleet status --json` prints
    Status,
    /// What `fleet validate --json` prints
    Validate,
    /// What an engine answers about its project: agents status --json
    Engine,
    /// A harness's manifest, engine.toml
    Manifest,
}

pub fn run(args: &Args, _: &Context) -> Result<()> {
    out::json(&schema(args.what));
    Ok(())
}

fn schema(what: What) -> Schema {
    match what {
        What::Registry => registry::schema(),
        What::List => schema_for!(registry::entry::List),
        What::Status => schema_for!(observe::report::Report),
        What::Validate => schema_for!(registry::validate::Report),
        What::Engine => schema_for!(agents::contract::status::EngineStatus),
        What::Manifest => schema_for!(agents::contract::manifest::Manifest),
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_schema_names_keys_and_what_they_mean() {
        for what in What::value_variants() {
            let text = serde_json::to_string(&schema(*what)).unwrap();
            assert!(text.contains("\"properties\"") && text.contains("\"description\""), "{what:?}: {text}");
        }
        let registry = serde_json::to_string(&schema(What::Registry)).unwrap();
        for key in ["project", "harness", "location", "commit", "secrets", "signed", "root"] {
            assert!(registry.contains(&format!("\"{key}\":")), "{key}");
        }
    }
}
