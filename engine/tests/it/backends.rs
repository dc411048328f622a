//! Every built-in backend's data, carried out: a stand-in under each program's name records what it was given.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::project::{Lines, TestProject, kill, of, said_with_input};

/// Begins with a dash, has blanks, quotes, newlines and what a shell or a template would take for its own.
const PROMPT: &str = "--yolo \"it's\" $HOME `id`; {model}\n\n-second 'line' \\n {resume_id}";

/// Records its n-th start, then reads what it is told. As codex does, it holds a conversation's file open, with a newer one of somebody else's beside it.
const STAND_IN: &str = r#"#!/bin/sh
name=${0##*/}
if [ "$*" = --version ]; then echo "$name 1.2.3"; exit; fi
n=0; while [ -e "seen/$name.$n.argv" ]; do n=$((n + 1)); done
cat /proc/self/environ > "seen/$name.$n.env"
pwd > "seen/$name.$n.folder"
if [ "$name" = codex ]; then
    day=$HOME/.codex/sessions/2026/11/21
    mkdir -p "$day"
    id=01a1fd74-069a-7963-9c8d-117b31bbd38$n
    for last; do :; done
    case $last in 01a1fd74-*) id=$last ;; esac
    exec 9>> "$day/rollout-2026-11-21T09-33-21-$id.jsonl"
    : > "$day/rollout-2026-11-21T23-59-59-ffffffff-ffff-ffff-ffff-ffffffffffff.jsonl"
fi
for a; do printf '%s\0' "$a"; done > "seen/$name.part"
mv "seen/$name.part" "seen/$name.$n.argv"
echo "started $name $n"
[ -z "$AGENTS_TASK" ] || exit 0
# How each of them looks when it takes input.
printf '\342\235\257\n\342\200\272 Ask Codex to do anything\n  /srv/web  2  ctrl+p commands\n >   Type your message\n> \n'
exec cat
"#;

const PROGRAMS: [&str; 5] = ["claude", "codex", "opencode", "gemini", "aider"];

struct Stage {
    project: TestProject,
    bin: PathBuf,
}

impl Stage {
    fn new(more: &str) -> Stage {
        let project = TestProject::new("");
        let bin = project.root().join("bin");
        std::fs::create_dir(&bin).unwrap();
        std::fs::create_dir(project.folder.join("seen")).unwrap();
        std::fs::write(project.folder.join("p.md"), format!("{{% raw %}}{PROMPT}{{% endraw %}}")).unwrap();
        for program in PROGRAMS {
            let path = bin.join(program);
            std::fs::write(&path, STAND_IN).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let stage = Stage { project, bin };
        let mut config = format!(
            "[project]\nname = 'web'\nsession_prefix = 'int'\n[defaults]\nprompt = 'p.md'\nenv = {{ PATH = '{}' }}\n",
            stage.path()
        );
        for program in PROGRAMS {
            config += &format!("[agent.{program}]\nbackend = '{program}'\n{more}");
        }
        config += "[agent.shell]\nbackend = 'shell'\ncommand = ['sh', '-c', 'printf \"%s\\n\" \"$1\" started; exec cat', 'sh', '{prompt} a  b']\n";
        stage.project.write_config(&config);
        stage
    }

    fn path(&self) -> String {
        format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap())
    }

    fn seen(&self, what: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.project.folder.join("seen").join(what)).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    /// Waits for a program's n-th start, and says what it was given.
    fn argv(&self, program: &str, n: usize) -> Vec<String> {
        Lines::of(self.project.command(&["logs", "-f", program])).until(&format!("started {program} {n}"));
        self.seen(&format!("{program}.{n}.argv"))
    }

    fn session(&self, program: &str) -> String {
        of(&self.project.status(), program)["session"].as_str().unwrap().to_owned()
    }

    fn meta(&self, program: &str) -> String {
        std::fs::read_to_string(self.project.data().join("sessions").join(self.session(program))).unwrap()
    }

