//! What may be run: nothing of a project's repository is, before the operator has trusted that folder with that content.
//!
//! A project that `create` made is trusted for good. One that was added is trusted as it was then: its `agents.toml`, which names programs, and its engine's
//! commit. The commit that the registry itself pins is always trusted, as that is the operator's own word.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agents::cli::{Error, Result, document};
use agents::contract::layout::{CONFIG_FILE, ENGINE_FOLDER};
use agents::os::fs;
use serde::{Deserialize, Serialize};

use super::head;
use crate::registry::{Project, Registry, records, text_id};

/// What was trusted, by folder: its path from the home if it is below that, so that a home that is moved takes it along.
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

fn file(records: &Path) -> PathBuf {
    records.join("trust.json")
}

fn read(home: &Path) -> Result<Record> {
    read_in(&records::find(home)?.folder)
}

fn read_in(records: &Path) -> Result<Record> {
    let path = file(records);
    let Some(text) = fs::read_if_there(&path)? else { return Ok(Record::default()) };
    serde_json::from_str(&text).map_err(|e| Error::invalid(&path, e.to_string()).hint("move it away: what it held is asked again"))
}

/// A project's content as it is now.
fn content(config: &Path, folder: &Path) -> Result<Trusted> {
    let config = document::text(&folder.join(config))?.unwrap_or_default();
    let engine = head::read(&folder.join(ENGINE_FOLDER)).commit().map(|c| c.to_string()).unwrap_or_default();
    Ok(Trusted::Content { config: text_id(&config), engine })
}

fn key(home: &Path, folder: &Path) -> String {
    let plain = |path: &Path| fs::canonical(path).unwrap_or_else(|_| path.to_path_buf());
    let folder = plain(folder);
    match folder.strip_prefix(plain(home)) {
        Ok(below) => Path::new(".").join(below).display().to_string(),
        Err(_) => folder.display().to_string(),
    }
}

fn write(home: &Path, folder: &Path, trusted: Trusted) -> Result<()> {
    write_in(&records::claim(home)?, key(home, folder), trusted)
}

fn write_in(folder: &Path, key: String, trusted: Trusted) -> Result<()> {
    let path = file(folder);
    let _lock = records::lock(folder)?;
    let mut record = read_in(folder)?;
    if record.folders.get(&key) == Some(&trusted) {
        return Ok(());
    }
    record.folders.insert(key, trusted);
    let text = serde_json::to_string_pretty(&record).map_err(|e| Error::failed(e.to_string()))?;
    Ok(fs::write_atomic(&path, text.as_bytes(), 0o600)?)
}

/// A project that was made here.
pub fn made(home: &Path, folder: &Path) -> Result<()> {
    write(home, folder, Trusted::Made)
}

/// The operator has looked at the project as it is now.
pub fn grant(home: &Path, project: &Project, folder: &Path) -> Result<()> {
    if read(home)?.folders.get(&key(home, folder)) == Some(&Trusted::Made) {
        return Ok(());
    }
    write(home, folder, content(project.config.as_ref(), folder)?)
}

/// The same of a home's own agent.
pub fn grant_home(home: &Path) -> Result<()> {
    if read(home)?.folders.get(&key(home, home)) == Some(&Trusted::Made) {
        return Ok(());
    }
    write(home, home, content(CONFIG_FILE.as_ref(), home)?)
}

/// Refuses a project that was not trusted, or has changed since.
pub fn check(registry: &Registry, project: &Project, folder: &Path) -> Result<()> {
    let trusted = read(&registry.home)?.folders.remove(&key(&registry.home, folder));
    judge(trusted.as_ref(), &project.config, folder, project.commit.as_deref(), &format!("fleet start {} --trust", project.name))
}

/// The same for a home's own agent, whose engine and configuration may have come along with a cloned home.
pub fn check_home(home: &Path) -> Result<()> {
    judge(read(home)?.folders.get(&key(home, home)), CONFIG_FILE, home, None, "fleet po up --trust")
}

/// `ours`: the engine's commit that the operator has named; `command`: what says that it is to be trusted.
fn judge(trusted: Option<&Trusted>, config: &str, folder: &Path, ours: Option<&str>, command: &str) -> Result<()> {
    let now = content(config.as_ref(), folder)?;
    let ours = |engine: &str| ours == Some(engine);
    let file = config;
    let refuse = |what: String| {
        let error =
            Error::failed(what).hint(format!("look at {} and {}/", folder.join(file).display(), folder.join(ENGINE_FOLDER).display()));
        Err(error.hint(format!("{command}   if what they would run is what you want")))
    };
    match (trusted, &now) {
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
        let records = tempfile::tempdir().unwrap();
        let folder = records.path().join("web");
        let git = folder.join("engine/.git");
        fs::create_dirs(&git).unwrap();
        let config = folder.join(CONFIG_FILE);
        fs::write_atomic(&config, b"[agent.a]\n", 0o644).unwrap();
        let grant = |trusted| write_in(records.path(), "web".into(), trusted).unwrap();
        let now = || content(CONFIG_FILE.as_ref(), &folder).unwrap();
        let check = || judge(read_in(records.path()).unwrap().folders.get("web"), CONFIG_FILE, &folder, None, "fleet start web --trust");
        assert!(check().unwrap_err().message.contains("nobody has said"));
        grant(now());
        assert!(check().unwrap_err().message.contains("nothing says what it holds"));
        fs::write_atomic(&git.join("HEAD"), "1".repeat(40).as_bytes(), 0o644).unwrap();
        assert!(check().unwrap_err().message.contains("neither trusted"));
        grant(now());
        check().unwrap();
        fs::write_atomic(&config, b"[agent.a]\nbackend = \"shell\"\ncommand = [\"rm\"]\n", 0o644).unwrap();
        assert!(check().unwrap_err().message.contains("has changed"));
        grant(Trusted::Made);
        check().unwrap();
    }

    #[test]
    fn what_lies_in_the_home_is_known_by_its_place_there() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dirs(&home.path().join("projects/web")).unwrap();
        let key = |folder: &Path| key(home.path(), folder);
        assert_eq!((key(home.path()).as_str(), key(&home.path().join("projects/web")).as_str()), ("./", "./projects/web"));
        assert_eq!(key(Path::new("/")), "/");
    }
}
