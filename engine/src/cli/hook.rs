//! `agents hook`

use std::path::Path;

use super::ask;
use crate::contract::layout::{Layout, is_name};
use crate::contract::status::Activity;
use crate::error::{Error, Result};
use crate::os::env;

/// Say what this session's agent does: for hooks and notify programs of the program that plays it
///
/// Run inside a session, where `$AGENTS_PROGRAM` is this program. What is said is shown and decides whether an agent counts as idle; it is no command.
/// Standard input and further arguments are not read, so that any program's way of calling a hook will do.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \"$AGENTS_PROGRAM\" hook waiting 'a decision about the schema'")]
pub(super) struct Args {
    /// What it does now
    #[arg(value_name = "ACTIVITY")]
    activity: Word,
    /// What it waits for
    #[arg(value_name = "WHAT", allow_hyphen_values = true, trailing_var_arg = true)]
    what: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Word {
    Working,
    Waiting,
    Idle,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let (layout, session) = own_session().ok_or_else(|| {
        Error::usage("this is no session: a hook is called by the program that plays an agent")
            .hint("agents status   shows what is known of each")
    })?;
    let activity = match args.activity {
        Word::Working => Activity::Working,
        Word::Waiting => Activity::Waiting,
        Word::Idle => Activity::Idle,
    };
    ask::hook(&layout, &session, activity, args.what.first().cloned().unwrap_or_default())
}

/// Where this process belongs, by its environment alone: a hook may stand in any folder.
fn own_session() -> Option<(Layout, String)> {
    let mark = env::text(env::AGENTS_MARK)?;
    let (hash, session) = mark.split_once('/')?;
    let data = env::text(env::AGENTS_DATA_DIR)?;
    // Where the daemons keep their sockets, whatever the program has made of its environment.
    let program = env::text(env::AGENTS_PROGRAM)?;
    let runtime = Path::new(&program).parent()?.parent().filter(|folder| folder.ends_with(hash))?;
    is_name(session).then(|| (Layout::from_folders(Path::new(&data), runtime), session.to_owned()))
}
