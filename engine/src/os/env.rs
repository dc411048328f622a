//! The environment: every variable that is read is named here, once.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Where the engine keeps projects' data. Default: `$XDG_STATE_HOME/agents`.
pub const AGENTS_HOME: &str = "AGENTS_HOME";
/// The program the launcher runs instead of the pinned one.
pub const AGENTS_BIN: &str = "AGENTS_BIN";
/// Set in an agent's environment: its session's id.
pub const AGENTS_SESSION: &str = "AGENTS_SESSION";
/// Set in an agent's environment: the project's name.
pub const AGENTS_PROJECT: &str = "AGENTS_PROJECT";
/// Set in an agent's environment: the project's data folder.
pub const AGENTS_DATA_DIR: &str = "AGENTS_DATA_DIR";
/// Set in an agent's environment: the path of `agents.toml`.
pub const AGENTS_CONFIG: &str = "AGENTS_CONFIG";
/// Set in an agent's environment: who it is to the engine, `orchestrator` or `agent`; without it a person calls, the `operator`.
pub const AGENTS_CALLER: &str = "AGENTS_CALLER";
/// Set in an agent's environment: the engine's program, for hooks of the agent's program; goes on to be right when the engine is upgraded.
pub const AGENTS_PROGRAM: &str = "AGENTS_PROGRAM";
/// Set in an agent's environment: `{hash}/{session}`; marks every process below it, however far it strays.
pub const AGENTS_MARK: &str = "AGENTS_MARK";

/// Set in the environment of a task's agent: the task's id.
pub const AGENTS_TASK: &str = "AGENTS_TASK";
/// Set in the environment of a task's agent: the task's own folder, where it says how it went.
pub const AGENTS_TASK_DIR: &str = "AGENTS_TASK_DIR";

/// Set in the environment of the engine's daemons, so that an agent that starts some (of another project) does not take them for its own children.
pub const AGENTS_DAEMON: &str = "AGENTS_DAEMON";

/// Set for git and other commands that one of ours runs and waits for: marks all that they start, so that they end with it.
pub const AGENTS_COMMAND: &str = "AGENTS_COMMAND";

/// A variable's value; one that is set but empty counts as unset, as the XDG base directory specification says.
pub fn get(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|v| !v.is_empty())
}

/// A variable's value as text; not UTF-8 counts as unset.
pub fn text(name: &str) -> Option<String> {
    get(name).and_then(|v| v.into_string().ok())
}

/// A variable that holds an absolute path; a relative one is ignored, as the XDG base directory specification says.
fn absolute(name: &str) -> Option<PathBuf> {
    get(name).map(PathBuf::from).filter(|p| p.is_absolute())
}

/// The user's home folder: `$HOME`, else a place where nobody can make anything, not even root, and whose name says why.
pub fn home() -> PathBuf {
    absolute("HOME").unwrap_or_else(|| PathBuf::from("/dev/null/HOME-is-not-set"))
}

/// Whether anybody has said where the home folder is.
pub fn has_home() -> bool {
    absolute("HOME").is_some()
}

/// `~` and `~/…` mean the home folder; all else is as it stands.
pub fn expand(path: &str) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home(),
        Some(rest) if rest.starts_with('/') => home().join(&rest[1..]),
        _ => PathBuf::from(path),
    }
}

/// The opposite of [`expand`], for what people read.
pub fn shorten(path: &Path) -> String {
    match path.strip_prefix(home()) {
        Ok(rest) if rest.as_os_str().is_empty() => "~".into(),
        Ok(rest) => format!("~/{}", rest.display()),
        Err(_) => path.display().to_string(),
    }
}

/// `$XDG_CONFIG_HOME`, default `~/.config`.
pub fn config_home() -> PathBuf {
    absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home().join(".config"))
}

/// `$XDG_CACHE_HOME`, default `~/.cache`.
pub fn cache_home() -> PathBuf {
    absolute("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache"))
}

/// `$XDG_STATE_HOME`, default `~/.local/state`.
pub fn state_home() -> PathBuf {
    absolute("XDG_STATE_HOME").unwrap_or_else(|| home().join(".local/state"))
}

/// Where the engine keeps projects' data: `$AGENTS_HOME`, default `$XDG_STATE_HOME/agents`.
pub fn agents_home() -> PathBuf {
    absolute(AGENTS_HOME).unwrap_or_else(|| state_home().join("agents"))
}

/// Where sockets and locks lie: where this boot's first engine of this user put them, so that two logins with different environments find each other's;
/// before that where the environment says. Gone after a boot.
pub fn agents_runtime() -> PathBuf {
    super::runtime::claimed(&agents_home()).filter(|p| p.is_dir()).unwrap_or_else(runtime_here)
}

/// `$XDG_RUNTIME_DIR/agents`, else `agents-{uid}` in the temporary folder.
fn runtime_here() -> PathBuf {
    match absolute("XDG_RUNTIME_DIR") {
        Some(dir) => dir.join("agents"),
        None => std::env::temp_dir().join(format!("agents-{}", rustix::process::getuid().as_raw())),
    }
}

/// `$TMPDIR`, default `/tmp`.
pub fn temp_dir() -> PathBuf {
    std::env::temp_dir()
}

/// The folder this process stands in.
pub fn current_dir() -> io::Result<PathBuf> {
    std::env::current_dir()
}

/// COMPLETE: a shell asks what could stand at the end of a line (`clap_complete`).
pub fn asks_for_completion() -> bool {
    get("COMPLETE").is_some()
}

/// NO_COLOR (no-color.org): set and not empty means no colours.
pub fn no_color() -> bool {
    get("NO_COLOR").is_some() || text("TERM").as_deref() == Some("dumb")
}
