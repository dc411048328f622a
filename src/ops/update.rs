//! Moving pins: everything is looked at and refused first, then written down, then done project by project.

use std::collections::BTreeMap;

use agents::cli::{Error, Result, out};
use agents::os::{self, lock::Lock};
use gix::ObjectId;

use super::bump::{self, Allowed, Goal, Planned};
use super::journal::{Bump, End, Intent};
use super::live::{self, Went};
use super::{Home, entries};
use crate::checkout::{drive, trust};
use crate::harness::{Mirror, Resolved, cache};
use crate::parallel;
use crate::registry::edit::Edit;
use crate::registry::{Harness, Project, Registry};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The same for all; `None`: each project's own.
    pub reference: Option<String>,
    pub allowed: Allowed,
}

/// How running projects come to their new engine.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// While their agents run, where the engine can.
    pub live: bool,
    /// So many projects first; the others only if these are well then.
    pub canary: Option<usize>,
}

impl Default for Way {
    fn default() -> Way {
        Way { live: true, canary: None }
    }
}

/// A harness at a reference, with the commit that this means, found once for all projects.
#[derive(Debug)]
pub struct Found {
    pub harness: Harness,
    pub mirror: Mirror,
    /// By reference.
    targets: BTreeMap<String, Result<Resolved>>,
}

/// What an update is going to do.
#[derive(Debug, Default)]
pub struct Plan {
    pub found: BTreeMap<String, Found>,
    pub bumps: Vec<Bump>,
    /// Projects that are there already, and whose entry in the registry says so.
    pub already: Vec<String>,
    /// Projects that are there already, with the reference and commit that their entry is to say.
    pub unrecorded: Vec<(String, Resolved)>,
    /// Projects that are left alone, and why.
    pub refused: Vec<Error>,
}

impl Plan {
    /// The commits between a project's two pins, newest first.
    pub fn log(&self, bump: &Bump) -> Result<Vec<String>> {
        let found = &self.found[&bump.harness];
        found.mirror.log(id(&bump.from)?, id(&bump.to)?)
    }

    /// How a pin reads for people: its tag, else the beginning of its id.
    pub fn name(&self, harness: &str, commit: &str) -> String {
        let tag = self.found.get(harness).and_then(|f| f.mirror.tag_of(id(commit).ok()?));
        tag.unwrap_or_else(|| bump::short(commit).to_owned())
    }

    fn goal(&self, bump: &Bump) -> Result<Goal<'_>> {
        let found = &self.found[&bump.harness];
        let target = found.targets[&bump.reference].as_ref().map_err(Clone::clone)?;
        Ok(Goal { harness: &found.harness, mirror: &found.mirror, target })
    }
}

fn id(text: &str) -> Result<ObjectId> {
    ObjectId::from_hex(text.as_bytes()).map_err(|e| Error::failed(format!("{text}: {e}")))
}

/// The reference that a project is to be at, and the commit that an undo names instead of looking it up.
type Wish = (String, Option<String>);

/// Looks at all projects in parallel and decides. Fetches each harness once; changes no project.
pub fn plan(home: &Home, projects: &[&Project], asked: &Asked) -> Result<Plan> {
    let mut wishes: BTreeMap<&str, Wish> = BTreeMap::new();
    let mut plan = Plan::default();
    for project in projects {
        match wish(home, project, asked) {
            Ok(wish) => drop(wishes.insert(&project.name, wish)),
            Err(error) => plan.refused.push(error.of(format!("project {}", project.name))),
        }
    }
    let wanted: Vec<&Project> = projects.iter().copied().filter(|p| wishes.contains_key(p.name.as_str())).collect();
    plan.found = find(home, &wanted, &wishes)?;
    decide(home, plan, &wanted, &wishes, asked.allowed)
}

/// The same for an undo: each project back to the commit it was at.
pub fn plan_back(home: &Home, bumps: &[&Bump]) -> Result<Plan> {
    let mut plan = Plan::default();
    let (mut wanted, mut wishes) = (vec![], BTreeMap::new());
    for bump in bumps {
        match home.registry.project(&bump.name) {
            None => plan.refused.push(Error::failed(format!("project {}: it is not in the registry any more", bump.name))),
            Some(project) => {
                let reference = bump.reference_before.clone().unwrap_or_else(|| bump.from.clone());
                wishes.insert(project.name.as_str(), (reference, Some(bump.from.clone())));
                wanted.push(project);
            }
        }
    }
    plan.found = find(home, &wanted, &wishes)?;
    decide(home, plan, &wanted, &wishes, Allowed { downgrade: true, moved: true })
}

