//! What an agent cannot be started without: looked for, and waited for where it would appear.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Host;
use crate::contract::status::State;
use crate::core::limits;
use crate::core::session::Event;
use crate::os;
use crate::os::clock::monotonic;
use crate::os::follow::Changes;

/// Something that is needed and not there, and the folders where it would appear.
struct Missing {
    reason: String,
    folders: Vec<PathBuf>,
}

/// What tells that something missing may have come.
pub struct Awaited {
    folders: Vec<PathBuf>,
    changes: Option<Changes>,
    /// Where the kernel has no watch left to give (`fs.inotify.max_user_instances`): when to look again, and how long to wait after that.
    blind: Option<(Duration, Duration)>,
}

impl Awaited {
    /// From now on.
    fn watch(folders: Vec<PathBuf>, pause: Duration) -> Awaited {
        let changes = Changes::of_any(&folders).ok();
        let blind = changes.is_none().then(|| (monotonic() + pause, (pause * 2).min(limits::LOOK_AGAIN_MAX)));
        Awaited { folders, changes, blind }
    }

    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    pub fn next_deadline(&self) -> Option<Duration> {
        self.blind.map(|(at, _)| at)
    }

    /// Whether anything may have changed since it was last asked.
    fn has_stirred(&mut self) -> bool {
        let due = self.blind.is_some_and(|(at, _)| at <= monotonic());
        let told = self.changes.as_mut().is_some_and(|c| c.drain().unwrap_or(true));
        due || told
    }
}

impl Host {
    /// Why the agent cannot be started now, if so; from then on it is watched for.
    ///
    /// Watches first and looks after that, until the look finds wanting what is watched for: what comes in between is either seen or told.
    pub(super) fn wanting(&mut self) -> Option<String> {
        let pause = self.awaited.take().and_then(|c| c.blind).map_or(limits::LOOK_AGAIN_MIN, |(_, pause)| pause);
        loop {
            let Some(missing) = self.missing() else {
                self.awaited = None;
                return None;
            };
            if self.awaited.as_ref().is_some_and(|c| c.folders == missing.folders) {
                return Some(missing.reason);
            }
            self.awaited = Some(Awaited::watch(missing.folders, pause));
        }
    }

    /// Given up on: if for want of something, to be woken when that comes. In every other state there is nothing to wait for.
    pub(super) fn watch_awaited(&mut self) {
        if self.state != State::Failing {
            self.awaited = None;
        } else if self.awaited.is_some() {
            self.reconsider(true);
        } else {
            // Found by a host that was given the verdict of an earlier one.
            let _ = self.wanting();
        }
    }

    /// Starts the agent if what was wanting has come. `look`: also where nothing was told.
    pub(super) fn reconsider(&mut self, look: bool) {
        let stirred = self.awaited.as_mut().is_some_and(Awaited::has_stirred);
        if self.awaited.is_some() && (stirred || look) && self.state == State::Failing && self.wanting().is_none() {
            self.events.push_back(Event::Restart);
        }
    }

    /// What the agent cannot be started without, and is not there.
    fn missing(&self) -> Option<Missing> {
        let nearest = |path: &Path| path.ancestors().find(|f| os::fs::is_dir(f)).map(Path::to_path_buf).into_iter().collect();
        let folder = &self.launch.folder;
        if !os::fs::is_dir(folder) {
            return Some(Missing { reason: format!("its folder {} is gone", folder.display()), folders: nearest(folder) });
        }
        let Some(program) = self.argv().first() else {
            return Some(Missing { reason: "the agent has no command".into(), folders: vec![] });
        };
        let search = self.launch.env.get("PATH").cloned().or_else(|| os::env::text("PATH")).unwrap_or_default();
        if os::fs::find_program(program, folder, &search).is_some() {
            return self.wrong_version().map(|(reason, folders)| Missing { reason, folders });
        }
        let (folders, place) = match folder.join(program).parent() {
            Some(parent) if program.contains('/') => (nearest(parent), ""),
            _ => (search.split(':').map(PathBuf::from).filter(|f| os::fs::is_dir(f)).collect(), " on PATH"),
        };
        Some(Missing { reason: format!("its program `{program}` was not found{place}"), folders })
    }
}