    fn resume_id(&self, program: &str) -> Option<String> {
        self.meta(program).lines().find_map(|l| l.strip_prefix("resumeId=").map(str::to_owned))
    }

    /// Waits until its conversation has been found.
    fn until_found(&self, id: &str) {
        let mut tail = Command::new("tail");
        tail.args(["-n", "+1", "-F"]).arg(self.project.data().join("events.jsonl"));
        Lines::of(tail).until(&format!("{id}: its file is open"));
    }
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').map(|w| if w == "PROMPT" { PROMPT } else { w }).collect()
}

#[test]
fn each_is_given_its_prompt_its_conversation_and_its_environment() {
    let stage = Stage::new("model = 'm-1'\n");
    stage.project.run(&["up"]).ok();
    let claude = stage.argv("claude", 0);
    let gemini = stage.argv("gemini", 0);
    let (claude_id, gemini_id) = (stage.resume_id("claude").unwrap(), stage.resume_id("gemini").unwrap());
    assert!(claude_id.len() == 36 && claude_id != gemini_id, "{claude_id} {gemini_id}");
    assert_eq!(claude, words(&format!("--session-id {claude_id} --model m-1 -- PROMPT")));
    assert_eq!(gemini[..4], words(&format!("--session-id {gemini_id} --model m-1"))[..]);
    assert_eq!(gemini[4..], [format!("--prompt-interactive={PROMPT}")]);
    let quiet = "--no-daemon -c check_for_update_on_startup=false --model m-1";
    assert_eq!(stage.argv("codex", 0), words(&format!("{quiet} -- PROMPT")));
    assert_eq!(stage.argv("opencode", 0), ["--model", "m-1", &format!("--prompt={PROMPT}")]);
    let unique = |program: &str| format!("{}-{}", stage.project.hash(), stage.session(program));
    let history = format!("--chat-history-file=.aider.{}.chat.history.md", unique("aider"));
    assert_eq!(stage.argv("aider", 0), words(&format!("--no-check-update --no-show-release-notes --no-gitignore {history} --model m-1")));
    Lines::of(stage.project.command(&["logs", "-f", "aider"])).until("--yolo \"it's\" $HOME `id`; {model}");
    assert!(stage.project.run(&["capture", "shell"]).ok().stdout.contains("{prompt} a  b"), "a command is nobody's template");

    let folder = stage.project.folder.display().to_string();
    for program in PROGRAMS {
        assert_eq!(stage.seen(&format!("{program}.0.folder")), [format!("{folder}\n")]);
        let env = stage.seen(&format!("{program}.0.env"));
        let has = |pair: &str| env.iter().any(|e| e == pair);
        assert!(has("AGENTS_PROJECT=web") && has("TERM=xterm-256color"), "{program}: {env:?}");
        assert_eq!(has("DISABLE_AUTOUPDATER=1"), program == "claude");
        assert_eq!(has("OPENCODE_DISABLE_AUTOUPDATE=1"), program == "opencode");
        assert_eq!(has(&format!("OPENCODE_DB=agents-{}.db", unique("opencode"))), program == "opencode");
        assert_eq!(of(&stage.project.status(), program)["version"], "1.2.3");
        stage.project.run(&["send", program, "what is \"up\""]).ok();
        Lines::of(stage.project.command(&["logs", "-f", program])).until("what is \"up\"");
    }
}

