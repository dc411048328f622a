//! Sessions' git worktrees: made, their work kept, taken away. Written with the user's own git.

use std::path::{Path, PathBuf};

use super::project::Project;
use super::session;
use crate::contract::layout::{CONFIG_FILE, Layout};
use crate::error::{Error, Result};
use crate::os::git::Git;
use crate::os::lock::Lock;
use crate::os::process::{Run, run_holding};
use crate::os::{env, fs};

/// The repository that a project lies in.
#[derive(Debug)]
pub(crate) struct Repository {
    /// The top of its working tree.
    pub root: PathBuf,
    /// Where the project lies below that; empty where it is the top itself.
    pub inside: PathBuf,
    /// The git folder of that working tree.
    own: PathBuf,
    /// The git folder that all its worktrees share.
    pub common: PathBuf,
}

/// What a worktree held when it was looked at for the last time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    /// The commit it stands at.
    pub tip: Option<String>,
    /// The branch it is on; none where HEAD is detached.
    pub branch: Option<String>,
    /// The commit that keeps what was uncommitted or on no branch.
    pub preserved: Option<String>,
    /// Why it must stay where it is: it holds what no commit of this repository can keep.
    pub stays: Option<String>,
}

/// The reference that keeps a session's uncommitted work.
pub(crate) fn preserved_ref(session: &str) -> String {
    format!("refs/agents/preserved/{session}")
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The folder that a `.git` file names.
fn git_file(path: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(path).ok()?;
    let target = text.strip_prefix("gitdir:")?.trim();
    fs::canonical(&path.parent()?.join(target)).ok()
}

impl Repository {
    /// The repository around a project's folder. Runs nothing.
    pub fn around(folder: &Path) -> Result<Repository> {
        let none = || {
            Error::failed(format!("{} lies in no git repository, so there can be no worktree of it", folder.display()))
                .hint("`git init` and a first commit make it one; --no-worktree does without")
        };
        let root = folder.ancestors().find(|f| fs::exists(&f.join(".git"))).ok_or_else(none)?;
        let dot_git = root.join(".git");
        let own = if fs::is_dir(&dot_git) { fs::canonical(&dot_git).ok() } else { git_file(&dot_git) };
        let own = own.ok_or_else(|| Error::failed(format!("{} names no git folder", dot_git.display())))?;
        let common = match fs::read_if_there(&own.join("commondir"))? {
            Some(above) => fs::canonical(&own.join(above.trim()))?,
            None => own.clone(),
        };
        let inside = folder.strip_prefix(root).unwrap_or(Path::new("")).to_path_buf();
        Ok(Repository { root: root.to_path_buf(), inside, own, common })
    }

    fn git(&self) -> Git<'_> {
        Git::at(&self.root)
    }

    /// The commit that a name means, if it means one.
    pub fn commit(&self, name: &str) -> Result<Option<String>> {
        self.git().ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
    }

    /// The commit of a branch; none where there is no such branch. Read from git's files, which costs no process, where it keeps references in files.
    pub fn branch(&self, branch: &str) -> Result<Option<String>> {
        let reference = format!("refs/heads/{branch}");
        if fs::exists(&self.common.join("reftable")) {
            return self.commit(&reference);
        }
        if let Ok(Some(text)) = fs::read_if_there(&self.common.join(&reference)) {
            return if is_id(text.trim()) { Ok(Some(text.trim().to_owned())) } else { self.commit(&reference) };
        }
        let packed = fs::read_if_there(&self.common.join("packed-refs"))?.unwrap_or_default();
        let found = packed.lines().filter_map(|l| l.split_once(' ')).find(|(_, name)| *name == reference);
        Ok(found.map(|(id, _)| id.to_owned()))
    }

    /// The commit that new worktrees start from: a branch, or whatever else git takes for a commit; without a name, HEAD.
    pub fn start(&self, name: Option<&str>) -> Result<Option<String>> {
        if let Some(name) = name {
            return self.branch(name)?.map_or_else(|| self.commit(name), |id| Ok(Some(id)));
        }
        let head = fs::read_if_there(&self.own.join("HEAD"))?.unwrap_or_default();
        let on_branch = head.trim().strip_prefix("ref: refs/heads/").map(|branch| self.branch(branch)).transpose()?.flatten();
        on_branch.map_or_else(|| self.commit("HEAD"), |id| Ok(Some(id)))
    }

    /// Makes a worktree on a new branch that begins at `from`, or on one that is there. Git holds the lock until it has ended.
    pub fn add(&self, worktree: &Path, branch: &str, from: Option<&str>, lock: &Lock) -> Result<()> {
        let path = worktree.to_string_lossy();
        // Absolute, so that what was half made can be told by its path.
        let git = self.git().holding(lock).config("worktree.useRelativePaths=false");
        {
            // Git reads every worktree's folder on the way and dies of one that is half made, so this part is done one by one; it takes
            // milliseconds, whatever the size of the repository.
            let _registering = self.registering()?;
            let add = ["worktree", "add", "--quiet", "--no-checkout"];
            let (new, existing) = (["--no-track", "-b", branch, "--", &path], ["--", &path, branch]);
            match from {
                Some(from) => git.run(&[&add[..], &new[..], &[from]].concat())?,
                None => git.run(&[&add[..], &existing[..]].concat()).map_err(|e| {
                    e.hint("where another worktree has the branch: name another with --branch, or use --no-worktree to work in the project's folder")
                })?,
            };
        }
        Git::at(worktree).holding(lock).run(&["checkout", "--quiet", "--force", "--no-recurse-submodules"]).map(drop)
    }

    /// Held while worktrees are added to what git knows, or taken from it.
    fn registering(&self) -> Result<Lock> {
        Ok(Lock::wait_moments(&self.common.join("agents-worktrees.lock"))?)
    }

    /// Whether a commit is part of what another name means.
    pub fn is_merged(&self, commit: &str, into: &str) -> Result<bool> {
        let output = self.git().output(&["merge-base", "--is-ancestor", commit, into])?;
        match output.code {
            0 => Ok(true),
            1 => Ok(false),
            _ => Err(Error::failed(format!("whether {commit} is merged into {into} cannot be told"))
                .because(String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    /// Removes a branch if it still stands where it is said to. What was left of its lock by a git that was killed goes too.
    pub fn remove_branch(&self, branch: &str, expected: &str) -> Result<()> {
        let reference = format!("refs/heads/{branch}");
        if self.branch(branch)?.as_deref() == Some(expected) {
            self.git().run(&["update-ref", "-d", &reference, expected])?;
        }
        Ok(())
    }

    /// What a git that was killed while it made this branch may have left: nobody else makes it.
    pub fn clear_branch_lock(&self, branch: &str) -> Result<()> {
        Ok(fs::remove_file(&self.common.join("refs/heads").join(format!("{branch}.lock")))?)
    }

    /// The worktree's own git folder, if it is one of this repository's and says so itself.
    fn own_folder(&self, worktree: &Path) -> Option<PathBuf> {
        let own = git_file(&worktree.join(".git"))?;
        (own.parent() == Some(&self.common.join("worktrees"))).then_some(own)
    }

    /// The folders of its worktrees, as git knows them.
    pub fn registered(&self) -> Vec<PathBuf> {
        let worktrees = self.common.join("worktrees");
        let gitdir = |name: &String| fs::read_if_there(&worktrees.join(name).join("gitdir")).ok().flatten();
        let folder = |text: String| Path::new(text.trim_end_matches('\n')).parent().map(Path::to_path_buf);
        fs::list(&worktrees).unwrap_or_default().iter().filter_map(gitdir).filter_map(folder).collect()
    }

    /// Worktrees that were moved, or whose repository was, are known to it again, and it to them.
    pub fn repair(&self, worktrees: &[PathBuf]) -> Result<()> {
        let paths: Vec<String> = worktrees.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        let _registering = self.registering()?;
        let mut args = vec!["worktree", "repair", "--"];
        args.extend(paths.iter().map(String::as_str));
        self.git().config("worktree.useRelativePaths=false").run(&args)?;
        match worktrees.iter().find(|w| !self.has(w)) {
            Some(lost) => Err(Error::failed(format!("git could not make {} its worktree again", lost.display())).hint(format!(
                "git -C {} worktree repair {}",
                self.root.display(),
                lost.display()
            ))),
            None => Ok(()),
        }
    }

    /// Whether this is a worktree of the repository.
    pub fn has(&self, worktree: &Path) -> bool {
        self.own_folder(worktree).is_some()
    }

    /// Keeps what is uncommitted, untracked or on no branch as a commit under [`preserved_ref`]. Neither the worktree nor its index is changed; no
    /// hook runs; what is ignored is left out, and so are `links`, which lead to files of the project.
    pub fn preserve(&self, session: &str, worktree: &Path, links: &[String], scratch: &Path, lock: &Lock) -> Result<Work> {
        if fs::look(worktree)? == fs::Found::Nothing {
            return Ok(Work::default());
        }
        let Some(own) = self.own_folder(worktree) else {
            let stays = Some(format!("it is no longer a worktree of {}", self.root.display()));
            return Ok(Work { stays, ..Work::default() });
        };
        let index = scratch.to_string_lossy().into_owned();
        // Whoever left these has ended: it held the session's lock.
        fs::remove_file(scratch)?;
        fs::remove_file(&scratch.with_extension("index.lock"))?;
        if fs::is_file(&own.join("index")) {
            fs::copy(&own.join("index"), scratch)?;
        }
        let git = Git::at(worktree).without_hooks().holding(lock).config("core.fsync=all").env("GIT_INDEX_FILE", &index);
        let result = Snapshot { git: &git, session, own: &own }.take(links);
        fs::remove_file(scratch)?;
        fs::remove_file(&scratch.with_extension("index.lock"))?;
        result
    }

    /// Takes a worktree away, with what git keeps about it. What it held must have been kept before. Killed at any point, it can be repeated.
    pub fn remove(&self, worktree: &Path) -> Result<()> {
        let id = worktree.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = self.own_folder(worktree);
        // Out of the way as a whole first: half a worktree would be taken for somebody's work.
        let aside = worktree.with_file_name(format!(".{id}.gone"));
        fs::remove_tree(&aside)?;
        if fs::look(worktree)? != fs::Found::Nothing {
            fs::rename(worktree, &aside)?;
        }
        let above = worktree.parent().unwrap_or(worktree);
        let dot_git = fs::canonical(above)?.join(&id).join(".git");
        {
            let _registering = self.registering()?;
            let worktrees = self.common.join("worktrees");
            for name in fs::list(&worktrees)? {
                let known = worktrees.join(&name);
                let is_its = match fs::read_if_there(&known.join("gitdir"))? {
                    Some(text) => Path::new(text.trim_end_matches('\n')) == dot_git,
                    None => name == id,
                };
                if is_its || own.as_ref() == Some(&known) {
                    fs::remove_tree(&known)?;
                }
            }
            fs::remove_dir_if_empty(&worktrees);
        }
        Ok(fs::remove_tree(&aside)?)
    }

    /// Puts what was preserved back into a worktree, uncommitted, where the branch still stands at its parent. False: it does not.
    pub fn put_back(&self, worktree: &Path, preserved: &str, lock: &Lock) -> Result<bool> {
        let git = Git::at(worktree).without_hooks().holding(lock);
        let parent = git.run(&["rev-parse", "--verify", "--quiet", &format!("{preserved}^1")])?;
        if git.run(&["rev-parse", "HEAD"])? != parent {
            return Ok(false);
        }
        git.run(&["restore", "--no-overlay", &format!("--source={preserved}"), "--worktree", "--", "."])?;
        Ok(true)
    }
}

/// One look at a worktree, through an index of its own.
struct Snapshot<'a> {
    git: &'a Git<'a>,
    session: &'a str,
    own: &'a Path,
}

impl Snapshot<'_> {
    fn maybe(&self, args: &[&str]) -> Result<Option<String>> {
        Ok(self.git.ask(args)?.filter(|text| !text.is_empty()))
    }

    fn take(&self, links: &[String]) -> Result<Work> {
        let tip = self.maybe(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?;
        let branch = self.maybe(&["symbolic-ref", "--quiet", "--short", "HEAD"])?;
        self.believe_nothing()?;
        // What was staged and is not in the worktree any more is work too. A merge that has conflicts has no tree.
        let staged = self.maybe(&["write-tree"])?;
        self.git.run(&["add", "--all", "--", "."])?;
        // Taken out again instead of left out before: of a path that is named, and be it to exclude it, git demands that it is not ignored.
        let links: Vec<String> = links.iter().map(|l| format!(":(literal,top){l}")).collect();
        if !links.is_empty() {
            let mut remove = vec!["rm", "--cached", "--force", "--quiet", "--ignore-unmatch", "--"];
            remove.extend(links.iter().map(String::as_str));
            self.git.run(&remove)?;
        }
        let tree = self.git.run(&["write-tree"])?;
        let head_tree = match &tip {
            Some(_) => self.maybe(&["rev-parse", "--verify", "--quiet", "HEAD^{tree}"])?,
            None => None,
        };
        let stays = self.beyond_git(tip.is_some())?;
        let staged = staged.filter(|t| Some(t) != head_tree.as_ref() && *t != tree);
        let has_changes = head_tree.as_deref() != Some(&*tree) || staged.is_some();
        if !has_changes && (branch.is_some() || self.is_on_a_branch()?) {
            return Ok(Work { tip, branch, preserved: None, stays });
        }
        let preserved = self.keep(&tree, tip.as_deref(), staged.as_deref())?;
        Ok(Work { tip, branch, preserved: Some(preserved), stays })
    }

    /// Files that git was told to take for unchanged are looked at all the same.
    fn believe_nothing(&self) -> Result<()> {
        let listed = self.git.run(&["ls-files", "-v", "-z"])?;
        let assumed = listed.split('\0').filter(|e| e.starts_with(|c: char| c.is_ascii_lowercase())).filter_map(|e| e.get(2..));
        for part in assumed.collect::<Vec<_>>().chunks(200) {
            let mut args = vec!["update-index", "--no-assume-unchanged", "--"];
            args.extend(part);
            self.git.run(&args)?;
        }
        Ok(())
    }

    /// Repositories inside the worktree: their files and commits are in no commit of this one.
    fn beyond_git(&self, has_head: bool) -> Result<Option<String>> {
        let modules = self.own.join("modules");
        if fs::list(&modules)?.iter().any(|name| !name.starts_with('.')) {
            return Ok(Some("it has submodules with files and commits of their own".into()));
        }
        let listed = if has_head { self.git.run(&["diff-index", "--cached", "HEAD"])? } else { self.git.run(&["ls-files", "--stage"])? };
        let is_link = |line: &str| if has_head { line.split(' ').nth(1) == Some("160000") } else { line.starts_with("160000") };
        let nested = listed.lines().find(|l| is_link(l)).and_then(|l| l.split_once('\t')).map(|(_, path)| path);
        Ok(nested.map(|path| format!("{path} in it is a git repository of its own")))
    }

    fn is_on_a_branch(&self) -> Result<bool> {
        Ok(self.maybe(&["for-each-ref", "--count=1", "--contains=HEAD", "refs/heads", "refs/remotes", "refs/tags"])?.is_some())
    }

    fn keep(&self, tree: &str, tip: Option<&str>, staged: Option<&str>) -> Result<String> {
        // The engine's own commit, also where nobody has told git who they are.
        let who = ["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|n| (n, "agents"));
        let mail = ["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|n| (n, "agents@localhost"));
        let git = who.into_iter().chain(mail).fold(self.git.clone(), |git, (name, value)| git.env(name, value));
        let commit = |tree: &str, parents: &[&str], message: &str| {
            let mut args = vec!["commit-tree", tree, "-m", message];
            parents.iter().for_each(|p| args.extend(["-p", *p]));
            git.run(&args)
        };
        let reference = preserved_ref(self.session);
        let earlier = self.maybe(&["rev-parse", "--verify", "--quiet", &reference])?;
        if let Some(earlier) = earlier.as_deref().filter(|_| staged.is_none()) {
            let holds = self.maybe(&["rev-parse", "--verify", "--quiet", &format!("{earlier}^{{tree}}")])?;
            let parent = self.maybe(&["rev-parse", "--verify", "--quiet", &format!("{earlier}^1")])?;
            if holds.as_deref() == Some(tree) && parent.as_deref() == tip {
                return Ok(earlier.to_owned());
            }
        }
        let staged = staged.map(|tree| commit(tree, &tip.into_iter().collect::<Vec<_>>(), "What was staged")).transpose()?;
        let parents: Vec<&str> = [tip, staged.as_deref(), earlier.as_deref()].into_iter().flatten().collect();
        let kept = commit(tree, &parents, &format!("Uncommitted work of session {}", self.session))?;
        git.run(&["update-ref", "--create-reflog", &reference, &kept])?;
        Ok(kept)
    }
}

/// Links files of the project into a new worktree. Nothing is linked that lies elsewhere, and nothing written through a link.
pub(crate) fn link(project: &Path, folder: &Path, links: &[String]) -> Result<()> {
    let within = |path: &Path, root: &Path, what: &str| -> Result<()> {
        let (path, root) = (fs::canonical(path)?, fs::canonical(root)?);
        if path.starts_with(&root) {
            Ok(())
        } else {
            Err(Error::failed(format!("{what} leads to {}, out of {}", path.display(), root.display())))
        }
    };
    for name in links {
        let (source, goal) = (project.join(name), folder.join(name));
        if !fs::exists(&source) {
            return Err(Error::failed(format!("symlinks: {} is not there", source.display()))
                .hint("make it, or take it out of `symlinks` below [worktree] in agents.toml"));
        }
        within(&source, project, &format!("symlinks: {name}"))?;
        if let Some(above) = goal.parent() {
            let there = above.ancestors().find(|a| fs::exists(a)).unwrap_or(folder);
            within(there, folder, &format!("symlinks: the folder of {name}"))?;
            fs::create_dirs(above)?;
            within(above, folder, &format!("symlinks: the folder of {name}"))?;
        }
        match fs::look(&goal)? {
            fs::Found::Nothing => fs::symlink(&source.to_string_lossy(), &goal)?,
            _ => {
                return Err(Error::failed(format!("symlinks: {name} is there already, as git tracks it"))
                    .hint("a tracked file needs no link: take it out of `symlinks` below [worktree] in agents.toml"));
            }
        }
    }
    Ok(())
}

/// Where the branch of a session's worktree is to come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Branch {
    pub name: String,
    /// It is there already, because the operator named it.
    pub exists: bool,
}

impl Branch {
    /// As named, or made from the issue or the id. One that exists is taken only if it was named.
    pub fn choose(repository: &Repository, named: Option<&str>, issue: Option<&str>) -> Result<Option<Branch>> {
        let name = named.map(str::to_owned).or_else(|| issue.map(|i| format!("feat/{i}")));
        let Some(name) = name else { return Ok(None) };
        if !crate::model::name::is_branch(&name) {
            let what = if named.is_some() { "--branch" } else { "--issue" };
            return Err(Error::usage(format!("{what}: {name:?} is no branch's name that git would take"))
                .hint("use letters, digits, `.`, `_`, `-` and `/`"));
        }
        let exists = repository.branch(&name)?.is_some();
        if exists && named.is_none() {
            return Err(Error::failed(format!("the branch {name} exists already"))
                .hint(format!("agents spawn --issue {} --branch {name}   goes on with it", issue.unwrap_or_default()))
                .hint("`agents list` and `agents list --archived` say whose it is"));
        }
        Ok(Some(Branch { name, exists }))
    }
}

/// Furnishes a worktree, `folder` being the project's place in it: links, then `post_create`, with what it said in a log of its own.
pub(crate) fn furnish(project: &Project, session: &str, folder: &Path, lock: &Lock) -> Result<()> {
    let table = &project.config.worktree;
    if !fs::is_dir(folder) {
        let what = format!("{} is not in the commit that the worktree starts from", project.folder.display());
        return Err(Error::failed(what).hint(format!("commit it, with its {CONFIG_FILE}, or do without a worktree (--no-worktree)")));
    }
    link(&project.folder, folder, &table.symlinks)?;
    let variables = [
        (env::AGENTS_SESSION, session.to_owned()),
        (env::AGENTS_PROJECT, project.config.name.clone()),
        (env::AGENTS_DATA_DIR, project.layout.data.display().to_string()),
        (env::AGENTS_CONFIG, project.folder.join(CONFIG_FILE).display().to_string()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    for argv in &table.post_create {
        let output = run_holding(&Run { argv, folder: Some(folder), env: &variables, whole: true, ..Run::default() }, Some(lock.fd()))
            .map_err(|e| Error::failed(format!("post_create: {}: {e}", argv.join(" "))))?;
        let mut said = format!("$ {}\n", argv.join(" ")).into_bytes();
        said.extend(output.stdout);
        said.extend(output.stderr);
        fs::append(&setup_log(&project.layout, session), &said)?;
        if output.code != 0 {
            let mut error = Error::failed(format!("post_create: `{}` ended with status {}", argv.join(" "), output.code));
            let text = String::from_utf8_lossy(&said).into_owned();
            let lines: Vec<&str> = text.lines().skip(1).filter(|l| !l.trim().is_empty()).collect();
            for line in &lines[lines.len().saturating_sub(5)..] {
                error = error.because(line.trim());
            }
            return Err(error);
        }
    }
    Ok(())
}

/// What `post_create` said.
pub(crate) fn setup_log(layout: &Layout, id: &str) -> PathBuf {
    layout.logs().join(format!("{id}.setup.log"))
}

/// The metadata of a worktree's end.
pub(crate) fn note(meta: &mut super::meta::Meta, work: &Work) {
    match &work.stays {
        Some(why) => meta.set(session::STAYS, why.clone()),
        None => drop(meta.other.remove(session::STAYS)),
    }
    let pairs = [(session::TIP, &work.tip), (session::BRANCH, &work.branch), (session::PRESERVED, &work.preserved)];
    for (key, value) in pairs {
        if let Some(value) = value {
            meta.set(key, value.clone());
        }
    }
}
