//! One session's control group: made where this user may, holding everything that the session runs, and gone with it.
//!
//! What is written to these files and means what: cgroups(7), the kernel's `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/`.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use super::{Hierarchy, Seen, counter};

/// What a session's processes may use together at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Caps {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Of one processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
}

impl Caps {
    pub fn is_empty(&self) -> bool {
        *self == Caps::default()
    }

    /// The controllers that are needed for them.
    fn controllers(&self) -> Vec<&'static str> {
        let all = [("memory", self.memory_bytes.is_some()), ("cpu", self.cpu_percent.is_some()), ("pids", self.processes.is_some())];
        all.into_iter().filter(|(_, wanted)| *wanted).map(|(name, _)| name).collect()
    }

    /// File and value of each for a controller, as the two kinds of hierarchies name them.
    fn files(&self, controller: &str, unified: bool) -> Vec<(&'static str, String)> {
        let quota = |percent: u32| (u64::from(percent) * PERIOD_US / 100).to_string();
        match (controller, unified) {
            ("memory", true) => self.memory_bytes.map(|b| ("memory.max", b.to_string())).into_iter().collect(),
            ("memory", false) => self.memory_bytes.map(|b| ("memory.limit_in_bytes", b.to_string())).into_iter().collect(),
            ("cpu", true) => self.cpu_percent.map(|p| ("cpu.max", format!("{} {PERIOD_US}", quota(p)))).into_iter().collect(),
            ("cpu", false) => self
                .cpu_percent
                .map(|p| [("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota(p))])
                .into_iter()
                .flatten()
                .collect(),
            _ => self.processes.map(|n| ("pids.max", n.to_string())).into_iter().collect(),
        }
    }
}

/// The kernel's own default for the span in which processor time is shared out.
const PERIOD_US: u64 = 100_000;

/// All names of the engine's groups begin so.
pub(super) const PREFIX: &str = "agents-";
/// The group into which the engine's daemons move where the group that was delegated to them may hold no processes itself.
pub(super) const DAEMONS: &str = "agents-daemons";
/// How often processes are moved before it is given up: each time some may have been started meanwhile.
const MOVES_MAX: usize = 5;

/// A session's group: its folder in each hierarchy that it stands in. Empty: there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Group {
    pub(super) folders: Vec<PathBuf>,
}

/// What came of making one.
#[derive(Debug, Default)]
pub struct Made {
    pub group: Group,
    /// Which caps are not in force, and why; empty where all are.
    pub uncapped: String,
}

/// The ways into a group for a process that is being started.
#[derive(Debug, Default)]
pub struct Entry {
    /// The folder into which it can be born (`CLONE_INTO_CGROUP`).
    pub folder: Option<OwnedFd>,
    /// The `cgroup.procs` of the others, into which it writes itself; the folder's own stands first, for kernels that do not know the above.
    pub procs: Vec<OwnedFd>,
}

impl Group {
    /// The group of that name, made anew or gone on with. What could not be made is left out.
    pub fn make(name: &str, caps: &Caps) -> Made {
        let mut made = Made::default();
        let mut wrong: Vec<String> = vec![];
        let seen = Seen::now();
        if let Some(tracker) = seen.as_ref().and_then(tracker)
            && make_folder(&tracker.folder.join(name)).is_ok()
        {
            made.group.folders.push(tracker.folder.join(name));
        }
        for controller in caps.controllers() {
            let set = match seen.as_ref().and_then(|s| home(s, controller)) {
                None => Err("this kernel has no such controller".to_owned()),
                Some(home) => set(&home, controller, name, &caps.files(controller, home.unified))
                    .map_err(|e| format!("{}: {e}", home.folder.display())),
            };
            match set {
                Ok(folder) if made.group.folders.contains(&folder) => {}
                Ok(folder) => made.group.folders.push(folder),
                Err(e) => wrong.push(format!("{controller} ({e})")),
            }
        }
        made.uncapped = wrong.join(", ");
        made
    }

    /// What is there of the group of that name, seen from this process's own place.
    pub fn find(name: &str) -> Group {
        Group { folders: homes().into_iter().map(|home| home.join(name)).filter(|f| f.is_dir()).collect() }
    }

    /// This group with the folders of another one that it lacks.
    pub fn with(mut self, other: Group) -> Group {
        let news: Vec<PathBuf> = other.folders.into_iter().filter(|f| !self.folders.contains(f)).collect();
        self.folders.extend(news);
        self
    }

    /// This group without the folders of another one.
    pub fn without(mut self, other: &Group) -> Group {
        self.folders.retain(|f| !other.folders.contains(f));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.folders.is_empty()
    }

    /// Whether it is all there still.
    pub fn stands(&self) -> bool {
        !self.folders.is_empty() && self.folders.iter().all(|f| f.is_dir())
    }

    /// For a process that is started into it.
    pub fn entry(&self) -> Entry {
        let unified = |f: &&PathBuf| f.join("cgroup.events").exists();
        let path_only = |f: &PathBuf| {
            std::fs::OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_DIRECTORY | libc::O_PATH | libc::O_CLOEXEC)
                .open(f)
                .ok()
                .map(OwnedFd::from)
        };
        let folder = self.folders.iter().find(unified).and_then(path_only);
        let mut folders: Vec<&PathBuf> = self.folders.iter().collect();
        folders.sort_by_key(|f| !unified(f));
        let procs =
            folders.iter().filter_map(|f| std::fs::OpenOptions::new().write(true).open(f.join("cgroup.procs")).ok().map(OwnedFd::from));
        Entry { folder, procs: procs.collect() }
    }

    /// The living processes in it and in groups that were made below it.
    pub fn members(&self) -> BTreeSet<i32> {
        let mut all = BTreeSet::new();
        self.folders.iter().for_each(|f| collect(f, &mut all));
        all
    }

    /// Kills all that is in it, also what is being started meanwhile.
    pub fn kill(&self) {
        for folder in &self.folders {
            if std::fs::write(folder.join("cgroup.kill"), "1").is_ok() {
                continue;
            }
            // Before Linux 5.14: what is frozen starts nothing, and a signal to it waits.
            let (file, freeze, thaw) =
                if folder.join("cgroup.freeze").exists() { ("cgroup.freeze", "1", "0") } else { ("freezer.state", "FROZEN", "THAWED") };
            let frozen = std::fs::write(folder.join(file), freeze).is_ok();
            if frozen || self.folders.len() == 1 {
                let mut all = BTreeSet::new();
                collect(folder, &mut all);
                for pid in all.into_iter().filter_map(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            if frozen {
                let _ = std::fs::write(folder.join(file), thaw);
            }
        }
    }

    /// How often the kernel has killed in it for want of memory; none where it is not counted apart.
    pub fn memory_kills(&self) -> Option<u64> {
        let files = ["memory.events", "memory.oom_control"];
        self.folders.iter().flat_map(|f| files.map(|file| f.join(file))).find_map(|file| counter(&file, "oom_kill"))
    }

    /// Removes it, as far as nothing lives in it.
    pub fn remove(&self) {
        self.folders.iter().for_each(|f| remove(f));
    }
}

/// Why caps could not be in force here, as far as it can be seen without making anything; empty where nothing is in the way.
pub fn obstacle(caps: &Caps) -> String {
    let mut wrong = vec![];
    for controller in caps.controllers() {
        let reason = match Seen::now().and_then(|seen| home(&seen, controller)) {
            None => Some("this kernel has no such controller".to_owned()),
            Some(home) if !is_writable(&home.folder) => Some(format!("{} is not yours to write to", home.folder.display())),
            Some(home) if home.unified && !lists(&home.folder.join("cgroup.controllers"), controller) => {
                Some(format!("{} is not given this controller", home.folder.display()))
            }
            Some(home) if home.unified && !may_enable(&home.folder, controller) => {
                Some(format!("{} holds processes and is not delegated to you", home.folder.display()))
            }
            Some(_) => None,
        };
        wrong.extend(reason.map(|r| format!("{controller} ({r})")));
    }
    wrong.join(", ")
}

/// A daemon that an agent has started is none of that agent's session: it leaves its group.
pub fn leave_session() {
    let Some(seen) = Seen::now().filter(|seen| seen.groups.contains("/agents-")) else { return };
    let separate = ["freezer", "memory", "cpu", "pids"].into_iter().filter_map(|c| seen.separate(c));
    for Hierarchy { folder, .. } in separate.chain(seen.unified()) {
        let home = outside(&folder);
        if home == folder || folder.ends_with(DAEMONS) {
            continue;
        }
        let into = |folder: &Path| std::fs::write(folder.join("cgroup.procs"), "0").is_ok();
        let _ = into(&home) || into(&home.join(DAEMONS));
    }
}

/// Where a process stands that is in one of the engine's own groups: the folder above those.
fn outside(folder: &Path) -> PathBuf {
    let ours = |f: &Path| f.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(PREFIX));
    folder.ancestors().filter(|f| ours(f)).last().and_then(Path::parent).unwrap_or(folder).to_path_buf()
}

/// Where groups for this controller are made: this process's own place, outside the engine's own groups.
fn home(seen: &Seen, controller: &str) -> Option<Hierarchy> {
    seen.locate(controller).map(|h| Hierarchy { folder: outside(&h.folder), ..h })
}

/// All folders in which this process's groups may have been made.
pub(super) fn homes() -> BTreeSet<PathBuf> {
    let Some(seen) = Seen::now() else { return BTreeSet::new() };
    let homes = tracker(&seen).into_iter().chain(["memory", "cpu", "pids"].into_iter().filter_map(|c| home(&seen, c)));
    homes.map(|home| home.folder).collect()
}

/// Where groups are made only to know what is in them: the unified hierarchy, else the freezer's.
fn tracker(seen: &Seen) -> Option<Hierarchy> {
    let found = seen.unified().or_else(|| seen.separate("freezer"))?;
    let folder = outside(&found.folder);
    is_writable(&folder).then_some(Hierarchy { folder, ..found })
}

fn is_writable(folder: &Path) -> bool {
    let may = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    may(folder) && may(&folder.join("cgroup.procs"))
}

fn make_folder(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Caps one controller of the group of that name; its folder.
fn set(home: &Hierarchy, controller: &str, name: &str, files: &[(&'static str, String)]) -> io::Result<PathBuf> {
    if home.unified {
        enable(&home.folder, controller)?;
    }
    let folder = home.folder.join(name);
    make_folder(&folder)?;
    for (file, value) in files {
        std::fs::write(folder.join(file), value)?;
    }
    Ok(folder)
}

fn lists(file: &Path, word: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|t| t.split_whitespace().any(|w| w == word))
}

fn may_enable(folder: &Path, controller: &str) -> bool {
    let empty = std::fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|t| t.trim().is_empty());
    // The root of all has no type, and may hold processes beside groups.
    lists(&folder.join("cgroup.subtree_control"), controller) || empty || !folder.join("cgroup.type").exists() || is_delegated(folder)
}

/// Whether a service manager has handed the group over to its service (`Delegate=yes`), as it marks it.
fn is_delegated(folder: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|name| {
        let mut value = [0u8; 8];
        rustix::fs::getxattr(folder, *name, &mut value).is_ok_and(|n| &value[..n] == b"1")
    })
}

/// Lets groups below a folder of the unified hierarchy have a controller. A group that has processes may not; where it is ours alone they are moved aside.
fn enable(folder: &Path, controller: &str) -> io::Result<()> {
    let control = folder.join("cgroup.subtree_control");
    if lists(&control, controller) {
        return Ok(());
    }
    let mut tries = 0;
    loop {
        match std::fs::write(&control, format!("+{controller}")) {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && tries < MOVES_MAX && is_delegated(folder) => {
                let aside = folder.join(DAEMONS);
                make_folder(&aside)?;
                for pid in std::fs::read_to_string(folder.join("cgroup.procs"))?.split_whitespace() {
                    // One that has ended meanwhile cannot be moved.
                    let _ = std::fs::write(aside.join("cgroup.procs"), pid);
                }
                tries += 1;
            }
            other => return other,
        }
    }
}

fn collect(folder: &Path, all: &mut BTreeSet<i32>) {
    let Ok(text) = std::fs::read_to_string(folder.join("cgroup.procs")) else { return };
    all.extend(text.split_whitespace().filter_map(|p| p.parse::<i32>().ok()).filter(|p| *p > 0));
    below(folder).iter().for_each(|f| collect(f, all));
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

pub(super) fn remove(folder: &Path) {
    below(folder).iter().for_each(|f| remove(f));
    let _ = std::fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_macros)]
    use super::*;

    #[test]
    fn caps_are_said_as_each_hierarchy_wants_them() {
        let caps = Caps { memory_bytes: Some(4 << 30), cpu_percent: Some(150), processes: Some(500) };
        let flat = |unified| -> Vec<String> {
            caps.controllers().iter().flat_map(|c| caps.files(c, unified)).map(|(file, value)| format!("{file}={value}")).collect()
        };
        assert_eq!(flat(true), ["memory.max=4294967296", "cpu.max=150000 100000", "pids.max=500"]);
        assert_eq!(
            flat(false),
            ["memory.limit_in_bytes=4294967296", "cpu.cfs_period_us=100000", "cpu.cfs_quota_us=150000", "pids.max=500"]
        );
        assert_eq!(Caps { cpu_percent: Some(1), ..Caps::default() }.controllers(), ["cpu"]);
        assert_eq!(obstacle(&Caps::default()), "");
    }

    #[test]
    fn groups_are_not_made_inside_groups() {
        for (folder, expected) in [
            ("/s/user.slice", "/s/user.slice"),
            ("/s/unit/agents-daemons", "/s/unit"),
            ("/s/unit/agents-0a-int-1", "/s/unit"),
            ("/s/unit/agents-0a-int-1/inner/agents-0b-web-1", "/s/unit"),
            ("/s/agents.service", "/s/agents.service"),
        ] {
            assert_eq!(outside(Path::new(folder)), Path::new(expected), "{folder}");
        }
    }

    #[test]
    fn processes_are_moved_aside_only_where_the_group_was_handed_over() {
        let parent = Seen::now().and_then(|seen| seen.unified()).map(|h| outside(&h.folder)).unwrap_or_default();
        let given = std::fs::read_to_string(parent.join("cgroup.controllers")).unwrap_or_default();
        // Of those that a group with processes may not hand down.
        let Some(controller) = ["memory", "io", "hugetlb"].into_iter().find(|c| given.split_whitespace().any(|g| g == *c)) else {
            return println!("skipped: no controller of the unified hierarchy is to be had in {}", parent.display());
        };
        let control = parent.join("cgroup.subtree_control");
        let before = lists(&control, controller);
        let top = parent.join(format!("agents-test-delegated-{}", std::process::id()));
        if std::fs::write(&control, format!("+{controller}")).is_err() || make_folder(&top).is_err() {
            return println!("skipped: {} may not be handed down here", controller);
        }
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        std::fs::write(top.join("cgroup.procs"), child.id().to_string()).unwrap();
        assert_eq!(enable(&top, controller).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        assert!(!may_enable(&top, controller) && !top.join(DAEMONS).exists(), "it is somebody's who has not handed it over");
        rustix::fs::setxattr(&top, "user.delegate", b"1", rustix::fs::XattrFlags::empty()).unwrap();
        assert!(may_enable(&top, controller));
        enable(&top, controller).unwrap();
        let aside = std::fs::read_to_string(top.join(DAEMONS).join("cgroup.procs")).unwrap();
        assert_eq!((aside.trim(), lists(&top.join("cgroup.subtree_control"), controller)), (child.id().to_string().as_str(), true));
        // A session's group beside them is given it.
        make_folder(&top.join("agents-0a-int-1")).unwrap();
        assert!(lists(&top.join("agents-0a-int-1/cgroup.controllers"), controller));
        child.kill().unwrap();
        child.wait().unwrap();
        remove(&top);
        if !before {
            let _ = std::fs::write(&control, format!("-{controller}"));
        }
        assert!(!top.exists());
    }

    #[test]
    fn a_group_holds_kills_and_goes() {
        let name = format!("agents-test-{}", std::process::id());
        let made = Group::make(&name, &Caps { processes: Some(1000), ..Caps::default() });
        if made.group.is_empty() {
            return println!("skipped: no control group can be made here");
        }
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let procs = made.group.entry().procs;
        assert!(!procs.is_empty());
        for fd in &procs {
            rustix::io::write(fd, child.id().to_string().as_bytes()).unwrap();
        }
        assert_eq!(made.group.members(), BTreeSet::from([child.id() as i32]));
        assert_eq!(Group::find(&name).members(), made.group.members());
        made.group.kill();
        child.wait().unwrap();
        assert!(made.group.members().is_empty());
        made.group.remove();
        assert!(Group::find(&name).is_empty() && !made.group.stands());
    }
}
