//! Messages: each is taken once, in order, whoever dies; none is typed where it would do harm.

use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agents::contract::control::{BYTES, JSON, ToHost};
use agents::os::clock::monotonic;
use agents::os::pty::Size;
use agents::os::socket::Stream;

use crate::chaos::Random;
use crate::foreign_lock::Held;
use crate::project::{Lines, TWO, TestProject, kill, of, said_with_input};

/// An agent that writes down what it reads, line by line.
const RECORDER: &str = r#"
[project]
name = "web"
session_prefix = "int"

[agent.lead]
backend = "recorder"

[backend.recorder]
start = ["sh", "-c", "echo begin; while IFS= read -r line; do echo \"$line\" >> got; done"]
"#;

fn got(project: &TestProject) -> Vec<String> {
    let text = std::fs::read_to_string(project.folder.join("got")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_sent_to_one_who_is_down_waits_for_it() {
    let project = TestProject::new(RECORDER);
    project.run(&["up"]).ok();
    assert_eq!(project.run(&["send", "lead", "one"]).ok().stdout, "taken 1\n");
    project.run(&["down"]).ok();
    let queued = project.run(&["send", "lead", "two"]).ok().stdout;
    assert!(queued.starts_with("queued 2: session int-1 is not running"), "{queued}");
    project.run(&["send", "int-1", "three"]).ok();
    project.run(&["send", "lead", "four\nlines"]).ok();
    project.run(&["mail", "lead", "--drop", "3"]).ok();
    project.run(&["mail", "lead", "--drop", "3"]).ok();
    project.run(&["mail", "lead", "--drop", "1"]).fails(1, "was taken");
    project.run(&["mail", "lead", "--drop", "9"]).fails(2, "no message 9");
    let waits: serde_json::Value = serde_json::from_str(&project.run(&["mail", "lead", "--json"]).ok().stdout).unwrap();
    let ids: Vec<u64> = waits["messages"].as_array().unwrap().iter().map(|m| m["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [2, 4]);
    assert!(project.run(&["mail", "lead"]).ok().stdout.contains("4  queued"));
    let late = project.run(&["send", "--wait=10ms", "lead", "five"]).fails(1, "not taken in time");
    assert!(late.stderr.contains("--drop 5"), "{late:?}");
    project.run(&["up"]).ok();
    project.run(&["send", "--wait=30s", "lead", "six"]).ok();
    assert!(project.run(&["mail", "lead"]).ok().stdout.is_empty());
    project.run(&["down"]).ok();
    assert_eq!(got(&project), ["one", "two", "four", "lines", "five", "six"]);
}

#[test]
fn wrong_texts_are_refused() {
    let project = TestProject::new(TWO);
    project.run(&["up", "lead"]).ok();
    for text in ["", "\n \t", "\x1b"] {
        project.run(&["send", "lead", text]).fails(2, "no text");
    }
    let big = said_with_input(project.command(&["send", "lead", "-"]), &"x".repeat((4 << 20) + 1));
    big.fails(2, "more than 4194304 bytes");
    project.run(&["send", "--wait=soon", "lead", "x"]).fails(2, "90s");
    assert!(project.run(&["mail", "lead"]).ok().stdout.is_empty());
}

/// Kills hosts and watchdogs, never both at once, until told to stop: that would be the end of the terminal. `most`: hosts that die often come back ever later.
fn storm(project: &TestProject, stop: &AtomicBool, seed: u64, watchdogs: bool, most: usize) -> usize {
    let (mut random, mut kills) = (Random(seed), 0);
    let watchdog = |s: &serde_json::Value| s["watchdog"]["pid"].as_i64();
    while !stop.load(Ordering::Relaxed) && kills < most {
        let host = project.host("int-1");
        if watchdogs && random.below(4) == 0 {
            let old = watchdog(&project.status()).unwrap();
            kill(old as i32);
            project.until("another watchdog", |s| watchdog(s).is_some_and(|new| new != old) && of(s, "lead")["state"] == "up");
        } else {
            kill(host);
            while project.find_host("int-1").is_none_or(|new| new == host) {
                std::thread::yield_now();
            }
            project.until("adopted", |s| of(s, "lead")["state"] == "up");
        }
        kills += 1;
        std::thread::sleep(Duration::from_millis(20 + random.below(40)));
    }
    kills
}

#[test]
fn each_message_is_taken_once_and_in_order_while_hosts_watchdogs_and_senders_are_killed() {
    let project = TestProject::new(RECORDER);
    project.run(&["up"]).ok();
    let stop = AtomicBool::new(false);
    let (each, senders) = (30, 3);
    let kills = std::thread::scope(|scope| {
        let storm = scope.spawn(|| storm(&project, &stop, 7, true, 30));
        let sending: Vec<_> = (0..senders)
            .map(|sender| {
                let project = &project;
                scope.spawn(move || {
                    (0..each).for_each(|n| drop(project.run(&["send", "lead", &format!("sender {sender} message {n} end")]).ok()))
                })
            })
            .collect();
        // A sender that is killed has sent its message or has not.
        let mut random = Random(11);
        for n in 0..20 {
            let mut child =
                project.command(&["send", "lead", &format!("victim {n} end")]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
            let _ = child.kill();
            let _ = child.wait();
        }
        sending.into_iter().for_each(|s| s.join().unwrap());
        stop.store(true, Ordering::Relaxed);
        storm.join().unwrap()
    });
    project.run(&["send", "--wait=30s", "lead", "the last"]).ok();
    let began = Instant::now();
    while got(&project).last().is_none_or(|l| l != "the last") {
        assert!(began.elapsed() < Duration::from_secs(20), "{:#?}", got(&project));
        std::thread::yield_now();
    }
    let got = got(&project);
    for sender in 0..senders {
        let of_it: Vec<&String> = got.iter().filter(|l| l.starts_with(&format!("sender {sender} "))).collect();
        let expected: Vec<String> = (0..each).map(|n| format!("sender {sender} message {n} end")).collect();
        assert_eq!(of_it, expected.iter().collect::<Vec<_>>(), "after {kills} kills");
    }
    let victims: Vec<u32> = got.iter().filter_map(|l| l.strip_prefix("victim ")?.strip_suffix(" end")?.parse().ok()).collect();
    assert!(victims.is_sorted_by(|a, b| a < b), "{victims:?}");
    assert_eq!(got.len(), senders * each + victims.len() + 1, "{got:#?}");
    println!("{kills} kills of hosts and watchdogs, {} of 20 killed senders had sent", victims.len());
}

#[test]
fn a_message_of_a_megabyte_comes_whole_while_its_host_is_killed() {
    let project = TestProject::new(&RECORDER.replace(
        r#"["sh", "-c", "echo begin; while IFS= read -r line; do echo \"$line\" >> got; done"]"#,
        r#"["sh", "-c", "stty raw -echo; printf '\\033[?2004h'; exec cat > got"]"#,
    ));
    project.run(&["up"]).ok();
    let text: String = (0..100_000).map(|n| format!("line {n:06}\n")).collect::<String>() + "\u{e9}\x1b[201~\x03 end";
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| storm(&project, &stop, 3, false, 6));
        let sent = said_with_input(project.command(&["send", "--wait=60s", "lead", "-"]), &text).ok();
        assert!(sent.stderr.contains("2 control characters"), "{sent:?}");
        stop.store(true, Ordering::Relaxed);
    });
    let expected = format!("\x1b[200~{}\x1b[201~\r", text.replace(['\x1b', '\x03'], ""));
    let came = std::fs::read_to_string(project.folder.join("got")).unwrap();
    assert!(came == expected, "{} bytes came, {} were to", came.len(), expected.len());
}

#[test]
fn nothing_is_typed_onto_a_question() {
    let project = TestProject::new(
        r#"
[project]
name = "web"
session_prefix = "int"
[agent.lead]
backend = "asks"
[backend.asks]
start = ["sh", "-c", "printf 'Run rm? (y/n) '; read go < go; printf '\\033[2J\\033[Hbusy'; read go < on; printf '\\r> '; while IFS= read -r line; do echo \"$line\" >> got; printf '> '; done"]
ready = '^> '
waiting = '\(y/n\)'
"#,
    );
    let fifos = ["go", "on"].map(|name| project.folder.join(name));
    for fifo in &fifos {
        rustix::fs::mknodat(rustix::fs::CWD, fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    project.run(&["up"]).ok();
    let queued = project.run(&["send", "--wait=500ms", "lead", "yes"]).fails(1, "it waits for a person");
    assert!(queued.stdout.contains("(y/n)"), "{queued:?}");
    kill(project.host("int-1"));
    project.until("adopted", |s| of(s, "lead")["state"] == "up");
    project.run(&["send", "--urgent", "--wait=500ms", "lead", "now"]).fails(1, "it waits for a person");
    assert_eq!(got(&project), Vec::<String>::new());
    std::fs::write(&fifos[0], "\n").unwrap();
    project.run(&["send", "--wait=500ms", "lead", "third"]).fails(1, "message 1 comes first, and: it takes no input now");
    std::fs::write(&fifos[1], "\n").unwrap();
    project.run(&["send", "--wait=30s", "lead", "fourth"]).ok();
    project.run(&["down"]).ok();
    assert_eq!(got(&project), ["yes", "now", "third", "fourth"]);
}

fn attached(project: &TestProject, typed: &[u8]) {
    let hash = &project.data().file_name().unwrap().to_str().unwrap()[..12].to_owned();
    let socket = project.root().join("run/agents").join(hash).join("int-1.sock");
    let mut stream = Stream::connect(Path::new(&socket)).unwrap();
    let attach = ToHost::Attach { size: Size { rows: 24, cols: 80 }, read_only: false, pane: false, history: 0 };
    stream.queue(JSON, &serde_json::to_vec(&attach).unwrap(), vec![]);
    stream.queue(BYTES, typed, vec![]);
    stream.queue(JSON, &serde_json::to_vec(&ToHost::Status).unwrap(), vec![]);
    let limit = monotonic() + Duration::from_secs(10);
    stream.flush_by(limit).unwrap();
    while stream.next_by(limit).unwrap().kind != JSON {}
}

#[test]
fn nothing_is_typed_into_a_line_that_is_half_typed() {
    let project = TestProject::new(RECORDER);
    project.run(&["up"]).ok();
    attached(&project, b"half \x1b[A");
    let why = "a line is half typed";
    project.run(&["send", "--wait=200ms", "lead", "whole"]).fails(1, why);
    kill(project.host("int-1"));
    project.until("adopted", |s| of(s, "lead")["state"] == "up");
    project.run(&["send", "--wait=200ms", "lead", "more"]).fails(1, why);
    attached(&project, b"done\r");
    project.run(&["send", "--wait=30s", "lead", "last"]).ok();
    project.run(&["send", "--no-enter", "lead", "left"]).ok();
    project.run(&["send", "--wait=200ms", "lead", "never"]).fails(1, why);
    project.run(&["down"]).ok();
    assert_eq!(got(&project)[1..], ["whole", "more", "last"]);
    assert!(got(&project)[0].starts_with("half ") && got(&project)[0].ends_with("done"));
}

#[test]
fn what_an_agent_had_not_read_when_it_died_goes_to_the_next_once() {
    let project =
        TestProject::new(&RECORDER.replace("echo begin; while", "echo begin; [ -e awake ] || { touch awake; exec sleep 1000; }; while"));
    project.run(&["up"]).ok();
    let queued = project.run(&["send", "lead", "for whoever reads"]).ok().stdout;
    assert!(queued.contains("queued 1: typed; its program has not read it yet"), "{queued}");
    project.run(&["mail", "lead", "--drop", "1"]).fails(1, "typed already");
    kill(project.pid("lead"));
    project.run(&["send", "--wait=30s", "lead", "and another"]).ok();
    project.run(&["down"]).ok();
    assert_eq!(got(&project), ["for whoever reads", "and another"]);
}

/// Draws an input box as full-screen programs do; of the Enters on a text it drops so many as `drops` says.
const STUBBORN: &str = r#"
[project]
name = "web"
session_prefix = "int"
[agent.lead]
backend = "stubborn"
[backend.stubborn]
start = ["bash", "box"]
ready = '^>$'
unsent = '^--\n> (?<text>\S.*)'
"#;

const BOX: &str = r#"
stty raw -echo; printf '\e[?2004h'; box=; pressed=0
draw() { printf '\e[2J\e[H--\r\n> %s' "$box"; }
draw
while IFS= read -rN1 c; do
    case $c in
    $'\e') IFS= read -rd '~' _ ;;
    # What bash's `read` makes of Enter.
    $'\n') if [ -z "$box" ]; then echo 'empty' >> got
           elif [ $((pressed += 1)) -gt "$(cat drops)" ]; then echo "$box" >> got; box=; pressed=0; fi ;;
    *) box+=$c ;;
    esac
    draw
done
"#;

#[test]
fn a_message_is_taken_when_it_has_left_the_input_box() {
    let project = TestProject::new(STUBBORN);
    std::fs::write(project.folder.join("box"), BOX).unwrap();
    std::fs::write(project.folder.join("drops"), "0").unwrap();
    project.run(&["up"]).ok();
    project.run(&["send", "--wait=30s", "lead", "at once"]).ok();
    std::fs::write(project.folder.join("drops"), "1").unwrap();
    project.run(&["send", "--wait=30s", "lead", "the second time"]).ok();
    assert_eq!(got(&project), ["at once", "the second time"]);

    std::fs::write(project.folder.join("drops"), "99").unwrap();
    project.run(&["send", "--wait=8s", "lead", "by hand"]).fails(1, "stays in the input box");
    project.run(&["send", "--wait=200ms", "lead", "after it"]).fails(1, "message 3 comes first, and: typed, and Enter was read");
    kill(project.host("int-1"));
    project.until("adopted", |s| of(s, "lead")["state"] == "up");
    std::fs::write(project.folder.join("drops"), "0").unwrap();
    attached(&project, b"\r");
    project.run(&["send", "--wait=30s", "lead", "last"]).ok();
    assert_eq!(got(&project), ["at once", "the second time", "by hand", "after it", "last"], "each once, and no Enter on an empty box");
}

#[test]
fn what_stayed_in_the_input_box_of_one_that_died_goes_to_the_next() {
    let project = TestProject::new(STUBBORN);
    std::fs::write(project.folder.join("box"), BOX).unwrap();
    std::fs::write(project.folder.join("drops"), "99").unwrap();
    project.run(&["up"]).ok();
    project.run(&["send", "--wait=8s", "lead", "for whoever sends it"]).fails(1, "stays in the input box");
    std::fs::write(project.folder.join("drops"), "0").unwrap();
    kill(project.pid("lead"));
    project.run(&["send", "--wait=30s", "lead", "and another"]).ok();
    project.run(&["down"]).ok();
    assert_eq!(got(&project), ["for whoever sends it", "and another"]);
}

#[test]
fn one_whose_file_is_damaged_is_not_taken_while_it_stays_in_the_input_box() {
    let project = TestProject::new(STUBBORN);
    std::fs::write(project.folder.join("box"), BOX).unwrap();
    std::fs::write(project.folder.join("drops"), "99").unwrap();
    project.run(&["up"]).ok();
    project.run(&["send", "--wait=200ms", "lead", "by hand"]).fails(1, "not taken in time");
    std::fs::write(project.data().join("mail/int-1/0000000001.typing"), "no head").unwrap();
    project.run(&["send", "--wait=8s", "lead", "after it"]).fails(1, "message 1 comes first, and: typed, and Enter was read");
    // Nor by a host that has never known its text.
    let engines = crate::upgrade::Engines::new();
    crate::project::said(project.command_of(&engines.other, &["upgrade"])).ok();
    project.run(&["send", "--wait=6s", "lead", "last"]).fails(1, "message 1 comes first, and: typed, and Enter was read");
    std::fs::write(project.folder.join("drops"), "0").unwrap();
    attached(&project, b"\r");
    project.run(&["send", "--wait=30s", "lead", "the end"]).ok();
    assert_eq!(got(&project), ["by hand", "after it", "last", "the end"]);
}

/// The engine's own words need the box's lock, as a sender's do.
fn holding(project: &TestProject) -> Held {
    // So that there is a box.
    project.run(&["send", "lead", "early"]).ok();
    Held::of(&project.data().join("mail/int-1/lock"))
}

fn until_it_waits_for_the_box(project: &TestProject, times: usize) {
    let events = project.data().join("events.jsonl");
    let told = || std::fs::read_to_string(&events).unwrap_or_default().matches("\"mail-waits\"").count();
    project.until("it waits for its mailbox", |_| told() >= times);
}

#[test]
fn a_sender_that_is_stopped_in_the_mailbox_holds_up_nobody() {
    let project = TestProject::new(&RECORDER.replace("[agent.lead]", "[agent.lead]\nwake = \"1s\""));
    project.run(&["up"]).ok();
    let held = holding(&project);
    until_it_waits_for_the_box(&project, 1);
    let began = Instant::now();
    project.run(&["capture", "lead"]).ok();
    attached(&project, b"typed by hand\r");
    project.run(&["capture", "lead"]).ok();
    assert!(began.elapsed() < Duration::from_secs(10), "they were held up for {:?}", began.elapsed());
    // Another engine goes on waiting for it.
    let engines = crate::upgrade::Engines::new();
    crate::project::said(project.command_of(&engines.other, &["upgrade"])).ok();
    until_it_waits_for_the_box(&project, 2);
    assert!(!got(&project).iter().any(|line| line.contains("since you were last woken")));
    drop(held);
    let mut followed = Lines::of(project.command(&["logs", "-f", "lead"]));
    followed.until("since you were last woken");
    let held = holding(&project);
    until_it_waits_for_the_box(&project, 3);
    let began = Instant::now();
    project.run(&["down"]).ok();
    assert!(began.elapsed() < Duration::from_secs(10), "its end was held up for {:?}", began.elapsed());
    assert!(got(&project).contains(&"typed by hand".to_owned()));
    drop(held);
}

#[test]
fn a_first_prompt_waits_for_the_mailbox_and_the_agent_for_its_prompt() {
    let project =
        TestProject::new(&RECORDER.replace("[backend.recorder]", "prompt = \"hello.md\"\n[backend.recorder]\ndeliver = \"paste\""));
    std::fs::write(project.folder.join("hello.md"), "You are lead.").unwrap();
    let mailbox = project.data().join("mail/int-1");
    std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700).create(&mailbox).unwrap();
    let held = Held::of(&mailbox.join("lock"));
    let mut up = project.command(&["up"]).stdout(Stdio::null()).spawn().unwrap();
    until_it_waits_for_the_box(&project, 1);
    let began = Instant::now();
    project.run(&["capture", "int-1"]).ok();
    assert!(began.elapsed() < Duration::from_secs(10), "it was held up for {:?}", began.elapsed());
    assert_eq!((of(&project.status(), "lead")["state"].as_str(), got(&project).len()), (Some("starting"), 0));
    drop(held);
    assert!(up.wait().unwrap().success());
    project.run(&["send", "--wait=30s", "lead", "the end"]).ok();
    assert_eq!(got(&project), ["You are lead.", "the end"]);
}

