//! Links and other users' folders in place of fleet's own, where secrets may stand, what a look executes, and words that git could take for options.

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::attacks::{script, set_canaries, stranger};
use crate::home::TestHome;
use crate::kill::strace_is_here;

/// Who is nobody here.
const STRANGER: u32 = 65_534;

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test} needs root, to give a folder to a second user");
    }
    root
}

fn each_file(folder: &Path, see: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let what = path.symlink_metadata().unwrap().file_type();
        if what.is_dir() {
            each_file(&path, see);
        } else if what.is_file() {
            see(&path);
        }
    }
}

#[test]
fn records_behind_a_link_or_of_another_user_are_neither_read_nor_written() {
    let home = TestHome::new();
    let web = stranger(&home);
    let records = home.records();
    let aside = home.file("aside");
    std::fs::rename(&records, &aside).unwrap();
    std::fs::create_dir(home.file("elsewhere")).unwrap();
    let verbs: [&[&str]; 3] = [&["create", "other"], &["add", web.to_str().unwrap()], &["undo"]];
    let refused = |words: &str| {
        let before = home.registry();
        for verb in verbs {
            let said = home.fleet(verb).fails(1);
            assert!(said.contains(words) && said.contains(".local/state/fleet/"), "{verb:?}: {said}");
        }
        assert_eq!(home.registry(), before);
        assert!(!home.project("other").exists());
    };
    for target in ["elsewhere", "nowhere"] {
        symlink(home.file(target), &records).unwrap();
        refused("is a symlink");
        std::fs::remove_file(&records).unwrap();
    }
    assert_eq!(std::fs::read_dir(home.file("elsewhere")).unwrap().count(), 0);
    assert!(!home.file("nowhere").exists());
    if is_root("the half with another user's records") {
        std::fs::create_dir(&records).unwrap();
        chown(&records, Some(STRANGER), None).unwrap();
        refused(&format!("belongs to user {STRANGER}"));
        std::fs::remove_dir(&records).unwrap();
    }
    std::fs::rename(&aside, &records).unwrap();
    home.fleet(&["add", web.to_str().unwrap()]).ok();
}

#[test]
fn a_link_where_something_is_made_is_not_followed() {
    let home = TestHome::new();
    let elsewhere = home.file("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for target in [&elsewhere, &home.file("nowhere")] {
        for (goal, args) in [("projects", vec!["create", "web"]), (".", vec!["init", "../web"])] {
            let partial = home.file(goal).join(".web.partial");
            symlink(target, &partial).unwrap();
            let said = home.fleet(&args).fails(1);
            assert!(said.contains("is in the way"), "{args:?}: {said}");
            assert!(partial.is_symlink(), "{args:?}");
            std::fs::remove_file(&partial).unwrap();
            // Nor is a link followed that has the goal's own name.
            let goal = home.file(goal).join("web");
            symlink(target, &goal).unwrap();
            home.fleet(&args).fails(1);
            assert!(goal.is_symlink(), "{args:?}");
            std::fs::remove_file(&goal).unwrap();
        }
    }
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    assert!(!home.file("nowhere").exists());
}

#[test]
fn a_home_that_another_user_left_half_made_is_not_finished() {
    if !is_root("a_home_that_another_user_left_half_made_is_not_finished") {
        return;
    }
    let home = TestHome::new();
    let partial = home.file(".web.partial");
    for (path, text) in [("fleet-init", ""), ("moving", ""), ("home/fleet.toml", "[fleet]\nversion = 1\n")] {
        home.write(&format!(".web.partial/{path}"), text);
    }
    chown(&partial, Some(STRANGER), None).unwrap();
    let said = home.fleet(&["init", "../web"]).fails(1);
    assert!(said.contains("not ours"), "{said}");
    assert!(partial.join("moving").exists() && !home.file("web").exists());
    // The same, left by ourselves, is finished: it is the owner that made the difference.
    chown(&partial, Some(0), None).unwrap();
    std::fs::create_dir(home.file("web")).unwrap();
    assert!(home.fleet(&["init", "../web"]).ok().contains("finished the fleet home"));
}

