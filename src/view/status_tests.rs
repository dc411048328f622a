//! Every state of a project and of its pin as the table shows it.

use super::tests::project;
use super::*;
use crate::observe::report::PinReport;

fn report(projects: Vec<ProjectReport>) -> Report {
    Report { registry: "/srv/fleet.toml".into(), projects }
}

fn rendered(report: &Report, colour: bool) -> String {
    table(report, false, |_| "5m".into()).render(colour)
}

#[test]
fn every_state_has_its_word() {
    use ProjectState::*;
    let projects = [Up, Degraded, Failing, Down, Missing, Invalid, Unknown].map(|state| {
        let mut one = project(state.word(), state, vec![]);
        one.error = matches!(state, Invalid | Unknown).then(|| "its agents.toml:\nline 3".to_owned());
        one
    });
    let report = report(projects.into());
    insta::assert_snapshot!(rendered(&report, false), @r"
    PROJECT   STATE     AGENTS  HEALS  SINCE  PIN     TASKS  NOTE
    up        up        -       0      -      v0.2.0  -
    degraded  degraded  -       0      -      v0.2.0  -
    failing   failing   -       0      -      v0.2.0  -
    down      down      -       0      -      v0.2.0  -
    missing   missing   -       0      -      v0.2.0  -
    invalid   invalid   -       0      -      v0.2.0  -      its agents.toml:␤line 3
    unknown   unknown   -       0      -      v0.2.0  -      its agents.toml:␤line 3
    ");
    insta::assert_snapshot!(summary(&report).render(false), @"7 projects, 1 up, 1 degraded, 1 failing, 1 down, 1 missing, 1 invalid, 1 unknown");
    let coloured = rendered(&report, true);
    for (word, code) in [("up", 32), ("degraded", 33), ("failing", 31), ("missing", 31), ("invalid", 31), ("unknown", 33)] {
        assert!(coloured.contains(&format!("\u{1b}[{code}m{word}")), "{word}: {coloured:?}");
    }
}

#[test]
fn every_pin_says_what_is_wrong() {
    use PinState::*;
    let cases = [("ok", Ok), ("drifted", Drifted), ("engine", Drifted), ("moved", Moved), ("missing", Missing), ("unborn", Unborn)];
    let projects = cases.map(|(name, state)| {
        let mut one = project(name, ProjectState::Down, vec![]);
        let version = if name == "drifted" { "v0.1.0" } else { "v0.2.0" };
        one.pin = PinReport { state, commit: Some("4".repeat(40)), version: Some(version.into()) };
        one
    });
    insta::assert_snapshot!(rendered(&report(projects.into()), false), @r"
    PROJECT  STATE  AGENTS  HEALS  SINCE  PIN                   TASKS  NOTE
    ok       down   -       0      -      v0.2.0                -
    drifted  down   -       0      -      v0.1.0 ≠ v0.2.0       -
    engine   down   -       0      -      v0.2.0 ≠ engine/      -
    moved    down   -       0      -      v0.2.0: v0.2.0 moved  -
    missing  down   -       0      -      missing               -
    unborn   down   -       0      -      unborn                -
    ");
    let mut bare = project("no-tag", ProjectState::Down, vec![]);
    bare.pin.version = None;
    insta::assert_snapshot!(rendered(&report(vec![bare]), false), @r"
    PROJECT  STATE  AGENTS  HEALS  SINCE  PIN         TASKS  NOTE
    no-tag   down   -       0      -      9c1e9c1e9c  -
    ");
}

#[test]
fn columns_stand_below_each_other_whatever_is_in_them() {
    let mut cjk = project("日本語プロジェクト", ProjectState::Up, vec![]);
    cjk.error = Some("一".into());
    let emoji = project("🚀-launch", ProjectState::Down, vec![]);
    let long = project(&"long-".repeat(12), ProjectState::Unknown, vec![]);
    let mut off = project("off", ProjectState::Down, vec![]);
    off.enabled = false;
    insta::assert_snapshot!(rendered(&report(vec![cjk, emoji, long, off]), false), @r"
    PROJECT                                                       STATE    AGENTS  HEALS  SINCE  PIN     TASKS  NOTE
    日本語プロジェクト                                            up       -       0      -      v0.2.0  -      一
    🚀-launch                                                     down     -       0      -      v0.2.0  -
    long-long-long-long-long-long-long-long-long-long-long-long-  unknown  -       0      -      v0.2.0  -
    off                                                           down     -       0      -      v0.2.0  -      disabled
    ");
}

#[test]
fn an_empty_registry_is_a_head_and_a_count() {
    insta::assert_snapshot!(rendered(&report(vec![]), false), @"PROJECT  STATE  AGENTS  HEALS  SINCE  PIN  TASKS  NOTE");
    insta::assert_snapshot!(summary(&report(vec![])).render(false), @"0 projects");
}
