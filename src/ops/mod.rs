//! Operations that change something: each is journaled, and after an interruption the next command finishes or undoes it.

pub mod bump;
pub mod commit;
pub mod create;
mod dirt;
mod entries;
pub use entries::project as new_project;
pub mod join;
pub mod journal;
pub mod live;
pub mod repo;
pub mod scaffold;
pub mod undo;
pub mod update;

use std::path::{Path, PathBuf};

use agents::cli::{Error, Result, out};
use agents::os::{self, fs::Found, lock::Lock};

use crate::checkout::trust;
use crate::registry::edit::Edit;
use crate::registry::{self, Project, Registry, records, text_id};
use journal::{End, Entry, Intent, Journal, Record};

/// A fleet home that is being changed: its lock is held, and nothing unfinished lies in its journal.
#[derive(Debug)]
pub struct Home {
    pub registry: Registry,
    pub lock: Lock,
    pub journal: Journal,
}

impl Home {
    /// Takes the lock, reads the registry again, and finishes or undoes what was interrupted, saying which.
    pub fn take(registry: &Registry) -> Result<Home> {
        agents::cli::interrupt::watch();
        let lock = registry::lock(registry)?;
        let registry = Registry::load(&registry.path)?;
        let records = follow(&registry.home)?;
        let journal = Journal::of(&records);
        let mut home = Home { registry, lock, journal };
        home.sweep(&records)?;
        home.recover()?;
        Ok(home)
    }

