//! The cache of built engines, from which the launcher in a project takes the program for the tree it stands in.

use std::path::PathBuf;

use agents::cli::{Error, Result};
use agents::os::{self, env};

use super::carried::{self, Carried};

/// `$XDG_CACHE_HOME/agents/engines`.
pub fn folder() -> PathBuf {
    env::cache_home().join("agents/engines")
}

/// The carried engine's program, after [`seed`].
pub fn program() -> PathBuf {
    match env::get(env::AGENTS_BIN) {
        Some(path) => path.into(),
        None => folder().join(carried::ids().tree.to_string()).join("agents"),
    }
}

/// Puts a copy of this program where the launcher looks for the carried engine: started under that name it *is* that engine, so nothing is
/// compiled. Done once for each engine; nothing is done where `$AGENTS_BIN` names a program for all.
pub fn seed() -> Result<()> {
    if env::get(env::AGENTS_BIN).is_some() {
        return Ok(());
    }
    let Carried { tree, commit } = carried::ids();
    let tree = tree.to_string();
    let (engines, program) = (folder(), folder().join(&tree).join("agents"));
    // What others can write there would be run in your name.
    for folder in [engines.parent().unwrap_or(&engines), &engines, &engines.join(&tree)] {
        os::fs::closed_dir(folder).map_err(|e| {
            Error::from(e).hint(format!("if only you have written there: chmod go-w; else: rm -r {}   it is made anew", folder.display()))
        })?;
    }
    if !os::fs::is_executable(&program) {
        let aside = folder().join(&tree).join(format!(".agents.{}", std::process::id()));
        let copied = os::fs::copy(&os::process::own_program(), &aside)
            .and_then(|()| os::fs::set_mode(&aside, 0o755))
            .and_then(|()| os::fs::rename(&aside, &program));
        if copied.is_err() {
            let _ = os::fs::remove_file(&aside);
        }
        copied?;
    }
    let by_commit = folder().join("by-commit");
    let link = by_commit.join(commit.to_string());
    if os::fs::look(&link)? == os::fs::Found::Nothing {
        os::fs::create_dirs(&by_commit)?;
        match os::fs::symlink(&format!("../{tree}"), &link) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e)?,
            _ => {}
        }
    }
    Ok(())
}
