//! `agents clean`

use super::place::Place;
use super::{Context, kill, look, out};
use crate::contract::status::State;
use crate::error::{Error, Result};
use crate::os::git::Git;
use crate::os::{env, fs};
use crate::store::meta::{Meta, Wanted};
use crate::store::session::{BASE, BRANCH, BRANCH_MADE, TIP};
use crate::store::worktree::Repository;

/// Archive spawned sessions that have ended and whose branch is merged; others only by name
#[derive(clap::Args)]
pub(super) struct Args {
    /// These, also where their branch is not merged; it stays then
    #[arg(value_name = "SESSION")]
    sessions: Vec<String>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What is to become of a session.
enum Verdict {
    Goes(&'static str),
    Stays(String),
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let place = Place::find(context)?;
    if !args.dry_run {
        kill::prepare(&place)?;
    }
    let named = args.sessions.iter().map(|word| kill::named(&place, word)).collect::<Result<Vec<Meta>>>()?;
    let metas = if named.is_empty() { place.sessions()?.into_iter().filter(Meta::is_spawned).collect() } else { named.clone() };
    let state = look::state(&place)?;
    let mut errors = vec![];
    let mut any = false;
    for meta in metas {
        let id = &meta.session;
        let status = state.agents.iter().chain(&state.sessions).find(|s| s.session == *id);
        let verdict = judge(&place, &meta, status.map(|s| s.state), !named.is_empty());
        match verdict {
            Ok(Verdict::Stays(why)) => out::say(format!("{id} stays: {why}")),
            Ok(Verdict::Goes(why)) if args.dry_run => {
                any = true;
                out::fact(format!("{id}  would be archived: {why}"));
            }
            Ok(Verdict::Goes(_)) => {
                any = true;
                errors.extend(kill::end(&place, &meta, "clean").and_then(|ended| drop_merged(&place, &ended)).err());
            }
            Err(error) => errors.push(error.of(format!("session {id}"))),
        }
    }
    if !any && errors.is_empty() {
        out::say("nothing to clean");
    }
    Error::all(errors).map_or(Ok(()), Err)
}

/// The name of what branches are merged into.
fn target(place: &Place) -> String {
    let configured = place.project.as_ref().ok().and_then(|p| p.config.default_branch.clone());
    configured.map_or_else(|| "HEAD".to_owned(), |b| format!("refs/heads/{b}"))
}

fn judge(place: &Place, meta: &Meta, state: Option<State>, named: bool) -> Result<Verdict> {
    let ended = match state {
        Some(State::Exited) => true,
        Some(State::Down) | None => meta.wanted == Wanted::Down || meta.status == "exited",
        Some(State::Starting | State::Up | State::Limited | State::Failing | State::Unknown | State::Archived) => false,
    };
    if !ended {
        let word = state.map_or("wanted", State::word);
        return Ok(Verdict::Stays(format!("it is {word}; `agents kill {}` ends it", meta.session)));
    }
    if named {
        return Ok(Verdict::Goes("it was named"));
    }
    let exited = state == Some(State::Exited) || meta.status == "exited";
    let path = place.layout.worktree(&meta.session);
    if !meta.has_worktree() {
        return Ok(if exited { Verdict::Goes("its agent has ended") } else { Verdict::Stays("it is down and may go on".into()) });
    }
    let repository = Repository::around(&place.folder)?;
    if !repository.has(&path) {
        return Ok(Verdict::Stays(format!("its worktree {} is not there or not of this repository", env::shorten(&path))));
    }
    let tip = Git::at(&path).run(&["rev-parse", "--verify", "HEAD^{commit}"])?;
    if !repository.is_merged(&tip, &target(place))? {
        return Ok(Verdict::Stays(format!("{} is not merged", meta.key(BRANCH).unwrap_or("its worktree's HEAD"))));
    }
    if !exited && meta.key(BASE) == Some(tip.as_str()) {
        return Ok(Verdict::Stays("it is down and has nothing merged yet".into()));
    }
    Ok(Verdict::Goes("it has ended and is merged"))
}

/// A branch that was made for the session and is merged has done its work.
fn drop_merged(place: &Place, ended: &Meta) -> Result<()> {
    let (Some(branch), Some(tip), Some("yes")) = (ended.key(BRANCH), ended.key(TIP), ended.key(BRANCH_MADE)) else { return Ok(()) };
    let repository = Repository::around(&place.folder)?;
    let stays = fs::look(&place.layout.worktree(&ended.session))? != fs::Found::Nothing;
    if !stays && repository.is_merged(tip, &target(place))? {
        repository.remove_branch(branch, tip)?;
        out::say(format!("{}: branch {branch} was merged and is removed", ended.session));
    }
    Ok(())
}
