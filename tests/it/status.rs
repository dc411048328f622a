//! What `fleet status` tells of projects in every state, and how it follows their changes.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::home::TestHome;

fn status(home: &TestHome, args: &[&str]) -> Vec<Value> {
    let ran = home.fleet(&[&["status", "--json"], args].concat());
    let report: Value = serde_json::from_str(&ran.out).unwrap_or_else(|e| panic!("{e}: {}{}", ran.out, ran.err));
    report["projects"].as_array().unwrap().clone()
}

/// One project's facts: state, pin's state, agents up, note.
fn told(project: &Value) -> String {
    let agents = project["agents"].as_array().unwrap();
    let up = agents.iter().filter(|a| a["state"] == "up").count();
    let note = project["error"].as_str().unwrap_or("-");
    format!(
        "{}: {}, pin {} {}, {up}/{} up; {note}",
        project["name"].as_str().unwrap(),
        project["state"].as_str().unwrap(),
        project["pin"]["state"].as_str().unwrap(),
        project["pin"]["version"].as_str().unwrap_or("-"),
        agents.len()
    )
}

#[test]
fn one_broken_project_neither_stops_nor_hides_the_others() {
    let home = TestHome::new();
    for name in ["runs", "rests", "gone", "bare", "unborn", "drifted", "moved", "pinless", "tagless", "odd", "empty"] {
        home.fleet(&["create", name, "--backend", "shell"]).ok();
    }
    home.fleet(&["start", "runs"]).ok();
    let in_project = |name: &str, args: &[&str]| home.git(&home.project(name), args);
    std::fs::remove_dir_all(home.project("gone")).unwrap();
    std::fs::remove_dir_all(home.project("bare").join(".git")).unwrap();
    in_project("unborn", &["update-ref", "-d", "HEAD"]);
    in_project("drifted/engine", &["commit", "-q", "--allow-empty", "-m", "local"]);
    in_project("pinless", &["rm", "-q", "--cached", "engine"]);
    in_project("pinless", &["commit", "-q", "-m", "no engine"]);
    in_project("tagless/engine", &["commit", "-q", "--allow-empty", "-m", "local"]);
    in_project("tagless", &["commit", "-q", "-a", "-m", "own engine"]);
    std::fs::write(home.project("odd").join("agents.toml"), "[agent.one]\nbackend = shell\n").unwrap();
    std::fs::write(home.project("empty").join(".git/HEAD"), "").unwrap();
    // As if the tag had meant another commit when it was pinned.
    let (before, after) = home.registry().split_once("name = \"moved\"").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let commit = home.pin("moved");
    home.write("home/fleet.toml", &format!("{before}name = \"moved\"{}", after.replacen(&commit, &"1".repeat(40), 1)));

    let all: Vec<String> = status(&home, &[]).iter().map(told).collect();
    insta::with_settings!({ filters => vec![(r"(at|pins) [0-9a-f]{10},", "$1 [commit],"), (r"v\d+\.\d+\.\d+", "[version]")] }, {
        assert_snapshot!(all.join("\n"), @r##"
        runs: up, pin ok [version], 1/1 up; -
        rests: down, pin ok [version], 0/0 up; -
        gone: missing, pin missing -, 0/0 up; its folder is not there
        bare: invalid, pin missing -, 0/0 up; ~/projects/bare is no git repository
        unborn: down, pin unborn -, 0/0 up; nothing is committed yet
        drifted: down, pin drifted [version], 0/0 up; engine/ is at [commit], HEAD pins [version]
        moved: down, pin moved [version], 0/0 up; tag [version] now means another commit than when it was pinned
        pinless: down, pin missing -, 0/0 up; its HEAD records no engine
        tagless: down, pin drifted -, 0/0 up; HEAD pins [commit], the registry says [version]
        odd: invalid, pin ok [version], 0/0 up; agents.toml:2: string values must be quoted, expected literal string
        empty: invalid, pin missing -, 0/0 up; The reference at "HEAD" could not be decoded
        "##);
    });
    let ran = home.fleet(&["status", "--long"]);
    assert_eq!(ran.code, 0);
    for word in ["engine drifted", "pin without a tag", "main", "clean"] {
        assert!(ran.out.contains(word), "no {word:?} in\n{}", ran.out);
    }
}

#[test]
fn engines_that_hang_cost_two_seconds_together_and_are_unknown() {
    let home = TestHome::new();
    let names = ["one", "two", "three"];
    let mut listeners = vec![];
    for name in names {
        home.fleet(&["create", name, "--backend", "shell"]).ok();
        let info: Value = serde_json::from_str(&home.agents(name, &["status", "--json"]).out).unwrap();
        let hash = info["instance"].as_str().unwrap().split('-').next().unwrap().to_owned();
        let folder = home.file("run/agents").join(hash);
        std::fs::create_dir_all(&folder).unwrap();
        // It takes the connection and never says a word.
        listeners.push(UnixListener::bind(folder.join("watchdog.sock")).unwrap());
    }
    let start = Instant::now();
    let all = status(&home, &[]);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?} for three that hang", start.elapsed());
    for project in &all {
        assert_eq!(project["state"], "unknown");
        assert!(project["error"].as_str().unwrap().contains("does not answer"), "{project}");
    }
    drop(listeners);
}

