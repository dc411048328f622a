//! Where the registry is, when nobody says.

use std::path::{Path, PathBuf};

use agents::cli::{Error, Result};
use agents::os;

use super::{FILE, FLEET_REGISTRY};

/// The registry's file: `explicit`, `$FLEET_REGISTRY`, `fleet.toml` from here upward, `$XDG_CONFIG_HOME/fleet/fleet.toml`.
/// What is named must be there; a folder means the file in it.
pub(super) fn find(explicit: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = explicit {
        return named(path, "--registry");
    }
    if let Some(path) = os::env::get(FLEET_REGISTRY) {
        return named(Path::new(&path), "$FLEET_REGISTRY");
    }
    let here = os::env::current_dir()?;
    let config = os::env::config_home().join("fleet").join(FILE);
    for file in here.ancestors().map(|folder| folder.join(FILE)) {
        if os::fs::is_file(&file) {
            return own(file);
        }
    }
    if os::fs::is_file(&config) {
        return Ok(config);
    }
    Err(Error::failed(format!("no registry found: there is no {FILE} in {} or any folder above it", here.display()))
        .because(format!("{config} does not exist either", config = config.display()))
        .because("neither --registry FILE nor $FLEET_REGISTRY names one")
        .hint("fleet init            makes a fleet home here")
        .hint("fleet --registry FILE …   uses one that is elsewhere"))
}

fn named(path: &Path, by: &str) -> Result<PathBuf> {
    let file = if os::fs::is_dir(path) { path.join(FILE) } else { path.to_path_buf() };
    if os::fs::is_file(&file) {
        return Ok(file);
    }
    let names_file = path.file_name().is_some_and(|n| n == FILE);
    let folder = if names_file { file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")) } else { path };
    Err(Error::failed(format!("{by} names {}, which is not there", file.display()))
        .hint(format!("fleet init {}    makes a fleet home there", folder.display())))
}

/// A file met on the way up may be anybody's: in a shared folder it could name projects and commands of theirs.
fn own(file: PathBuf) -> Result<PathBuf> {
    if os::fs::is_own(&file)? {
        return Ok(file);
    }
    Err(Error::failed(format!("{} belongs to another user, so it is not used unasked", file.display()))
        .hint(format!("fleet --registry {} …   if you trust it", file.display())))
}
