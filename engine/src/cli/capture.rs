//! `agents capture`

use super::place::Place;
use super::{Context, ask, out};
use crate::error::Result;

/// Print what an agent's terminal shows
#[derive(clap::Args)]
pub(super) struct Args {
    /// An agent's name, or a session's id such as int-1
    #[arg(value_name = "AGENT|SESSION")]
    name: String,
    /// So many lines of what has scrolled away, too
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    lines: usize,
    /// Keep colours, whoever reads
    #[arg(long)]
    styled: bool,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let meta = place.session(&args.name)?;
    let bytes = ask::capture(&place.layout, &meta.session, args.lines, args.styled)?;
    if args.styled {
        out::raw(&bytes);
    } else {
        out::lines(&bytes);
    }
    Ok(())
}
