//! The project's state as it is: from the watchdog's memory, or, where none runs, from what lies on disk and which locks are held.

use jiff::Timestamp;

use super::ask;
use super::place::Place;
use crate::contract::layout::Layout;
use crate::contract::status::{Activity, AgentStatus, EngineStatus, State};
use crate::error::Result;
use crate::os::lock::Lock;
use crate::store::meta::{Meta, Wanted};
use crate::store::{self, run};

/// The state now. Every declared agent is in it, also those that never ran.
pub(super) fn state(place: &Place) -> Result<EngineStatus> {
    let status = match ask::status(&place.layout)? {
        Some(status) => status,
        None => {
            let (spawned, own): (Vec<_>, Vec<_>) = place.sessions()?.into_iter().partition(Meta::is_spawned);
            let alone = |metas: Vec<Meta>| metas.iter().map(|meta| alone(&place.layout, meta)).collect();
            EngineStatus {
                instance: place.layout.instance.clone(),
                project: project_name(&place.layout),
                engine: crate::engine_version(),
                watchdog: None,
                agents: alone(own),
                sessions: alone(spawned),
                tasks: store::tasks::counts(&place.layout)?,
                running: vec![],
            }
        }
    };
    Ok(complete(status, &place.declared()))
}

fn project_name(layout: &Layout) -> String {
    layout.instance.strip_prefix(&format!("{}-", layout.hash)).unwrap_or(&layout.instance).to_owned()
}

/// Adds the agents that never ran, and puts all in the order of `agents.toml`. Those it no longer declares come last, and not at all once they are down.
pub(super) fn complete(mut status: EngineStatus, declared: &[&str]) -> EngineStatus {
    let is_declared = |a: &AgentStatus| declared.contains(&a.name.as_str());
    status.agents.retain(|a| declared.is_empty() || is_declared(a) || a.state != State::Down);
    for name in declared {
        if !status.agents.iter().any(|a| a.name == *name) {
            status.agents.push(AgentStatus {
                name: (*name).into(),
                session: String::new(),
                state: State::Down,
                activity: Activity::Unknown,
                evidence: None,
                pid: None,
                since: None,
                heals: 0,
                reason: "never started".into(),
                backend: String::new(),
                until: None,
                stuck: false,
                version: String::new(),
            });
        }
    }
    status.agents.sort_by_key(|a| declared.iter().position(|d| *d == a.name).unwrap_or(declared.len()));
    status
}

/// One session's state where there is no watchdog to ask.
fn alone(layout: &Layout, meta: &Meta) -> AgentStatus {
    let last = run::read(layout, &meta.session);
    let status = |state, reason: String| AgentStatus {
        name: meta.agent.clone(),
        session: meta.session.clone(),
        state,
        activity: Activity::Unknown,
        evidence: None,
        pid: None,
        since: last.as_ref().map(|r| r.since),
        heals: last.as_ref().map_or(0, |r| r.heals),
        reason,
        backend: meta.backend.clone(),
        until: None,
        stuck: false,
        version: String::new(),
    };
    match Lock::is_held(&layout.host_lock(&meta.session)) {
        Err(e) => return status(State::Unknown, format!("whether its host lives cannot be told: {e}")),
        Ok(true) => {
            return ask::report(layout, &meta.session)
                .unwrap_or_else(|e| status(State::Unknown, format!("its host lives, but: {}", e.message)));
        }
        Ok(false) => {}
    }
    match Lock::is_held(&layout.agent_lock(&meta.session)) {
        Err(e) => return status(State::Unknown, format!("whether its agent lives cannot be told: {e}")),
        Ok(true) => return status(State::Unknown, "its agent lives, its host does not; `agents up` or `agents down` settles it".into()),
        Ok(false) => {}
    }
    match (meta.wanted, meta.status.as_str()) {
        (Wanted::Down, _) => status(State::Down, String::new()),
        (Wanted::Up, "failing") => status(State::Failing, meta.reason.clone()),
        (Wanted::Up, "exited") => status(State::Exited, meta.reason.clone()),
        (Wanted::Up, _) if last.is_none() => status(State::Down, "not running since the machine was started; run `agents up`".into()),
        (Wanted::Up, _) => status(State::Down, "wanted, but nothing of it runs any more; run `agents up`".into()),
    }
}

/// How long ago, in the largest unit that fits: `5m`.
pub(super) fn age(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// A moment in the user's own time zone; the day only where it is not today.
pub(super) fn clock_time(at: Timestamp, now: Timestamp) -> String {
    let zone = jiff::tz::TimeZone::system();
    let (at, now) = (at.to_zoned(zone.clone()), now.to_zoned(zone));
    if at.date() == now.date() { at.strftime("%H:%M:%S").to_string() } else { at.strftime("%Y-%m-%d %H:%M:%S").to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::{clock, fs};
    use std::collections::BTreeMap;

    fn meta(wanted: Wanted) -> Meta {
        Meta {
            session: "int-1".into(),
            agent: "a".into(),
            backend: "shell".into(),
            project: "web".into(),
            runtime: "pty".into(),
            wanted,
            status: String::new(),
            reason: String::new(),
            created_at: clock::now(),
            resume_id: None,
            other: BTreeMap::new(),
        }
    }

    #[test]
    fn without_a_watchdog_the_locks_tell() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::from_folders(&folder.path().join("data"), &folder.path().join("run"));
        fs::create_dirs(&layout.runtime).unwrap();
        let state = |meta: &Meta| alone(&layout, meta).state;
        assert_eq!(state(&meta(Wanted::Down)), State::Down);
        let dead = alone(&layout, &meta(Wanted::Up));
        assert_eq!(dead.state, State::Down);
        assert!(dead.reason.contains("agents up"), "{}", dead.reason);
        let failing = Meta { status: "failing".into(), reason: "no such file".into(), ..meta(Wanted::Up) };
        assert_eq!((state(&failing), alone(&layout, &failing).reason.as_str()), (State::Failing, "no such file"));
        // The agent outlived its host: whatever is wanted, nobody may say that it is down.
        let _agent = Lock::try_take(&layout.agent_lock("int-1")).unwrap().unwrap();
        for meta in [meta(Wanted::Up), meta(Wanted::Down), failing] {
            assert_eq!(state(&meta), State::Unknown);
        }
        let _host = Lock::try_take(&layout.host_lock("int-1")).unwrap().unwrap();
        assert_eq!(state(&meta(Wanted::Up)), State::Unknown);
    }

    #[test]
    fn ages_in_the_largest_unit_that_fits() {
        let then: Timestamp = "2026-02-17T10:30:00Z".parse().unwrap();
        for (seconds, expected) in [(-5, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86400 * 3, "3d")] {
            assert_eq!(age(then, then + jiff::SignedDuration::from_secs(seconds)), expected);
        }
    }
}
