//! A checkout that was moved: its data lies under the hash of where it was. That is told, and taken over when somebody asks for it.
//!
//! Killed at any point, it can be repeated: the intent is written down first, one rename decides, and every step after it may be taken twice.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::meta::{self, Meta};
use super::project::Project;
use super::session::{self, TMUX_NAME, WORKTREE};
use super::worktree::Repository;
use super::{events, instance, launch};
use crate::contract::layout::Layout;
use crate::contract::records::{Event, Launch};
use crate::contract::task::Place;
use crate::error::{Error, Result};
use crate::os::lock::Lock;
use crate::os::{clock, env, fs};

/// Data of a project that is no longer where it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Former {
    pub layout: Layout,
    /// Where it was.
    pub origin: PathBuf,
    /// It is this checkout's; otherwise it may be.
    pub certain: bool,
    /// On what evidence.
    pub why: String,
    /// Live and archived ones.
    pub sessions: usize,
}

/// What is under way, in the data folder while it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Move {
    /// The project's folders.
    from: PathBuf,
    to: PathBuf,
    /// Where its data lay.
    data: PathBuf,
}

/// Data that this checkout may have left behind when it was moved; what is certain comes first.
pub(crate) fn formers(project: &Project) -> Result<Vec<Former>> {
    let (home, runtime) = (instance::home()?, env::agents_runtime());
    let repository = Repository::around(&project.folder).ok();
    let mut found = vec![];
    for name in super::instance::all(&home)? {
        let Some((hash, rest)) = name.split_once('-').filter(|(hash, _)| is_hash(hash) && *hash != project.layout.hash) else { continue };
        let layout = Layout::from_folders(&home.join(&name), &runtime.join(hash));
        // A folder that is still there, and be it empty, may be a project that still runs.
        let Some(origin) = instance::origin(&layout.data)?.filter(|o| matches!(fs::look(o), Ok(fs::Found::Nothing))) else { continue };
        let namesake = project.layout.instance.strip_prefix(&format!("{}-", project.layout.hash)) == Some(rest);
        let (certain, why) = match (evidence(project, repository.as_ref(), &layout), namesake) {
            (Some(why), _) => (true, why),
            (None, true) => (false, "it has the same name".to_owned()),
            (None, false) => continue,
        };
        let sessions = fs::list(&layout.sessions())?.len() + fs::list(&layout.archive())?.len();
        found.push(Former { layout, origin, certain, why, sessions });
    }
    found.sort_by_key(|f| (!f.certain, std::cmp::Reverse(f.sessions)));
    Ok(found)
}

fn is_hash(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// What shows that the data is this checkout's, if something does.
fn evidence(project: &Project, repository: Option<&Repository>, former: &Layout) -> Option<String> {
    let trees = repository.map(|r| r.registered()).unwrap_or_default();
    if let Some(tree) = trees.iter().find(|tree| tree.parent() == Some(&former.worktrees())) {
        let id = tree.file_name().unwrap_or_default().to_string_lossy();
        return Some(format!("the worktree of {id} belongs to this repository"));
    }
    let noted = fs::read_if_there(&former.birth()).ok()??;
    (fs::birth(&project.folder)? == noted.trim()).then(|| "its folder is the same, by another name".to_owned())
}

/// Refuses to begin anew where it is certain that the checkout was moved and has sessions; says so where it may have been.
pub(crate) fn guard(project: &Project) -> Result<Vec<String>> {
    if fs::is_dir(&project.layout.data) {
        return Ok(vec![]);
    }
    let formers = formers(project)?;
    match formers.iter().find(|f| f.certain && f.sessions > 0) {
        Some(former) => Err(Error::failed(format!("this checkout was moved here from {}", former.origin.display()))
            .because(former.why.clone())
            .hint(format!("agents info --adopt   takes over its {} from there", count(former.sessions)))
            .hint(format!("to begin anew, move {} away", former.layout.data.display()))),
        None => Ok(formers.iter().filter(|f| f.sessions > 0).map(Former::words).collect()),
    }
}

fn count(sessions: usize) -> String {
    if sessions == 1 { "session".into() } else { format!("{sessions} sessions") }
}

impl Former {
    /// One line for people.
    pub fn words(&self) -> String {
        let sure = if self.certain { "is" } else { "may be" };
        format!(
            "{} {sure} what this checkout left behind in {}, which is gone: {}; {} sessions; `agents info --adopt {0}` takes it over",
            self.layout.instance,
            self.origin.display(),
            self.why,
            self.sessions
        )
    }
}

/// A taking over that was interrupted: where the project was.
pub(crate) fn interrupted(layout: &Layout) -> Result<Option<PathBuf>> {
    Ok(pending(&layout.data)?.map(|m| m.from))
}

fn intent(data: &Path) -> PathBuf {
    data.join(".moving")
}

fn pending(data: &Path) -> Result<Option<Move>> {
    let Some(text) = fs::read_if_there(&intent(data))? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|e| Error::failed(format!("{}: {e}", intent(data).display())))
}