fn wish(home: &Home, project: &Project, asked: &Asked) -> Result<Wish> {
    let harness = home.registry.harness_of(project)?;
    let reference = asked.reference.clone().or_else(|| project.reference.clone()).or_else(|| harness.reference.clone());
    let reference = match reference {
        Some(reference) => reference,
        None => Mirror::open(&harness.name, harness.url.as_deref())?.newest()?,
    };
    Ok((reference, None))
}

/// Opens and fetches the mirrors, and resolves each reference once.
fn find(home: &Home, projects: &[&Project], wishes: &BTreeMap<&str, Wish>) -> Result<BTreeMap<String, Found>> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for project in projects {
        let (reference, commit) = &wishes[project.name.as_str()];
        if !found.contains_key(&project.harness) {
            let harness = home.registry.harness_of(project)?.clone();
            let mirror = Mirror::open(&harness.name, harness.url.as_deref())?;
            if commit.is_none() {
                mirror.fetch()?;
            }
            found.insert(project.harness.clone(), Found { harness, mirror, targets: BTreeMap::new() });
        }
        let entry = found.get_mut(&project.harness).expect("just inserted");
        if !entry.targets.contains_key(reference) {
            let target = match commit {
                None => entry.mirror.resolve(reference).and_then(|target| match entry.harness.signed {
                    true => entry.mirror.check_signed(&target).map(|()| target),
                    false => Ok(target),
                }),
                // Named as it was then, at the commit that it meant then.
                Some(commit) => {
                    let is_tag = entry.mirror.tag(reference).is_some_and(|id| id.to_string() == *commit);
                    entry.mirror.resolve(commit).map(|r| Resolved { reference: reference.clone(), is_tag, ..r })
                }
            };
            entry.targets.insert(reference.clone(), target);
        }
    }
    Ok(found)
}

fn decide(home: &Home, mut plan: Plan, projects: &[&Project], wishes: &BTreeMap<&str, Wish>, allowed: Allowed) -> Result<Plan> {
    let decided = parallel::each(projects, |project| -> Result<(Resolved, Planned)> {
        let found = &plan.found[&project.harness];
        let target = found.targets[&wishes[project.name.as_str()].0].as_ref().map_err(Clone::clone)?;
        let folder = home.folder(project)?;
        let goal = Goal { harness: &found.harness, mirror: &found.mirror, target };
        Ok((target.clone(), bump::plan(project, folder, goal, allowed)?))
    });
    for (project, decision) in projects.iter().zip(decided) {
        match decision {
            Ok((_, Planned::Move(bump))) => plan.bumps.push(bump),
            Ok((target, Planned::Already)) if is_recorded(project, &target) => plan.already.push(project.name.clone()),
            Ok((target, Planned::Already)) => plan.unrecorded.push((project.name.clone(), target)),
            Err(error) => plan.refused.push(error.of(format!("project {}", project.name))),
        }
    }
    Ok(plan)
}

fn is_recorded(project: &Project, target: &Resolved) -> bool {
    project.reference.as_deref() == Some(&target.reference) && project.commit.as_deref() == Some(&target.commit.to_string())
}

/// What became of each project.
#[derive(Debug, Default)]
pub struct Outcome {
    pub done: Vec<Bump>,
    /// Of those, what became of what ran.
    pub went: BTreeMap<String, Went>,
    /// Not begun, as others were not well.
    pub left: Vec<String>,
    pub failed: Vec<Error>,
}

/// Does what was planned. `progress` hears the name of each project that is finished, whatever became of it.
pub fn perform(home: &mut Home, mut plan: Plan, way: Way, undoes: Option<u64>, progress: impl Fn(&str) + Sync) -> Result<Outcome> {
    let mut outcome = Outcome { failed: std::mem::take(&mut plan.refused), ..Outcome::default() };
    if !plan.bumps.is_empty() {
        move_pins(home, &plan, way, undoes, &progress, &mut outcome)?;
    }
    if !plan.unrecorded.is_empty() {
        let pins: Vec<_> = plan.unrecorded.iter().map(|(name, t)| (name.as_str(), t.reference.as_str(), t.commit.to_string())).collect();
        home.change("record pins", |edit| entries::set_pins(edit, &pins))?;
    }
    if way.live {
        catch_up(home, &plan, &mut outcome);
    }
    Ok(outcome)
}

