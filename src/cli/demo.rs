//! `fleet demo`: a whole fleet in a throw-away folder, shown command by command.
//!
//! Everything runs through the real program, with a home folder and XDG folders of its own: nothing of the user's is read or touched.

mod heal;
mod stage;

use std::time::Duration;

use agents::cli::out::{self, Text, Tone};
use agents::cli::{Error, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os::clock::monotonic;

use super::Context;
use heal::Watched;
use stage::Stage;

/// Show all of it in a throw-away folder: create, start, heal, update, stop
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It takes a few seconds and touches nothing of yours: home, registry, projects and caches lie in one temporary folder, which is removed at the end.
The agents are plain shells, so no account and no network is needed.")]
pub struct Args {
    /// Leave the folder, with everything stopped, and say how to look around in it
    #[arg(long)]
    pub keep: bool,
}

const PROJECTS: [&str; 3] = ["web", "api", "docs"];
/// The version that the demo makes up, to have one to update to.
const NEXT: &str = "v0.1.1";

/// Plays it. Whatever happens, what was started is stopped, and the folder removed.
pub fn run(args: &Args, _ctx: &Context) -> Result<()> {
    let start = monotonic();
    let stage = Stage::set()?;
    let played = play(&stage);
    let cleared = stage.clear(args.keep);
    played.and(cleared)?;
    heading(&format!("Done in {}", seconds(monotonic() - start)));
    if args.keep {
        show(format!("Everything is left in {}. To look around:\n  export {}", stage.folder.display(), stage.exports()));
    } else {
        show("All of it is gone again. Yours begins with `fleet init DIR`.");
    }
    Ok(())
}

fn play(stage: &Stage) -> Result<()> {
    heading("A fleet home: one registry, `fleet.toml`, in a git repository of its own");
    stage.fleet_in(&stage.folder, &["init", "home"])?;

    heading("Three projects: each a git repository with an engine pinned as its submodule `engine/`");
    for name in PROJECTS {
        stage.fleet(&["create", name, "--backend", "shell"])?;
    }

    heading("Started, all at once; each agent in a terminal of its own");
    stage.fleet(&["start", "--all"])?;
    stage.fleet(&["status"])?;

    heading("Killed, without a warning: what died is back, and nothing else notices");
    heal_all(stage)?;
    stage.fleet(&["why", PROJECTS[0]])?;
    stage.fleet(&["status"])?;

    heading("A project needs no registry: its own engine does all of it by hand");
    stage.engine(PROJECTS[1], &["status"])?;

    heading("A new version of the engine: every pin moves by one commit, and nothing else is in it");
    stage.release(NEXT)?;
    stage.fleet(&["update", "--all", NEXT, "--dry-run"])?;
    stage.fleet(&["update", "--all", NEXT])?;
    stage.git(PROJECTS[2], &["log", "--oneline", "--stat", "-1"])?;
    stage.fleet(&["status"])?;

    heading("Stopped: no process is left");
    stage.fleet(&["stop", "--all"])?;
    stage.fleet(&["status"])?;
    stage.fleet(&["history"])
}

/// Kills an agent, a host and a watchdog, and tells how fast each was back.
fn heal_all(stage: &Stage) -> Result<()> {
    let [one, two, three] = PROJECTS.map(|name| Watched::open(stage, name));
    let healed = one?.kill_agent(killing(PROJECTS[0], "agent"))?;
    told(healed.took, &format!("a new agent runs in the same session: pid {} is now {}", healed.old, healed.new));
    let healed = two?.kill_host(killing(PROJECTS[1], "host (it owns the agent's terminal)"))?;
    told(healed.took, &format!("a new host, {} for {}, has adopted the living agent", healed.new, healed.old));
    let healed = three?.kill_watchdog(killing(PROJECTS[2], "watchdog"))?;
    told(healed.took, &format!("a new watchdog, {} for {}, knows every agent again", healed.new, healed.old));
    Ok(())
}

fn killing<'a>(project: &'a str, who: &'a str) -> impl Fn(i32) + 'a {
    move |pid| command(&format!("kill -9 {pid}"), &format!("# {project}'s {who}"))
}

fn told(took: Duration, what: &str) {
    show(Text::of(Tone::Good, format!("back after {}", millis(took))).and(Tone::Plain, format!(": {what}")));
}

fn heading(text: &str) {
    show(Text::of(Tone::Plain, "\n").and(Tone::Strong, text));
}

/// A command as the user would type it, and what it is about.
fn command(line: &str, about: &str) {
    show(Text::of(Tone::Accent, format!("$ {line}")).and(Tone::Dim, if about.is_empty() { String::new() } else { format!("   {about}") }));
}

fn millis(took: Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1000.0)
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// A line on stdout. Nobody reading on is no reason to leave processes and a folder behind.
fn show(text: impl Into<Text>) {
    let line = text.into().render(out::stdout_colour()) + "\n";
    out::raw_while_heard(line.as_bytes());
}

/// What ended the demo early.
fn interrupted() -> Error {
    Error::failed("interrupted; everything is stopped and removed")
}

/// The path of a project's launcher, as typed in its folder.
fn launcher() -> String {
    format!("{ENGINE_FOLDER}/agents")
}
