//! `agents send`

use std::io::Read;
use std::time::Duration;

use super::place::Place;
use super::{Context, ask, out};
use crate::error::{Error, Result};

/// Give an agent a text, as if pasted and entered; returns when it was taken
#[derive(clap::Args)]
pub(super) struct Args {
    /// An agent's name, or a session's id such as int-1
    #[arg(value_name = "AGENT|SESSION")]
    name: String,
    /// The text; `-` reads standard input
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// Leave it in the input line, without Enter
    #[arg(long)]
    no_enter: bool,
    /// Seconds to wait for the agent to take it
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    let meta = place.session(&args.name)?;
    let mut text = args.text.clone();
    if text == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).map_err(|e| Error::failed(format!("standard input: {e}")))?;
        // The newline that ends a file is no part of what is said.
        text.truncate(text.trim_end_matches('\n').len());
    }
    if text.is_empty() {
        return Err(Error::usage("there is no text to send").hint(format!("agents send {} 'what to say'", args.name)));
    }
    ask::send(&place.layout, &meta.session, text, !args.no_enter, Duration::from_secs(args.timeout))?;
    out::say(format!("{} has taken it", meta.session));
    Ok(())
}
