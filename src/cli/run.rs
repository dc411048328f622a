//! One command of the engines', run in many projects at once: what `start`, `stop` and `restart` share.

use agents::cli::interrupt::doing;
use agents::cli::out::Tone;
use agents::cli::{Error, Result, out};
use agents::contract::manifest::Commands;

use super::Context;
use crate::checkout::{drive, trust};
use crate::harness::cache;
use crate::parallel;
use crate::registry::select::Select;
use crate::registry::{Project, Registry};
use crate::view::progress::{Progress, some_of};

/// A command's name in the manifest, and its argv if the harness has it.
pub type Step<'a> = (&'static str, Option<&'a Vec<String>>);

/// One thing to do with a project, in words and as a command of its engine's.
pub struct Deed {
    /// `start`
    pub verb: &'static str,
    /// `starting`
    pub during: &'static str,
    /// `started`
    pub done: &'static str,
    /// The commands, in order.
    pub commands: fn(&Commands) -> Vec<Step<'_>>,
}

// Which projects, and how. No doc comment: it would be taken for what the verbs do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub select: Select,
    /// Only say what would be run
    #[arg(long)]
    pub dry_run: bool,
    /// Trust what the projects would run, as it is now
    #[arg(long)]
    pub trust: bool,
    /// Facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// Does it to every selected project; each failure is told at the end, none stops the others.
pub fn run(args: &Args, deed: &Deed, ctx: &Context) -> Result<()> {
    let Args { select, dry_run, trust, json } = args;
    let registry = ctx.registry()?;
    let projects = select.resolve(&registry)?;
    if *dry_run {
        for project in &projects {
            for argv in argvs(&registry, project, deed)? {
                out::fact(format!("{}: {}", project.name, argv.join(" ")));
            }
        }
        return Ok(());
    }
    if projects.iter().any(|p| registry.harness_of(p).is_ok_and(|h| h.url.is_none())) {
        cache::seed()?;
    }
    let names: Vec<&str> = projects.iter().map(|p| p.name.as_str()).collect();
    let then =
        format!("what was begun goes on in the projects themselves; `fleet status` shows it, the same {} again completes it", deed.verb);
    let _doing = doing(&format!("{} {}", deed.during, some_of(&names)), &then);
    let progress = Progress::of(deed.during, &names);
    let results = parallel::each(&projects, |project| {
        progress.begins(&project.name);
        let result = one(&registry, project, deed, *trust);
        progress.ended(&project.name);
        if result.is_ok() && !json {
            out::say(out::Text::of(Tone::Good, deed.done).and(Tone::Plain, format!(" {}", project.name)));
        }
        result
    });
    drop(progress);
    if *json {
        let facts: Vec<serde_json::Value> = projects
            .iter()
            .zip(&results)
            .map(|(p, r)| serde_json::json!({ "name": p.name, "done": r.is_ok(), "error": r.as_ref().err().map(ToString::to_string) }))
            .collect();
        out::json(&facts);
    }
    let failed: Vec<Error> =
        projects.iter().zip(results).filter_map(|(p, r)| r.err().map(|e| e.of(format!("project {}", p.name)))).collect();
    match Error::all(failed) {
        Some(error) => Err(Error { kind: agents::cli::Kind::Failed, ..error }),
        None => Ok(()),
    }
}

fn argvs(registry: &Registry, project: &Project, deed: &Deed) -> Result<Vec<Vec<String>>> {
    let folder = super::inside::folder(project)?;
    let harness = registry.harness_of(project)?;
    let commands = drive::commands(harness, folder)?;
    (deed.commands)(&commands)
        .into_iter()
        .map(|(name, argv)| {
            argv.cloned().ok_or_else(|| {
                Error::failed(format!("harness {} has no `{name}` command", harness.name)).hint(format!(
                    "its engine.toml gives none: add {name} = [\"…\"] to [harness.{}] in {}",
                    harness.name,
                    registry.path.display()
                ))
            })
        })
        .collect()
}

fn one(registry: &Registry, project: &Project, deed: &Deed, trust: bool) -> Result<()> {
    let folder = super::inside::folder(project)?;
    if trust {
        trust::grant(&registry.home, project, folder)?;
    }
    if let Err(error) = trust::check(registry, project, folder) {
        // To stop what one does not trust any more must not ask for trust: our own engine's program does it, and nothing of the project's runs.
        if deed.verb == "stop" && registry.harness_of(project)?.url.is_none() {
            cache::seed()?;
            return drive::run(&[cache::program().display().to_string(), "down".into()], folder, "could not stop");
        }
        return Err(error);
    }
    for argv in argvs(registry, project, deed)? {
        drive::run(&argv, folder, &format!("could not {}", deed.verb))?;
    }
    Ok(())
}
