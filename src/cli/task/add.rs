//! `fleet task add`

use std::io::Read;
use std::path::PathBuf;

use agents::cli::{Error, Result};
use agents::os::{env, fs};

use super::each::{self, Job, report};
use crate::registry::Registry;
use crate::registry::select::Select;

/// Queue a task in every selected project, or many from a file; prints each as PROJECT/ID
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fleet task add web 'write tests for src/login.rs'
  fleet task add -t backend 'update the dependencies' --worktree --verify -- make test
  fleet task add web --agent reviewer --after t12 'look through what t12 has changed'
  fleet task add api --from work.jsonl")]
pub struct Args {
    /// Projects, by names or globs, then what is to be done; `-` reads standard input
    #[arg(value_name = "PROJECT… PROMPT|-")]
    words: Vec<String>,
    /// All enabled projects with this tag; may be repeated
    #[arg(short = 't', long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// All enabled projects
    #[arg(long, conflicts_with = "tags")]
    all: bool,
    /// Who is to do it, where a project has several agents
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// What is to be done stands in this file
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    file: Option<PathBuf>,
    /// Add all that stand in this file, as JSON lines or TOML
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// These have to be done before; ids or names, separated by commas
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    after: Vec<String>,
    /// Higher ones first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i64>,
    /// How long one attempt may take (90s, 10m, 1h)
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,
    /// How many further attempts it gets when it fails
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// Do it in a git worktree of its own
    #[arg(long)]
    worktree: bool,
    /// What to call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// How many of this lane run at once is limited in each agents.toml, [tasks.lanes]
    #[arg(long, value_name = "LANE")]
    lane: Option<String>,
    /// It may run once more where it is not known how far it came
    #[arg(long)]
    idempotent: bool,
    /// Run the command after `--` when it is done; not zero means failed
    #[arg(long, requires = "command")]
    verify: bool,
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

/// A prompt longer than this goes as a file: the kernel takes no argument of 128 KiB.
const ARGUMENT_BYTES_MAX: usize = 100_000;

pub fn run(args: &Args, registry: &Registry) -> Result<()> {
    if !args.verify && !args.command.is_empty() {
        return Err(Error::usage("a command was given, and nothing to do with it").hint("--verify -- CMD   runs it when the task is done"));
    }
    let in_file = args.file.is_some() || args.from.is_some();
    let (names, prompt) = match args.words.split_last() {
        _ if in_file => (args.words.as_slice(), None),
        Some((prompt, names)) => (names, Some(prompt)),
        None => return Err(Error::usage("what is to be done is not said").hint("fleet task add web 'what to do'")),
    };
    let select = Select { names: names.to_vec(), tags: args.tags.clone(), all: args.all };
    if let (true, Some(prompt)) = (select.is_empty(), prompt) {
        let is_project = registry.projects.iter().any(|p| p.name == *prompt);
        return Err(if is_project {
            Error::usage(format!("what is to be done in {prompt} is not said")).hint(format!("fleet task add {prompt} 'what to do'"))
        } else {
            Error::usage("no project was named")
                .hint("fleet task add web 'what to do'")
                .hint("write names, globs such as 'web-*', -t TAG, or --all")
        });
    }
    let projects = select.resolve(registry)?;
    let mut kept = None;
    let mut argv = vec!["add".to_owned()];
    options(args, &mut argv)?;
    // The agent stands before the prompt.
    match prompt {
        Some(prompt) if prompt == "-" || prompt.len() > ARGUMENT_BYTES_MAX => {
            let text = if prompt == "-" { stdin()? } else { prompt.clone().into_bytes() };
            let file = kept.insert(Kept::of(&text)?);
            argv.push(format!("--file={}", file.0.display()));
            argv.extend(args.agent.clone());
        }
        Some(prompt) => {
            argv.extend(args.agent.clone());
            argv.push(prompt.clone());
        }
        None => argv.extend(args.agent.clone()),
    }
    if args.verify {
        argv.push("--".into());
        argv.extend(args.command.iter().cloned());
    }
    let jobs: Vec<Job<'_>> = projects.into_iter().map(|project| Job { project, argv: argv.clone() }).collect();
    report(&jobs, each::run(registry, &jobs))
}

fn options(args: &Args, argv: &mut Vec<String>) -> Result<()> {
    let here = env::current_dir()?;
    let mut option = |name: &str, value: Option<String>| argv.extend(value.map(|v| format!("--{name}={v}")));
    option("file", args.file.as_ref().map(|f| here.join(f).display().to_string()));
    option("from", args.from.as_ref().map(|f| here.join(f).display().to_string()));
    option("after", Some(args.after.join(",")).filter(|a| !a.is_empty()));
    option("priority", args.priority.map(|n| n.to_string()));
    option("timeout", args.timeout.clone());
    option("retries", args.retries.map(|n| n.to_string()));
    option("name", args.name.clone());
    option("lane", args.lane.clone());
    argv.extend(super::flags(&[("--worktree", args.worktree), ("--idempotent", args.idempotent), ("--verify", args.verify)]));
    Ok(())
}

fn stdin() -> Result<Vec<u8>> {
    let mut bytes = vec![];
    std::io::stdin().read_to_end(&mut bytes).map_err(|e| Error::failed(format!("standard input: {e}")))?;
    // The newline that ends a file is no part of what is said.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(bytes)
}

/// A file for the engines to read, gone when they have.
struct Kept(PathBuf);

impl Kept {
    fn of(text: &[u8]) -> Result<Kept> {
        let path = env::temp_dir().join(format!("fleet-{}.prompt", agents::os::process::fresh_uuid()?));
        fs::write_new(&path, text, 0o600)?;
        Ok(Kept(path))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
