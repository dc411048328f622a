//! All projects at once: one that is broken or hangs neither stops nor hides the others.

use std::path::Path;

use agents::os::socket::Stream;
use agents::os::{fs, process};
use gix::ObjectId;

use super::engine::{self, Asked, Places, Seen};
use super::git;
use super::pin::Pins;
use super::report::{GitReport, PinReport, PinState, ProjectReport, ProjectState, Report};
use crate::parallel;
use crate::registry::{Project, Registry};

/// So many engines can be asked at once with the descriptors that any process has (1,024 as a rule).
const FEW: usize = 500;

/// Looks at these projects of a registry; `long`: also at what is changed in their repositories.
pub fn look(registry: &Registry, projects: &[&Project], long: bool) -> Report {
    if projects.len() > FEW {
        process::allow_many_descriptors();
    }
    let pins = Pins::load(registry, projects, long);
    let places = Places::load();
    let looks = parallel::each(projects, |project| begin(registry, project, &pins, &places, long));
    pins.keep();
    let (mut looks, waiting) = unzip(looks);
    // All engines were asked before the first answer is waited for, so those that hang do so together.
    for (i, seen) in engine::answers(waiting) {
        looks[i].seen = seen;
    }
    // A harness's own command takes what time it takes: these wait side by side, not one after the other.
    let commands: Vec<usize> = (0..looks.len()).filter(|i| looks[*i].has_command).collect();
    let said = parallel::each_waiting(&commands, |i| {
        let project = projects[*i];
        let harness = registry.harness_of(project).ok()?;
        Some(engine::ask_command(registry, project, harness, project.folder()?))
    });
    for (i, seen) in commands.into_iter().zip(said) {
        looks[i].seen = seen.unwrap_or_default();
    }
    let reports = projects.iter().zip(looks).map(|(project, look)| look.report(project));
    Report { registry: registry.path.display().to_string(), projects: reports.collect() }
}

/// What is known of one project so far.
struct Look {
    pin: PinReport,
    /// What a person should know of the pin; or why this is no project.
    note: Result<Option<String>, (ProjectState, String)>,
    seen: Seen,
    has_command: bool,
    git: Option<GitReport>,
}

fn unzip(looks: Vec<(Look, Option<Stream>)>) -> (Vec<Look>, Vec<(usize, Stream)>) {
    let mut waiting = vec![];
    let mut known = Vec::with_capacity(looks.len());
    for (i, (look, stream)) in looks.into_iter().enumerate() {
        waiting.extend(stream.map(|s| (i, s)));
        known.push(look);
    }
    (known, waiting)
}

fn begin(registry: &Registry, project: &Project, pins: &Pins, places: &Places, long: bool) -> (Look, Option<Stream>) {
    let mut look = Look {
        pin: PinReport { state: PinState::Missing, commit: None, version: None },
        note: Ok(None),
        seen: Seen::default(),
        has_command: false,
        git: None,
    };
    let Some(folder) = project.folder() else {
        look.note = Err((ProjectState::Unknown, "on another machine, which this version cannot ask".into()));
        return (look, None);
    };
    if !fs::is_dir(folder) {
        look.note = Err((ProjectState::Missing, "its folder is not there".into()));
        return (look, None);
    }
    let mut stream = None;
    match registry.harness_of(project).map(|harness| places.ask(harness, folder)) {
        Err(e) => look.note = Err((ProjectState::Invalid, e.message)),
        Ok(Asked::Answered(seen)) => look.seen = seen,
        Ok(Asked::Command) => look.has_command = true,
        Ok(Asked::Waiting(asked)) => stream = Some(asked),
    }
    match pins.look(project, folder) {
        Ok((pin, note)) => {
            look.git = long.then(|| repository(project, folder, pins, &pin));
            look.pin = pin;
            look.note = look.note.map(|_| note);
        }
        Err(note) => look.note = Err((ProjectState::Invalid, note)),
    }
    (look, stream)
}

fn repository(project: &Project, folder: &Path, pins: &Pins, pin: &PinReport) -> GitReport {
    let commit = pin.commit.as_deref().and_then(|c| ObjectId::from_hex(c.as_bytes()).ok());
    git::look(folder, commit, |commit| pins.tag_of(&project.harness, commit), &pins.trees)
}

impl Look {
    fn report(self, project: &Project) -> ProjectReport {
        let Seen { state, agents, sessions, tasks, note } = self.seen;
        let (state, error) = match self.note {
            // What runs is listed also where the rest is broken.
            Err((state, why)) => (state, Some(why)),
            Ok(pin) => (state.unwrap_or(ProjectState::Unknown), pin.or(note)),
        };
        ProjectReport {
            name: project.name.clone(),
            location: project.location.to_string(),
            enabled: project.enabled,
            tags: project.tags.clone(),
            harness: project.harness.clone(),
            reference: project.reference.clone(),
            pin: self.pin,
            state,
            agents,
            sessions,
            tasks,
            error,
            git: self.git,
        }
    }
}
