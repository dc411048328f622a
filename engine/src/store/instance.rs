//! A project's data folder and runtime folder: made, private, and certainly this project's.

use std::path::{Path, PathBuf};

use crate::contract::layout::Layout;
use crate::error::{Error, Result};
use crate::os::lock::Lock;
use crate::os::{clock, env, fs, process, runtime};
use crate::store::boot::{self, Boot};
use crate::store::project::Project;

/// Makes and checks the project's folders. Cheap when all is there.
pub(crate) fn prepare(project: &Project) -> Result<()> {
    prepare_at(&project.folder, &project.layout)
}

fn prepare_at(folder: &Path, layout: &Layout) -> Result<()> {
    match origin(&layout.data)? {
        Some(path) if path == folder => {}
        Some(_) if let Some(from) = super::moved::interrupted(layout)? => {
            return Err(Error::failed(format!("taking over what ran in {} was interrupted", from.display()))
                .hint("agents info --adopt   finishes it"));
        }
        Some(path) => return Err(collision(folder, &path, &layout.data)),
        None => {
            settle_in(folder, layout)?;
        }
    }
    let (home, root) = (parent(&layout.data), parent(&layout.runtime));
    fs::private_dir(&layout.data).map_err(not_private)?;
    let fresh = [layout.sessions(), launches(layout), layout.archive(), layout.logs(), layout.worktrees()];
    for path in &fresh {
        fs::private_dir(path).map_err(not_private)?;
    }
    if origin(&layout.data)?.is_none() {
        sign(folder, layout)?;
        fs::sync_dir(home)?;
    }
    settle_runtime(layout)?;
    fs::private_dir(root).map_err(not_private)?;
    fs::private_dir(&layout.runtime).map_err(not_private)
}

/// Says whose the data is.
pub(super) fn sign(folder: &Path, layout: &Layout) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    match fs::birth(folder) {
        Some(birth) => fs::write_atomic(&layout.birth(), birth.as_bytes(), 0o600)?,
        None => fs::remove_file(&layout.birth())?,
    }
    Ok(fs::write_atomic(&layout.origin(), folder.as_os_str().as_bytes(), 0o600)?)
}

/// Sees to it that sockets and locks lie in one folder for as long as the machine runs, whatever the environment says, and that nothing goes on living
/// that held locks in a folder which was removed (as some systems do with `$XDG_RUNTIME_DIR` when the user logs out).
pub(crate) fn settle_runtime(layout: &Layout) -> Result<()> {
    let (home, root) = (parent(&layout.data), parent(&layout.runtime));
    if fs::is_dir(&layout.runtime) && runtime::claimed(home).as_deref() == Some(root) {
        return Ok(());
    }
    let lock = runtime::lock(home)?;
    if let Some(other) = runtime::claim(home, root, &lock)? {
        // Decided by somebody else a moment ago: where things lie was looked up before.
        return Err(Error::busy(format!("the folder for sockets and locks has just become {}", other.display())).hint("run this again"));
    }
    // It ran in this boot, and its folder is gone.
    if fs::look(&layout.runtime)? == fs::Found::Nothing && fs::is_file(&layout.boot()) && boot::look(layout) != Boot::Other {
        end_stranded(layout)?;
    }
    // Made before the lock is let go: whoever comes next finds it.
    fs::private_dir(root).map_err(not_private)?;
    fs::private_dir(&layout.runtime).map_err(not_private)
}

/// Ends what lives of the project: its locks and sockets were removed, so nobody can reach it, and nobody would know that it lives.
fn end_stranded(layout: &Layout) -> Result<()> {
    let (marks, deadline, mut ended) = (format!("{}/", layout.hash), clock::monotonic() + GONE, 0);
    loop {
        let stranded = process::of_project(&layout.data, &marks);
        let Some(first) = stranded.first() else { break };
        if clock::monotonic() > deadline {
            return Err(Error::failed(format!("{} was removed while the project ran", layout.runtime.display()))
                .because(format!("process {} of it does not end", first.pid))
                .hint("end it, then run this again"));
        }
        ended += stranded.len();
        for process in stranded {
            process.signal(rustix::process::Signal::KILL);
            if let Some(process) = process.open() {
                process::wait_for_end(&process, deadline)?;
            }
        }
    }
    if ended > 0 {
        crate::cli::out::warn(&format!(
            "{} was removed while the project ran, so nobody could reach it: {ended} processes were ended",
            layout.runtime.display()
        ));
    }
    Ok(())
}

