//! Engines take over from each other while agents print, people look on and messages are sent: same processes, not a byte lost.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agents::contract::control::{BYTES, FromWatchdog, JSON, ToHost, ToWatchdog};
use agents::os::clock::monotonic;
use agents::os::pty::Size;
use agents::os::socket::Stream;

use crate::chaos::{Census, SLEEP, all_up, crowd, labels_are_right};
use crate::project::{Lines, TWO, TestProject, of, said};
use crate::steps::Strace;

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
pub struct Engines {
    _folder: tempfile::TempDir,
    pub own: PathBuf,
    pub other: PathBuf,
}

impl Engines {
    pub fn new() -> Engines {
        let folder = tempfile::Builder::new().prefix("ag").tempdir_in("/tmp").unwrap();
        let place = |name: &str| folder.path().join("engines").join(name.repeat(20)).join("agents");
        let (own, other) = (place("a0"), place("b1"));
        let program = std::fs::read(env!("CARGO_BIN_EXE_agents")).unwrap();
        write_program(&own, &program);
        assert_eq!(OWN.len(), OTHER.len());
        write_program(&other, &replaced(program, OWN, OTHER));
        for (engine, version) in [(&own, OWN), (&other, OTHER)] {
            assert_eq!(version_of(engine), version);
        }
        Engines { own, other, _folder: folder }
    }

    /// This one, and a copy of a program that was built apart.
    fn beside(other: &Path) -> Engines {
        let engines = Engines::new();
        write_program(&engines.other, &std::fs::read(other).unwrap());
        engines
    }
}

fn version_of(engine: &Path) -> String {
    let mut command = Command::new(engine);
    command.arg("--version");
    said(command).ok().stdout.trim().trim_start_matches("agents ").to_owned()
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
    say(&mut stream, &ToHost::Attach { size: Size { rows: 24, cols: 80 }, read_only: true, pane: false, history: 0 }, vec![]);
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
        let _stop = StopAtEnd(&stop);
        let sender = scope.spawn(|| send_on(&project, &stop));
        let viewer = scope.spawn(|| look_on(&socket, &stop));
        for round in 0..rounds {
            let engine = if round % 2 == 0 { &engines.other } else { &engines.own };
            let up = said(project.command_of(engine, &["up"])).ok();
            assert!(up.stderr.contains("took over from") && up.stderr.contains("2 sessions kept"), "{up:#?}");
            assert_eq!(project.status()["engine"]["version"].as_str(), Some(version_of(engine).as_str()));
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

/// Takes minutes: `cargo test -p agents --test it -- --ignored really_built`.
#[test]
#[ignore = "compiles the engine a second time"]
fn engines_that_were_really_built_apart_take_over_from_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["src", "Cargo.toml", "build.rs"] {
        std::fs::create_dir_all(&source).unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-r").args([here.join(part), source.join(part)]);
        said(copy).ok();
    }
    let manifest = std::fs::read_to_string(source.join("Cargo.toml")).unwrap();
    let version = |version: &str| format!("name = \"agents\"\nversion = {version:?}\n");
    assert!(manifest.contains(&version(OWN)));
    // Optimised, so that it is other code through and through.
    let profile = "\n[workspace]\n[profile.dev]\nopt-level = 1\ndebug = false\n";
    std::fs::write(source.join("Cargo.toml"), manifest.replace(&version(OWN), &version(OTHER)) + profile).unwrap();
    std::fs::write(
        source.join("Cargo.lock"),
        std::fs::read_to_string(here.join("Cargo.lock")).unwrap().replace(&version(OWN), &version(OTHER)),
    )
    .unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--offline", "--bin", "agents"]).current_dir(&source).env("CARGO_TARGET_DIR", source.join("target"));
    said(cargo).ok();
    upgrades_under_load(&Engines::beside(&source.join("target/debug/agents")), 100);
}

/// `UPGRADES=100` for the long form; `OTHER_ENGINE=FILE` for the other one, a program that was built apart.
#[test]
fn not_a_byte_is_lost_while_engines_take_over_from_each_other() {
    let rounds = std::env::var("UPGRADES").ok().and_then(|n| n.parse().ok()).unwrap_or(10);
    let engines = std::env::var_os("OTHER_ENGINE").map_or_else(Engines::new, |other| Engines::beside(other.as_ref()));
    upgrades_under_load(&engines, rounds);
}

/// A program that does as `body` says; `verb` is `host` or `watchdog`, `tried` whether it is only to show that it could take over.
fn program(folder: &Path, name: &str, body: &str) -> PathBuf {
    let (source, program) = (folder.join(format!("{name}.rs")), folder.join(name));
    let text = format!(
        "use std::os::unix::process::CommandExt;\n#[allow(unused)]\nfn main() {{ let args: Vec<String> = std::env::args().collect();\n\
         let verb = args[1].as_str(); let tried = args.iter().any(|a| a == \"--try-take-over\"); let ready = \"ready to take over\";\n{body}\n}}\n"
    );
    std::fs::write(&source, text).unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition", "2021", "-o"]).args([&program, &source]);
    said(rustc).ok();
    program
}

/// Asks the watchdog to become this program, as `up` does.
fn ask_for(project: &TestProject, program: &Path) -> Result<usize, String> {
    let mut watchdog = Stream::connect(&runtime(project).join("watchdog.sock")).unwrap();
    say(&mut watchdog, &ToWatchdog::Upgrade, vec![std::fs::File::open(program).unwrap().into()]);
    match watchdog.next_by(monotonic() + LIMIT).map(|frame| serde_json::from_slice(&frame.payload).unwrap()) {
        Ok(FromWatchdog::Upgraded { hosts }) => Ok(hosts),
        Ok(FromWatchdog::Failed { reason }) => Err(reason),
        Ok(other) => panic!("{other:?}"),
        Err(e) => Err(e.to_string()),
    }
}

#[test]
fn where_the_new_program_does_not_take_over_the_old_one_goes_on_and_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let engines = Engines::new();
    let folder = engines.own.parent().unwrap().to_owned();
    let project = TestProject::new(TWO);
    said(project.command_of(&engines.own, &["up"])).ok();
    let before = processes(&project, &["int-1", "int-2"]);
    let goes_on = |what: &str| {
        assert_eq!(processes(&project, &["int-1", "int-2"]), before, "{what}");
        assert_eq!(project.status()["engine"]["version"], OWN, "{what}");
        project.run(&["send", "lead", what]).ok();
        Lines::of(project.command(&["logs", "-f", "lead"])).until(what);
    };
    let text = folder.join("text");
    write_program(&text, b"no program");
    let locked = folder.join("locked");
    std::fs::copy(&engines.other, &locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o644)).unwrap();
    let only_the_watchdog = program(&folder, "only", "if tried && verb == \"watchdog\" { println!(\"{ready}\"); }");
    for (broken, words) in [
        (&text, "Exec format error"),
        (&locked, "Permission denied"),
        (&"/bin/false".into(), "it ended without a word"),
        (&program(&folder, "hangs", "loop { std::thread::park() }"), "it says nothing within 5 s"),
        (&program(&folder, "panics", "panic!(\"no way\")"), "panicked"),
        (&only_the_watchdog, "the host of int-1 was not replaced: it ended without a word"),
    ] {
        let reason = ask_for(&project, broken).unwrap_err();
        assert!(reason.contains(words), "{}: {reason}", broken.display());
        goes_on(words);
    }
    let unable = folder.join("unable");
    write_program(&unable, &replaced(std::fs::read(&engines.other).unwrap(), "--try-take-over", "--cry-take-over"));
    let up = said(project.command_of(&unable, &["up"])).fails(1, &format!("engine {OWN} goes on, as {OTHER} could not take over"));
    assert!(up.stdout.contains("lead    int-1  up"), "{up:?}");
    goes_on("after all");
    // And one that can, can.
    assert_eq!(ask_for(&project, &engines.other), Ok(2));
    assert_eq!(processes(&project, &["int-1", "int-2"]), before);
}

