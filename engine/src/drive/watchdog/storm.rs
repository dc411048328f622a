//! Sees that many sessions die again and again at the same time, slows them down together and tells it once.

use std::collections::BTreeMap;

use super::{Watchdog, waits};
use crate::contract::control::ToHost;
use crate::contract::status::AgentStatus;
use crate::os::clock::monotonic;
use crate::os::fs;

/// Where less is free, that may be why.
const SCARCE_BYTES: u64 = 16 << 20;

impl Watchdog {
    /// A host is about to be believed that its agent stands so.
    pub(super) fn notice_death(&mut self, session: &str, status: &AgentStatus) {
        let known = self.links.get(session).map_or(0, |l| l.status.heals);
        if !waits(status) || status.heals <= known {
            return;
        }
        let (now, wanted) = (monotonic(), self.links.keys().filter(|s| self.watch.is_wanted(s)).count());
        let Some(order) = self.storm.died_again(now, session, wanted) else { return };
        let why = format!("many sessions die at the same time, so all of them wait ({} of {wanted})", self.storm.sessions().count());
        if order.begins {
            let why = self.describe_storm(session, status);
            self.log("storm", "", &why);
            self.notice_storm(&why);
        }
        for (session, until) in order.wait {
            let wait_ms = until.saturating_sub(now).as_millis() as u64;
            // Told later: the connection that this came over is being read.
            self.slowed.push((session, ToHost::Slow { wait_ms, why: why.clone() }));
        }
    }

    fn describe_storm(&self, session: &str, status: &AgentStatus) -> String {
        let reason =
            |s: &str| if s == session { status.reason.as_str() } else { self.links.get(s).map_or("", |l| l.status.reason.as_str()) };
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for session in self.storm.sessions() {
            let last = reason(session).rsplit("; ").next().unwrap_or_default();
            *reasons.entry(last).or_default() += usize::from(!last.is_empty());
        }
        let common = reasons.iter().max_by_key(|(_, n)| **n).map_or("", |(reason, _)| reason);
        let disk = match fs::free_bytes(&self.layout.data) {
            Ok(free) if free < SCARCE_BYTES => format!("; the disk of {} has {} KiB left", self.layout.data.display(), free >> 10),
            Ok(_) | Err(_) => String::new(),
        };
        let sessions: Vec<&str> = self.storm.sessions().collect();
        format!(
            "these die again and again at the same time, and wait for each other from now on: {}; most often: {common}{disk}",
            sessions.join(", ")
        )
    }

    /// Tells the hosts what was decided, and that it is over.
    pub(super) fn look_at_storm(&mut self) {
        for (session, message) in std::mem::take(&mut self.slowed) {
            self.ask(&session, &message);
        }
        if self.storm.is_over(monotonic()) {
            self.log("calm", "", "nobody has died again for a while");
        }
    }
}
