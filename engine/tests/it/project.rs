//! A throw-away project with everything it writes in one folder, gone with all its processes at the end of the test.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Generous, as machines are slow now and then; what is waited for takes milliseconds, seconds where a test names a time.
const DEADLINE: Duration = Duration::from_secs(60);

/// An agent writes a file a moment after its state has changed, and no other change need follow.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Two agents of a backend that says who it is and then repeats what it is told.
pub const TWO: &str = r#"
[project]
name = "web"
session_prefix = "int"

[agent.lead]
backend = "echo"

[agent.tester]
backend = "echo"

[backend.echo]
start = ["sh", "-c", "echo $$ >> starts; echo first; exec cat"]
resume = ["sh", "-c", "echo $$ >> starts; echo again; exec cat"]
"#;

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    /// Exit status 0, or the test fails with what was said.
    #[track_caller]
    pub fn ok(self) -> Said {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }
    /// This exit status, and these words on stderr.
    #[track_caller]
    pub fn fails(self, code: i32, words: &str) -> Said {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(self.stderr.contains(words), "{words:?} is not in {self:#?}");
        self
    }
}

#[must_use]
pub struct TestProject {
    root: TempDir,
    pub folder: PathBuf,
}

impl TestProject {
    pub fn new(config: &str) -> TestProject {
        // Sockets' paths are limited to 107 bytes, so a short place.
        let root = tempfile::Builder::new().prefix("ag").tempdir_in("/tmp").unwrap();
        for name in ["home", "run", "web"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
        }
        let folder = root.path().join("web").canonicalize().unwrap();
        let project = TestProject { folder, root };
        project.write_config(config);
        project
    }

    pub fn write_config(&self, config: &str) {
        std::fs::write(self.folder.join("agents.toml"), in_runtime(config)).unwrap();
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_agents")), args)
    }

    /// The same by another engine.
    pub fn command_of(&self, engine: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(engine);
        let root = self.root.path();
        command.args(args).current_dir(&self.folder).env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", root.join("home")).env("XDG_RUNTIME_DIR", root.join("run"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Said {
        said(self.command(args))
    }

    /// What `agents status --json` says.
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.run(&["status", "--json"]).ok().stdout).unwrap()
    }

    /// The process of an agent that is up.
    #[track_caller]
    pub fn pid(&self, agent: &str) -> i32 {
        let status = self.status();
        of(&status, agent)["pid"].as_i64().unwrap_or_else(|| panic!("{agent} has no process: {status:#}")) as i32
    }

    /// Waits until the state is as wanted; every change is looked at as it happens, and what the state says nothing of now and then.
    #[track_caller]
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Value) -> bool) -> Value {
        let watch = Lines::of(self.command(&["status", "--watch", "--json"]));
        let mut last = Value::Null;
        let began = Instant::now();
        loop {
            match watch.lines.recv_timeout(LOOK_AGAIN) {
                Ok(line) => last = serde_json::from_str(&line).unwrap(),
                Err(mpsc::RecvTimeoutError::Timeout) if began.elapsed() < DEADLINE => {}
                Err(_) => panic!("not within {DEADLINE:?}: {what}; last: {last:#}"),
            }
            if !last.is_null() && holds(&last) {
                return last;
            }
        }
    }

    /// Where the engine keeps this project's data.
    pub fn data(&self) -> PathBuf {
        let info: Value = serde_json::from_str(&self.run(&["info", "--json"]).ok().stdout).unwrap();
        info["data"].as_str().unwrap().into()
    }

    /// What tells this project's instance from all others.
    pub fn hash(&self) -> String {
        self.data().file_name().unwrap().to_str().unwrap().split('-').next().unwrap().to_owned()
    }

    /// The folder of a session's control group; none where none can be made here.
    pub fn group(&self, session: &str) -> Option<PathBuf> {
        let info: Value = serde_json::from_str(&self.run(&["info", "--json"]).ok().stdout).unwrap();
        let run = std::fs::read_to_string(Path::new(info["runtime"].as_str()?).join(format!("{session}.run"))).ok()?;
        let run: Value = serde_json::from_str(&run).ok()?;
        Some(run["group"].get(0)?.as_str()?.into())
    }

    /// The engine's daemons of this project, and every process that carries its mark.
    pub fn processes(&self) -> Vec<i32> {
        let ours = self.root.path().to_str().unwrap().as_bytes();
        let contains = |bytes: Vec<u8>| bytes.windows(ours.len()).any(|w| w == ours);
        let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| {
            let read = |what: &str| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            *pid != std::process::id() as i32 && (contains(read("cmdline")) || contains(read("environ")))
        })
        .collect()
    }

    /// Kills everything, also what is started meanwhile by those who have not been killed yet.
    pub fn kill_all(&self) {
        // What is just being executed shows neither arguments nor environment, so one look without anybody is not enough.
        let mut nobody = 0;
        while nobody < 5 {
            let victims = self.processes();
            nobody = if victims.is_empty() { nobody + 1 } else { 0 };
            victims.iter().copied().for_each(kill);
            // One that is killed loses its command line first and its locks last.
            victims.into_iter().for_each(|victim| {
                while is_alive(victim) {
                    std::thread::yield_now();
                }
            });
        }
    }

    /// The host of a session.
    pub fn host(&self, session: &str) -> i32 {
        self.find_host(session).expect("the session has a host")
    }

    /// The same, if it has one.
    pub fn find_host(&self, session: &str) -> Option<i32> {
        let is_host = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|b| *b == 0).collect();
            words.get(1) == Some(&b"host".as_slice()) && words.contains(&session.as_bytes())
        };
        self.processes().into_iter().find(is_host)
    }
}

