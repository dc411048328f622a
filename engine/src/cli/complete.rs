//! What the shell's tab key is answered: commands and options by clap, names by what is there at that moment.
//!
//! The script that a shell loads only asks the program, with `COMPLETE` in its environment; so it goes stale with nothing.

use std::ffi::OsString;

use clap::Command;
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::place::Place as Here;
use super::{BACKENDS, Context};
use crate::contract::task::{End, Place, TaskId};
use crate::error::{Error, Result};
use crate::os::env;
use crate::store::{session, tasks};

/// Which words an argument may be: asked with its command's name, its value's name as on the help page, and what is written so far.
pub type Words = fn(&str, &str, &str) -> Vec<String>;

/// The command, all of whose arguments are completed from these words where there are any.
pub fn with(command: Command, words: Words) -> Command {
    let verb = command.get_name().to_owned();
    let named = |arg: clap::Arg| {
        let value = arg
            .get_value_names()
            .and_then(|names| names.first())
            .map_or_else(|| arg.get_id().to_string().to_uppercase(), ToString::to_string);
        // Where clap knows the values itself, or nothing is ever offered, the shell goes on as it does.
        if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() || !KINDS.contains(&kind(&value)) {
            return arg;
        }
        let verb = verb.clone();
        arg.add(ArgValueCompleter::new(move |written: &std::ffi::OsStr| {
            let written = written.to_string_lossy();
            let found = words(&verb, kind(&value), &written).into_iter().filter(|w| w.starts_with(&*written));
            found.map(CompletionCandidate::new).collect::<Vec<_>>()
        }))
    };
    command.mut_args(named).mut_subcommands(move |sub| with(sub, words))
}

/// Values whose words are looked up.
const KINDS: [&str; 9] = ["AGENT", "AGENT|SESSION", "SESSION", "ID", "BACKEND", "PROJECT", "TARGET", "TAG", "HARNESS"];

/// `PROJECT… [REF]` begins as `PROJECT` does.
fn kind(value: &str) -> &str {
    let first = value.split(['…', ' ']).next().unwrap_or_default();
    match first {
        "[AGENT]" => "AGENT",
        "NAME" => "PROJECT",
        _ => first,
    }
}

/// Answers the shell, if it is the one that asks; false: nobody does. The command is built only then.
pub fn answers(command: impl Fn() -> Command, args: &[OsString]) -> bool {
    let folder = env::current_dir().ok();
    CompleteEnv::with_factory(command).try_complete(args.to_vec(), folder.as_deref()).unwrap_or(true)
}

/// What a shell loads so that its tab key asks the program of this name.
pub fn script(shell: Shell, program: &str) -> Result<Vec<u8>> {
    let shells = Shells::builtins();
    let mut script = vec![];
    let written = shells.completer(&shell.to_string()).map(|s| s.write_registration("COMPLETE", program, program, program, &mut script));
    match written {
        Some(Ok(())) => Ok(script),
        Some(Err(e)) => Err(Error::failed(e.to_string())),
        None => Err(Error::usage(format!("there are no completions for {shell}"))),
    }
}

/// The engine's own names, in the project that the command stands in.
pub(super) fn words(verb: &str, value: &str, _: &str) -> Vec<String> {
    if value == "BACKEND" {
        return BACKENDS.iter().map(ToString::to_string).collect();
    }
    let found = || -> Result<Vec<String>> {
        let here = Here::find(&Context { folder: env::current_dir()? })?;
        let sessions = || Ok::<_, Error>(here.sessions()?.into_iter().map(|meta| meta.session).collect::<Vec<_>>());
        let agents = || here.declared().into_iter().map(str::to_owned).collect::<Vec<_>>();
        Ok(match (verb, value) {
            ("restore", _) => session::archive_list(&here.layout)?.0.into_iter().map(|meta| meta.session).collect(),
            (_, "AGENT") => agents(),
            (_, "AGENT|SESSION") => [agents(), sessions()?].concat(),
            (_, "SESSION") => sessions()?,
            // A message's id, not a task's.
            ("mail", "ID") => vec![],
            (_, "ID") => {
                let places = [Place::Pending, Place::Running, Place::Held].into_iter().chain(End::ALL.map(Place::Finished));
                let ids = places.map(|place| tasks::list(&here.layout, place)).collect::<Result<Vec<_>>>()?.concat();
                ids.iter().map(TaskId::to_string).collect()
            }
            (_, _) => vec![],
        })
    };
    // Nobody can be told of an error in the middle of a line.
    found().unwrap_or_default()
}
