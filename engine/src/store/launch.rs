//! What each session's host starts, as JSON: mode 0600, for the environment in it may hold secrets.

use std::path::PathBuf;

use crate::contract::layout::Layout;
use crate::contract::records::Launch;
use crate::error::{Error, Result};
use crate::os::fs;

/// What the session's host starts.
pub(crate) fn read(layout: &Layout, id: &str) -> Result<Launch> {
    let path = layout.launch(id);
    let text = fs::read_to_string(&path)?;
    serde_json::from_str(&text).map_err(|e| {
        Error::failed(format!("{}: not a launch record: {e}", path.display())).hint("`agents up` writes it anew from agents.toml")
    })
}

pub(super) fn file(layout: &Layout, launch: &Launch) -> Result<(PathBuf, Vec<u8>)> {
    let json = serde_json::to_vec_pretty(launch).map_err(|e| Error::failed(format!("session {}: {e}", launch.session)))?;
    Ok((layout.launch(&launch.session), json))
}
