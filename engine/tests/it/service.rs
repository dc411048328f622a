//! The unit that brings agents back is written, checked by systemd itself, run as it says, and removed.

use std::process::Command;

use crate::project::{TWO, TestProject, of, said};

#[test]
fn install_status_run_uninstall() {
    let project = TestProject::new(TWO);
    if Command::new("systemctl").arg("--version").output().is_err() {
        project.run(&["service", "install"]).fails(1, "systemctl");
        return println!("skipped: there is no systemctl here");
    }
    let status = || -> serde_json::Value { serde_json::from_str(&project.run(&["service", "status", "--json"]).ok().stdout).unwrap() };
    assert_eq!((&status()["installed"], &status()["enabled"]), (&false.into(), &false.into()));
    project.run(&["service", "uninstall"]).ok();
    project.run(&["up"]).ok();
    project.run(&["down", "tester"]).ok();
    let installed = project.run(&["service", "install"]).ok();
    assert!(installed.stdout.starts_with("installed /"), "{installed:?}");
    project.run(&["service", "install"]).ok();
    let answer = status();
    assert!(["installed", "enabled", "current"].iter().all(|key| answer[key] == true), "{answer}");
    let unit = std::fs::read_to_string(answer["file"].as_str().unwrap()).unwrap();
    assert!(answer["file"].as_str().unwrap().starts_with(project.root().join("home").to_str().unwrap()), "{answer}");

    // What systemd would run, run by hand: none of these words needs unquoting.
    let line = unit.lines().find_map(|l| l.strip_prefix("ExecStart=-")).expect("a command");
    let argv: Vec<String> = line.split(' ').map(|word| word.trim_matches('"').to_owned()).collect();
    project.kill_all();
    let engine = project.command(&[]);
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).current_dir("/").env_clear().envs(engine.get_envs().filter_map(|(name, value)| Some((name, value?))));
    said(command).ok();
    let status_now = project.status();
    assert_eq!((of(&status_now, "lead")["state"].as_str(), of(&status_now, "tester")["state"].as_str()), (Some("up"), Some("down")));

    let mut elsewhere = project.command(&["service", "status", "--json"]);
    elsewhere.env("AGENTS_HOME", "/elsewhere");
    let answer: serde_json::Value = serde_json::from_str(&said(elsewhere).ok().stdout).unwrap();
    assert_eq!((&answer["installed"], &answer["current"]), (&true.into(), &false.into()), "it would be another: {answer}");
    project.run(&["service", "uninstall"]).ok();
    assert_eq!((&status()["installed"], &status()["enabled"]), (&false.into(), &false.into()));
}
