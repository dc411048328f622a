//! `fleet task …`: the engines' task commands, by project. What is done is done by each project's own engine; a task is named PROJECT/ID.

mod add;
mod each;

use agents::cli::{Error, Result, out};

use self::each::{Job, report};
use super::Context;
use super::inside;
use crate::registry::select::Select;
use crate::registry::{Project, Registry};

/// Queue work for the agents of projects, see it run, wait for it
#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  fleet task add web 'write tests for src/login.rs'
  fleet task add -t backend 'update the dependencies' --worktree --verify -- make test
  fleet tasks
  fleet task wait web/t1 && fleet task show web/t1"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
#[command(defer = true)]
enum Verb {
    Add(Box<add::Args>),
    /// Show queues, each project's by itself; `fleet tasks` shows all in one table
    #[command(after_help = "Example: fleet task list web --ended")]
    List {
        #[command(flatten)]
        select: Select,
        /// Also tasks that have ended
        #[arg(short, long)]
        ended: bool,
        /// Only those in these states
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        state: Vec<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show all of a task
    #[command(after_help = "Example: fleet task show web/t12")]
    Show {
        /// PROJECT/ID
        target: String,
        /// All of its prompt and plan
        #[arg(long)]
        full: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Wait until tasks have ended; the exit status tells how
    #[command(after_help = "Example: fleet task wait web/t12 api --timeout 30m")]
    Wait {
        /// PROJECT/ID, or PROJECT for all that have not ended there
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
        /// No longer than this (90s, 10m, 1h)
        #[arg(long, value_name = "DURATION")]
        timeout: Option<String>,
    },
    /// Print what a task's agent has written to its terminal
    #[command(after_help = "Example: fleet task logs web/t12 --follow")]
    Logs {
        /// PROJECT/ID
        target: String,
        /// Go on with what comes, until it has ended
        #[arg(short, long)]
        follow: bool,
        /// Only the last lines
        #[arg(short = 'n', long, value_name = "N")]
        lines: Option<usize>,
    },
    /// Draw what waits for what in a project
    #[command(after_help = "Example: fleet task graph web --dot | dot -Tsvg > tasks.svg")]
    Graph {
        /// This one
        project: String,
        /// As a DOT graph, for graphviz
        #[arg(long)]
        dot: bool,
    },
    /// End tasks that run, and take those that wait out of the queue
    #[command(after_help = "Example: fleet task cancel web/t12 api/t3")]
    Cancel {
        /// PROJECT/ID
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Run tasks once more: those that have failed, took too long, were cancelled or are held
    #[command(after_help = "Example: fleet task retry web/t12")]
    Retry {
        /// PROJECT/ID
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
    },
    /// Give a task more time, or another limit for one attempt
    #[command(after_help = "Example: fleet task timeout web/t12 +30m")]
    Timeout {
        /// PROJECT/ID
        target: String,
        /// So much more (+30m), or so long from the attempt's beginning (2h)
        time: String,
    },
    /// Put tasks that have ended into their projects' archives
    #[command(after_help = "Example: fleet task clean --all --older 7d")]
    Clean {
        #[command(flatten)]
        select: Select,
        /// Those that ended longer ago (12h, 7d)
        #[arg(long, value_name = "DURATION")]
        older: Option<String>,
        /// Those that ended so
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        state: Vec<String>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    match &args.verb {
        Verb::Add(args) => add::run(args, &registry),
        Verb::List { select, ended, state, json } => list(&registry, select, *ended, state, *json),
        Verb::Show { target, full, json } => one(&registry, target, "show", &flags(&[("--full", *full), ("--json", *json)])),
        Verb::Wait { targets, timeout } => by_project(&registry, targets, "wait", timeout.iter().flat_map(|t| ["--timeout", t]), true),
        Verb::Logs { target, follow, lines } => {
            let mut rest = flags(&[("--follow", *follow)]);
            rest.extend(lines.map(|n| format!("--lines={n}")));
            one(&registry, target, "logs", &rest)
        }
        Verb::Graph { project, dot } => {
            become_engine(&registry, inside::named(&registry, project)?, ["graph".to_owned()], &flags(&[("--dot", *dot)]))
        }
        Verb::Cancel { targets } => by_project(&registry, targets, "cancel", [], false),
        Verb::Retry { targets } => by_project(&registry, targets, "retry", [], false),
        Verb::Timeout { target, time } => one(&registry, target, "timeout", std::slice::from_ref(time)),
        Verb::Clean { select, older, state, dry_run } => {
            let mut argv = vec!["clean".to_owned()];
            argv.extend(older.iter().map(|o| format!("--older={o}")));
            argv.extend(state.iter().map(|s| format!("--state={s}")));
            argv.extend(flags(&[("--dry-run", *dry_run)]));
            let jobs: Vec<Job<'_>> = select.resolve(&registry)?.into_iter().map(|project| Job { project, argv: argv.clone() }).collect();
            report(&jobs, each::run(&registry, &jobs))
        }
    }
}

fn flags(all: &[(&str, bool)]) -> Vec<String> {
    all.iter().filter(|(_, given)| *given).map(|(flag, _)| (*flag).to_owned()).collect()
}

/// `web/t12`: the project, and its task.
fn target<'r>(registry: &'r Registry, text: &str) -> Result<(&'r Project, Option<String>)> {
    let inside::Target { project, session } = inside::Target::parse(text);
    Ok((inside::named(registry, &project)?, session))
}

/// The same, where one task must be named.
fn task_of<'r>(registry: &'r Registry, text: &str) -> Result<(&'r Project, String)> {
    match target(registry, text)? {
        (project, Some(task)) => Ok((project, task)),
        (project, None) => {
            Err(Error::usage(format!("which task of project {}?", project.name)).hint(format!("{0}/t1; fleet task list {0}", project.name)))
        }
    }
}

/// Becomes the engine of the project that a task belongs to: its terminal is this one.
fn one(registry: &Registry, text: &str, verb: &str, rest: &[String]) -> Result<()> {
    let (project, task) = task_of(registry, text)?;
    become_engine(registry, project, [verb.to_owned(), task], rest)
}

fn become_engine<const N: usize>(registry: &Registry, project: &Project, verb: [String; N], rest: &[String]) -> Result<()> {
    let mut argv = vec!["task".to_owned()];
    argv.extend(verb);
    argv.extend(rest.iter().cloned());
    inside::replace_by_engine(registry, project, argv)
}

/// One command for each project with all of its tasks that were named. `whole`: a project without a task means all of its tasks.
fn by_project<'a>(registry: &Registry, targets: &[String], verb: &str, rest: impl IntoIterator<Item = &'a str>, whole: bool) -> Result<()> {
    let rest: Vec<String> = rest.into_iter().map(str::to_owned).collect();
    let mut jobs: Vec<Job<'_>> = vec![];
    for text in targets {
        let (project, task) = if whole { target(registry, text)? } else { task_of(registry, text).map(|(p, t)| (p, Some(t)))? };
        let at = jobs.iter().position(|j| j.project.name == project.name).unwrap_or_else(|| {
            let argv = [vec![verb.to_owned()], rest.clone()].concat();
            jobs.push(Job { project, argv });
            jobs.len() - 1
        });
        jobs[at].argv.extend(task);
    }
    report(&jobs, each::run(registry, &jobs))
}

fn list(registry: &Registry, select: &Select, ended: bool, state: &[String], json: bool) -> Result<()> {
    let projects = select.resolve_or_every(registry)?;
    let mut rest = flags(&[("--all", ended), ("--json", json)]);
    rest.extend(state.iter().map(|s| format!("--state={s}")));
    if let ([only], false) = (projects.as_slice(), json) {
        return become_engine(registry, only, ["list".to_owned()], &rest);
    }
    let argv = [vec!["list".to_owned()], rest].concat();
    let jobs: Vec<Job<'_>> = projects.into_iter().map(|project| Job { project, argv: argv.clone() }).collect();
    let results = each::run(registry, &jobs);
    if json {
        let fact = |(job, result): (&Job<'_>, &Result<each::Said>)| match result {
            Ok(said) => {
                serde_json::json!({ "name": job.project.name, "tasks": serde_json::from_str::<serde_json::Value>(&said.stdout).unwrap_or_default() })
            }
            Err(e) => serde_json::json!({ "name": job.project.name, "error": e.to_string() }),
        };
        out::json(&jobs.iter().zip(&results).map(fact).collect::<Vec<_>>());
        return each::failures(&jobs, results);
    }
    for (job, said) in jobs.iter().zip(&results).filter_map(|(j, r)| Some((j, r.as_ref().ok()?))) {
        out::fact(out::Text::of(out::Tone::Strong, &job.project.name));
        if !said.stdout.is_empty() {
            out::lines(said.stdout.as_bytes());
        }
        out::say(out::Text::of(out::Tone::Dim, said.stderr.trim_end()));
    }
    each::failures(&jobs, results)
}
