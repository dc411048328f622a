//! `fleet validate`: everything wrong with the registry and with what it speaks of, at once.

use agents::cli::out;
use agents::cli::{Error, Kind, Result};

use crate::cli::Context;
use crate::registry::validate::{Report, validate};
use crate::registry::{Finding, Registry, Severity};

/// Check the registry and what it speaks of; exit status 3 where something is wrong
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let path = Registry::locate(ctx.registry.as_deref())?;
    let findings = validate(&path)?;
    let (errors, warnings): (Vec<Finding>, Vec<Finding>) = findings.iter().cloned().partition(|f| f.severity == Severity::Error);
    let count = format!("{}, {}", counted(errors.len(), "error"), counted(warnings.len(), "warning"));
    if args.json {
        out::json(&Report::of(&path, &findings));
        return if errors.is_empty() { Ok(()) } else { Err(Error::new(Kind::Invalid, format!("{}: {count}", path.display()))) };
    }
    for warning in warnings {
        out::warn(&Error::from(warning).to_string());
    }
    match Error::all(errors.into_iter().map(Error::from).collect()) {
        Some(error) => Err(error),
        None => {
            out::fact(format!("{}: {count}", path.display()));
            Ok(())
        }
    }
}

fn counted(n: usize, what: &str) -> String {
    match n {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}
