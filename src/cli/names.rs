//! The names that the tab key offers: projects, their sessions, tags, harnesses.

use std::collections::BTreeSet;

use crate::observe;
use crate::registry::Registry;

/// What an argument of this command may be; see [`agents::cli::complete::Words`].
pub(super) fn words(verb: &str, value: &str, written: &str) -> Vec<String> {
    // Nobody can be told of an error in the middle of a line. A name that is to be new is offered nothing.
    let Ok(registry) = Registry::find(None) else { return vec![] };
    let projects = || registry.projects.iter().map(|p| p.name.clone());
    match (verb, value) {
        ("create" | "add" | "init", "PROJECT") => vec![],
        (_, "PROJECT") => projects().collect(),
        (_, "TARGET") => match written.split_once('/') {
            Some((project, _)) => sessions(&registry, project).into_iter().map(|session| format!("{project}/{session}")).collect(),
            None => projects().collect(),
        },
        (_, "TAG") => registry.projects.iter().flat_map(|p| p.tags.iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect(),
        (_, "HARNESS") => registry.harnesses.keys().cloned().collect(),
        (_, "BACKEND") => agents::cli::BACKENDS.iter().map(ToString::to_string).collect(),
        (_, _) => vec![],
    }
}

/// The sessions of a project that runs.
fn sessions(registry: &Registry, project: &str) -> Vec<String> {
    let Some(project) = registry.project(project) else { return vec![] };
    let report = observe::project::look(registry, &[project], false);
    report.projects.into_iter().flat_map(|p| p.agents).map(|agent| agent.session).filter(|session| !session.is_empty()).collect()
}
