//! The submodule `engine` as a project declares it.

use std::path::Path;

use agents::cli::{Error, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os::fs::{self, Found};

/// The URL of an engine whose harness has none: the project's own repository.
pub const OWN_URL: &str = "./";

fn wrong(path: &Path, error: impl std::fmt::Display) -> Error {
    Error::failed(format!("{}: {error}", path.display()))
}

/// What a tree records under `engine`, if that is a submodule.
pub fn pin_in(tree: &gix::Tree<'_>) -> Option<gix::ObjectId> {
    tree.find_entry(ENGINE_FOLDER).filter(|e| e.mode().is_commit()).map(|e| e.object_id())
}

/// The engine's URL in a project's `.gitmodules`, whose form is checked.
pub fn gitmodules(folder: &Path) -> Result<String> {
    let path = folder.join(".gitmodules");
    if !matches!(fs::look(&path)?, Found::File { .. }) {
        return Err(wrong(&path, "expected a file that names the submodule engine"));
    }
    let text = fs::read(&path)?;
    let file =
        gix::config::File::from_bytes_no_includes(&text, gix::config::file::Metadata::api(), gix::config::file::init::Options::default())
            .map_err(|e| wrong(&path, e))?;
    let mut url = None;
    for section in file.sections_by_name("submodule").into_iter().flatten() {
        let name = section.header().subsection_name().map(ToString::to_string).unwrap_or_default();
        let value = |key: &str| section.value(key).map(|v| v.to_string());
        let at = value("path");
        if name != ENGINE_FOLDER && at.as_deref() != Some(ENGINE_FOLDER) {
            continue;
        }
        if name != ENGINE_FOLDER || at.as_deref() != Some(ENGINE_FOLDER) || url.is_some() {
            return Err(wrong(
                &path,
                format!("expected one submodule `engine` at path `engine`, found {name:?} at {:?}", at.unwrap_or_default()),
            ));
        }
        url = value("url");
    }
    let url = url.ok_or_else(|| wrong(&path, "names no submodule `engine` with a url"))?;
    if url != OWN_URL {
        super::url::check(&url).map_err(|e| e.of(path.display()))?;
    }
    Ok(url)
}
