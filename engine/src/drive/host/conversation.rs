//! Finding out which conversation the agent has, where its program makes the id itself.
//!
//! It is claimed only when the agent's own processes hold exactly one such file open; the newest file in a folder may be anybody's.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Host;
use crate::contract::records::{Conversation, Find};
use crate::core::limits;
use crate::os::clock::monotonic;
use crate::os::process::open_files;
use crate::store;

/// The search for the living agent's conversation.
#[derive(Debug, Default)]
pub struct Search {
    due: Option<Duration>,
    found: bool,
}

impl Search {
    pub fn next_deadline(&self) -> Option<Duration> {
        self.due
    }

    /// The agent has printed something, so it may have begun one.
    pub(super) fn agent_stirred(&mut self, wanted: bool) {
        if wanted && !self.found && self.due.is_none() {
            self.due = Some(monotonic() + limits::LOOK_FOR_CONVERSATION);
        }
    }
}

impl Host {
    /// Looks, if it is time to.
    pub(super) fn look_for_conversation(&mut self) {
        if self.search.due.is_none_or(|t| t > monotonic()) {
            return;
        }
        self.search.due = None;
        let (Some(find), true) = (self.launch.find.clone(), self.agent.is_some()) else { return };
        let Some(id) = self.open_conversation(&find) else { return };
        let known = store::conversation::read(&self.layout, &self.id, &self.launch.backend).ok().flatten();
        if known.as_ref() != Some(&id) {
            let found = Conversation { backend: self.launch.backend.clone(), id: id.clone() };
            if let Err(e) = store::conversation::write(&self.layout, &self.id, &found) {
                self.log_event("not-written", &e.to_string(), None);
                return; // the next thing it prints is the next try
            }
            self.log_event("conversation", &format!("{id}: its file is open"), self.agent.as_ref().map(|a| a.id.pid));
            self.write_events();
        }
        self.session.lasting = true;
        self.search.found = true;
    }

    fn open_conversation(&self, find: &Find) -> Option<String> {
        let pattern = regex_lite::Regex::new(&find.file).ok()?;
        let files = self.family().into_iter().flat_map(open_files);
        let id = |path: std::path::PathBuf| Some(pattern.captures(path.to_str()?)?.name("id")?.as_str().to_owned());
        let ids: BTreeSet<String> = files.filter_map(id).filter(|id| !id.is_empty() && !id.starts_with('-')).collect();
        // Two: one of them is that of a helper which the agent runs, and which of them cannot be told.
        if ids.len() == 1 { ids.into_iter().next() } else { None }
    }

    /// Before a start: an earlier agent's conversation, if it was found, is gone on with.
    pub(super) fn know_conversation(&mut self) -> Result<(), String> {
        self.search = Search::default();
        let Some(find) = &self.launch.find else { return Ok(()) };
        let known = store::conversation::read(&self.layout, &self.id, &self.launch.backend).map_err(|e| e.to_string())?;
        if let Some(id) = known.filter(|_| self.session.started) {
            self.launch.resume = find.resume.iter().map(|a| a.clone().unwrap_or_else(|| id.clone())).collect();
            // It exists, so a start would lose it.
            (self.session.lasting, self.session.anew) = (true, false);
        }
        Ok(())
    }
}
