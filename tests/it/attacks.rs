//! Hostile projects: nothing of theirs runs before it is trusted, and nothing they say steers the terminal.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::home::TestHome;

/// A project that was not made here: its record of trust is gone with the entry.
pub fn stranger(home: &TestHome) -> std::path::PathBuf {
    home.fleet(&["create", "web"]).ok();
    home.fleet(&["remove", "web"]).ok();
    let _ = std::fs::remove_file(home.records().join("trust.json"));
    home.project("web")
}

pub fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Puts a canary wherever a repository's own files or configuration can name a program.
pub fn set_canaries(home: &TestHome, web: &Path) -> std::path::PathBuf {
    let fired = home.file("fired");
    let canary = home.file("bin/canary");
    script(&canary, &format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat 2>/dev/null\n", fired.display()));
    let canary = canary.display();
    let config = format!(
        "[core]\n\tfsmonitor = {canary}\n\tpager = {canary}\n\teditor = {canary}\n\tsshCommand = {canary}\n\tgitProxy = {canary}\n\talternateRefsCommand = {canary}\n\
         \taskPass = {canary}\n[filter \"evil\"]\n\tclean = {canary}\n\tsmudge = {canary}\n\tprocess = {canary}\n[diff \"evil\"]\n\ttextconv = {canary}\n\
         \tcommand = {canary}\n[diff]\n\texternal = {canary}\n[credential]\n\thelper = {canary}\n[uploadpack]\n\tpackObjectsHook = {canary}\n\
         [gpg]\n\tprogram = {canary}\n[log]\n\tshowSignature = true\n"
    );
    for git in [web.join(".git"), web.join(".git/modules/engine")] {
        let path = git.join("config");
        std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + &config).unwrap();
        std::fs::create_dir_all(git.join("info")).unwrap();
        std::fs::write(git.join("info/attributes"), "* filter=evil diff=evil\n").unwrap();
        for hook in [
            "post-checkout",
            "post-index-change",
            "pre-commit",
            "reference-transaction",
            "post-update",
            "pre-auto-gc",
            "fsmonitor-watchman",
        ] {
            script(&git.join("hooks").join(hook), &format!("#!/bin/sh\nexec {canary} {hook}\n"));
        }
    }
    // The same content with another time: whoever asks whether it changed has to look into it.
    let file = std::fs::File::options().append(true).open(web.join("engine/engine.toml")).unwrap();
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(5)).unwrap();
    std::fs::write(
        web.join("agents.toml"),
        format!("[project]\nname = \"web\"\n[agent.a]\nbackend = \"shell\"\ncommand = [\"{canary}\"]\n"),
    )
    .unwrap();
    fired
}

#[test]
fn looking_at_and_adding_a_hostile_folder_runs_nothing_of_it() {
    let home = TestHome::new();
    let web = stranger(&home);
    let fired = set_canaries(&home, &web);
    home.fleet(&["add", &web.display().to_string()]).ok();
    for looks in [
        &["status"][..],
        &["status", "--json"],
        &["list"],
        &["validate"],
        &["get", "web"],
        &["update", "--dry-run", "web"],
        &["start", "--dry-run", "web"],
    ] {
        let ran = home.fleet(looks);
        assert!(ran.code <= 1, "{looks:?}: {}", ran.err);
        assert!(!fired.exists(), "{looks:?}: {}", std::fs::read_to_string(&fired).unwrap());
    }
    // The canary itself works.
    assert_eq!(home.command("git", &web).args(["status", "--porcelain"]).output().unwrap().status.code(), Some(0));
    assert!(fired.exists());
}

#[test]
fn what_is_added_must_be_what_it_pins() {
    type Break = fn(&TestHome, &Path);
    let cases: [(&str, Break); 6] = [
        ("symlink", |home, web| {
            std::fs::rename(web.join("engine"), home.file("elsewhere")).unwrap();
            symlink(home.file("elsewhere"), web.join("engine")).unwrap();
        }),
        ("not what HEAD pins", |_, web| script(&web.join("engine/agents"), "#!/bin/sh\ntouch /tmp/never\n")),
        ("not what HEAD pins", |home, web| {
            home.git(&web.join("engine"), &["commit", "-q", "--allow-empty", "-m", "evil"]);
        }),
        ("expected one submodule", |_, web| rename_module(web, "\"engine\"", "\"../../hooks\"")),
        ("transport::address", |_, web| rename_module(web, "url = ./", "url = ext::sh")),
        ("no submodule", |home, web| {
            home.git(web, &["rm", "-q", "-f", "--cached", "engine"]);
            std::fs::remove_file(web.join("engine/.git")).unwrap();
            home.git(web, &["add", "-f", "engine"]);
            home.git(web, &["commit", "-q", "-m", "a plain folder"]);
        }),
    ];
    for (part, damage) in cases {
        let home = TestHome::new();
        let web = stranger(&home);
        damage(&home, &web);
        let before = home.registry();
        let ran = home.fleet(&["add", &web.display().to_string()]);
        let said = ran.err;
        assert!(matches!(ran.code, 1 | 2) && said.contains(part) && said.matches("error:").count() == 1, "{part}: {said}");
        assert_eq!(home.registry(), before);
    }
}

