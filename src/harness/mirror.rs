//! A harness's local mirror: a bare repository that is fetched into, resolved from, and never loses a commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agents::cli::{Error, Result, out};
use agents::os;
use agents::os::git::Git;
use agents::os::lock::Lock;
use gix::ObjectId;

use super::carried;

/// How long a fetch may take before it counts as stalled.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);
/// How the folder begins in which a mirror is made.
const ASIDE: &str = ".new-";
/// More packs than this are made into one after a fetch: every new project links each of them.
const PACKS_MAX: usize = 30;

/// What a reference meant when it was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// As it was asked for: a tag, a branch, or a full commit id.
    pub reference: String,
    pub commit: ObjectId,
    pub tree: ObjectId,
    /// Whether the reference is a tag, which must never mean another commit later.
    pub is_tag: bool,
}

/// A harness's mirror.
pub struct Mirror {
    pub name: String,
    /// `None`: the engine that this program carries.
    pub url: Option<String>,
    pub path: PathBuf,
    shared: gix::ThreadSafeRepository,
    /// Read once, for all projects that ask; forgotten by whatever changes them.
    tags: Mutex<Option<Arc<Tags>>>,
}

/// Tags with the commits they name.
pub type Tags = BTreeMap<String, ObjectId>;

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("name", &self.name).field("url", &self.url).field("path", &self.path).finish_non_exhaustive()
    }
}

/// Where the mirror of a harness lies.
pub fn path(name: &str, url: Option<&str>) -> PathBuf {
    let key = match url {
        None => "carried".to_owned(),
        Some(url) => agents::contract::layout::hash(Path::new(url)),
    };
    os::env::cache_home().join("fleet/harness").join(format!("{}-{key}", agents::contract::layout::component(name)))
}

fn gix_error(what: &str, error: impl std::fmt::Display) -> Error {
    Error::failed(format!("{what}: {error}"))
}

impl Mirror {
    /// Opens the mirror, making it first where there is none. The carried engine is in its own afterwards; nothing is fetched.
    pub fn open(name: &str, url: Option<&str>) -> Result<Mirror> {
        if let Some(url) = url {
            super::url::check(url).map_err(|e| e.of(format!("harness {name}")))?;
        }
        let path = path(name, url);
        if !os::fs::is_dir(&path) {
            init(&path)?;
        }
        let shared = gix::ThreadSafeRepository::open_opts(&path, gix::open::Options::isolated())
            .map_err(|e| gix_error(&format!("the mirror {}", path.display()), e).hint(format!("rm -r {}", path.display())))?;
        let mirror = Mirror { name: name.to_owned(), url: url.map(str::to_owned), path, shared, tags: Mutex::new(None) };
        if mirror.url.is_none() {
            mirror.write_carried()?;
        }
        Ok(mirror)
    }

    fn repository(&self) -> gix::Repository {
        self.shared.to_thread_local()
    }

    fn forget_tags(&self) {
        *self.tags.lock().expect("nobody panics holding it") = None;
    }

    fn lock(&self) -> Result<Lock> {
        // Who has it may fetch, and how long that takes is up to the network.
        agents::cli::wait_for(&self.path.join("fleet.lock"), None, |holder| {
            format!("waiting for {holder}, who works on {}", os::env::shorten(&self.path))
        })
    }

    /// The tag is written last, so where it says the right commit everything is there.
    fn write_carried(&self) -> Result<()> {
        let (ids, tag) = (carried::ids(), carried::tag());
        if self.tag(&tag).is_some_and(|commit| commit == ids.commit) {
            return Ok(());
        }
        let lock = self.lock()?;
        carried::write_into(&self.repository())?;
        let git = Git::at(&self.path).holding(&lock);
        git.run(&["update-ref", &format!("refs/tags/{tag}"), &ids.commit.to_string()])?;
        self.forget_tags();
        repack(&git)
    }

