//! Reading: defaults, places, every complaint.
#![allow(clippy::disallowed_methods)]

use std::path::Path;

use super::*;

/// The model of a text in `/home`, which must be right.
pub(super) fn registry(text: &str) -> Registry {
    let (registry, findings) = Registry::parse(Path::new("/home/fleet.toml"), Path::new("/home"), text.to_owned()).unwrap();
    assert_eq!(findings, []);
    registry
}

/// What is said about a text.
fn complaint(text: &str) -> String {
    match Registry::parse(Path::new("fleet.toml"), Path::new("/home"), text.to_owned()) {
        Err(e) => e.to_string(),
        Ok((_, findings)) => Error::all(findings.into_iter().map(Error::from).collect()).expect("something is wrong").to_string(),
    }
}

#[test]
fn every_default_is_filled_in() {
    let r = registry("# projects\n\n[[project]]\nname = \"web\"\nlocation = \"web\"\n");
    assert_eq!((r.fleet.version, r.fleet.harness.as_str()), (1, "agents"));
    assert_eq!(r.harnesses.keys().collect::<Vec<_>>(), ["agents"]);
    let web = r.project("web").unwrap();
    assert_eq!(web.location, Location::Here("/home/web".into()));
    assert_eq!((web.line, web.enabled, web.config.as_str(), web.harness.as_str()), (3, true, "agents.toml", "agents"));
    assert_eq!((&web.reference, &web.commit, &web.secrets, &web.repo), (&None, &None, &None, &None));
}

#[test]
fn a_project_without_a_ref_has_its_harness_s() {
    let r = registry(
        "fleet.harness = \"own\"\nharness.own = { url = \"https://example.org/own\", ref = \"v3\" }\nproject = [{ name = \"a\", location = \"/a\" }, { name = \"b\", location = \"ssh://me@host:22/srv/b\", ref = \"v4\" }]",
    );
    assert_eq!(r.projects[0].reference.as_deref(), Some("v3"));
    assert_eq!(r.projects[1].reference.as_deref(), Some("v4"));
    assert_eq!(r.projects[1].location, Location::Ssh { host: "me@host:22".into(), folder: "/srv/b".into() });
    assert_eq!(r.projects[1].location.to_string(), "ssh://me@host:22/srv/b");
    assert_eq!(r.harness_of(&r.projects[0]).unwrap().url.as_deref(), Some("https://example.org/own"));
    assert_eq!((r.projects[0].line, r.projects[1].line), (3, 3));
}

#[test]
fn all_findings_come_at_once() {
    insta::assert_snapshot!(complaint(
        r#"
[fleet]
harness = "agent"

[harness.Own]
url = "http://example.org/x"
ref = "-x"
up = []

[[project]]
name = "web"
location = "ssh://host"
commit = "HEAD"
config = "../agents.toml"
repo = "ext::sh -c id"
tags = ["a b"]
secrets = []

[[project]]
name = "web"
location = "~/web"
harness = "own"
"#
    ), @r##"
    fleet.toml:3:1: [fleet]: harness = "agent": there is no [harness.agent] in this file
    hint: did you mean "agents"?
    error: fleet.toml:5:1: harness Own: its name: expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit
    error: fleet.toml:6:1: harness Own: the URL "http://example.org/x" is not encrypted, so nobody knows who answers
    hint: write https://host/path, ssh://user@host/path, user@host:path, or an absolute path
    error: fleet.toml:7:1: harness Own: ref = "-x": expected the name of a tag or branch
    error: fleet.toml:8:1: harness Own: up: expected a command as a list of words, the program first
    error: fleet.toml:12:1: project web: location = "ssh://host": expected ssh://host/folder
    error: fleet.toml:13:1: project web: commit = "HEAD": expected a full commit id: 40 (or 64) lower case hex digits
    error: fleet.toml:14:1: project web: config = "../agents.toml": expected a path inside the project, without `..`
    error: fleet.toml:15:1: project web: the URL "ext::sh -c id" holds blanks or control characters
    hint: write https://host/path, ssh://user@host/path, user@host:path, or an absolute path
    error: fleet.toml:16:1: project web: tag "a b": expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit
    error: fleet.toml:17:1: project web: secrets: expected a command as a list of words, the program first
    error: fleet.toml:20:1: project web: the name is taken by the project in line 11
    hint: give one of them another name
    error: fleet.toml:22:1: project web: harness = "own": there is no [harness.own] in this file
    hint: did you mean "Own"?
    "##);
}
