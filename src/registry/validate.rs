//! `fleet validate`: the registry against the world. All findings at once; no project is changed, nothing of its own is run, no network is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agents::cli::{Error, Kind, Place, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::os;
use agents::os::fs::Found;
use gix::ObjectId;
use schemars::JsonSchema;
use serde::Serialize;

use super::check::{Finding, Places, Severity, Spot};
use super::{BUILT_IN_HARNESS, Harness, Project, Registry, Secrets};
use crate::harness::submodule;
use crate::harness::{Mirror, Resolved, mirror};
use crate::parallel;

/// Everything wrong with a registry and with what it speaks of, in the file's order. An error only where the file cannot be read.
pub fn validate(path: &Path) -> Result<Vec<Finding>> {
    let (registry, mut findings) = match Registry::read(path) {
        Ok(read) => read,
        Err(error) if error.kind == Kind::Invalid => return Ok(unreadable(path, error)),
        Err(error) => return Err(error),
    };
    // What the text alone shows to be wrong needs no second complaint.
    let wrong: Vec<String> = findings.iter().map(|f| f.of.clone()).collect();
    let places = Places::new(&registry.path, &registry.text);
    let mut mirrors = Mirrors::default();
    let mut folders: BTreeMap<PathBuf, &Project> = BTreeMap::new();
    for (number, (project, seen)) in registry.projects.iter().zip(parallel::each(&registry.projects, look)).enumerate() {
        let of = format!("project {}", project.name);
        if wrong.contains(&of) {
            continue;
        }
        let Seen { folder, pin, mut said } = seen;
        if let Some(pin) = pin {
            let harness = registry.harnesses.get(&project.harness);
            let meant = harness.zip(project.reference.as_deref()).and_then(|(h, reference)| mirrors.resolve(h, reference));
            said.extend(check_pin(project, pin, meant));
        }
        if let Some(folder) = folder
            && let Some(first) = folders.insert(folder, project)
        {
            let message = format!("location: {} is the place of project {} too (line {})", project.location, first.name, first.line);
            said.push(Said::error("location", message, "remove one of them: one folder, one project"));
        }
        findings.extend(said.into_iter().map(|s| Finding {
            // Whoever disabled a project may well know that something is wrong with it.
            severity: if project.enabled { s.severity } else { Severity::Warning },
            place: places.of(Spot::Project(number, s.key)),
            of: of.clone(),
            message: s.message,
            hints: s.hint.into_iter().collect(),
        }));
    }
    findings.extend(mirrors.harnesses(&registry, &places));
    findings.sort_by_key(|f| (f.place.line, f.place.column));
    Ok(findings)
}

/// What `fleet validate --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    /// The registry's file.
    pub registry: String,
    /// In the file's order.
    pub findings: Vec<Shown>,
}

/// One finding.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// `error` or `warning`.
    pub severity: &'static str,
    pub line: usize,
    pub column: usize,
    /// What it is about: `project web`, `harness agents`, `[fleet]`.
    pub of: String,
    pub message: String,
    /// What to do.
    pub hints: Vec<String>,
}

impl Report {
    /// Of a registry at `path`.
    pub fn of(path: &Path, findings: &[Finding]) -> Report {
        let shown = |f: &Finding| Shown {
            severity: match f.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            line: f.place.line,
            column: f.place.column,
            of: f.of.clone(),
            message: f.message.clone(),
            hints: f.hints.clone(),
        };
        Report { registry: path.display().to_string(), findings: findings.iter().map(shown).collect() }
    }
}

/// What could not even be read as a registry.
fn unreadable(path: &Path, mut error: Error) -> Vec<Finding> {
    let others = std::mem::take(&mut error.others);
    let finding = |e: Error| Finding {
        severity: Severity::Error,
        place: e.place.unwrap_or_else(|| Place { file: path.to_path_buf(), line: 1, column: 1 }),
        of: String::new(),
        message: e.message,
        hints: e.hints,
    };
    std::iter::once(error).chain(others).map(finding).collect()
}

/// Something to say about one key of one project.
#[derive(Debug, Clone)]
struct Said {
    key: &'static str,
    severity: Severity,
    message: String,
    hint: Option<String>,
}

impl Said {
    fn error(key: &'static str, message: String, hint: impl Into<String>) -> Said {
        Said { key, severity: Severity::Error, message, hint: Some(hint.into()).filter(|h| !h.is_empty()) }
    }
    fn warning(key: &'static str, message: String, hint: impl Into<String>) -> Said {
        Said { severity: Severity::Warning, ..Said::error(key, message, hint) }
    }
}