    /// Gets what is new at the harness's URL. Tags are taken as they are there now; a commit that was ever here stays.
    pub fn fetch(&self) -> Result<()> {
        let Some(url) = &self.url else { return Ok(()) };
        let lock = self.lock()?;
        out::say(format!("fetching harness {} from {url}", self.name));
        let git = Git::at(&self.path).holding(&lock).without_hooks().timeout(FETCH_TIMEOUT);
        git.clone()
            .config("transfer.fsckObjects=true")
            .config("fetch.unpackLimit=1")
            .config("gc.auto=0")
            .run(&[
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--",
                url,
                "+refs/heads/*:refs/heads/*",
                "+refs/tags/*:refs/tags/*",
            ])
            .map_err(|e| fetch_error(&self.name, url, e))?;
        self.forget_tags();
        if self.packs()?.len() > PACKS_MAX {
            repack(&git)?;
        }
        Ok(())
    }

    /// Takes the engine's commits from a project that carries them, so that a pin of another version's engine is known here too.
    pub fn learn(&self, git_folder: &Path, pin: ObjectId) -> Result<()> {
        let lock = self.lock()?;
        let git = Git::at(&self.path).holding(&lock).without_hooks().timeout(FETCH_TIMEOUT).config("transfer.fsckObjects=true");
        let from = git_folder.display().to_string();
        for branch in ["refs/heads/engine", "refs/remotes/origin/engine"] {
            let refspec = format!("+{branch}:refs/projects/{pin}");
            let fetched = git.output(&["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", &from, &refspec])?;
            if fetched.code == 0 {
                break;
            }
        }
        Ok(())
    }

    /// What a tag means here.
    pub fn tag(&self, name: &str) -> Option<ObjectId> {
        self.peeled(&format!("refs/tags/{name}"))
    }

    fn peeled(&self, name: &str) -> Option<ObjectId> {
        let repository = self.repository();
        let mut reference = repository.try_find_reference(name).ok()??;
        Some(reference.peel_to_id().ok()?.detach())
    }

    /// All tags with their commits.
    pub fn tags(&self) -> Result<Arc<Tags>> {
        let mut kept = self.tags.lock().expect("nobody panics holding it");
        if let Some(tags) = &*kept {
            return Ok(tags.clone());
        }
        let tags = Arc::new(self.read_tags()?);
        *kept = Some(tags.clone());
        Ok(tags)
    }

    fn read_tags(&self) -> Result<Tags> {
        let repository = self.repository();
        let what = || format!("the tags in {}", self.path.display());
        let platform = repository.references().map_err(|e| gix_error(&what(), e))?;
        let mut tags = BTreeMap::new();
        for reference in platform.tags().map_err(|e| gix_error(&what(), e))? {
            let mut reference = reference.map_err(|e| gix_error(&what(), e))?;
            let name = reference.name().shorten().to_string();
            if let Ok(id) = reference.peel_to_id() {
                tags.insert(name, id.detach());
            }
        }
        Ok(tags)
    }

    /// The newest tag by version, else the branch `main` or `master`: what is pinned where nothing was asked for.
    pub fn newest(&self) -> Result<String> {
        let tags = self.tags()?;
        if let Some(tag) = tags.keys().filter(|t| version(t).is_some()).max_by_key(|t| version(t)) {
            return Ok(tag.clone());
        }
        let branch = ["main", "master"].into_iter().find(|b| self.peeled(&format!("refs/heads/{b}")).is_some());
        branch.map(str::to_owned).ok_or_else(|| {
            Error::failed(format!("harness {} has no version tag and no branch main", self.name)).hint("name what to pin with --ref")
        })
    }

    /// Resolves a tag, a branch or a full commit id, once: everyone gets the commit, not the name.
    pub fn resolve(&self, reference: &str) -> Result<Resolved> {
        let valid = !reference.starts_with('-') && gix::validate::reference::name_partial(reference.into()).is_ok();
        if !valid {
            return Err(Error::usage(format!("{reference:?} cannot be the name of a tag or branch")));
        }
        let full_id = (reference.len() == 40).then(|| ObjectId::from_hex(reference.as_bytes()).ok()).flatten();
        let (commit, is_tag) = match (full_id, self.tag(reference)) {
            (Some(id), _) => (Some(id).filter(|id| self.repository().has_object(id)), false),
            (None, Some(id)) => (Some(id), true),
            (None, None) => (self.peeled(&format!("refs/heads/{reference}")), false),
        };
        let commit = commit.ok_or_else(|| self.unknown(reference))?;
        let repository = self.repository();
        let tree = repository
            .find_commit(commit)
            .map_err(|e| gix_error(&format!("harness {}: {reference}", self.name), e))?
            .tree_id()
            .map_err(|e| gix_error(&format!("harness {}: {reference}", self.name), e))?
            .detach();
        Ok(Resolved { reference: reference.to_owned(), commit, tree, is_tag })
    }