/// Projects whose pin is there already may still run another engine, if the update that moved it was interrupted.
fn catch_up(home: &Home, plan: &Plan, outcome: &mut Outcome) {
    let names = plan.already.iter().chain(plan.unrecorded.iter().map(|(name, _)| name));
    let projects: Vec<&Project> = names.filter_map(|name| home.registry.project(name)).collect();
    let went = parallel::each(&projects, |project| -> Result<Went> {
        let (harness, folder) = (&plan.found[&project.harness].harness, home.folder(project)?);
        if !drive::is_running(harness, folder)? {
            return Ok(Went::AtRest);
        }
        trust::check(&home.registry, project, folder)?;
        live::catch_up(harness, folder)
    });
    for (project, went) in projects.iter().zip(went) {
        match went {
            Ok(Went::AtRest) => {}
            Ok(went) => drop(outcome.went.insert(project.name.clone(), went)),
            Err(error) => outcome.failed.push(error.of(format!("project {}", project.name))),
        }
    }
}

fn move_pins(
    home: &mut Home,
    plan: &Plan,
    way: Way,
    undoes: Option<u64>,
    progress: &(impl Fn(&str) + Sync),
    outcome: &mut Outcome,
) -> Result<()> {
    if plan.found.values().any(|f| f.mirror.url.is_none()) {
        cache::seed()?;
    }
    let running = home.journal.begin(&Intent::Update { bumps: plan.bumps.clone() }, undoes)?;
    let mut failed = vec![];
    let mut all_settled = true;
    for batch in batches(plan, way) {
        if !failed.is_empty() && way.canary.is_some() {
            outcome.left.extend(batch.iter().map(|b| b.name.clone()));
            failed.extend(batch.iter().map(|b| b.name.clone()));
            continue;
        }
        all_settled &= move_batch(home, plan, way, &batch, progress, outcome)?;
        failed.extend(batch.iter().filter(|b| !outcome.done.iter().any(|d| d.name == b.name)).map(|b| b.name.clone()));
    }
    if !all_settled {
        // Without an end it counts as interrupted: the next command tries again to put things back.
        return Ok(());
    }
    let end = match (outcome.done.is_empty(), failed.is_empty()) {
        (_, true) => End::Done,
        (true, false) => End::Undone { why: "it failed for every project".into() },
        (false, false) => End::Partly { failed },
    };
    running.end(end)
}

/// All at once, or those that go first and the others. Only a project that runs can show how the new engine does, so such come first.
fn batches(plan: &Plan, way: Way) -> Vec<Vec<&Bump>> {
    let mut bumps: Vec<&Bump> = plan.bumps.iter().collect();
    let Some(first) = way.canary else { return vec![bumps] };
    let runs = |b: &&Bump| drive::is_running(&plan.found[&b.harness].harness, &b.folder).unwrap_or(false);
    bumps.sort_by_cached_key(|b| !runs(b));
    let rest = bumps.split_off(first.min(bumps.len()));
    [bumps, rest].into_iter().filter(|batch| !batch.is_empty()).collect()
}

/// Moves these pins and brings what runs to the new engine; who is not well then goes back. False: a project is between its two pins.
fn move_batch(
    home: &mut Home,
    plan: &Plan,
    way: Way,
    batch: &[&Bump],
    progress: &(impl Fn(&str) + Sync),
    outcome: &mut Outcome,
) -> Result<bool> {
    let lock: &Lock = &home.lock;
    let results = parallel::each(batch, |bump| {
        let goal = plan.goal(bump).map_err(|error| bump::Failure { error, is_settled: true });
        goal.and_then(|goal| bump::perform(bump, goal, lock)).inspect_err(|_| progress(&bump.name))
    });
    let (mut moved, mut all_settled) = (vec![], true);
    for (bump, result) in batch.iter().zip(results) {
        match result {
            Ok(()) => moved.push((*bump).clone()),
            Err(failure) => {
                all_settled &= failure.is_settled;
                outcome.failed.push(failure.error.of(format!("project {}", bump.name)));
            }
        }
    }
    if let Some(bump) = moved.first() {
        // git and gix leave their objects to the cache; what the registry says must be there after a power loss.
        os::fs::sync_filesystem(&bump.folder)?;
    }
    home.registry = record(home, &moved, &[])?;
    let went = parallel::each(&moved, |bump| {
        let went = bring(&home.registry, plan, bump, way.live);
        progress(&bump.name);
        went
    });
    let mut sick = vec![];
    for (bump, went) in moved.into_iter().zip(went) {
        match went {
            Ok(went) => {
                outcome.went.insert(bump.name.clone(), went);
                outcome.done.push(bump);
            }
            Err(Trouble::Untrusted(error)) => {
                let error = error.of(format!("project {}: its pin is updated, but its engine goes on as it was", bump.name));
                outcome.failed.push(error.hint(format!("fleet start {}", bump.name)));
                outcome.done.push(bump);
            }
            Err(Trouble::Sick(error)) => sick.push((bump, error)),
        }
    }
    Ok(go_back(home, way, sick, outcome)? && all_settled)
}

