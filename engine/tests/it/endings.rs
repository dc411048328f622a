//! Why an agent ended decides what becomes of it.

use crate::project::{TestProject, kill, of};

fn project(start: &str, more: &str) -> TestProject {
    TestProject::new(&format!(
        "[project]\nsession_prefix = \"int\"\n[agent.lead]\nbackend = \"tool\"\nrestart = {{ backoff = \"1ms..5ms\", burst = 3, window = \"10m\" }}\n\
         [backend.tool]\nstart = [\"sh\", \"-c\", '''echo $$ >> starts; {start}''']\n{more}\n"
    ))
}

fn starts(project: &TestProject) -> usize {
    std::fs::read_to_string(project.folder.join("starts")).unwrap_or_default().lines().count()
}

fn reason(status: &serde_json::Value) -> String {
    of(status, "lead")["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn at_its_limit_it_is_left_alone_until_then_whoever_dies() {
    let project = project(
        "[ -e free ] && exec sleep 1000; echo 'Usage limit reached, resets at 2099-01-01T00:00:00Z'; exit 1",
        "limited = 'limit reached, resets at (?<at>.+)'",
    );
    project.run(&["up"]);
    let status = project.until("it is limited", |s| of(s, "lead")["state"] == "limited");
    assert!(reason(&status).contains("resets at 2099") && reason(&status).contains("started again on"), "{}", reason(&status));
    project.run(&["up"]).ok();
    assert_eq!(starts(&project), 1, "asking again changes nothing");
    let host = project.host("int-1");
    kill(host);
    let another = |pid: &i32| *pid != host && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.starts_with(b"agents\0host\0"));
    project.until("another host", |s| of(s, "lead")["state"] == "limited" && project.processes().iter().any(another));
    project.kill_all();
    project.run(&["up"]).ok();
    assert_eq!((of(&project.status(), "lead")["state"].as_str(), starts(&project)), (Some("limited"), 1));
    std::fs::write(project.folder.join("free"), "").unwrap();
    project.run(&["restart", "lead"]).ok();
    assert_eq!((of(&project.status(), "lead")["state"].as_str(), starts(&project)), (Some("up"), 2));
}

#[test]
fn a_limit_that_ends_brings_it_back() {
    let project = project(
        "[ -e free ] && exec sleep 1000; touch free; echo 'limit reached, try again in 1 second'; exit 1",
        "limited = 'try again in (?<at>.+)'",
    );
    project.run(&["up"]);
    project.until("it is back by itself", |s| of(s, "lead")["state"] == "up" && of(s, "lead")["heals"] == 1);
    assert_eq!(starts(&project), 2);
    assert!(project.run(&["why", "lead"]).ok().stdout.contains("usage limit"));
}

#[test]
fn one_that_died_at_its_limit_is_told_once_to_go_on_when_it_is_back() {
    let project = project(
        "[ -e free ] && { cat >> typed; }; touch free; sleep 1; echo 'limit reached, try again in 2 seconds'; exit 1",
        "resume = [\"sh\", \"-c\", \"echo $$ >> starts; exec cat >> typed\"]\nlimited = 'try again in (?<at>.+)'\ngo_on = \"go on\"",
    );
    project.run(&["up"]);
    project.until("it is limited", |s| of(s, "lead")["state"] == "limited");
    // The host that comes next knows of it.
    kill(project.host("int-1"));
    let mut tail = std::process::Command::new("tail");
    tail.args(["-n", "+1", "-F"]).arg(project.folder.join("typed")).stderr(std::process::Stdio::null());
    crate::project::Lines::of(tail).until("go on");
    project.run(&["send", "--wait=30s", "lead", "and this"]).ok();
    project.run(&["down"]).ok();
    assert_eq!(std::fs::read_to_string(project.folder.join("typed")).unwrap(), "go on\nand this\n");
    assert_eq!(starts(&project), 2);
}

#[test]
fn what_no_start_can_help_is_not_tried_again() {
    for (script, more, words) in [
        ("echo 'Invalid key. Please run /login'; exit 1", "auth = 'run /login'", "it wants a login: Invalid key"),
        ("echo 'error: unknown option -z'; exit 2", "fatal = 'unknown option'", "cannot work as it was called: error: unknown option -z"),
        ("nonexistent-command-of-this-test", "", "status 127: its command was not found"),
    ] {
        let project = project(script, more);
        let up = project.run(&["up"]);
        let status = project.until("it is given up on", |s| of(s, "lead")["state"] == "failing");
        let reason = reason(&status);
        assert!(reason.contains(words) && reason.contains("agents restart int-1"), "{reason} {up:?}");
        assert_eq!(starts(&project), 1, "{reason}\n{}", project.run(&["why", "lead"]).stdout);
    }
}

#[test]
fn words_on_the_screen_of_one_that_was_killed_or_ended_well_say_nothing() {
    let project = project("echo 'Please run /login'; [ -e well ] && { rm well; exit 0; }; exec sleep 1000", "auth = 'run /login'");
    std::fs::write(project.folder.join("well"), "").unwrap();
    project.run(&["up"]);
    project.until("it ended well and is back", |s| of(s, "lead")["state"] == "up" && starts(&project) == 2);
    kill(project.pid("lead"));
    project.until("it is back", |s| of(s, "lead")["state"] == "up" && of(s, "lead")["heals"] == 2);
    assert_eq!(starts(&project), 3);
}
