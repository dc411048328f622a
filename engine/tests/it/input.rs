//! Wrong input gives one clear error, a documented exit status, and changes nothing.

use crate::project::{TWO, TestProject, kill, of};

#[test]
fn a_wrong_name_is_answered_with_the_nearest() {
    let project = TestProject::new(TWO);
    project.run(&["up", "leed"]).fails(2, "did you mean `lead`?");
    project.run(&["up"]).ok();
    for verb in [
        &["down", "int-3"][..],
        &["send", "int-3", "x"],
        &["logs", "int-3"],
        &["why", "int-3"],
        &["capture", "int-3"],
        &["attach", "int-3"],
    ] {
        project.run(verb).fails(2, "there is no agent or session \"int-3\" here");
    }
    assert_eq!(of(&project.status(), "lead")["state"], "up");
}

#[test]
fn without_agents_toml_there_is_no_project() {
    let project = TestProject::new(TWO);
    std::fs::remove_file(project.folder.join("agents.toml")).unwrap();
    for verb in ["up", "status", "down", "check", "info"] {
        let said = project.run(&[verb]);
        assert!(said.code != 0 && said.stderr.contains("agents.toml"), "{said:?}");
    }
}

#[test]
fn a_broken_agents_toml_stops_no_one_from_looking_and_stopping() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    project.write_config("[agent.lead\n");
    let up = project.run(&["up"]);
    assert_eq!(up.code, 3, "{up:?}");
    assert!(up.stderr.contains("agents.toml:1:"), "{up:?}");
    assert_eq!(of(&project.status(), "lead")["state"], "up");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn from_a_folder_below_or_with_c() {
    let project = TestProject::new(TWO);
    std::fs::create_dir(project.folder.join("deep")).unwrap();
    let below = project.run(&["-C", "deep", "info", "--json"]).ok().stdout;
    assert_eq!(below, project.run(&["info", "--json"]).ok().stdout);
    project.run(&["-C", "nowhere", "status"]).fails(2, "-C nowhere: there is no such folder");
}

#[test]
fn damaged_metadata_is_named_and_nothing_is_doubled() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    project.run(&["down"]).ok();
    let file = project.data().join("sessions/int-1");
    std::fs::write(&file, "agent=lead\nwan").unwrap();
    let up = project.run(&["up"]).fails(1, "sessions/int-1");
    assert!(up.stdout.contains("tester  int-2  up"), "{up:?}");
    assert!(!up.stdout.contains("lead"), "a second session for an agent that may have one: {up:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "agent=lead\nwan", "what cannot be read is not overwritten");
}

#[test]
fn another_users_eyes_are_kept_out() {
    use std::os::unix::fs::PermissionsExt;
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let data = project.data();
    for folder in [data.clone(), data.join("sessions"), data.join("launch"), data.join("logs"), project.root().join("run/agents")] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    for file in ["sessions/int-1", "launch/int-1.json", "logs/int-1.log", "events.jsonl"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
    std::fs::set_permissions(project.root().join("run/agents"), std::fs::Permissions::from_mode(0o755)).unwrap();
    project.run(&["up"]).fails(1, "mode 0755");
    std::fs::set_permissions(project.root().join("run/agents"), std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn wrong_usage_is_exit_2() {
    let project = TestProject::new(TWO);
    project.run(&["upp"]).fails(2, "'up'");
    project.run(&["status", "--jason"]).fails(2, "--json");
    project.run(&[]).fails(2, "a command is needed");
    project.run(&["up", "lead"]).ok();
    project.run(&["send", "lead", ""]).fails(2, "no text");
    project.run(&["host"]).fails(2, "started by the engine itself");
    let hostile = project.run(&["\u{1b}]0;owned\u{7}"]);
    assert!(!hostile.stderr.contains('\u{1b}'), "{hostile:?}");
}

#[test]
fn a_missing_prompt_holds_only_its_agent() {
    let project = TestProject::new(&TWO.replace("[agent.tester]", "[agent.tester]\nprompt = \"prompts/tester.md\""));
    let up = project.run(&["up"]).fails(1, "prompts/tester.md");
    assert!(up.stdout.contains("lead  int-1  up"), "{up:?}");
    assert_eq!(of(&project.status(), "tester")["state"], "down");
    std::fs::create_dir(project.folder.join("prompts")).unwrap();
    std::fs::write(project.folder.join("prompts/tester.md"), "test").unwrap();
    project.run(&["up"]).ok();
}

#[test]
fn a_project_renamed_while_it_runs_is_still_seen_and_stopped() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    project.write_config(&TWO.replace("name = \"web\"", "name = \"shop\""));
    project.run(&["up"]).fails(1, "name has changed while it runs");
    assert_eq!(of(&project.status(), "lead")["state"], "up");
    assert!(project.run(&["why", "lead"]).ok().stdout.contains("up (pid"));
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
    let up = project.run(&["up"]).ok();
    assert!(up.stdout.contains("lead    int-1  up"), "its data moved along: {up:?}");
    assert!(project.data().ends_with(project.status()["instance"].as_str().unwrap()));
}

#[test]
fn down_stops_also_what_lost_its_metadata_while_it_ran() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    let file = project.data().join("sessions/int-1");
    let whole = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, "x").unwrap();
    kill(project.host("int-1"));
    kill(project.status()["watchdog"]["pid"].as_i64().unwrap() as i32);
    let down = project.run(&["down"]).ok();
    assert!(down.stdout.contains("tester  int-2  down") && down.stdout.contains("int-1  down"), "{down:?}");
    assert!(down.stderr.contains("sessions/int-1"), "{down:?}");
    assert_eq!(project.processes(), Vec::<i32>::new());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    std::fs::write(&file, whole).unwrap();
    project.run(&["up"]).ok();
    std::fs::write(&file, "x").unwrap();
    project.run(&["down", "int-1", "tester"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn an_agent_that_is_no_longer_declared_is_mentioned_until_it_is_down() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    project.write_config(&TWO.replace("[agent.tester]\nbackend = \"echo\"\n", ""));
    let up = project.run(&["up"]).ok();
    assert!(up.stderr.contains("int-2 still runs agent tester") && up.stderr.contains("agents down int-2"), "{up:?}");
    assert_eq!(of(&project.status(), "tester")["state"], "up");
    project.run(&["down", "int-2"]).ok();
    assert_eq!(of(&project.status(), "tester"), &serde_json::Value::Null);
}
