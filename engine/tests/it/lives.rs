//! Agents come up, come back, and go.

use std::collections::BTreeSet;

use crate::project::{Lines, TWO, TestProject, is_alive, kill, of, said_with_input};

fn starts(project: &TestProject) -> Vec<i32> {
    let text = std::fs::read_to_string(project.folder.join("starts")).unwrap_or_default();
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn up_send_capture_down() {
    let project = TestProject::new(TWO);
    let up = project.run(&["up"]).ok();
    assert_eq!(up.stdout.lines().count(), 2, "{up:?}");
    assert!(up.stdout.starts_with("lead    int-1  up  pid "), "{up:?}");
    project.run(&["send", "lead", "what is up"]).ok();
    said_with_input(project.command(&["send", "int-1", "-"]), "from a pipe\n").code.eq(&0).then_some(()).expect("sent");
    let mut log = Lines::of(project.command(&["logs", "-f", "lead"]));
    log.until("what is up");
    log.until("from a pipe");
    let screen = project.run(&["capture", "int-1"]).ok().stdout;
    assert!(screen.contains("first") && screen.contains("from a pipe"), "{screen}");
    let pids = [project.pid("lead"), project.pid("tester")];
    project.run(&["down"]).ok();
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    drop(log);
    assert_eq!(project.processes(), Vec::<i32>::new(), "down leaves no process");
    let status = project.status();
    assert_eq!((of(&status, "lead")["state"].as_str(), of(&status, "tester")["state"].as_str()), (Some("down"), Some("down")));
    assert!(project.run(&["send", "lead", "anybody?"]).ok().stdout.contains("queued 3: session int-1 is not running"));
}

#[test]
fn up_again_leaves_what_runs_alone() {
    let project = TestProject::new(TWO);
    let first = project.run(&["up"]).ok();
    let second = project.run(&["up"]).ok();
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(starts(&project).len(), 2);
}

#[test]
fn one_agent_goes_down_and_comes_back_with_its_conversation() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let tester = project.pid("tester");
    project.run(&["down", "lead"]).ok();
    let status = project.status();
    assert_eq!(of(&status, "lead")["state"], "down");
    assert_eq!(project.pid("tester"), tester);
    let up = project.run(&["up", "lead"]).ok();
    assert!(up.stdout.starts_with("lead  int-1  up"), "the same session: {up:?}");
    Lines::of(project.command(&["logs", "-f", "lead"])).until("again");
}

#[test]
fn restart_starts_anew_by_what_the_file_says_now() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let (lead, tester) = (project.pid("lead"), project.pid("tester"));
    project.write_config(&TWO.replace("echo again", "echo changed"));
    project.run(&["restart", "lead"]).ok();
    assert!(!is_alive(lead));
    assert_eq!(project.pid("tester"), tester);
    Lines::of(project.command(&["logs", "-f", "lead"])).until("changed");
}

#[test]
fn a_killed_agent_is_back_in_the_same_session() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let (lead, tester) = (project.pid("lead"), project.pid("tester"));
    kill(lead);
    let status = project.until("lead is back", |s| of(s, "lead")["state"] == "up" && of(s, "lead")["pid"] != lead);
    assert_eq!(of(&status, "lead")["session"], "int-1");
    assert_eq!(of(&status, "lead")["heals"], 1);
    assert_eq!(of(&status, "tester")["pid"], tester);
    let why = project.run(&["why", "lead"]).ok().stdout;
    assert!(why.contains("SIGKILL") && why.contains("brought back once"), "{why}");
}

#[test]
fn a_killed_host_is_replaced_and_its_agent_adopted() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let (lead, host) = (project.pid("lead"), project.host("int-1"));
    kill(host);
    // The agent takes text again as soon as a new host has it.
    project.until("the state is up", |s| of(s, "lead")["state"] == "up" && of(s, "lead")["pid"] == lead);
    project.run(&["send", "lead", "still there"]).ok();
    Lines::of(project.command(&["logs", "-f", "lead"])).until("still there");
    assert_eq!((project.pid("lead"), starts(&project).len()), (lead, 2));
    assert_ne!(project.host("int-1"), host);
}

