//! The folder for sockets and locks: one for the whole boot, whatever each login's environment says; and gone while agents live.

use crate::project::{Said, TWO, TestProject, is_alive, said};

fn with_runtime(project: &TestProject, folder: Option<&str>, args: &[&str]) -> Said {
    let mut command = project.command(args);
    match folder {
        Some(folder) => command.env("XDG_RUNTIME_DIR", project.root().join(folder)),
        None => command.env_remove("XDG_RUNTIME_DIR").env("TMPDIR", project.root().join("home")),
    };
    said(command)
}

#[test]
fn another_login_s_environment_finds_the_agents_that_run() {
    let project = TestProject::new(TWO);
    std::fs::create_dir(project.root().join("run2")).unwrap();
    project.run(&["up"]).ok();
    let pids = ["lead", "tester"].map(|agent| project.pid(agent));
    for folder in [Some("run2"), Some("missing"), None] {
        with_runtime(&project, folder, &["up"]).ok();
        let status = with_runtime(&project, folder, &["status", "--json"]).ok().stdout;
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        for (agent, pid) in ["lead", "tester"].into_iter().zip(pids) {
            assert_eq!(crate::project::of(&status, agent)["pid"], pid, "{folder:?}: {status:#}");
        }
    }
    let starts = std::fs::read_to_string(project.folder.join("starts")).unwrap();
    assert_eq!(starts.lines().count(), 2, "{starts}");
    with_runtime(&project, None, &["down"]).ok();
    assert!(!pids.into_iter().any(is_alive));
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn a_folder_that_is_removed_under_living_agents_doubles_none() {
    let project = TestProject::new(TWO);
    for (verb, alive) in [("up", 2), ("down", 0)] {
        project.run(&["up"]).ok();
        let pids = ["lead", "tester"].map(|agent| project.pid(agent));
        std::fs::remove_dir_all(project.root().join("run/agents")).unwrap();
        let ran = project.run(&[verb]).ok();
        assert!(ran.stderr.contains("was removed while the project ran") && ran.stderr.contains("processes were ended"), "{ran:#?}");
        assert!(!pids.into_iter().any(is_alive), "{verb}: the old ones live");
        let status = project.status();
        assert_eq!(status["agents"].as_array().unwrap().iter().filter(|a| a["state"] == "up").count(), alive, "{status:#}");
    }
    assert_eq!(project.processes(), Vec::<i32>::new());
}
