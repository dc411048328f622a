//! `agents info`

use serde::Serialize;

use super::Context;
use super::out::{self, Text, Tone};
use super::place::Place;
use crate::contract::PROTOCOL;
use crate::contract::layout::CONFIG_FILE;
use crate::error::{Error, Result};
use crate::os::process;
use crate::store::moved::{self, Former};
use crate::store::project::Project;

/// Say where this project's data lies and which engine runs it
#[derive(clap::Args)]
pub(super) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Take over what this checkout left behind when it was moved here: sessions, worktrees, messages. INSTANCE where more than one could be meant
    #[arg(long, value_name = "INSTANCE", num_args = 0..=1, default_missing_value = "")]
    adopt: Option<String>,
}

/// What a moved checkout may have left behind.
#[derive(Serialize)]
struct Left {
    instance: String,
    origin: String,
    certain: bool,
    why: String,
    sessions: usize,
}

#[derive(Serialize)]
struct Info {
    instance: String,
    hash: String,
    project: String,
    config: String,
    data: String,
    runtime: String,
    /// `pty` or `tmux`; none where agents.toml is invalid.
    terminals: Option<&'static str>,
    version: String,
    tree: String,
    protocol: u32,
    program: String,
    moved: Vec<Left>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    if let Some(which) = &args.adopt {
        adopt(&place.project?, which)?;
        return run(context, &Args { json: args.json, adopt: None });
    }
    let formers = place.project.as_ref().map_or(Ok(vec![]), moved::formers)?;
    let engine = crate::engine_version();
    let info = Info {
        instance: place.layout.instance.clone(),
        hash: place.layout.hash.clone(),
        project: place.folder.display().to_string(),
        config: place.folder.join(CONFIG_FILE).display().to_string(),
        data: place.layout.data.display().to_string(),
        runtime: place.layout.runtime.display().to_string(),
        terminals: place.project.as_ref().ok().map(|p| p.config.runtime.word()),
        version: engine.version,
        tree: engine.tree,
        protocol: PROTOCOL,
        program: process::own_path().map(|p| p.display().to_string()).unwrap_or_default(),
        moved: formers.iter().map(left).collect(),
    };
    if args.json {
        out::json(&info);
        return Ok(());
    }
    let tree = if info.tree.is_empty() { "unknown: the program does not lie in the build cache" } else { &info.tree };
    let protocol = info.protocol.to_string();
    let terminals = match info.terminals {
        Some("tmux") => format!("tmux -S {}", place.layout.tmux_socket().display()),
        Some(word) => word.to_owned(),
        None => "unknown: agents.toml is invalid".to_owned(),
    };
    for (name, value) in [
        ("project", info.project.as_str()),
        ("instance", &info.instance),
        ("config", &info.config),
        ("data", &info.data),
        ("runtime", &info.runtime),
        ("terminals", &terminals),
        ("program", &info.program),
        ("version", &info.version),
        ("tree", tree),
        ("protocol", &protocol),
    ] {
        out::fact(Text::of(Tone::Dim, format!("{name:<10}")).and(Tone::Plain, value));
    }
    for former in &formers {
        out::warn(&former.words());
    }
    Ok(())
}

fn left(former: &Former) -> Left {
    Left {
        instance: former.layout.instance.clone(),
        origin: former.origin.display().to_string(),
        certain: former.certain,
        why: former.why.clone(),
        sessions: former.sessions,
    }
}

/// Takes over the one that is meant: named, or the only one that is certain, or the only one there is.
fn adopt(project: &Project, which: &str) -> Result<()> {
    if moved::finish(project)? {
        out::say("what was interrupted is finished");
        return Ok(());
    }
    let formers = moved::formers(project)?;
    let named = formers.iter().filter(|f| which.is_empty() || f.layout.instance == which || f.layout.hash == which);
    let (certain, others): (Vec<&Former>, Vec<&Former>) = named.partition(|f| f.certain);
    let former = match (certain.as_slice(), others.as_slice()) {
        ([only], _) | ([], [only]) => *only,
        ([], []) => {
            let known: Vec<&str> = formers.iter().map(|f| f.layout.instance.as_str()).collect();
            let error = Error::failed("there is nothing that this checkout could have left behind");
            return Err(match known.as_slice() {
                [] => error.hint(
                    "data is known again by its git worktrees, its folder or its project's name, and only where the old folder is gone",
                ),
                known => Error::usage(format!("no data of a moved checkout is called {which:?}"))
                    .hint(crate::document::suggest(which, known.iter().copied())),
            });
        }
        ([first, ..], _) | ([], [first, ..]) => {
            let mut error = Error::usage("which one? More than one could be this checkout's");
            for former in &formers {
                error = error.because(former.words());
            }
            return Err(error.hint(format!("agents info --adopt {}", first.layout.instance)));
        }
    };
    moved::adopt(project, former)?;
    let sessions = moved::sessions(&project.layout)?;
    out::say(format!(
        "taken over from {}: {sessions} live {}; `agents up` starts them",
        former.origin.display(),
        if sessions == 1 { "session" } else { "sessions" }
    ));
    Ok(())
}