#[test]
fn links_in_the_cache_are_the_users_own_business_and_dangling_ones_are_told() {
    let home = TestHome::new();
    let cache = home.file(".cache");
    std::fs::create_dir(home.file("big-disk")).unwrap();
    symlink(home.file("big-disk"), &cache).unwrap();
    home.fleet(&["create", "web"]).ok();
    assert!(cache.is_symlink() && home.file("big-disk/fleet/harness").is_dir());
    std::fs::rename(home.file("big-disk/fleet/harness"), home.file("aside")).unwrap();
    symlink(home.file("nowhere"), home.file("big-disk/fleet/harness")).unwrap();
    let said = home.fleet(&["create", "shop"]).fails(1);
    assert!(said.contains("harness"), "{said}");
    assert!(!home.project("shop").exists() && !home.registry().contains("shop") && !home.file("nowhere").exists());
    let said = home.fleet(&["--registry", "none.toml", "list"]);
    assert!(said.code != 0 && said.err.contains("none.toml"), "{said:?}");
}

#[test]
fn secrets_stand_where_they_were_put_and_nowhere_else() {
    const ENV: &str = "canary-env-51ab";
    const FILE: &str = "canary-file-9c0d";
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    home.write(".secrets/web.env", &format!("TOKEN={FILE}\n"));
    std::fs::set_permissions(home.file(".secrets/web.env"), std::fs::Permissions::from_mode(0o600)).unwrap();
    home.write("home/fleet.toml", &(home.registry() + "secrets = \"~/.secrets/web.env\"\n"));
    home.write(
        "projects/web/agents.toml",
        &format!("[project]\nname = \"web\"\n[agent.a]\nbackend = \"shell\"\ncommand = [\"cat\"]\nenv = {{ KEY = \"{ENV}\" }}\n"),
    );
    let mut said = String::new();
    let looks: [&[&str]; 15] = [
        &["start", "web"],
        &["status"],
        &["status", "--long"],
        &["status", "--json"],
        &["send", "web/a", "hello"],
        &["logs", "web/a"],
        &["why", "web/a"],
        &["list", "--json"],
        &["get", "web"],
        &["validate"],
        &["doctor"],
        &["history"],
        &["restart", "web"],
        &["start", "web", "--json"],
        &["update", "web", "--dry-run"],
    ];
    for args in looks {
        let ran = home.fleet(args);
        assert!(ran.code <= 1, "{args:?}: {ran:?}");
        said += &format!("{args:?}\n{}{}", ran.out, ran.err);
    }
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default()).into_owned();
        assert!(!line.contains(ENV) && !line.contains(FILE), "{}: {line}", entry.path().display());
    }
    home.fleet(&["stop", "web"]).ok();
    assert!(!said.contains(ENV) && !said.contains(FILE), "{said}");
    let mut holders = vec![];
    each_file(&home.file("."), &mut |path| {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        if text.contains(ENV) || text.contains(FILE) {
            holders.push((path.to_path_buf(), path.metadata().unwrap().permissions().mode() & 0o777));
        }
    });
    let launches = |path: &Path| path.parent().is_some_and(|p| p.ends_with("launch"));
    assert!(holders.iter().any(|(path, _)| launches(path)), "the search finds what is there: {holders:?}");
    for (path, mode) in &holders {
        let put = path.ends_with("projects/web/agents.toml") || path.ends_with(".secrets/web.env");
        assert!(put || (launches(path) && *mode == 0o600), "{}", path.display());
    }
    let web = home.project("web");
    for canary in [ENV, FILE] {
        assert_eq!(home.git(&web, &["log", "--all", "--format=%h", "-S", canary]), "", "no commit holds it");
    }
}

