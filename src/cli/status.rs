//! `fleet status`.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::Duration;

use agents::cli::out::{Text, Tone};
use agents::cli::{Error, Result, out};
use agents::os::clock::{self, monotonic};
use agents::os::{pty, signal, wait};

use super::Context;
use crate::observe::project;
use crate::observe::report::Report;
use crate::observe::watch::{Changes, Stale};
use crate::registry::select::Select;
use crate::registry::{Project, Registry};
use crate::view::screen::Screen;
use crate::view::status::{ago, moment, summary, table};

/// How projects stand: their agents, their pins. Changes nothing and waits for nobody
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub select: Select,
    /// Also each agent, and how the repository stands: what is changed, its branch, its engine
    #[arg(long)]
    pub long: bool,
    /// Stay, and show every change as it happens
    #[arg(short, long)]
    pub watch: bool,
    /// Facts as JSON; with --watch one line at every change
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    if args.watch {
        return watch(args, ctx);
    }
    let registry = ctx.registry()?;
    let projects = args.select.resolve_or_every(&registry)?;
    let report = project::look(&registry, &projects, args.long);
    if args.json {
        out::json(&report);
        return Ok(());
    }
    if report.projects.is_empty() {
        out::say("no projects yet: `fleet create NAME` makes one, `fleet add PATH` registers one");
        return Ok(());
    }
    out::table(&table(&report, args.long, ago));
    out::say(summary(&report));
    Ok(())
}

/// Changes come in bursts: what follows within this time is shown with the first.
const TOGETHER: Duration = Duration::from_millis(50);

/// Why the watching of one registry ended.
enum Ended {
    ByUser,
    /// The registry has changed.
    Registry,
}

fn watch(args: &Args, ctx: &Context) -> Result<()> {
    if !args.json && !out::stdout_is_terminal() {
        return Err(Error::usage("--watch draws on a terminal; standard output is none")
            .hint("--watch --json writes a line at every change, anywhere"));
    }
    // Before anything is drawn: what is wrong from the start is an error like any other.
    let mut registry = ctx.registry()?;
    args.select.resolve_or_every(&registry)?;
    let mut view = View::open(args)?;
    loop {
        let projects = match args.select.resolve_or_every(&registry) {
            Ok(projects) => projects,
            Err(error) => {
                view.complain(error);
                vec![]
            }
        };
        if let Ended::ByUser = view.follow(&registry, &projects)? {
            return Ok(());
        }
        drop(projects);
        view.problem = None;
        match Registry::load(&registry.path) {
            Ok(fresh) => registry = fresh,
            Err(error) => view.complain(error),
        }
    }
}

/// Where reports go, and what ends it.
struct View<'a> {
    args: &'a Args,
    screen: Option<Screen>,
    signals: std::os::fd::OwnedFd,
    /// What is wrong with the registry: what is shown is how it was before.
    problem: Option<Error>,
}

impl View<'_> {
    fn open(args: &Args) -> Result<View<'_>> {
        let signals = signal::descriptor(&[signal::INTERRUPT, signal::TERMINATE, signal::HANG_UP, signal::WINDOW])?;
        out::only_shows();
        let screen = if args.json { None } else { Some(Screen::enter()?) };
        Ok(View { args, screen, signals, problem: None })
    }

    /// Shows these projects and every change in them.
    fn follow(&self, registry: &Registry, projects: &[&Project]) -> Result<Ended> {
        let mut changes = Changes::of(registry, projects)?;
        let mut report = project::look(registry, projects, self.args.long);
        self.show(&report, &changes);
        let mut stale = Stale::default();
        let mut deadline = None;
        loop {
            let mut descriptors = vec![self.signals.as_fd()];
            let stdin = std::io::stdin();
            // The keyboard is read only where it was taken: elsewhere it may be anything.
            let keys = self.screen.is_some() && stdin.is_terminal();
            if keys {
                descriptors.push(stdin.as_fd());
            }
            descriptors.extend(changes.descriptors());
            let ready = wait::readable(&descriptors, deadline)?;
            if ready[0] && self.signalled(&report, &changes) || keys && ready[1] && ends(pty::typed(&stdin)) {
                return Ok(Ended::ByUser);
            }
            let news = changes.take()?;
            stale.registry |= news.registry;
            stale.projects.extend(news.projects);
            if stale.is_empty() {
                continue;
            }
            let until = *deadline.get_or_insert(monotonic() + TOGETHER);
            if monotonic() < until {
                continue;
            }
            if stale.registry {
                return Ok(Ended::Registry);
            }
            let again: Vec<usize> = std::mem::take(&mut stale.projects).into_iter().collect();
            deadline = None;
            again.iter().for_each(|i| changes.listen(*i));
            let some: Vec<&Project> = again.iter().map(|i| projects[*i]).collect();
            let fresh = project::look(registry, &some, self.args.long).projects;
            let before = report.clone();
            again.into_iter().zip(fresh).for_each(|(i, project)| report.projects[i] = project);
            if report != before {
                self.show(&report, &changes);
            }
        }
    }

    /// Takes the signals that came: whether one ends it. A new size of the terminal only wants a new drawing.
    fn signalled(&self, report: &Report, changes: &Changes<'_>) -> bool {
        let mut ends = false;
        while let Some(signal) = signal::next(&self.signals) {
            ends |= signal != signal::WINDOW;
        }
        if !ends {
            self.show(report, changes);
        }
        ends
    }

    fn show(&self, report: &Report, changes: &Changes<'_>) {
        let Some(screen) = &self.screen else {
            return if self.args.json {
                out::json(report)
            };
        };
        let text = out::laid_out(&table(report, self.args.long, moment));
        let mut last = summary(report).and(Tone::Dim, format!("  ·  {}, q ends", moment(clock::now())));
        if let Some(problem) = &self.problem {
            last = Text::of(Tone::Bad, "as it was before: ").and(Tone::Plain, problem.to_string().replace('\n', "; "));
        }
        if let Some((i, why)) = changes.deaf.first_key_value() {
            let name = report.projects.get(*i).map_or("", |p| p.name.as_str());
            last = last.and(Tone::Warn, format!("  ·  changes in {} projects are not told ({name}: {why})", changes.deaf.len()));
        }
        screen.draw(&text.lines().collect::<Vec<_>>(), &last);
    }

    fn complain(&mut self, error: Error) {
        if self.screen.is_none() {
            out::error(&error);
        }
        self.problem = Some(error);
    }
}

/// q, Ctrl-C, Ctrl-D; or the terminal is gone.
fn ends(typed: std::io::Result<Vec<u8>>) -> bool {
    typed.map_or(true, |keys| keys.iter().any(|k| b"q\x03\x04".contains(k)))
}
