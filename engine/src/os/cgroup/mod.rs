//! Control groups, as far as the kernel lets an ordinary user at them.

mod group;
mod leftover;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::fs::read_made_up;

pub use group::{Caps, Entry, Group, Made, leave_session, obstacle};
pub use leftover::remove_leftovers;

/// How often the kernel has killed for want of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryKills {
    /// In this process's own control group.
    pub group: Option<u64>,
    /// On the whole machine, where the group's own count is not to be had.
    pub machine: Option<u64>,
}

/// As counted until now. `None`: this kernel does not tell.
pub fn memory_kills() -> MemoryKills {
    let file = |home: Hierarchy| home.folder.join(if home.unified { "memory.events" } else { "memory.oom_control" });
    let group = Seen::now().and_then(|seen| seen.locate("memory")).and_then(|home| counter(&file(home), "oom_kill"));
    // The kernel sums it up over all processors for every reader, which takes its time.
    let machine = if group.is_none() { counter(Path::new("/proc/vmstat"), "oom_kill") } else { None };
    MemoryKills { group, machine }
}

fn counter(file: &Path, name: &str) -> Option<u64> {
    read_made_up(file).ok()?.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The hierarchies' lines in `/proc/self/mountinfo`, read once: they stay where they are, and a process that is forked knows them already.
fn mounts() -> &'static str {
    static READ: OnceLock<String> = OnceLock::new();
    READ.get_or_init(|| {
        let all = read_made_up("/proc/self/mountinfo").unwrap_or_default();
        all.split_inclusive('\n').filter(|l| l.contains(" - cgroup")).collect()
    })
}

/// This process's own group in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    folder: PathBuf,
    /// The one hierarchy of version 2; else one of version 1.
    unified: bool,
}

/// Where this process stands: what cgroups(7) says of `/proc/self/cgroup` and proc(5) of `mountinfo`.
struct Seen<'a> {
    groups: String,
    mounts: &'a str,
}

impl Seen<'_> {
    fn now() -> Option<Seen<'static>> {
        Some(Seen { groups: read_made_up("/proc/self/cgroup").ok()?, mounts: mounts() })
    }

    /// This process's group for a controller: in the separate hierarchy, where there is one for it, else in the unified one.
    fn locate(&self, controller: &str) -> Option<Hierarchy> {
        self.separate(controller).or_else(|| self.unified())
    }

    fn separate(&self, controller: &str) -> Option<Hierarchy> {
        Some(Hierarchy { folder: self.folder(Some(controller))?, unified: false })
    }

    fn unified(&self) -> Option<Hierarchy> {
        Some(Hierarchy { folder: self.folder(None)?, unified: true })
    }

    /// The folder of this process's group; `None` as the controller means the unified hierarchy.
    fn folder(&self, controller: Option<&str>) -> Option<PathBuf> {
        let path = self.groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let ours = controller.map_or(controllers.is_empty(), |wanted| controllers.split(',').any(|c| c == wanted));
            ours.then_some(path)
        })?;
        let (root, point) = self.mounts.lines().find_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let (mut before, mut after) = (before.split(' ').skip(3), after.split(' '));
            let (root, point, kind) = (before.next()?, before.next()?, after.next()?);
            let options = after.nth(1)?;
            let ours = controller.map_or(kind == "cgroup2", |c| kind == "cgroup" && options.split(',').any(|o| o == c));
            ours.then_some((root, point))
        })?;
        // What the mount shows begins at `root`; a group outside it cannot be seen through it.
        let inner = if root == "/" { path } else { path.strip_prefix(root)? };
        let inner = inner.trim_start_matches('/');
        Some(if inner.is_empty() { point.into() } else { Path::new(point).join(inner) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEPARATE: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn groups_are_found_in_either_hierarchy() {
        let at = |groups: &str, mounts| {
            let found = Seen { groups: groups.into(), mounts }.locate("memory");
            found.map(|h| (h.folder, h.unified))
        };
        assert_eq!(at("4:memory:/a/b\n0::/\n", SEPARATE), Some(("/sys/fs/cgroup/memory/a/b".into(), false)));
        assert_eq!(at("0::/user.slice/x\n", UNIFIED), Some(("/sys/fs/cgroup/user.slice/x".into(), true)));
        let inside = UNIFIED.replace(" / /sys", " /docker/1 /sys");
        assert_eq!(at("0::/docker/1/x\n", &inside), Some(("/sys/fs/cgroup/x".into(), true)));
        assert_eq!(at("0::/other\n", &inside), None);
        assert_eq!(at("", UNIFIED), None);
        assert_eq!(at("nonsense\n", "nonsense\n"), None);
    }

    #[test]
    fn this_kernel_counts() {
        let kills = memory_kills();
        assert!(
            kills.group.is_some() != kills.machine.is_some() || counter(Path::new("/proc/vmstat"), "nr_free_pages").is_none(),
            "{kills:?}"
        );
    }
}
