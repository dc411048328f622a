//! The host's last word on its session. It lies in the runtime folder and is worth nothing after a boot, so it is never synced.

use std::io;

use crate::contract::layout::Layout;
use crate::contract::records::Run;
use crate::contract::status::State;
use crate::os::cgroup::Group;
use crate::os::lock::Lock;
use crate::os::{clock, fs};

/// The last word of this boot; none when there is no readable one: whoever asks then looks at the locks.
pub(crate) fn read(layout: &Layout, id: &str) -> Option<Run> {
    let text = fs::read_to_string(&layout.run(id)).ok()?;
    let run: Run = serde_json::from_str(&text).ok()?;
    (run.boot == clock::boot_id()).then_some(run)
}

/// Forgets that the session was given up on: the operator starts it again. Only where no host runs, which would say so again.
pub(crate) fn pardon(layout: &Layout, id: &str) -> io::Result<()> {
    let held = read(layout, id).is_some_and(|run| matches!(run.state, State::Failing | State::Exited));
    if held && !Lock::is_held(&layout.host_lock(id))? { fs::remove_file(&layout.run(id)) } else { Ok(()) }
}

/// Puts it in place of the one before.
pub(crate) fn write(layout: &Layout, id: &str, run: &Run) -> io::Result<()> {
    fs::overwrite(&layout.run(id), &serde_json::to_vec(run)?, 0o600)
}

/// Nothing is left to be said. The file stays: the next host writes there.
pub(crate) fn clear(layout: &Layout, id: &str) -> io::Result<()> {
    fs::overwrite(&layout.run(id), b"", 0o600)
}

/// Whether the session has a host, or anything of an agent of its lives. What cannot be told counts as living: then somebody looks closer.
pub(crate) fn lives(layout: &Layout, id: &str) -> bool {
    let held = |path: std::path::PathBuf| Lock::is_held(&path).unwrap_or(true);
    // What has let go of the lock is still in the session's control group.
    held(layout.host_lock(id)) || held(layout.agent_lock(id)) || !group(layout, id).members().is_empty()
}

/// The session's control group, as far as it is there: where its last host said that it is, and where one would be made now.
pub(crate) fn group(layout: &Layout, id: &str) -> Group {
    read(layout, id).map(|run| run.group).unwrap_or_default().with(Group::find(&layout.group(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_boot_s_word_counts_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout { instance: "i".into(), hash: "h".into(), data: folder.path().into(), runtime: folder.path().into() };
        let mut run = Run {
            activity: Default::default(),
            evidence: None,
            limit_words: String::new(),
            limit_ends: None,
            stall: Default::default(),
            boot: clock::boot_id(),
            agent: None,
            state: State::Up,
            since: clock::now(),
            heals: 3,
            reason: String::new(),
            started: true,
            lasting: true,
            anew: false,
            until: None,
            deaths_ms: vec![1, 2],
            version: String::new(),
            group: Group::default(),
            uncapped: String::new(),
        };
        assert_eq!(read(&layout, "int-1"), None);
        write(&layout, "int-1", &run).unwrap();
        assert_eq!(read(&layout, "int-1"), Some(run.clone()));
        for reason in [5000, 12, 4000, 0] {
            run.reason = "x".repeat(reason);
            write(&layout, "int-1", &run).unwrap();
            assert_eq!(read(&layout, "int-1"), Some(run.clone()));
        }
        clear(&layout, "int-1").unwrap();
        assert_eq!(read(&layout, "int-1"), None);
        run.boot = "another".into();
        write(&layout, "int-1", &run).unwrap();
        assert_eq!(read(&layout, "int-1"), None);
    }
}
