//! The agents' real programs, against a model of our own on loopback. They are looked for in `$AGENTS_TEST_PROGRAMS`, then on PATH; without one, its test says
//! that it skips.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::model_server::{CALL, ModelServer, PRINTED, REPLY};
use crate::project::{Lines, TestProject, kill, of};

const PROMPT: &str = "- When is the \"tide\"?";

/// Real programs take their time, above all on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The folder that holds the program.
fn folder_of(program: &str) -> Option<PathBuf> {
    let given = std::env::var_os("AGENTS_TEST_PROGRAMS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Some write into their home even to say their version.
    let home = tempfile::tempdir().unwrap();
    let found = given.into_iter().chain(std::env::split_paths(&path)).find(|f| {
        // One that was installed by halves is there and does not run.
        let version = Command::new(f.join(program)).arg("--version").env("HOME", home.path()).stderr(Stdio::null()).output();
        version.is_ok_and(|v| v.status.success())
    });
    if found.is_none() {
        println!("skipped: a {program} that runs is neither in $AGENTS_TEST_PROGRAMS nor on PATH");
    }
    found
}

/// A project with one agent, which the program plays; all that it keeps lies in the project's throw-away folder.
fn stage(program: &str, bin: &Path, env: &str) -> TestProject {
    let project = TestProject::new("");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    std::fs::write(project.folder.join("p.md"), PROMPT).unwrap();
    project.write_config(&format!(
        "[project]\nname = 'web'\nsession_prefix = 'int'\n[agent.lead]\nbackend = '{program}'\nprompt = 'p.md'\ntrust = true\nenv = {{ PATH = '{path}', {env} }}\n"
    ));
    project
}

/// Waits until these words stand on the screen; it is looked at whenever the program has drawn.
#[track_caller]
fn until_screen(project: &TestProject, holds: impl Fn(&str) -> bool) -> String {
    let mut tail = Command::new("tail");
    tail.args(["-c", "+1", "-F"]).arg(project.data().join("logs/int-1.log"));
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = tail.stdout.take().unwrap();
    let (sender, drawn) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        while output.read(&mut buffer).is_ok_and(|n| n > 0) && sender.send(()).is_ok() {}
    });
    let start = Instant::now();
    let mut screen = String::new();
    while start.elapsed() < DEADLINE && drawn.recv_timeout(DEADLINE).is_ok() {
        screen = project.run(&["capture", "lead"]).ok().stdout;
        if holds(&screen) {
            break;
        }
    }
    let _ = tail.kill();
    let _ = tail.wait();
    assert!(holds(&screen), "not on the screen:\n{screen}\n{}", project.run(&["why", "lead"]).stdout);
    screen
}

/// Waits for a line of a file that holds these words.
#[track_caller]
fn until_line(file: &Path, words: &str) -> String {
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(file).stderr(Stdio::null());
    Lines::of(tail).until(words)
}

fn resume_id(project: &TestProject) -> Option<String> {
    let session = std::fs::read_to_string(project.data().join("sessions/int-1")).unwrap();
    session.lines().find_map(|l| l.strip_prefix("resumeId=").map(str::to_owned))
}

/// Sends a text once; the model is then asked these words, in one conversation.
#[track_caller]
fn ask(project: &TestProject, model: &ModelServer, text: &str, words: &[&str]) {
    project.run(&["send", "--wait=60s", "lead", text]).ok();
    if let Err(requests) = model.until(words, DEADLINE) {
        panic!("no request with {words:?}; there were {requests:#?}; the screen:\n{}", project.run(&["capture", "lead"]).stdout);
    }
}

/// Its one-shot form: asked, answered, ended by itself.
#[track_caller]
fn does_a_task(project: &TestProject, model: &ModelServer) {
    let task = project.run(&["task", "add", "How high is the \"flood\"?"]).ok().stdout;
    let waited = project.run(&["task", "wait", task.trim(), "--timeout", "120s"]);
    let log = project.run(&["task", "logs", task.trim()]).stdout;
    assert!(waited.code == 0 && log.contains(REPLY), "{waited:#?}\n{log}");
    // In JSON a quote stands behind a backslash.
    let asked = model.until(&["How high is the"], Duration::ZERO);
    assert!(asked.is_ok(), "{asked:#?}");
}