/// The programs that a command executes, by the kernel's word.
fn executed(home: &TestHome, command: &[&str]) -> Vec<String> {
    let log = home.file("execve");
    let mut strace = home.command("strace", &home.file("home"));
    strace.args(["-f", "-qq", "-e", "trace=execve,execveat", "-o"]).arg(&log).args(command);
    let ran = strace.output().unwrap();
    assert!(ran.status.code().is_some_and(|c| c <= 1), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter(|l| l.contains("execve")).map(str::to_owned).collect()
}

#[test]
fn a_look_at_a_hostile_repository_executes_nothing_at_all() {
    if !strace_is_here() {
        return;
    }
    let home = TestHome::new();
    let web = stranger(&home);
    let fired = set_canaries(&home, &web);
    let canary = home.file("bin/canary").display().to_string();
    let config = web.join(".git/config");
    home.write("evil.inc", &format!("[core]\n\tfsmonitor = {canary}\n[alias]\n\tstatus = !{canary}\n\tlog = !{canary}\n"));
    let more = format!(
        "[include]\n\tpath = {0}\n[includeIf \"gitdir:/\"]\n\tpath = {0}\n[submodule \"engine\"]\n\tupdate = !{canary}\n\turl = ext::{canary}\n\
         [remote \"origin\"]\n\turl = --upload-pack={canary}\n\tuploadpack = {canary}\n[remote \"evil\"]\n\turl = ext::{canary}\n\tvcs = {canary}\n\
         [extensions]\n\tpartialClone = evil\n",
        home.file("evil.inc").display()
    );
    let text = std::fs::read_to_string(&config).unwrap();
    let fleet = env!("CARGO_BIN_EXE_fleet");
    home.fleet(&["add", &web.display().to_string()]).ok();
    for config_text in [text.clone(), text.clone() + &more] {
        std::fs::write(&config, config_text).unwrap();
        for look in [&["status"][..], &["status", "--long"], &["status", "--json"], &["list"], &["get", "web"]] {
            let ran = executed(&home, &[&[fleet], look].concat());
            assert_eq!(ran.len(), 1, "{look:?} executed more than itself: {ran:#?}");
            assert!(!fired.exists());
        }
    }
    // The measure works: git's own status does execute what the repository names.
    std::fs::write(&config, text).unwrap();
    let ran = executed(&home, &["git", "-C", web.to_str().unwrap(), "status"]);
    assert!(ran.iter().any(|l| l.contains("bin/canary")), "{ran:#?}");
}

#[test]
fn no_word_of_the_operators_or_a_repositorys_becomes_an_option_of_git() {
    const WORD: &str = "--upload-pack=canary";
    let home = TestHome::new();
    let real = String::from_utf8(std::process::Command::new("sh").args(["-c", "command -v git"]).output().unwrap().stdout).unwrap();
    let log = home.file("git.log");
    // One line a call, the words in brackets.
    let shim = format!("#!/bin/sh\n{{ for w; do printf '[%s]' \"$w\"; done; echo; }} >> {}\nexec {} \"$@\"\n", log.display(), real.trim());
    script(&home.file("shim/git"), &shim);
    let path = format!("{}:{}", home.file("shim").display(), std::env::var("PATH").unwrap());
    let fleet = |args: &[&str]| {
        let mut command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
        crate::home::Ran::of(command.env("PATH", &path).args(args).output().unwrap())
    };
    let harness = home.sh_harness("loud", true);
    // git itself takes such a name for a tag, if it is written without git's commands.
    let tags = harness.join(".git/refs/tags");
    std::fs::copy(tags.join("v1.1.0"), tags.join(WORD)).unwrap();
    assert_eq!(fleet(&["create", "web", "--harness", "loud"]).code, 0);
    let with = |key: &str| format!("{key}={WORD}");
    let (reference, to) = (with("--ref"), with("--to"));
    let cases: [&[&str]; 9] = [
        &["create", "shop", "--harness", "loud", &reference],
        &["update", "web", &to],
        &["update", "web", "--dry-run", &to],
        &["create", "--", WORD],
        &["add", "--", WORD],
        &["start", "--", WORD],
        &["status", "--", WORD],
        &["engine", "publish", "--", WORD],
        &["init", "--", WORD],
    ];
    for args in cases {
        let ran = fleet(args);
        assert!(ran.code != 0 || args[0] == "init", "{args:?}: {ran:?}");
    }
    let lines = std::fs::read_to_string(log).unwrap();
    assert!(lines.contains("[fetch]"), "the shim saw what git was asked: {lines}");
    for line in lines.lines() {
        let options = line.split("[--]").next().unwrap();
        assert!(!options.contains(&format!("[{WORD}")), "{line}");
    }
}
