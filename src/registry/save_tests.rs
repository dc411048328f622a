//! Writing: what is refused, what stays.
#![allow(clippy::disallowed_methods)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const TEXT: &str = "# ours\n[[project]]\nname = \"web\"\nlocation = \"web\"\n";

fn home(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    fs::write(&file, text).unwrap();
    (folder, file)
}

/// An error's text without the folder of this run.
fn said<T: std::fmt::Debug>(result: Result<T>, folder: &tempfile::TempDir) -> String {
    let error = result.unwrap_err();
    format!("{}: {}", error.kind.exit_code(), error.to_string().replace(folder.path().to_str().unwrap(), "DIR"))
}

#[test]
fn a_link_and_the_mode_stay() {
    let (folder, file) = home(TEXT);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let link = folder.path().join("link.toml");
    symlink(FILE, &link).unwrap();
    let registry = Registry::load(&link).unwrap();
    assert_eq!(registry.home, fs::canonicalize(folder.path()).unwrap());
    let mut edit = Edit::open(&registry).unwrap();
    edit.set("web", "enabled", false).unwrap();
    let saved = edit.save().unwrap();
    assert!(!saved.projects[0].enabled);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{TEXT}enabled = false\n"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn what_cannot_be_written_is_said_and_nothing_changes() {
    let (folder, file) = home(TEXT);
    let registry = Registry::load(&file).unwrap();
    let open = || Edit::open(&registry).unwrap();
    let web = NewProject::new("web", Location::Here("/b".into()));
    insta::assert_snapshot!(said(open().add_project(&web), &folder), @r##"
    1: there is a project `web` in DIR/fleet.toml already
    hint: give another name, or: fleet remove web
    "##);
    insta::assert_snapshot!(said(open().remove_project("wob"), &folder), @"2: there is no project `wob` in DIR/fleet.toml");
    insta::assert_snapshot!(said(open().set_harness("No", "ref", "v1"), &folder), @r#"2: harness "No": expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit, without `..`, and with no `.` or `.lock` at the end"#);

    let mut edit = open();
    edit.add_project(&NewProject::new("../x", Location::Here("/b".into()))).unwrap();
    edit.set("web", "ref", "-x").unwrap();
    insta::assert_snapshot!(said(edit.save(), &folder), @r##"
    3: DIR/fleet.toml is left as it was: project web: ref = "-x": expected the name of a tag or branch
    error: DIR/fleet.toml is left as it was: project ../x: name = "../x": expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit, without `..`, and with no `.` or `.lock` at the end
    "##);

    let mut edit = open();
    edit.set("web", "enabled", false).unwrap();
    fs::write(&file, format!("{TEXT}# by hand\n")).unwrap();
    insta::assert_snapshot!(said(edit.save(), &folder), @r##"
    75: DIR/fleet.toml was changed by somebody else meanwhile, so it is left as it is
    hint: run the command again
    "##);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{TEXT}# by hand\n"));

    fs::write(&file, TEXT).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o444)).unwrap();
    let mut edit = open();
    edit.set("web", "enabled", false).unwrap();
    insta::assert_snapshot!(said(edit.save(), &folder), @r##"
    1: DIR/fleet.toml is read-only (mode 0444), so it is left as it is
    hint: chmod u+w DIR/fleet.toml
    "##);

    let (newer, file) = home("fleet.version = 2\n");
    insta::assert_snapshot!(said(Edit::open(&Registry::load(&file).unwrap()), &newer), @r##"
    1: DIR/fleet.toml is of format 2; this fleet reads it, but writes only format 1
    hint: use the newer fleet that wrote it, or edit the file by hand
    "##);
}

#[test]
fn many_changes_are_one_write() {
    let (_folder, file) = home(TEXT);
    let mut edit = Edit::open(&Registry::load(&file).unwrap()).unwrap();
    edit.set("web", "ref", "v1").unwrap();
    edit.set("web", "commit", "a".repeat(40)).unwrap();
    edit.set("web", "ref", "v2").unwrap();
    edit.add_project(&NewProject::new("api", Location::Ssh { host: "me@host".into(), folder: "~/api".into() })).unwrap();
    edit.set("api", "enabled", false).unwrap();
    edit.set_harness("agents", "ref", "v2").unwrap();
    let saved = edit.save().unwrap();
    insta::assert_snapshot!(fs::read_to_string(&file).unwrap(), @r##"
    # ours

    [harness.agents]
    ref = "v2"

    [[project]]
    name = "web"
    location = "web"
    ref = "v2"
    commit = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

    [[project]]
    name = "api"
    location = "ssh://me@host/~/api"
    enabled = false
    "##);
    assert_eq!(saved.text, fs::read_to_string(&file).unwrap());
}

#[test]
fn the_lock_names_its_holder() {
    let (folder, file) = home(TEXT);
    let registry = Registry::load(&file).unwrap();
    let held = lock(&registry).unwrap();
    let text = said(lock(&registry), &folder);
    let who = format!("(process {})", std::process::id());
    assert!(text.starts_with("75: DIR is being changed by `fleet") && text.contains(&who), "{text}");
    drop(held);
    lock(&registry).unwrap();
}
