//! `agents info`

use serde::Serialize;

use super::Context;
use super::out::{self, Text, Tone};
use super::place::Place;
use crate::contract::PROTOCOL;
use crate::contract::layout::CONFIG_FILE;
use crate::error::Result;
use crate::os::process;

/// Say where this project's data lies and which engine runs it
#[derive(clap::Args)]
pub(super) struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
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
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
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
    Ok(())
}