enum Trouble {
    /// Nothing was run.
    Untrusted(Error),
    Sick(Error),
}

fn bring(registry: &Registry, plan: &Plan, bump: &Bump, live: bool) -> Result<Went, Trouble> {
    let harness = &plan.found[&bump.harness].harness;
    if bump.from == bump.to || !drive::is_running(harness, &bump.folder).map_err(Trouble::Sick)? {
        return Ok(Went::AtRest);
    }
    if let Some(project) = registry.project(&bump.name) {
        trust::check(registry, project, &bump.folder).map_err(Trouble::Untrusted)?;
    }
    live::bring(harness, &bump.folder, live).map_err(Trouble::Sick)
}

/// Puts these projects back to the engine they had: pin, registry, and what runs. False: that did not go through either.
fn go_back(home: &mut Home, way: Way, sick: Vec<(Bump, Error)>, outcome: &mut Outcome) -> Result<bool> {
    let mut all_settled = true;
    for (bump, error) in sick {
        let plan = plan_back(home, &[&bump])?;
        let lock: &Lock = &home.lock;
        let back = match (plan.bumps.first(), plan.refused.first()) {
            (_, Some(refused)) => Err(bump::Failure { error: refused.clone(), is_settled: true }),
            (None, None) => Ok(()),
            (Some(back), None) => {
                let goal = plan.goal(back).map_err(|error| bump::Failure { error, is_settled: true });
                goal.and_then(|goal| bump::perform(back, goal, lock))
            }
        };
        let error = error.of(format!("project {}", bump.name));
        let error = match back {
            Ok(()) => {
                home.registry = record(home, &[], &[&bump])?;
                match live::bring(&plan.found[&bump.harness].harness, &bump.folder, way.live) {
                    Ok(_) => error.hint("it is back at the engine it had, and as well as before"),
                    Err(worse) => error
                        .because(format!("the pin is back where it was, but what runs is not well: {worse}"))
                        .hint(format!("fleet restart {}", bump.name)),
                }
            }
            Err(failure) => {
                all_settled &= failure.is_settled;
                outcome.done.push(bump.clone());
                error.because(format!("going back failed too, so its pin is the new one: {}", failure.error)).hint("fleet undo")
            }
        };
        outcome.failed.push(error);
    }
    Ok(all_settled)
}

/// The registry with the new pins of these in it, and with the old ones of those who went back, all in one edit.
fn record(home: &Home, done: &[Bump], back: &[&Bump]) -> Result<Registry> {
    let mut edit = Edit::open(&home.registry)?;
    let before = |b: &&Bump| b.reference_before.clone().unwrap_or_else(|| b.from.clone());
    let forth = done.iter().map(|b| (b.name.clone(), b.reference.clone(), b.to.clone()));
    let pins: Vec<_> = forth.chain(back.iter().map(|b| (b.name.clone(), before(b), b.from.clone()))).collect();
    let known = pins.iter().filter(|(name, ..)| home.registry.project(name).is_some());
    let known: Vec<_> = known.map(|(name, reference, commit)| (name.as_str(), reference.as_str(), commit.clone())).collect();
    entries::set_pins(&mut edit, &known)?;
    edit.save()
}

/// Settles every project of an interrupted update; says what became of each.
pub fn recover(home: &mut Home, bumps: &[Bump]) -> Result<End> {
    let lock: &Lock = &home.lock;
    let results = parallel::each(bumps, |bump| bump::settle(bump, lock));
    let (mut done, mut back, mut failed): (Vec<Bump>, Vec<&Bump>, _) = (vec![], vec![], vec![]);
    for (bump, result) in bumps.iter().zip(results) {
        match result {
            Ok(bump::Settled::Done) => done.push(bump.clone()),
            Ok(bump::Settled::Undone) => {
                // It was on its way back when the registry had the new pin already.
                let recorded = home.registry.project(&bump.name).and_then(|p| p.commit.as_deref());
                back.extend(Some(bump).filter(|b| recorded == Some(&b.to)));
                failed.push(bump.name.clone());
            }
            Ok(bump::Settled::Left) => {
                out::warn(&format!("project {}: its pin was moved since the interruption, so it is left as it is", bump.name));
                failed.push(bump.name.clone());
            }
            Err(error) if error.kind == agents::cli::Kind::Busy => return Err(error),
            Err(error) => {
                out::warn(&format!("project {}: {error}", bump.name));
                failed.push(bump.name.clone());
            }
        }
    }
    home.registry = record(home, &done, &back)?;
    Ok(match (done.is_empty(), failed.is_empty()) {
        (_, true) => End::Done,
        (true, false) => End::Undone { why: "it was interrupted".into() },
        (false, false) => End::Partly { failed },
    })
}
