//! Pins: what each project's HEAD records for its engine, what is checked out, what the registry says.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use agents::contract::layout::ENGINE_FOLDER;
use agents::os::{env, fs};
use gix::ObjectId;
use gix::sec::Trust;

use super::lean::Trees;
use super::report::{PinReport, PinState};
use crate::checkout::head::{self, Head};
use crate::harness::mirror::{Tags, path as mirror_path, version};
use crate::harness::{Mirror, submodule};
use crate::registry::{Project, Registry};

/// A larger cache is begun anew: it holds what thousands of projects' heads were over months.
const CACHE_BYTES_MAX: u64 = 16 << 20;

/// What is known of harnesses' tags, and which commit records which pin, for one look at many projects.
pub struct Pins {
    tags: BTreeMap<String, Arc<Tags>>,
    /// A commit never changes, so neither does its pin: `None`, it records none.
    known: HashMap<ObjectId, Option<ObjectId>>,
    fresh: Mutex<Vec<(ObjectId, Option<ObjectId>)>>,
    /// For a look at what is changed.
    pub trees: Trees,
}

fn cache_file() -> PathBuf {
    env::cache_home().join("fleet/pins")
}

fn trees_file() -> PathBuf {
    env::cache_home().join("fleet/trees")
}

/// What goes wrong costs the next look some time, no more.
fn keep_in(file: &Path, lines: &str) {
    if lines.is_empty() {
        return;
    }
    if matches!(fs::look(file), Ok(fs::Found::File { size_bytes, .. }) if size_bytes > CACHE_BYTES_MAX) {
        let _ = fs::remove_file(file);
    }
    let _ = file.parent().map(fs::create_dirs);
    let _ = fs::append(file, lines.as_bytes());
}

impl Pins {
    /// Reads the caches and the tags of the harnesses' mirrors that are there; fetches nothing. `long`: what is changed will be looked at.
    pub fn load(registry: &Registry, projects: &[&Project], long: bool) -> Pins {
        let trees = if long { Trees::load(&trees_file()) } else { Trees::default() };
        let mut tags = BTreeMap::new();
        for (name, harness) in &registry.harnesses {
            let used = projects.iter().any(|p| p.harness == *name);
            if used && fs::is_dir(&mirror_path(name, harness.url.as_deref())) {
                // A mirror that cannot be opened costs the tags' names, no more.
                if let Some(found) = Mirror::open(name, harness.url.as_deref()).ok().and_then(|m| m.tags().ok()) {
                    tags.insert(name.clone(), found);
                }
            }
        }
        let text = fs::read_if_there(&cache_file()).ok().flatten().unwrap_or_default();
        let id = |hex: &str| ObjectId::from_hex(hex.as_bytes()).ok();
        let known = text
            .lines()
            .filter_map(|l| l.split_once(' '))
            .filter_map(|(commit, pin)| Some((id(commit)?, if pin == "-" { None } else { Some(id(pin)?) })));
        Pins { tags, known: known.collect(), fresh: Mutex::new(vec![]), trees }
    }

    /// Writes down what was learned.
    pub fn keep(self) {
        let fresh = self.fresh.into_inner().unwrap_or_default();
        let line = |(commit, pin): &(ObjectId, Option<ObjectId>)| match pin {
            Some(pin) => format!("{commit} {pin}\n"),
            None => format!("{commit} -\n"),
        };
        keep_in(&cache_file(), &fresh.iter().map(line).collect::<String>());
        keep_in(&trees_file(), &self.trees.learned());
    }

    /// The tag of a harness that names a commit, the highest version of several.
    pub fn tag_of(&self, harness: &str, commit: ObjectId) -> Option<String> {
        let tags = self.tags.get(harness)?;
        tags.iter().filter(|(_, c)| **c == commit).map(|(t, _)| t).max_by_key(|t| version(t)).cloned()
    }

    /// How a project's pin stands, and what a person should know about it.
    pub fn look(&self, project: &Project, folder: &Path) -> Result<(PinReport, Option<String>), String> {
        let mut head = head::read(folder);
        if head == Head::Other {
            head = through_library(folder)?;
        }
        let report = |state, commit: Option<ObjectId>| PinReport {
            state,
            commit: commit.map(|c| c.to_string()),
            version: commit.and_then(|c| self.tag_of(&project.harness, c)),
        };
        let commit = match head {
            Head::None => return Err(format!("{} is no git repository", env::shorten(folder))),
            Head::Unborn => return Ok((report(PinState::Unborn, None), Some("nothing is committed yet".into()))),
            Head::Branch { commit, .. } | Head::Detached(commit) => commit,
            Head::Other => return Err("its HEAD cannot be read".into()),
        };
        let Some(pin) = self.pin_of(folder, commit)? else {
            return Ok((report(PinState::Missing, None), Some("its HEAD records no engine".into())));
        };
        let said = |id: ObjectId| self.tag_of(&project.harness, id).unwrap_or_else(|| id.to_hex_with_len(10).to_string());
        let wanted = project.commit.as_deref().and_then(|c| ObjectId::from_hex(c.as_bytes()).ok());
        if let Some(wanted) = wanted
            && let Some(means) = project.reference.as_ref().and_then(|r| self.tags.get(&project.harness)?.get(r))
            && *means != wanted
        {
            let tag = project.reference.as_deref().unwrap_or_default();
            return Ok((report(PinState::Moved, Some(pin)), Some(format!("tag {tag} now means another commit than when it was pinned"))));
        }
        if let Some(wanted) = wanted.filter(|w| *w != pin) {
            let name = project.reference.clone().unwrap_or_else(|| said(wanted));
            return Ok((report(PinState::Drifted, Some(pin)), Some(format!("HEAD pins {}, the registry says {name}", said(pin)))));
        }
        match head::read(&folder.join(ENGINE_FOLDER)).commit() {
            Some(out) if out != pin => {
                Ok((report(PinState::Drifted, Some(pin)), Some(format!("engine/ is at {}, HEAD pins {}", said(out), said(pin)))))
            }
            Some(_) => Ok((report(PinState::Ok, Some(pin)), None)),
            None => Ok((report(PinState::Ok, Some(pin)), Some("engine/ is not checked out: git submodule update --init".into()))),
        }
    }

    fn pin_of(&self, folder: &Path, commit: ObjectId) -> Result<Option<ObjectId>, String> {
        if let Some(pin) = self.known.get(&commit) {
            return Ok(*pin);
        }
        let repository = open(folder)?;
        let wrong = |e: &dyn std::fmt::Display| format!("HEAD's commit cannot be read: {e}");
        let tree = repository.find_commit(commit).map_err(|e| wrong(&e))?.tree().map_err(|e| wrong(&e))?;
        let pin = submodule::pin_in(&tree);
        if let Ok(mut fresh) = self.fresh.lock() {
            fresh.push((commit, pin));
        }
        Ok(pin)
    }
}

/// Opened so that nothing the repository's configuration names is ever run.
pub fn open(folder: &Path) -> Result<gix::Repository, String> {
    gix::open_opts(folder, gix::open::Options::default().with(Trust::Reduced)).map_err(|e| e.to_string())
}

fn through_library(folder: &Path) -> Result<Head, String> {
    let repository = open(folder)?;
    let mut head = repository.head().map_err(|e| e.to_string())?;
    if head.is_unborn() {
        return Ok(Head::Unborn);
    }
    let commit = head.peel_to_commit().map_err(|e| e.to_string())?.id;
    Ok(match head.referent_name() {
        Some(name) => Head::Branch { name: name.shorten().to_string(), commit },
        None => Head::Detached(commit),
    })
}
