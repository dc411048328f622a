//! `fleet undo`: reverses the last operation, where nothing is lost by it.

use agents::cli::{Error, Result, out};
use agents::os;

use super::Context;
use crate::ops::Home;
use crate::ops::undo::{self, Way};

/// Reverse the last change, where that loses nothing
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// Reverses it, or refuses with the reason.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let mut home = Home::take(&ctx.registry()?)?;
    let (records, _) = home.journal.records()?;
    let Some(record) = undo::candidate(&records) else {
        return Err(Error::failed("there is nothing to undo").hint("fleet history   lists what was done"));
    };
    let way = undo::plan(&home, record).map_err(|e| e.of(format!("`{}` cannot be undone", record.title())))?;
    let what = match &way {
        Way::Text { .. } => format!("{} as it was before", os::env::shorten(&home.registry.path)),
        Way::Aside { name, aside, .. } => format!("{name} unregistered, its folder moved to {}", os::env::shorten(aside)),
        Way::Pins(plan) => {
            let names: Vec<&str> = plan.bumps.iter().map(|b| b.name.as_str()).collect();
            format!("a new commit that pins the engine of before in {}", names.join(", "))
        }
    };
    if args.dry_run {
        out::fact(format!("would undo `{}`: {what}", record.title()));
        return Ok(());
    }
    if let Some(error) = Error::all(undo::perform(&mut home, record, way)?) {
        return Err(error);
    }
    out::say(format!("undid `{}`: {what}", record.title()));
    Ok(())
}
