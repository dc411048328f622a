//! One agent with everything decided: which program plays it, with which command lines, how it is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::template;
use crate::backend::Backend;
use crate::contract::records::{Find, Launch, Restart, TaskLaunch};
use crate::contract::task::Step;
use crate::os::cgroup::Caps;
use crate::os::pty::Size;

/// The size of a terminal to which nobody is attached: what most programs lay themselves out for.
const SIZE: Size = Size { rows: 40, cols: 120 };

/// Whether and when the dead are brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    None,
    Heal,
    HealAndStall,
}

/// One agent of `agents.toml`.
#[derive(Debug, Clone)]
pub struct Agent {
    pub name: String,
    pub backend: Backend,
    pub watch: Watch,
    /// Relative to the project's folder.
    pub prompt: Option<String>,
    pub model: Option<String>,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// The operator lets its program trust the folder unasked.
    pub trust: bool,
    pub restart: Restart,
    pub grace: Duration,
    /// How long it may be idle unasked, or hang; none: not said.
    pub stall: Option<Duration>,
    pub wake: Option<Duration>,
    pub caps: Caps,
}

/// How long an agent may be idle before that counts as stalled, where nothing is said: long enough for a person to answer, short against a night.
const STALL_AFTER: Duration = Duration::from_secs(600);

/// What is known about a session when its launch is written down.
#[derive(Debug)]
pub struct Start<'a> {
    pub session: &'a str,
    /// The project's folder, in which the agent runs.
    pub folder: &'a Path,
    /// The first prompt, rendered.
    pub prompt: Option<&'a str>,
    /// A file that holds it.
    pub prompt_file: Option<&'a Path>,
    /// The conversation's id.
    pub resume_id: Option<&'a str>,
    /// The session's name among all of this machine.
    pub unique: String,
    /// An agent has run in this session before: its conversation goes on.
    pub started: bool,
    /// What tells the agent, and those who look, where it belongs.
    pub env: BTreeMap<String, String>,
}

/// What is known about a step of a task when its launch is written down.
#[derive(Debug)]
pub struct TaskStart<'a> {
    pub session: &'a str,
    pub folder: &'a Path,
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub task: TaskLaunch,
}

impl Agent {
    /// The backend's command line for a task.
    pub fn task_argv(&self, form: &[String], mut values: BTreeMap<&str, String>) -> Vec<String> {
        values.extend(self.model.clone().map(|model| ("model", model)));
        template::argv(&self.with_trust(form), &values, &self.command)
    }

    /// What the host of a task's session is to start, once.
    pub fn task_launch(&self, start: TaskStart<'_>) -> Launch {
        let launch = Start {
            session: start.session,
            folder: start.folder,
            prompt: None,
            prompt_file: None,
            resume_id: None,
            unique: String::new(),
            started: false,
            env: start.env,
        };
        let launch = self.launch(launch);
        // Nobody resumes it, and its program has no dialog that anybody waits for.
        let once = Launch { start: start.argv.clone(), resume: start.argv, named: false, find: None, paste: None, heal: false, ..launch };
        // It has one thing to do, and nobody speaks to it.
        let once = Launch { stall_ms: None, wake_ms: None, go_on: None, ..once };
        // The command that verifies is none of its program's.
        let version = once.version.clone().filter(|_| start.task.step == Step::Work);
        Launch { task: Some(start.task), version, ..once }
    }

    /// The values a prompt file may use.
    pub fn prompt_values<'a>(&self, project: &str, session: &str, folder: &Path) -> BTreeMap<&'a str, String> {
        BTreeMap::from([
            ("project", project.to_owned()),
            ("agent", self.name.clone()),
            ("session", session.to_owned()),
            ("folder", folder.display().to_string()),
        ])
    }

