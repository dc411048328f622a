//! Engines take over from each other while agents print, people look on and messages are sent: same processes, not a byte lost.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agents::contract::control::{BYTES, JSON, ToHost};
use agents::os::clock::monotonic;
use agents::os::pty::Size;
use agents::os::socket::Stream;

use crate::project::{Lines, TestProject, said};

const LIMIT: Duration = Duration::from_secs(30);

/// An agent that prints numbered lines as fast as it can until the file `stop` is there, and one that keeps what it is told.
const BUSY: &str = r#"
[project]
name = "web"
session_prefix = "int"

[agent.printer]
backend = "printer"
[backend.printer]
start = ["sh", "-c", "echo $$ >> starts; i=0; while [ ! -e stop ]; do i=$((i+1)); echo line $i; done; echo end $i; exec sleep 1000000"]

[agent.listener]
backend = "listener"
[backend.listener]
start = ["sh", "-c", "echo $$ >> starts; echo ready; while read -r line; do echo \"$line\" >> taken; done"]
"#;

const OWN: &str = env!("CARGO_PKG_VERSION");
const OTHER: &str = "9.8.7";

/// Copies of the engine as a build cache holds them: this one, and one that says another version wherever it says its own.
struct Engines {
    _folder: tempfile::TempDir,
    own: PathBuf,
    other: PathBuf,
}

impl Engines {
    fn new() -> Engines {
        let folder = tempfile::Builder::new().prefix("ag").tempdir_in("/tmp").unwrap();
        let place = |name: &str| folder.path().join("engines").join(name.repeat(20)).join("agents");
        let (own, other) = (place("a0"), place("b1"));
        let program = std::fs::read(env!("CARGO_BIN_EXE_agents")).unwrap();
        write_program(&own, &program);
        assert_eq!(OWN.len(), OTHER.len());
        write_program(&other, &replaced(program, OWN, OTHER));
        let engines = Engines { own, other, _folder: folder };
        for (engine, version) in [(&engines.own, OWN), (&engines.other, OTHER)] {
            assert_eq!(said_by(engine, &["--version"]), format!("agents {version}\n"));
        }
        engines
    }
}

fn said_by(engine: &Path, args: &[&str]) -> String {
    let mut command = Command::new(engine);
    command.args(args);
    said(command).ok().stdout
}