/// What one look at a project showed.
#[derive(Debug, Default)]
struct Seen {
    /// Its folder without links; `None`: it is not here.
    folder: Option<PathBuf>,
    /// What HEAD records for its engine.
    pin: Option<ObjectId>,
    said: Vec<Said>,
}

fn look(project: &Project) -> Seen {
    let mut seen = Seen { said: secrets(project), ..Seen::default() };
    let Some(folder) = project.folder() else { return seen };
    if !os::fs::is_dir(folder) {
        let hint = match &project.repo {
            Some(repo) => format!("git clone --recurse-submodules -- {repo} {}", project.location),
            None => format!("correct the location, or: fleet remove {}", project.name),
        };
        seen.said.push(Said::error("location", format!("location: there is no folder {}", project.location), hint));
        return seen;
    }
    seen.folder = os::fs::canonical(folder).ok();
    match pin(folder) {
        Ok(pin) => seen.pin = Some(pin),
        Err(said) => seen.said.push(said),
    }
    if let Some(pin) = seen.pin
        && let Some(said) = unpublished(project, folder, pin)
    {
        seen.said.push(said);
    }
    if seen.pin.is_some() && !os::fs::exists(&folder.join(ENGINE_FOLDER).join(".git")) {
        let hint = format!("fleet start {}", project.name);
        seen.said.push(Said::warning("location", format!("{ENGINE_FOLDER}/ is recorded, but not checked out"), hint));
    }
    if project.harness == BUILT_IN_HARNESS && !os::fs::is_file(&folder.join(&project.config)) {
        let message = format!("config: there is no {} in {}", project.config, project.location);
        seen.said.push(Said::error("config", message, "write it, or name another with config = \"…\""));
    }
    seen
}

/// What HEAD records for `engine`. Opened as somebody else's repository, so that nothing its configuration names is run.
fn pin(folder: &Path) -> Result<ObjectId, Said> {
    let wrong = |message: String, hint: &str| Said::error("location", message, hint);
    let shown = os::env::shorten(folder);
    let options = gix::open::Options::default().with(gix::sec::Trust::Reduced);
    let repository = gix::open_opts(folder, options)
        .map_err(|_| wrong(format!("location: {shown} is not a git repository"), "git init there, or correct the location"))?;
    let tree = repository.head_commit().ok().and_then(|c| c.tree().ok());
    let tree = tree.ok_or_else(|| wrong(format!("location: {shown} has no commit yet, so nothing is pinned"), "commit something first"))?;
    submodule::pin_in(&tree).ok_or_else(|| {
        wrong(format!("location: in {shown}, HEAD records no submodule {ENGINE_FOLDER}/"), "is the commit with the engine on this branch?")
    })
}

/// A project that carries its engine itself and has a remote whose copy, as far as was last heard of it, lacks the pin: no clone of it is whole.
fn unpublished(project: &Project, folder: &Path, pin: ObjectId) -> Option<Said> {
    let carries = submodule::gitmodules(folder).is_ok_and(|url| url == submodule::OWN_URL);
    let repository = gix::open_opts(folder, gix::open::Options::default().with(gix::sec::Trust::Reduced)).ok().filter(|_| carries)?;
    repository.config_snapshot().string("remote.origin.url")?;
    let there = repository.try_find_reference("refs/remotes/origin/engine").ok().flatten().and_then(|r| r.try_id().map(gix::Id::detach));
    let reaches = |tip: ObjectId| tip == pin || repository.merge_base(tip, pin).is_ok_and(|base| base.is_some_and(|b| b.detach() == pin));
    if there.is_some_and(reaches) {
        return None;
    }
    let message =
        format!("its pin {} is not known to be on its remote origin, so a clone of it would lack its engine", short(&pin.to_string()));
    Some(Said::warning("location", message, format!("git -C {} push origin engine", project.location)))
}

