//! The unit that starts every enabled project: written, checked by systemd itself, its command run, removed.

use std::process::Command;

use crate::home::{Ran, TestHome};

#[test]
fn every_enabled_project_is_started_by_the_units_command() {
    let home = TestHome::new();
    if Command::new("systemctl").arg("--version").output().is_err() {
        return println!("skipped: there is no systemctl here");
    }
    for name in ["on", "off"] {
        home.fleet(&["create", name, "--backend", "shell"]).ok();
    }
    home.fleet(&["disable", "off"]).ok();
    let status = || -> serde_json::Value { serde_json::from_str(&home.fleet(&["service", "status", "--json"]).ok()).unwrap() };
    assert_eq!(status()["installed"], false);
    home.fleet(&["service", "install"]).ok();
    let answer = status();
    assert!(["installed", "enabled", "current"].iter().all(|key| answer[key] == true), "{answer}");
    let unit = std::fs::read_to_string(answer["file"].as_str().unwrap()).unwrap();
    let line = unit.lines().find_map(|l| l.strip_prefix("ExecStart=-")).expect("a command");
    // None of these words needs unquoting.
    let argv: Vec<&str> = line.split(' ').map(|word| word.trim_matches('"')).collect();
    Ran::of(home.command(argv[0], std::path::Path::new("/")).args(&argv[1..]).output().unwrap()).ok();
    let now: serde_json::Value = serde_json::from_str(&home.fleet(&["status", "--json"]).ok()).unwrap();
    let state = |name: &str| now["projects"].as_array().unwrap().iter().find(|p| p["name"] == name).unwrap()["state"].clone();
    assert_eq!((state("on"), state("off")), ("up".into(), "down".into()), "{now:#}");
    home.fleet(&["service", "uninstall"]).ok();
    assert_eq!(status()["installed"], false);
}
