//! `fleet doctor`: whether this machine and this home have what fleet needs. Looks, and changes nothing.

use std::path::Path;

use agents::cli::out::{self, Text, Tone};
use agents::cli::{Error, Result};
use agents::os::{self, env, fs, git::Git, lock::Lock};

use super::Context;
use crate::harness::{cache, carried, mirror};
use crate::ops::journal::Journal;
use crate::registry::{Registry, records};

/// Check this machine and the fleet home: git, folders, caches, what was interrupted; exit status 1 where something must be mended
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Facts as JSON
    #[arg(long)]
    pub json: bool,
}

/// The oldest git that knows all options used here (`--no-write-fetch-head`, `--initial-branch`).
const GIT_MIN: (u32, u32) = (2, 30);
/// With less room, logs and clones soon fail.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// The kernel's limit on a socket's path, less what usually stands below the runtime folder: `/{hash}/{session}.sock`.
const RUNTIME_BYTES_MAX: usize = 107 - "/0123456789ab/".len() - "orchestrator-1.sock".len();

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Bad,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Line {
    check: String,
    verdict: Verdict,
    finding: String,
    /// What mends it; empty where nothing is to be mended.
    fix: String,
}

fn line(check: &str, verdict: Verdict, finding: impl Into<String>, fix: impl Into<String>) -> Line {
    Line { check: check.into(), verdict, finding: finding.into(), fix: fix.into() }
}

fn ok(check: &str, finding: impl Into<String>) -> Line {
    line(check, Verdict::Ok, finding, "")
}

/// A failure as a line: its message, and its first hint as what mends it.
fn bad(check: &str, error: &Error) -> Line {
    let message = match &error.place {
        Some(place) => format!("{place}: {}", error.message),
        None => error.message.clone(),
    };
    line(check, Verdict::Bad, message, error.hints.first().cloned().unwrap_or_default())
}

pub fn run(args: &Args, ctx: &Context) -> Result<()> {
    let mut lines = vec![git(), identity(), runtime(), room("data", &env::agents_home()), room("cache", &env::cache_home()), engine()];
    match ctx.registry() {
        Ok(registry) => home(&registry, &mut lines),
        // No registry is where everybody starts.
        Err(error) if error.place.is_none() => lines.push(line("registry", Verdict::Warn, error.message, "fleet init DIR")),
        Err(error) => lines.push(line("registry", Verdict::Bad, bad("", &error).finding, "fleet validate   tells all of it")),
    }
    if args.json {
        out::json(&lines);
    } else {
        show(&lines);
    }
    match lines.iter().filter(|l| l.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        1 => Err(Error::failed("1 thing must be mended")),
        n => Err(Error::failed(format!("{n} things must be mended"))),
    }
}

fn show(lines: &[Line]) {
    let mut table = out::Table::default();
    for line in lines {
        let mark = match line.verdict {
            Verdict::Ok => Text::of(Tone::Good, "ok"),
            Verdict::Warn => Text::of(Tone::Warn, "warn"),
            Verdict::Bad => Text::of(Tone::Bad, "bad"),
        };
        let fix = if line.fix.is_empty() { String::new() } else { format!("; {}", line.fix) };
        let finding = Text::of(Tone::Plain, line.finding.as_str()).and(Tone::Accent, fix);
        table.row(vec![mark, Text::of(Tone::Strong, line.check.as_str()), finding]);
    }
    out::table(&table);
}

fn git() -> Line {
    let said = match Git::at(Path::new("/")).run(&["--version"]) {
        Ok(said) => said,
        Err(error) => return bad("git", &error),
    };
    let version = said.trim_start_matches("git version ");
    match numbers(version) {
        Some(found) if found < GIT_MIN => {
            line("git", Verdict::Bad, format!("version {version} is too old"), format!("install {}.{} or newer", GIT_MIN.0, GIT_MIN.1))
        }
        Some(_) => ok("git", version),
        None => line("git", Verdict::Warn, format!("its version {said:?} is not understood"), ""),
    }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|p| p.parse().ok());
    Some((parts.next()??, parts.next()??))
}

fn identity() -> Line {
    // Guessed from the machine's name it would be written into every commit.
    match Git::at(Path::new("/")).config("user.useConfigOnly=true").run(&["var", "GIT_COMMITTER_IDENT"]) {
        Ok(who) => ok("identity", who.split_inclusive('>').next().unwrap_or_default()),
        Err(_) => line(
            "identity",
            Verdict::Bad,
            "git does not know who you are, so nothing can be committed",
            "git config --global user.name \"Your Name\" && git config --global user.email you@example.org",
        ),
    }
}

