//! A project as it lies on disk: found from any folder inside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::contract::layout::{CONFIG_FILE, Layout};
use crate::contract::records::Launch;
use crate::document;
use crate::error::{Error, Result};
use crate::model::{Agent, Config, Runtime, Start};
use crate::os::cgroup::obstacle;
use crate::os::{env, fs, tmux};
use crate::store::meta::Meta;
use crate::store::prompt;
use crate::store::session::TMUX_NAME;
use crate::store::worktree::Repository;

/// A project whose `agents.toml` is valid.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// The canonical path of the folder that holds `agents.toml`.
    pub folder: PathBuf,
    pub config: Config,
    pub layout: Layout,
}

/// The longest argument that Linux takes (`MAX_ARG_STRLEN` of execve(2), less the end).
pub(super) const ARGUMENT_BYTES_MAX: usize = 131_071;

/// How bad a finding of [`Project::check`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

impl Project {
    /// The project around a folder: `agents.toml` is looked for there and above.
    pub fn find(from: &Path) -> Result<Project> {
        let here = fs::canonical(from)?;
        // A session's worktree holds a copy of `agents.toml`, and is part of the project that it was made for.
        let here = super::instance::owner_of_worktree(&here)?.unwrap_or(here);
        let Some(folder) = here.ancestors().find(|f| !matches!(fs::look(&f.join(CONFIG_FILE)), Ok(fs::Found::Nothing))) else {
            let error = Error::failed(format!("no {CONFIG_FILE} in {} or any folder above it", here.display()));
            return Err(error
                .hint("go to a project's folder, or name it with -C DIR")
                .hint(format!("a project is a folder with an {CONFIG_FILE}; `agents schema` says what stands in it")));
        };
        let file = folder.join(CONFIG_FILE);
        let Some(text) = document::text(&file)? else {
            return Err(Error::invalid(&file, "it is a link that leads nowhere").hint("put the file there, or remove the link"));
        };
        let name = folder.file_name().map_or_else(|| "root".into(), |n| n.to_string_lossy().into_owned());
        let config = Config::parse(&file, &text, &name)?;
        let layout = Layout::new(folder, &config.name, &super::instance::home()?, &env::agents_runtime());
        Ok(Project { folder: folder.to_path_buf(), config, layout })
    }

    /// The declared agent of that name.
    pub fn agent(&self, name: &str) -> Option<&Agent> {
        self.config.agents.iter().find(|a| a.name == name)
    }

    /// What a session's host is to start; where the backend reads its prompt from a file, that is written. `started`: an agent has run in this session before.
    pub fn launch(&self, agent: &Agent, meta: &Meta, started: bool) -> Result<Launch> {
        let prompt = prompt::first(self, agent, meta)?;
        let folder = self.session_folder(meta)?;
        let prompt_file = self.layout.launch(&meta.session).with_extension("prompt");
        if let Some(text) = prompt.as_ref().filter(|_| agent.backend.start.iter().any(|a| a.contains("{prompt_file}"))) {
            if let Some(above) = prompt_file.parent() {
                fs::private_dir(above)?;
            }
            fs::write_atomic(&prompt_file, text.as_bytes(), 0o600)?;
        }
        let env = BTreeMap::from(
            [
                (env::AGENTS_SESSION, meta.session.clone()),
                (env::AGENTS_PROJECT, self.config.name.clone()),
                (env::AGENTS_DATA_DIR, self.layout.data.display().to_string()),
                (env::AGENTS_CONFIG, self.folder.join(CONFIG_FILE).display().to_string()),
                (env::AGENTS_CALLER, meta.caller().to_owned()),
                (env::AGENTS_MARK, self.layout.mark(&meta.session)),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        let mut launch = agent.launch(Start {
            session: &meta.session,
            folder: &folder,
            prompt: prompt.as_deref(),
            prompt_file: prompt.as_ref().map(|_| prompt_file.as_path()),
            resume_id: meta.resume_id.as_deref(),
            unique: format!("{}-{}", self.layout.hash, meta.session),
            started,
            env,
        });
        launch.tmux = (self.config.runtime == Runtime::Tmux).then(|| self.layout.tmux_name(&meta.session));
        if let Some(long) = launch.start.iter().chain(&launch.resume).find(|a| a.len() > ARGUMENT_BYTES_MAX) {
            let what =
                format!("agent {}: an argument of its program has {} bytes; the kernel takes {ARGUMENT_BYTES_MAX}", agent.name, long.len());
            return Err(Error::failed(what).hint("shorten its prompt, or use a backend that reads `{prompt_file}`"));
        }
        Ok(launch)
    }

    /// Notes in a session's metadata where its terminal will be shown.
    pub fn note_runtime(&self, meta: &mut Meta) {
        meta.runtime = self.config.runtime.word().into();
        match self.config.runtime {
            Runtime::Pty => drop(meta.other.remove(TMUX_NAME)),
            Runtime::Tmux => meta.set(TMUX_NAME, self.layout.tmux_name(&meta.session)),
        }
    }

    /// That tmux is there, and new enough, where sessions are to be shown in it.
    pub fn check_runtime(&self) -> Result<()> {
        if self.config.runtime == Runtime::Pty {
            return Ok(());
        }
        let what = match tmux::version() {
            Some(version) if tmux::is_new_enough(&version) => return Ok(()),
            Some(version) => format!("this one is {version}"),
            None => "which was not found on PATH".to_owned(),
        };
        Err(Error::failed(format!("runtime = \"tmux\" needs tmux {} or newer; {what}", tmux::VERSION_MIN))
            .hint(format!("install it, or take `runtime` out of {CONFIG_FILE}: sessions then run without tmux")))
    }

    /// Where a session's agent runs: the project's folder, or the same place in the session's worktree.
    pub fn session_folder(&self, meta: &Meta) -> Result<PathBuf> {
        if !meta.has_worktree() {
            return Ok(self.folder.clone());
        }
        Ok(self.layout.worktree(&meta.session).join(Repository::around(&self.folder)?.inside))
    }

    /// What would keep agents from starting, as far as it can be seen before: prompts, programs.
    pub fn check(&self) -> Vec<(Severity, Error)> {
        let mut findings: Vec<_> = self.check_runtime().err().into_iter().map(|e| (Severity::Error, e)).collect();
        let search = env::text("PATH").unwrap_or_default();
        for agent in &self.config.agents {
            if let Err(error) = prompt::of_agent(self, agent, "session", &self.folder) {
                findings.push((Severity::Error, error));
            }
            let program = agent.backend.start.first().map(String::as_str);
            let program = if program == Some("{command}") { agent.command.first().map(String::as_str) } else { program };
            if let Some(program) = program.filter(|p| fs::find_program(p, &self.folder, &search).is_none()) {
                let error = Error::failed(format!("agent {}: its program `{program}` was not found", agent.name));
                findings.push((
                    Severity::Warning,
                    error.hint(format!("install it, or choose another backend for {} in {CONFIG_FILE}", agent.name)),
                ));
            }
        }
        for agent in &self.config.agents {
            let obstacle = obstacle(&agent.caps);
            if !obstacle.is_empty() {
                let error = Error::failed(format!("agent {}: its caps would not be in force: {obstacle}", agent.name));
                let hint = "run it in a service with Delegate=yes, as `agents service install` makes one, or leave the caps out";
                findings.push((Severity::Warning, error.hint(hint)));
            }
        }
        if self.config.agents.is_empty() {
            findings.push((Severity::Warning, Error::failed(format!("{CONFIG_FILE} declares no agent")).hint("add [agent.NAME]")));
        }
        findings
    }
}