/// A killed process is gone within this, unless the kernel waits for a device.
const GONE: std::time::Duration = std::time::Duration::from_secs(5);

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn launches(layout: &Layout) -> PathBuf {
    parent(&layout.launch("any")).to_path_buf()
}

/// Errors of `private_dir` say what is wrong with which folder; this says what to do.
fn not_private(error: std::io::Error) -> Error {
    let hint = match error.kind() {
        std::io::ErrorKind::Other => {
            "`chmod 700` it if it is yours; if not, set AGENTS_HOME or XDG_RUNTIME_DIR to a folder of your own (under sudo: `sudo -H`)"
        }
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded | std::io::ErrorKind::ReadOnlyFilesystem => {
            return error.into();
        }
        _ if !env::has_home() => "set HOME",
        _ => "set AGENTS_HOME or XDG_RUNTIME_DIR to a folder where you may write",
    };
    Error::from(error).hint(hint)
}

/// The folder of all projects' data. What lies there decides what is run, so nobody else may have a hand in it.
pub(super) fn home() -> Result<PathBuf> {
    let home = env::agents_home();
    fs::unspoiled_dir_if_there(&home).map_err(not_private)?;
    Ok(home)
}

/// The names of what lies in the folder of all projects' data.
pub(super) fn all(home: &Path) -> Result<Vec<String>> {
    fs::list(home)
        .map_err(|e| Error::from(e).hint("it is to hold the data of projects: set AGENTS_HOME to a folder of your own, or unset it"))
}

/// Where the data of the project in `folder` (canonical) lies, by what stands in `.origin` and not by the project's name: for when `agents.toml` cannot
/// be read. None: it has never run.
pub(crate) fn find(folder: &Path) -> Result<Option<Layout>> {
    let (home, runtime) = (home()?, env::agents_runtime());
    let hash = crate::contract::layout::hash(folder);
    for name in all(&home)?.iter().filter(|name| name.starts_with(&format!("{hash}-"))) {
        if origin(&home.join(name))?.as_deref() == Some(folder) {
            return Ok(Some(Layout::from_folders(&home.join(name), &runtime.join(&hash))));
        }
    }
    Ok(None)
}

/// The project's folder, for a folder in one of its sessions' worktrees.
pub(crate) fn owner_of_worktree(folder: &Path) -> Result<Option<PathBuf>> {
    let Ok(home) = fs::canonical(&home()?) else { return Ok(None) };
    let Ok(below) = folder.strip_prefix(&home) else { return Ok(None) };
    let mut parts = below.components();
    let (Some(instance), Some(worktrees), Some(_)) = (parts.next(), parts.next(), parts.next()) else { return Ok(None) };
    if worktrees.as_os_str() != "worktrees" {
        return Ok(None);
    }
    origin(&home.join(instance))
}

/// The project that a data folder belongs to.
pub(super) fn origin(data: &Path) -> Result<Option<PathBuf>> {
    use std::os::unix::ffi::OsStringExt;
    let path = data.join(".origin");
    match fs::look(&path)? {
        fs::Found::Nothing => Ok(None),
        _ => Ok(Some(std::ffi::OsString::from_vec(fs::read(&path)?).into())),
    }
}

fn collision(folder: &Path, other: &Path, data: &Path) -> Error {
    Error::failed(format!("{} and {} have the same hash, so their data would mix", folder.display(), other.display()))
        .because(format!("{} names {}", data.join(".origin").display(), other.display()))
        .hint(
            "move one of the two projects to another folder, or set AGENTS_HOME and XDG_RUNTIME_DIR to folders of its own for one of them",
        )
        .hint(format!("if {} is no more: remove {}", other.display(), data.display()))
}