#[test]
fn an_urgent_one_interrupts() {
    let project = TestProject::new(
        "[project]\nname = \"web\"\nsession_prefix = \"int\"\n[agent.lead]\nbackend = \"shell\"\ncommand = [\"bash\", \"--norc\", \"--noprofile\", \"-i\"]\n",
    );
    project.run(&["up"]).ok();
    project.run(&["send", "--wait=30s", "lead", "echo start; sleep 1000"]).ok();
    Lines::of(project.command(&["logs", "-f", "lead"])).until("start");
    project.run(&["send", "--wait=30s", "--urgent", "lead", "echo stopped > got"]).ok();
    let began = Instant::now();
    while got(&project) != ["stopped"] {
        assert!(began.elapsed() < Duration::from_secs(20), "{}", project.run(&["capture", "lead"]).stdout);
        std::thread::yield_now();
    }
}

#[test]
fn a_first_prompt_that_is_pasted_comes_first_and_once_for_each_conversation() {
    let paste = RECORDER.replace("[backend.recorder]", "prompt = \"hello.md\"\n[backend.recorder]\ndeliver = \"paste\"\nresume = [\"sh\", \"-c\", \"while IFS= read -r line; do echo \\\"$line\\\" >> got; done\"]");
    let project = TestProject::new(&paste);
    std::fs::write(project.folder.join("hello.md"), "You are lead.\nGo.").unwrap();
    project.run(&["up"]).ok();
    project.run(&["send", "--wait=30s", "lead", "then"]).ok();
    project.run(&["down"]).ok();
    project.run(&["up"]).ok();
    project.run(&["send", "--wait=30s", "lead", "again"]).ok();
    project.run(&["down"]).ok();
    assert_eq!(got(&project), ["You are lead.", "Go.", "then", "again"]);
}
