//! The command line of `fleet`: parse, call, show. One file a verb.

pub mod add;
pub mod create;
pub mod engine;
pub mod history;
pub mod remove;
pub mod undo;
pub mod update;

use std::path::PathBuf;
use std::process::ExitCode;

use agents::cli::{Result, out};
use clap::Parser;

use crate::registry::Registry;

/// What every verb may ask for.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// `--registry FILE`.
    pub registry: Option<PathBuf>,
}

impl Context {
    /// The registry: as named, or found.
    pub fn registry(&self) -> Result<Registry> {
        Registry::find(self.registry.as_deref())
    }
}

/// One registry for all your coding-agent projects.
#[derive(Debug, Parser)]
#[command(name = "fleet", version)]
struct Root {
    /// The registry to use instead of the one that is found
    #[arg(long, global = true, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// Only facts and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Create(create::Args),
    Add(add::Args),
    Remove(remove::Args),
    Update(update::Args),
    Engine(engine::Args),
    History(history::Args),
    Undo(undo::Args),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let root = Root::parse();
    out::set_quiet(root.quiet);
    let ctx = Context { registry: root.registry };
    let result = match &root.verb {
        Verb::Create(args) => create::run(args, &ctx),
        Verb::Add(args) => add::run(args, &ctx),
        Verb::Remove(args) => remove::run(args, &ctx),
        Verb::Update(args) => update::run(args, &ctx),
        Verb::Engine(args) => engine::run(args, &ctx),
        Verb::History(args) => history::run(args, &ctx),
        Verb::Undo(args) => undo::run(args, &ctx),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::error(&error);
            error.kind.exit_code().into()
        }
    }
}
