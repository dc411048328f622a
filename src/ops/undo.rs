//! The last operation reversed, where nothing is lost by it.

use std::path::{Path, PathBuf};

use agents::cli::{Error, Result};
use agents::os::{self, git::Git};

use super::journal::{Bump, End, Intent, Record};
use super::{Home, entries, repo, update};
use crate::checkout::drive;
use crate::registry::text_id;

/// The operation that `undo` would reverse: the last that did something, was not reversed, and is not itself a reversal.
pub fn candidate(records: &[Record]) -> Option<&Record> {
    let reversed: Vec<u64> = records.iter().filter(|r| matches!(r.end, Some(End::Done))).filter_map(|r| r.undoes).collect();
    let did = |r: &&Record| matches!(r.end, Some(End::Done | End::Partly { .. })) && r.undoes.is_none() && !reversed.contains(&r.number);
    records.iter().rev().find(did)
}

/// How an operation is reversed.
#[derive(Debug)]
pub enum Way {
    /// The registry's text as it was.
    Text { before: String },
    /// The project's folder moved aside, its entry removed.
    Aside { name: String, folder: PathBuf, aside: PathBuf },
    /// New commits that pin what was pinned before.
    Pins(update::Plan),
}

/// Decides how to reverse an operation, or refuses where something would be lost.
pub fn plan(home: &Home, record: &Record) -> Result<Way> {
    match &record.intent {
        Intent::Registry { before, after, .. } => {
            if text_id(&home.registry.text) != *after {
                return Err(Error::failed(format!("{} was changed since `{}`", home.registry.path.display(), record.title()))
                    .hint("undoing it would lose that change; edit the file, or use the opposite command"));
            }
            Ok(Way::Text { before: before.clone() })
        }
        Intent::Create { name, folder, .. } => {
            let built = record.steps.iter().find_map(|s| s.strip_prefix("built ")).unwrap_or_default();
            pristine(home, name, folder, built)?;
            let called = folder.file_name().unwrap_or_default().to_string_lossy();
            let aside = folder.with_file_name(format!(".{called}.undone-{}", record.number));
            Ok(Way::Aside { name: name.clone(), folder: folder.clone(), aside })
        }
        Intent::Update { bumps } => {
            let failed = match &record.end {
                Some(End::Partly { failed }) => failed.as_slice(),
                _ => &[],
            };
            let done: Vec<&Bump> = bumps.iter().filter(|b| !failed.contains(&b.name)).collect();
            for bump in &done {
                still_there(bump)?;
            }
            Ok(Way::Pins(update::plan_back(home, &done)?))
        }
        Intent::Uncreate { name, .. } => Err(Error::failed(format!("moving {name} aside is not reversed by undo"))),
    }
}

fn still_there(bump: &Bump) -> Result<()> {
    let pin = repo::look(&bump.folder)?.pin.map(|id| id.to_string());
    match pin.as_ref() == Some(&bump.to) {
        true => Ok(()),
        false => {
            Err(Error::failed(format!("project {}: its pin was moved again since", bump.name))
                .hint(format!("fleet update {} REF", bump.name)))
        }
    }
}

/// Refuses a project in which anything was done since it was created, ignored files included.
fn pristine(home: &Home, name: &str, folder: &Path, built: &str) -> Result<()> {
    let keep = |what: &str| {
        Err(Error::failed(format!("project {name}: {what}, so it is not moved away"))
            .hint(format!("fleet remove {name}   unregisters it and leaves the folder as it is")))
    };
    if !super::is_at(folder, built) {
        return keep("there are commits of yours");
    }
    let state = Git::at(folder).without_hooks().run(&["--no-optional-locks", "status", "--porcelain", "--ignored"])?;
    if !state.is_empty() {
        return keep("there are files of yours");
    }
    let harness = home.registry.project(name).map(|p| home.registry.harness_of(p)).transpose()?;
    if let Some(harness) = harness
        && drive::is_running(harness, folder)?
    {
        return keep("it is running");
    }
    Ok(())
}

/// Reverses it; answers what failed, project by project.
pub fn perform(home: &mut Home, record: &Record, way: Way) -> Result<Vec<Error>> {
    match way {
        Way::Text { before } => {
            restore_text(home, record, &before)?;
            Ok(vec![])
        }
        Way::Aside { name, folder, aside } => {
            let running = home
                .journal
                .begin(&Intent::Uncreate { name: name.clone(), folder: folder.clone(), aside: aside.clone() }, Some(record.number))?;
            os::fs::rename(&folder, &aside)?;
            home.forget(&name)?;
            running.end(End::Done)?;
            Ok(vec![])
        }
        Way::Pins(plan) => Ok(update::perform(home, plan, update::Way::default(), Some(record.number), |_| {})?.failed),
    }
}

fn restore_text(home: &mut Home, record: &Record, before: &str) -> Result<()> {
    let what = match &record.intent {
        Intent::Registry { what, .. } => what.clone(),
        _ => record.title(),
    };
    let intent = Intent::Registry { what, before: home.registry.text.clone(), after: text_id(before) };
    let running = home.journal.begin(&intent, Some(record.number))?;
    home.registry = entries::restore(&home.registry, before)?;
    running.end(End::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, undoes: Option<u64>, end: Option<End>) -> Record {
        let intent = Intent::Registry { what: format!("change {number}"), before: String::new(), after: String::new() };
        Record { number, at: jiff::Timestamp::UNIX_EPOCH, intent, undoes, steps: vec![], end }
    }

    #[test]
    fn undo_walks_backwards_over_what_was_done() {
        let undone = || Some(End::Undone { why: String::new() });
        let done = || Some(End::Done);
        let mut records = vec![record(1, None, done()), record(2, None, undone()), record(3, None, done())];
        assert_eq!(candidate(&records).map(|r| r.number), Some(3));
        records.push(record(4, Some(3), undone()));
        assert_eq!(candidate(&records).map(|r| r.number), Some(3));
        records.push(record(5, Some(3), done()));
        assert_eq!(candidate(&records).map(|r| r.number), Some(1));
        records.push(record(6, Some(1), done()));
        assert_eq!(candidate(&records), None);
    }
}
