//! The project a command is about, and which of its sessions is meant by a name.

use std::path::PathBuf;

use super::Context;
use crate::contract::layout::{CONFIG_FILE, Layout};
use crate::contract::task::TaskId;
use crate::error::{Error, Kind, Result};
use crate::os::fs;
use crate::os::lock::Lock;
use crate::store::instance;
use crate::store::meta::{self, Meta};
use crate::store::project::Project;
use crate::store::session;

/// A project, also one whose `agents.toml` is broken or gone for now: what runs can still be looked at and stopped.
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) layout: Layout,
    /// Why there is no project: `agents.toml` is invalid.
    pub(super) project: Result<Project>,
}

impl Place {
    /// Around the folder where the command stands.
    pub(super) fn find(context: &Context) -> Result<Place> {
        let error = match Project::find(&context.folder) {
            Ok(project) => {
                // Renamed since it last ran, its data lies under the old name until the next `up`.
                let elsewhere = if fs::is_dir(&project.layout.data) { None } else { instance::find(&project.folder)? };
                let layout = elsewhere.unwrap_or_else(|| project.layout.clone());
                return Ok(Place { folder: project.folder.clone(), layout, project: Ok(project) });
            }
            Err(error) if error.kind == Kind::Invalid => error,
            Err(error) => return Err(error),
        };
        let here = fs::canonical(&context.folder)?;
        let folder = here.ancestors().find(|f| fs::exists(&f.join(CONFIG_FILE)));
        match folder.map(|f| instance::find(f).map(|layout| (f, layout))).transpose()? {
            Some((folder, Some(layout))) => Ok(Place { folder: folder.into(), layout, project: Err(error) }),
            _ => Err(error),
        }
    }

    /// The agents that `agents.toml` declares, in its order; none where it is invalid.
    pub(super) fn declared(&self) -> Vec<&str> {
        self.project.as_ref().map(|p| p.config.agents.iter().map(|a| a.name.as_str()).collect()).unwrap_or_default()
    }

    /// All sessions; a warning for each whose metadata cannot be read.
    pub(super) fn sessions(&self) -> Result<Vec<Meta>> {
        let (metas, damaged) = meta::survey(&self.layout)?;
        for (_, error) in damaged {
            super::out::warn(&error.to_string());
        }
        Ok(metas)
    }

    /// The session that a word names: its id, or its agent's name. Always exactly, never by a part of it.
    pub(super) fn session(&self, word: &str) -> Result<Meta> {
        let metas = self.sessions()?;
        let named = || metas.iter().find(|m| m.key(session::NAME) == Some(word));
        let of_agent = || metas.iter().find(|m| m.agent == word && !m.is_spawned());
        if let Some(meta) = metas.iter().find(|m| m.session == word).or_else(of_agent).or_else(named) {
            return Ok(meta.clone());
        }
        if self.declared().contains(&word) {
            return Err(Error::failed(format!("agent {word} has no session yet")).hint(format!("agents up {word}")));
        }
        Err(unknown(word, metas.iter().flat_map(|m| [m.session.as_str(), m.agent.as_str()]).chain(self.declared())))
    }

    /// The sessions of these agents or ids; all where none is named.
    pub(super) fn chosen(&self, words: &[String]) -> Result<Vec<Meta>> {
        if words.is_empty() {
            return self.sessions();
        }
        let mut metas: Vec<Meta> = vec![];
        for word in words {
            let meta = self.session(word)?;
            if !metas.contains(&meta) {
                metas.push(meta);
            }
        }
        Ok(metas)
    }
}

/// For a word that names nothing: what was probably meant.
pub(super) fn unknown<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let error = Error::usage(format!("there is no agent or session {word:?} here"));
    if word.parse::<TaskId>().is_ok() {
        return error.hint(format!("tasks have verbs of their own: agents task show {word}, agents task --help"));
    }
    let known: std::collections::BTreeSet<&str> = known.collect();
    if known.is_empty() {
        return error.hint(format!("{CONFIG_FILE} declares none"));
    }
    error.hint(crate::document::suggest(word, known))
}

/// The lock of commands that change this project's sessions, or who holds it.
pub(super) fn command_lock(layout: &Layout, command: &str) -> Result<Lock> {
    let path = layout.command_lock();
    let Some(mut lock) = Lock::try_take(&path)? else {
        return Err(Error::busy(format!("{} is changing this project", Lock::holder(&path))).hint("run this again when it is done"));
    };
    lock.sign(&format!("`agents {command}` (pid {})", std::process::id()))?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let known = || ["orchestrator", "int-1", "int-12"].into_iter();
        assert_eq!(unknown("orchestrater", known()).hints, ["did you mean `orchestrator`?"]);
        assert_eq!(unknown("int-2", known()).hints, ["did you mean `int-1`?"]);
        assert_eq!(unknown("t12", known()).hints, ["tasks have verbs of their own: agents task show t12, agents task --help"]);
        assert_eq!(unknown("zzzzzz", known()).hints, ["known here: int-1, int-12, orchestrator"]);
        assert_eq!(unknown("x", std::iter::empty()).hints, ["agents.toml declares none"]);
    }

    #[test]
    fn who_holds_the_lock_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::from_folders(folder.path(), folder.path());
        let held = command_lock(&layout, "down").unwrap();
        let error = command_lock(&layout, "up").err().unwrap();
        assert_eq!(error.kind, Kind::Busy);
        assert!(error.message.starts_with("`agents down` (pid "), "{error}");
        drop(held);
        assert!(command_lock(&layout, "up").is_ok());
    }
}
