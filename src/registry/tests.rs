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
    error: fleet.toml:5:1: harness Own: its name: expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit, without `..`, and with no `.` or `.lock` at the end
    error: fleet.toml:6:1: harness Own: the URL "http://example.org/x" is not encrypted, so nobody knows who answers
    hint: write https://host/path, ssh://user@host/path, user@host:path, or an absolute path
    error: fleet.toml:7:1: harness Own: ref = "-x": expected the name of a tag or branch
    error: fleet.toml:8:1: harness Own: up: expected a command as a list of words, the program first
    error: fleet.toml:12:1: project web: location = "ssh://host": expected ssh://host/folder
    error: fleet.toml:13:1: project web: commit = "HEAD": expected a full commit id: 40 (or 64) lower case hex digits
    error: fleet.toml:14:1: project web: config = "../agents.toml": expected a path inside the project, without `..`
    error: fleet.toml:15:1: project web: the URL "ext::sh -c id" holds blanks or control characters
    hint: write https://host/path, ssh://user@host/path, user@host:path, or an absolute path
    error: fleet.toml:16:1: project web: tag "a b": expected 1 to 64 lower case letters, digits, `.`, `_` or `-`, the first a letter or digit, without `..`, and with no `.` or `.lock` at the end
    error: fleet.toml:17:1: project web: secrets: expected a command as a list of words, the program first
    error: fleet.toml:20:1: project web: the name is taken by the project in line 11
    hint: give one of them another name
    error: fleet.toml:22:1: project web: harness = "own": there is no [harness.own] in this file
    hint: did you mean "Own"?
    "##);
}

#[test]
fn unknown_keys_and_wrong_types_are_placed() {
    insta::assert_snapshot!(complaint("[flet]\nversion = 1\n[[project]]\nname = \"a\"\nlocation = \"/a\"\nenabeld = false\ntag = [\"x\"]\n"), @r##"
    fleet.toml:1:2: unknown key `flet` at the top
    hint: did you mean `fleet`?
    error: fleet.toml:6:1: unknown key `enabeld` in [project]
    hint: did you mean `enabled`?
    error: fleet.toml:7:1: unknown key `tag` in [project]
    hint: did you mean `tags`?
    "##);
    insta::assert_snapshot!(complaint("[[project]]\nname = \"a\"\n"), @"fleet.toml:1:1: missing field `location`");
    insta::assert_snapshot!(complaint("[[project]]\nname = \"a\"\nlocation = \"/a\"\nsecrets = 1\n"), @"fleet.toml:4:11: expected the path of a file, or a command as a list of words");
    insta::assert_snapshot!(complaint("[[project]]\nname = a\nlocation = \"/a\"\n[fleet\n"), @r##"
    fleet.toml:4:7: unclosed table, expected `]`
    error: fleet.toml:2:8: string values must be quoted, expected literal string
    "##);
    insta::assert_snapshot!(complaint("fleet.version = 0\nfleet.root = \"\"\nharness.own = {}\n"), @r##"
    fleet.toml:1:7: [fleet]: version = 0: expected 1
    error: fleet.toml:2:7: [fleet]: root = "": expected a folder
    error: fleet.toml:3:15: harness own: it has no url
    hint: add its url; only "agents" is carried by fleet itself
    "##);
    insta::assert_snapshot!(complaint("fleet.version = 2\nproject = 7\n"), @r##"
    fleet.toml:2:11: invalid type: integer `7`, expected a sequence
    hint: the file is of format 2; this fleet knows formats up to 1: use the one that wrote it
    "##);
}

#[test]
fn a_newer_format_is_read() {
    let r = registry("fleet = { version = 7, colour = \"red\" }\n[[project]]\nname = \"a\"\nlocation = \"/a\"\nnew = 1\n");
    assert!(r.is_newer() && r.projects.len() == 1);
}

#[test]
fn locations() {
    for good in ["~/a", "a b", "ssh://host/srv/a", "ssh://me@host:2222/~/a"] {
        assert_eq!(
            Location::parse(good, Path::new("/h")).map(|l| Location::parse(&l.to_string(), Path::new("/h"))),
            Ok(Location::parse(good, Path::new("/h")))
        );
    }
    for bad in [
        "",
        "http://x/y",
        "ssh://",
        "ssh://host",
        "ssh://host/",
        "ssh:///a",
        "ssh://-oProxyCommand=x/a",
        "ssh://a@-b/c",
        "ssh://h:99999/a",
        "ssh://h /a",
        "a\nb",
        "ssh://h/a\u{1b}",
    ] {
        assert!(Location::parse(bad, Path::new("/h")).is_err(), "{bad:?}");
    }
}

#[test]
fn grammars() {
    for good in ["web", "a", "0", "a.b_c-d", &"a".repeat(64)] {
        assert!(grammar::name(good).is_ok(), "{good:?}");
    }
    for bad in ["", "-a", ".a", "..", "A", "a b", "a/b", "é", "a\n", &"a".repeat(65)] {
        assert!(grammar::name(bad).is_err(), "{bad:?}");
    }
    for good in ["v1.0.0", "main", "release/1.x", "a@b"] {
        assert!(grammar::reference(good).is_ok(), "{good:?}");
    }
    for bad in ["", "-v", "a..b", "a b", "a~1", "a^", "a:b", "@", "a@{1}", "/a", "a/", "a//b", ".a", "a/.b", "a.lock", "a.", "a\u{7}"] {
        assert!(grammar::reference(bad).is_err(), "{bad:?}");
    }
    for bad in ["", "..", "a/../b", "/etc/passwd", "a//b", "-x", "~/x", "./a"] {
        assert!(grammar::inside(bad).is_err(), "{bad:?}");
    }
}

proptest::proptest! {
    #[test]
    fn names_are_what_the_grammar_says(text in ".{0,70}") {
        let chars = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let expected = text.chars().next().is_some_and(chars) && text.chars().count() <= 64 && text.chars().all(|c| chars(c) || ".-_".contains(c));
        proptest::prop_assert_eq!(grammar::name(&text).is_ok(), expected);
    }
}

#[test]
fn the_example_holds_every_key() {
    let text = include_str!("../../fleet.toml.example");
    let registry = registry(text);
    assert_eq!((registry.projects.len(), registry.harnesses.len()), (2, 2));
    let schema = serde_json::to_value(schema()).unwrap();
    let defs = [&schema, &schema["$defs"]["FleetTable"], &schema["$defs"]["HarnessTable"], &schema["$defs"]["ProjectTable"]];
    let keys = defs.iter().flat_map(|d| d["properties"].as_object().unwrap().keys());
    for key in keys {
        let written =
            |l: &str| l.starts_with(&format!("{key} = ")) || l.starts_with(&format!("[{key}")) || l.starts_with(&format!("[[{key}"));
        assert!(text.lines().any(written), "{key}");
    }
}
