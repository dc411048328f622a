//! Where a project's data lies: names only, nothing is touched.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::task::{Place, TaskId};

/// The engine's own file in a project.
pub const CONFIG_FILE: &str = "agents.toml";
/// The folder of a project that holds its engine.
pub const ENGINE_FOLDER: &str = "engine";

/// First 12 hex digits of the sha256 of the canonical path of the folder that holds `agents.toml`.
pub fn hash(project_folder: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let digest = Sha256::digest(project_folder.as_os_str().as_bytes());
    digest.iter().take(6).map(|b| format!("{b:02x}")).collect()
}

/// The places of one project's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `{hash}-{project}`.
    pub instance: String,
    pub hash: String,
    /// `$AGENTS_HOME/{instance}`: survives a boot.
    pub data: PathBuf,
    /// `$XDG_RUNTIME_DIR/agents/{hash}`: sockets and locks, gone after a boot.
    pub runtime: PathBuf,
}

impl Layout {
    /// `folder` is the canonical path of the folder that holds `agents.toml`; `project` its name as a path component (see [`component`]);
    /// `home` and `runtime` are `os::env::agents_home()` and `os::env::agents_runtime()`.
    pub fn new(folder: &Path, project: &str, home: &Path, runtime: &Path) -> Layout {
        let hash = hash(folder);
        let instance = format!("{hash}-{}", component(project));
        Layout { data: home.join(&instance), runtime: runtime.join(&hash), instance, hash }
    }
    /// From its two folders, as handed to a daemon.
    pub fn from_folders(data: &Path, runtime: &Path) -> Layout {
        let last = |p: &Path| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Layout { instance: last(data), hash: last(runtime), data: data.to_path_buf(), runtime: runtime.to_path_buf() }
    }
    /// The path of the project that owns the data; another path in it means that two hashes collide.
    pub fn origin(&self) -> PathBuf {
        self.data.join(".origin")
    }
    /// By what the project's folder is known again under another path.
    pub fn birth(&self) -> PathBuf {
        self.data.join(".birth")
    }
    pub fn sessions(&self) -> PathBuf {
        self.data.join("sessions")
    }
    /// Files that were sessions' metadata, to be written anew. What is in them means nothing.
    pub fn spares(&self) -> PathBuf {
        self.data.join("spares")
    }
    /// A session's metadata, `key=value` lines.
    pub fn session(&self, id: &str) -> PathBuf {
        self.sessions().join(id)
    }
    /// What a session's host starts: [`super::records::Launch`] as JSON.
    ///
    /// A task's lies in the task's own folder while it runs.
    pub fn launch(&self, id: &str) -> PathBuf {
        if let Ok(task) = id.parse() {
            return self.task(Place::Running, task).join("launch.json");
        }
        self.data.join("launch").join(format!("{id}.json"))
    }
    /// The conversation that its agent was found to have.
    pub fn conversation(&self, id: &str) -> PathBuf {
        self.launch(id).with_extension("conversation")
    }
    /// What the program that this command asks said of its version, as it was last asked.
    pub fn version(&self, command: &str) -> PathBuf {
        self.data.join("versions").join(hash(Path::new(command)))
    }
    /// When it was last woken.
    pub fn wake(&self, id: &str) -> PathBuf {
        self.launch(id).with_extension("wake")
    }
    pub fn archive(&self) -> PathBuf {
        self.data.join("archive")
    }
    pub fn worktrees(&self) -> PathBuf {
        self.data.join("worktrees")
    }
    /// The git worktree of a session that has one of its own.
    pub fn worktree(&self, id: &str) -> PathBuf {
        self.worktrees().join(id)
    }
    /// Held by the command that makes, ends or restores the session, and by what it runs for that.
    pub fn operation_lock(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.op"))
    }
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }
    /// The session's raw terminal output. `.log.1` is the part before it.
    pub fn log(&self, id: &str) -> PathBuf {
        self.logs().join(format!("{id}.log"))
    }
    /// What the engine's own daemons said on standard error.
    pub fn daemon_log(&self) -> PathBuf {
        self.logs().join("daemons.log")
    }
    pub fn events(&self) -> PathBuf {
        self.data.join("events.jsonl")
    }
    pub fn watchdog_socket(&self) -> PathBuf {
        self.runtime.join("watchdog.sock")
    }
    pub fn watchdog_lock(&self) -> PathBuf {
        self.runtime.join("watchdog.lock")
    }
    /// Taken by whoever starts a watchdog, for as long as that takes.
    pub fn start_lock(&self) -> PathBuf {
        self.runtime.join("start.lock")
    }
    pub fn host_socket(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.sock"))
    }
    /// Held by a session's host.
    pub fn host_lock(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.host"))
    }
    /// Inherited by a session's agent and all below it.
    pub fn agent_lock(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.agent"))
    }
    /// Which boot the sessions that run belong to.
    pub fn boot(&self) -> PathBuf {
        self.data.join("boot")
    }
    /// The host's last word on its session, [`super::records::Run`] as JSON: for whoever comes after it.
    pub fn run(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.run"))
    }
    /// Messages that the session's agent has not taken yet.
    pub fn mail(&self, id: &str) -> PathBuf {
        self.data.join("mail").join(id)
    }
    /// How far the host has typed a message: [`super::mail::Typing`] as JSON.
    pub fn typing(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.typing"))
    }
    /// There while somebody who is attached has a line half typed.
    pub fn draft(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.draft"))
    }
    /// Leads to the engine's program, under the name by which that is the engine.
    pub fn program(&self) -> PathBuf {
        self.runtime.join("bin/agents")
    }
    pub fn tasks(&self) -> PathBuf {
        self.data.join("tasks")
    }
    /// The folder of the tasks in one state.
    pub fn task_place(&self, place: Place) -> PathBuf {
        match place {
            Place::Pending | Place::Running | Place::Held => self.tasks().join(place.word()),
            Place::Finished(end) => self.tasks().join("finished").join(end.word()),
        }
    }
    /// A task's own folder in that state.
    pub fn task(&self, place: Place, id: TaskId) -> PathBuf {
        self.task_place(place).join(id.to_string())
    }
    /// There while the operator wants no task to be started.
    pub fn tasks_stopped(&self) -> PathBuf {
        self.tasks().join("stopped")
    }
    /// Whom the watchdog tells of what: [`super::notify::Notify`] as JSON.
    pub fn notify(&self) -> PathBuf {
        self.data.join("notify.json")
    }
    /// What it has told: [`super::notify::Told`] as JSON.
    pub fn told(&self) -> PathBuf {
        self.data.join("told.json")
    }
    /// Taken by a command that changes this project's sessions.
    pub fn command_lock(&self) -> PathBuf {
        self.runtime.join("command.lock")
    }
    /// Where the project's own tmux listens.
    pub fn tmux_socket(&self) -> PathBuf {
        self.runtime.join("tmux.sock")
    }
    /// By what that tmux is configured.
    pub fn tmux_config(&self) -> PathBuf {
        self.runtime.join("tmux.conf")
    }
    /// The session's name in tmux: `{hash}-{prefix}-{n}`. A dot, which means something else there, becomes a plus, which no id has.
    pub fn tmux_name(&self, id: &str) -> String {
        format!("{}-{}", self.hash, id.replace('.', "+"))
    }
    /// Held by the client that shows the session in its pane, and signed with its process.
    pub fn pane_lock(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.pane"))
    }
    /// Held by who makes the session's pane, and signed with its process.
    pub fn pane_maker_lock(&self, id: &str) -> PathBuf {
        self.runtime.join(format!("{id}.pane-maker"))
    }
    /// The name of a session's control group.
    pub fn group(&self, id: &str) -> String {
        format!("agents-{}-{id}", self.hash)
    }
    /// The value of `AGENTS_MARK` in the environment of everything a session runs.
    pub fn mark(&self, id: &str) -> String {
        format!("{}/{id}", self.hash)
    }
}