/// Started, answered, killed, back in the same conversation; and again after everything was stopped, with a tool call.
#[track_caller]
fn lives_on(
    project: &TestProject,
    model: &ModelServer,
    source: &str,
    transcript: impl Fn(&TestProject) -> PathBuf,
    ready: impl Fn(&str) -> bool,
) {
    project.run(&["up"]).ok();
    until_screen(project, |s| s.contains(REPLY) && ready(s));
    project.until("its turn has ended", |s| of(s, "lead")["activity"] == "idle" && of(s, "lead")["evidence"]["source"] == source);
    // What a program has not written down yet it cannot remember.
    until_line(&transcript(project), REPLY);
    let before = project.pid("lead");
    kill(before);
    project.until("another process plays it", |s| of(s, "lead")["pid"].as_i64().is_some_and(|p| p != i64::from(before)));
    until_screen(project, |s| s.contains(REPLY) && ready(s));
    // The program that came back sends what was said before the other was killed.
    ask(project, model, "And the second one?", &["And the second one?", "When is the", REPLY]);

    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new(), "nothing survives");
    project.run(&["up"]).ok();
    until_screen(project, |s| s.contains("And the second one?") && ready(s));
    ask(project, model, &format!("Now {CALL}."), &[PRINTED, CALL, "And the second one?", "When is the"]);
    until_screen(project, ready);
    does_a_task(project, model);
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new(), "nothing survives");
}

/// What is said to a program that came back.
#[derive(PartialEq)]
enum Talk {
    Words,
    /// And it is made to call a tool.
    Call,
}

/// Started, answered, killed, back in the same conversation: the short form, for programs that take their time to start.
#[track_caller]
fn comes_back(project: &TestProject, model: &ModelServer, talk: &Talk) {
    project.run(&["up"]).ok();
    until_screen(project, |s| s.contains(REPLY));
    project.until("its turn has ended", |s| of(s, "lead")["activity"] == "idle");
    let before = project.pid("lead");
    kill(before);
    project.until("another process plays it", |s| of(s, "lead")["pid"].as_i64().is_some_and(|p| p != i64::from(before)));
    // What it sends holds what was said before the other was killed.
    ask(project, model, "And the second one?", &["And the second one?", "When is the", REPLY]);
    if *talk == Talk::Call {
        ask(project, model, &format!("Now {CALL}."), &[PRINTED, CALL, "And the second one?", "When is the"]);
    }
    does_a_task(project, model);
    assert!(!of(&project.status(), "lead")["version"].as_str().unwrap().is_empty());
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new(), "nothing survives");
}

#[test]
fn opencode_goes_on_with_its_conversation() {
    let Some(bin) = folder_of("opencode") else { return };
    let model = ModelServer::start();
    // It looks nothing up and installs nothing: the test has its own model, and maybe no network.
    let quiet =
        ["DEFAULT_PLUGINS", "MODELS_FETCH", "LSP_DOWNLOAD", "SHARE"].map(|what| format!("OPENCODE_DISABLE_{what} = '1'")).join(", ");
    let project = stage("opencode", &bin, &quiet);
    let config = serde_json::json!({ "model": "tide/tide-1", "small_model": "tide/tide-1", "provider": { "tide": {
        "npm": "@ai-sdk/openai-compatible", "name": "tide", "models": { "tide-1": { "name": "tide-1" } },
        "options": { "baseURL": format!("http://127.0.0.1:{}/v1", model.port), "apiKey": "none" } } } });
    let home = project.root().join("home/.config/opencode");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("opencode.json"), config.to_string()).unwrap();
    comes_back(&project, &model, &Talk::Call);
}

#[test]
fn gemini_goes_on_with_its_conversation() {
    let Some(bin) = folder_of("gemini") else { return };
    let model = ModelServer::start();
    let env =
        format!("GEMINI_API_KEY = 'none', GEMINI_MODEL = 'gemini-2.5-pro', GOOGLE_GEMINI_BASE_URL = 'http://127.0.0.1:{}'", model.port);
    let project = stage("gemini", &bin, &env);
    let home = project.root().join("home/.gemini");
    std::fs::create_dir_all(&home).unwrap();
    let settings = r#"{ "security": { "auth": { "selectedType": "gemini-api-key" } }, "general": { "enableAutoUpdate": false } }"#;
    std::fs::write(home.join("settings.json"), settings).unwrap();
    comes_back(&project, &model, &Talk::Words);
}