/// Before a data folder is made: data of this hash under another name is either another project's, or this one's from before it was renamed.
fn settle_in(folder: &Path, layout: &Layout) -> Result<()> {
    let home = parent(&layout.data);
    let ours = format!("{}-", layout.hash);
    for name in all(home)?.iter().filter(|name| name.starts_with(&ours) && **name != layout.instance) {
        let data = home.join(name);
        match origin(&data)? {
            None => {}
            Some(path) if path != folder => return Err(collision(folder, &path, &data)),
            Some(_) if Lock::is_held(&layout.watchdog_lock())? => {
                return Err(Error::failed(format!("the project's name has changed while it runs: its data lies in {}", data.display()))
                    .hint("give it back its old name in agents.toml, run `agents down`, then rename it"));
            }
            Some(_) if fs::look(&layout.data)? == fs::Found::Nothing => fs::rename(&data, &layout.data)?,
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        _root: tempfile::TempDir,
        home: PathBuf,
        runtime: PathBuf,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        Place { home: root.path().join("home"), runtime: root.path().join("run"), _root: root }
    }

    impl Place {
        fn layout(&self, folder: &str, name: &str) -> Layout {
            Layout::new(Path::new(folder), name, &self.home, &self.runtime)
        }
    }

    #[test]
    fn folders_are_made_once_and_closed_to_others() {
        let place = place();
        let layout = place.layout("/srv/web", "web");
        for _ in 0..2 {
            prepare_at(Path::new("/srv/web"), &layout).unwrap();
        }
        for folder in [&layout.data, &layout.sessions(), &layout.logs(), &layout.runtime, &place.runtime] {
            assert!(matches!(fs::look(folder).unwrap(), fs::Found::Folder { mode: 0o700, .. }), "{}", folder.display());
        }
        assert_eq!(fs::read_to_string(&layout.origin()).unwrap(), "/srv/web");
    }

    #[test]
    fn a_collision_is_refused_with_both_paths() {
        let place = place();
        let layout = place.layout("/srv/web", "web");
        prepare_at(Path::new("/srv/web"), &layout).unwrap();
        // Another path under the same hash, by the same name and by another.
        let namesake = Layout { ..layout.clone() };
        let other =
            Layout { instance: format!("{}-api", layout.hash), data: place.home.join(format!("{}-api", layout.hash)), ..layout.clone() };
        for layout in [namesake, other.clone()] {
            let error = prepare_at(Path::new("/srv/api"), &layout).unwrap_err();
            assert!(error.message.contains("/srv/web") && error.message.contains("/srv/api"), "{error}");
        }
        assert_eq!(fs::look(&other.data).unwrap(), fs::Found::Nothing);
    }

    #[test]
    fn a_renamed_project_keeps_its_data() {
        let place = place();
        let (old, new) = (place.layout("/srv/web", "web"), place.layout("/srv/web", "shop"));
        prepare_at(Path::new("/srv/web"), &old).unwrap();
        fs::append(&old.events(), b"x").unwrap();
        let running = Lock::try_take(&old.watchdog_lock()).unwrap().unwrap();
        assert!(prepare_at(Path::new("/srv/web"), &new).unwrap_err().hints[0].contains("agents down"));
        drop(running);
        prepare_at(Path::new("/srv/web"), &new).unwrap();
        assert_eq!(fs::read_to_string(&new.events()).unwrap(), "x");
        assert_eq!(fs::look(&old.data).unwrap(), fs::Found::Nothing);
    }

    #[test]
    fn a_runtime_folder_that_others_can_enter_is_refused() {
        let place = place();
        fs::create_dirs(&place.runtime).unwrap();
        fs::set_mode(&place.runtime, 0o755).unwrap();
        let error = prepare_at(Path::new("/srv/web"), &place.layout("/srv/web", "web")).unwrap_err();
        assert!(error.message.contains("0755"), "{error}");
    }
}