#[test]
fn a_killed_watchdog_is_replaced_and_nobody_notices() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let before = project.status();
    let watchdog = before["watchdog"]["pid"].as_i64().unwrap();
    kill(watchdog as i32);
    let both_up = |s: &serde_json::Value| ["lead", "tester"].iter().all(|a| of(s, a)["state"] == "up");
    let after = project.until("another watchdog", |s| s["watchdog"]["pid"].as_i64().is_some_and(|pid| pid != watchdog) && both_up(s));
    for agent in ["lead", "tester"] {
        assert_eq!(of(&before, agent)["pid"], of(&after, agent)["pid"]);
    }
    assert_eq!(starts(&project).len(), 2);
}

#[test]
fn host_and_watchdog_killed_at_once_leave_one_agent() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let status = project.status();
    let (lead, tester) = (project.pid("lead"), project.pid("tester"));
    let hosts = [project.host("int-1"), project.host("int-2")];
    for pid in [status["watchdog"]["pid"].as_i64().unwrap() as i32, hosts[0], hosts[1]] {
        kill(pid);
    }
    project.run(&["up"]).ok();
    let status = project.until("both are up", |s| ["lead", "tester"].iter().all(|a| of(s, a)["state"] == "up"));
    let now: BTreeSet<i32> = ["lead", "tester"].iter().map(|a| of(&status, a)["pid"].as_i64().unwrap() as i32).collect();
    let living: BTreeSet<i32> = starts(&project).into_iter().chain([lead, tester]).filter(|pid| is_alive(*pid)).collect();
    assert_eq!(living, now, "of each agent one lives");
}

#[test]
fn down_ends_what_tries_to_get_away() {
    let escape = r#"
[agent.lead]
backend = "escape"
[backend.escape]
start = ["sh", "-c", "(trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; echo $$ >> strays; exec sleep 1000' & sleep 1000) & setsid -f sleep 1000; echo ready; exec sleep 1000"]
"#;
    let project = TestProject::new(escape);
    project.run(&["up"]).ok();
    Lines::of(project.command(&["logs", "-f", "lead"])).until("ready");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn a_missing_program_is_failing_with_its_reason_and_the_others_run() {
    let project = TestProject::new(
        &TWO.replace("[agent.tester]\nbackend = \"echo\"", "[agent.tester]\nbackend = \"gone\"")
            .replace("[backend.echo]", "[backend.gone]\nstart = [\"/nonexistent/program\"]\n\n[backend.echo]"),
    );
    let up = project.run(&["up"]).fails(1, "/nonexistent/program");
    assert!(up.stdout.contains("lead    int-1  up"), "{up:?}");
    let status = project.status();
    assert_eq!(of(&status, "tester")["state"], "failing");
    assert!(of(&status, "tester")["reason"].as_str().unwrap().contains("/nonexistent/program"));
    assert!(project.run(&["why", "tester"]).ok().stdout.contains("/nonexistent/program"));
}

#[test]
fn what_stays_wanted_is_told_after_everything_was_killed() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    project.kill_all();
    let status = project.status();
    assert_eq!(status["watchdog"], serde_json::Value::Null);
    assert_eq!(of(&status, "lead")["state"], "down");
    assert!(of(&status, "lead")["reason"].as_str().unwrap().contains("agents up"), "{status:#}");
    // It may say that it waits, as its agents have died more than once by now.
    let up = project.run(&["up"]);
    assert!(up.code == 0 || up.stderr.contains("waits before its next start"), "{up:?}");
    let status = project.until("both are up", |s| ["lead", "tester"].iter().all(|a| of(s, a)["state"] == "up"));
    assert_eq!((&of(&status, "lead")["session"], starts(&project).into_iter().filter(|pid| is_alive(*pid)).count()), (&"int-1".into(), 2));
}

#[test]
fn up_ends_a_wait_at_once() {
    let config = TWO.replace("[agent.tester]", "[agent.tester]\nrestart = { backoff = \"5m..5m\", burst = 10, window = \"10m\" }");
    let project = TestProject::new(&config);
    project.run(&["up"]).ok();
    for _ in 0..2 {
        let pid = project.pid("tester");
        kill(pid);
        project.until("it is seen", |s| of(s, "tester")["pid"] != pid);
        project.until("it is back or waits", |s| of(s, "tester")["state"] == "up" || of(s, "tester")["reason"].is_string());
    }
    assert!(of(&project.status(), "tester")["reason"].as_str().unwrap().contains("waits"), "{:#}", project.status());
    project.run(&["up"]).ok();
    assert_eq!(of(&project.status(), "tester")["heals"], 0);
}

