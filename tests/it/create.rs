//! `fleet create`, and what a created project is.

use std::path::Path;
use std::process::Stdio;

use crate::home::TestHome;

fn files(folder: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() { files(&path, out) } else { out.push(path) }
    }
}

#[test]
fn a_project_is_whole_registered_and_clean() {
    let home = TestHome::new();
    let said = home.fleet(&["create", "web", "--tag", "frontend"]).ok();
    assert!(said.contains("created web"), "{said}");
    let web = home.project("web");
    assert_eq!(home.git(&web, &["status", "--porcelain", "--ignored"]), "");
    assert_eq!(home.git(&web, &["log", "--format=%s by %an"]), "Create web by Ada Tester");
    assert!(home.git(&web, &["submodule", "status"]).starts_with(&format!(" {} engine (v", home.pin("web"))));
    assert_eq!(home.git(&web, &["rev-parse", "engine"]), home.pin("web"));
    assert_eq!(home.git(&web.join("engine"), &["status", "--porcelain"]), "");
    home.git(&web, &["fsck", "--strict"]);
    let registry = home.registry();
    for part in ["name = \"web\"", "location = \"~/projects/web\"", &format!("commit = \"{}\"", home.pin("web")), "tags = [\"frontend\"]"] {
        assert!(registry.contains(part), "{part} in {registry}");
    }
    assert!(!home.file("projects/.web.partial").exists());
}

#[test]
fn nothing_in_a_project_names_who_looks_after_it() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    let word = ["fl", "eet"].concat();
    let mut all = vec![];
    files(&home.project("web"), &mut all);
    assert!(all.len() > 20);
    for path in all {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).to_lowercase().contains(&word), "{}", path.display());
    }
    let web = home.project("web");
    for folder in [&web, &web.join("engine")] {
        let history = home.git(folder, &["log", "--all", "--reflog", "-p", "--format=fuller"]).to_lowercase();
        assert!(!history.contains(&word));
    }
}

#[test]
fn a_recursive_clone_of_a_pushed_project_is_whole() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    home.git(&home.file(""), &["init", "-q", "--bare", "forge.git"]);
    let forge = home.file("forge.git").display().to_string();
    home.git(&home.project("web"), &["push", "-q", &forge, "main", "engine"]);
    home.git(&home.file(""), &["-c", "protocol.file.allow=always", "clone", "-q", "--recursive", &forge, "clone"]);
    let clone = home.file("clone");
    assert_eq!(home.git(&clone.join("engine"), &["rev-parse", "HEAD"]), home.pin("web"));
    assert_eq!(home.git(&clone, &["status", "--porcelain"]), "");
    assert!(clone.join("engine/Cargo.toml").exists());
}

#[test]
fn the_project_needs_neither_the_mirror_nor_its_old_place() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    std::fs::remove_dir_all(home.file(".cache")).unwrap();
    std::fs::rename(home.project("web"), home.file("moved")).unwrap();
    let moved = home.file("moved");
    assert_eq!(home.git(&moved, &["status", "--porcelain"]), "");
    home.git(&moved.join("engine"), &["fsck"]);
    home.git(&moved.join("engine"), &["fetch", "-q"]);
    home.git(&moved, &["submodule", "update", "--init"]);
}

#[test]
fn a_harness_of_someone_elses_works_as_well() {
    for with_manifest in [false, true] {
        let home = TestHome::new();
        let harness = home.sh_harness("sh", with_manifest);
        home.fleet(&["create", "shop", "--harness", "sh", "--start"]).ok();
        let shop = home.project("shop");
        assert_eq!(home.pin("shop"), home.git(&harness, &["rev-parse", "v1.0.0"]));
        assert!(home.read("projects/shop/.gitmodules").contains(&format!("url = {}", harness.display())));
        assert!(!shop.join("agents.toml").exists());
        assert_eq!(home.read("projects/shop/.run/log"), "started with one\n");
        assert!(home.fleet(&["remove", "shop"]).fails(1).contains("is running"));
        home.fleet(&["remove", "shop", "--stop"]).ok();
        assert!(!shop.join(".run/pid").exists());
        assert!(!home.registry().contains("shop"));
    }
}