fn check_pin(project: &Project, pin: ObjectId, reference: Option<Result<Resolved>>) -> Vec<Said> {
    let (pin, mut said) = (pin.to_string(), vec![]);
    let name = project.reference.as_deref().unwrap_or("its commit");
    let update = |r: &str| format!("fleet update {} {r}    pins what the registry says", project.name);
    match (&project.commit, &reference) {
        (Some(commit), _) if *commit != pin => {
            let message = format!("{ENGINE_FOLDER}/ is pinned at {}, the registry says {name} ({})", short(&pin), short(commit));
            said.push(Said::error("commit", message, update(name)));
        }
        (None, Some(Ok(resolved))) if resolved.commit.to_string() != pin => {
            let meant = resolved.commit.to_string();
            let message = format!("{ENGINE_FOLDER}/ is pinned at {}, {name} is {}", short(&pin), short(&meant));
            said.push(Said::error("ref", message, update(name)));
        }
        _ => {}
    }
    match (&project.commit, reference) {
        (Some(commit), Some(Ok(resolved))) if resolved.is_tag && resolved.commit.to_string() != *commit => {
            let now = resolved.commit.to_string();
            let message = format!("the tag {name} was moved: it meant {} when it was pinned and means {} now", short(commit), short(&now));
            said.push(Said::error("ref", message, "ask whoever moved it; a tag that was published should stay"));
        }
        // The pin itself is known: that its name no longer is does no harm until somebody wants to pin it again.
        (Some(commit), Some(Err(error))) if *commit == pin => {
            said.push(Said::warning("ref", error.message, error.hints.into_iter().next().unwrap_or_default()))
        }
        (_, Some(Err(error))) => said.push(Said::error("ref", error.message, error.hints.into_iter().next().unwrap_or_default())),
        _ => {}
    }
    said
}

fn secrets(project: &Project) -> Vec<Said> {
    let wrong = |message: String, hint: String| vec![Said::error("secrets", format!("secrets: {message}"), hint)];
    match &project.secrets {
        None => vec![],
        Some(Secrets::Command(argv)) => {
            let (program, search) = (argv.first().map_or("", String::as_str), os::env::text("PATH").unwrap_or_default());
            let folder = project.folder().unwrap_or(Path::new("/"));
            match os::fs::find_program(program, folder, &search) {
                Some(_) => vec![],
                None => wrong(format!("the program {program} was not found"), "install it, or correct the command".into()),
            }
        }
        Some(Secrets::File(path)) => {
            let shown = os::env::shorten(path);
            match os::fs::canonical(path).and_then(|real| os::fs::look(&real)) {
                Ok(Found::File { mode, .. }) if mode & 0o077 != 0 => {
                    wrong(format!("{shown} has mode {mode:04o}, so others may read it"), format!("chmod 600 {shown}"))
                }
                Ok(Found::File { .. }) => vec![],
                Ok(_) => wrong(format!("{shown} is no file"), String::new()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    wrong(format!("there is no file {shown}"), "write it with mode 0600, or correct the path".into())
                }
                Err(error) => wrong(error.to_string(), String::new()),
            }
        }
    }
}

/// Mirrors that are here already, and what references mean in them: each is looked up once.
#[derive(Default)]
struct Mirrors {
    /// `None`: nothing was ever fetched from it.
    open: BTreeMap<String, Option<Result<Mirror>>>,
    resolved: BTreeMap<(String, String), Result<Resolved>>,
}

impl Mirrors {
    /// `None`: what it means cannot be known here.
    fn resolve(&mut self, harness: &Harness, reference: &str) -> Option<Result<Resolved>> {
        let mirror = self.open.entry(harness.name.clone()).or_insert_with(|| {
            let url = harness.url.as_deref();
            let known = url.is_none() || os::fs::is_dir(&mirror::path(&harness.name, url));
            known.then(|| Mirror::open(&harness.name, url))
        });
        let mirror = match mirror.as_ref()? {
            Ok(mirror) => mirror,
            Err(error) => return Some(Err(error.clone())),
        };
        let key = (harness.name.clone(), reference.to_owned());
        Some(self.resolved.entry(key).or_insert_with(|| mirror.resolve(reference)).clone())
    }

    /// What can be said about the harnesses themselves.
    fn harnesses(&mut self, registry: &Registry, places: &Places<'_>) -> Vec<Finding> {
        let mut findings = vec![];
        for harness in registry.harnesses.values() {
            if let Some(reference) = &harness.reference
                && let Some(Err(error)) = self.resolve(harness, reference)
            {
                let place = places.of(Spot::Harness(&harness.name, "ref"));
                let of = format!("harness {}", harness.name);
                findings.push(Finding { severity: Severity::Error, place, of, message: error.message, hints: error.hints });
            }
        }
        findings.extend(self.unfetched(registry, places));
        findings
    }

    fn unfetched<'a>(&'a self, registry: &'a Registry, places: &'a Places<'_>) -> impl Iterator<Item = Finding> + 'a {
        self.open.iter().filter(|(_, mirror)| mirror.is_none()).map(|(name, _)| Finding {
            severity: Severity::Warning,
            place: places.of(Spot::Harness(name, "url")),
            of: format!("harness {name}"),
            message: format!(
                "{} was never fetched here, so what its tags and branches mean was not checked",
                registry.harnesses[name].url.as_deref().unwrap_or("it")
            ),
            hints: vec![],
        })
    }
}

fn short(id: &str) -> &str {
    id.get(..9).unwrap_or(id)
}
