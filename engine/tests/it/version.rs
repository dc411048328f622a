//! The version of an agent's program: asked for before it is started, and another than the wanted one is not started.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::project::{TestProject, kill, of};

/// A program of this version, put in its place as an installer does it.
fn install(folder: &Path, name: &str, version: &str) {
    let script =
        format!("#!/bin/sh\nif [ \"$1\" = --version ]; then echo x >> asked; {version}; exit; fi\necho $$ >> starts\nexec sleep 1000\n");
    let new = folder.join(format!("{name}.new"));
    std::fs::write(&new, script).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(new, folder.join(name)).unwrap();
}

fn project(version: &str) -> TestProject {
    let project = TestProject::new(&format!(
        "[project]\nsession_prefix = \"int\"\n[defaults]\nbackend = \"tool\"\nrestart = {{ backoff = \"1ms..2ms\", burst = 3, window = \"10m\" }}\n\
         [agent.lead]\n[agent.tester]\n[backend.tool]\nstart = [\"bin/tool\"]\n{version}\n"
    ));
    std::fs::create_dir(project.folder.join("bin")).unwrap();
    project
}

fn lines(project: &TestProject, file: &str) -> usize {
    std::fs::read_to_string(project.folder.join(file)).unwrap_or_default().lines().count()
}

fn all(status: &Value, holds: impl Fn(&Value) -> bool) -> bool {
    ["lead", "tester"].iter().all(|a| holds(of(status, a)))
}

#[test]
fn another_version_is_not_started_until_the_wanted_one_is_there() {
    let project = project("version = \"2.1\"");
    install(&project.folder.join("bin"), "tool", "echo tool 2.10.0");
    project.run(&["up"]).fails(1, "has version 2.10.0, wanted is 2.1;");
    let status = project.status();
    assert!(all(&status, |a| a["state"] == "failing"), "{status:#}");
    assert_eq!((lines(&project, "starts"), lines(&project, "asked")), (0, 1), "asked once for both");
    project.run(&["check"]).ok();
    project.run(&["check", "--programs"]).fails(1, "agent tester: ");
    install(&project.folder.join("bin"), "tool", "echo tool v2.1.7");
    let status = project.until("they run by themselves", |s| all(s, |a| a["state"] == "up"));
    assert!(all(&status, |a| a["version"] == "2.1.7"), "{status:#}");
    assert!(project.run(&["why", "lead"]).ok().stdout.contains("played by tool 2.1.7"));
    let checked: Value = serde_json::from_str(&project.run(&["check", "--programs", "--json"]).ok().stdout).unwrap();
    assert_eq!(checked["versions"]["lead"], "tool 2.1.7");
}

#[test]
fn a_program_that_was_exchanged_is_asked_again_before_it_comes_back() {
    let project = project("version = \"2\"");
    install(&project.folder.join("bin"), "tool", "echo 2.0");
    project.run(&["up"]).ok();
    let asked = lines(&project, "asked");
    kill(project.pid("lead"));
    project.until("it is back", |s| of(s, "lead")["state"] == "up" && of(s, "lead")["heals"] == 1);
    assert_eq!(lines(&project, "asked"), asked, "the same file is not asked again");
    install(&project.folder.join("bin"), "tool", "echo 3.0");
    kill(project.pid("lead"));
    let status = project.until("it is held", |s| of(s, "lead")["state"] == "failing");
    assert!(of(&status, "lead")["reason"].as_str().unwrap().contains("has version 3.0, wanted is 2"), "{status:#}");
    assert_eq!(of(&status, "tester")["state"], "up", "whoever runs goes on");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn one_that_does_not_tell_is_started_only_where_any_version_will_do() {
    let wanting = project("version = \"2\"");
    install(&wanting.folder.join("bin"), "tool", "exit 3");
    wanting.run(&["up"]).fails(1, "does not tell which it is: it exited with status 3");
    let any = project("version_command = [\"bin/tool\", \"--version\"]");
    install(&any.folder.join("bin"), "tool", "exit 3");
    any.run(&["up"]).ok();
    any.run(&["check", "--programs"]).ok();
}

#[test]
fn who_is_stopped_while_its_program_is_asked_is_stopped() {
    let project = project("version_command = [\"bin/slow\"]");
    install(&project.folder.join("bin"), "tool", "echo 1.0");
    std::fs::write(project.folder.join("bin/slow"), "#!/bin/sh\necho 1.0\n").unwrap();
    std::fs::set_permissions(project.folder.join("bin/slow"), PermissionsExt::from_mode(0o755)).unwrap();
    project.run(&["up"]).ok();
    // Its file is another one from now on, so that it is asked again, and this time it says nothing.
    std::fs::write(project.folder.join("bin/slow"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    kill(project.pid("lead"));
    project.until("it is being asked", |s| of(s, "lead")["state"] == "starting");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
    assert_eq!(lines(&project, "starts"), 2);
}

#[test]
fn a_built_in_one_is_changed_in_what_is_named() {
    let project = TestProject::new("");
    let bin = project.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    install(&bin, "claude", "echo '2.0.9 (Claude Code)'");
    project.write_config(&format!(
        "[agent.lead]\nenv = {{ PATH = '{}:{}' }}\n[backend.claude]\nversion = '2.1'\n",
        bin.display(),
        std::env::var("PATH").unwrap()
    ));
    project.run(&["check", "--programs"]).fails(1, "has version 2.0.9, wanted is 2.1");
    project.write_config("[agent.lead]\n[backend.mycli]\nversion = '2.1'\n");
    project.run(&["check"]).fails(3, "`start` names no program");
}