    /// The project's folder on this machine.
    pub fn folder<'p>(&self, project: &'p Project) -> Result<&'p Path> {
        project.folder().ok_or_else(|| Error::failed(format!("it is on another machine ({})", project.location)))
    }

    /// A change of the registry alone, journaled. Nothing is written where the text stays the same.
    pub fn change(&mut self, what: &str, change: impl FnOnce(&mut Edit) -> Result<()>) -> Result<()> {
        let mut edit = Edit::open(&self.registry)?;
        change(&mut edit)?;
        let after = edit.text()?.to_owned();
        if after == self.registry.text {
            return Ok(());
        }
        let intent = Intent::Registry { what: what.to_owned(), before: self.registry.text.clone(), after: text_id(&after) };
        let running = self.journal.begin(&intent, None)?;
        match edit.save() {
            Ok(registry) => {
                self.registry = registry;
                running.end(End::Done)
            }
            Err(error) => {
                running.end(End::Undone { why: error.message.clone() })?;
                Err(error)
            }
        }
    }

    /// Removes what a killed command was writing beside a file of record: only the lock's holder writes there.
    fn sweep(&self, records: &Path) -> Result<()> {
        os::fs::remove_half_written(&self.registry.home, &format!(".{}.", registry::FILE))?;
        records::sweep(records)?;
        Ok(os::fs::remove_half_written(self.journal.folder(), ".")?)
    }

    fn recover(&mut self) -> Result<()> {
        let Some((record, running)) = self.journal.unfinished()? else { return Ok(()) };
        let title = record.title();
        let end = match &record.intent {
            Intent::Create { name, folder, partial, entry } => self.recover_create(&record, name, folder, partial, entry.as_ref())?,
            Intent::Update { bumps } => update::recover(self, bumps)?,
            Intent::Registry { after, .. } if text_id(&self.registry.text) == *after => End::Done,
            Intent::Registry { .. } => End::Undone { why: "it was interrupted".into() },
            Intent::Uncreate { name, folder, aside } => self.recover_uncreate(name, folder, aside)?,
        };
        let verb = match &end {
            End::Done => "finished",
            End::Undone { .. } => "undid",
            End::Partly { .. } => "finished what was committed and undid the rest of",
        };
        running.end(end)?;
        out::say(format!("{verb} `{title}`, which was interrupted"));
        Ok(())
    }

    /// Whole once it has its name; before that it is thrown away.
    fn recover_create(&mut self, record: &Record, name: &str, folder: &Path, partial: &Path, entry: Option<&Entry>) -> Result<End> {
        let built = record.steps.iter().find_map(|s| s.strip_prefix("built "));
        let there = os::fs::look(partial)? == Found::Nothing && built.is_some_and(|commit| is_at(folder, commit));
        if !there {
            os::fs::remove_tree(partial)?;
            return Ok(End::Undone { why: "it was interrupted".into() });
        }
        if let Some(entry) = entry
            && self.registry.project(name).is_none()
        {
            // One that the registry does not take must not keep everything else from being done.
            if let Err(error) = entries::check(&self.registry, name, entry) {
                return Ok(End::Undone { why: format!("{} is made, but was not registered: {}", folder.display(), error.message) });
            }
            self.registry = entries::add(&self.registry, name, entry)?;
        }
        if entry.is_none_or(|e| e.repo.is_none()) {
            trust::made(&self.registry.home, folder)?;
        }
        Ok(End::Done)
    }

    fn recover_uncreate(&mut self, name: &str, folder: &Path, aside: &Path) -> Result<End> {
        if !os::fs::exists(aside) || os::fs::exists(folder) {
            return Ok(End::Undone { why: "it was interrupted".into() });
        }
        self.forget(name)?;
        Ok(End::Done)
    }

    /// Removes an entry, if it is there.
    fn forget(&mut self, name: &str) -> Result<()> {
        if self.registry.project(name).is_some() {
            let mut edit = Edit::open(&self.registry)?;
            edit.remove_project(name)?;
            self.registry = edit.save()?;
        }
        Ok(())
    }

    /// Makes something new: built aside, one rename, then the registry. After an error nothing is left of it.
    pub fn make(&mut self, name: &str, folder: &Path, build: impl FnOnce(&Home, &Path) -> Result<Made>, registered: bool) -> Result<Made> {
        if registered && self.registry.project(name).is_some() {
            return Err(
                Error::failed(format!("there is a project {name} already")).hint(format!("choose another name, or: fleet remove {name}"))
            );
        }
        create::check_goal(folder)?;
        let partial = create::partial(folder);
        if os::fs::look(&partial)? != Found::Nothing {
            return Err(Error::failed(format!("{} is in the way, and not ours", partial.display())).hint("move it away"));
        }
        // What is written down before knows the folders; the entry is known only when it is built.
        let mut intent = Intent::Create { name: name.to_owned(), folder: folder.to_owned(), partial: partial.clone(), entry: None };
        let running = self.journal.begin(&intent, None)?;
        // What the registry would not take is found before anything has its name.
        let built = build(self, &partial).and_then(|made| match registered {
            true => entries::check(&self.registry, name, &made.entry).map(|()| made),
            false => Ok(made),
        });
        let made = match built {
            Ok(made) => made,
            Err(error) => {
                os::fs::remove_tree(&partial)?;
                running.end(End::Undone { why: error.message.clone() })?;
                return Err(error);
            }
        };
        if let Intent::Create { entry, .. } = &mut intent {
            *entry = registered.then(|| made.entry.clone());
        }
        running.amend(&intent, &format!("built {}", made.commit))?;
        os::fs::rename(&partial, folder)?;
        if made.entry.repo.is_none() {
            trust::made(&self.registry.home, folder)?;
        }
        if registered {
            self.registry = entries::add(&self.registry, name, &made.entry)?;
        }
        running.end(End::Done)?;
        Ok(made)
    }
}

/// The home's records, wherever it was moved to. What was interrupted names folders of where it was, so that is ended there.
fn follow(home: &Path) -> Result<PathBuf> {
    let found = records::find(home)?;
    if let Some(from) = found.moved_from
        && let Some((record, running)) = Journal::of(&found.folder).unfinished()?
    {
        let (from, now) = (os::env::shorten(&from), os::env::shorten(home));
        let error = Error::failed(format!("the fleet home was moved from {from} while `{}` was unfinished", record.title()));
        let error =
            error.hint("move it back; the next fleet command there that changes something finishes or undoes it. Then move it again");
        return Err(error.hint(format!("rm {}   if {now} and its projects are as you want them", os::env::shorten(running.path()))));
    }
    records::follow(home)
}

/// A project that was built, before it has its name.
#[derive(Debug, Clone)]
pub struct Made {
    /// HEAD's commit, by which it is recognised later.
    pub commit: String,
    pub entry: Entry,
}

fn is_at(folder: &Path, commit: &str) -> bool {
    repo::open(folder).is_ok_and(|r| r.head_id().is_ok_and(|id| id.to_string() == commit))
}

/// A path as it was given on the command line, made absolute; `~` is expanded by the shell, but a registry may hold it.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let expanded = path.to_str().map_or_else(|| path.to_owned(), os::env::expand);
    Ok(os::env::current_dir()?.join(expanded).components().collect())
}
