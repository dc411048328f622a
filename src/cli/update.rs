//! `fleet update`: other engines for projects, one commit each.

use agents::cli::{Error, Result, out};

use super::Context;
use crate::ops::Home;
use crate::ops::bump::Allowed;
use crate::ops::journal::Bump;
use crate::ops::live::Went;
use crate::ops::update::{self, Asked, Outcome, Plan, Way};
use crate::registry::{Registry, Select};
use crate::view::progress::Progress;

/// Move projects' engine pins to another tag, branch or commit
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or globs of projects; last, the tag, branch or commit to go to. Without it: the project's ref in the registry, else its
    /// harness's, else the newest version tag
    #[arg(value_name = "PROJECT… [REF]")]
    pub words: Vec<String>,
    /// All enabled projects with this tag; may be repeated
    #[arg(short = 't', long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// All enabled projects
    #[arg(long)]
    pub all: bool,
    /// Only say what would be done: pins and the commits between them
    #[arg(long)]
    pub dry_run: bool,
    /// Go to an older version
    #[arg(long)]
    pub allow_downgrade: bool,
    /// Take a tag that names another commit than when it was recorded
    #[arg(long)]
    pub allow_moved: bool,
    /// So many projects first, running ones before others; the rest only if these are well then. Who is not well goes back to the engine it had
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub canary: Option<u16>,
    /// Restart what runs, instead of letting the new engine take over while agents run
    #[arg(long)]
    pub no_live: bool,
}

/// Updates, or says what would be done. Every project that can be updated is; what failed is named at the end.
pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let mut home = Home::take(&ctx.registry()?)?;
    let (select, reference) = understand(args, &home.registry);
    let projects = select.resolve(&home.registry)?;
    let asked = Asked { reference, allowed: Allowed { downgrade: args.allow_downgrade, moved: args.allow_moved } };
    let looking = Progress::of_one("looking for engines");
    let plan = update::plan(&home, &projects, &asked)?;
    drop(looking);
    if args.dry_run {
        return preview(&plan);
    }
    let way = Way { live: !args.no_live, canary: args.canary.map(usize::from) };
    let lines: Vec<(String, String)> = plan.bumps.iter().map(|b| (b.name.clone(), arrow(&plan, b))).collect();
    let already = plan.already.len() + plan.unrecorded.len();
    let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
    let progress = Progress::of("updating", &names);
    let outcome = update::perform(&mut home, plan, way, None, |name| progress.ended(name))?;
    drop((progress, home));
    tell(&outcome, &lines, already);
    Error::all(outcome.failed).map_or(Ok(()), Err)
}

/// The last word is the reference, unless it names a project or nothing else does.
fn understand(args: &Args, registry: &Registry) -> (Select, Option<String>) {
    let mut names = args.words.clone();
    let others = names.len() > 1 || args.all || !args.tags.is_empty();
    let is_reference = |last: &String| registry.project(last).is_none() && !last.contains(['*', '?', '[', '{']);
    let reference = if others && names.last().is_some_and(is_reference) { names.pop() } else { None };
    (Select { names, tags: args.tags.clone(), all: args.all }, reference)
}

fn arrow(plan: &Plan, bump: &Bump) -> String {
    let to = plan.name(&bump.harness, &bump.to);
    if bump.from == bump.to {
        return format!("engine/ back at {to}, which is pinned");
    }
    let to = if to == bump.reference { to } else { format!("{} ({to})", bump.reference) };
    format!("{} → {to}", plan.name(&bump.harness, &bump.from))
}

fn preview(plan: &Plan) -> Result<()> {
    for bump in &plan.bumps {
        out::fact(format!("{}: {}", bump.name, arrow(plan, bump)));
        for line in plan.log(bump)? {
            out::fact(format!("    {line}"));
        }
    }
    for name in plan.already.iter().chain(plan.unrecorded.iter().map(|(name, _)| name)) {
        out::fact(format!("{name}: there already"));
    }
    Error::all(plan.refused.clone()).map_or(Ok(()), Err)
}

fn tell(outcome: &Outcome, lines: &[(String, String)], already: usize) {
    for bump in &outcome.done {
        let arrow = lines.iter().find(|(name, _)| *name == bump.name).map_or("", |(_, arrow)| arrow);
        let went = match outcome.went.get(&bump.name) {
            Some(Went::Kept(1)) => "; 1 agent kept".to_owned(),
            Some(Went::Kept(agents)) => format!("; {agents} agents kept"),
            Some(Went::Restarted) => "; restarted, agents resume".to_owned(),
            Some(Went::AtRest) | None => String::new(),
        };
        out::say(format!("updated {}: {arrow}{went}", bump.name));
    }
    for (name, went) in outcome.went.iter().filter(|(name, _)| !outcome.done.iter().any(|b| b.name == **name)) {
        if let Went::Kept(agents) = went {
            out::say(format!("{name}: the engine that is pinned took over from another one; agents kept: {agents}"));
        }
    }
    if !outcome.left.is_empty() {
        out::say(format!("left as they are: {}", outcome.left.join(", ")));
    }
    if already > 0 {
        out::say(format!("{already} {} there already", if already == 1 { "project is" } else { "projects are" }));
    }
}
