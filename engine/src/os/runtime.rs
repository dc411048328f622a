//! Which folder holds sockets and locks during this boot. "Alive is a lock": two folders would be two answers, and two agents where there must be one.

use std::io;
use std::path::{Path, PathBuf};

use super::lock::Lock;
use super::{clock, fs};

/// In the folder of all projects' data: this boot's id and the path, a line each.
fn file(home: &Path) -> PathBuf {
    home.join(".runtime")
}

/// Held while it is decided.
pub fn lock(home: &Path) -> io::Result<Lock> {
    Lock::wait_moments(&home.join(".runtime.lock"))
}

/// The folder that was decided on since the machine was started. It need not be there any more.
pub fn claimed(home: &Path) -> Option<PathBuf> {
    // Where everybody may put something, another user's word is none.
    let text = fs::is_own(&file(home)).ok()?.then(|| fs::read_to_string(&file(home)).ok())??;
    let (boot, path) = text.split_once('\n')?;
    (boot == clock::boot_id()).then(|| PathBuf::from(path.trim_end_matches('\n'))).filter(|p| p.is_absolute())
}

/// Decides on this folder, unless another one was decided on and is there: that one, then. The lock is the caller's.
pub fn claim(home: &Path, folder: &Path, _lock: &Lock) -> io::Result<Option<PathBuf>> {
    match claimed(home) {
        Some(other) if other == folder => Ok(None),
        Some(other) if other.is_dir() => Ok(Some(other)),
        Some(_) | None => {
            fs::write_atomic(&file(home), format!("{}\n{}\n", clock::boot_id(), folder.display()).as_bytes(), 0o600)?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_folder_a_boot_as_long_as_it_is_there() {
        let home = tempfile::tempdir().unwrap();
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        let lock = lock(home.path()).unwrap();
        assert_eq!(claimed(home.path()), None);
        assert_eq!(claim(home.path(), &a, &lock).unwrap(), None);
        assert_eq!(claimed(home.path()), Some(a.clone()));
        assert_eq!(claim(home.path(), &b, &lock).unwrap(), Some(a.clone()));
        std::fs::remove_dir(&a).unwrap();
        assert_eq!(claim(home.path(), &b, &lock).unwrap(), None);
        assert_eq!(claimed(home.path()), Some(b.clone()));
        std::fs::write(file(home.path()), format!("another boot\n{}\n", a.display())).unwrap();
        assert_eq!(claimed(home.path()), None);
    }
}
