//! `fleet history`: what was done to this fleet.

use agents::cli::out::{Table, Text, Tone};
use agents::cli::{Result, out};

use super::Context;
use crate::ops::journal::{End, Journal, Record};
use crate::registry::records;

/// List what was changed, newest first
#[derive(Debug, clap::Args)]
pub struct Args {
    /// At most this many
    #[arg(short = 'n', long, default_value_t = 30)]
    pub number: usize,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Lists operations. Waits for no lock.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let (records, odd) = Journal::of(&records::find(&ctx.registry()?.home)?.folder).records()?;
    let shown = records.iter().rev().take(args.number);
    if args.json {
        out::json(&shown.map(json).collect::<Vec<_>>());
    } else {
        let mut table = Table::new(&["#", "WHEN", "WHAT", "END"]);
        for record in shown {
            let at = record.at.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
            table.row(vec![record.number.to_string().into(), Text::of(Tone::Dim, at), record.title().into(), end(record)]);
        }
        out::table(&table);
    }
    for error in odd {
        out::warn(&error.to_string());
    }
    Ok(())
}

fn end(record: &Record) -> Text {
    match &record.end {
        None => Text::of(Tone::Warn, "interrupted: the next change finishes or undoes it"),
        Some(End::Done) => Text::of(Tone::Good, "done"),
        Some(End::Undone { why }) => Text::of(Tone::Bad, format!("undone: {why}")),
        Some(End::Partly { failed }) => Text::of(Tone::Bad, format!("not for {}", failed.join(", "))),
    }
}

fn json(record: &Record) -> serde_json::Value {
    serde_json::json!({
        "number": record.number,
        "at": record.at.to_string(),
        "title": record.title(),
        "undoes": record.undoes,
        "steps": record.steps,
        "end": record.end,
    })
}
