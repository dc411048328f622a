//! The table of all projects, read at a glance.

use agents::cli::out::{Table, Text, Tone};
use agents::contract::status::{Activity, AgentStatus, State, TaskCounts};
use agents::os::clock;
use jiff::Timestamp;

use crate::observe::report::{EngineState, GitReport, PinState, ProjectReport, ProjectState, Report};

/// One line a project; `long`: with its repository, and a line for each agent below it. `since` puts a moment into words.
pub fn table(report: &Report, long: bool, since: impl Fn(Timestamp) -> String) -> Table {
    let git: &[&str] = if long { &["BRANCH", "GIT"] } else { &[] };
    let mut table = Table::new(&[&["PROJECT", "STATE", "AGENTS", "HEALS", "SINCE", "PIN"][..], git, &["TASKS", "NOTE"]].concat());
    for project in &report.projects {
        let heals: u32 = project.agents.iter().map(|a| a.heals).sum();
        let last = project.agents.iter().filter_map(|a| a.since).max().filter(|_| project.state != ProjectState::Down);
        let mut row = vec![
            Text::of(if project.enabled { Tone::Strong } else { Tone::Dim }, &project.name),
            Text::of(tone(project.state), project.state.word()),
            agents(project),
            healed(heals),
            last.map_or_else(none, |s| since(s).into()),
            pin(project),
        ];
        if long {
            row.extend([project.git.as_ref().map_or_else(none, branch), project.git.as_ref().map_or_else(none, changes)]);
        }
        row.extend([tasks(&project.tasks), note(project, long)]);
        table.row(row);
        if long {
            project.agents.iter().for_each(|a| table.row(agent(a, &since)));
        }
    }
    table
}

fn none() -> Text {
    Text::of(Tone::Dim, "-")
}

fn healed(heals: u32) -> Text {
    if heals == 0 { Text::of(Tone::Dim, "0") } else { Text::of(Tone::Warn, heals.to_string()) }
}

fn agents(project: &ProjectReport) -> Text {
    let up = project.agents.iter().filter(|a| matches!(a.state, State::Up | State::Limited)).count();
    if project.agents.is_empty() { none() } else { format!("{up}/{} up", project.agents.len()).into() }
}

/// Why it is in its state, else what it waits for or why it is taken to hang.
fn remark(agent: &AgentStatus) -> &str {
    let what = agent.evidence.as_ref().map_or("", |e| e.what.as_str());
    if agent.reason.is_empty() { what } else { &agent.reason }
}

fn agent(agent: &AgentStatus, since: impl Fn(Timestamp) -> String) -> Vec<Text> {
    let tone = match agent.state {
        State::Up => Tone::Good,
        State::Starting | State::Limited | State::Exited | State::Unknown => Tone::Warn,
        State::Failing => Tone::Bad,
        State::Down | State::Archived => Tone::Dim,
    };
    let activity = match agent.activity {
        Activity::Working => "working".into(),
        Activity::Waiting => Text::of(Tone::Accent, "waiting"),
        Activity::Idle => "idle".into(),
        Activity::Hung => Text::of(Tone::Warn, "hung"),
        Activity::Unknown => none(),
    };
    let name = if agent.session.is_empty() { agent.name.clone() } else { format!("{} {}", agent.session, agent.name) };
    vec![
        Text::of(Tone::Dim, "  ").and(Tone::Plain, name),
        Text::of(tone, agent.state.word()),
        activity,
        healed(agent.heals),
        agent.since.map_or_else(none, |s| since(s).into()),
        Text::new(),
        Text::new(),
        Text::new(),
        Text::new(),
        Text::of(if agent.state == State::Failing { Tone::Bad } else { Tone::Dim }, remark(agent)),
    ]
}

fn tasks(tasks: &TaskCounts) -> Text {
    let mut words = vec![];
    for (count, word) in [(tasks.running, "running"), (tasks.pending, "pending"), (tasks.failed, "failed")] {
        if count > 0 {
            words.push(format!("{count} {word}"));
        }
    }
    match words.is_empty() {
        true => none(),
        false => Text::of(if tasks.failed > 0 { Tone::Warn } else { Tone::Plain }, words.join(", ")),
    }
}

/// The branch, and how far it is from the one it follows.
fn branch(git: &GitReport) -> Text {
    let mut text = match &git.branch {
        Some(branch) => branch.as_str().into(),
        None if git.detached => Text::of(Tone::Warn, "detached"),
        None => none(),
    };
    for (count, sign) in [(git.ahead, '↑'), (git.behind, '↓')] {
        if let Some(count) = count.filter(|c| *c > 0) {
            text = text.and(Tone::Accent, format!(" {sign}{count}"));
        }
    }
    if git.upstream.is_some() && git.ahead.is_none() {
        text = text.and(Tone::Dim, " (upstream gone)");
    }
    text
}

