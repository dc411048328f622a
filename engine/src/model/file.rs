//! The shape of `agents.toml`: keys and their types. What they mean is in [`super::config`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

/// What a project's agents are and how they are kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(title = "agents.toml")]
pub struct File {
    /// The project itself.
    #[serde(default)]
    pub project: ProjectTable,
    /// For every agent that does not say otherwise.
    #[serde(default)]
    pub defaults: AgentTable,
    /// The agents, by name.
    #[serde(default)]
    pub agent: BTreeMap<String, AgentTable>,
    /// Programs that play agents, by name; one named like a built-in replaces it.
    #[serde(default)]
    pub backend: BTreeMap<String, BackendTable>,
    /// Sessions with a git worktree of their own.
    #[serde(default)]
    pub worktree: WorktreeTable,
    /// The task queue.
    #[serde(default)]
    pub tasks: TasksTable,
    /// Who is told when an agent waits, fails, is at its limit or has ended.
    #[serde(default)]
    pub notify: NotifyTable,
}

/// Who is told when an agent waits for a person, is given up on, is at its usage limit, is stuck or has ended; each time once.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
pub struct NotifyTable {
    /// A command, argv; it is given what happened as JSON on standard input, in the project's folder, for ten seconds at most.
    pub command: Option<Vec<String>>,
    /// A URL that the same is posted to, by curl: https, or http on this machine; `$NAME` is looked up when agents are started.
    pub webhook: Option<String>,
    /// Which: `waiting`, `failing`, `limited`, `stuck`, `done`, `storm`. Default: all.
    pub on: Option<Vec<String>>,
}

/// The project itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct ProjectTable {
    /// Default: the folder's name.
    pub name: Option<String>,
    /// What session ids begin with. Default: derived from the name.
    pub session_prefix: Option<String>,
    /// What worktrees start from. Default: HEAD's branch.
    pub default_branch: Option<String>,
    /// Where the terminals are shown: `pty`, to whoever attaches; `tmux`, in a tmux of the project's own. Default: `pty`.
    #[schemars(regex(pattern = "^(pty|tmux)$"))]
    pub runtime: Option<String>,
}

/// One agent.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
pub struct AgentTable {
    /// The program that plays it: a built-in or one of `[backend.NAME]`. Default: `claude`.
    pub backend: Option<String>,
    /// `none`: the dead stay dead; `heal`: they are brought back; `heal+stall`: also those that stopped working. Default: `heal`.
    #[schemars(regex(pattern = "^(none|heal|heal\\+stall)$"))]
    pub watch: Option<String>,
    /// A file with its first prompt, a template; relative to this file's folder.
    pub prompt: Option<String>,
    /// The model, in the program's own words.
    pub model: Option<String>,
    /// The command line, for backends that take one (`shell`).
    pub command: Option<Vec<String>>,
    /// Further environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Its program need not ask whether to trust the folder it works in. Default: false, and the program asks.
    pub trust: Option<bool>,
    /// When a dead one is started again.
    pub restart: Option<RestartTable>,
    /// With `heal+stall`: how long it may be idle unasked, or hang, before something is done about it; and for all, after how long a silence one that works counts as hung. Default: `10m`.
    pub stall: Option<String>,
    /// How much memory all processes of its session may use, as `"512M"` or `"4G"`, where control groups may be used.
    pub memory: Option<String>,
    /// How much processor time they may use, as `"150%"` of one processor, where control groups may be used.
    pub cpu: Option<String>,
    /// How many processes and threads there may be, where control groups may be used.
    pub processes: Option<u32>,
    /// Wakes an idle agent after this long. Nothing else does.
    pub wake: Option<String>,
    /// How long it may take to end before it is killed. Default: `5s`.
    pub grace: Option<String>,
}

/// When a dead agent is started again.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
pub struct RestartTable {
    /// The first restart is at once, the second after the lower, then doubling up to the upper. Default: `200ms..5m`.
    pub backoff: Option<String>,
    /// More deaths than this within the window: `failing`, held until somebody acts. Default: 5.
    pub burst: Option<u32>,
    /// Default: `10m`.
    pub window: Option<String>,
}