#[test]
fn a_conversation_that_never_came_to_be_is_begun_again() {
    // Like a program that keeps a conversation only once it has had something to keep.
    let config = r#"
[agent.lead]
backend = "late"
restart = { backoff = "1ms..20ms", burst = 100, window = "10m" }
[backend.late]
start = ["sh", "-c", "echo begun; echo $$ >> starts; exec cat"]
resume = ["sh", "-c", "[ -e kept ] || { echo nothing to resume; exit 1; }; echo resumed; echo $$ >> starts; exec cat"]
"#;
    let project = TestProject::new(config);
    project.run(&["up"]).ok();
    let meta = std::fs::read_to_string(project.data().join("sessions/web-1")).unwrap_or_else(|_| {
        let sessions = std::fs::read_dir(project.data().join("sessions")).unwrap().next().unwrap().unwrap();
        std::fs::read_to_string(sessions.path()).unwrap()
    });
    assert!(meta.contains("startedAt="), "known before it runs: {meta}");
    let pid = project.pid("lead");
    kill(pid);
    project.until("it runs again", |s| of(s, "lead")["state"] == "up" && starts(&project).len() == 2);
    let mut log = Lines::of(project.command(&["logs", "-f", "lead"]));
    log.until("nothing to resume");
    log.until("begun");
    std::fs::write(project.folder.join("kept"), "").unwrap();
    kill(starts(&project)[1]);
    log.until("resumed");
}

#[test]
fn many_at_once_make_one_session_each() {
    let project = TestProject::new(TWO);
    let children: Vec<_> = (0..12).map(|_| project.command(&["up"]).stdout(std::process::Stdio::null()).spawn().unwrap()).collect();
    for mut child in children {
        let code = child.wait().unwrap().code().unwrap();
        assert!(code == 0 || code == 75, "{code}");
    }
    let status = project.until("both are up", |s| ["lead", "tester"].iter().all(|a| of(s, a)["state"] == "up"));
    assert_eq!(status["agents"].as_array().unwrap().len(), 2);
    assert_eq!(starts(&project).len(), 2);
}

/// Hosts are forked from the watchdog: what that one holds open must not live on in them, or its end would go unnoticed.
#[test]
fn a_host_holds_nothing_of_its_watchdog_and_shows_its_own_arguments() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let watchdog = project.status()["watchdog"]["pid"].as_i64().unwrap() as i32;
    let stat = |pid: i32| -> Vec<String> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        text[text.rfind(')').unwrap() + 2..].split(' ').map(str::to_owned).collect()
    };
    let held = |pid: i32| -> Vec<String> {
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|e| Some(std::fs::read_link(e.path()).ok()?.to_string_lossy().into_owned())).collect();
        names.sort();
        names
    };
    assert!(held(watchdog).iter().any(|f| f.ends_with("/watchdog.lock")), "the look sees what is there: {:?}", held(watchdog));
    for (session, other) in [("int-1", "int-2"), ("int-2", "int-1")] {
        let host = project.host(session);
        let files = held(host);
        let count = |what: &str| files.iter().filter(|f| f.contains(what)).count();
        assert_eq!((count("watchdog"), count(other)), (0, 0), "{files:?}");
        assert_eq!((count("ptmx"), count("/dev/null")), (1, 3), "{files:?}");
        // Its listening socket, the watchdog's connection, and in tmux that of the client in the pane, or of whoever is at making it.
        let most = if std::env::var("AGENTS_TEST_RUNTIME").is_ok_and(|r| r == "tmux") { 4 } else { 2 };
        assert!((2..=most).contains(&count("socket:")), "{files:?}");
        let (own, starter) = (stat(host), stat(watchdog));
        assert_eq!(own[1], starter[1], "both have the same parent");
        assert_eq!(own[3], host.to_string(), "it leads a session of its own");
    }
}
