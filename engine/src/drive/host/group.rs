//! The session's control group: everything that the agent starts is born in it, so nothing can leave it unseen.

use super::Host;
use crate::contract::records::Run;
use crate::os::cgroup::Group;
use crate::os::process::ProcessId;

impl Host {
    /// What an earlier host left of it.
    pub(super) fn find_group(&mut self, record: Option<&Run>) {
        let said = record.map(|run| run.group.clone()).unwrap_or_default();
        self.group = said.with(Group::find(&self.layout.group(&self.id)));
    }

    /// Before a start: makes it, with the caps that are wanted now.
    pub(super) fn make_group(&mut self) {
        let made = Group::make(&self.layout.group(&self.id), &self.launch.caps);
        made.group.sign(&self.layout.data);
        if made.uncapped != self.uncapped && !made.uncapped.is_empty() {
            self.log_event("uncapped", &made.uncapped, None);
        }
        self.uncapped = made.uncapped;
        let before = std::mem::replace(&mut self.group, made.group);
        // A cap that is gone from agents.toml took a folder of its own.
        before.without(&self.group).remove();
        self.memory_kills = self.count_memory_kills();
    }

    pub(super) fn group(&self) -> Option<&Group> {
        Some(&self.group).filter(|g| !g.is_empty())
    }

    /// Ends all that is in it, also what is being started meanwhile. Not where a daemon of another project is about to leave it.
    pub(super) fn kill_group(&self) {
        let in_it = self.group.members();
        let ours = self.members();
        let stranger = |pid: &i32| ProcessId::of(*pid).is_some_and(|id| id.is_alive() && !ours.contains(&id));
        if !in_it.is_empty() && !in_it.iter().any(stranger) {
            self.group.kill();
        }
    }
}
