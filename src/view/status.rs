//! The table of all projects, read at a glance.

use agents::cli::out::{Table, Text, Tone};
use agents::contract::status::State;
use agents::os::clock;
use jiff::Timestamp;

use crate::observe::report::{PinState, ProjectReport, ProjectState, Report};

/// One line a project.
pub fn table(report: &Report) -> Table {
    let mut table = Table::new(&["PROJECT", "STATE", "AGENTS", "HEALS", "SINCE", "PIN", "NOTE"]);
    for project in &report.projects {
        let up = project.agents.iter().filter(|a| matches!(a.state, State::Up | State::Limited)).count();
        let heals: u32 = project.agents.iter().map(|a| a.heals).sum();
        let since = project.agents.iter().filter_map(|a| a.since).max();
        let counted = if project.agents.is_empty() { "-".to_owned() } else { format!("{up}/{}", project.agents.len()) };
        table.row(vec![
            Text::of(if project.enabled { Tone::Strong } else { Tone::Dim }, &project.name),
            Text::of(tone(project.state), project.state.word()),
            counted.into(),
            if heals == 0 { Text::of(Tone::Dim, "0") } else { Text::of(Tone::Warn, heals.to_string()) },
            since.filter(|_| project.state != ProjectState::Down).map_or_else(|| Text::of(Tone::Dim, "-"), |s| ago(s).into()),
            pin(project),
            note(project),
        ]);
    }
    table
}

/// How many there are of each state, and what to do where something is wrong.
pub fn summary(report: &Report) -> Text {
    let mut text = Text::of(Tone::Dim, format!("{} projects", report.projects.len()));
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

fn note(project: &ProjectReport) -> Text {
    let mut words = vec![];
    if !project.enabled {
        words.push("disabled".to_owned());
    }
    words.extend(project.error.clone());
    Text::of(if project.state == ProjectState::Failing { Tone::Bad } else { Tone::Dim }, words.join("; "))
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
