//! Which boot a project's sessions belong to: after another one they are brought back with care.

use crate::contract::layout::Layout;
use crate::contract::records::Launch;
use crate::error::Result;
use crate::os::{clock, fs};
use crate::store::meta::{Meta, Wanted};
use crate::store::{self, launch};

/// How this project stands to the machine's last boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Boot {
    /// What runs here was started since then, or nothing ever was.
    Same,
    /// Sessions are being brought back, or that was interrupted.
    Restoring,
    /// Whatever ran here ran before it.
    Other,
}

const RESTORING: &str = " restoring";

/// Reads it.
pub(crate) fn look(layout: &Layout) -> Boot {
    let Ok(text) = fs::read_to_string(&layout.boot()) else { return Boot::Same };
    match text.trim_end().strip_prefix(&clock::boot_id()) {
        Some("") => Boot::Same,
        Some(RESTORING) => Boot::Restoring,
        // Also what a power cut left of the file.
        Some(_) | None => Boot::Other,
    }
}

/// The sessions that are wanted and ran before.
pub(crate) fn interrupted(metas: &[Meta]) -> impl Iterator<Item = &Meta> {
    metas.iter().filter(|m| m.wanted == Wanted::Up && m.has_started())
}

/// After another boot: from now on these sessions are started by resuming. Repeated, it does nothing.
pub(crate) fn begin(layout: &Layout, metas: &[Meta]) -> Result<Boot> {
    let boot = look(layout);
    if boot == Boot::Other {
        // Who has no readable launch says so when it is started.
        let known = interrupted(metas).filter_map(|m| launch::read(layout, &m.session).ok());
        let changed: Vec<Launch> = known.filter(|l| !l.started).map(|l| Launch { started: true, ..l }).collect();
        store::write(layout, &changed, &[])?;
        write(layout, RESTORING)?;
        return Ok(Boot::Restoring);
    }
    Ok(boot)
}

/// All are back, or there was nothing to bring back.
pub(crate) fn finish(layout: &Layout) -> Result<()> {
    if look(layout) == Boot::Same && fs::exists(&layout.boot()) { Ok(()) } else { write(layout, "") }
}

/// Not synced: what a power cut leaves of it is of another boot in any case.
fn write(layout: &Layout, state: &str) -> Result<()> {
    Ok(fs::replace(&layout.boot(), format!("{}{state}\n", clock::boot_id()).as_bytes(), 0o600)?)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_is_noticed_until_all_are_back() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::from_folders(folder.path(), folder.path());
        assert_eq!((look(&layout), begin(&layout, &[]).unwrap()), (Boot::Same, Boot::Same));
        finish(&layout).unwrap();
        assert_eq!(look(&layout), Boot::Same);
        for other in ["another\n", "", "\u{0}\u{0}", "1234"] {
            std::fs::write(layout.boot(), other).unwrap();
            assert_eq!(
                (look(&layout), begin(&layout, &[]).unwrap(), look(&layout)),
                (Boot::Other, Boot::Restoring, Boot::Restoring),
                "{other:?}"
            );
            assert_eq!(begin(&layout, &[]).unwrap(), Boot::Restoring);
            finish(&layout).unwrap();
            assert_eq!(look(&layout), Boot::Same);
        }
    }
}
