//! The queue from the command line, where nothing runs it: what was added is there once, whatever is killed, and what is wrong is told.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::project::{Said, TestProject, said, said_with_input};

/// An agent that does what its task says, in a shell; and one that can do no task.
const SHELL: &str = r#"
[project]
name = "web"

[agent.lead]
backend = "sh"

[agent.other]
backend = "cat"

[backend.sh]
start = ["cat"]
task = ["sh", "-c", "{prompt}"]

[backend.cat]
start = ["cat"]

[tasks.lanes]
heavy = 1
"#;

/// A project whose queue is stopped, so that tasks stay where they were put.
pub struct Stopped {
    pub project: TestProject,
    pub tasks: PathBuf,
}

impl Stopped {
    pub fn new() -> Stopped {
        Stopped::of(SHELL)
    }

    pub fn of(config: &str) -> Stopped {
        use std::os::unix::fs::DirBuilderExt;
        let project = TestProject::new(config);
        let tasks = project.data().join("tasks");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&tasks).unwrap();
        std::fs::write(tasks.join("stopped"), "").unwrap();
        Stopped { project, tasks }
    }

    pub fn task(&self, args: &[&str]) -> Said {
        self.project.run(&[&["task"], args].concat())
    }

    pub fn add(&self, args: &[&str]) -> String {
        self.task(&[&["add"], args].concat()).ok().stdout.trim().to_owned()
    }

    /// What `agents task list --json` says, without a word about anything odd.
    #[track_caller]
    pub fn list(&self, args: &[&str]) -> Vec<Value> {
        let said = self.task(&[&["list", "--json"], args].concat()).ok();
        assert_eq!(said.stderr, "");
        serde_json::from_str(&said.stdout).unwrap()
    }

    pub fn show(&self, id: &str) -> Value {
        serde_json::from_str(&self.task(&["show", id, "--json"]).ok().stdout).unwrap()
    }

    /// A task is as it would be had it ended so.
    pub fn ends(&self, id: &str, end: &str, at: &str) {
        let folder = self.tasks.join("finished").join(end).join(id);
        std::fs::create_dir_all(&folder).unwrap();
        let file = self.tasks.join("pending").join(format!("{id}.json"));
        let mut record: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        record["attempts"] = json!([{ "started_at": at, "ended_at": at, "outcome": end }]);
        std::fs::write(folder.join("task.json"), record.to_string()).unwrap();
        std::fs::remove_file(file).unwrap();
    }

    /// Runs `agents task …` and kills it at the `nth` such system call. Whether it came to its end; none, said why: this machine cannot do it.
    pub fn killed_at(&self, call: &str, nth: usize, args: &[&str]) -> Option<bool> {
        let mut command = Command::new("strace");
        command.args(["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
        command.arg(env!("CARGO_BIN_EXE_agents")).arg("task").args(args).current_dir(&self.project.folder);
        let plain = self.project.command(&[]);
        command.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
        let Ok(output) = command.output() else {
            println!("skipped: strace is not installed");
            return None;
        };
        let whole = output.status.success();
        let said = String::from_utf8_lossy(&output.stderr);
        if said.contains("strace: ") {
            println!("skipped: strace may not follow processes: {said}");
            return None;
        }
        Some(whole)
    }
}

#[test]
fn what_is_wrong_with_a_task_is_told_and_nothing_is_added() {
    let queue = Stopped::new();
    let wrong = |args: &[&str]| {
        let said = queue.task(&[&["add"], args].concat());
        format!("{} {}", said.code, said.stderr).replace(&queue.project.folder.display().to_string(), "FOLDER")
    };
    insta::assert_snapshot!(wrong(&["x", "--after", "t9,zwo"]), @r"
    2 error: which agent? Declared are: lead, other
    hint: agents task add lead 'what to do'
    ");
    insta::assert_snapshot!(wrong(&["lead"]), @r"
    2 error: what lead is to do is not said
    hint: agents task add lead 'what to do'
    ");
    insta::assert_snapshot!(wrong(&["laed", "x"]), @r#"
    2 error: there is no agent or session "laed" here
    hint: did you mean `lead`?
    "#);
    insta::assert_snapshot!(wrong(&["other", "x"]), @r#"
    1 error: agent other: its backend cat has no `task` command, so it cannot do a task and end
    hint: give [backend.cat] in agents.toml   task = ["program", "{prompt}"]
    "#);
    insta::assert_snapshot!(wrong(&["x"]), @r"
    2 error: which agent? Declared are: lead, other
    hint: agents task add lead 'what to do'
    ");
    insta::assert_snapshot!(wrong(&["lead", "x", "--lane", "haevy", "--name", "t1", "--timeout", "5", "--retries", "1000"]), @r#"
    2 error: --name: the name t1 looks like a task's id
    hint: choose another
    error: --lane: there is no lane "haevy"
    hint: did you mean `heavy`?
    error: --retries: 1000 retries would never come to an end
    hint: 100 at most
    error: --timeout: `5` is no time that an attempt could take
    hint: write it as 90s, 10m, 1h or 2d; 365d at most
    "#);
    insta::assert_snapshot!(wrong(&["lead", "x", "--worktree"]), @r"
    1 error: --worktree: FOLDER lies in no git repository, so there can be no worktree of it
    hint: `git init` and a first commit make it one; without --worktree it works in the project's folder
    ");
    insta::assert_snapshot!(wrong(&["lead", "  "]), @r"
    2 error: there is no text that says what is to be done
    hint: agents task add 'what to do'
    ");
    insta::assert_snapshot!(wrong(&["lead", "x", "--", "true"]), @r"
    2 error: a command was given, and nothing to do with it
    hint: --verify -- CMD   runs it when the task is done
    ");
    insta::assert_snapshot!(wrong(&["lead", "x", "--verify"]), @r"
    2 error: the following required arguments were not provided: <CMD>...
    hint: usage: agents task add --verify <[AGENT] PROMPT|->... -- <CMD>...   (agents task add --help says more)
    ");
    insta::assert_snapshot!(wrong(&["lead", "--file", "nowhere.md"]), @"1 error: --file: FOLDER/nowhere.md: No such file or directory (os error 2)");
    insta::assert_snapshot!(wrong(&["lead", "fix", "it"]), @"2 error: there are too many words: put the prompt in quotes");
    assert_eq!(queue.list(&[]), Vec::<Value>::new());
}

#[test]
fn verbs_say_what_they_cannot_do() {
    let queue = Stopped::new();
    queue.add(&["lead", "true", "--name", "build"]);
    let wrong = |args: &[&str]| {
        let said = queue.project.run(args);
        format!("{} {}", said.code, said.stderr)
    };
    insta::assert_snapshot!(wrong(&["task", "show", "biuld"]), @r#"
    2 error: there is no task "biuld"
    hint: did you mean `build`?
    "#);
    insta::assert_snapshot!(wrong(&["task", "show", "t7"]), @r"
    2 error: there is no task t7
    hint: agents task list --all
    ");
    insta::assert_snapshot!(wrong(&["task", "logs", "build"]), @r"
    1 error: task t1 has written nothing yet: it is pending
    hint: agents task show t1
    ");
    insta::assert_snapshot!(wrong(&["attach", "t1"]), @r"
    1 error: task t1 does not run: it is pending
    hint: agents task show t1
    ");
    insta::assert_snapshot!(wrong(&["task", "wait", "t1", "--timeout", "10ms"]), @r"
    75 no task is started until `agents up`: the queue was stopped by `agents down`
    error: not in time: t1
    hint: agents task list
    ");
    insta::assert_snapshot!(wrong(&["task", "clean", "t1"]), @r"
    1 error: task t1 has not ended: it is pending
    hint: agents task cancel t1
    ");
    insta::assert_snapshot!(wrong(&["task", "clean", "--state", "running"]), @r"
    2 error: tasks that are running have not ended
    hint: --state done,failed,cancelled,timeout
    hint: agents task cancel ID   takes one out of the queue
    ");
    insta::assert_snapshot!(wrong(&["task", "timeout", "t1", "soon"]), @r"
    2 error: invalid value 'soon' for '<TIME>': write +30m for so much more, or 2h for so long in all; 365d at most
    hint: --help says more
    ");
    insta::assert_snapshot!(wrong(&["task", "list", "--watch"]), @r"
    2 error: --watch draws on a terminal; standard output is none
    hint: --watch --json writes a line at every change, anywhere
    ");
    insta::assert_snapshot!(wrong(&["done"]), @r"
    1 error: this does not run inside a task: AGENTS_TASK_DIR is not set
    hint: `agents done` and `agents fail` are for the agent that a task was given to
    hint: an operator says `agents task cancel ID`
    ");
    insta::assert_snapshot!(wrong(&["fail", "--reason", " "]), @r"
    2 error: --reason: there is no text
    hint: say what stood in the way
    ");
}

#[test]
fn a_task_is_kept_as_it_was_asked_for() {
    let queue = Stopped::new();
    queue.add(&["lead", "true"]);
    let id = queue.add(&[
        "lead",
        "make it",
        "--name",
        "two",
        "--after",
        "t1",
        "--lane",
        "heavy",
        "--timeout",
        "2h",
        "--retries",
        "3",
        "--priority",
        "-4",
        "--idempotent",
        "--verify",
        "--",
        "cargo",
        "test",
        "--",
        "-q",
    ]);
    assert_eq!(id, "t2");
    let shown = queue.show("two");
    let record = &shown["record"];
    assert_eq!(record["verify"], json!(["cargo", "test", "--", "-q"]));
    assert_eq!(
        (&record["after"], &record["timeout_ms"], &record["retries"], &record["priority"]),
        (&json!(["t1"]), &json!(7_200_000), &json!(3), &json!(-4))
    );
    assert_eq!((&record["by"], &record["idempotent"], &record["lane"]), (&json!("operator"), &json!(true), &json!("heavy")));
    assert_eq!((&shown["state"], &shown["why"]), (&json!("pending"), &json!("waits for t1")));
    std::fs::write(queue.project.folder.join("what.md"), "from a file\n").unwrap();
    queue.add(&["lead", "--file", "what.md"]);
    assert_eq!(queue.show("t3")["record"]["prompt"], "from a file\n");
    // The order in which they are taken: the higher priority first, then the older.
    assert_eq!(queue.list(&[]).iter().map(|t| t["task"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), ["t1", "t3", "t2"]);
    let graph = queue.task(&["graph"]).ok().stdout;
    assert_eq!(graph, "t1 pending  true\n└─ t2 pending  two\nt3 pending  from a file\n");
    assert!(queue.task(&["graph", "--dot"]).ok().stdout.contains("\"t1\" -> \"t2\";"));
}

#[test]
fn prompts_keep_every_byte() {
    let queue = Stopped::new();
    let every: Vec<u8> = (0..=255).collect();
    let large = [every.repeat(4096), b"the end".to_vec()].concat();
    for (n, prompt) in [every, large, "ünïcödé\u{202e}\n\n".into()].into_iter().enumerate() {
        let mut child = queue.project.command(&["task", "add", "lead", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&prompt).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("t{}\n", n + 1));
        let kept = match &queue.show(&format!("t{}", n + 1))["record"]["prompt"] {
            Value::String(text) => text.clone().into_bytes(),
            hex => {
                let digits = hex["hex"].as_str().unwrap().as_bytes();
                digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
            }
        };
        // Without the newline that ends a file.
        assert!(kept == prompt.strip_suffix(b"\n").unwrap_or(&prompt), "prompt {n} has changed");
    }
    // A table shows none of it as it is.
    let shown = queue.task(&["list"]).ok();
    assert!(shown.stdout.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{}", shown.stdout);
    let shown = queue.task(&["show", "t1"]).ok();
    assert!(shown.stdout.chars().all(|c| matches!(c, '\n' | '\t') || !c.is_control()), "{}", shown.stdout);
}

#[test]
fn a_file_of_tasks_is_added_whole_or_not_at_all() {
    let queue = Stopped::new();
    let from = |text: &str| said_with_input(queue.project.command(&["task", "add", "--from", "-"]), text);
    let wrong = |text: &str| {
        let said = from(text);
        format!("{} {}", said.code, said.stderr)
    };
    insta::assert_snapshot!(wrong("{\"agent\": \"lead\", \"prompt\": \"x\"}\n{\"agent\": \"laed\", \"prompt\": \"x\", \"after\": [\"t5\"]}\n{\"agent\": \"lead\"}\n"), @r#"
    3 error: standard input:2:11: there is no agent or session "laed" here
    hint: did you mean `lead`?
    error: standard input:2:43: after: there is no task t5
    hint: agents task list --all
    error: standard input:3:1: it does not say what is to be done
    hint: prompt = "what to do"
    hint: nothing was added
    "#);
    insta::assert_snapshot!(wrong("[[task]]\nagent = 'lead'\nprompt = 'a'\nname = 'a'\nafter = ['b']\n\n[[task]]\nagent = 'lead'\nprompt = 'b'\nname = 'b'\nafter = ['a']\nlane = 'none'\n"), @r#"
    3 error: standard input:5:9: these wait for each other: "a" (line 1) → "b" (line 7) → "a" (line 1)
    hint: take one of them out of an `after`
    error: standard input:12:8: there is no lane "none"
    hint: declared are: heavy
    hint: nothing was added
    "#);
    insta::assert_snapshot!(wrong(""), @r#"
    3 error: standard input: there is no task in it
    hint: a line for each, {"prompt": "what to do"}, or a [[task]] with prompt = "what to do"
    "#);
    assert_eq!(queue.list(&[]), Vec::<Value>::new());
    let ids = from("{\"agent\": \"lead\", \"prompt\": \"second\", \"after\": [\"first\"]}\n\n{\"agent\": \"lead\", \"prompt\": \"first\", \"name\": \"first\"}\n").ok().stdout;
    assert_eq!(ids, "t1\nt2\n");
    assert_eq!(queue.show("t1")["record"]["after"], json!(["t2"]));
    std::fs::create_dir(queue.project.folder.join("work")).unwrap();
    std::fs::write(queue.project.folder.join("work/what.md"), "in a file beside it").unwrap();
    std::fs::write(queue.project.folder.join("work/tasks.toml"), "[[task]]\nagent = 'lead'\nfile = 'what.md'\nafter = ['t1']\n").unwrap();
    assert_eq!(queue.add(&["--from", "work/tasks.toml"]), "t3");
    assert_eq!(queue.show("t3")["record"]["prompt"], "in a file beside it");
}

#[test]
fn a_thousand_added_at_once_are_a_thousand() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    const BATCH: usize = 5;
    let queue = Stopped::new();
    let batch: String = (0..BATCH).map(|n| format!("{{\"agent\": \"lead\", \"prompt\": \"work {n}\"}}\n")).collect();
    std::fs::write(queue.project.folder.join("batch.jsonl"), batch).unwrap();
    let ids: Vec<String> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    (0..EACH)
                        .flat_map(|_| queue.add(&["--from", "batch.jsonl"]).lines().map(str::to_owned).collect::<Vec<_>>())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        writers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let all: BTreeSet<&String> = ids.iter().collect();
    assert_eq!((ids.len(), all.len()), (WRITERS * EACH * BATCH, WRITERS * EACH * BATCH));
    let listed: BTreeSet<String> = queue.list(&[]).iter().map(|t| t["task"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed, all.into_iter().cloned().collect::<BTreeSet<_>>());
    assert_eq!(std::fs::read_dir(queue.tasks.join("pending")).unwrap().count(), WRITERS * EACH * BATCH, "something was left behind");
}

#[test]
fn hostile_words_name_no_task() {
    let queue = Stopped::new();
    queue.add(&["lead", "true"]);
    for word in [
        "t1/",
        "../t1",
        "t1/../t1",
        "t01",
        "T1",
        "t1 ",
        " t1",
        "t1\n",
        "t1.json",
        "t+1",
        "t-1",
        "t18446744073709551616",
        "",
        ".",
        "*",
        "t1\u{0301}",
    ] {
        for verb in [&["show"][..], &["wait", "--timeout", "10ms"], &["cancel"], &["retry"], &["logs"], &["clean"], &["graph"]] {
            let said = queue.task(&[verb, &["--", word]].concat());
            assert_eq!(said.code, 2, "{verb:?} {word:?}: {said:?}");
        }
        let said = queue.task(&["add", "lead", "x", &format!("--after={word}")]);
        assert_ne!(said.code, 0, "--after {word:?}: {said:?}");
        // These two are fine as names.
        if !["t1.json", "t-1"].contains(&word) {
            let said = queue.task(&["add", "lead", "x", &format!("--name={word}")]);
            assert_eq!(said.code, 2, "--name {word:?}: {said:?}");
        }
    }
    assert_eq!(queue.list(&[]).len(), 1);
}

#[test]
fn whoever_works_on_a_task_says_how_it_ended() {
    let queue = Stopped::new();
    let folder = queue.project.root().join("task");
    std::fs::create_dir(&folder).unwrap();
    let inside = |args: &[&str]| {
        let mut command = queue.project.command(args);
        command.env("AGENTS_TASK", "t1").env("AGENTS_TASK_DIR", &folder);
        said(command)
    };
    inside(&["done", "--note", "- all \"tests\" pass\n"]).ok();
    let read = |name: &str| serde_json::from_slice::<Value>(&std::fs::read(folder.join(name)).unwrap()).unwrap();
    assert_eq!(read(".done"), json!({ "note": "- all \"tests\" pass" }));
    inside(&["fail", "--reason", "the disk is full"]).ok();
    assert_eq!(read(".error"), json!({ "reason": "the disk is full" }));
    std::fs::remove_dir_all(&folder).unwrap();
    inside(&["done"]).fails(1, "there is no folder");
}

/// System calls by which something is written, and up to which occurrence of each the command is killed.
const CALLS: &[(&str, usize)] = &[
    ("?openat", 40),
    ("write", 6),
    ("?fsync,?fdatasync", 4),
    ("?rename,?renameat,?renameat2", 3),
    ("?mkdir,?mkdirat", 8),
    ("close", 12),
    ("flock", 3),
];

#[test]
fn an_add_that_is_killed_has_added_all_or_nothing() {
    let queue = Stopped::new();
    queue.add(&["lead", "first"]);
    let (mut kills, mut known) = (0, 1);
    for (call, most) in CALLS {
        for nth in 1..=*most {
            let Some(whole) = queue.killed_at(call, nth, &["add", "lead", "one more"]) else { return };
            kills += usize::from(!whole);
            // Old or new, and nothing odd is said of it.
            let now = queue.list(&[]);
            assert!(now.len() == known || now.len() == known + 1, "{call} {nth}: {known} became {}", now.len());
            assert!(!whole || now.len() == known + 1, "{call} {nth}: added, and not there");
            let ids: BTreeSet<&str> = now.iter().map(|t| t["task"].as_str().unwrap()).collect();
            assert_eq!(ids.len(), now.len());
            known = now.len();
            if whole {
                break;
            }
        }
    }
    assert!(kills > 20, "only {kills} were killed");
    // Whoever comes next goes on, with a number of its own.
    let last = queue.add(&["lead", "last"]);
    assert!(queue.list(&[]).iter().filter(|t| t["task"] == last).count() == 1);
    println!("killed at {kills} steps");
}
