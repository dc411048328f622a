//! The command line: parse, call, show. One file a verb.

mod add;
mod attach;
mod completions;
mod create;
mod demo;
mod disable;
mod doctor;
mod enable;
mod engine;
mod examples;
mod exec;
mod get;
mod history;
mod init;
mod inside;
mod list;
mod logs;
mod man;
mod names;
mod po;
mod remove;
mod restart;
mod run;
mod schema;
mod send;
mod service;
mod start;
mod status;
mod stop;
mod task;
mod tasks;
mod undo;
mod update;
mod validate;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use agents::cli::{Result, out};
use clap::{Parser, Subcommand};

use crate::registry::Registry;

/// One registry for all your coding-agent projects: create, start, stop, update, see.
#[derive(Debug, Parser)]
#[command(name = "fleet", version, arg_required_else_help = true, disable_help_subcommand = true, max_term_width = 100)]
#[command(after_help = "\
Example, a first fleet:
  fleet init ~/projects/home && cd ~/projects/home
  fleet create web
  fleet start web
  fleet status

`fleet demo` shows all of it in a throw-away folder.
Exit status: 0 done; 1 some of it failed; 2 wrong usage; 3 a file is invalid; 75 try again later.")]
struct Cli {
    /// The registry; else $FLEET_REGISTRY, fleet.toml from here upward, or the user's own
    #[arg(long, global = true, value_name = "FILE")]
    registry: Option<PathBuf>,
    /// No talk on stderr; errors are still said
    #[arg(short, long, global = true)]
    quiet: bool,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: out::Colour,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    Init(init::Args),
    Create(create::Args),
    Add(add::Args),
    Remove(remove::Args),
    Enable(enable::Args),
    Disable(disable::Args),
    /// Start projects: every agent runs, or has said why not
    Start(run::Args),
    /// Stop projects: no process of theirs is left
    Stop(run::Args),
    /// Stop projects and start them again; conversations go on
    Restart(run::Args),
    Update(update::Args),
    Status(status::Args),
    List(list::Args),
    Get(get::Args),
    Validate(validate::Args),
    Attach(attach::Args),
    Send(send::Args),
    Logs(logs::Args),
    Why(why::Args),
    Task(task::Args),
    Tasks(tasks::Args),
    Exec(exec::Args),
    Po(po::Args),
    Service(service::Args),
    Engine(engine::Args),
    History(history::Args),
    Undo(undo::Args),
    Schema(schema::Args),
    Doctor(doctor::Args),
    Demo(demo::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What every verb may ask for.
#[derive(Debug, Clone, Default)]
pub struct Context {
    registry: Option<PathBuf>,
}

impl Context {
    /// The registry, found as the command line and the place say.
    pub fn registry(&self) -> Result<Registry> {
        Registry::find(self.registry.as_deref())
    }
}

/// The whole command line as clap knows it, for pages and completions.
fn command() -> clap::Command {
    agents::cli::complete::with(agents::cli::examples::with(agents::cli::whole::<Cli>(), examples::OWN), names::words)
}

pub(crate) fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // Asked by every script and shell prompt, so before anything is built.
    if let [_, only] = args.as_slice()
        && (only == "--version" || only == "-V")
    {
        out::fact(concat!("fleet ", env!("CARGO_PKG_VERSION")));
        return agents::cli::end(Ok(()));
    }
    if agents::os::env::asks_for_completion() && agents::cli::complete::answers(command, &args) {
        return ExitCode::SUCCESS;
    }
    let result = agents::cli::parse(args, command).map_or_else(agents::cli::usage, run);
    agents::cli::interrupt::end();
    agents::cli::end(result)
}

fn run(cli: Cli) -> Result<()> {
    out::set_quiet(cli.quiet);
    out::set_colour(cli.color);
    let ctx = &Context { registry: cli.registry };
    match &cli.verb {
        Verb::Init(args) => init::run(args, ctx),
        Verb::Create(args) => create::run(args, ctx),
        Verb::Add(args) => add::run(args, ctx),
        Verb::Remove(args) => remove::run(args, ctx),
        Verb::Enable(args) => enable::run(args, ctx),
        Verb::Disable(args) => disable::run(args, ctx),
        Verb::List(args) => list::run(args, ctx),
        Verb::Get(args) => get::run(args, ctx),
        Verb::Validate(args) => validate::run(args, ctx),
        Verb::Schema(args) => schema::run(args, ctx),
        Verb::Update(args) => update::run(args, ctx),
        Verb::Status(args) => status::run(args, ctx),
        Verb::Engine(args) => engine::run(args, ctx),
        Verb::History(args) => history::run(args, ctx),
        Verb::Undo(args) => undo::run(args, ctx),
        Verb::Start(args) => start::run(args, ctx),
        Verb::Stop(args) => stop::run(args, ctx),
        Verb::Restart(args) => restart::run(args, ctx),
        Verb::Attach(args) => attach::run(args, ctx),
        Verb::Send(args) => send::run(args, ctx),
        Verb::Logs(args) => logs::run(args, ctx),
        Verb::Why(args) => why::run(args, ctx),
        Verb::Task(args) => task::run(args, ctx),
        Verb::Tasks(args) => tasks::run(args, ctx),
        Verb::Exec(args) => exec::run(args, ctx),
        Verb::Po(args) => po::run(args, ctx),
        Verb::Service(args) => service::run(args, ctx),
        Verb::Doctor(args) => doctor::run(args, ctx),
        Verb::Demo(args) => demo::run(args, ctx),
        Verb::Completions(args) => completions::run(args),
        Verb::Man(args) => man::run(args),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use agents::cli::examples;

    #[test]
    fn the_command_line_holds_together() {
        super::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples_that_it_takes() {
        assert_eq!(examples::findings(&super::command()), Vec::<String>::new());
    }

    /// In fenced blocks, lines that begin with one of the programs: with a comment or an explanation after two blanks, and options in brackets.
    #[test]
    fn the_commands_in_the_documentation_are_taken() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|e| e.unwrap().path());
        let (fleet, engine) = (super::command(), agents::cli::command());
        let (mut found, mut seen) = (vec![], 0);
        for file in docs.chain([root.join("README.md")]).filter(|p| p.extension().is_some_and(|e| e == "md")) {
            let mut fenced = false;
            for line in std::fs::read_to_string(&file).unwrap().lines() {
                fenced ^= line.starts_with("```");
                let line = line.trim_start_matches("$ ").trim_start_matches("engine/");
                let command = if line.starts_with("fleet ") { &fleet } else { &engine };
                if fenced && (line.starts_with("fleet ") || line.starts_with("agents ")) {
                    seen += 1;
                    let line = line.split("   ").next().unwrap();
                    let plain: Vec<&str> = line.split(' ').filter(|w| !w.starts_with('[')).collect();
                    found.extend(examples::misread(command, &plain.join(" ")).map(|why| format!("{}: {why}", file.display())));
                }
            }
        }
        assert!(found.is_empty() && seen > 20, "{seen} commands: {found:#?}");
    }
}