/// Makes it this checkout's. Nothing of it may live, and this checkout may have nothing of its own.
pub(crate) fn adopt(project: &Project, former: &Former) -> Result<()> {
    let (old, new) = (&former.layout, &project.layout);
    for layout in [old, new] {
        fs::private_dir(layout.runtime.parent().unwrap_or(&layout.runtime))?;
        fs::private_dir(&layout.runtime)?;
    }
    let _locks = [lifeless(old, &former.origin)?, lifeless(new, &project.folder)?];
    if fs::look(&former.origin)? != fs::Found::Nothing {
        return Err(Error::failed(format!("{} is there again", former.origin.display())));
    }
    if fs::is_dir(&new.data) {
        is_unused(new)?;
        fs::remove_tree(&new.data)?;
    }
    let under_way = Move { from: former.origin.clone(), to: project.folder.clone(), data: old.data.clone() };
    let text = serde_json::to_vec(&under_way).map_err(|e| Error::failed(e.to_string()))?;
    fs::write_atomic(&intent(&old.data), &text, 0o600)?;
    fs::rename(&old.data, &new.data)?;
    settle(project, &under_way)
}

/// Goes on with what was interrupted. False: nothing was.
pub(crate) fn finish(project: &Project) -> Result<bool> {
    let Some(under_way) = pending(&project.layout.data)?.filter(|m| m.to == project.folder) else { return Ok(false) };
    fs::private_dir(project.layout.runtime.parent().unwrap_or(&project.layout.runtime))?;
    fs::private_dir(&project.layout.runtime)?;
    let _locks = lifeless(&project.layout, &project.folder)?;
    settle(project, &under_way).map(|()| true)
}

/// Every lock by which something of a project could live or begin to, or what does.
fn lifeless(layout: &Layout, folder: &Path) -> Result<Vec<Lock>> {
    let lives = |what: String| {
        Error::failed(format!("{what} of {} still lives", folder.display()))
            .hint(format!("move the checkout back to {}, run `agents down` there, then move it again", folder.display()))
    };
    let mut locks = vec![];
    for (what, path) in [("a command", layout.command_lock()), ("a command", layout.start_lock()), ("the watchdog", layout.watchdog_lock())]
    {
        locks.push(Lock::try_take(&path)?.ok_or_else(|| lives(what.to_owned()))?);
    }
    for id in fs::list(&layout.sessions())? {
        for path in [layout.host_lock(&id), layout.agent_lock(&id), layout.operation_lock(&id)] {
            // What cannot be told counts as alive.
            if Lock::is_held(&path).unwrap_or(true) {
                return Err(lives(format!("session {id}")));
            }
        }
    }
    Ok(locks)
}

/// Refuses where there is anything that could be missed.
fn is_unused(layout: &Layout) -> Result<()> {
    let mail = layout.mail("any").parent().map(PathBuf::from).unwrap_or_default();
    let tasks = Place::ALL.into_iter().map(|place| layout.task_place(place));
    for folder in [layout.sessions(), layout.archive(), layout.worktrees(), mail].into_iter().chain(tasks) {
        if let Some(name) = fs::list(&folder)?.into_iter().find(|name| !name.starts_with('.')) {
            return Err(Error::failed(format!("this checkout has sessions of its own by now: {}", folder.join(name).display()))
                .hint(format!("if they can be missed: `agents kill` them, move {} away, then run this again", layout.data.display())));
        }
    }
    Ok(())
}

