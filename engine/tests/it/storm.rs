//! Many sessions that die again and again have one cause: told once, waited out together, and nobody is given up on for it.

use crate::project::{TestProject, kill, of};

const AGENTS: [&str; 4] = ["a", "b", "c", "d"];

fn project() -> TestProject {
    let mut config =
        "[defaults]\nbackend = \"shell\"\ncommand = [\"sh\", \"-c\", \"[ -e net ] || { echo no network; exit 7; }; exec sleep 1000\"]\n\
        restart = { backoff = \"200ms..1s\", burst = 3, window = \"10m\" }\n"
            .to_owned();
    config.extend(AGENTS.map(|name| format!("[agent.{name}]\n")));
    TestProject::new(&config)
}

fn storms(project: &TestProject) -> usize {
    let events = std::fs::read_to_string(project.data().join("events.jsonl")).unwrap();
    events.lines().filter(|l| l.contains("\"what\":\"storm\"")).count()
}

#[test]
fn an_outage_is_one_event_and_over_when_it_is() {
    let project = project();
    project.run(&["up"]);
    let count = |s: &serde_json::Value, wanted: fn(&serde_json::Value) -> bool| AGENTS.iter().filter(|a| wanted(of(s, a))).count();
    // Each has died more often than `burst` would allow by the time that it has been healed so often.
    let status = project.until("they go on dying", |s| count(s, |a| a["heals"].as_u64() > Some(5)) == 4);
    assert_eq!(count(&status, |a| a["state"] == "failing"), 0, "{status:#}");
    assert_eq!(storms(&project), 1);
    let why = project.run(&["why", "a"]).ok().stdout;
    assert!(why.contains("many sessions die at the same time"), "{why}");
    let why = project.run(&["why", "-n", "200", "a"]).ok().stdout;
    assert!(why.contains("wait for each other") && why.contains("most often: exited with status 7"), "{why}");
    std::fs::write(project.folder.join("net"), "").unwrap();
    project.until("all are back", |s| count(s, |a| a["state"] == "up") == 4);
    assert_eq!(storms(&project), 1);
}

#[test]
fn what_is_killed_once_is_no_storm() {
    let project = project();
    std::fs::write(project.folder.join("net"), "").unwrap();
    project.run(&["up"]).ok();
    let pids = AGENTS.map(|a| project.pid(a));
    pids.into_iter().for_each(kill);
    project.until("all are back", |s| AGENTS.iter().zip(pids).all(|(a, pid)| of(s, a)["state"] == "up" && of(s, a)["pid"] != pid));
    assert_eq!(storms(&project), 0);
}
