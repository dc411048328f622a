//! `fleet update`: only the pin moves, or nothing does.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::home::TestHome;

fn ready() -> TestHome {
    let home = TestHome::new();
    home.sh_harness("sh", true);
    home.fleet(&["create", "shop", "--harness", "sh"]).ok();
    home
}

fn tag(home: &TestHome, name: &str) -> String {
    home.git(&home.file("harness/sh"), &["rev-parse", &format!("{name}^{{commit}}")])
}

/// The project stands at this tag in commit, index and checkout, and the registry says so.
#[track_caller]
fn is_at(home: &TestHome, project: &str, name: &str) {
    let (folder, commit) = (home.project(project), tag(home, name));
    assert_eq!(home.pin(project), commit, "pin");
    assert_eq!(home.git(&folder, &["ls-files", "-s", "engine"]), format!("160000 {commit} 0\tengine"), "index");
    assert_eq!(home.git(&folder.join("engine"), &["rev-parse", "HEAD"]), commit, "checkout");
    assert_eq!(home.git(&folder.join("engine"), &["status", "--porcelain"]), "", "engine is clean");
    assert!(home.registry().contains(&format!("commit = \"{commit}\"")), "registry");
}

#[test]
fn a_pin_moves_by_one_commit() {
    let home = ready();
    let shown = home.fleet(&["update", "shop", "v1.1.0", "--dry-run"]).ok();
    assert!(shown.contains("v1.0.0 → v1.1.0") && shown.contains("Release v1.1.0"), "{shown}");
    is_at(&home, "shop", "v1.0.0");
    home.fleet(&["update", "shop", "v1.1.0"]).ok();
    is_at(&home, "shop", "v1.1.0");
    assert!(home.registry().contains("ref = \"v1.1.0\""));
    assert_eq!(home.git(&home.project("shop"), &["log", "--format=%s"]), "Update engine to v1.1.0\nCreate shop");
    assert!(home.fleet(&["update", "shop"]).ok().contains("there already"));
    assert!(home.project("shop").join("engine/new/file").exists() && !home.project("shop").join("engine/old").exists());
}

#[test]
fn nothing_else_is_swept_along() {
    let home = ready();
    let shop = home.project("shop");
    home.write("projects/shop/staged", "staged\n");
    home.git(&shop, &["add", "staged"]);
    home.write("projects/shop/README.md", "changed\n");
    home.write("projects/shop/untracked", "untracked\n");
    let before = home.git(&shop, &["status", "--porcelain"]);
    let mode = |name: &str| shop.join(name).metadata().unwrap().permissions().mode();
    let index_mode = mode(".git/index");
    home.fleet(&["update", "shop", "v1.1.0"]).ok();
    is_at(&home, "shop", "v1.1.0");
    assert_eq!(home.git(&shop, &["status", "--porcelain"]), before);
    assert_eq!(home.git(&shop, &["show", "--format=", "--name-only", "HEAD"]), "engine");
    assert_eq!(home.git(&shop, &["show", "--format=%an %ae %cn", "-s", "HEAD"]), "Ada Tester ada@example.org Ada Tester");
    assert!(home.git(&shop, &["reflog", "-1"]).contains("Update engine to v1.1.0"));
    assert_eq!(mode(".git/index"), index_mode);
    home.git(&shop, &["fsck"]);
}

#[test]
fn hooks_run_as_the_user_has_them() {
    let home = ready();
    let shop = home.project("shop");
    let hook = shop.join(".git/hooks/commit-msg");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'Change-Id: I1' >>\"$1\"\n").unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    home.fleet(&["update", "shop", "v1.1.0"]).ok();
    assert!(home.git(&shop, &["log", "-1", "--format=%B"]).contains("Change-Id: I1"));
    std::fs::write(&hook, "#!/bin/sh\necho 'not on a Saturday' >&2\nexit 1\n").unwrap();
    let said = home.fleet(&["update", "shop", "v1.0.0", "--allow-downgrade"]).fails(1);
    assert!(said.contains("not on a Saturday"), "{said}");
    is_at(&home, "shop", "v1.1.0");
}

#[test]
fn a_check_that_fails_puts_everything_back() {
    let home = ready();
    home.write("projects/shop/broken", "");
    let before = home.registry();
    let said = home.fleet(&["update", "shop", "v1.1.0"]).fails(1);
    assert!(said.contains("project shop") && said.contains("this project is broken"), "{said}");
    is_at(&home, "shop", "v1.0.0");
    assert_eq!(home.registry(), before);
    assert_eq!(home.git(&home.project("shop"), &["log", "--format=%s"]), "Create shop");
}

