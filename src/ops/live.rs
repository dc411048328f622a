//! A running project onto the engine that is checked out now, and whether it is as well afterwards as before.

use std::path::Path;

use agents::cli::{Error, Result};
use agents::contract::status::{AgentStatus, State};

use crate::checkout::drive;
use crate::registry::Harness;

/// What became of what ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// Nothing ran.
    AtRest,
    /// The engine took over while so many agents went on.
    Kept(usize),
    /// Everything was stopped and started.
    Restarted,
}

/// Brings the engine that runs in `folder` to the one that is checked out there. `live`: without ending anything, where that engine can.
/// An error: it could not, or somebody who was well is not any more.
pub fn bring(harness: &Harness, folder: &Path, live: bool) -> Result<Went> {
    if !drive::is_running(harness, folder)? {
        return Ok(Went::AtRest);
    }
    let before = drive::ask(folder)?.map(|s| s.agents).unwrap_or_default();
    let commands = drive::commands(harness, folder)?;
    let kept = match (commands.upgrade.filter(|_| live), &commands.down, &commands.up) {
        (Some(upgrade), ..) => {
            drive::run(&upgrade, folder, "the new engine taking over")?;
            true
        }
        (None, Some(down), Some(up)) => {
            drive::run(down, folder, "stopping the old engine")?;
            drive::run(up, folder, "starting the new engine")?;
            false
        }
        (None, ..) => return Ok(Went::AtRest),
    };
    let after = drive::ask(folder)?.map(|s| s.agents).unwrap_or_default();
    if let Some(error) = ailing(&before, &after) {
        return Err(error);
    }
    if before.is_empty() && !drive::says_up(harness, folder)? {
        return Err(Error::failed("the new engine says that the project is not up"));
    }
    Ok(if kept { Went::Kept(same(&before, &after)) } else { Went::Restarted })
}

/// Lets the engine that is checked out take over where another one runs: what an interrupted update may have left so. What became of it.
pub fn catch_up(harness: &Harness, folder: &Path) -> Result<Went> {
    let Some(before) = drive::ask(folder)? else { return Ok(Went::AtRest) };
    let Some(upgrade) = drive::commands(harness, folder)?.upgrade else { return Ok(Went::AtRest) };
    drive::run(&upgrade, folder, "the new engine taking over")?;
    let after = drive::ask(folder)?;
    let other = after.as_ref().is_some_and(|a| a.engine != before.engine);
    Ok(if other { Went::Kept(same(&before.agents, &after.map(|a| a.agents).unwrap_or_default())) } else { Went::AtRest })
}

/// How many agents go on as the process they were.
fn same(before: &[AgentStatus], after: &[AgentStatus]) -> usize {
    before.iter().filter(|b| b.pid.is_some() && after.iter().any(|a| a.session == b.session && a.pid == b.pid)).count()
}

/// An agent that was well and is not.
fn ailing(before: &[AgentStatus], after: &[AgentStatus]) -> Option<Error> {
    let well = |a: &AgentStatus| matches!(a.state, State::Up | State::Limited);
    let was = before.iter().find(|b| well(b) && !after.iter().any(|a| a.session == b.session && well(a)))?;
    let error = match after.iter().find(|a| a.session == was.session) {
        None => Error::failed(format!("agent {} ({}) is not known any more", was.name, was.session)),
        Some(now) => {
            let why = if now.reason.is_empty() { String::new() } else { format!(": {}", now.reason) };
            Error::failed(format!("agent {} ({}) was up and is {}{why}", now.name, now.session, now.state.word()))
        }
    };
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_was_well_can_be_found_ailing() {
        let agent = |session: &str, state: State| AgentStatus {
            name: session.to_uppercase(),
            session: session.into(),
            state,
            activity: Default::default(),
            evidence: None,
            pid: None,
            since: None,
            heals: 0,
            reason: String::new(),
            backend: String::new(),
            version: String::new(),
            until: None,
            stuck: false,
        };
        let before = [agent("a", State::Up), agent("b", State::Failing), agent("c", State::Limited)];
        assert_eq!(ailing(&before, &[agent("a", State::Limited), agent("b", State::Failing), agent("c", State::Up)]), None);
        let sick = ailing(&before, &[agent("a", State::Failing), agent("c", State::Up)]).unwrap();
        assert_eq!(sick.message, "agent A (a) was up and is failing");
        assert!(ailing(&before, &[agent("c", State::Up)]).unwrap().message.contains("not known"));
    }
}
