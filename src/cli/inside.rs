//! Handing over to the engine inside a project: it knows its sessions, and what runs is always what is pinned.

use std::path::Path;

use agents::cli::{Error, Result};
use agents::contract::layout::ENGINE_FOLDER;
use agents::contract::status::EngineStatus;
use agents::os;
use agents::os::process::{Run, exec};

use super::Context;
use crate::checkout::{drive, trust};
use crate::harness::cache;
use crate::registry::{Project, Registry};

/// `web` or `web/int-1`.
pub struct Target {
    pub project: String,
    pub session: Option<String>,
}

impl Target {
    pub fn parse(text: &str) -> Target {
        match text.split_once('/') {
            Some((project, session)) => Target { project: project.into(), session: Some(session.into()) },
            None => Target { project: text.into(), session: None },
        }
    }
}

/// The project's folder, which must be there.
pub fn folder(project: &Project) -> Result<&Path> {
    let Some(folder) = project.folder() else {
        return Err(Error::failed(format!("it is on another machine ({}), which this version cannot reach", project.location)));
    };
    if !os::fs::is_dir(folder) {
        return Err(Error::failed(format!("its folder {} is not there", os::env::shorten(folder)))
            .hint(format!("bring it back, or: fleet remove {}", project.name)));
    }
    Ok(folder)
}

/// A project of the registry that was named.
pub fn named<'r>(registry: &'r Registry, name: &str) -> Result<&'r Project> {
    let select = crate::registry::select::Select::named([name]);
    select.resolve(registry)?.into_iter().next().ok_or_else(|| Error::usage(format!("there is no project {name}")))
}

/// Becomes the project's own engine with these arguments. The session comes right after the verb; where none was named, the only one.
pub fn become_engine(target: &str, verb: &str, rest: &[String], ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    let target = Target::parse(target);
    let project = named(&registry, &target.project)?;
    let (launcher, folder) = ready(&registry, project)?;
    let session = match target.session {
        Some(session) => session,
        None => only_agent(&launcher, folder, project)?,
    };
    let mut argv = vec![launcher, verb.to_owned(), session];
    argv.extend(rest.iter().cloned());
    Err(Error::failed(format!("project {}: its engine could not be started", project.name)).because(exec(&argv, folder)))
}

/// Becomes the engine of this project with these arguments.
pub fn replace_by_engine(registry: &Registry, project: &Project, argv: Vec<String>) -> Result<()> {
    let (launcher, folder) = ready(registry, project)?;
    let argv: Vec<String> = std::iter::once(launcher).chain(argv).collect();
    Err(Error::failed(format!("project {}: its engine could not be started", project.name)).because(exec(&argv, folder)))
}

/// The launcher of a project's engine, and the folder in which it is run: the operator trusts it, and the program is where it looks for it.
pub fn ready<'p>(registry: &Registry, project: &'p Project) -> Result<(String, &'p Path)> {
    let folder = folder(project)?;
    trust::check(registry, project, folder).map_err(|e| e.of(format!("project {}", project.name)))?;
    seed(registry, project)?;
    Ok((launcher(folder, project)?, folder))
}

/// The built-in harness's program is put where the launcher looks for it.
pub fn seed(registry: &Registry, project: &Project) -> Result<()> {
    if registry.harness_of(project)?.url.is_none() { cache::seed() } else { Ok(()) }
}

/// The launcher of an engine that speaks as `agents` does.
fn launcher(folder: &Path, project: &Project) -> Result<String> {
    let path = folder.join(ENGINE_FOLDER).join("agents");
    let speaks = drive::manifest(folder)?.is_none_or(|m| m.engine.name == "agents");
    if speaks && os::fs::is_executable(&path) {
        return Ok(path.display().to_string());
    }
    let error = Error::failed(format!("project {}: its engine has no sessions to look into (no {})", project.name, path.display()));
    Err(error.hint(format!("git -C {} submodule update --init", os::env::shorten(folder))))
}

fn only_agent(launcher: &str, folder: &Path, project: &Project) -> Result<String> {
    let argv = [launcher.to_owned(), "status".into(), "--json".into()];
    let output = agents::os::process::run(&Run { argv: &argv, folder: Some(folder), ..Run::default() })?;
    let status: EngineStatus = serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr).trim().trim_start_matches("error: ").to_owned();
        Error::failed(format!("project {}: {said}", project.name))
    })?;
    let names: Vec<&str> = status.agents.iter().map(|a| if a.session.is_empty() { a.name.as_str() } else { a.session.as_str() }).collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Error::failed(format!("project {} has no agents", project.name)).hint(format!("fleet start {}", project.name))),
        many => Err(Error::usage(format!("project {} has {} agents", project.name, many.len()))
            .hint(format!("name one: {}", many.iter().map(|s| format!("{}/{s}", project.name)).collect::<Vec<_>>().join("  ")))),
    }
}