/// It passes its trial and dies all the same: that is a death like any other.
#[test]
fn a_program_that_dies_as_it_takes_over_costs_no_agent() {
    let engines = Engines::new();
    let folder = engines.own.parent().unwrap().to_owned();
    let project = TestProject::new(TWO);
    said(project.command_of(&engines.own, &["up"])).ok();
    let pids = [project.pid("lead"), project.pid("tester")];
    let host = project.host("int-2");
    let up = |s: &serde_json::Value| ["lead", "tester"].iter().all(|a| of(s, a)["state"] == "up");
    let dies = program(&folder, "dies", "if tried { println!(\"{ready}\"); }");
    let reason = ask_for(&project, &dies).unwrap_err();
    assert_eq!(reason, "the host of int-1 was not replaced: it ended meanwhile");
    project.until("both are up", up);
    assert_eq!((project.pid("lead"), project.pid("tester"), project.host("int-2")), (pids[0], pids[1], host), "only the first was tried");
    // The hosts become the other engine, the watchdog dies of it.
    let half = format!(
        "if verb == \"watchdog\" && !tried {{ std::process::exit(1) }}\n\
         panic!(\"{{}}\", std::process::Command::new({:?}).arg0(\"agents\").args(&args[1..]).exec())",
        engines.other
    );
    let half = program(&folder, "half", &half);
    ask_for(&project, &half).unwrap_err();
    let status = project.until("there is a new watchdog, by a host", |s| up(s) && s["engine"]["version"] == OTHER);
    assert_eq!([of(&status, "lead")["pid"].as_i64(), of(&status, "tester")["pid"].as_i64()], pids.map(|pid| Some(i64::from(pid))));
    assert_eq!(project.host("int-2"), host);
    let up = said(project.command_of(&engines.own, &["up"])).ok();
    assert!(up.stderr.contains("2 sessions kept"), "{up:?}");
    assert_eq!([project.pid("lead"), project.pid("tester")], pids);
}

