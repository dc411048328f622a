//! What the program prints of itself.

use crate::project::{TWO, TestProject};

#[test]
fn version_help_pages_completions_and_schemas() {
    let project = TestProject::new(TWO);
    let version = format!("agents {}\n", env!("CARGO_PKG_VERSION"));
    for args in [&["--version"][..], &["-V"]] {
        assert_eq!(project.run(args).ok().stdout, version);
    }
    let help = project.run(&["--help"]).ok().stdout;
    let verbs = [
        "up",
        "down",
        "restart",
        "status",
        "attach",
        "send",
        "mail",
        "capture",
        "logs",
        "why",
        "check",
        "info",
        "schema",
        "completions",
        "man",
    ];
    for verb in verbs {
        assert!(help.lines().any(|l| l.trim_start().starts_with(verb)), "{verb} is not in\n{help}");
        project.run(&[verb, "--help"]).ok();
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(project.run(&["completions", shell]).ok().stdout.contains("agents"));
    }
    assert!(project.run(&["man"]).ok().stdout.contains(".TH agents 1"));
    project.run(&["man", "pages"]).ok();
    assert!(project.folder.join("pages/agents-up.1").exists());
    for what in ["config", "status", "event", "manifest"] {
        let schema: serde_json::Value = serde_json::from_str(&project.run(&["schema", what]).ok().stdout).unwrap();
        assert!(schema["$schema"].as_str().is_some_and(|s| s.contains("json-schema.org")), "{what}");
    }
}

#[test]
fn check_says_what_is_wrong_where() {
    let project = TestProject::new(TWO);
    project.run(&["check"]).ok();
    project.write_config(&TWO.replace("[agent.tester]\nbackend", "[agent.tester]\nbakend"));
    let check = project.run(&["check"]);
    assert_eq!(check.code, 3, "{check:?}");
    assert!(check.stderr.contains("agents.toml:10:1") && check.stderr.contains("backend"), "{check:?}");
}

#[test]
fn the_manifest_fits_the_crate() {
    let manifest: toml::Table = include_str!("../../engine.toml").parse().unwrap();
    assert_eq!(manifest["engine"]["version"].as_str(), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(manifest["engine"]["protocol"].as_integer(), Some(i64::from(agents::contract::PROTOCOL)));
    for command in manifest["commands"].as_table().unwrap().values() {
        assert_eq!(command[0].as_str(), Some("engine/agents"));
    }
}

#[test]
fn nobody_above_is_named() {
    let above: String = ["fl", "eet"].concat();
    let mut open = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            if !path.ends_with("target") {
                open.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            }
            continue;
        }
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).to_lowercase();
        assert!(!text.contains(&above), "{}", path.display());
    }
}
