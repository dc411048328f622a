//! Many folders under watch at once (`inotify`), each for somebody: who asks learns whose folder has changed.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};

use super::fs::at;

/// Folders, each watched for one or several of `K`.
#[derive(Debug)]
pub struct Watch<K> {
    fd: OwnedFd,
    whose: HashMap<i32, Vec<Interest<K>>>,
}

/// Who wants to know of a folder's changes; of one name only, where that is the folder that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interest<K> {
    whose: K,
    name: Option<String>,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<K> {
    /// Something of this name, in a folder watched for `K`, was made, written, moved or removed.
    In(K, String),
    /// More than the kernel keeps: anything may have changed.
    Anything,
}

impl<K: Clone + PartialEq> Watch<K> {
    pub fn new() -> io::Result<Watch<K>> {
        Ok(Watch { fd: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?, whose: HashMap::new() })
    }

    /// From now on also this folder. Where it is not there, the nearest one above it is watched until it comes.
    pub fn add(&mut self, folder: &Path, whose: K) -> io::Result<()> {
        let what = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::ONLYDIR;
        let (mut place, mut name): (&Path, Option<String>) = (folder, None);
        let id = loop {
            match (add_watch(&self.fd, place, what), place.parent()) {
                // What was missing may have come before the folder above it was watched.
                (Ok(id), _) if name.as_ref().is_some_and(|n| place.join(n).is_dir()) => {
                    if !self.whose.contains_key(&id) {
                        let _ = remove_watch(&self.fd, id);
                    }
                    (place, name) = (folder, None);
                }
                (Ok(id), _) => break id,
                (Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR), Some(above)) => {
                    name = place.file_name().map(|n| n.to_string_lossy().into_owned());
                    place = above;
                }
                (Err(e), _) => return Err(at(place, e.into())),
            }
        };
        let (all, interest) = (self.whose.entry(id).or_default(), Interest { whose, name });
        if !all.contains(&interest) {
            all.push(interest);
        }
        Ok(())
    }

    /// From now on nothing is told of what was watched for it.
    pub fn remove(&mut self, whose: &K) {
        for interests in self.whose.values_mut() {
            interests.retain(|i| i.whose != *whose);
        }
        let empty: Vec<i32> = self.whose.iter().filter(|(_, i)| i.is_empty()).map(|(id, _)| *id).collect();
        for id in empty {
            self.whose.remove(&id);
            // It may be gone with its folder.
            let _ = remove_watch(&self.fd, id);
        }
    }

    /// Takes what has happened so far. Does not wait.
    pub fn take(&mut self) -> io::Result<Vec<Change<K>>> {
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = Reader::new(&self.fd, &mut buffer);
        let mut changes = vec![];
        loop {
            match reader.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => changes.push(Change::Anything),
                Ok(event) => {
                    let name = event.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                    let all = self.whose.get(&event.wd()).into_iter().flatten();
                    let concerned = all.filter(|i| name.is_empty() || i.name.as_ref().is_none_or(|n| *n == name));
                    changes.extend(concerned.map(|i| Change::In(i.whose.clone(), name.clone())));
                    if event.events().contains(ReadFlags::IGNORED) {
                        self.whose.remove(&event.wd());
                    }
                }
                Err(rustix::io::Errno::AGAIN) => return Ok(changes),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl<K> AsFd for Watch<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::fs;

    #[test]
    fn who_watches_learns_of_its_own_folders_only() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two/deep"));
        fs::create_dirs(&one).unwrap();
        let mut watch = Watch::new().unwrap();
        watch.add(&one, 1).unwrap();
        watch.add(&two, 2).unwrap();
        fs::create_dirs(&root.path().join("other")).unwrap();
        assert_eq!(watch.take().unwrap(), []);
        fs::append(&one.join("file"), b"x").unwrap();
        let seen = watch.take().unwrap();
        assert!(!seen.is_empty() && seen.iter().all(|c| *c == Change::In(1, "file".into())), "{seen:?}");
        // The folder that was missing comes, and is watched itself once it is added again.
        fs::create_dirs(&two).unwrap();
        assert_eq!(watch.take().unwrap(), [Change::In(2, "two".into())]);
        watch.add(&two, 2).unwrap();
        fs::append(&two.join("inner"), b"x").unwrap();
        assert!(watch.take().unwrap().contains(&Change::In(2, "inner".into())));
        watch.remove(&2);
        fs::append(&two.join("inner"), b"y").unwrap();
        assert!(!watch.take().unwrap().iter().any(|c| matches!(c, Change::In(2, _))));
        fs::remove_tree(&one).unwrap();
        assert!(watch.take().unwrap().iter().any(|c| matches!(c, Change::In(1, _))));
    }
}