#[test]
fn what_would_lose_something_is_refused() {
    type Break = fn(&TestHome, &Path);
    let cases: [(&str, Break); 6] = [
        ("detached", |h, f| drop(h.git(f, &["checkout", "-q", "--detach"]))),
        ("files of engine/ were changed", |_, f| std::fs::write(f.join("engine/notes"), "mine").unwrap()),
        ("is staged", |h, f| {
            h.git(&f.join("engine"), &["checkout", "-q", &tag(h, "v1.1.0")[..]]);
            h.git(f, &["add", "engine"]);
        }),
        ("merge is under way", |h, f| {
            h.git(f, &["checkout", "-q", "-b", "side"]);
            h.git(f, &["commit", "-q", "--allow-empty", "-m", "side"]);
            h.git(f, &["checkout", "-q", "main"]);
            h.git(f, &["commit", "-q", "--allow-empty", "-m", "here"]);
            h.git(f, &["merge", "-q", "--no-ff", "--no-commit", "side"]);
        }),
        ("index.lock exists", |_, f| std::fs::write(f.join(".git/index.lock"), "").unwrap()),
        ("a commit of your own", |h, f| {
            std::fs::write(f.join("engine/notes"), "mine").unwrap();
            h.git(&f.join("engine"), &["commit", "-q", "-am", "mine"]);
        }),
    ];
    for (part, damage) in cases {
        let home = ready();
        let shop = home.project("shop");
        home.git(&shop.join("engine"), &["fetch", "-q", "origin", "--tags"]);
        damage(&home, &shop);
        let state = |home: &TestHome| {
            (home.git(&shop, &["rev-parse", "HEAD"]), home.git(&shop, &["--no-optional-locks", "status", "--porcelain"]), home.registry())
        };
        let before = state(&home);
        let ran = home.fleet(&["update", "shop", "v1.1.0"]);
        assert!(ran.code != 0 && ran.err.contains(part), "{part}: {}", ran.err);
        assert_eq!(state(&home), before, "{part}");
    }
}

#[test]
fn a_tag_that_moved_a_downgrade_and_another_url_are_refused_unless_asked_for() {
    let home = ready();
    home.fleet(&["update", "shop", "v1.1.0"]).ok();
    let said = home.fleet(&["update", "shop", "v1.0.0"]).fails(1);
    assert!(said.contains("older") && said.contains("--allow-downgrade"), "{said}");
    is_at(&home, "shop", "v1.1.0");
    home.release(&home.file("harness/sh"), "v1.1.0", &[("notes", "evil\n")]);
    let said = home.fleet(&["update", "shop"]).fails(1);
    assert!(said.contains("has moved") && said.contains("--allow-moved"), "{said}");
    home.fleet(&["update", "shop", "v1.1.0", "--allow-moved"]).ok();
    is_at(&home, "shop", "v1.1.0");
    home.fleet(&["update", "shop", "v1.0.0", "--allow-downgrade"]).ok();
    is_at(&home, "shop", "v1.0.0");
    home.write("projects/shop/.gitmodules", "[submodule \"engine\"]\n\tpath = engine\n\turl = https://example.org/evil\n");
    assert!(home.fleet(&["update", "shop", "v1.1.0"]).fails(1).contains("example.org/evil"));
}

#[test]
fn one_bad_project_stops_no_other() {
    let home = ready();
    for name in ["a", "b", "c"] {
        home.fleet(&["create", name, "--harness", "sh"]).ok();
    }
    home.write("projects/b/broken", "");
    std::fs::rename(home.project("c"), home.file("elsewhere")).unwrap();
    let ran = home.fleet(&["update", "--all", "v1.1.0"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("project b: ") && ran.err.contains("project c: "), "{}", ran.err);
    is_at(&home, "a", "v1.1.0");
    is_at(&home, "shop", "v1.1.0");
    is_at(&home, "b", "v1.0.0");
}

#[test]
fn a_running_project_runs_the_new_engine_afterwards() {
    let home = ready();
    home.fleet(&["remove", "shop"]).ok();
    home.fleet(&["create", "live", "--harness", "sh", "--start"]).ok();
    let said = home.fleet(&["update", "live", "v1.1.0"]).ok();
    assert!(said.contains("restarted"), "{said}");
    assert_eq!(home.read("projects/live/.run/log"), "started with one\nstarted with two\n");
}

#[test]
fn the_branch_that_carries_the_engine_never_lets_go_of_an_old_pin() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    let (web, old) = (home.project("web"), home.pin("web"));
    let mirror = home.file(".cache/fleet/harness/agents-carried");
    let mut pins = vec![old.clone()];
    for version in ["v90.0.0", "v91.0.0"] {
        let commit = home.git(&mirror, &["commit-tree", "-m", version, &format!("{old}^{{tree}}")]);
        home.git(&mirror, &["tag", version, &commit]);
        home.fleet(&["update", "web", version]).ok();
        assert_eq!(home.pin("web"), commit);
        pins.push(commit);
    }
    home.git(&home.file(""), &["init", "-q", "--bare", "forge.git"]);
    let forge = home.file("forge.git").display().to_string();
    home.git(&web, &["push", "-q", &forge, "main", "engine"]);
    home.git(&home.file(""), &["-c", "protocol.file.allow=always", "clone", "-q", "--recursive", &forge, "clone"]);
    let engine = home.file("clone/engine");
    for pin in pins {
        home.git(&engine, &["cat-file", "-e", &format!("{pin}^{{tree}}")]);
    }
    home.fleet(&["undo"]).ok();
    home.git(&web, &["push", "-q", &forge, "main", "engine"]);
}

