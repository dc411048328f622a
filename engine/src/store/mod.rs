//! What lies on disk for one project: who may write it, and how it is read when it is not as it should be.
//!
//! Nothing here decides or talks: damage is an [`Error`](crate::error::Error) that names the file, and every other file goes on working.

pub(crate) mod boot;
pub(crate) mod conversation;
pub(crate) mod events;
pub(crate) mod instance;
pub(crate) mod launch;
pub(crate) mod mail;
pub(crate) mod meta;
pub(crate) mod moved;
pub(crate) mod notify;
pub(crate) mod project;
pub(crate) mod prompt;
pub(crate) mod run;
pub(crate) mod session;
pub(crate) mod tasks;
pub(crate) mod version;
pub(crate) mod worktree;

use crate::contract::layout::Layout;
use crate::contract::records::Launch;
use crate::error::Result;
use crate::os::fs;

/// Writes launches and metadata together, durably, at about the price of one file. Launches go first: a session that is wanted has something to start.
pub(crate) fn write(layout: &Layout, launches: &[Launch], metas: &[meta::Meta]) -> Result<()> {
    let mut files = vec![];
    for launch in launches {
        files.push(launch::file(layout, launch)?);
    }
    files.extend(metas.iter().map(|m| meta::file(layout, m)));
    Ok(fs::write_batch_sparing(&layout.spares(), &layout.sessions(), &files, 0o600)?)
}