fn rename_module(web: &Path, from: &str, to: &str) {
    let path = web.join(".gitmodules");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace(from, to)).unwrap();
}

#[test]
fn what_changed_after_it_was_trusted_asks_again() {
    let home = TestHome::new();
    let web = stranger(&home);
    let shown = web.display().to_string();
    home.write("projects/web/agents.toml", "[project]\nname = \"web\"\n[agent.a]\nbackend = \"shell\"\ncommand = [\"sleep\", \"1000\"]\n");
    home.fleet(&["add", &shown]).ok();
    home.fleet(&["start", "web"]).ok();
    let fired = home.file("fired");
    home.write(
        "projects/web/agents.toml",
        &format!("[project]\nname = \"web\"\n[agent.a]\nbackend = \"shell\"\ncommand = [\"touch\", \"{}\"]\n", fired.display()),
    );
    for verb in
        [&["start", "web"][..], &["restart", "web"], &["attach", "web/a"], &["send", "web/a", "x"], &["logs", "web/a"], &["why", "web/a"]]
    {
        let said = home.fleet(verb).fails(1);
        assert!(said.contains("has changed since it was trusted") && said.contains("--trust"), "{verb:?}: {said}");
    }
    // Stopping it needs none, and runs nothing of the project's.
    script(&web.join("engine/agents"), &format!("#!/bin/sh\ntouch {}\n", fired.display()));
    home.fleet(&["stop", "web"]).ok();
    assert!(home.fleet(&["status", "web"]).ok().contains("down") && !fired.exists());
    home.git(&web.join("engine"), &["checkout", "-q", "--", "agents"]);
    home.fleet(&["start", "web", "--trust"]).ok();
    home.fleet(&["stop", "web"]).ok();
    // Another folder put in its place is another project.
    std::fs::rename(&web, home.file("moved")).unwrap();
    symlink(home.file("moved"), &web).unwrap();
    assert!(home.fleet(&["start", "web"]).fails(1).contains("nobody has said yet"));
    std::fs::remove_file(&web).unwrap();
    std::fs::rename(home.file("moved"), &web).unwrap();
    // An engine that no commit stands for may hold anything.
    std::fs::rename(web.join("engine/.git"), home.file("dot-git")).unwrap();
    assert!(home.fleet(&["start", "web"]).fails(1).contains("no checked out submodule"));
    // A registry that came from another machine brings no trust along.
    std::fs::rename(home.file("dot-git"), web.join("engine/.git")).unwrap();
    std::fs::remove_file(home.records().join("trust.json")).unwrap();
    assert!(home.fleet(&["start", "web"]).fails(1).contains("nobody has said yet"));
}

/// Whatever steers a terminal: controls of both tables, and what turns text around.
const STEERING: &str = "\u{1b}]0;evil\u{7}\u{1b}[2J\u{9b}31m\u{90}x\u{9c}\u{7f}\u{202e}live\u{2066}\r\u{8}";

#[track_caller]
fn harmless(what: &str, text: &str) {
    let steers = |c: &char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.chars().any(|c| steers(&c)), "{what}: {text:?}");
}

#[test]
fn a_hostile_harness_cannot_steer_the_terminal() {
    let home = TestHome::new();
    let harness = home.sh_harness("loud", true);
    home.fleet(&["create", "web", "--harness", "loud"]).ok();
    std::fs::write(harness.join("notes"), "three\n").unwrap();
    home.git(&harness, &["commit", "-qam", &format!("Improve {STEERING}")]);
    let name = "v1.2.0\u{9b}\u{202e}";
    home.git(&harness, &["tag", "v1.2.0"]);
    home.git(&harness, &["tag", name]);
    let looks: [&[&str]; 4] = [
        &["update", "web", "--dry-run", "--to", "v1.2.0"],
        &["status", "--json"],
        &["update", "web", "--dry-run", "--to", name],
        &["list"],
    ];
    for args in looks {
        let ran = home.fleet(args);
        harmless(&format!("{args:?}"), &(ran.out + &ran.err));
    }
    script(
        &home.project("web").join("engine/run"),
        &format!("#!/bin/sh\nprintf '%b' '{STEERING}'\nprintf '%b' '{STEERING}' >&2\nexit 3\n"),
    );
    for args in [
        &["start", "web"][..],
        &["stop", "web"],
        &["status"],
        &["status", "--json"],
        &["start", "web", "--json"],
        &["exec", "web", "--", "engine/run"],
    ] {
        let ran = home.fleet(args);
        harmless(&format!("{args:?}"), &(ran.out + &ran.err));
    }
    home.write("projects/web/engine/engine.toml", &format!("[engine]\nname = \"x{}\"\nversion = 1\n", STEERING.escape_unicode()));
    home.write("home/fleet.toml", &(home.registry() + &format!("# {STEERING}\nx = {STEERING}\n")));
    for args in [&["status"][..], &["validate"], &["get", STEERING], &["add", STEERING], &["start", STEERING]] {
        let ran = home.fleet(args);
        harmless(&format!("{args:?}"), &(ran.out + &ran.err));
    }
}