/// What is changed, in words; `clean` where nothing is.
fn changes(git: &GitReport) -> Text {
    if let Some(error) = &git.error {
        return Text::of(Tone::Bad, error);
    }
    let engine = &git.engine;
    let mut words: Vec<String> = git.busy.iter().map(|b| format!("{b} unfinished")).collect();
    let counts = [(git.conflicts, "in conflict"), (git.staged, "staged"), (git.modified, "dirty"), (git.untracked, "untracked")];
    words.extend(counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    words.extend(match engine.state {
        EngineState::Drifted => Some("engine drifted".to_owned()),
        EngineState::Uninitialised => Some("engine not initialised".to_owned()),
        EngineState::Ok | EngineState::Missing => None,
    });
    words.extend(engine.is_dirty().then(|| "engine dirty".to_owned()));
    words.extend((engine.state != EngineState::Missing && git.tag.is_none()).then(|| "pin without a tag".to_owned()));
    if words.is_empty() { Text::of(Tone::Dim, "clean") } else { Text::of(Tone::Warn, words.join(", ")) }
}

/// How many there are of each state, and what to do where something is wrong.
pub fn summary(report: &Report) -> Text {
    let mut text = Text::of(
        Tone::Dim,
        match report.projects.len() {
            1 => "1 project".to_owned(),
            n => format!("{n} projects"),
        },
    );
    let states = [
        ProjectState::Up,
        ProjectState::Degraded,
        ProjectState::Failing,
        ProjectState::Down,
        ProjectState::Missing,
        ProjectState::Invalid,
        ProjectState::Unknown,
    ];
    for state in states {
        let count = report.projects.iter().filter(|p| p.state == state).count();
        if count > 0 {
            text = text.and(Tone::Dim, ", ").and(tone(state), format!("{count} {}", state.word()));
        }
    }
    text
}

fn tone(state: ProjectState) -> Tone {
    match state {
        ProjectState::Up => Tone::Good,
        ProjectState::Degraded => Tone::Warn,
        ProjectState::Failing | ProjectState::Missing | ProjectState::Invalid => Tone::Bad,
        ProjectState::Down => Tone::Dim,
        ProjectState::Unknown => Tone::Warn,
    }
}

/// The pinned version, and what the registry wants where that is another.
fn pin(project: &ProjectReport) -> Text {
    let commit = project.pin.commit.as_deref().map(|c| c[..c.len().min(10)].to_owned());
    let name = project.pin.version.clone().or(commit).unwrap_or_else(|| "-".into());
    let wanted = project.reference.as_deref().unwrap_or("?");
    match project.pin.state {
        PinState::Ok => name.into(),
        PinState::Drifted if name == wanted => Text::of(Tone::Warn, format!("{name} ≠ engine/")),
        PinState::Drifted => Text::of(Tone::Warn, format!("{name} ≠ {wanted}")),
        PinState::Moved => Text::of(Tone::Bad, format!("{name}: {wanted} moved")),
        PinState::Missing => Text::of(Tone::Bad, "missing"),
        PinState::Unborn => Text::of(Tone::Warn, "unborn"),
    }
}

/// What a person should know: above all who waits for one. The long view says that beside each agent.
fn note(project: &ProjectReport, long: bool) -> Text {
    let mut words = vec![];
    if !project.enabled {
        words.push("disabled".to_owned());
    }
    words.extend(project.error.clone());
    let calls = |a: &&AgentStatus| !long && a.state == State::Up && matches!(a.activity, Activity::Waiting | Activity::Hung);
    let calling: Vec<String> = project.agents.iter().filter(calls).map(call).collect();
    if !calling.is_empty() && project.state != ProjectState::Failing {
        words.extend(calling);
        return Text::of(Tone::Accent, words.join("; "));
    }
    words.extend(calling);
    Text::of(if project.state == ProjectState::Failing { Tone::Bad } else { Tone::Dim }, words.join("; "))
}

/// Who waits for a person or hangs, and what tells.
fn call(agent: &AgentStatus) -> String {
    let verb = if agent.activity == Activity::Waiting { "waits" } else { "hangs" };
    let what = remark(agent).lines().next().unwrap_or_default();
    if what.is_empty() { format!("{} {verb}", agent.session) } else { format!("{} {verb}: {what}", agent.session) }
}

/// How long ago, in its largest unit: `3m`, `2h`, `5d`.
pub fn ago(then: Timestamp) -> String {
    let seconds = (clock::now().as_second() - then.as_second()).max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// The moment itself, for what stays on a screen: the time, and the day where it is another.
pub fn moment(then: Timestamp) -> String {
    let zone = jiff::tz::TimeZone::system();
    let (then, today) = (then.to_zoned(zone.clone()), clock::now().to_zoned(zone));
    let format = if then.date() == today.date() { "%H:%M:%S" } else { "%b %d %H:%M" };
    then.strftime(format).to_string()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod every_state;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::report::{EngineReport, PinReport};

    pub fn project(name: &str, state: ProjectState, agents: Vec<AgentStatus>) -> ProjectReport {
        ProjectReport {
            name: name.into(),
            location: format!("/srv/{name}"),
            enabled: true,
            tags: vec![],
            harness: "agents".into(),
            reference: Some("v0.2.0".into()),
            pin: PinReport { state: PinState::Ok, commit: Some("9c1e".repeat(10)), version: Some("v0.2.0".into()) },
            state,
            agents,
            sessions: 0,
            tasks: TaskCounts::default(),
            error: None,
            git: None,
        }
    }

    fn agent(name: &str, state: State, heals: u32, reason: &str) -> AgentStatus {
        AgentStatus {
            name: name.into(),
            session: format!("{name}-1"),
            state,
            activity: Activity::Waiting,
            evidence: None,
            pid: Some(4711),
            since: "2026-02-17T10:30:00Z".parse().ok(),
            heals,
            reason: reason.into(),
            backend: "claude".into(),
            version: String::new(),
            until: None,
            stuck: false,
        }
    }

    #[test]
    fn a_glance_tells_it_all() {
        let up = project("web", ProjectState::Degraded, vec![agent("one", State::Up, 2, ""), agent("two", State::Starting, 1, "")]);
        let mut drifted = project("api", ProjectState::Down, vec![]);
        drifted.pin = PinReport { state: PinState::Drifted, commit: Some("4".repeat(40)), version: Some("v0.1.0".into()) };
        drifted.tasks = TaskCounts { pending: 3, running: 1, ..TaskCounts::default() };
        let mut off = project("old", ProjectState::Missing, vec![]);
        (off.enabled, off.error) = (false, Some("its folder is not there\n".into()));
        let report = Report { registry: "/srv/fleet.toml".into(), projects: vec![up, drifted, off] };
        insta::assert_snapshot!(table(&report, false, |_| "5m".into()).render(false), @r"
        PROJECT  STATE     AGENTS  HEALS  SINCE  PIN              TASKS                 NOTE
        web      degraded  1/2 up  3      5m     v0.2.0           -                     one-1 waits
        api      down      -       0      -      v0.1.0 ≠ v0.2.0  1 running, 3 pending
        old      missing   -       0      -      v0.2.0           -                     disabled; its folder is not there␤
        ");
        insta::assert_snapshot!(summary(&report).render(false), @"3 projects, 1 degraded, 1 down, 1 missing");
    }

    #[test]
    fn the_long_view_tells_the_repository_and_each_agent() {
        let git = |fill: fn(&mut GitReport)| {
            let engine = EngineReport { state: EngineState::Ok, ..EngineReport::default() };
            let mut report = GitReport { branch: Some("main".into()), tag: Some("v0.2.0".into()), engine, ..GitReport::default() };
            fill(&mut report);
            Some(report)
        };
        let mut web = project("web", ProjectState::Failing, vec![agent("one", State::Failing, 5, "ended with status 1\nfive times")]);
        web.git = git(|g| (g.upstream, g.ahead, g.behind) = (Some("origin/main".into()), Some(2), Some(1)));
        let mut api = project("api", ProjectState::Down, vec![]);
        api.git = git(|g| (g.staged, g.modified, g.untracked, g.busy) = (1, 2, 3, Some("merge".into())));
        let mut old = project("old", ProjectState::Down, vec![]);
        old.git = git(|g| {
            (g.branch, g.detached, g.tag) = (None, true, None);
            (g.engine.state, g.engine.modified) = (EngineState::Drifted, 1);
        });
        let mut fresh = project("new", ProjectState::Down, vec![]);
        fresh.git = git(|g| g.engine.state = EngineState::Uninitialised);
        let report = Report { registry: "/srv/fleet.toml".into(), projects: vec![web, api, old, fresh] };
        insta::assert_snapshot!(table(&report, true, |_| "5m".into()).render(false), @r"
        PROJECT      STATE    AGENTS   HEALS  SINCE  PIN     BRANCH      GIT                                               TASKS  NOTE
        web          failing  0/1 up   5      5m     v0.2.0  main ↑2 ↓1  clean                                             -
          one-1 one  failing  waiting  5      5m                                                                                  ended with status 1␤five times
        api          down     -        0      -      v0.2.0  main        merge unfinished, 1 staged, 2 dirty, 3 untracked  -
        old          down     -        0      -      v0.2.0  detached    engine drifted, engine dirty, pin without a tag   -
        new          down     -        0      -      v0.2.0  main        engine not initialised                            -
        ");
    }
}
