//! `fleet tasks`

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::Duration;

use agents::cli::out::{Text, Tone};
use agents::cli::{Error, Result, out};
use agents::os::clock::{self, monotonic};
use agents::os::watch::{Change, Watch};
use agents::os::{pty, signal, wait};

use super::Context;
use crate::observe::engine::Places;
use crate::observe::tasks::{QueueReport, folders, look};
use crate::registry::Project;
use crate::registry::select::Select;
use crate::view::screen::Screen;
use crate::view::status::{ago, moment};
use crate::view::tasks::{summary, table};

/// All projects' task queues in one table: what runs, what waits, what is held. Changes nothing and starts nothing
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fleet tasks
  fleet tasks -t backend --watch
  fleet tasks web --json")]
pub struct Args {
    #[command(flatten)]
    pub select: Select,
    /// Stay, and show every change as it happens
    #[arg(short, long)]
    pub watch: bool,
    /// As JSON; with --watch one line at every change
    #[arg(long)]
    pub json: bool,
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let registry = ctx.registry()?;
    let projects = args.select.resolve_or_every(&registry)?;
    if args.watch {
        return watch(args, &projects);
    }
    let queues = look(&projects);
    if args.json {
        out::json(&queues);
        return Ok(());
    }
    warn_of(&queues);
    if queues.iter().any(|q| !q.tasks.is_empty()) {
        out::table(&table(&queues, ago));
        out::say(summary(&queues));
    } else {
        out::say(summary(&queues).and(Tone::Plain, ": no task waits or runs; fleet task add PROJECT 'what to do'"));
    }
    Ok(())
}

fn warn_of(queues: &[QueueReport]) {
    queues.iter().filter_map(|q| Some((q, q.error.as_ref()?))).for_each(|(q, e)| out::warn(&format!("project {}: {e}", q.name)));
}

/// Changes come in bursts: what follows within this time is shown with the first.
const TOGETHER: Duration = Duration::from_millis(50);

fn watch(args: &Args, projects: &[&Project]) -> Result<()> {
    if !args.json && !out::stdout_is_terminal() {
        return Err(Error::usage("--watch draws on a terminal; standard output is none")
            .hint("--watch --json writes a line at every change, anywhere"));
    }
    let mut files = Watch::new()?;
    let listen = |files: &mut Watch<usize>, i: usize| -> Result<()> {
        let Some(folder) = projects[i].folder() else { return Ok(()) };
        folders(&Places::load(), folder).iter().try_for_each(|f| Ok(files.add(f, i)?))
    };
    (0..projects.len()).try_for_each(|i| listen(&mut files, i))?;
    let signals = signal::descriptor(&[signal::INTERRUPT, signal::TERMINATE, signal::HANG_UP, signal::WINDOW])?;
    out::only_shows();
    let screen = if args.json { None } else { Some(Screen::enter()?) };
    let mut queues = look(projects);
    show(&queues, screen.as_ref());
    let mut deadline = None;
    let mut stale = std::collections::BTreeSet::new();
    loop {
        let stdin = std::io::stdin();
        // The keyboard is read only where it was taken: elsewhere it may be anything.
        let keys = screen.is_some() && stdin.is_terminal();
        let mut descriptors = vec![signals.as_fd(), files.as_fd()];
        descriptors.extend(keys.then(|| stdin.as_fd()));
        let ready = wait::readable(&descriptors, deadline)?;
        if ready[0] {
            while let Some(signal) = signal::next(&signals) {
                if signal != signal::WINDOW {
                    return Ok(());
                }
            }
            show(&queues, screen.as_ref());
        }
        if keys && ready[2] && pty::typed(&stdin).map_or(true, |keys| keys.iter().any(|k| b"q\x03\x04".contains(k))) {
            return Ok(());
        }
        for change in files.take()? {
            match change {
                Change::In(i, _) => drop(stale.insert(i)),
                Change::Anything => stale.extend(0..projects.len()),
            }
        }
        if stale.is_empty() || monotonic() < *deadline.get_or_insert(monotonic() + TOGETHER) {
            continue;
        }
        deadline = None;
        let again: Vec<usize> = std::mem::take(&mut stale).into_iter().collect();
        // Folders may have come since.
        again.iter().try_for_each(|i| listen(&mut files, *i))?;
        let before = queues.clone();
        let some: Vec<&Project> = again.iter().map(|i| projects[*i]).collect();
        again.into_iter().zip(look(&some)).for_each(|(i, queue)| queues[i] = queue);
        if queues != before {
            show(&queues, screen.as_ref());
        }
    }
}

fn show(queues: &[QueueReport], screen: Option<&Screen>) {
    let Some(screen) = screen else { return out::json(&queues) };
    let text = table(queues, moment).render(out::stdout_colour());
    let mut last = summary(queues).and(Tone::Dim, format!("  ·  {}, q ends", moment(clock::now())));
    if let Some((name, error)) = queues.iter().find_map(|q| Some((&q.name, q.error.as_ref()?))) {
        last = last.join(Text::of(Tone::Warn, format!("  ·  {name}: {error}")));
    }
    screen.draw(&text.lines().collect::<Vec<_>>(), &last);
}
