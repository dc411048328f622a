//! `validate` against real folders and repositories.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use fleet::harness::carried;
use fleet::registry::validate::validate;

fn git(folder: &Path, args: &[&str]) {
    let fixed = [("GIT_AUTHOR_NAME", "t"), ("GIT_AUTHOR_EMAIL", "t@t"), ("GIT_COMMITTER_NAME", "t"), ("GIT_COMMITTER_EMAIL", "t@t")];
    let run = Command::new("git").args(args).current_dir(folder).envs(fixed).output().unwrap();
    assert!(run.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&run.stderr));
}

/// A project whose HEAD records `pin`.
fn project(folder: &Path, pin: Option<&str>) {
    fs::create_dir_all(folder.join("engine")).unwrap();
    fs::write(folder.join("agents.toml"), "").unwrap();
    git(folder, &["init", "-q"]);
    git(folder, &["add", "agents.toml"]);
    if let Some(pin) = pin {
        git(folder, &["update-index", "--add", "--cacheinfo", &format!("160000,{pin},engine")]);
        fs::write(folder.join("engine/.git"), "gitdir: elsewhere").unwrap();
    }
    git(folder, &["commit", "-qm", "x"]);
}

/// One test only: it sets this process's environment.
#[test]
fn everything_wrong_is_said_at_once() {
    let temporary = tempfile::tempdir().unwrap();
    let home = temporary.path().canonicalize().unwrap();
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var("HOME", &home);
        std::env::set_var("XDG_CACHE_HOME", home.join("cache"));
        std::env::remove_var("XDG_CONFIG_HOME");
    }
    let (tag, pin) = (carried::tag(), carried::ids().commit.to_string());
    let other = "a".repeat(40);
    project(&home.join("good"), Some(&pin));
    project(&home.join("drifted"), Some(&other));
    project(&home.join("moved"), Some(&other));
    project(&home.join("bare"), None);
    project(&home.join("gone-ref"), Some(&other));
    git(&home, &["init", "-q", "unborn"]);
    fs::write(home.join("unborn/agents.toml"), "").unwrap();
    project(&home.join("unchecked"), Some(&pin));
    fs::remove_file(home.join("unchecked/engine/.git")).unwrap();
    fs::remove_file(home.join("unchecked/agents.toml")).unwrap();
    fs::create_dir(home.join("plain")).unwrap();
    symlink(home.join("good"), home.join("link")).unwrap();
    fs::write(home.join("open.env"), "").unwrap();
    fs::set_permissions(home.join("open.env"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(home.join("closed.env"), "").unwrap();
    fs::set_permissions(home.join("closed.env"), fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        r#"
[harness.agents]
ref = "{tag}"
[harness.own]
url = "https://example.org/never-fetched"
ref = "v1"

[[project]]
name = "good"
location = "~/good"
ref = "{tag}"
commit = "{pin}"
secrets = "closed.env"
[[project]]
name = "drifted"
location = "~/drifted"
commit = "{pin}"
[[project]]
name = "moved"
location = "~/moved"
commit = "{other}"
[[project]]
name = "bare"
location = "~/bare"
secrets = "open.env"
[[project]]
name = "gone-ref"
location = "~/gone-ref"
ref = "v0.0.7"
secrets = "none.env"
[[project]]
name = "unborn"
location = "~/unborn"
secrets = ["no-such-program-anywhere", "show"]
[[project]]
name = "unchecked"
location = "~/unchecked"
[[project]]
name = "plain"
location = "~/plain"
harness = "own"
[[project]]
name = "link"
location = "~/link"
[[project]]
name = "away"
location = "~/away"
repo = "https://example.org/away"
[[project]]
name = "asleep"
location = "~/asleep"
enabled = false
[[project]]
name = "far"
location = "ssh://host/far"
[[project]]
name = "Bad"
location = "~/none"
"#
    );
    let file = home.join("fleet.toml");
    fs::write(&file, text).unwrap();
    let shown = |file: &Path| {
        let found = validate(file).unwrap();
        let lines = found.iter().map(|f| {
            let hints: String = f.hints.iter().map(|h| format!("\n  hint: {h}")).collect();
            format!("{:?} {}: {}: {}{hints}\n", f.severity, f.place.line, f.of, f.message)
        });
        lines.collect::<String>().replace(home.to_str().unwrap(), "HOME").replace(&pin[..9], "PIN").replace(&tag, "TAG")
    };
    insta::assert_snapshot!(shown(&file), @r##"
    Warning 5: harness own: https://example.org/never-fetched was never fetched here, so what its tags and branches mean was not checked
    Error 17: project drifted: engine/ is pinned at aaaaaaaaa, the registry says TAG (PIN)
      hint: fleet update drifted TAG    pins what the registry says
    Error 18: project moved: the tag TAG was moved: it meant aaaaaaaaa when it was pinned and means PIN now
      hint: ask whoever moved it; a tag that was published should stay
    Error 24: project bare: location: in ~/bare, HEAD records no submodule engine/
      hint: is the commit with the engine on this branch?
    Error 25: project bare: secrets: ~/open.env has mode 0644, so others may read it
      hint: chmod 600 ~/open.env
    Error 29: project gone-ref: harness agents has no tag, branch or commit "v0.0.7"
      hint: did you mean TAG?
    Error 30: project gone-ref: secrets: there is no file ~/none.env
      hint: write it with mode 0600, or correct the path
    Error 33: project unborn: location: ~/unborn has no commit yet, so nothing is pinned
      hint: commit something first
    Error 34: project unborn: secrets: the program no-such-program-anywhere was not found
      hint: install it, or correct the command
    Error 35: project unchecked: config: there is no agents.toml in ~/unchecked
      hint: write it, or name another with config = "…"
    Warning 37: project unchecked: engine/ is recorded, but not checked out
      hint: fleet start unchecked
    Error 40: project plain: location: ~/plain is not a git repository
      hint: git init there, or correct the location
    Error 44: project link: location: ~/link is the place of project good too (line 8)
      hint: remove one of them: one folder, one project
    Error 47: project away: location: there is no folder ~/away
      hint: git clone --recurse-submodules -- https://example.org/away ~/away
    Warning 51: project asleep: location: there is no folder ~/asleep
      hint: correct the location, or: fleet remove asleep
    Error 57: project Bad: name = "Bad": expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit, without `..`, and with no `.` or `.lock` at the end
    "##);

    fs::write(&file, "[fleet\nversion = 1").unwrap();
    insta::assert_snapshot!(shown(&file), @"Error 1: : unclosed table, expected `]`");
}
