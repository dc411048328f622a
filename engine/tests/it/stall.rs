//! Agents that do not go on by themselves: idle, hung, at their limit, or to be woken. Each is told once, and none that waits for a time.

use std::process::{Command, Stdio};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::activity::Puppet;
use crate::project::{Lines, kill, of};

const SCREEN: &str = "ready = '^>$'\nworking = 'esc to stop'\nlimited = 'limit, resets in (?<at>.+)'\ngo_on = \"continue\"";

/// An agent that takes input.
fn idle(agent: &str) -> Puppet {
    let mut puppet = Puppet::new(agent, SCREEN);
    puppet.draw(">");
    puppet.until("idle");
    puppet
}

#[test]
fn one_that_stays_idle_is_nudged_then_resumed_and_left_alone_once_it_says_until_when() {
    let mut puppet = idle("watch = \"heal+stall\"\nstall = \"1s\"");
    let first = puppet.project.pid("lead");
    // From now on it has something to do.
    puppet.project.run(&["send", "--wait=30s", "lead", "work"]).ok();
    assert_eq!(puppet.until_line(&puppet.typed(), "Go on with your work"), 1);
    // Whoever takes over from its host does not nudge it again.
    kill(puppet.project.host("int-1"));
    puppet.project.until("resumed", |s| of(s, "lead")["pid"].as_i64().is_some_and(|pid| pid != i64::from(first)));
    assert_eq!(puppet.until_line(&puppet.events(), "\"stalled\""), 1);
    puppet.draw("WAITING-UNTIL: 1h\\n>");
    puppet.until_line(&puppet.events(), "WAITING-UNTIL: 1h");
    let status = puppet.project.status();
    assert_eq!((&of(&status, "lead")["activity"], &of(&status, "lead")["heals"]), (&Value::from("idle"), &Value::from(1)));
    assert_eq!(puppet.until_line(&puppet.typed(), "Go on with your work"), 1);
}

#[test]
fn one_that_nothing_helps_is_told_once_until_it_is_asked_something() {
    let mut puppet =
        Puppet::new("watch = \"heal+stall\"\nstall = \"1s\"", &format!("{SCREEN}\n[notify]\ncommand = [\"sh\", \"-c\", \"cat >> told\"]"));
    let told = puppet.project.folder.join("told");
    puppet.draw(">");
    puppet.until("idle");
    puppet.project.run(&["send", "--wait=30s", "lead", "work"]).ok();
    for _ in 0..3 {
        let before = i64::from(puppet.project.pid("lead"));
        puppet.project.until("resumed", |s| of(s, "lead")["pid"].as_i64().is_some_and(|pid| pid != before));
        puppet.draw(">");
    }
    puppet.until_line(&told, "web: lead (int-1) is stuck: resumed 3 times");
    // Nobody who comes after tells it again.
    kill(puppet.project.host("int-1"));
    let adopted = puppet.project.until("adopted", |s| s["watchdog"].is_object() && of(s, "lead")["state"] == "up");
    assert_eq!(of(&adopted, "lead")["stuck"], true);
    let watchdog = adopted["watchdog"]["pid"].as_i64().unwrap();
    kill(watchdog as i32);
    puppet.project.until("another watchdog", |s| s["watchdog"]["pid"].as_i64().is_some_and(|pid| pid != watchdog));
    assert!(puppet.project.run(&["status"]).ok().stdout.contains("resumed 3 times and told to go on"));
    // Who asks something of it begins anew.
    puppet.project.run(&["send", "--wait=30s", "lead", "something else"]).ok();
    puppet.project.until("no more", |s| of(s, "lead")["state"] == "up" && of(s, "lead")["stuck"].is_null());
    let told: Vec<Value> = std::fs::read_to_string(&told).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(told.iter().map(|t| t["event"].as_str().unwrap()).collect::<Vec<_>>(), ["stuck"]);
}

#[test]
fn one_that_hangs_is_resumed() {
    let puppet = idle("watch = \"heal+stall\"\nstall = \"2s\"\ngrace = \"1s\"");
    let first = puppet.project.pid("lead");
    kill_process(Pid::from_raw(first).unwrap(), Signal::STOP).unwrap();
    puppet.project.until("resumed", |s| of(s, "lead")["pid"].as_i64().is_some_and(|pid| pid != i64::from(first)));
    puppet.until_line(&puppet.events(), "hung for ");
}

#[test]
fn silence_at_work_hangs() {
    let mut puppet = Puppet::new("stall = \"1s\"", SCREEN);
    puppet.draw("esc to stop\\n>");
    let hung = puppet.until("hung");
    assert_eq!(hung["evidence"]["what"], "it works, and has printed nothing for 1 s");
    puppet.draw(">");
    puppet.until("idle");
}

#[test]
fn a_living_one_at_its_limit_is_left_alone_until_that_ends() {
    let mut puppet = idle("");
    puppet.draw("limit, resets in 12 s\\n>");
    let limited = puppet.project.until("limited", |s| of(s, "lead")["state"] == "limited");
    let limited = of(&limited, "lead").clone();
    assert!(limited["reason"].as_str().unwrap().starts_with("at its usage limit: limit, resets in 12 s"), "{limited:#}");
    let queued = puppet.project.run(&["send", "lead", "later"]).ok().stdout;
    assert!(queued.contains("the agent is limited"), "{queued}");
    kill(puppet.project.host("int-1"));
    let adopted = puppet.project.until("adopted", |s| s["watchdog"].is_object() && of(s, "lead")["state"] != "unknown");
    // The same agent and the same end, where that has not come meanwhile.
    if of(&adopted, "lead")["state"] == "limited" {
        let until = |s: &Value| s["until"].as_str().unwrap().parse::<Timestamp>().unwrap();
        assert!(until(of(&adopted, "lead")).duration_since(until(&limited)).abs().as_secs_f64() < 1.0);
    }
    assert_eq!(puppet.until_line(&puppet.typed(), "continue"), 1);
    assert_eq!(puppet.until_line(&puppet.typed(), "later"), 1, "what waited comes first or after, once");
    let status = puppet.project.until("up", |s| of(s, "lead")["state"] == "up");
    assert_eq!((&of(&status, "lead")["pid"], &of(&status, "lead")["heals"]), (&limited["pid"], &Value::from(0)));
}

#[test]
fn only_who_is_to_be_woken_is_and_once_a_period() {
    let puppet = idle("wake = \"1s\"");
    puppet.until_line(&puppet.typed(), "since you were last woken");
    kill(puppet.project.host("int-1"));
    puppet.project.until("adopted", |s| of(s, "lead")["state"] == "up");
    let mut tail = Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(puppet.events()).stderr(Stdio::null());
    let mut events = Lines::of(tail);
    let at = |line: String| serde_json::from_str::<Value>(&line).unwrap()["at"].as_str().unwrap().parse::<Timestamp>().unwrap();
    events.until("\"adopted\"");
    let times: Vec<Timestamp> = (0..2).map(|_| at(events.until("\"woken\""))).collect();
    assert!(times.windows(2).all(|two| two[1].duration_since(two[0]).as_secs_f64() >= 0.9), "{times:?}");
}