fn write_program(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn replaced(mut program: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
    let places: Vec<usize> = program.windows(from.len()).enumerate().filter(|(_, w)| *w == from.as_bytes()).map(|(i, _)| i).collect();
    assert!(!places.is_empty() && from.len() == to.len());
    for at in places {
        program[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    program
}

/// The processes of a project's engine and agents, and which program the daemons run.
fn processes(project: &TestProject, sessions: &[&str]) -> Vec<i32> {
    let status = project.status();
    let mut all = vec![status["watchdog"]["pid"].as_i64().unwrap() as i32];
    all.extend(status["agents"].as_array().unwrap().iter().map(|a| a["pid"].as_i64().unwrap() as i32));
    all.extend(sessions.iter().map(|s| project.host(s)));
    all
}

fn runtime(project: &TestProject) -> PathBuf {
    let hash = project.data().file_name().unwrap().to_str().unwrap()[..12].to_owned();
    project.root().join("run/agents").join(hash)
}

fn say(stream: &mut Stream, message: &impl serde::Serialize, fds: Vec<OwnedFd>) {
    stream.queue(JSON, &serde_json::to_vec(message).unwrap(), fds);
    stream.flush_by(monotonic() + LIMIT).unwrap();
}

/// The numbers of the lines in a terminal's output, from the first whole one on; nothing may be missing between them.
fn check_lines(output: &[u8]) -> Option<(u64, u64)> {
    let text = String::from_utf8_lossy(output);
    let whole = &text[text.find('\n')? + 1..text.rfind('\n')? + 1];
    let mut span: Option<(u64, u64)> = None;
    for line in whole.split_terminator("\r\n") {
        if line.starts_with("end ") {
            break;
        }
        let number = line.strip_prefix("line ").and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{line:?} after {span:?}"));
        if let Some((_, last)) = span {
            assert_eq!(number, last + 1, "the next line");
        }
        span = Some((span.map_or(number, |(first, _)| first), number));
    }
    span
}

/// Looks on until told to stop: how many bytes came. The connection never ends, and what comes on it has no gap, unless it was too slow and got the
/// screen instead, which begins with an escape.
fn look_on(socket: &Path, stop: &AtomicBool) -> (usize, usize) {
    let mut stream = Stream::connect(socket).unwrap();
    say(&mut stream, &ToHost::Attach { size: Size { rows: 24, cols: 80 }, read_only: true }, vec![]);
    let (mut stretch, mut bytes, mut longest) = (vec![], 0, 0);
    while !stop.load(Ordering::Relaxed) {
        let frame = stream.next_by(monotonic() + LIMIT).expect("the connection lasts");
        assert_eq!(frame.kind, BYTES, "{}", String::from_utf8_lossy(&frame.payload));
        bytes += frame.payload.len();
        if frame.payload.contains(&0x1b) {
            stretch.clear();
        } else {
            stretch.extend(frame.payload);
        }
        if stretch.len() > 4 << 20 {
            longest = longest.max(check_lines(&stretch).map_or(0, |(first, last)| last - first));
            stretch.clear();
        }
    }
    longest = longest.max(check_lines(&stretch).map_or(0, |(first, last)| last - first));
    (bytes, longest as usize)
}

/// Sends one message after the other until told to stop; what was sent.
fn send_on(project: &TestProject, stop: &AtomicBool) -> Vec<String> {
    let mut sent = vec![];
    while !stop.load(Ordering::Relaxed) {
        let text = format!("message {}", sent.len() + 1);
        project.run(&["send", "listener", &text]).ok();
        sent.push(text);
    }
    sent
}

fn upgrades_under_load(engines: &Engines, rounds: usize) {
    let project = TestProject::new(BUSY);
    said(project.command_of(&engines.own, &["up"])).ok();
    let before = processes(&project, &["int-1", "int-2"]);
    let socket = runtime(&project).join("int-1.sock");
    let stop = AtomicBool::new(false);
    let (sent, (bytes, longest)) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_on(&project, &stop));
        let viewer = scope.spawn(|| look_on(&socket, &stop));
        for round in 0..rounds {
            let (engine, version) = if round % 2 == 0 { (&engines.other, OTHER) } else { (&engines.own, OWN) };
            let up = said(project.command_of(engine, &["up"])).ok();
            assert!(up.stderr.contains("took over from") && up.stderr.contains("2 sessions kept"), "{up:#?}");
            assert_eq!(project.status()["engine"]["version"], version);
            assert_eq!(processes(&project, &["int-1", "int-2"]), before);
            for pid in [before[0], before[3], before[4]] {
                assert_eq!(std::fs::read_link(format!("/proc/{pid}/exe")).unwrap(), *engine);
            }
            if viewer.is_finished() || sender.is_finished() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        (sender.join().unwrap(), viewer.join().unwrap())
    });
    std::fs::write(project.folder.join("stop"), "").unwrap();
    Lines::of(project.command(&["logs", "-f", "printer"])).until("end ");
    let log = |name: &str| std::fs::read(project.data().join("logs").join(name)).unwrap_or_default();
    let (first, last) = check_lines(&[b"\r\n".to_vec(), log("int-1.log.1"), log("int-1.log")].concat()).unwrap();
    let taken = std::fs::read_to_string(project.folder.join("taken")).unwrap();
    assert_eq!(taken.lines().collect::<Vec<_>>(), sent);
    assert_eq!(std::fs::read_to_string(project.folder.join("starts")).unwrap().lines().count(), 2, "nobody was started again");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
    println!(
        "{rounds} upgrades, lines {first} to {last} in the log, {bytes} bytes and {longest} lines in a row seen, {} messages",
        sent.len()
    );
}

/// `UPGRADES=100` for the long form.
#[test]
fn not_a_byte_is_lost_while_engines_take_over_from_each_other() {
    let rounds = std::env::var("UPGRADES").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    upgrades_under_load(&Engines::new(), rounds);
}