/// Signs with ssh: no agent, no keyring.
fn sign_by(home: &TestHome, name: &str) {
    let key = home.file(name).display().to_string();
    let made = home.command("ssh-keygen", &home.file("")).args(["-q", "-t", "ed25519", "-N", "", "-f", &key]).status().unwrap();
    assert!(made.success());
    let public = home.read(&format!("{name}.pub"));
    home.write("signers", &format!("ada@example.org {public}"));
    for (key, value) in
        [("gpg.format", "ssh".into()), ("user.signingKey", key), ("gpg.ssh.allowedSignersFile", home.file("signers").display().to_string())]
    {
        home.git(&home.file(""), &["config", "--global", key, &value]);
    }
}

fn has_ssh_keygen() -> bool {
    std::process::Command::new("ssh-keygen").arg("-?").stderr(std::process::Stdio::null()).status().is_ok()
}

#[test]
fn a_harness_whose_tags_are_to_be_signed_pins_no_other() {
    if !has_ssh_keygen() {
        println!("skipped: ssh-keygen is not installed");
        return;
    }
    let home = ready();
    home.write("home/fleet.toml", &home.registry().replace("[harness.sh]\n", "[harness.sh]\nsigned = true\n"));
    let harness = home.file("harness/sh");
    let said = home.fleet(&["update", "shop", "v1.1.0"]).fails(1);
    assert!(said.contains("v1.1.0 of harness sh has no good signature"), "{said}");
    assert!(home.fleet(&["create", "web", "--harness", "sh"]).fails(1).contains("no good signature"));
    assert!(home.fleet(&["create", "web", "--harness", "sh", "--ref", "main"]).fails(1).contains("is no tag"));
    is_at(&home, "shop", "v1.0.0");
    sign_by(&home, "key");
    home.git(&harness, &["tag", "-s", "-m", "signed", "v1.2.0"]);
    home.fleet(&["update", "shop", "v1.2.0"]).ok();
    is_at(&home, "shop", "v1.2.0");
    sign_by(&home, "other");
    assert!(home.fleet(&["create", "web", "--harness", "sh", "--ref", "v1.2.0"]).fails(1).contains("no good signature"));
}

#[test]
fn a_commit_is_signed_where_the_user_signs_commits() {
    if !has_ssh_keygen() {
        println!("skipped: ssh-keygen is not installed");
        return;
    }
    let home = ready();
    sign_by(&home, "key");
    home.git(&home.file(""), &["config", "--global", "commit.gpgSign", "true"]);
    home.fleet(&["update", "shop", "v1.1.0"]).ok();
    is_at(&home, "shop", "v1.1.0");
    home.git(&home.project("shop"), &["verify-commit", "HEAD"]);
    home.git(&home.file(""), &["config", "--global", "user.signingKey", "/nowhere"]);
    home.fleet(&["update", "shop", "v1.0.0", "--allow-downgrade"]).fails(1);
    is_at(&home, "shop", "v1.1.0");
}

#[test]
fn a_checkout_that_drifted_goes_back_without_a_commit() {
    let home = ready();
    let (shop, engine) = (home.project("shop"), home.project("shop").join("engine"));
    home.git(&engine, &["fetch", "-q", "origin", "--tags"]);
    home.git(&engine, &["checkout", "-q", "v1.1.0"]);
    let said = home.fleet(&["update", "shop"]).ok();
    assert!(said.contains("engine/ back at v1.0.0"), "{said}");
    is_at(&home, "shop", "v1.0.0");
    assert_eq!(home.git(&shop, &["log", "--format=%s"]), "Create shop");
}

/// Ctrl-C reaches the whole process group: the command, its git, and the hook that waits.
#[test]
fn an_update_interrupted_from_the_keyboard_is_settled_by_the_next_command() {
    use std::os::unix::process::CommandExt;
    let home = ready();
    let shop = home.project("shop");
    let reached = home.file("reached");
    assert!(std::process::Command::new("mkfifo").arg(&reached).status().unwrap().success());
    let hook = shop.join(".git/hooks/pre-commit");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\necho >{}\nexec sleep 600\n", reached.display())).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
    let null = || std::process::Stdio::null();
    let mut child = command.args(["update", "shop", "v1.1.0"]).stdout(null()).stderr(null()).process_group(0).spawn().unwrap();
    std::fs::read(&reached).unwrap();
    let group = format!("-{}", child.id());
    assert!(std::process::Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    std::fs::remove_file(&hook).unwrap();
    let home_lock = home.file("home/.fleet.lock");
    assert!(std::process::Command::new("flock").arg(&home_lock).arg("true").status().unwrap().success());
    home.fleet(&["remove", "no-such-project"]);
    is_at(&home, "shop", "v1.0.0");
    assert_eq!(home.git(&shop, &["status", "--porcelain"]), "");
    home.fleet(&["update", "shop", "v1.1.0"]).ok();
    is_at(&home, "shop", "v1.1.0");
}