#[test]
fn the_killed_go_on_with_their_conversation_and_with_the_same_flags() {
    let stage = Stage::new("model = 'm-1'\n");
    stage.project.run(&["up"]).ok();
    PROGRAMS.iter().for_each(|p| drop(stage.argv(p, 0)));
    let codex_id = "01a1fd74-069a-7963-9c8d-117b31bbd380";
    stage.until_found(codex_id);
    PROGRAMS.iter().for_each(|p| kill(stage.project.pid(p)));
    let id = stage.resume_id("claude").unwrap();
    assert_eq!(stage.argv("claude", 1), words(&format!("--resume {id} --model m-1")));
    let id = stage.resume_id("gemini").unwrap();
    assert_eq!(stage.argv("gemini", 1), words(&format!("--model m-1 --resume {id}")));
    let quiet = "--no-daemon -c check_for_update_on_startup=false --model m-1";
    assert_eq!(stage.argv("codex", 1), words(&format!("{quiet} resume {codex_id}")));
    // The prompt is not given twice.
    assert_eq!(stage.argv("opencode", 1), ["--model", "m-1", "--continue"]);
    let (first, again) = (stage.argv("aider", 0), stage.argv("aider", 1));
    assert_eq!(again.iter().filter(|a| *a != "--restore-chat-history").collect::<Vec<_>>(), first.iter().collect::<Vec<_>>());
    assert!(again.len() > first.len());

    // The next `up` knows it too, and so does one after everything was stopped.
    stage.project.run(&["down"]).ok();
    stage.project.run(&["up"]).ok();
    assert_eq!(stage.resume_id("codex").unwrap(), codex_id);
    assert_eq!(stage.argv("codex", 2), words(&format!("{quiet} resume {codex_id}")));
    assert_eq!(stage.argv("claude", 2)[..2], ["--resume", &stage.resume_id("claude").unwrap()]);
}

#[test]
fn another_program_begins_another_conversation() {
    let stage = Stage::new("");
    stage.project.run(&["up", "codex"]).ok();
    assert_eq!(stage.argv("codex", 0), words("--no-daemon -c check_for_update_on_startup=false -- PROMPT"));
    stage.until_found("01a1fd74-069a-7963-9c8d-117b31bbd380");
    stage.project.run(&["down"]).ok();
    let config = std::fs::read_to_string(stage.project.folder.join("agents.toml")).unwrap();
    stage.project.write_config(&config.replace("backend = 'codex'", "backend = 'opencode'"));
    stage.project.run(&["up", "codex"]).ok();
    Lines::of(stage.project.command(&["logs", "-f", "codex"])).until("started opencode 0");
    assert_eq!(stage.resume_id("codex"), None);
    stage.project.run(&["down"]).ok();
    stage.project.write_config(&config);
    stage.project.run(&["up", "codex"]).ok();
    assert_eq!(stage.argv("codex", 1).last().unwrap(), PROMPT);
}

#[test]
fn only_who_was_told_to_trusts_the_folder() {
    let stage = Stage::new("trust = true\n");
    stage.project.run(&["up"]).ok();
    let folder = stage.project.folder.display().to_string();
    let codex = stage.argv("codex", 0);
    assert_eq!(codex[..3], ["-c".to_owned(), format!("projects={{\"{folder}\"={{trust_level=\"trusted\"}}}}"), "--no-daemon".into()]);
    assert_eq!(stage.argv("gemini", 0)[..2], words("--skip-trust --session-id")[..]);
    stage.argv("claude", 0);
    assert!(stage.seen("claude.0.env").contains(&"CLAUDE_CODE_SANDBOXED=1".to_owned()));
    stage.until_found("01a1fd74-069a-7963-9c8d-117b31bbd380");
    ["codex", "gemini"].iter().for_each(|p| kill(stage.project.pid(p)));
    assert_eq!(stage.argv("codex", 1)[..3], codex[..3], "a resumed one too");
    assert_eq!(stage.argv("gemini", 1)[0], "--skip-trust");

    let stage = Stage::new("");
    stage.project.run(&["up"]).ok();
    assert!(!stage.argv("codex", 0).iter().any(|a| a.contains("trust")));
    assert!(!stage.argv("gemini", 0).iter().any(|a| a.contains("trust")));
    stage.argv("claude", 0);
    assert!(!stage.seen("claude.0.env").iter().any(|e| e.starts_with("CLAUDE_CODE_SANDBOXED")));
}