/// All that says where the project is says where it is now. Each step may have been taken before.
fn settle(project: &Project, under_way: &Move) -> Result<()> {
    let layout = &project.layout;
    let moved = Moved { from: &under_way.from, to: &project.folder, data: &under_way.data, new_data: &layout.data };
    for folder in [layout.sessions(), layout.archive()] {
        for name in fs::list(&folder)?.iter().filter(|name| !name.starts_with('.')) {
            let path = folder.join(name);
            let id = if folder == layout.sessions() { name.as_str() } else { session::owner(name).unwrap_or(name) };
            // What is damaged is as damaged there as here.
            let Ok(before) = Meta::parse(id, &fs::read_to_string(&path)?) else { continue };
            let after = moved.meta(&before, layout);
            if after != before {
                fs::write_atomic(&path, after.to_text().as_bytes(), 0o600)?;
            }
        }
    }
    let launches = layout.launch("any").parent().map(PathBuf::from).unwrap_or_default();
    for name in fs::list(&launches)? {
        let Some(id) = name.strip_suffix(".json").filter(|id| !id.starts_with('.')) else { continue };
        let Ok(before) = launch::read(layout, id) else { continue };
        let after = moved.launch(&before, layout);
        if after != before {
            let (path, bytes) = launch::file(layout, &after)?;
            fs::write_atomic(&path, &bytes, 0o600)?;
        }
    }
    repair(project, &moved)?;
    instance::sign(&project.folder, layout)?;
    fs::remove_file(&intent(&layout.data))?;
    let why = format!("from {}", under_way.from.display());
    let _ = events::append(layout, &Event { at: clock::now(), session: String::new(), what: "moved".into(), why, pid: None });
    // What was in it has meant nothing since.
    let old = env::agents_runtime().join(crate::contract::layout::hash(&under_way.from));
    Ok(fs::remove_tree(&old)?)
}

/// The worktrees and the repository find each other again, and links into the project lead there.
fn repair(project: &Project, moved: &Moved<'_>) -> Result<()> {
    let layout = &project.layout;
    let trees: Vec<PathBuf> =
        fs::list(&layout.worktrees())?.iter().map(|id| layout.worktree(id)).filter(|tree| fs::is_file(&tree.join(".git"))).collect();
    if trees.is_empty() {
        return Ok(());
    }
    let repository = Repository::around(&project.folder)?;
    repository.repair(&trees)?;
    for link in trees.iter().flat_map(|tree| project.config.worktree.symlinks.iter().map(|l| tree.join(&repository.inside).join(l))) {
        if let Some(target) = fs::read_link(&link).and_then(|t| moved.path(&t)) {
            fs::relink(&target, &link)?;
        }
    }
    Ok(())
}

/// What was below two folders is below two others.
struct Moved<'a> {
    from: &'a Path,
    to: &'a Path,
    data: &'a Path,
    new_data: &'a Path,
}

impl Moved<'_> {
    /// Where it is now; none where it was not moved.
    fn path(&self, path: &Path) -> Option<PathBuf> {
        let below = |old: &Path, new: &Path| path.strip_prefix(old).ok().map(|rest| new.join(rest).components().collect());
        below(self.data, self.new_data).or_else(|| below(self.from, self.to))
    }

    fn text(&self, text: &str) -> String {
        self.path(Path::new(text)).map_or_else(|| text.to_owned(), |path| path.display().to_string())
    }

    fn meta(&self, meta: &Meta, layout: &Layout) -> Meta {
        let mut meta = meta.clone();
        if let Some(tree) = meta.key(WORKTREE).map(|tree| self.text(tree)) {
            meta.set(WORKTREE, tree);
        }
        if meta.key(TMUX_NAME).is_some() {
            meta.set(TMUX_NAME, layout.tmux_name(&meta.session));
        }
        meta
    }

    fn launch(&self, launch: &Launch, layout: &Layout) -> Launch {
        let argv = |argv: &[String]| argv.iter().map(|a| self.text(a)).collect();
        let mut env: std::collections::BTreeMap<String, String> =
            launch.env.iter().map(|(name, value)| (name.clone(), self.text(value))).collect();
        if let Some(mark) = env.get_mut(env::AGENTS_MARK) {
            *mark = layout.mark(&launch.session);
        }
        Launch {
            start: argv(&launch.start),
            resume: argv(&launch.resume),
            folder: self.path(&launch.folder).unwrap_or_else(|| launch.folder.clone()),
            env,
            tmux: launch.tmux.as_ref().map(|_| layout.tmux_name(&launch.session)),
            ..launch.clone()
        }
    }
}

/// Those of a project that were taken over, for the words about it.
pub(crate) fn sessions(layout: &Layout) -> Result<usize> {
    meta::list(layout).map(|metas| metas.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lay_below_is_below_now() {
        let moved = Moved { from: Path::new("/a/web"), to: Path::new("/b"), data: Path::new("/s/0-web"), new_data: Path::new("/s/1-web") };
        for (before, after) in [
            ("/a/web", "/b"),
            ("/a/web/x y", "/b/x y"),
            ("/a/website", "/a/website"),
            ("/s/0-web/worktrees/int-1", "/s/1-web/worktrees/int-1"),
            ("--file=/a/web", "--file=/a/web"),
            ("web", "web"),
        ] {
            assert_eq!(moved.text(before), after);
        }
    }
}
