//! Learning of changes instead of looking again and again: engines tell theirs over their sockets, the kernel tells those of files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use agents::contract::control::ToWatchdog;
use agents::contract::layout::{ENGINE_FOLDER, hash};
use agents::os::socket::{Fill, Stream};
use agents::os::watch::{Change, Watch};
use agents::os::{env, fs};

use super::engine::{WATCHDOG_SOCKET, say};
use crate::checkout::head::{self, Head};
use crate::registry::{Project, Registry};

/// Whose folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Registry,
    Project(usize),
}

/// What has to be looked at anew.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stale {
    pub registry: bool,
    /// By their place in the list of projects.
    pub projects: BTreeSet<usize>,
}

impl Stale {
    pub fn is_empty(&self) -> bool {
        !self.registry && self.projects.is_empty()
    }
}

/// All that can tell of changes in these projects.
pub struct Changes<'a> {
    registry: &'a Registry,
    projects: &'a [&'a Project],
    files: Watch<Whose>,
    engines: BTreeMap<usize, Stream>,
    /// Projects that cannot be watched, and why: of these no change is learned.
    pub deaf: BTreeMap<usize, String>,
}

impl<'a> Changes<'a> {
    /// Listens to all. Look at them afterwards: what changes in between is told.
    pub fn of(registry: &'a Registry, projects: &'a [&'a Project]) -> io::Result<Changes<'a>> {
        let mut changes = Changes { registry, projects, files: Watch::new()?, engines: BTreeMap::new(), deaf: BTreeMap::new() };
        changes.files.add(registry.path.parent().unwrap_or(Path::new("/")), Whose::Registry)?;
        (0..projects.len()).for_each(|i| changes.listen(i));
        Ok(changes)
    }

    /// Listens to a project again: its folders and its engine may have come since.
    pub fn listen(&mut self, i: usize) {
        self.deaf.remove(&i);
        let Some(folder) = self.projects[i].folder() else { return };
        let canonical = fs::canonical(folder).unwrap_or_else(|_| folder.to_path_buf());
        let runtime = env::agents_runtime().join(hash(&canonical));
        for place in places(folder).chain([runtime.clone()]) {
            if let Err(e) = self.files.add(&place, Whose::Project(i)) {
                self.deaf.insert(i, e.to_string());
            }
        }
        if self.engines.contains_key(&i) {
            return;
        }
        // Nobody listens there: the socket's coming is told by its folder.
        if let Ok(mut stream) = Stream::connect_at_once(&runtime.join(WATCHDOG_SOCKET))
            && say(&mut stream, &ToWatchdog::Subscribe).is_ok()
        {
            self.engines.insert(i, stream);
        }
    }

    /// What to wait on.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.engines.values().map(AsFd::as_fd).chain([self.files.as_fd()]).collect()
    }

    /// Takes what has happened so far. Does not wait.
    pub fn take(&mut self) -> io::Result<Stale> {
        let mut stale = Stale::default();
        self.engines.retain(|i, stream| match heard(stream) {
            Ok(news) => {
                stale.projects.extend(news.then_some(*i));
                true
            }
            Err(_) => {
                stale.projects.insert(*i);
                false
            }
        });
        let registry = self.registry.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for change in self.files.take()? {
            match change {
                Change::In(Whose::Registry, name) => stale.registry |= name == registry,
                Change::In(Whose::Project(i), _) => drop(stale.projects.insert(i)),
                Change::Anything => stale.registry = true,
            }
        }
        Ok(stale)
    }
}

/// Whether an engine has told something; an error where it is gone.
fn heard(stream: &mut Stream) -> io::Result<bool> {
    let mut news = false;
    loop {
        match stream.fill()? {
            Fill::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            Fill::Nothing => return Ok(news),
            Fill::More => {
                while stream.next_frame()?.is_some() {
                    news = true;
                }
            }
        }
    }
}

/// The folders of a project whose changes show in its status: itself, its git folder and its engine's, and where their branches lie.
fn places(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let repository = |folder: &Path| {
        let git = head::git_folder(folder);
        let branch = match (head::read(folder), &git) {
            (Head::Branch { name, .. }, Some(git)) => git.join("refs/heads").join(name).parent().map(Path::to_path_buf),
            (Head::Branch { .. } | Head::Detached(_) | Head::Unborn | Head::Other | Head::None, _) => None,
        };
        git.into_iter().chain(branch)
    };
    [folder.to_path_buf()].into_iter().chain(repository(folder)).chain(repository(&folder.join(ENGINE_FOLDER)))
}