#[test]
fn each_does_a_task_as_its_one_shot_form_says() {
    let stage = Stage::new("model = 'm-1'\ntrust = true\n");
    stage.project.run(&["up"]).ok();
    // Their sessions are the first to be recorded.
    PROGRAMS.iter().for_each(|p| drop(stage.argv(p, 0)));
    let trusts = format!("projects={{\"{}\"={{trust_level=\"trusted\"}}}}", stage.project.folder.display());
    let quiet = "--no-check-update --no-show-release-notes --no-gitignore";
    for (program, before, flag, after) in [
        ("claude", "-p --output-format stream-json --verbose --model m-1 --".to_owned(), "", ""),
        ("codex", format!("-c {trusts} exec --json --model m-1 --"), "", ""),
        ("opencode", "run --format json --model m-1 --".to_owned(), "", ""),
        ("gemini", "--skip-trust --model m-1".to_owned(), "--prompt=", "--output-format stream-json"),
        ("aider", format!("{quiet} --model m-1"), "--message=", "--yes-always"),
    ] {
        let task = said_with_input(stage.project.command(&["task", "add", program, "-"]), PROMPT).ok().stdout;
        stage.project.run(&["task", "wait", task.trim(), "--timeout", "60s"]).ok();
        let argv = stage.seen(&format!("{program}.1.argv"));
        let (before, after) = (words(&before), after.split_whitespace().collect::<Vec<_>>());
        assert_eq!(argv[..before.len()], before[..], "{program}");
        let told = argv[before.len()].strip_prefix(flag).unwrap_or_else(|| panic!("{program}: {argv:?}"));
        assert!(told.contains(PROMPT) && told.contains(" done"), "the task's words, and how to report: {program}: {told}");
        assert_eq!(argv[before.len() + 1..], after[..], "{program}");
        let env = stage.seen(&format!("{program}.1.env"));
        let has = |pair: &str| env.iter().any(|e| e == pair);
        assert!(has(&format!("AGENTS_TASK={}", task.trim())) && has("AGENTS_PROJECT=web"), "{program}: {env:?}");
        assert_eq!((has("DISABLE_AUTOUPDATER=1"), has("CLAUDE_CODE_SANDBOXED=1")), (program == "claude", program == "claude"));
        assert_eq!(has("OPENCODE_DISABLE_AUTOUPDATE=1"), program == "opencode");
        assert_eq!(stage.seen(&format!("{program}.1.folder")), [format!("{}\n", stage.project.folder.display())]);
    }
    // The shell's are scripts, and are told nothing else.
    let task = stage.project.run(&["task", "add", "shell", "echo \"$AGENTS_TASK $#\" > seen/script"]).ok().stdout;
    stage.project.run(&["task", "wait", task.trim(), "--timeout", "60s"]).ok();
    assert_eq!(std::fs::read_to_string(stage.project.folder.join("seen/script")).unwrap(), format!("{} 0\n", task.trim()));
}

#[test]
fn an_archived_session_keeps_its_conversation() {
    let stage = Stage::new("");
    stage.project.run(&["spawn", "--agent", "codex", "--no-worktree", "--prompt", "-x y"]).ok();
    Lines::of(stage.project.command(&["logs", "-f", "int-1"])).until("started codex 0");
    assert!(stage.seen("codex.0.argv").last().unwrap().ends_with("-x y"));
    stage.until_found("01a1fd74-069a-7963-9c8d-117b31bbd380");
    stage.project.run(&["kill", "int-1"]).ok();
    stage.project.run(&["restore", "int-1"]).ok();
    Lines::of(stage.project.command(&["logs", "-f", "int-1"])).until("started codex 1");
    assert_eq!(stage.seen("codex.1.argv")[3..], ["resume", "01a1fd74-069a-7963-9c8d-117b31bbd380"]);
}
