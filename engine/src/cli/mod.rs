//! The command line: parse, call, show. One file a verb.
//!
//! `out` (the gate for all output), the error and the strict reading of TOML are also for other programs that want to speak the same way.

pub mod complete;
pub mod examples;
pub mod interrupt;
pub mod out;

mod ask;
mod attach;
mod capture;
mod check;
mod clean;
mod completions;
mod down;
mod hook;
mod info;
mod kill;
mod list;
mod live;
mod logs;
mod look;
mod mail;
mod man;
mod orchestrate;
mod place;
mod restart;
mod restore;
mod rouse;
mod schema;
mod send;
pub mod service;
mod sessions;
mod spawn;
mod status;
mod task;
mod tmux;
mod transcript;
mod up;
mod upgrade;
mod why;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The backends that are built in.
pub use crate::backend::NAMES as BACKENDS;
pub use crate::document;
pub use crate::error::{Error, Kind, Place, Result};
use crate::os::env;
use crate::os::lock::Lock;

/// Keeps a project's coding agents alive in terminals of their own.
#[derive(Parser)]
#[command(name = "agents", version, arg_required_else_help = true, disable_help_subcommand = true, max_term_width = 100)]
struct Cli {
    /// Stand in this folder; `agents.toml` is looked for there and above
    #[arg(short = 'C', global = true, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// No talk on stderr; errors are still said
    #[arg(short, long, global = true)]
    quiet: bool,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: out::Colour,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
#[command(defer = true)]
enum Verb {
    Up(up::Args),
    Down(down::Args),
    Restart(restart::Args),
    Upgrade(upgrade::Args),
    Status(status::Args),
    Spawn(spawn::Args),
    Orchestrate(orchestrate::Args),
    List(list::Args),
    Attach(attach::Args),
    Send(send::Args),
    Mail(mail::Args),
    Capture(capture::Args),
    Logs(logs::Args),
    Hook(hook::Args),
    Why(why::Args),
    Kill(kill::Args),
    Restore(restore::Args),
    Clean(clean::Args),
    Task(task::Args),
    Done(task::sentinel::DoneArgs),
    Fail(task::sentinel::FailArgs),
    Check(check::Args),
    Info(info::Args),
    Service(service::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Where the command stands.
struct Context {
    folder: PathBuf,
}

/// The whole command line as clap knows it, for pages and completions.
pub fn command() -> clap::Command {
    complete::with(examples::own(whole::<Cli>()), complete::words)
}

/// With every verb's arguments, which clap otherwise leaves out until the verb is called.
pub fn whole<C: clap::CommandFactory>() -> clap::Command {
    let mut command = C::command();
    command.build();
    command
}

/// Reads a command line. Building `whole` takes longer than most commands do, so it is left to those that need it: for a page, or to say what is wrong.
pub fn parse<C: Parser>(args: Vec<std::ffi::OsString>, whole: impl Fn() -> clap::Command) -> Result<C, clap::Error> {
    let matches = C::command().try_get_matches_from(args.clone()).or_else(|_| whole().try_get_matches_from(args))?;
    C::from_arg_matches(&matches)
}

pub(crate) fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let text: Vec<String> = args.iter().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    // Asked by every script and shell prompt, so before anything is built.
    if matches!(text.as_slice(), [only] if only == "--version" || only == "-V") {
        out::fact(concat!("agents ", env!("CARGO_PKG_VERSION")));
        return end(Ok(()));
    }
    if env::asks_for_completion() && complete::answers(command, &args) {
        return ExitCode::SUCCESS;
    }
    let result = match crate::drive::daemon(&text) {
        Some(result) => result,
        None => parse(args, command).map_or_else(usage, run),
    };
    interrupt::end();
    end(result)
}

/// Takes a lock. Where somebody has it, that is said, by `words` of who it is, and waited for: as long as it takes, or at most so long.
pub fn wait_for(path: &Path, limit: Option<Duration>, words: impl FnOnce(String) -> String) -> Result<Lock> {
    if let Some(lock) = Lock::try_take(path)? {
        return Ok(lock);
    }
    out::say(words(Lock::holder(path)));
    Ok(limit.map_or_else(|| Lock::wait(path), |limit| Lock::wait_at_most(path, limit))?)
}

/// How a program ends: what went wrong is said, be it only that its output is lost.
pub fn end(result: Result<()>) -> ExitCode {
    match result.and_then(|()| out::whole()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::error(&error);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Help goes to stdout; what clap does not take becomes an error like any other, through the gate.
pub fn usage(error: clap::Error) -> Result<()> {
    use clap::error::ErrorKind;
    let text = error.render();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let page = if out::stdout_colour() { text.ansi().to_string() } else { text.to_string() };
            out::raw(page.as_bytes());
            Ok(())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            out::say(text.to_string().trim_end());
            Err(Error::usage("a command is needed"))
        }
        _ => Err(misused(&text.to_string())),
    }
}

/// What clap says in paragraphs, as our errors say it: what is wrong, what was perhaps meant, how it is used.
fn misused(text: &str) -> Error {
    let mut lines = text.lines().map(str::trim).filter(|l| !l.is_empty()).peekable();
    let mut message: Vec<&str> = vec![];
    while let Some(line) = lines.next_if(|l| !l.starts_with("tip: ") && !l.starts_with("Usage: ") && !l.starts_with("For more ")) {
        message.push(line);
    }
    // What Rust says of a number, as a person would.
    let message = message.join(" ").replace("invalid digit found in string", "expected a whole number");
    let message = message.replace("number too large to fit in target type", "the number is too large");
    let mut error = Error::usage(message.trim_start_matches("error: "));
    for line in lines {
        if let Some(tip) = line.strip_prefix("tip: ") {
            error = error.hint(tip);
        } else if let Some(usage) = line.strip_prefix("Usage: ") {
            let verbs: Vec<&str> = usage.split(' ').take_while(|w| w.starts_with(|c: char| c.is_ascii_lowercase())).collect();
            error = error.hint(format!("usage: {usage}   ({} --help says more)", verbs.join(" ")));
        }
    }
    if error.hints.is_empty() { error.hint("--help says more") } else { error }
}

fn run(cli: Cli) -> Result<()> {
    out::set_quiet(cli.quiet);
    out::set_colour(cli.color);
    let here = crate::os::env::current_dir()?;
    let folder = cli.directory.as_ref().map_or(here.clone(), |d| here.join(d));
    if let Some(named) = cli.directory.filter(|_| !crate::os::fs::is_dir(&folder)) {
        return Err(Error::usage(format!("-C {}: there is no such folder", named.display())).hint("name a project's folder"));
    }
    let context = Context { folder };
    match cli.verb {
        Verb::Up(args) => up::run(&context, &args),
        Verb::Down(args) => down::run(&context, &args),
        Verb::Restart(args) => restart::run(&context, &args),
        Verb::Upgrade(args) => upgrade::run(&context, &args),
        Verb::Status(args) => status::run(&context, &args),
        Verb::Spawn(args) => spawn::run(&context, &args),
        Verb::Orchestrate(args) => orchestrate::run(&context, &args),
        Verb::List(args) => list::run(&context, &args),
        Verb::Attach(args) => attach::run(&context, &args),
        Verb::Send(args) => send::run(&context, &args),
        Verb::Mail(args) => mail::run(&context, &args),
        Verb::Capture(args) => capture::run(&context, &args),
        Verb::Logs(args) => logs::run(&context, &args),
        Verb::Hook(args) => hook::run(&args),
        Verb::Why(args) => why::run(&context, &args),
        Verb::Kill(args) => kill::run(&context, &args),
        Verb::Restore(args) => restore::run(&context, &args),
        Verb::Clean(args) => clean::run(&context, &args),
        Verb::Task(args) => task::run(&context, &args),
        Verb::Done(args) => task::sentinel::done(&args),
        Verb::Fail(args) => task::sentinel::fail(&args),
        Verb::Check(args) => check::run(&context, &args),
        Verb::Info(args) => info::run(&context, &args),
        Verb::Service(args) => service::run(&context, &args),
        Verb::Schema(args) => schema::run(&args),
        Verb::Completions(args) => completions::run(&args),
        Verb::Man(args) => man::run(&args),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_holds_together() {
        super::command().debug_assert();
    }
}