    /// Refuses what is no tag with a good signature, by the keys that the user's git trusts.
    pub fn check_signed(&self, target: &Resolved) -> Result<()> {
        let refuse =
            |why: String| Err(Error::failed(why).hint(format!("sign the tag, or remove signed = true from [harness.{}]", self.name)));
        if !target.is_tag {
            return refuse(format!("harness {} takes signed tags only, and {} is no tag", self.name, target.reference));
        }
        let name = format!("refs/tags/{}", target.reference);
        match Git::at(&self.path).run(&["verify-tag", &name]) {
            Ok(_) => Ok(()),
            Err(said) => {
                let refused = refuse(format!("the tag {} of harness {} has no good signature", target.reference, self.name));
                refused.map_err(|error| said.because.into_iter().fold(error, |e, line| e.because(line)))
            }
        }
    }

    /// Resolves without the network where the name is a tag that is known here; fetches first otherwise.
    pub fn resolve_or_fetch(&self, reference: Option<&str>) -> Result<Resolved> {
        if let Some(Ok(known)) = reference.map(|r| self.resolve(r))
            && (known.is_tag || known.reference == known.commit.to_string())
        {
            return Ok(known);
        }
        self.fetch()?;
        match reference {
            Some(reference) => self.resolve(reference),
            None => self.resolve(&self.newest()?),
        }
    }

    fn unknown(&self, reference: &str) -> Error {
        let tags = self.tags().unwrap_or_default();
        let error = Error::failed(format!("harness {} has no tag, branch or commit {reference:?}", self.name));
        let nearest = tags.keys().max_by(|a, b| strsim::jaro_winkler(a, reference).total_cmp(&strsim::jaro_winkler(b, reference)));
        let error = match nearest {
            Some(tag) if strsim::jaro_winkler(tag, reference) > 0.6 => error.hint(format!("did you mean {tag}?")),
            _ => error,
        };
        let mut known: Vec<&String> = tags.keys().collect();
        known.sort_by_key(|t| std::cmp::Reverse(version(t)));
        let list: Vec<&str> = known.iter().take(8).map(|s| s.as_str()).collect();
        match list.is_empty() {
            true => error,
            false => error.hint(format!("known tags: {}{}", list.join(", "), if known.len() > list.len() { ", …" } else { "" })),
        }
    }

    /// Whether the commit is here.
    pub fn has(&self, commit: ObjectId) -> bool {
        self.repository().has_object(commit)
    }

    /// Whether `new` lies before `old`: by version where both are tagged, else by history. What cannot be told is no downgrade.
    pub fn is_downgrade(&self, old: ObjectId, new: ObjectId) -> bool {
        let tags = self.tags().unwrap_or_default();
        let best = |id: ObjectId| tags.iter().filter(|(_, c)| **c == id).filter_map(|(t, _)| version(t)).max();
        if let (Some(old), Some(new)) = (best(old), best(new)) {
            return new < old;
        }
        old != new && self.has(old) && self.repository().merge_base(old, new).is_ok_and(|base| base.is_some_and(|b| b.detach() == new))
    }

    /// The tag that a commit carries, the highest version of several.
    pub fn tag_of(&self, commit: ObjectId) -> Option<String> {
        let tags = self.tags().ok()?;
        tags.iter().filter(|(_, c)| **c == commit).map(|(t, _)| t).max_by_key(|t| version(t)).cloned()
    }

