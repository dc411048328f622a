//! Making a project: all of it in a folder beside the goal, then one rename.

use std::path::{Path, PathBuf};

use agents::cli::{Error, Result};
use agents::contract::manifest::{MANIFEST_FILE, Manifest};
use agents::os::{self, env, git::Git, lock::Lock};

use super::{repo, scaffold};
use crate::harness::{CARRIED, Mirror, Resolved};

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub name: &'a str,
    pub folder: &'a Path,
    pub mirror: &'a Mirror,
    pub target: &'a Resolved,
    pub backend: &'a str,
}

/// Where a project is put together: beside its goal, so that the last step is one rename.
pub fn partial(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.partial"))
}

/// Refuses a goal that is taken. An empty folder may be there: the rename replaces it.
pub fn check_goal(folder: &Path) -> Result<()> {
    let taken = match os::fs::look(folder)? {
        os::fs::Found::Nothing => false,
        os::fs::Found::Folder { .. } => !os::fs::list(folder)?.is_empty(),
        _ => true,
    };
    // Found before anything is written down that would have to be undone.
    if let Some(above) = folder.ancestors().skip(1).find(|a| os::fs::exists(a)).filter(|a| !os::fs::is_dir(a)) {
        return Err(
            Error::failed(format!("{} cannot be made: {} is no folder", folder.display(), above.display())).hint("choose another --path")
        );
    }
    match taken {
        true => Err(Error::failed(format!("{} is there already", folder.display()))
            .hint("choose another --path, or register what is there: fleet add PATH")),
        false => Ok(()),
    }
}

/// Whether the harness's engine reads `agents.toml`.
fn has_agents(mirror: &Mirror, target: &Resolved) -> bool {
    let manifest = mirror.file_at(target.tree, MANIFEST_FILE).and_then(|text| toml::from_str::<Manifest>(&text).ok());
    manifest.map_or(mirror.url.is_none(), |m| m.engine.name == CARRIED)
}

/// Makes the project in `partial`, durably, with its one commit; answers with that commit's id.
pub fn build(plan: Plan<'_>, partial: &Path, lock: &Lock) -> Result<String> {
    os::fs::create_dirs(partial.parent().unwrap_or(partial))?;
    if !os::fs::create_dir(partial, 0o755)? {
        return Err(Error::failed(format!("{} is in the way", partial.display())).hint("move it away; nothing that fleet knows of uses it"));
    }
    let git = Git::at(partial).holding(lock);
    init(&git)?;
    let git_folder = partial.join(".git");
    let config = git_folder.join("config");
    os::fs::append(&config, repo::submodule_config(plan.mirror).as_bytes())?;
    if plan.mirror.url.is_none() {
        plan.mirror.share(&git_folder.join("objects"), plan.target.commit)?;
        os::fs::write_new(&git_folder.join(repo::CARRIER), format!("{}\n", plan.target.commit).as_bytes(), 0o644)?;
    }
    let facts = scaffold::Facts {
        name: plan.name,
        backend: plan.backend,
        has_agents: has_agents(plan.mirror, plan.target),
        engine_url: repo::engine_url(plan.mirror),
    };
    let files = scaffold::files(facts);
    for (path, text) in &files {
        let target = partial.join(path);
        os::fs::create_dirs(target.parent().unwrap_or(partial))?;
        os::fs::write_new(&target, text.as_bytes(), 0o644)?;
    }
    repo::prepare_engine(partial, &git_folder, plan.mirror, plan.target)?;
    let mut add = vec!["add", "--force", "--", "engine"];
    add.extend(files.iter().map(|(path, _)| *path));
    // The commit needs the engine's HEAD only, so its files are written meanwhile.
    std::thread::scope(|scope| {
        let filled = scope.spawn(|| repo::fill_engine(partial, lock));
        let committed =
            git.run(&add).and_then(|_| git.run(&["commit", "--quiet", "--message", &format!("Create {}", plan.name)]).map_err(identity));
        let filled = filled.join().map_err(|_| Error::failed("the engine's checkout ended unexpectedly"))?;
        committed.and(filled)
    })?;
    os::fs::sync_filesystem(partial)?;
    Ok(repo::look(partial)?.head.to_string())
}

/// The samples that git's own template holds are left out; a template of the user's is taken.
fn init(git: &Git<'_>) -> Result<()> {
    let own_template = env::get("GIT_TEMPLATE_DIR").is_some()
        || gix::config::File::from_globals().is_ok_and(|config| config.string("init.templateDir").is_some());
    let mut args = vec!["init", "--quiet", "--initial-branch=main"];
    if !own_template {
        args.push("--template=");
    }
    let git = git.clone().env("GIT_DEFAULT_HASH", "sha1").env("GIT_DEFAULT_REF_FORMAT", "files");
    git.run(&args).map(drop)
}

/// git's long text about a missing identity, in two lines.
pub fn identity(error: Error) -> Error {
    let unknown = |line: &String| {
        line.contains("tell me who you are") || line.contains("unable to auto-detect email") || line.contains("empty ident")
    };
    if !error.because.iter().any(unknown) {
        return error;
    }
    Error::failed("git does not know who you are, so nothing can be committed")
        .hint("git config --global user.name \"Your Name\"")
        .hint("git config --global user.email you@example.org")
}
