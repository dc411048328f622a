//! What may be run: nothing of a project's repository is, before the operator has trusted that folder with that content.
//!
//! A project that `create` made is trusted for good. One that was added is trusted as it was then: its `agents.toml`, which names programs, and its engine's
//! commit. The commit that the registry itself pins is always trusted, as that is the operator's own word.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agents::cli::{Error, Result};
use agents::contract::layout::{CONFIG_FILE, ENGINE_FOLDER};
use agents::os::fs;
use agents::os::lock::Lock;
use serde::{Deserialize, Serialize};

use super::head;
use crate::registry::{Project, Registry, text_id};

/// What was trusted, by folder.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    folders: BTreeMap<String, Trusted>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Trusted {
    /// Made here.
    Made,
    /// As it was looked at: the id of its configuration's text, and its engine's commit.
    Content { config: String, engine: String },
}

fn file(home: &Path) -> PathBuf {
    home.join(".fleet/trust.json")
}

fn read(home: &Path) -> Result<Record> {
    let path = file(home);
    own(&path)?;
    let Some(text) = fs::read_if_there(&path)? else { return Ok(Record::default()) };
    serde_json::from_str(&text).map_err(|e| Error::invalid(&path, e.to_string()).hint("move it away: what it held is asked again"))
}

/// What others can write says nothing about what this user trusts.
fn own(file: &Path) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::own_dir_if_there(folder).map_err(|e| Error::from(e).hint("move it away; fleet makes its own"))
}

/// A project's content as it is now.
fn content(config: &Path, folder: &Path) -> Result<Trusted> {
    let config = fs::read_if_there(&folder.join(config))?.unwrap_or_default();
    let engine = head::read(&folder.join(ENGINE_FOLDER)).commit().map(|c| c.to_string()).unwrap_or_default();
    Ok(Trusted::Content { config: text_id(&config), engine })
}

fn key(folder: &Path) -> String {
    fs::canonical(folder).unwrap_or_else(|_| folder.to_path_buf()).display().to_string()
}

fn write(home: &Path, folder: &Path, trusted: Trusted) -> Result<()> {
    let path = file(home);
    own(&path)?;
    fs::create_dirs(path.parent().unwrap_or(home))?;
    let _lock = Lock::wait(&path.with_extension("lock"))?;
    let mut record = read(home)?;
    if record.folders.get(&key(folder)) == Some(&trusted) {
        return Ok(());
    }
    record.folders.insert(key(folder), trusted);
    let text = serde_json::to_string_pretty(&record).map_err(|e| Error::failed(e.to_string()))?;
    Ok(fs::write_atomic(&path, text.as_bytes(), 0o600)?)
}

/// Removes what a killed command was writing beside the record.
pub fn sweep(home: &Path) -> Result<()> {
    let path = file(home);
    let folder = path.parent().unwrap_or(home);
    own(&path)?;
    if !fs::is_dir(folder) {
        return Ok(());
    }
    let _lock = Lock::wait(&path.with_extension("lock"))?;
    for name in fs::list(folder)?.iter().filter(|n| n.starts_with(".trust.json.") && n.ends_with(".tmp")) {
        fs::remove_file(&folder.join(name))?;
    }
    Ok(())
}

/// A project that was made here.
pub fn made(home: &Path, folder: &Path) -> Result<()> {
    write(home, folder, Trusted::Made)
}

/// The operator has looked at the project as it is now.
pub fn grant(home: &Path, project: &Project, folder: &Path) -> Result<()> {
    if read(home)?.folders.get(&key(folder)) == Some(&Trusted::Made) {
        return Ok(());
    }
    write(home, folder, content(project.config.as_ref(), folder)?)
}

/// The same of a home's own agent.
pub fn grant_home(home: &Path) -> Result<()> {
    if read(home)?.folders.get(&key(home)) == Some(&Trusted::Made) {
        return Ok(());
    }
    write(home, home, content(CONFIG_FILE.as_ref(), home)?)
}

/// Refuses a project that was not trusted, or has changed since.
pub fn check(registry: &Registry, project: &Project, folder: &Path) -> Result<()> {
    let record = read(&registry.home)?;
    judge(&record, &project.config, folder, project.commit.as_deref(), &format!("fleet start {} --trust", project.name))
}

/// The same for a home's own agent, whose engine and configuration may have come along with a cloned home.
pub fn check_home(home: &Path) -> Result<()> {
    judge(&read(home)?, CONFIG_FILE, home, None, "fleet po up --trust")
}

/// `ours`: the engine's commit that the operator has named; `command`: what says that it is to be trusted.
fn judge(record: &Record, config: &str, folder: &Path, ours: Option<&str>, command: &str) -> Result<()> {
    let now = content(config.as_ref(), folder)?;
    let ours = |engine: &str| ours == Some(engine);
    let file = config;
    let refuse = |what: String| {
        let error =
            Error::failed(what).hint(format!("look at {} and {}/", folder.join(file).display(), folder.join(ENGINE_FOLDER).display()));
        Err(error.hint(format!("{command}   if what they would run is what you want")))
    };
    match (record.folders.get(&key(folder)), &now) {
        (Some(Trusted::Made), _) => Ok(()),
        (None, _) => refuse("nobody has said yet that what it runs is to be trusted on this machine".into()),
        (Some(Trusted::Content { config: old, engine: pinned }), Trusted::Content { config, engine }) => {
            if old != config {
                refuse(format!("{file} has changed since it was trusted"))
            } else if engine.is_empty() {
                refuse("engine/ is no checked out submodule, so nothing says what it holds".into())
            } else if pinned != engine && !ours(engine) {
                refuse("engine/ is at a commit that is neither trusted nor the registry's".into())
            } else {
                Ok(())
            }
        }
        (Some(Trusted::Content { .. }), Trusted::Made) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_trusted_is_trusted_until_it_changes() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("web");
        let git = folder.join("engine/.git");
        fs::create_dirs(&git).unwrap();
        let config = folder.join("agents.toml");
        fs::write_atomic(&config, b"[agent.a]\n", 0o644).unwrap();
        let text = format!("[[project]]\nname = \"web\"\nlocation = \"{}\"\n", folder.display());
        let registry = Registry::from_text(&home.path().join("fleet.toml"), &text).unwrap();
        let project = registry.project("web").unwrap();
        assert!(check(&registry, project, &folder).unwrap_err().message.contains("nobody has said"));
        grant(&registry.home, project, &folder).unwrap();
        assert!(check(&registry, project, &folder).unwrap_err().message.contains("nothing says what it holds"));
        fs::write_atomic(&git.join("HEAD"), "1".repeat(40).as_bytes(), 0o644).unwrap();
        assert!(check(&registry, project, &folder).unwrap_err().message.contains("neither trusted"));
        grant(&registry.home, project, &folder).unwrap();
        check(&registry, project, &folder).unwrap();
        fs::write_atomic(&config, b"[agent.a]\nbackend = \"shell\"\ncommand = [\"rm\"]\n", 0o644).unwrap();
        assert!(check(&registry, project, &folder).unwrap_err().message.contains("has changed"));
        made(&registry.home, &folder).unwrap();
        check(&registry, project, &folder).unwrap();
    }
}
