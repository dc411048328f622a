//! `agents.toml` understood: every value checked, defaults and backends put in, all findings at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::agent::{Agent, Watch};
use super::file::{AgentTable, BackendTable, File, RestartTable, WorktreeTable};
use super::tasks::Tasks;
use super::{amount, duration, name, template};
use crate::backend::{self, Backend};
use crate::contract::notify::Notify;
use crate::contract::records::Restart;
use crate::document;
use crate::error::{Error, Result};
use crate::os::cgroup::Caps;

/// What a project declares.
#[derive(Debug, Clone)]
pub struct Config {
    pub name: String,
    pub prefix: String,
    /// In the file's order.
    pub agents: Vec<Agent>,
    /// What worktrees start from; none: HEAD.
    pub default_branch: Option<String>,
    /// How a new worktree is furnished.
    pub worktree: WorktreeTable,
    /// How the task queue runs.
    pub tasks: Tasks,
    /// Whom the watchdog tells.
    pub notify: Option<Notify>,
    /// Where people look at the terminals.
    pub runtime: Runtime,
}

/// Where a session's terminal is shown. The host owns it either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// To whoever attaches.
    Pty,
    /// In a session of tmux, too.
    Tmux,
}

impl Runtime {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Runtime::Pty => "pty",
            Runtime::Tmux => "tmux",
        }
    }
}

/// The JSON Schema of `agents.toml`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(File).to_value()
}

impl Config {
    /// `folder` names the project where the file does not.
    pub fn parse(file: &Path, text: &str, folder: &str) -> Result<Config> {
        let table: File = document::read(file, text)?;
        let mut reader = Reader { file, text, findings: vec![] };
        let config = reader.config(&table, folder);
        match Error::all(reader.findings) {
            Some(error) => Err(error),
            None => Ok(config),
        }
    }
}

/// An agent that is spoken to more often than this hears of nothing else, and no shorter idleness says anything.
const REMINDED_MIN: Duration = Duration::from_secs(1);

/// With less the kernel ends any program at once.
const MEMORY_BYTES_MIN: u64 = 1 << 20;

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    findings: Vec<Error>,
}

