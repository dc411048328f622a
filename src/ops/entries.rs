//! What operations write into the registry.

use agents::cli::Result;
use agents::os;

use super::journal::Entry;
use crate::registry::edit::{Edit, NewProject};
use crate::registry::{Location, Registry};

/// Records what was pinned: name, reference, and the commit that the reference meant.
pub fn set_pins(edit: &mut Edit, pins: &[(&str, &str, String)]) -> Result<()> {
    for (name, reference, commit) in pins {
        edit.set(name, "ref", *reference)?;
        edit.set(name, "commit", commit.as_str())?;
    }
    Ok(())
}

/// Adds a project.
pub fn add(registry: &Registry, name: &str, entry: &Entry) -> Result<Registry> {
    let mut edit = Edit::open(registry)?;
    edit.add_project(&project(registry, name, entry)?)?;
    edit.save()
}

/// Whether [`add`] would take it.
pub fn check(registry: &Registry, name: &str, entry: &Entry) -> Result<()> {
    let mut edit = Edit::open(registry)?;
    edit.add_project(&project(registry, name, entry)?)?;
    edit.check()
}

/// Puts the whole text back as it was.
pub fn restore(registry: &Registry, text: &str) -> Result<Registry> {
    // The file, not a link to it: the link stays.
    let file = os::fs::canonical(&registry.path)?;
    let mode = match os::fs::look(&file)? {
        os::fs::Found::File { mode, .. } => mode,
        _ => return Err(agents::cli::Error::failed(format!("{} is no file", file.display()))),
    };
    os::fs::write_atomic(&file, text.as_bytes(), mode)?;
    Registry::load(&registry.path)
}

/// An entry as the registry takes it.
pub fn project(registry: &Registry, name: &str, entry: &Entry) -> Result<NewProject> {
    let location = Location::parse(&entry.location, &registry.home).map_err(agents::cli::Error::failed)?;
    let text = |t: &String| Some(t.clone()).filter(|t| !t.is_empty());
    Ok(NewProject {
        harness: text(&entry.harness),
        reference: text(&entry.reference),
        commit: text(&entry.commit),
        repo: entry.repo.clone(),
        tags: entry.tags.clone(),
        ..NewProject::new(name, location)
    })
}
