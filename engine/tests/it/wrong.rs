//! Wrong words, files and surroundings, verb by verb: one clear error with the way out, the documented exit status, and nothing changed.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::project::{Said, TestProject, of, said};
use crate::sessions::{ONE, git, project, rows};

/// All that a command could have changed: every file of the project, its repository and the engine's data, and the branches.
fn state(project: &TestProject) -> BTreeMap<String, Vec<u8>> {
    fn walk(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name().into_string().unwrap();
            // Locks are made by whoever looks whether they are held; what git keeps for itself is no one's state.
            if name.ends_with(".lock") || name == "index" || name == ".git" && kind.is_file() {
                continue;
            }
            if kind.is_dir() {
                walk(&path, found);
            } else if kind.is_file() {
                found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            } else {
                found.insert(path.display().to_string(), vec![]);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&project.root().join("home"), &mut found);
    walk(&project.folder, &mut found);
    found
}

/// One agent that also does tasks.
fn working() -> String {
    format!("{ONE}task = [\"sh\", \"-c\", \"exec sleep 1000\"]\n")
}

/// One error, with a way out, on stderr alone.
#[track_caller]
fn is_refused(said: &Said, code: i32, words: &str) {
    let errors = said.stderr.lines().filter(|l| l.starts_with("error: ")).count();
    let clear =
        said.code == code && said.stderr.contains(words) && errors >= 1 && said.stderr.contains("\nhint: ") && said.stdout.is_empty();
    assert!(clear, "expected status {code} and {words:?}, found {said:#?}");
}

/// A project with something of everything: an agent's session, a spawned one, an archived one, and a task that waits; nothing runs.
fn settled() -> TestProject {
    let project = project(&working());
    project.run(&["up"]).ok();
    project.run(&["spawn", "--name", "mine"]).ok();
    project.run(&["spawn", "--no-worktree"]).ok();
    project.run(&["kill", "int-3"]).ok();
    project.run(&["down"]).ok();
    project.run(&["task", "add", "wait", "--name", "first"]).ok();
    project
}

#[test]
fn no_name_but_the_exact_one_is_taken() {
    let project = settled();
    let before = state(&project);
    let verbs: [&[&str]; 20] = [
        &["up"],
        &["down"],
        &["restart"],
        &["kill"],
        &["clean"],
        &["attach"],
        &["logs"],
        &["capture"],
        &["why"],
        &["mail"],
        &["send", "--urgent"],
        &["spawn", "--agent"],
        &["orchestrate", "--agent"],
        &["task", "show"],
        &["task", "cancel"],
        &["task", "retry"],
        &["task", "wait"],
        &["task", "logs"],
        &["task", "clean"],
        &["task", "add", "x", "--after"],
    ];
    let names = [
        "int-12",
        "int-",
        "int",
        "INT-1",
        "int-1 ",
        "int-1\n",
        "../int-1",
        "..",
        ".",
        "*",
        "",
        "ïnt-1",
        "t12",
        "t0",
        "t-1",
        "tt1",
        "\u{1b}[31m",
    ];
    for verb in verbs {
        for name in names {
            let mut args = [verb, &["--", name]].concat();
            if verb.last().is_some_and(|last| last.starts_with("--") && *last != "--urgent") {
                args.remove(args.len() - 2);
            }
            if verb[0] == "send" {
                args.push("text");
            }
            let said = project.run(&args);
            is_refused(&said, 2, "there is no ");
            assert!(!said.stderr.contains('\u{1b}'), "{said:#?}");
        }
    }
    for (name, code) in [("int-30", 1), ("int-1", 1), ("mine", 1), ("..", 2), ("", 2), ("int-3\n", 2)] {
        is_refused(&project.run(&["restore", name]), code, "session");
    }
    assert_eq!(state(&project), before);
}

#[test]
fn no_flag_is_taken_for_another() {
    let project = settled();
    let before = state(&project);
    let cases: &[(&[&str], &str)] = &[
        (&["statsu"], "'status'"),
        (&["up", "--liev"], "unexpected argument '--liev'"),
        (&["status", "--color", "pink"], "auto, always, never"),
        (&["-C", "nowhere", "status"], "-C nowhere: there is no such folder"),
        (&["-C", "agents.toml", "up"], "-C agents.toml: there is no such folder"),
        (&["spawn", "--issue", ""], "\"feat/\" is no branch's name"),
        (&["spawn", "--issue", "a b"], "is no branch's name"),
        (&["spawn", "--issue", "../../x"], "is no branch's name"),
        (&["spawn", "--branch", "a..b"], "is no branch's name"),
        (&["spawn", "--branch=-x"], "is no branch's name"),
        (&["spawn", "--branch", "HEAD"], "is no branch's name"),
        (&["spawn", "--name", "a b"], "is no name"),
        (&["spawn", "--name", "int-1"], "is a session's id"),
        (&["spawn", "--name", "writer"], "is an agent's name"),
        (&["spawn", "--prompt", " "], "there is no text"),
        (&["spawn", "--no-worktree", "--branch", "x"], "cannot be used with"),
        (&["orchestrate", "--prompt", ""], "there is no text"),
        (&["send", "writer", ""], "there is no text to send"),
        (&["send", "writer", "-"], "there is no text to send"),
        (&["send", "writer", "x", "--wait=soon"], "write it as 90s, 10m or 1h"),
        (&["mail", "writer", "--drop", "999"], "no message 999 waits"),
        (&["mail", "writer", "--drop", "x"], "expected a whole number"),
        (&["capture", "writer", "-n", "99999999999999999999"], "the number is too large"),
        (&["logs", "writer", "-n", "3", "--raw"], "cannot be used with"),
        (&["attach", "writer", "--detach-key", "tab"], "write ctrl- and a letter"),
        (&["attach", "writer"], "attach needs a terminal"),
        (&["hook", "dancing"], "working, waiting, idle"),
        (&["hook", "working"], "this is no session"),
        (&["fail"], "--reason"),
        (&["schema", "nope"], "config, status, event, manifest"),
        (&["completions", "tcsh"], "'zsh'"),
        (&["task", "add"], "what is to be done is not said"),
        (&["task", "add", " "], "there is no text"),
        (&["task", "add", "x", "--name", "t5"], "looks like a task's id"),
        (&["task", "add", "x", "--timeout", "0s"], "no time that an attempt could take"),
        (&["task", "add", "x", "--retries", "1000000"], "100 at most"),
        (&["task", "add", "x", "--priority", "lots"], "expected a whole number"),
        (&["task", "add", "x", "--verify"], "<CMD>..."),
        (&["task", "list", "--state", "nope"], "pending, running"),
        (&["task", "timeout", "first", "soon"], "write +30m"),
        (&["task", "wait", "first", "--timeout", "x"], "write it as 90s, 10m or 1h"),
    ];
    for (args, words) in cases {
        is_refused(&project.run(args), 2, words);
    }
    // Right words about something that is not so.
    for (args, words) in [
        (&["spawn", "--branch", "main"][..], "--no-worktree to work in the project's folder"),
        (&["spawn", "--name", "mine"], "has the name mine already"),
        (&["done"], "not run inside a task"),
        (&["info", "--adopt", "nope"], "nothing that this checkout could have left"),
    ] {
        is_refused(&project.run(args), 1, words);
    }
    assert_eq!(state(&project), before);
}

#[test]
fn a_configuration_that_cannot_be_read_is_named_with_its_line_and_changes_nothing() {
    let project = project(ONE);
    let file = project.folder.join("agents.toml");
    let agent = "[agent.a]\nbackend = \"shell\"\ncommand = [\"cat\"]\n";
    let cases: [(&[u8], &str); 17] = [
        (b"[agent.a\n", "agents.toml:1:9: "),
        (b"[agent.a]\nbackedn = \"shell\"\n", "agents.toml:2:1: unknown key `backedn`"),
        (b"[agnet.a]\n", "did you mean `agent`?"),
        (b"[agent.a]\nbackend = 3\n", "agents.toml:2:11: invalid type: integer `3`, expected a string"),
        (b"[agent.a]\nbackend = \"cluade\"\n", "did you mean `claude`?"),
        (b"[agent.\"Bad Name\"]\n", "is no name for an agent"),
        (b"[agent.a]\nbackend = \"shell\"\ncommand = []\n", "names no program"),
        (b"[agent.a]\nbackend = \"shell\"\ncommand = [\"a\\u0000\"]\n", "has a NUL in it"),
        (
            b"[agent.a]\nbackend = \"b\"\n[backend.b]\nstart = [\"cat\"]\nready = \"(\"\n",
            "agents.toml:5:9: `ready` is no regular expression",
        ),
        (b"[tasks]\ntimeout = \"soon\"\n", "agents.toml:2:11: `soon` is no duration"),
        (b"[tasks]\nparallel = \"many\"\n", "expected"),
        (b"[project]\nsession_prefix = \"a b\"\n", "cannot begin a session's id"),
        (b"[defaults]\nrestart = { backoff = \"5m..1s\" }\n", "is no range of durations"),
        (b"[defaults]\nwatch = \"sometimes\"\n", "heal"),
        (b"[agent.a]\nprompt = \"\xff\"\n", "it is not UTF-8 at byte 20"),
        (b"[agent.a]\nprompt = \"../x\"\n", "prompt"),
        (b"[project]\nruntime = \"screen\"\n", "pty"),
    ];
    for (text, words) in cases {
        std::fs::write(&file, text).unwrap();
        let before = state(&project);
        for verb in [&["up"][..], &["restart"], &["status"], &["check"], &["spawn"], &["task", "add", "x"], &["down"], &["list"]] {
            let said = project.run(verb);
            assert!(
                said.code == 3 && said.stderr.starts_with("error: ") && said.stderr.contains(words) && said.stdout.is_empty(),
                "{words}: {said:#?}"
            );
        }
        assert_eq!(state(&project), before, "{words}");
    }
    // What is no file at all is not waited for.
    std::fs::remove_file(&file).unwrap();
    let made: [(&dyn Fn(), &str); 4] = [
        (&|| std::fs::create_dir(&file).unwrap(), "it is no file"),
        (&|| assert!(Command::new("mkfifo").arg(&file).status().unwrap().success()), "it is no file"),
        (&|| symlink("/dev/zero", &file).unwrap(), "it is no file"),
        (&|| symlink("nowhere", &file).unwrap(), "a link that leads nowhere"),
    ];
    for (make, words) in made {
        make();
        for verb in [&["up"][..], &["status"], &["check"], &["down"], &["task", "add", "x"]] {
            is_refused(&project.run(verb), 3, words);
        }
        let _ = std::fs::remove_dir(&file);
        let _ = std::fs::remove_file(&file);
    }
    std::fs::write(&file, "").unwrap();
    assert!(project.run(&["up"]).ok().stderr.contains("declares no agent"));
    std::fs::write(&file, format!("{agent}prompt = \"prompts/none.md\"\n")).unwrap();
    let missing = project.run(&["up"]);
    is_refused(&missing, 1, "error: agent a: its prompt file prompts/none.md is not there");
    std::fs::write(&file, agent).unwrap();
    project.run(&["up"]).ok();
}

#[test]
fn without_a_repository_a_commit_or_git_only_worktrees_are_missed() {
    let project = TestProject::new(&working());
    let spawns: [&[&str]; 3] = [&["spawn"], &["orchestrate"], &["task", "add", "x", "--worktree"]];
    for args in spawns {
        is_refused(&project.run(args), 1, "lies in no git repository");
    }
    git(&project.folder, &["init", "-q", "-b", "main"]);
    for args in &spawns[..2] {
        is_refused(&project.run(args), 1, "no commit yet");
    }
    git(&project.folder, &["add", "."]);
    git(&project.folder, &["commit", "-qm", "first"]);
    let bin = project.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    for program in ["sh", "cat"] {
        symlink(format!("/bin/{program}"), bin.join(program)).unwrap();
    }
    let without = |args: &[&str]| {
        let mut command = project.command(args);
        command.env("PATH", &bin);
        said(command)
    };
    is_refused(&without(&["spawn"]), 1, "git was not found");
    without(&["up"]).ok();
    assert_eq!(of(&project.status(), "writer")["state"], "up");
    assert_eq!(rows(&project, &[]).len(), 1, "nothing of what was refused is left");
}

#[test]
fn a_place_for_data_that_is_none_is_named() {
    let project = TestProject::new(&working());
    let root = project.root().to_owned();
    std::fs::write(root.join("file"), "").unwrap();
    symlink(root.join("gone"), root.join("link")).unwrap();
    let verbs: [&[&str]; 6] = [&["up"], &["restart"], &["spawn", "--no-worktree"], &["task", "add", "x"], &["status"], &["down"]];
    for (home, words) in [(root.join("file"), "is no folder"), (root.join("link"), "No such file"), ("/proc/none".into(), "/proc/none: ")] {
        for verb in verbs {
            let mut command = project.command(verb);
            command.env("AGENTS_HOME", &home);
            let said = said(command);
            // Where there is nothing yet, a look finds nothing, and there is nothing to stop.
            if home.starts_with("/proc") && matches!(verb[0], "status" | "down") {
                said.ok();
                continue;
            }
            is_refused(&said, 1, words);
            assert!(said.stderr.contains(home.to_str().unwrap()) && said.stderr.contains("set AGENTS_HOME"), "{said:#?}");
        }
    }
    for (name, value) in [("HOME", None), ("HOME", Some("relative"))] {
        let mut command = project.command(&["up"]);
        match value {
            None => command.env_remove(name),
            Some(value) => command.env(name, value),
        };
        is_refused(&said(command), 1, "HOME-is-not-set");
    }
    let open = root.join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = project.command(&["up"]);
    command.env("XDG_RUNTIME_DIR", root.join("file"));
    is_refused(&said(command), 1, "file");
    assert!(!root.join("gone").exists() && project.processes().is_empty());
}

/// Ends with status 1 and says so: whoever reads the output would otherwise take half of it for all.
#[test]
fn output_that_nobody_can_take_is_told_and_stops_no_work() {
    let project = project(&working());
    project.run(&["up"]).ok();
    let full = |args: &[&str]| {
        let mut command = project.command(args);
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        Said { code: output.status.code().unwrap(), stdout: String::new(), stderr: String::from_utf8(output.stderr).unwrap() }
    };
    for args in [
        &["status"][..],
        &["status", "--json"],
        &["list"],
        &["info"],
        &["schema"],
        &["man"],
        &["--help"],
        &["--version"],
        &["up"],
        &["logs", "-f", "writer"],
        &["status", "--watch"],
    ] {
        is_refused(&full(args), 1, "standard output: No space left on device");
    }
    is_refused(&full(&["spawn", "--name", "one"]), 1, "standard output: No space left");
    project.run(&["spawn", "--name", "two"]).ok();
    // Nobody reads any more: all that was asked for is done all the same.
    let unheard = |args: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        project.command(args).stdout(writer).stderr(Stdio::null()).status().unwrap().code().unwrap()
    };
    assert_eq!(unheard(&["kill", "one", "two"]), 0);
    assert_eq!(rows(&project, &[]).len(), 1);
    // Who only shows ends.
    for args in [&["status", "--watch", "--json"][..], &["logs", "-f", "writer"], &["task", "list", "--watch", "--json"], &["status"]] {
        assert_eq!(unheard(args), 0, "{args:?}");
    }
    // Closed from the start.
    for redirect in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let mut shell = project.command(&[]);
        let program = shell.get_program().to_owned();
        shell = Command::new("sh");
        let like = project.command(&[]);
        shell.env_clear().envs(like.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(&project.folder);
        shell.args(["-c", &format!("\"$0\" restart {redirect} && \"$0\" task add x {redirect}")]).arg(program);
        assert_eq!(shell.status().unwrap().code(), Some(0), "{redirect}");
    }
    assert_eq!(of(&project.status(), "writer")["state"], "up");
}