/// System calls of a daemon that hands over and takes over, and up to which occurrence of each it is killed: at the first and the last, with `SWEEP=all`
/// at every one.
const CALLS: &[(&str, usize)] = &[
    ("execve,?execveat", 2),
    ("memfd_create", 3),
    ("write", 4),
    ("read", 4),
    ("fcntl", 6),
    ("flock", 1),
    ("openat", 4),
    ("ioctl", 3),
    ("sendmsg", 2),
    ("recvmsg", 2),
    ("rt_sigprocmask", 2),
    ("signalfd4", 1),
    ("wait4", 2),
    ("?poll,?ppoll", 3),
];

/// Ends what others do in a scope, also where a check fails.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills whoever `pick` names at every step of an upgrade; afterwards every agent is the one it was, or as healthy as after any death.
fn killed_at_every_step(pick: impl Fn(&TestProject, &serde_json::Value) -> i32) {
    let engines = Engines::new();
    let project = TestProject::new(&crowd(2, SLEEP));
    let census = Census::of(&project);
    let first = all_up(&project, 2);
    let stop = AtomicBool::new(false);
    let (mut tried, mut hits) = (0, 0);
    let doubled = std::thread::scope(|scope| {
        let _stop = StopAtEnd(&stop);
        let sampler = scope.spawn(|| {
            let mut doubled = vec![];
            while !stop.load(Ordering::Relaxed) {
                doubled.extend(census.doubled());
            }
            doubled
        });
        let all = std::env::var("SWEEP").is_ok_and(|v| v == "all");
        for (call, most) in CALLS {
            for nth in (1..=*most).filter(|nth| all || *nth == 1 || nth == most) {
                let status = all_up(&project, 2);
                let Some(strace) = Strace::follow(pick(&project, &status), call, nth) else {
                    println!("skipped: strace is not installed or may not follow processes");
                    return vec![];
                };
                // It may say that somebody died meanwhile.
                let up = said(project.command_of(&engines.other, &["up"]));
                // On a busy machine the command that lost its watchdog or a host tells of it before strace does.
                hits += usize::from(strace.hit.load(Ordering::Relaxed) || up.code != 0);
                drop(strace);
                let after = all_up(&project, 2);
                labels_are_right(&census, &project);
                let pids = |s: &serde_json::Value| ["a1", "a2"].map(|a| of(s, a)["pid"].as_i64());
                assert_eq!(pids(&after), pids(&first), "{call} {nth}: an agent was started again");
                tried += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        sampler.join().unwrap()
    });
    assert_eq!(doubled, Vec::<String>::new());
    assert!(tried == 0 || hits * 2 > tried, "most steps are taken: {hits} of {tried}");
    println!("killed at {hits} of {tried} steps of an upgrade: no agent doubled, none started again");
}

#[test]
fn a_host_is_killed_at_every_step_of_an_upgrade() {
    killed_at_every_step(|project, _| project.host("int-1"));
}

#[test]
fn a_watchdog_is_killed_at_every_step_of_an_upgrade() {
    killed_at_every_step(|_, status| status["watchdog"]["pid"].as_i64().unwrap() as i32);
}

#[test]
fn upgrade_starts_and_stops_nothing() {
    let engines = Engines::new();
    let project = TestProject::new(TWO);
    assert!(project.run(&["upgrade"]).ok().stderr.contains("nothing is running"));
    said(project.command_of(&engines.own, &["up"])).ok();
    project.run(&["down", "tester"]).ok();
    let lead = project.pid("lead");
    let said_once = said(project.command_of(&engines.other, &["upgrade"])).ok();
    assert!(said_once.stderr.contains(&format!("engine {OTHER} took over from {OWN}; 1 session kept")), "{said_once:?}");
    assert!(said(project.command_of(&engines.other, &["upgrade"])).ok().stderr.contains("this engine runs already"));
    let status = project.status();
    assert_eq!((of(&status, "lead")["pid"].as_i64(), &of(&status, "tester")["state"]), (Some(i64::from(lead)), &"down".into()));
    // A program whose file is gone goes on and is replaced like any other.
    std::fs::remove_file(&engines.other).unwrap();
    let up = said(project.command_of(&engines.own, &["up", "lead", "--no-live"])).ok();
    assert!(!up.stderr.contains("took over"), "{up:?}");
    assert_eq!(project.status()["engine"]["version"], OTHER);
    assert!(said(project.command_of(&engines.own, &["up", "lead"])).ok().stderr.contains("took over"));
    assert_eq!((project.pid("lead"), &of(&project.status(), "tester")["state"]), (lead, &"down".into()));
}