    /// What the session's host is to start.
    pub fn launch(&self, start: Start<'_>) -> Launch {
        let known = [("session", start.session.to_owned()), ("worktree", start.folder.display().to_string()), ("unique", start.unique)];
        let mut values = BTreeMap::from(known.clone());
        let optional = [
            ("resume_id", start.resume_id.map(str::to_owned)),
            ("model", self.model.clone()),
            ("prompt_file", start.prompt_file.map(|p| p.display().to_string())),
        ];
        values.extend(optional.into_iter().filter_map(|(k, v)| Some((k, v?))));
        let backend = &self.backend;
        let asks_id = |argv: &[String]| argv.iter().any(|a| a.contains("{resume_id}"));
        // A conversation whose id is not known cannot be found again for certain; a wrong one is worse than a new one.
        let template = backend.resume.as_ref().filter(|r| start.resume_id.is_some() || !asks_id(r)).unwrap_or(&backend.start);
        let resume = template::argv(&self.with_trust(template), &values, &self.command);
        let find = self.find(&values);
        if let Some(prompt) = start.prompt.filter(|_| backend.prompt_in_argv) {
            values.insert("prompt", prompt.to_owned());
        }
        let first = template::argv(&self.with_trust(&backend.start), &values, &self.command);
        let known = BTreeMap::from(known);
        let mut env: BTreeMap<String, String> = backend.env.iter().map(|(k, v)| (k.clone(), template::text(v, &known))).collect();
        env.extend(backend.trust.1.clone().into_iter().filter(|_| self.trust));
        env.extend([("TERM".to_owned(), "xterm-256color".to_owned()), ("COLORTERM".to_owned(), "truecolor".to_owned())]);
        env.extend(self.env.clone());
        env.extend(start.env);
        Launch {
            session: start.session.into(),
            agent: self.name.clone(),
            backend: backend.name.clone(),
            start: first,
            resume,
            started: start.started,
            named: backend.mints_id && start.resume_id.is_some() && asks_id(&backend.start),
            find,
            paste: start.prompt.filter(|_| backend.prompt_as_paste).map(str::to_owned),
            ready: backend.ready.clone(),
            waiting: backend.waiting.clone(),
            limited: backend.limited.clone(),
            working: backend.working.clone(),
            unsent: backend.unsent.clone(),
            record: backend.record.clone(),
            stall_ms: (self.watch == Watch::HealAndStall).then(|| self.stall.unwrap_or(STALL_AFTER).as_millis() as u64),
            wake_ms: self.wake.map(|wake| wake.as_millis() as u64),
            go_on: backend.go_on.clone(),
            silence_ms: self.stall.map_or(0, |stall| stall.as_millis() as u64),
            interrupt: backend.interrupt.clone(),
            folder: start.folder.into(),
            env,
            heal: self.watch != Watch::None,
            restart: self.restart,
            grace_ms: self.grace.as_millis() as u64,
            size: SIZE,
            endings: backend.endings.clone(),
            task: None,
            tmux: None,
            version: backend.version.clone(),
            caps: self.caps,
        }
    }

    /// A command line by which its program trusts its folder, if it is to.
    fn with_trust(&self, argv: &[String]) -> Vec<String> {
        let (program, rest) = argv.split_at(1.min(argv.len()));
        let trust = if self.trust { self.backend.trust.0.as_slice() } else { &[] };
        [program, trust, rest].concat()
    }

    /// How its conversation is found, with everything in place but the id.
    fn find(&self, values: &BTreeMap<&str, String>) -> Option<Find> {
        const ID: &str = "{resume_id}";
        let (file, resume) = (self.backend.id_file.clone()?, self.backend.resume.as_ref()?);
        // The id stands for itself until it is known, and only as a whole argument: what else looks like it is somebody's text.
        let values: BTreeMap<&str, String> = values.iter().map(|(k, v)| (*k, v.clone())).chain([("resume_id", ID.to_owned())]).collect();
        let argv = template::argv(&self.with_trust(resume), &values, &self.command);
        let resume: Vec<Option<String>> = argv.into_iter().map(|a| (a != ID).then_some(a)).collect();
        resume.contains(&None).then_some(Find { file, resume })
    }
}