/// Sockets and locks lie there: nobody else may have a hand in it.
fn runtime() -> Line {
    let folder = env::agents_runtime();
    let shown = folder.display();
    if folder.as_os_str().len() > RUNTIME_BYTES_MAX {
        return line("runtime", Verdict::Bad, format!("{shown} is too long for sockets' paths"), "set XDG_RUNTIME_DIR to a shorter folder");
    }
    if !fs::exists(&folder) {
        return ok("runtime", format!("{shown} is made at the first start"));
    }
    match fs::private_dir(&folder) {
        Ok(()) => ok("runtime", shown.to_string()),
        Err(error) => line("runtime", Verdict::Bad, error.to_string(), format!("chmod 700 {shown}, or remove it")),
    }
}

/// A folder that is written to, and how much room its disk has.
fn room(check: &str, folder: &Path) -> Line {
    let Some(there) = folder.ancestors().find(|f| fs::is_dir(f)) else {
        return line(check, Verdict::Bad, "no folder to be in", "set HOME");
    };
    let shown = env::shorten(folder);
    if fs::is_dir(folder) && !fs::is_own(folder).unwrap_or(false) {
        return line(check, Verdict::Bad, format!("{shown} belongs to somebody else"), format!("chown it: {shown}"));
    }
    match fs::free_bytes(there) {
        Err(error) => line(check, Verdict::Bad, error.to_string(), ""),
        Ok(free) if free < FREE_BYTES_MIN => {
            line(check, Verdict::Warn, format!("{shown}: only {} MB are free", free >> 20), "make room on that disk")
        }
        Ok(free) => ok(check, format!("{shown}, {} GB free", free >> 30)),
    }
}

fn engine() -> Line {
    let tag = carried::tag();
    if let Some(program) = env::get(env::AGENTS_BIN) {
        let finding = format!("AGENTS_BIN is set: every project runs {}, whatever it pins", program.display());
        return line("engine", Verdict::Warn, finding, "unset AGENTS_BIN");
    }
    match os::fs::is_executable(&cache::folder().join(carried::ids().tree.to_string()).join("agents")) {
        true => ok("engine", format!("{tag}, ready in the build cache")),
        false => ok("engine", format!("{tag}, put into the build cache at the first start")),
    }
}

fn home(registry: &Registry, lines: &mut Vec<Line>) {
    let count = registry.projects.len();
    lines.push(ok("registry", format!("{}, {count} project{}", env::shorten(&registry.path), if count == 1 { "" } else { "s" })));
    let lock = registry.home.join(".fleet.lock");
    if Lock::is_taken(&lock).unwrap_or(true) {
        let finding = format!("the home is being changed by {}", Lock::holder(&lock));
        lines.push(line("lock", Verdict::Warn, finding, "wait until it is done"));
    }
    lines.push(journal(registry));
    let left = registry.home.join(".fleet");
    if fs::exists(&left) {
        let finding = format!("{} is not read: what fleet knows of a home lies outside of it", env::shorten(&left));
        lines.push(line("records", Verdict::Warn, finding, format!("rm -r {}", env::shorten(&left))));
    }
    for harness in registry.harnesses.values() {
        let path = mirror::path(&harness.name, harness.url.as_deref());
        if fs::is_dir(&path) {
            lines.push(match gix::open_opts(&path, gix::open::Options::isolated()) {
                Ok(_) => ok("mirror", format!("harness {}, {}", harness.name, env::shorten(&path))),
                Err(error) => {
                    let finding = format!("harness {}: {}: {error}", harness.name, path.display());
                    line("mirror", Verdict::Bad, finding, format!("rm -r {}   it is fetched anew", path.display()))
                }
            });
        }
    }
    for project in &registry.projects {
        let Some(folder) = project.folder() else { continue };
        for left in [".git/index.lock", ".git/modules/engine/index.lock"].map(|name| folder.join(name)).iter().filter(|p| fs::exists(p)) {
            let finding = format!("project {}: {} is there; git works in it, or was killed in it", project.name, left.display());
            lines.push(line("git lock", Verdict::Warn, finding, format!("if no git runs there: rm {}", left.display())));
        }
    }
}

fn journal(registry: &Registry) -> Line {
    match records::find(&registry.home).and_then(|r| Journal::of(&r.folder).unfinished()) {
        Ok(None) => ok("journal", "nothing is unfinished"),
        Ok(Some((record, _))) => line(
            "journal",
            Verdict::Warn,
            format!("`{}` was interrupted, or is at work", record.title()),
            "the next command that changes something finishes or undoes it",
        ),
        Err(error) => bad("journal", &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_git() {
        for (text, expected) in [("2.39.5", Some((2, 39))), ("2.30.0.windows.1", Some((2, 30))), ("2.50-rc1", None), ("", None)] {
            assert_eq!(numbers(text), expected, "{text}");
        }
        assert!((2, 9) < GIT_MIN && GIT_MIN < (2, 100));
    }
}