#[test]
fn what_is_wrong_changes_nothing() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    let before = home.registry();
    for (args, code, part) in [
        (vec!["create", "web"], 1, "already"),
        (vec!["create", "Web"], 2, "name"),
        (vec!["create", "../evil"], 2, "name"),
        (vec!["create", "-x"], 2, ""),
        (vec!["create", "api", "--ref", "v9.9.9"], 1, "known tags: v"),
        (vec!["create", "api", "--ref=-oops"], 2, "cannot be the name"),
        (vec!["create", "api", "--harness", "nope"], 3, "nope"),
        (vec!["create", "api", "--path", "/proc/nowhere/api"], 1, "/proc"),
    ] {
        let said = home.fleet(&args).fails(code);
        assert!(said.contains(part), "{args:?}: {said}");
        assert_eq!(home.registry(), before, "{args:?}");
        assert!(!home.project("api").exists() && !home.file("projects/.api.partial").exists(), "{args:?}");
    }
    home.write("projects/api/mine", "precious");
    assert!(home.fleet(&["create", "api"]).fails(1).contains("is there already"));
    assert_eq!(home.read("projects/api/mine"), "precious");
}

#[test]
fn without_an_identity_git_is_not_asked_twice() {
    let home = TestHome::new();
    home.write(".gitconfig", "[user]\n\tuseConfigOnly = true\n");
    let said = home.fleet(&["create", "web"]).fails(1);
    assert!(said.contains("git does not know who you are") && said.contains("user.email"), "{said}");
    assert!(!home.project("web").exists() && !home.file("projects/.web.partial").exists());
    assert!(home.fleet(&["history"]).ok().contains("undone"));
}

#[test]
fn a_dry_run_makes_nothing() {
    let home = TestHome::new();
    let before = home.registry();
    assert!(home.fleet(&["create", "web", "--dry-run"]).ok().contains("would create web"));
    assert_eq!(home.registry(), before);
    assert!(!home.project("web").exists() && !home.file(".local/state/fleet").exists());
}

#[test]
fn the_build_cache_is_seeded_so_that_nothing_is_compiled() {
    let home = TestHome::new();
    let mut command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
    let status = command.env_remove("AGENTS_BIN").args(["create", "web"]).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let engine = home.project("web").join("engine");
    let tree = home.git(&engine, &["rev-parse", "HEAD^{tree}"]);
    let program = home.file(".cache/agents/engines").join(&tree).join("agents");
    assert!(program.metadata().unwrap().len() > 100_000);
    let link = home.file(".cache/agents/engines/by-commit").join(home.pin("web"));
    assert_eq!(link.canonicalize().unwrap(), program.parent().unwrap().canonicalize().unwrap());
    let mut launcher = home.command(engine.join("agents"), &home.project("web"));
    let output = launcher.env_remove("AGENTS_BIN").env("CARGO", "/nonexistent").arg("--version").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_pin_that_is_not_on_its_remote_is_named() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    let web = home.project("web");
    home.git(&home.file(""), &["init", "-q", "--bare", "forge.git"]);
    assert!(!home.fleet(&["validate"]).ok().contains("remote origin"));
    home.git(&web, &["remote", "add", "origin", &home.file("forge.git").display().to_string()]);
    home.git(&web, &["push", "-q", "origin", "main"]);
    let said = home.fleet(&["validate"]).ok();
    assert!(said.contains("not known to be on its remote origin") && said.contains("push origin engine"), "{said}");
    home.git(&web, &["push", "-q", "origin", "engine"]);
    assert!(!home.fleet(&["validate"]).ok().contains("remote origin"));
}