/// A `fleet status --watch` whose output is read line by line.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn of(home: &TestHome, args: &[&str]) -> Watching {
        let mut command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
        let mut child = command.args(["status", "--watch", "--json"]).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        Watching { child, lines }
    }

    /// Waits for a report that is as described; what comes before it is passed over.
    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        let mut last = String::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(20)) {
            let report: Value = serde_json::from_str(&line).unwrap();
            if is_so(&report["projects"]) {
                return;
            }
            last = line;
        }
        panic!("never {what}; the last was {last}");
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_change_is_told_as_it_happens() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let mut watching = Watching::of(&home, &["--long"]);
    watching.until("down", |p| p[0]["state"] == "down");
    home.fleet(&["start", "web"]).ok();
    watching.until("up", |p| p[0]["state"] == "up" && p[0]["agents"][0]["state"] == "up");
    let pid = status(&home, &[])[0]["agents"][0]["pid"].as_i64().unwrap();
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL).unwrap();
    watching.until("healed", |p| p[0]["agents"][0]["heals"] == 1 && p[0]["state"] == "up");
    home.git(&home.project("web"), &["switch", "-q", "-c", "topic"]);
    watching.until("on another branch", |p| p[0]["git"]["branch"] == "topic");
    home.git(&home.project("web"), &["commit", "-q", "--allow-empty", "-m", "more"]);
    std::fs::write(home.project("web").join("fresh"), "new").unwrap();
    watching.until("untracked", |p| p[0]["git"]["untracked"] == 1);
    home.fleet(&["stop", "web"]).ok();
    watching.until("down again", |p| p[0]["state"] == "down");
    home.fleet(&["create", "api", "--backend", "shell"]).ok();
    watching.until("two", |p| p.as_array().unwrap().len() == 2 && p[1]["name"] == "api");
    let child = Pid::from_child(&watching.child);
    kill_process(child, Signal::TERM).unwrap();
    assert!(watching.child.wait().unwrap().success());
}

#[test]
fn without_a_terminal_there_is_nothing_to_draw_on() {
    let home = TestHome::new();
    assert_snapshot!(home.fleet(&["status", "--watch"]).fails(2), @r"
    error: --watch draws on a terminal; standard output is none
    hint: --watch --json writes a line at every change, anywhere
    ");
}

#[test]
fn the_terminal_is_whole_after_watching() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    // script(1) gives the program a terminal; afterwards stty tells how that was left.
    if std::process::Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no script(1)");
        return;
    }
    for (how, key) in [("q", &b"q"[..]), ("Ctrl-C", b"\x03"), ("TERM", b""), ("HUP", b"")] {
        let watch = format!("sh -c 'echo $$ >pid; exec {} status --watch'", env!("CARGO_BIN_EXE_fleet"));
        let inner = format!("stty -a; {watch}; echo; echo ended=$?; stty -a");
        let mut command = home.command("script", &home.file("home"));
        command.args(["-qec", &inner, "/dev/null"]).env("TERM", "xterm");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut seen = String::new();
        let mut buffer = [0; 4096];
        let mut typed = false;
        while let Ok(got @ 1..) = out.read(&mut buffer) {
            seen.push_str(&String::from_utf8_lossy(&buffer[..got]));
            if !typed && seen.contains("q ends") {
                match key {
                    b"" => {
                        let pid = home.read("home/pid");
                        assert!(std::process::Command::new("kill").args(["-s", how, pid.trim()]).status().unwrap().success());
                    }
                    key => child.stdin.as_mut().unwrap().write_all(key).unwrap(),
                }
                typed = true;
            }
            if seen.matches("speed").count() == 2 && seen.trim_end().ends_with("echoke") {
                break;
            }
        }
        drop(child.stdin.take());
        let _ = child.wait();
        let (before, rest) = seen.split_once("\x1b[?1049h").unwrap_or_else(|| panic!("{how}: {seen:?}"));
        assert!(rest.contains("web") && rest.contains("PROJECT"), "{how}: {rest:?}");
        let (_, after) = rest.split_once("\x1b[?7h\x1b[?25h\x1b[?1049l").unwrap_or_else(|| panic!("{how}: not left: {seen:?}"));
        assert!(after.contains("ended=0"), "{how}: {after:?}");
        let settings = |text: &str| text.split_once("speed").map(|(_, s)| s.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(settings(before), settings(after), "{how}: the terminal is not as it was");
    }
}
