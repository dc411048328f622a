//! Queues of several projects at once, by their own engines.

use insta::assert_snapshot;
use serde_json::Value;

use crate::home::TestHome;

#[test]
fn work_is_queued_in_many_projects_and_seen_in_one_table() {
    let home = TestHome::new();
    for name in ["web", "api"] {
        home.fleet(&["create", name, "--backend", "shell", "--tag", "backend"]).ok();
    }
    let facts = |args: &[&str]| {
        let ran = home.fleet(args);
        let facts = ran.out.clone();
        ran.ok();
        facts
    };
    assert!(facts(&["tasks"]).is_empty());
    let added = facts(&["task", "add", "-t", "backend", "echo hello from $AGENTS_PROJECT"]);
    assert_eq!(added, "web/t1\napi/t1\n");
    let waited = facts(&["task", "wait", "web/t1", "api/t1"]);
    assert!(waited.contains("web/t1 done") && waited.contains("api/t1 done"), "{waited}");
    assert_eq!(facts(&["task", "wait", "api"]), "", "nothing is open there");
    assert!(facts(&["task", "logs", "api/t1"]).contains("hello from api"));
    assert!(facts(&["task", "show", "web/t1"]).starts_with("t1  done"));
    facts(&["task", "add", "web", "exit 3", "--name", "fails"]);
    assert_snapshot!(home.fleet(&["task", "wait", "web/t2", "api/t1"]).fails(1), @r"
    error: project web: task t2 has failed
    hint: fleet task show web/t2
    ");
    // What can never run is seen without starting anything.
    facts(&["task", "add", "web", "true", "--after", "t2"]);
    let queues: Vec<Value> = serde_json::from_str(&facts(&["tasks", "--json"])).unwrap();
    let web = queues.iter().find(|q| q["name"] == "web").unwrap();
    assert_eq!((&web["failed"], web["tasks"].as_array().unwrap().len()), (&1.into(), 1));
    assert_eq!((&web["tasks"][0]["task"], &web["tasks"][0]["waits_for"][0]["state"]), (&"t3".into(), &"failed".into()));
    assert!(facts(&["tasks"]).contains("blocked: t2 failed"));
    // A project that is down has its tasks all the same.
    facts(&["stop", "web"]);
    let seen: Value = serde_json::from_str(&facts(&["status", "web", "--json"])).unwrap();
    let project = &seen["projects"][0];
    assert_eq!(
        (&project["state"], &project["tasks"]["pending"], &project["tasks"]["failed"]),
        (&"down".into(), &1.into(), &1.into()),
        "{seen}"
    );
    facts(&["start", "web"]);
    facts(&["task", "cancel", "web/t3"]);
    let lists: Vec<Value> = serde_json::from_str(&facts(&["task", "list", "--ended", "--json"])).unwrap();
    assert_eq!(lists.iter().map(|l| l["tasks"].as_array().unwrap().len()).sum::<usize>(), 4, "{lists:?}");
    assert!(facts(&["task", "clean", "--all", "--older", "0s"]).is_empty());
    assert!(facts(&["task", "show", "web/t2"]).contains("in the archive"));
    for name in ["web", "api"] {
        facts(&["stop", name]);
    }
}

#[test]
fn what_cannot_be_queued_is_said_for_each_project() {
    let home = TestHome::new();
    for name in ["web", "api"] {
        home.fleet(&["create", name, "--backend", "shell"]).ok();
    }
    assert_snapshot!(home.fleet(&["task", "add", "web"]).fails(2), @r"
    error: what is to be done in web is not said
    hint: fleet task add web 'what to do'
    ");
    assert_snapshot!(home.fleet(&["task", "add", "fix it"]).fails(2), @r"
    error: no project was named
    hint: fleet task add web 'what to do'
    hint: write names, globs such as 'web-*', -t TAG, or --all
    ");
    assert_snapshot!(home.fleet(&["task", "add", "wbe", "fix it"]).fails(2), @r"
    error: there is no project `wbe`
    hint: did you mean `web`?
    ");
    assert_snapshot!(home.fleet(&["task", "add", "--all", "fix it", "--lane", "heavy"]).fails(1), @r#"
    error: project web: --lane: there is no lane "heavy"
    hint: agents.toml declares none: [tasks.lanes] heavy = 1   declares one
    error: project api: --lane: there is no lane "heavy"
    hint: agents.toml declares none: [tasks.lanes] heavy = 1   declares one
    "#);
    assert_snapshot!(home.fleet(&["task", "cancel", "web"]).fails(2), @r"
    error: which task of project web?
    hint: web/t1; fleet task list web
    ");
    assert_snapshot!(home.fleet(&["task", "wait", "web/t9", "api/x"]).fails(1), @r#"
    error: project web: there is no task t9
    hint: fleet task list web --ended
    error: project api: there is no task "x"
    hint: an id looks like t12; the names that are known: fleet task list api --ended
    "#);
    assert_snapshot!(home.fleet(&["tasks", "--watch"]).fails(2), @r"
    error: --watch draws on a terminal; standard output is none
    hint: --watch --json writes a line at every change, anywhere
    ");
}
