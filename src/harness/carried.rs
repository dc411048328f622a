//! The engine that this program carries: its sources as one git commit without parents, the same on every machine.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use agents::cli::{Error, Result};
use gix::ObjectId;
use gix::objs::Kind;

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/carried.rs"));
}

/// The engine's version, as in its `Cargo.toml`.
pub const VERSION: &str = embedded::VERSION;

/// Author and committer of the commit. A fixed date, so that the same sources give the same commit: 2026-01-01T00:00:00Z.
const SIGNATURE: &str = "agents <agents@engine.invalid> 1767225600 +0000";

/// The ids of the carried engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    pub tree: ObjectId,
    pub commit: ObjectId,
}

/// The tag of the carried engine: `v` and its version.
pub fn tag() -> String {
    format!("v{VERSION}")
}

/// Computed at the first call: a few milliseconds, so nothing that must be instant asks for it.
pub fn ids() -> Carried {
    static IDS: OnceLock<Carried> = OnceLock::new();
    *IDS.get_or_init(|| {
        let hash = |kind, data: &[u8]| gix::objs::compute_hash(gix::hash::Kind::Sha1, kind, data).map_err(|e| Error::failed(e.to_string()));
        objects(embedded::FILES, hash).expect("hashing what lies in memory does not fail")
    })
}

/// Writes all objects of the carried engine into a repository; those that are there already stay.
pub fn write_into(repository: &gix::Repository) -> Result<Carried> {
    use gix::objs::Write;
    objects(embedded::FILES, |kind, data| {
        repository.objects.write_buf(kind, data).map_err(|e| Error::failed(format!("writing the engine's objects: {e}")))
    })
}

type File = (&'static str, bool, &'static [u8]);

/// A folder while its tree is put together. Keys sort as git sorts them: a folder's name as if it ended in a slash.
#[derive(Default)]
struct Folder {
    entries: BTreeMap<String, (&'static str, ObjectId)>,
}

impl Folder {
    fn add(&mut self, name: &str, mode: &'static str, id: ObjectId) {
        let key = if mode == "40000" { format!("{name}/") } else { name.to_owned() };
        self.entries.insert(key, (mode, id));
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![];
        for (key, (mode, id)) in &self.entries {
            out.extend_from_slice(format!("{mode} {}\0", key.trim_end_matches('/')).as_bytes());
            out.extend_from_slice(id.as_slice());
        }
        out
    }
}

/// Hands every object, blobs first, to `write`, which answers with its id.
fn objects(files: &[File], mut write: impl FnMut(Kind, &[u8]) -> Result<ObjectId>) -> Result<Carried> {
    let mut folders: BTreeMap<String, Folder> = BTreeMap::from([(String::new(), Folder::default())]);
    for (path, executable, bytes) in files {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mode = if *executable { "100755" } else { "100644" };
        folders.entry(folder.to_owned()).or_default().add(name, mode, write(Kind::Blob, bytes)?);
        for (slash, _) in folder.match_indices('/') {
            folders.entry(folder[..slash].to_owned()).or_default();
        }
    }
    // A folder sorts after those above it, so backwards each is complete when its turn comes.
    while let Some((path, folder)) = folders.pop_last() {
        let tree = write(Kind::Tree, &folder.encode())?;
        if path.is_empty() {
            let text = format!("tree {tree}\nauthor {SIGNATURE}\ncommitter {SIGNATURE}\n\n{} {}\n", super::CARRIED, tag());
            return Ok(Carried { tree, commit: write(Kind::Commit, text.as_bytes())? });
        }
        let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
        folders.entry(above.to_owned()).or_default().add(name, "40000", tree);
    }
    unreachable!("the root folder is always there")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    #[test]
    fn ids_are_what_git_computes_for_the_same_files() {
        let folder = tempfile::tempdir().unwrap();
        for (path, executable, bytes) in embedded::FILES {
            let target = folder.path().join(path);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::write(&target, bytes).unwrap();
            std::fs::set_permissions(&target, std::fs::Permissions::from_mode(if *executable { 0o755 } else { 0o644 })).unwrap();
        }
        let git = |args: &[&str]| {
            let mut command = Command::new("git");
            command.current_dir(folder.path()).args(args).env("HOME", folder.path()).env("GIT_CONFIG_NOSYSTEM", "1");
            for who in ["AUTHOR", "COMMITTER"] {
                command.env(format!("GIT_{who}_NAME"), "agents").env(format!("GIT_{who}_EMAIL"), "agents@engine.invalid");
                command.env(format!("GIT_{who}_DATE"), "1767225600 +0000");
            }
            let output = command.output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        git(&["init", "-q"]);
        git(&["add", "-f", "-A"]);
        let tree = git(&["write-tree"]);
        assert_eq!(tree, ids().tree.to_string());
        assert_eq!(git(&["commit-tree", "-m", &format!("agents {}", tag()), &tree]), ids().commit.to_string());
    }

    #[test]
    fn the_carried_engine_stands_on_its_own() {
        let forbidden = ["fl", "eet"].concat();
        assert!(embedded::FILES.iter().any(|(p, ..)| *p == "Cargo.toml"));
        for (path, _, bytes) in embedded::FILES {
            assert!(!path.starts_with("target/") && !path.contains("/."), "{path}");
            let text = String::from_utf8_lossy(bytes).to_lowercase();
            assert!(!text.contains(&forbidden), "engine/{path} names who looks after it");
        }
    }
}
