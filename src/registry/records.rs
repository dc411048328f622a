//! Where fleet keeps what it knows about a home and acts upon: what is trusted, what was interrupted. Outside of the home, bound to it.
//!
//! A home's own files come from wherever the home does: cloned, copied, pulled. Nothing in them may say what is trusted, or which folders an interrupted
//! operation is to remove. So this lies in the user's own `$XDG_STATE_HOME/fleet/{hash}`. `hash` is of what tells the home's folder from every other one,
//! whatever it is called: another one in its place is known nothing of, and a home that was renamed is known as before.

use std::path::{Path, PathBuf};

use agents::cli::{Error, Result, out};
use agents::contract::layout::hash;
use agents::os::{env, fs, lock::Lock};
use serde::{Deserialize, Serialize};

/// The file that says which home it is.
const ORIGIN: &str = "origin";

/// A home's folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Origin {
    /// What it was called when it was last written to.
    path: String,
    /// None: its filesystem does not tell; then the path stands for it.
    birth: Option<String>,
}

impl Origin {
    fn of(home: &Path) -> Result<Origin> {
        let home = fs::canonical(home)?;
        Ok(Origin { path: home.display().to_string(), birth: fs::birth(&home) })
    }

    fn hash(&self) -> String {
        hash(Path::new(self.birth.as_ref().unwrap_or(&self.path)))
    }

    fn read(folder: &Path) -> Result<Option<Origin>> {
        let path = folder.join(ORIGIN);
        let Some(text) = fs::read_if_there(&path)? else { return Ok(None) };
        let odd = |e: serde_json::Error| Error::invalid(&path, e.to_string()).hint("remove it: it is written anew");
        serde_json::from_str(&text).map(Some).map_err(odd)
    }

    fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|e| Error::failed(e.to_string()))?;
        Ok(fs::write_atomic(&folder.join(ORIGIN), text.as_bytes(), 0o600)?)
    }
}

/// The records of one home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// Where they lie, or would.
    pub folder: PathBuf,
    /// What the home was called when they were last written to, where nothing of that name is this home any more.
    pub moved_from: Option<PathBuf>,
}

/// The records of a home; changes nothing.
pub fn find(home: &Path) -> Result<Records> {
    find_in(&above(), home)
}

/// The records of a home, to be written: made where there are none yet.
pub fn claim(home: &Path) -> Result<PathBuf> {
    claim_in(&above(), home)
}

/// [`claim`] by the holder of the home's lock: from now on they belong to where it is now.
pub fn follow(home: &Path) -> Result<PathBuf> {
    let folder = claim(home)?;
    let now = Origin::of(home)?;
    let _lock = lock(&folder)?;
    if Origin::read(&folder)?.as_ref() != Some(&now) {
        now.write(&folder)?;
    }
    Ok(folder)
}

/// Forgets what is known of a home: in this same folder another one was made.
pub fn forget(home: &Path) -> Result<()> {
    Ok(fs::remove_tree(&find(home)?.folder)?)
}

/// Held by whoever writes among the records beside the journal.
pub fn lock(folder: &Path) -> Result<Lock> {
    Ok(Lock::wait_moments(&folder.join("lock"))?)
}

/// Removes what a killed command was writing there.
pub fn sweep(folder: &Path) -> Result<()> {
    let _lock = lock(folder)?;
    Ok(fs::remove_half_written(folder, ".")?)
}

fn above() -> PathBuf {
    env::state_home().join("fleet")
}

fn find_in(above: &Path, home: &Path) -> Result<Records> {
    let now = Origin::of(home)?;
    let folder = above.join(now.hash());
    // What others can write, or have put there, says nothing about what this user trusts.
    for folder in [above, &folder] {
        fs::own_dir_if_there(folder).map_err(|e| Error::from(e).hint("move it away; fleet makes its own"))?;
    }
    let moved_from = match Origin::read(&folder)? {
        Some(then) if then.birth != now.birth => {
            let found = format!("{} holds what is known of {}, whose hash is the same", folder.display(), then.path);
            return Err(Error::failed(found).hint("move it away; fleet makes its own"));
        }
        // A folder may have two names at once, by a bind mount.
        Some(then) if then.path != now.path && fs::birth(Path::new(&then.path)) != now.birth => Some(PathBuf::from(then.path)),
        Some(_) | None => None,
    };
    Ok(Records { folder, moved_from })
}

fn claim_in(above: &Path, home: &Path) -> Result<PathBuf> {
    let Records { folder, .. } = find_in(above, home)?;
    fs::private_dir(above)?;
    fs::private_dir(&folder)?;
    if Origin::read(&folder)?.is_none() {
        let _lock = lock(&folder)?;
        let now = Origin::of(home)?;
        warn_of_former(above, &folder, &now);
        now.write(&folder)?;
        above.ancestors().take(2).try_for_each(fs::sync_dir)?;
    }
    Ok(folder)
}

/// A home that was restored or copied to its old place is a new folder. Only its owner can say that it is the same home.
fn warn_of_former(above: &Path, folder: &Path, now: &Origin) {
    let others = fs::list(above).unwrap_or_default().into_iter().map(|name| above.join(name)).filter(|f| f != folder);
    for other in others {
        if let Ok(Some(then)) = Origin::read(&other)
            && then.path == now.path
        {
            let [other, folder] = [&other, folder].map(env::shorten);
            out::warn(&format!("another folder stood at {} before; what was trusted and done there is not taken over", now.path));
            out::say(format!("if it is the same home, restored or copied: rm -r {folder} && mv {other} {folder} && rm {folder}/{ORIGIN}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_of_the_folder_and_not_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let [state, home, other] = ["state", "home", "other"].map(|name| folder.path().join(name));
        fs::create_dirs(&home).unwrap();
        let records = claim_in(&state, &home).unwrap();
        assert_eq!(find_in(&state, &home).unwrap(), Records { folder: records.clone(), moved_from: None });
        fs::rename(&home, &other).unwrap();
        assert_eq!(find_in(&state, &other).unwrap(), Records { folder: records.clone(), moved_from: Some(home.clone()) });
        fs::create_dirs(&home).unwrap();
        assert_ne!(claim_in(&state, &home).unwrap(), records);
        // A link leads to the same home.
        let link = folder.path().join("link");
        fs::symlink(&other.display().to_string(), &link).unwrap();
        assert_eq!(claim_in(&state, &link).unwrap(), records);
    }

    #[test]
    fn where_no_birth_is_told_the_path_counts() {
        let hash = |path: &str, birth: Option<&str>| Origin { path: path.into(), birth: birth.map(str::to_owned) }.hash();
        assert_eq!(hash("/a", Some("1 2")), hash("/b", Some("1 2")));
        assert_ne!(hash("/a", Some("1 2")), hash("/a", Some("1 3")));
        assert_eq!(hash("/a", None), hash("/a", None));
        assert_ne!(hash("/a", None), hash("/b", None));
    }
}
