//! What is run without asking: engines from a cache that only this user writes, and a home's own agent where the home was made here.

use std::os::unix::fs::{PermissionsExt, symlink};

use crate::home::{Ran, TestHome};

/// With the build cache, which other tests go around.
fn cached(home: &TestHome, program: &str, folder: &str, args: &[&str]) -> Ran {
    let mut command = home.command(program, &home.file(folder));
    Ran::of(command.env_remove("AGENTS_BIN").args(args).output().unwrap())
}

#[test]
fn engines_are_run_only_from_where_nobody_else_writes() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let (fleet, engines) = (env!("CARGO_BIN_EXE_fleet"), home.file(".cache/agents/engines"));
    std::fs::create_dir_all(&engines).unwrap();
    std::fs::set_permissions(&engines, std::fs::Permissions::from_mode(0o777)).unwrap();
    let said = cached(&home, fleet, "home", &["start", "web"]).fails(1);
    assert!(said.contains("has mode 0777, so others may write there") && said.contains("hint: "), "{said}");
    std::fs::remove_dir_all(&engines).unwrap();
    std::fs::create_dir(home.file("elsewhere")).unwrap();
    symlink(home.file("elsewhere"), &engines).unwrap();
    let said = cached(&home, fleet, "home", &["start", "web"]).fails(1);
    assert!(said.contains("is a symlink"), "{said}");
    let launcher = home.project("web").join("engine/agents");
    let said = cached(&home, launcher.to_str().unwrap(), "projects/web", &["status"]).fails(1);
    assert!(said.contains("is a link or belongs to another user"), "{said}");
    std::fs::remove_file(&engines).unwrap();
    cached(&home, fleet, "home", &["start", "web"]).ok();
    cached(&home, launcher.to_str().unwrap(), "projects/web", &["status"]).ok();
    cached(&home, fleet, "home", &["stop", "web"]).ok();
}

#[test]
fn the_agent_of_a_home_from_elsewhere_is_not_started_unasked() {
    let home = TestHome::new();
    // Beside the projects, so that it is stopped as they are, whatever happens.
    home.fleet(&["init", home.project("one").to_str().unwrap(), "--backend", "shell"]).ok();
    let po = |at: &str, args: &[&str]| {
        let registry = home.project(at).join("fleet.toml");
        home.fleet(&[&["--registry", registry.to_str().unwrap(), "po"], args].concat())
    };
    po("one", &["up"]).ok();
    po("one", &["down"]).ok();
    let copied = std::process::Command::new("cp").arg("-a").args([home.project("one"), home.project("two")]).status().unwrap();
    assert!(copied.success());
    let said = po("two", &["up"]).fails(1);
    assert!(said.contains("nobody has said yet") && said.contains("fleet po up --trust"), "{said}");
    po("two", &["attach"]).fails(1);
    po("two", &["status"]).ok();
    po("two", &["up", "--trust"]).ok();
    std::fs::write(home.project("two").join("agents.toml"), "[agent.orchestrator]\nbackend = \"shell\"\ncommand = [\"true\"]\n").unwrap();
    let said = po("two", &["up"]).fails(1);
    assert!(said.contains("agents.toml has changed since it was trusted"), "{said}");
    po("two", &["down"]).ok();
}
