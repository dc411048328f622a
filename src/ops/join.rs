//! Projects that exist already: registered where they are, or cloned first.

use std::path::Path;
use std::time::Duration;

use agents::cli::{Error, Result};
use agents::contract::layout::{CONFIG_FILE, ENGINE_FOLDER};
use agents::os::{self, env, git::Git, lock::Lock};
use gix::ObjectId;

use super::Made;
use super::journal::Entry;
use super::repo;
use crate::checkout::drive;
use crate::harness::submodule::{OWN_URL, gitmodules, pin_in};
use crate::harness::{CARRIED, Mirror, Resolved, url};
use crate::registry::Registry;

/// How long a clone may take.
const CLONE_TIMEOUT: Duration = Duration::from_secs(600);

/// What the registry is to say of the project in `folder`. Reads; the harness's mirror may be fetched.
pub fn recognise(registry: &Registry, folder: &Path) -> Result<Entry> {
    let look = repo::look(folder)?;
    let pin = look.pin.ok_or_else(|| no_engine(folder))?;
    let differs = look.engine.is_some_and(|e| e != pin) || look.engine_dirty;
    if differs {
        return Err(Error::failed(format!("{}: engine/ is not what HEAD pins ({pin}), and that is what would run", folder.display()))
            .hint("commit what is meant, or: git submodule update --init --force engine"));
    }
    let harness = harness_for(registry, &gitmodules(folder)?, folder)?;
    let (mirror, known) = mirror_with(registry, &harness, &look.git, pin)?;
    if !known && mirror.url.is_some() {
        return Err(Error::failed(format!("{} pins engine commit {pin}, which harness {harness} does not have", folder.display()))
            .hint("push the engine's commit to the harness first, or pin one of its releases"));
    }
    // Its own word on its version counts only where it does not say another's.
    let manifest = drive::manifest(folder)?.map(|m| format!("v{}", m.engine.version)).filter(|tag| mirror.tag(tag).is_none());
    let reference = known.then(|| mirror.tag_of(pin)).flatten().or(manifest).unwrap_or_else(|| pin.to_string());
    Ok(Entry { location: env::shorten(folder), harness, reference, commit: pin.to_string(), ..Entry::default() })
}

fn no_engine(folder: &Path) -> Error {
    Error::failed(format!("{}: HEAD has no submodule `engine`, so this is no project", folder.display()))
        .hint("make a new one: fleet create NAME   or add an engine: git submodule add URL engine")
}

/// The harness of the registry whose URL the project's engine comes from.
fn harness_for(registry: &Registry, engine_url: &str, folder: &Path) -> Result<String> {
    if engine_url == OWN_URL {
        return Ok(CARRIED.to_owned());
    }
    let found = registry.harnesses.values().find(|h| h.url.as_deref().is_some_and(|u| repo::same_url(u, engine_url)));
    found.map(|h| h.name.clone()).ok_or_else(|| {
        Error::failed(format!("{}: its engine comes from {engine_url}, which is no harness of the registry", folder.display()))
            .hint(format!("if you trust it, add to {}:  [harness.NAME]  url = \"{engine_url}\"", registry.path.display()))
    })
}

/// The harness's mirror, and whether it has the pinned commit after all that can be done for it.
fn mirror_with(registry: &Registry, harness: &str, git_folder: &Path, pin: ObjectId) -> Result<(Mirror, bool)> {
    let mirror = Mirror::open(harness, registry.harness(harness)?.url.as_deref())?;
    if !mirror.has(pin) {
        match mirror.url {
            Some(_) => mirror.fetch()?,
            None => mirror.learn(git_folder, pin)?,
        }
    }
    let mirror = Mirror::open(harness, mirror.url.as_deref())?;
    let known = mirror.has(pin);
    Ok((mirror, known))
}

/// Clones a project into `partial`, checked before anything of it is checked out, with its engine in place.
pub fn clone(registry: &Registry, url: &str, folder: &Path, partial: &Path, lock: &Lock) -> Result<Made> {
    url::check(url)?;
    let above = partial.parent().unwrap_or(partial);
    os::fs::create_dirs(above)?;
    let target = partial.display().to_string();
    Git::at(above)
        .without_hooks()
        .holding(lock)
        .timeout(CLONE_TIMEOUT)
        .config("transfer.fsckObjects=true")
        .run(&["clone", "--quiet", "--no-checkout", "--no-recurse-submodules", "--template=", "--", url, &target])
        .map_err(|mut e| {
            e.message = format!("{url} could not be cloned");
            e.hint("nothing was changed; look at the URL, your access and the network, then run the command again")
        })?;
    let repository = repo::open(partial)?;
    let head = repository.head_commit().map_err(|_| Error::failed(format!("{url} has no commit")))?;
    let tree = head.tree().map_err(|e| Error::failed(e.to_string()))?;
    let pin = pin_in(&tree).ok_or_else(|| no_engine(Path::new(url)))?;
    for name in [".gitmodules", ".gitattributes", ENGINE_FOLDER, CONFIG_FILE, "prompts"] {
        if tree.find_entry(name).is_some_and(|e| e.mode().is_link()) {
            return Err(Error::failed(format!("{url}: {name} is a symlink, so it is not checked out")));
        }
    }
    let git = Git::at(partial).without_hooks().holding(lock);
    git.run(&["reset", "--quiet", "--hard"])?;
    let harness = harness_for(registry, &gitmodules(partial)?, Path::new(url))?;
    let git_folder = partial.join(".git");
    let (mirror, known) = mirror_with(registry, &harness, &git_folder, pin)?;
    if !known {
        return Err(Error::failed(format!("{url} pins engine commit {pin}, which harness {harness} does not have")).hint(format!(
            "whoever pushed the project must push its engine too: git push origin {}",
            if mirror.url.is_none() { "engine" } else { "…" }
        )));
    }
    let tag = mirror.tag_of(pin);
    let target = Resolved { is_tag: tag.is_some(), reference: tag.unwrap_or_else(|| pin.to_string()), ..mirror.resolve(&pin.to_string())? };
    os::fs::remove_dir_if_empty(&partial.join(ENGINE_FOLDER));
    repo::place_engine(partial, &git_folder, &mirror, &target, lock)?;
    os::fs::append(&git_folder.join("config"), repo::submodule_config(&mirror).as_bytes())?;
    os::fs::sync_filesystem(partial)?;
    let entry = Entry {
        location: env::shorten(folder),
        harness,
        reference: target.reference,
        commit: pin.to_string(),
        repo: Some(url.to_owned()),
        ..Entry::default()
    };
    Ok(Made { commit: head.id.to_string(), entry })
}

/// A project's name from a folder's or URL's last part.
pub fn name_from(text: &str) -> String {
    let last = text.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    let last = last.strip_suffix(".git").unwrap_or(last).to_lowercase();
    let plain: String = last.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' }).collect();
    plain.trim_matches(['-', '.', '_']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::name_from;

    #[test]
    fn names_come_from_the_last_part() {
        for (text, name) in
            [("https://example.org/acme/Web.git", "web"), ("git@example.org:api", "api"), ("/srv/projects/My Shop/", "my-shop"), ("..", "")]
        {
            assert_eq!(name_from(text), name, "{text}");
        }
    }
}
