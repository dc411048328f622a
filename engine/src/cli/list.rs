//! `agents list`

use super::out::{self, Table, Text, Tone};
use super::place::Place;
use super::sessions::Row;
use super::{Context, look, status};
use crate::contract::status::State;
use crate::error::Result;
use crate::os::env;
use crate::store::session;

/// Show all sessions: whose they are, on which branch, since when
#[derive(clap::Args)]
pub(super) struct Args {
    /// Those that were ended, the last first
    #[arg(long)]
    archived: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let rows = if args.archived { archived(&place)? } else { live(&place)? };
    if args.json {
        out::json(&rows);
        return Ok(());
    }
    if rows.is_empty() {
        out::say(if args.archived { "no session is archived" } else { "there is no session" });
        return Ok(());
    }
    let mut table = Table::new(&["SESSION", "NAME", "AGENT", "STATE", "ACTIVITY", "BRANCH", "WORKTREE", "FROM", "REASON"]);
    for row in rows {
        let text = |value: Option<String>| value.map_or_else(|| Text::of(Tone::Dim, "-"), Text::from);
        table.row(vec![
            Text::of(Tone::Strong, row.session),
            text(row.name),
            row.agent.into(),
            status::state_text(row.state),
            status::activity_text(row.activity),
            text(row.branch),
            text(row.worktree.map(|w| env::shorten(w.as_ref()))),
            text(row.spawned_by),
            row.reason.into(),
        ]);
    }
    out::table(&table);
    Ok(())
}

fn live(place: &Place) -> Result<Vec<Row>> {
    let state = look::state(place)?;
    let status = |id: &str| state.agents.iter().chain(&state.sessions).find(|s| s.session == id);
    let rows = place.sessions()?.into_iter().map(|meta| {
        let mut row = Row::of(&place.layout, &meta, status(&meta.session), State::Down);
        if let Some(what) = meta.underway() {
            row.reason = format!("{what} is under way, or was interrupted");
        }
        row
    });
    Ok(rows.collect())
}

fn archived(place: &Place) -> Result<Vec<Row>> {
    let (metas, errors) = session::archive_list(&place.layout)?;
    errors.iter().for_each(|error| out::warn(&error.to_string()));
    Ok(metas.iter().map(|meta| Row::of(&place.layout, meta, None, State::Archived)).collect())
}