/// Whether this may be a session's id, or an agent's, backend's or task's name: `[a-z0-9][a-z0-9._-]{0,63}`, and a branch's name for git: no `..`, no dot
/// and no `.lock` at the end.
pub fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut bytes = text.bytes();
    let letters = bytes.next().is_some_and(plain) && bytes.all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
    // Lower case is all that got so far, so no other spelling of `.lock` has to be thought of.
    let for_git = !text.contains("..") && !text.ends_with('.') && !text.ends_with(".lock");
    text.len() <= 64 && letters && for_git
}

/// A project's name as one path component: everything outside `[A-Za-z0-9._-]` becomes `-`, no leading dot or dash, 40 characters at most, `project` where nothing is left.
pub fn component(name: &str) -> String {
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).collect();
    let short: String = plain.trim_start_matches(['.', '-']).chars().take(40).collect();
    let short = short.trim_end_matches(['.', '-']);
    if short.is_empty() { "project".into() } else { short.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_path_components() {
        for (name, expected) in [
            ("web", "web"),
            ("Composio Integrator", "Composio-Integrator"),
            ("../../etc", "etc"),
            ("", "project"),
            ("\u{1b}[31m", "31m"),
            (".hidden", "hidden"),
            ("é", "project"),
        ] {
            assert_eq!(component(name), expected, "{name:?}");
        }
    }

    #[test]
    fn a_hash_is_twelve_hex_digits_of_the_path() {
        // printf %s /srv/web | sha256sum
        assert_eq!(hash(Path::new("/srv/web")).len(), 12);
        assert_ne!(hash(Path::new("/srv/web")), hash(Path::new("/srv/web/")));
    }
}