impl Drop for TestProject {
    fn drop(&mut self) {
        let _ = self.command(&["--quiet", "down"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        // A test that broke something leaves nothing behind either.
        self.kill_all();
    }
}

/// The configuration with the runtime that the tests are to run over, where it names none: `AGENTS_TEST_RUNTIME`.
fn in_runtime(config: &str) -> String {
    let Ok(runtime) = std::env::var("AGENTS_TEST_RUNTIME") else { return config.to_owned() };
    if config.contains("runtime = ") {
        return config.to_owned();
    }
    let key = format!("runtime = {runtime:?}\n");
    match config.split_once("[project]\n") {
        Some((before, after)) => format!("{before}[project]\n{key}{after}"),
        // What is broken on purpose stays as it is, with its lines where they are.
        None if config.parse::<toml::Table>().is_err() => config.to_owned(),
        None => format!("{config}\n[project]\n{key}"),
    }
}

/// The agent of that name in a status.
pub fn of<'a>(status: &'a Value, agent: &str) -> &'a Value {
    status["agents"].as_array().unwrap().iter().find(|a| a["name"] == agent).unwrap_or(&Value::Null)
}

pub fn said(mut command: Command) -> Said {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

pub fn kill(pid: i32) {
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL);
}

pub fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rfind(')').is_some_and(|at| !stat[at..].starts_with(") Z") && !stat[at..].starts_with(") X"))
}

/// A running command's standard output, line by line; ended with the test.
pub struct Lines {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Lines {
    pub fn of(mut command: Command) -> Lines {
        Lines::from_child(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// One that runs already, with its output piped.
    pub fn from_child(mut child: Child) -> Lines {
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Lines { child, lines }
    }

    /// The next line; none when there is none in time.
    pub fn next(&mut self) -> Option<String> {
        self.lines.recv_timeout(DEADLINE).ok()
    }

    /// Waits for a line that holds these words.
    #[track_caller]
    pub fn until(&mut self, words: &str) -> String {
        let start = Instant::now();
        let mut seen = vec![];
        while start.elapsed() < DEADLINE {
            match self.next() {
                Some(line) if line.contains(words) => return line,
                Some(line) => seen.push(line),
                None => break,
            }
        }
        panic!("{words:?} never came; there was {seen:#?}")
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs with this text as standard input.
pub fn said_with_input(mut command: Command, input: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}