impl Reader<'_> {
    fn find(&mut self, keys: &[&str], message: impl Into<String>, hint: impl Into<String>) {
        let place = document::locate(self.file, self.text, keys);
        self.findings.push(Error::invalid_at(place, message).hint(hint));
    }

    fn config(&mut self, table: &File, folder: &str) -> Config {
        let name = table.project.name.clone().unwrap_or_else(|| folder.to_owned());
        if name.trim().is_empty() || name.chars().any(char::is_control) {
            self.find(&["project", "name"], "the project's name is empty or has control characters", "write a plain name");
        }
        let prefix = table.project.session_prefix.clone().unwrap_or_else(|| name::prefix(&name));
        if !name::is_name(&prefix) || prefix.len() > 32 {
            self.find(
                &["project", "session_prefix"],
                format!("`{prefix}` cannot begin a session's id"),
                "use 1 to 32 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit",
            );
        }
        let runtime = match table.project.runtime.as_deref() {
            None | Some("pty") => Runtime::Pty,
            Some("tmux") => Runtime::Tmux,
            Some(other) => {
                self.find(&["project", "runtime"], format!("unknown runtime `{other}`"), "write \"pty\" or \"tmux\"");
                Runtime::Pty
            }
        };
        let backends = self.backends(&table.backend);
        let tasks = self.tasks(table);
        let notify = self.notify(table);
        self.worktree(table);
        self.keys_of(&table.defaults, &["defaults"]);
        let agents = document::names_in_order(self.text, "agent")
            .into_iter()
            .filter_map(|agent| {
                let own = table.agent.get(&agent)?;
                self.keys_of(own, &["agent", &agent]);
                self.agent(&agent, own, &table.defaults, &backends)
            })
            .collect();
        Config {
            name,
            prefix,
            agents,
            default_branch: table.project.default_branch.clone(),
            worktree: table.worktree.clone(),
            tasks,
            notify,
            runtime,
        }
    }

    fn backends(&mut self, own: &BTreeMap<String, BackendTable>) -> BTreeMap<String, Backend> {
        let mut all = BTreeMap::new();
        for (name, written) in own {
            let built_in = backend::table(name).filter(|_| written.start.is_empty());
            let table = &built_in.map_or_else(|| written.clone(), |base| written.over(base));
            let at = |key: &'static str| ["backend".to_owned(), name.clone(), key.to_owned()];
            let mut wrong = vec![];
            if !name::is_name(name) {
                wrong.push((
                    at(""),
                    format!("`{name}` is no name for a backend"),
                    "use a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit".to_owned(),
                ));
            }
            for (key, argv) in [
                ("start", Some(&table.start)),
                ("resume", table.resume.as_ref()),
                ("task", table.task.as_ref()),
                ("version_command", table.version_command.as_ref()),
            ] {
                let Some(argv) = argv else { continue };
                if argv.first().is_none_or(String::is_empty) {
                    wrong.push((at(key), format!("`{key}` names no program"), format!("write {key} = [\"program\", \"argument\"]")));
                }
                if let Some(word) = template::unknown_placeholder(argv) {
                    wrong.push((
                        at(key),
                        format!("unknown placeholder `{{{word}}}`"),
                        document::suggest(&word, template::PLACEHOLDERS.iter().copied()),
                    ));
                }
            }
            for (key, pattern) in [
                ("ready", &table.ready),
                ("waiting", &table.waiting),
                ("limited", &table.limited),
                ("working", &table.working),
                ("unsent", &table.unsent),
                ("auth", &table.auth),
                ("fatal", &table.fatal),
                ("id_file", &table.id_file),
            ] {
                if let Some(Err(e)) = pattern.as_ref().map(|p| regex_lite::Regex::new(p)) {
                    wrong.push((
                        at(key),
                        format!("`{key}` is no regular expression: {e}"),
                        "write the pattern in single quotes, so that backslashes stay".to_owned(),
                    ));
                }
            }
            if let Some(record) = &table.record {
                if record.file.is_empty() || !record.file.iter().all(|f| f.starts_with(['/', '~', '$']) && f.ends_with("{pid}.json")) {
                    let hint = "write file = [\"~/.mycli/sessions/{pid}.json\"]".to_owned();
                    wrong.push((at("record"), "`record.file` names no files that end with `{pid}.json`".to_owned(), hint));
                }
                if [&record.working, &record.waiting, &record.idle].iter().all(|words| words.is_empty()) {
                    let hint = "write working = [\"busy\"], idle = [\"idle\"]".to_owned();
                    wrong.push((at("record"), "`record` gives no word a meaning".to_owned(), hint));
                }
            }
            if let Some(word) = template::unknown_placeholder(&table.trust) {
                let hint = document::suggest(&word, template::PLACEHOLDERS.iter().copied());
                wrong.push((at("trust"), format!("unknown placeholder `{{{word}}}`"), hint));
            }
            if let Some(pattern) = &table.id_file {
                if !pattern.contains("(?<id>") && !pattern.contains("(?P<id>") {
                    let hint = "write it as '/sessions/(?<id>[^/]+)\\.json$'".to_owned();
                    wrong.push((at("id_file"), "`id_file` has no group named `id`".to_owned(), hint));
                }
                if table.id.as_deref() == Some("mint") {
                    let hint = "leave out `id_file`, or write id = \"none\"".to_owned();
                    wrong.push((at("id_file"), "the conversation's id is made here, so no file tells it".to_owned(), hint));
                }
            }
            if table.version.as_deref().is_some_and(|v| v.trim().is_empty() || v.chars().any(char::is_control)) {
                wrong.push((
                    at("version"),
                    "`version` is empty or has control characters".to_owned(),
                    "write it as the program prints it, or leave it out".to_owned(),
                ));
            }
            if table.version.is_some() && table.version_command.is_none() && table.start.first().is_some_and(|p| p.contains('{')) {
                wrong.push((
                    at("version"),
                    "nothing tells the version of a command that each agent names".to_owned(),
                    "write version_command = [\"program\", \"--version\"], or leave `version` out".to_owned(),
                ));
            }
            for (key, value, known) in [
                ("deliver", &table.deliver, &["argv", "paste", "file"][..]),
                ("id", &table.id, &["mint", "none"][..]),
                ("task_prompt", &table.task_prompt, &["protocol", "bare"][..]),
            ] {
                if let Some(value) = value.as_ref().filter(|v| !known.contains(&v.as_str())) {
                    wrong.push((at(key), format!("unknown {key} `{value}`"), document::suggest(value, known.iter().copied())));
                }
            }
            self.env(&table.env, &["backend", name, "env"]);
            self.env(&table.trust_env, &["backend", name, "trust_env"]);
            for (keys, message, hint) in wrong {
                self.find(&[&keys[0], &keys[1], &keys[2]], message, hint);
            }
            all.insert(name.clone(), Backend::from_table(name, table));
        }
        all
    }

    fn worktree(&mut self, table: &File) {
        let outside = |p: &&String| p.is_empty() || p.contains('\0') || p.starts_with('/') || p.split('/').any(|part| part == "..");
        if let Some(link) = table.worktree.symlinks.iter().find(outside) {
            let message = format!("{link:?} does not lie in the project");
            self.find(&["worktree", "symlinks"], message, "write a path below this file's folder");
        }
        if table.worktree.post_create.iter().any(|argv| argv.first().is_none_or(String::is_empty)) {
            let hint = "write post_create = [[\"program\", \"argument\"]]";
            self.find(&["worktree", "post_create"], "`post_create` has a command without a program", hint);
        }
        if let Some(branch) = table.project.default_branch.as_ref().filter(|b| !name::is_branch(b)) {
            self.find(&["project", "default_branch"], format!("{branch:?} is no branch that git would take"), "write a branch's name");
        }
    }

    fn notify(&mut self, table: &File) -> Option<Notify> {
        let mut findings = vec![];
        let notify = super::notify::of(&table.notify, &mut findings);
        for (keys, message, hint) in findings {
            self.find(&keys.iter().map(String::as_str).collect::<Vec<_>>(), message, hint);
        }
        notify
    }

    fn tasks(&mut self, table: &File) -> Tasks {
        let mut findings = vec![];
        let tasks = Tasks::of(&table.tasks, &mut findings);
        for (keys, message, hint) in findings {
            self.find(&keys.iter().map(String::as_str).collect::<Vec<_>>(), message, hint);
        }
        tasks
    }

    fn env(&mut self, env: &BTreeMap<String, String>, at: &[&str]) {
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        for (name, value) in env {
            let at = [at, &[name]].concat();
            if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
                let hint = "use letters, digits and `_`, beginning with no digit";
                self.find(&at, format!("`{name}` cannot be an environment variable's name"), hint);
            } else if name.starts_with("AGENTS_") {
                self.find(&at, format!("`{name}` is set by the engine itself"), "names that begin with AGENTS_ are taken: choose another");
            } else if value.contains('\0') {
                self.find(&at, format!("the value of `{name}` has a NUL in it"), "no environment can hold one");
            }
        }
    }

    /// What is wrong with a table's own values, whoever uses them.
    fn keys_of(&mut self, table: &AgentTable, at: &[&str]) {
        let key = |name: &'static str| at.iter().copied().chain([name]).collect::<Vec<&str>>();
        if let Some(watch) = table.watch.as_deref().filter(|w| !matches!(*w, "none" | "heal" | "heal+stall")) {
            self.find(&key("watch"), format!("unknown watch `{watch}`"), document::suggest(watch, ["none", "heal", "heal+stall"]));
        }
        for (name, value) in [("wake", &table.wake), ("grace", &table.grace), ("stall", &table.stall)] {
            if let Some(value) = value.as_deref().filter(|v| duration::parse(v).is_none()) {
                self.find(&key(name), format!("`{value}` is no duration"), "write it as \"500ms\", \"90s\", \"10m\" or \"1h\"");
            }
        }
        for (name, value) in [("wake", &table.wake), ("stall", &table.stall)] {
            if value.as_deref().and_then(duration::parse).is_some_and(|v| v < REMINDED_MIN) {
                let message = format!("`{name}` is shorter than {} s", REMINDED_MIN.as_secs());
                self.find(&key(name), message, format!("write {name} = \"10m\", or leave it out"));
            }
        }
        if let Some(memory) = table.memory.as_deref().filter(|m| amount::bytes(m).is_none_or(|b| b < MEMORY_BYTES_MIN)) {
            let message = format!("`{memory}` is no amount of memory that a program can live on");
            self.find(&key("memory"), message, "write it as \"512M\" or \"4G\", 1M at least");
        }
        if let Some(cpu) = table.cpu.as_deref().filter(|c| amount::percent(c).is_none()) {
            self.find(
                &key("cpu"),
                format!("`{cpu}` is no share of processors"),
                "write it as \"50%\" of one processor, or \"400%\" for four",
            );
        }
        if table.processes == Some(0) {
            self.find(&key("processes"), "0 processes would not even be the agent", "write 1 or more, or leave it out");
        }
        if let Some(RestartTable { backoff, window, .. }) = &table.restart {
            if let Some(backoff) = backoff.as_deref().filter(|b| duration::parse_range(b).is_none()) {
                self.find(
                    &[&key("restart")[..], &["backoff"]].concat(),
                    format!("`{backoff}` is no range of durations"),
                    "write it as \"200ms..5m\"",
                );
            }
            if let Some(window) = window.as_deref().filter(|w| duration::parse(w).is_none()) {
                self.find(
                    &[&key("restart")[..], &["window"]].concat(),
                    format!("`{window}` is no duration"),
                    "write it as \"90s\", \"10m\" or \"1h\"",
                );
            }
        }
        self.env(&table.env, &key("env"));
        if let Some(command) = table.command.as_ref().filter(|c| c.iter().any(|a| a.contains('\0'))) {
            self.find(&key("command"), format!("{:?} has a NUL in it", command[0]), "no program can be given one");
        }
        if let Some(prompt) = table.prompt.as_deref()
            && (prompt.starts_with('/') || prompt.split('/').any(|part| part == ".."))
        {
            self.find(
                &key("prompt"),
                format!("the prompt file {prompt} lies outside the project"),
                "write a path below this file's folder",
            );
        }
    }

    fn agent(&mut self, agent: &str, own: &AgentTable, defaults: &AgentTable, backends: &BTreeMap<String, Backend>) -> Option<Agent> {
        if !name::is_name(agent) {
            self.find(
                &["agent", agent],
                format!("`{agent}` is no name for an agent"),
                "use up to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit",
            );
        }
        let wanted = own.backend.as_ref().or(defaults.backend.as_ref()).map_or("claude", String::as_str);
        let Some(backend) = backends.get(wanted).cloned().or_else(|| backend::built_in(wanted)) else {
            let known: Vec<&str> = backend::NAMES.iter().copied().chain(backends.keys().map(String::as_str)).collect();
            let place = if own.backend.is_some() { vec!["agent", agent, "backend"] } else { vec!["defaults", "backend"] };
            self.find(&place, format!("agent {agent}: unknown backend `{wanted}`"), document::suggest(wanted, known));
            return None;
        };
        let command = own.command.clone().or_else(|| defaults.command.clone());
        let takes_command = backend.start.iter().any(|a| a == "{command}");
        if own.command.is_some() && !takes_command {
            self.find(
                &["agent", agent, "command"],
                format!("agent {agent}: backend `{wanted}` takes no `command`"),
                "use backend = \"shell\", or leave `command` out",
            );
        }
        if command.as_ref().is_some_and(|c| c.first().is_none_or(String::is_empty)) {
            self.find(
                &["agent", agent, "command"],
                format!("agent {agent}: `command` names no program"),
                "write command = [\"program\", \"argument\"]",
            );
        }
        let mut env = defaults.env.clone();
        env.extend(own.env.clone());
        Some(Agent {
            name: agent.to_owned(),
            watch: match own.watch.as_ref().or(defaults.watch.as_ref()).map(String::as_str) {
                Some("none") => Watch::None,
                Some("heal+stall") => Watch::HealAndStall,
                _ => Watch::Heal,
            },
            prompt: own.prompt.clone().or_else(|| defaults.prompt.clone()),
            model: own.model.clone().or_else(|| defaults.model.clone()),
            command: command.unwrap_or_else(|| vec!["sh".into()]),
            env,
            trust: own.trust.or(defaults.trust).unwrap_or(false),
            restart: restart(own.restart.as_ref(), defaults.restart.as_ref()),
            grace: own.grace.as_ref().or(defaults.grace.as_ref()).and_then(|g| duration::parse(g)).unwrap_or(Duration::from_secs(5)),
            stall: own.stall.as_ref().or(defaults.stall.as_ref()).and_then(|s| duration::parse(s)),
            wake: own.wake.as_ref().or(defaults.wake.as_ref()).and_then(|w| duration::parse(w)),
            caps: caps(own, defaults),
            backend,
        })
    }
}

