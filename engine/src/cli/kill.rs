//! `agents kill`

use super::place::Place;
use super::sessions::{changing, finish_kill, operation, recover};
use super::{Context, interrupt, out};
use crate::error::{Error, Result};
use crate::os::fs;
use crate::store::instance;
use crate::store::meta::{self, Meta, Wanted};
use crate::store::session::{self, BRANCH, ENDED_AT, UNDERWAY};

/// End sessions with all they have started, and archive them; uncommitted work is kept as a commit, the branch stays
#[derive(clap::Args)]
pub(super) struct Args {
    /// Sessions' ids, or the names they were given
    #[arg(value_name = "SESSION", required = true)]
    sessions: Vec<String>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    prepare(&place)?;
    let mut metas: Vec<Meta> = vec![];
    for word in &args.sessions {
        let meta = named(&place, word)?;
        if !metas.contains(&meta) {
            metas.push(meta);
        }
    }
    let errors = metas.iter().filter_map(|meta| end(&place, meta, "kill").err()).collect();
    Error::all(errors).map_or(Ok(()), Err)
}

/// The runtime folder may have gone with the last boot. Then what was interrupted is dealt with.
pub(super) fn prepare(place: &Place) -> Result<()> {
    if !fs::is_dir(&place.layout.data) {
        return Err(Error::failed("nothing has ever run here, so there is no session"));
    }
    instance::settle_runtime(&place.layout)?;
    recover(&place.folder, &links(place), &place.layout)
}

pub(super) fn links(place: &Place) -> Vec<String> {
    place.project.as_ref().map(|p| p.config.worktree.symlinks.clone()).unwrap_or_default()
}

/// The live session of this id or name: an agent's name is not enough to end one.
pub(super) fn named(place: &Place, word: &str) -> Result<Meta> {
    let metas = place.sessions()?;
    if let Some(meta) = metas.iter().find(|m| m.session == word).or_else(|| metas.iter().find(|m| m.key(session::NAME) == Some(word))) {
        return Ok(meta.clone());
    }
    if session::archived(&place.layout, word)?.is_some() {
        return Err(Error::failed(format!("session {word} is archived already")).hint(format!("agents restore {word}")));
    }
    if let Some(meta) = metas.iter().find(|m| m.agent == word) {
        return Err(Error::usage(format!("{word} is an agent; its session is {}", meta.session))
            .hint(format!("agents down {word}    stops it"))
            .hint(format!("agents kill {}    ends and archives its session", meta.session)));
    }
    Err(super::place::unknown(word, metas.iter().map(|m| m.session.as_str())))
}

/// Ends one, and says what became of its work.
pub(super) fn end(place: &Place, meta: &Meta, command: &str) -> Result<Meta> {
    let layout = &place.layout;
    let id = &meta.session;
    let lock = operation(layout, id)?;
    let _doing = interrupt::doing(&format!("ending session {id}"), "the next command that changes sessions finishes it");
    let meta = {
        let _lock = changing(layout, command)?;
        let mut meta = meta::read(layout, id)?;
        meta.wanted = Wanted::Down;
        meta.set(UNDERWAY, "kill");
        meta.other.remove(ENDED_AT);
        meta::write(layout, &meta)?;
        meta
    };
    let ended = finish_kill(&place.folder, &links(place), layout, meta, &lock).map_err(|e| e.of(format!("session {id}")))?;
    let branch = ended.key(BRANCH).map(|b| format!("; its commits are on {b}")).unwrap_or_default();
    out::fact(format!("{id}  archived{branch}"));
    Ok(ended)
}
