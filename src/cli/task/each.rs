//! One task command for each of several projects, run by their engines at once.

use agents::cli::out::{Text, Tone};
use agents::cli::{Error, Kind, Result, out};
use agents::os::process;

use crate::cli::inside;
use crate::parallel;
use crate::registry::{Project, Registry};

/// A task command of a project's engine: `add`, `'what to do'`.
#[derive(Debug)]
pub struct Job<'r> {
    pub project: &'r Project,
    pub argv: Vec<String>,
}

/// What an engine has said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs all of them; each waits for its own.
pub fn run(registry: &Registry, jobs: &[Job<'_>]) -> Vec<Result<Said>> {
    parallel::each_waiting(jobs, |job| {
        let (launcher, folder) = inside::ready(registry, job.project)?;
        let argv: Vec<String> = [launcher, "task".into()].into_iter().chain(job.argv.iter().cloned()).collect();
        let output = process::run(&process::Run { argv: &argv, folder: Some(folder), ..Default::default() })
            .map_err(|e| Error::failed("its engine could not be run").because(e))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said { code: output.code, stdout: text(output.stdout), stderr: text(output.stderr) })
    })
}

/// Tells what all have said, each task with its project before it, and what has failed at the end.
pub fn report(jobs: &[Job<'_>], results: Vec<Result<Said>>) -> Result<()> {
    for (job, said) in jobs.iter().zip(&results).filter_map(|(j, r)| Some((j, r.as_ref().ok()?))) {
        let name = &job.project.name;
        for line in said.stdout.lines() {
            out::fact(Text::of(Tone::Accent, format!("{name}/")).and(Tone::Plain, line));
        }
        let talk = said.stderr.lines().take_while(|l| !l.starts_with("error: "));
        talk.for_each(|line| out::say(Text::of(Tone::Accent, format!("{name}: ")).and(Tone::Plain, translated(line, name))));
    }
    failures(jobs, results)
}

/// All failures as one error. Where all that is wrong is that it took too long, it says so.
pub fn failures(jobs: &[Job<'_>], results: Vec<Result<Said>>) -> Result<()> {
    let mut late = true;
    let mut errors = vec![];
    for (job, result) in jobs.iter().zip(results) {
        let name = &job.project.name;
        match result {
            Ok(said) if said.code == 0 => {}
            Ok(said) => {
                late &= said.code == i32::from(Kind::Busy.exit_code());
                errors.extend(told(&said, name).into_iter().map(|e| e.of(format!("project {name}"))));
            }
            Err(e) => {
                late = false;
                // Some say already whose they are.
                let whose = format!("project {name}");
                errors.push(if e.message.starts_with(&whose) { e } else { e.of(whose) });
            }
        }
    }
    match Error::all(errors) {
        Some(error) => Err(Error { kind: if late { Kind::Busy } else { Kind::Failed }, ..error }),
        None => Ok(()),
    }
}

/// An engine's errors, in its words.
fn told(said: &Said, project: &str) -> Vec<Error> {
    let mut errors: Vec<Error> = vec![];
    for line in said.stderr.lines() {
        let line = translated(line, project);
        if let Some(message) = line.strip_prefix("error: ") {
            errors.push(Error::failed(message));
        } else if let Some(error) = errors.pop() {
            errors.push(match (line.strip_prefix("hint: "), line.trim().strip_prefix("because ")) {
                (Some(hint), _) => error.hint(hint),
                (None, Some(cause)) => error.because(cause),
                (None, None) => error.because(line.trim()),
            });
        }
    }
    // Of before there were tasks, or told in a way that is not known here.
    if let [only] = errors.as_mut_slice()
        && only.message.starts_with("unrecognized subcommand 'task'")
    {
        *only = Error::failed("its engine knows no tasks").hint(format!("fleet update {project}"));
    }
    if errors.is_empty() {
        errors.push(Error::failed(format!("its engine ended with status {}", said.code)).hint(format!("fleet task list {project}")));
    }
    errors
}

/// What an engine tells to do, as it is done from here.
fn translated(line: &str, project: &str) -> String {
    let is_task = |word: &str| word.strip_prefix('t').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let mut out = String::new();
    for (n, part) in line.split("agents task ").enumerate() {
        if n == 0 {
            out.push_str(part);
            continue;
        }
        // The verb and the tasks after it.
        let words: Vec<String> = part
            .split(' ')
            .enumerate()
            .map(|(n, word)| {
                let bare = word.trim_end_matches(['`', ',', ';', ':']);
                match (n, bare) {
                    // Here that means all projects.
                    (_, "--all") => word.replacen(bare, "--ended", 1),
                    (0, "list" | "add" | "clean" | "graph") => word.replacen(bare, &format!("{bare} {project}"), 1),
                    (_, bare) if is_task(bare) => word.replacen(bare, &format!("{project}/{bare}"), 1),
                    _ => word.to_owned(),
                }
            })
            .collect();
        out.push_str("fleet task ");
        out.push_str(&words.join(" "));
    }
    out.replace("agents up", &format!("fleet start {project}")).replace("agents down", &format!("fleet stop {project}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_tells_to_do_is_told_as_it_is_done_from_here() {
        for (said, expected) in [
            ("hint: agents task show t12", "hint: fleet task show web/t12"),
            ("hint: agents task retry t1   or   agents task cancel t12", "hint: fleet task retry web/t1   or   fleet task cancel web/t12"),
            ("blocked until `agents task retry t3`", "blocked until `fleet task retry web/t3`"),
            ("agents task list --all", "fleet task list web --ended"),
            ("no task is started until `agents up`", "no task is started until `fleet start web`"),
            ("task t1 is failed", "task t1 is failed"),
        ] {
            assert_eq!(translated(said, "web"), expected);
        }
    }

    #[test]
    fn an_engines_errors_keep_their_words() {
        let said = |stderr: &str| Said { code: 1, stdout: String::new(), stderr: stderr.into() };
        let all = |stderr: &str| told(&said(stderr), "web").into_iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(all("warning: odd\nerror: task t1 is failed\nhint: agents task show t1\nerror: no\n  because of that\n"), @r"
        task t1 is failed
        hint: fleet task show web/t1
        no
          because of that
        ");
        insta::assert_snapshot!(all("error: unrecognized subcommand 'task'\nhint: usage\n"), @r"
        its engine knows no tasks
        hint: fleet update web
        ");
        insta::assert_snapshot!(all("Segmentation fault"), @r"
        its engine ended with status 1
        hint: fleet task list web
        ");
    }
}