#[test]
fn aider_goes_on_with_its_conversation() {
    let Some(bin) = folder_of("aider") else { return };
    let model = ModelServer::start();
    let env = format!(
        "OPENAI_API_KEY = 'none', OPENAI_API_BASE = 'http://127.0.0.1:{}/v1', AIDER_MODEL = 'openai/tide-1', AIDER_ANALYTICS_DISABLE = 'true', \
         AIDER_SHOW_MODEL_WARNINGS = 'false', LITELLM_LOCAL_MODEL_COST_MAP = 'True'",
        model.port
    );
    let project = stage("aider", &bin, &env);
    // Outside a repository it would ask whether to make one.
    assert!(Command::new("git").args(["init", "-q"]).current_dir(&project.folder).status().unwrap().success());
    for (key, value) in [("user.name", "t"), ("user.email", "t@example.org")] {
        assert!(Command::new("git").args(["config", key, value]).current_dir(&project.folder).status().unwrap().success());
    }
    comes_back(&project, &model, &Talk::Words);
}

#[test]
fn claude_goes_on_with_its_conversation() {
    let Some(bin) = folder_of("claude") else { return };
    let model = ModelServer::start();
    let project = stage("claude", &bin, &claude_env(&model));
    let home = project.root().join("home/.claude");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("settings.json"), r#"{ "permissions": { "allow": ["Bash(printf:*)"] } }"#).unwrap();
    // What is asked once of every user; `trust` is for what is asked in every folder.
    let seed = r#"{ "hasCompletedOnboarding": true, "theme": "dark" }"#;
    std::fs::write(project.root().join("home/.claude.json"), seed).unwrap();
    let transcript = |project: &TestProject| {
        let folder = project.folder.to_str().unwrap().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        home.join("projects").join(folder).join(resume_id(project).unwrap()).with_extension("jsonl")
    };
    lives_on(&project, &model, "record", transcript, |screen| screen.lines().any(|l| l.trim_end_matches(['\u{a0}', ' ']) == "❯"));
}

fn claude_env(model: &ModelServer) -> String {
    let port = model.port;
    format!("ANTHROPIC_BASE_URL = 'http://127.0.0.1:{port}', ANTHROPIC_AUTH_TOKEN = 'none', CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC = '1'")
}

#[test]
fn codex_goes_on_with_its_conversation() {
    let Some(bin) = folder_of("codex") else { return };
    let model = ModelServer::start();
    let project = stage("codex", &bin, "RUST_LOG = 'error'");
    // In a repository it would ask whether to trust it.
    assert!(Command::new("git").args(["init", "-q"]).current_dir(&project.folder).status().unwrap().success());
    let home = project.root().join("home/.codex");
    std::fs::create_dir_all(&home).unwrap();
    let config = format!(
        "model_provider = 'tide'\nmodel = 'tide-1'\napproval_policy = 'never'\nsandbox_mode = 'danger-full-access'\n\
         [model_providers.tide]\nname = 'tide'\nbase_url = 'http://127.0.0.1:{}/v1'\nwire_api = 'responses'\n",
        model.port
    );
    std::fs::write(home.join("config.toml"), config).unwrap();
    let rollouts = || {
        let days = Command::new("find").arg(home.join("sessions")).args(["-name", "rollout-*.jsonl"]).output().unwrap();
        String::from_utf8(days.stdout).unwrap()
    };
    let transcript = |project: &TestProject| {
        until_line(&project.data().join("events.jsonl"), "its file is open");
        rollouts().lines().next().unwrap().into()
    };
    lives_on(&project, &model, "screen", transcript, |screen| screen.contains("› Ask Codex to do anything"));
    let id = resume_id(&project).expect("its conversation was found");
    let files = rollouts();
    assert!(files.lines().any(|f| f.ends_with(&format!("-{id}.jsonl"))), "{id}: {files}");
}