fn caps(own: &AgentTable, defaults: &AgentTable) -> Caps {
    Caps {
        memory_bytes: own.memory.as_ref().or(defaults.memory.as_ref()).and_then(|m| amount::bytes(m)),
        cpu_percent: own.cpu.as_ref().or(defaults.cpu.as_ref()).and_then(|c| amount::percent(c)),
        processes: own.processes.or(defaults.processes),
    }
}

fn restart(own: Option<&RestartTable>, defaults: Option<&RestartTable>) -> Restart {
    let (own, defaults) = (own.cloned().unwrap_or_default(), defaults.cloned().unwrap_or_default());
    let backoff = own.backoff.or(defaults.backoff).and_then(|b| duration::parse_range(&b));
    let (low, high) = backoff.unwrap_or((Duration::from_millis(200), Duration::from_secs(300)));
    let window = own.window.or(defaults.window).and_then(|w| duration::parse(&w)).unwrap_or(Duration::from_secs(600));
    Restart {
        backoff_min_ms: low.as_millis() as u64,
        backoff_max_ms: high.as_millis() as u64,
        burst: own.burst.or(defaults.burst).unwrap_or(5),
        window_ms: window.as_millis() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config> {
        Config::parse(Path::new("agents.toml"), text, "web")
    }

    #[test]
    fn defaults_and_own_values_come_together() {
        let config = parse("[defaults]\nbackend = \"shell\"\nenv = { A = \"1\" }\n[agent.two]\ncommand = [\"cat\"]\nenv = { B = \"2\" }\nrestart = { burst = 9 }\n[agent.one]\nwatch = \"none\"\n").unwrap();
        let names: Vec<&str> = config.agents.iter().map(|a| a.name.as_str()).collect();
        assert_eq!((config.prefix.as_str(), names), ("web", vec!["two", "one"]));
        assert_eq!(config.agents[0].restart, Restart { backoff_min_ms: 200, backoff_max_ms: 300_000, burst: 9, window_ms: 600_000 });
        assert_eq!(config.agents[0].env.keys().collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(config.agents[1].watch, Watch::None);
    }

    #[test]
    fn all_findings_at_once_each_with_its_line() {
        let text = "[project]\nsession_prefix = \"Web!\"\nruntime = \"screen\"\n[agent.Orchestrator]\nbackend = \"cluade\"\nwatch = \"heel\"\nprompt = \"../x\"\n[agent.b]\nbackend = \"claude\"\ncommand = [\"x\"]\nrestart = { backoff = \"5m\" }\n[backend.mine]\nstart = [\"mine\", \"{promt}\"]\nready = '('\n[tasks]\nparallel = 0\n";
        insta::assert_snapshot!(parse(text).unwrap_err(), @r#"
        agents.toml:2:18: `Web!` cannot begin a session's id
        hint: use 1 to 32 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit
        error: agents.toml:3:11: unknown runtime `screen`
        hint: write "pty" or "tmux"
        error: agents.toml:13:9: unknown placeholder `{promt}`
        hint: did you mean `prompt`?
        error: agents.toml:14:9: `ready` is no regular expression: found open group without closing ')'
        hint: write the pattern in single quotes, so that backslashes stay
        error: agents.toml:16:12: 0 tasks at once would never run any
        hint: write 1 or more
        error: agents.toml:6:9: unknown watch `heel`
        hint: did you mean `heal`?
        error: agents.toml:7:10: the prompt file ../x lies outside the project
        hint: write a path below this file's folder
        error: agents.toml:4:8: `Orchestrator` is no name for an agent
        hint: use up to 64 of a-z, 0-9, `.`, `_`, `-`, beginning with a letter or digit
        error: agents.toml:5:11: agent Orchestrator: unknown backend `cluade`
        hint: did you mean `claude`?
        error: agents.toml:11:23: `5m` is no range of durations
        hint: write it as "200ms..5m"
        error: agents.toml:10:11: agent b: backend `claude` takes no `command`
        hint: use backend = "shell", or leave `command` out
        "#);
    }

    #[test]
    fn every_built_in_backend_starts_and_resumes() {
        for name in backend::NAMES {
            let config = parse(&format!("[agent.a]\nbackend = \"{name}\"\nmodel = \"m\"\n")).unwrap();
            let start = |started| super::super::Start {
                session: "web-1",
                folder: Path::new("/srv/web"),
                prompt: Some("hello"),
                prompt_file: Some(Path::new("/data/web-1.prompt")),
                resume_id: Some("0-0"),
                unique: "0-int-1".into(),
                started,
                env: BTreeMap::new(),
            };
            let launch = config.agents[0].launch(start(false));
            assert!(!launch.start.is_empty() && !launch.resume.is_empty(), "{name}: {launch:?}");
            assert!(launch.start.iter().chain(&launch.resume).all(|a| !a.contains('{')), "{name}: {launch:?}");
            assert_eq!(config.agents[0].launch(start(true)), crate::contract::records::Launch { started: true, ..launch.clone() });
            assert_eq!(launch.named, launch.start.contains(&"0-0".to_owned()), "{name}");
        }
    }

    #[test]
    fn what_no_process_could_be_given_is_refused() {
        let text = "[agent.a]\nenv = { 'A B' = '1', AGENTS_SESSION = '2', C = \"\\u0000\" }\n[backend.b]\nstart = ['b']\nenv = { '1' = 'x' }\n[worktree]\nsymlinks = ['../x']\npost_create = [[]]\n[project]\ndefault_branch = '--upload-pack=x'\n";
        insta::assert_snapshot!(parse(text).unwrap_err(), @r#"
        agents.toml:5:15: `1` cannot be an environment variable's name
        hint: use letters, digits and `_`, beginning with no digit
        error: agents.toml:7:12: "../x" does not lie in the project
        hint: write a path below this file's folder
        error: agents.toml:8:15: `post_create` has a command without a program
        hint: write post_create = [["program", "argument"]]
        error: agents.toml:10:18: "--upload-pack=x" is no branch that git would take
        hint: write a branch's name
        error: agents.toml:2:17: `A B` cannot be an environment variable's name
        hint: use letters, digits and `_`, beginning with no digit
        error: agents.toml:2:39: `AGENTS_SESSION` is set by the engine itself
        hint: names that begin with AGENTS_ are taken: choose another
        error: agents.toml:2:48: the value of `C` has a NUL in it
        hint: no environment can hold one
        "#);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in proptest::prelude::any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0usize..1280, byte in proptest::prelude::any::<char>()) {
            let good = include_str!("every-key.toml");
            let at = good.char_indices().map(|(i, _)| i).nth(at).unwrap_or(good.len());
            let _ = parse(&good[..at]);
            let rest: String = good[at..].chars().skip(1).collect();
            let _ = parse(&format!("{}{byte}{rest}", &good[..at]));
        }
    }

    #[test]
    fn every_key_is_known() {
        assert!(parse(include_str!("every-key.toml")).is_ok(), "{}", parse(include_str!("every-key.toml")).unwrap_err());
    }
}
