//! All projects at once: one that is broken neither stops nor hides the others.

use agents::os::fs;

use super::engine::{Places, Seen};
use super::pin::Pins;
use super::report::{PinReport, PinState, ProjectReport, ProjectState, Report};
use crate::ops::parallel;
use crate::registry::{Project, Registry};

/// Looks at these projects of a registry.
pub fn look(registry: &Registry, projects: &[&Project]) -> Report {
    let pins = Pins::load(registry, projects);
    let places = Places::load();
    let reports = parallel::each(projects, |project| one(registry, project, &pins, &places));
    pins.keep();
    Report { registry: registry.path.display().to_string(), projects: reports }
}

fn one(registry: &Registry, project: &Project, pins: &Pins, places: &Places) -> ProjectReport {
    let nothing = PinReport { state: PinState::Missing, commit: None, version: None };
    let (pin, seen) = match project.folder() {
        None => (
            nothing,
            Seen {
                state: Some(ProjectState::Unknown),
                note: Some("on another machine, which this version cannot ask".into()),
                ..Seen::default()
            },
        ),
        Some(folder) if !fs::is_dir(folder) => {
            (nothing, Seen { state: Some(ProjectState::Missing), note: Some("its folder is not there".into()), ..Seen::default() })
        }
        Some(folder) => {
            let mut seen = match registry.harness_of(project) {
                Ok(harness) => places.look(registry, project, harness, folder),
                Err(e) => Seen { state: Some(ProjectState::Invalid), note: Some(e.message), ..Seen::default() },
            };
            let pin = match pins.look(project, folder) {
                Ok((pin, note)) => {
                    seen.note = note.or(seen.note);
                    pin
                }
                Err(note) => {
                    seen.state = Some(ProjectState::Invalid);
                    seen.note = Some(note);
                    nothing
                }
            };
            (pin, seen)
        }
    };
    ProjectReport {
        name: project.name.clone(),
        location: project.location.to_string(),
        enabled: project.enabled,
        tags: project.tags.clone(),
        harness: project.harness.clone(),
        reference: project.reference.clone(),
        pin,
        state: seen.state.unwrap_or(ProjectState::Unknown),
        agents: seen.agents,
        sessions: seen.sessions,
        tasks: seen.tasks,
        error: seen.note,
    }
}