/// A program that plays agents. In an argv `{prompt}`, `{prompt_file}`, `{session}`, `{worktree}`, `{task}`, `{resume_id}` and `{model}` are replaced; an
/// argument that is only a placeholder without a value is left out, together with a flag right before it, and so is `--flag={placeholder}`. `{command}` alone stands for all of the agent's `command`.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
pub struct BackendTable {
    /// Starts a conversation. A table named like a built-in one that leaves it out changes only what it names.
    #[serde(default)]
    pub start: Vec<String>,
    /// Goes on with it. Default: as `start`.
    pub resume: Option<Vec<String>>,
    /// Does one piece of work and ends.
    pub task: Option<Vec<String>>,
    /// What `{prompt}` and `{prompt_file}` hold in `task`: `protocol`, the task and how to report; `bare`, the task's own words. Default: `protocol`.
    #[schemars(regex(pattern = "^(protocol|bare)$"))]
    pub task_prompt: Option<String>,
    /// How the first prompt reaches it: `argv`, `paste` or `file`. Default: `argv`.
    #[schemars(regex(pattern = "^(argv|paste|file)$"))]
    pub deliver: Option<String>,
    /// Whose the conversation's id is: `mint`, made here and given to `start`; `none`, it has none that can be named. Default: `none`.
    #[schemars(regex(pattern = "^(mint|none)$"))]
    pub id: Option<String>,
    /// Arguments that make it trust its folder unasked, right after the program's name, for agents with `trust = true`.
    #[serde(default)]
    pub trust: Vec<String>,
    /// The same by environment variables.
    #[serde(default)]
    pub trust_env: BTreeMap<String, String>,
    /// A pattern for the path of the file that the program holds open for its conversation; the group `id` is the conversation's id.
    pub id_file: Option<String>,
    /// A pattern on the screen that says it takes input.
    pub ready: Option<String>,
    /// A pattern on the screen that says it waits for a person; the group `what`, else the whole line, is for what.
    pub waiting: Option<String>,
    /// A pattern on the screen that says it has hit its usage limit; the group `at` is until when.
    pub limited: Option<String>,
    /// A pattern on the screen that says it works; it counts for more than `ready`, as many programs show their input line all the time.
    pub working: Option<String>,
    /// A pattern on the screen that says a text stands in its input box, not sent; the group `text` is the first line of it. A message counts as taken once it does no more.
    pub unsent: Option<String>,
    /// What it is told when its usage limit has ended while it lives; without it nothing.
    pub go_on: Option<String>,
    /// Where the program itself writes down what it does.
    pub record: Option<RecordTable>,
    /// A pattern among its last lines that says it ended because it wants a login.
    pub auth: Option<String>,
    /// A pattern among its last lines that says it ended because it cannot work as it was called: then it is not started again.
    pub fatal: Option<String>,
    /// What is typed to interrupt it, for `agents send --urgent`. Default: Escape, `"\u001b"`.
    pub interrupt: Option<String>,
    /// The program's version that is wanted, or its beginning: `"2.1"` takes 2.1 and 2.1.197, not 2.10. Another one is not started.
    pub version: Option<String>,
    /// Prints the program's version. Default where `version` is written: the program of `start` with `--version`.
    pub version_command: Option<Vec<String>>,
    /// Environment variables for all agents it plays; `{session}`, `{worktree}` and `{unique}` are replaced in them.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// A program's own record of what it does: a JSON file for each of its processes.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
pub struct RecordTable {
    /// Where it lies, `{pid}` being the process; of several the first whose variable is set. `~/` or `$NAME/` may stand at the beginning.
    pub file: Vec<String>,
    /// The key whose value says what it does.
    pub key: String,
    /// The key that says what it waits for.
    pub what: Option<String>,
    /// The key with its process's start time, as `/proc/PID/stat` has it.
    pub start: Option<String>,
    /// The words that mean it works.
    #[serde(default)]
    pub working: Vec<String>,
    /// The words that mean it waits for a person.
    #[serde(default)]
    pub waiting: Vec<String>,
    /// The words that mean it takes input.
    #[serde(default)]
    pub idle: Vec<String>,
}

impl BackendTable {
    /// Another table with what this one names in its place.
    pub fn over(&self, base: BackendTable) -> BackendTable {
        let own = self.clone();
        let list = |own: Vec<String>, base| if own.is_empty() { base } else { own };
        let map = |own: BTreeMap<String, String>, mut base: BTreeMap<String, String>| {
            base.extend(own);
            base
        };
        BackendTable {
            start: list(own.start, base.start),
            resume: own.resume.or(base.resume),
            // What the prompt holds goes with the command line that takes it.
            task_prompt: own.task_prompt.or(base.task_prompt.filter(|_| own.task.is_none())),
            task: own.task.or(base.task),
            deliver: own.deliver.or(base.deliver),
            id: own.id.or(base.id),
            trust: list(own.trust, base.trust),
            trust_env: map(own.trust_env, base.trust_env),
            id_file: own.id_file.or(base.id_file),
            ready: own.ready.or(base.ready),
            waiting: own.waiting.or(base.waiting),
            limited: own.limited.or(base.limited),
            working: own.working.or(base.working),
            unsent: own.unsent.or(base.unsent),
            go_on: own.go_on.or(base.go_on),
            record: own.record.or(base.record),
            auth: own.auth.or(base.auth),
            fatal: own.fatal.or(base.fatal),
            interrupt: own.interrupt.or(base.interrupt),
            version: own.version.or(base.version),
            version_command: own.version_command.or(base.version_command),
            env: map(own.env, base.env),
        }
    }
}

/// Sessions with a git worktree of their own.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
pub struct WorktreeTable {
    /// Linked into each worktree from the project.
    #[serde(default)]
    pub symlinks: Vec<String>,
    /// Commands run in a new worktree, argv each.
    #[serde(default)]
    pub post_create: Vec<Vec<String>>,
}

/// The task queue.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
pub struct TasksTable {
    /// How many run at once. Default: 2.
    pub parallel: Option<u32>,
    /// How many of a lane's run at once, by its name. Default: no lanes.
    #[serde(default)]
    pub lanes: BTreeMap<String, u32>,
    /// How long one attempt may take. Default: `1h`.
    pub timeout: Option<String>,
    /// How often a failed one is tried again. Default: 0.
    pub retries: Option<u32>,
    /// A file with the template around every task's prompt; relative to this file's folder. Default: one that tells the protocol.
    pub prompt: Option<String>,
    /// What ended longer ago goes to the archive. Default: `30d`.
    pub keep: Option<String>,
    /// Of what has ended so many are kept at most, the newest. Default: 10000.
    pub keep_count: Option<u32>,
}