    /// The commits that `new` has and `old` lacks, newest first, as `abbreviated-id subject`.
    pub fn log(&self, old: ObjectId, new: ObjectId) -> Result<Vec<String>> {
        let range = if self.has(old) { format!("{old}..{new}") } else { new.to_string() };
        let text = Git::at(&self.path).run(&["log", "--no-show-signature", "--max-count=200", "--format=%h %s", &range, "--"])?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn packs(&self) -> Result<Vec<String>> {
        Ok(os::fs::list(&self.path.join("objects/pack"))?.into_iter().filter(|n| n.ends_with(".pack")).collect())
    }

    /// Gives another object database all that is in here: by second names for the packs, so it costs next to nothing and needs nothing of
    /// this mirror afterwards.
    pub fn share(&self, objects: &Path, commit: ObjectId) -> Result<()> {
        let id = commit.to_string();
        if os::fs::exists(&self.path.join("objects").join(&id[..2]).join(&id[2..])) {
            repack(&Git::at(&self.path).holding(&self.lock()?))?;
        }
        let (from, to) = (self.path.join("objects/pack"), objects.join("pack"));
        os::fs::create_dirs(&to)?;
        for pack in self.packs()? {
            // The index comes last: a pack without one is not seen.
            for end in ["pack", "rev", "idx"] {
                let name = format!("{}.{end}", pack.trim_end_matches(".pack"));
                if os::fs::exists(&from.join(&name)) {
                    os::fs::link_or_copy(&from.join(&name), &to.join(&name))?;
                }
            }
        }
        Ok(())
    }

    /// A file of the harness at a commit, if it has it.
    pub fn file_at(&self, tree: ObjectId, name: &str) -> Option<String> {
        let repository = self.repository();
        let tree = repository.find_tree(tree).ok()?;
        let entry = tree.lookup_entry_by_path(name).ok()??;
        String::from_utf8(entry.object().ok()?.detach().data).ok()
    }
}

fn init(path: &Path) -> Result<()> {
    let above = path.parent().unwrap_or(path);
    os::fs::create_dirs(above)?;
    let lock = Lock::wait_moments(&above.join("init.lock"))?;
    if os::fs::is_dir(path) {
        // Another command was quicker.
        return Ok(());
    }
    // Only the lock's holder makes mirrors, so what a killed command left is nobody's.
    for name in os::fs::list(above)?.iter().filter(|n| n.starts_with(ASIDE)) {
        os::fs::remove_tree(&above.join(name))?;
    }
    let aside = above.join(format!("{ASIDE}{}", std::process::id()));
    Git::at(above).holding(&lock).env("GIT_DEFAULT_HASH", "sha1").env("GIT_DEFAULT_REF_FORMAT", "files").run(&[
        "init",
        "--quiet",
        "--bare",
        "--template=",
        "--",
        &aside.display().to_string(),
    ])?;
    Ok(os::fs::rename(&aside, path)?)
}

/// All objects in one pack. `--keep-unreachable`: somebody's pin may be a commit that no tag or branch reaches any more.
fn repack(git: &Git<'_>) -> Result<()> {
    git.run(&["repack", "-a", "-d", "-q", "--keep-unreachable", "--no-write-bitmap-index"]).map(drop)
}

fn fetch_error(name: &str, url: &str, mut error: Error) -> Error {
    error.message = format!("harness {name} could not be fetched from {url}");
    error.hint("nothing was changed; look at the URL, your access and the network, then run the command again")
}

/// `v1.2.3` or `1.2.3` as numbers; a pre-release sorts before its release.
pub fn version(tag: &str) -> Option<(u64, u64, u64, bool, String)> {
    let text = tag.strip_prefix('v').unwrap_or(tag);
    let text = text.split('+').next().unwrap_or(text);
    let (numbers, pre) = text.split_once('-').unwrap_or((text, ""));
    let mut parts = numbers.split('.').map(|p| p.parse::<u64>().ok());
    let (major, minor, patch) = (parts.next()??, parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?);
    parts.next().is_none().then(|| (major, minor, patch, pre.is_empty(), pre.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_sort_as_numbers() {
        let mut tags = vec!["v0.10.0", "v0.9.1", "v1.0.0", "v1.0.0-rc.1", "0.2"];
        tags.sort_by_key(|t| version(t));
        assert_eq!(tags, ["0.2", "v0.9.1", "v0.10.0", "v1.0.0-rc.1", "v1.0.0"]);
        for odd in ["main", "v", "v1.x", "v1.2.3.4", ""] {
            assert_eq!(version(odd), None, "{odd}");
        }
    }
}
