//! A project's engine driven by its commands: from the harness's manifest, or from the registry where that says otherwise.

use std::path::Path;
use std::time::Duration;

use agents::cli::{Error, Result, document, out};
use agents::contract::control::{FromWatchdog, JSON, ToWatchdog};
use agents::contract::layout::{ENGINE_FOLDER, Layout};
use agents::contract::manifest::{Commands, MANIFEST_FILE, Manifest};
use agents::contract::status::EngineStatus;
use agents::os::socket::Stream;
use agents::os::{self, env, lock::Lock, process};

use crate::harness::CARRIED;
use crate::registry::Harness;

/// How long a command of an engine's may take: a first run may have to build the engine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(20 * 60);

/// How long a watchdog may take to say how it is.
const ANSWER: Duration = Duration::from_secs(5);

/// The manifest of the engine that is checked out, if it has one.
pub fn manifest(folder: &Path) -> Result<Option<Manifest>> {
    let path = folder.join(ENGINE_FOLDER).join(MANIFEST_FILE);
    let Some(text) = document::text(&path)? else { return Ok(None) };
    toml::from_str(&text).map(Some).map_err(|e| Error::invalid(&path, e.message()))
}

/// The commands of the engine that is checked out.
pub fn commands(harness: &Harness, folder: &Path) -> Result<Commands> {
    let stated = manifest(folder)?.map(|m| m.commands).unwrap_or_default();
    Ok(Commands {
        up: harness.up.clone().or(stated.up),
        // Who drives the engine in a way of their own has not said how this goes.
        upgrade: stated.upgrade.filter(|_| harness.up.is_none()),
        down: harness.down.clone().or(stated.down),
        status: harness.status.clone().or(stated.status),
        check: harness.check.clone().or(stated.check),
    })
}

/// Runs one command of an engine's in the project's root; its warnings are passed on, an error holds the end of what it said.
pub fn run(argv: &[String], folder: &Path, what: &str) -> Result<()> {
    let output = output(argv, folder).map_err(|e| Error::failed(format!("{what}: {e}")))?;
    if output.code == 0 {
        let project = folder.file_name().unwrap_or_default().to_string_lossy();
        for warning in String::from_utf8_lossy(&output.stderr).lines().filter_map(|l| l.strip_prefix("warning: ")) {
            out::warn(&format!("{project}: {warning}"));
        }
        return Ok(());
    }
    let mut error = Error::failed(format!("{what}: `{}` ended with status {}", argv.join(" "), output.code));
    let said = String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr }).into_owned();
    let lines: Vec<&str> = said.lines().filter(|l| !l.trim().is_empty()).collect();
    for line in &lines[lines.len().saturating_sub(8)..] {
        error = match line.strip_prefix("hint: ") {
            // It speaks of itself by its bare name, which is on nobody's PATH.
            Some(hint) if hint.starts_with("agents ") => error.hint(format!("in {}: engine/{hint}", env::shorten(folder))),
            Some(hint) => error.hint(hint),
            None => error.because(line.trim().trim_start_matches("error: ").trim_start_matches("because ")),
        };
    }
    Err(error)
}

fn output(argv: &[String], folder: &Path) -> std::io::Result<process::Output> {
    let mut argv = argv.to_vec();
    if let Some(program) = argv.first_mut().filter(|p| p.contains('/')) {
        *program = folder.join(&*program).display().to_string();
    }
    process::run(&process::Run { argv: &argv, folder: Some(folder), timeout: Some(COMMAND_TIMEOUT), ..process::Run::default() })
}

/// Whether a harness's own status command says that the project is up; true where it has none.
pub fn says_up(harness: &Harness, folder: &Path) -> Result<bool> {
    let Some(argv) = commands(harness, folder)?.status else { return Ok(true) };
    Ok(output(&argv, folder).is_ok_and(|o| o.code == 0))
}

/// What the project's watchdog says; none where none runs, or where the engine speaks otherwise.
pub fn ask(folder: &Path) -> Result<Option<EngineStatus>> {
    let folder = os::fs::canonical(folder)?;
    let layout = Layout::new(&folder, "project", &os::env::agents_home(), &os::env::agents_runtime());
    let Ok(mut stream) = Stream::connect(&layout.watchdog_socket()) else { return Ok(None) };
    let silent = |e: std::io::Error| Error::failed("its watchdog does not answer").because(e);
    let deadline = os::clock::monotonic() + ANSWER;
    stream.queue(JSON, &serde_json::to_vec(&ToWatchdog::Status).unwrap_or_default(), vec![]);
    stream.flush_by(deadline).map_err(silent)?;
    let frame = stream.next_by(deadline).map_err(silent)?;
    match serde_json::from_slice(&frame.payload) {
        Ok(FromWatchdog::Status { status }) => Ok(Some(status)),
        Ok(_) | Err(_) => Err(Error::failed("its watchdog answers something else than was asked")),
    }
}

/// Whether the project runs: its watchdog's lock says so, or its status command does.
pub fn is_running(harness: &Harness, folder: &Path) -> Result<bool> {
    let speaks_agents = manifest(folder)?.map_or(harness.url.is_none(), |m| m.engine.name == CARRIED);
    if speaks_agents {
        let folder = os::fs::canonical(folder)?;
        let layout = Layout::new(&folder, "project", &os::env::agents_home(), &os::env::agents_runtime());
        return Ok(Lock::is_held(&layout.watchdog_lock())?);
    }
    match commands(harness, folder)?.status {
        None => Ok(false),
        Some(argv) => Ok(output(&argv, folder).is_ok_and(|o| o.code == 0)),
    }
}
