//! Groups of sessions whose project is gone: whoever killed its daemons and removed its data left them empty, and nothing else would ever remove them.
//!
//! A group is signed with the data folder that it belongs to. Where that is there, whether anything runs or not, its own engine uses the group again or removes it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;

use super::group::{DAEMONS, Group, PREFIX, homes, remove};

/// The extended attribute with the path.
const OWNER: &str = "user.agents.data";
/// The kernel's own limit for a path.
const PATH_BYTES_MAX: usize = 4096;

impl Group {
    /// Notes whose it is; where the kernel keeps no attributes here, it is never taken for a leftover.
    pub fn sign(&self, data: &Path) {
        for folder in &self.folders {
            let _ = rustix::fs::setxattr(folder, OWNER, data.as_os_str().as_encoded_bytes(), XattrFlags::empty());
        }
    }
}

/// Removes what lies beside this process's own place, is this user's, holds no process and belongs to a data folder that is not there; so many were there.
pub fn remove_leftovers() -> usize {
    let user = rustix::process::geteuid().as_raw();
    let is_leftover = |folder: &Path| {
        let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let ours = name.starts_with(PREFIX) && name != DAEMONS && std::fs::metadata(folder).is_ok_and(|m| m.uid() == user);
        ours && owner(folder).is_some_and(|data| is_gone(&data))
    };
    let mut removed = 0;
    for home in homes() {
        let Ok(entries) = std::fs::read_dir(home) else { continue };
        for folder in entries.flatten().map(|e| e.path()).filter(|f| is_leftover(f)) {
            // The kernel refuses it where a process has come into it meanwhile.
            remove(&folder);
            removed += usize::from(is_gone(&folder));
        }
    }
    removed
}

fn owner(folder: &Path) -> Option<PathBuf> {
    let mut value = vec![0u8; PATH_BYTES_MAX];
    let length = rustix::fs::getxattr(folder, OWNER, value.as_mut_slice()).ok()?;
    value.truncate(length);
    String::from_utf8(value).ok().map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Certainly: what cannot be looked at is not gone.
fn is_gone(path: &Path) -> bool {
    matches!(std::fs::symlink_metadata(path), Err(e) if e.kind() == std::io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_macros)]
    use super::super::Caps;
    use super::*;

    #[test]
    fn only_what_belongs_to_nobody_any_more_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (there, gone) = (folder.path().to_owned(), folder.path().join("gone"));
        let group = |what: &str, data: Option<&Path>| {
            let made = Group::make(&format!("agents-test-{what}-{}", std::process::id()), &Caps::default());
            data.inspect(|data| made.group.sign(data));
            made.group
        };
        let [unsigned, kept, left, lives] =
            [group("unsigned", None), group("kept", Some(&there)), group("left", Some(&gone)), group("lives", Some(&gone))];
        if left.is_empty() || owner(&left.folders[0]).is_none() {
            return println!("skipped: no control group can be made and signed here");
        }
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        for fd in lives.entry().procs {
            rustix::io::write(fd, child.id().to_string().as_bytes()).unwrap();
        }
        // Whoever else comes up at this moment may be the one who removes it.
        remove_leftovers();
        assert_eq!([&unsigned, &kept, &left, &lives].map(Group::stands), [true, true, false, true]);
        lives.kill();
        child.wait().unwrap();
        [unsigned, kept, lives].iter().for_each(Group::remove);
    }
}
