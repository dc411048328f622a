//! Edits of registries as people write them: an edit changes its own lines only, and reading back gives what was meant.
#![allow(clippy::disallowed_methods)]

use std::path::Path;

use proptest::prelude::*;

use super::tests::registry;
use super::*;

/// A small generator of random choices, so that a failing case is named by one number.
struct Dice(u64);

impl Dice {
    fn upto(&mut self, n: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % n).unwrap()
    }
    fn often(&mut self) -> bool {
        self.upto(3) > 0
    }
    fn seldom(&mut self) -> bool {
        self.upto(4) == 0
    }
    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.upto(choices.len() as u64)]
    }
}

/// A registry's text in parts, and which project a part belongs to.
#[derive(Debug, Clone)]
struct Written {
    parts: Vec<(Option<usize>, String)>,
    newline: &'static str,
    inline: bool,
}

impl Written {
    fn text(&self) -> String {
        self.parts.iter().map(|(_, t)| t.as_str()).collect::<String>().replace('\n', self.newline)
    }
    /// What stands before and after a project's own part.
    fn around(&self, number: usize) -> (String, String) {
        let at = self.parts.iter().position(|(n, _)| *n == Some(number)).unwrap();
        let join =
            |parts: &[(Option<usize>, String)]| parts.iter().map(|(_, t)| t.as_str()).collect::<String>().replace('\n', self.newline);
        (join(&self.parts[..at]), join(&self.parts[at + 1..]))
    }
}

const NOTES: &[&str] = &["# keep me, [[project]] and all", "#", "# name = \"nobody\"", "\t# tabs", "# ümläut ]}"];

fn pairs(d: &mut Dice, number: usize) -> Vec<String> {
    let quote = d.pick(&["\"", "'"]);
    let mut pairs = vec![format!("name{}= {quote}p{number}{quote}", d.pick(&[" ", "", "     "]))];
    let location = [
        format!("location = \"~/p{number}\""),
        format!("location='/srv/p{number}'"),
        format!("\"location\" = \"ssh://me@host/srv/p{number}\""),
    ];
    pairs.push(location[d.upto(3)].clone());
    for optional in
        ["ref = \"v1.0.0\"", "enabled = false", "enabled = true", "config   = 'sub/agents.toml'", "repo = \"git@example.org:a/b.git\""]
    {
        if d.seldom() && !pairs.iter().any(|p| p.split(' ').next() == optional.split(' ').next()) {
            pairs.push(optional.into());
        }
    }
    for n in (1..pairs.len()).rev() {
        pairs.swap(n, d.upto(n as u64 + 1));
    }
    pairs
}

fn lines_project(d: &mut Dice, number: usize) -> String {
    let indent = d.pick(&["", "", "  ", "\t"]);
    let mut out = String::new();
    if d.seldom() {
        out += &format!("{}\n", d.pick(NOTES));
    }
    out += &format!("{}[[{}]]{}\n", d.pick(&["", " "]), d.pick(&["project", " project "]), d.pick(&["", " # mine"]));
    for pair in pairs(d, number) {
        if d.seldom() {
            out += &format!("{indent}{}\n", d.pick(NOTES));
        }
        if d.seldom() {
            out += "\n";
        }
        out += &format!("{indent}{pair}{}\n", d.pick(&["", "", "  # trailing = 1"]));
    }
    if d.seldom() {
        out += &format!(
            "{indent}{}\n",
            d.pick(&["tags = [\n  'a', # first, ] \n  'b',\n]", "tags = [ \"a\",\"b\" ]", "secrets = '''\n/run/secret\n# no comment'''"])
        );
    }
    out
}

fn inline_projects(d: &mut Dice, count: usize) -> Vec<(Option<usize>, String)> {
    let multi = d.often();
    let trailing = d.seldom();
    let mut parts = vec![(None, format!("project = [{}", if multi { d.pick(&["\n", " # all, of them\n"]) } else { d.pick(&["", " "]) }))];
    for number in 0..count {
        let comma = if number + 1 < count || trailing { "," } else { "" };
        let element = format!("{{ {}{} }}", pairs(d, number).join(", "), d.pick(&["", ", tags = [\"x\"]"]));
        parts.push(match multi {
            true => {
                let above = if d.seldom() { format!("  {}\n", d.pick(NOTES)) } else { String::new() };
                (Some(number), format!("{above}  {element}{comma}{}\n", d.pick(&["", " # about, it"])))
            }
            false => (Some(number), format!("{element}{comma}{}", if comma.is_empty() { "" } else { " " })),
        });
    }
    parts.push((None, "]\n".into()));
    parts
}

fn written(seed: u64) -> Written {
    let mut d = Dice(seed | 1);
    let mut parts = vec![(None, String::new())];
    if d.seldom() {
        parts[0].1 += "# The fleet of us all\n\n";
    }
    parts[0].1 += d.pick(&["", "fleet.version = 1\n", "fleet = { version = 1, root = '/srv' }\n"]);
    parts[0].1 += d.pick(&[
        "",
        "harness.own.url = \"https://example.org/own\" # dotted\nharness.own.ref = 'v1'\n",
        "harness = { own = { url = '/own' }, } # braces\n",
        "harness = { own.url = '/own' }\n",
    ]);
    let count = if d.seldom() { d.upto(2) } else { 1 + d.upto(5) };
    let inline = d.seldom();
    if inline {
        parts.extend(inline_projects(&mut d, count));
    }
    let has = |parts: &[(Option<usize>, String)], word: &str| parts.iter().any(|(_, t)| t.lines().any(|l| l.starts_with(word)));
    if !has(&parts, "fleet") && d.often() {
        parts.push((
            None,
            format!("{}[fleet]\nversion = 1 # of the format\nroot = '~/projects'\n{}", d.pick(&["", "\n"]), d.pick(&["", "\n", "\n\n"])),
        ));
    }
    if !has(&parts, "harness") && d.often() {
        parts.push((
            None,
            d.pick(&[
                "[harness.own]\nurl = '/own'\n\n",
                "[harness]\nown.url = '/own'\nown.ref = 'v2'\n# end of harnesses\n\n",
                "[harness.agents] # empty\n",
            ])
            .into(),
        ));
    }
    if !inline {
        for number in 0..count {
            let blank = d.pick(&["", "\n", "\n\n", "\n# a section\n\n"]);
            parts.push((None, blank.into()));
            parts.push((Some(number), lines_project(&mut d, number)));
        }
        if count > 0 && d.seldom() && !has(&parts, "harness") {
            parts.push((None, "\n[harness.late]\nurl = 'ssh://git@example.org/late'\n".into()));
        }
    }
    if d.seldom() {
        parts.push((None, "\n# the end\n".into()));
    }
    if d.seldom()
        && let Some((_, last)) = parts.last_mut()
        && last.ends_with('\n')
    {
        last.pop();
    }
    Written { parts, newline: if d.seldom() { "\r\n" } else { "\n" }, inline }
}

fn names(registry: &Registry) -> Vec<&str> {
    registry.projects.iter().map(|p| p.name.as_str()).collect()
}

/// The projects without their lines.
fn models(registry: &Registry) -> Vec<Project> {
    registry.projects.iter().map(|p| Project { line: 0, ..p.clone() }).collect()
}

fn edited(before: &Registry, change: impl FnOnce(&mut Edit)) -> Registry {
    let mut edit = Edit::open(before).unwrap();
    change(&mut edit);
    let text = edit.text().unwrap().to_owned();
    let (registry, findings) = Registry::parse(Path::new("/home/fleet.toml"), Path::new("/home"), text).unwrap();
    assert_eq!(findings, [], "{}", registry.text);
    registry
}

fn solid_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|l| !l.trim().is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn setting_touches_nothing_else(seed in any::<u64>(), number in 0usize..5, key in 0usize..5) {
        let w = written(seed);
        let before = registry(&w.text());
        prop_assume!(!before.projects.is_empty());
        let number = number % before.projects.len();
        let name = before.projects[number].name.clone();
        let mut expected = models(&before);
        let (key, value): (_, Value) = match key {
            0 => { expected[number].enabled = !expected[number].enabled; ("enabled", expected[number].enabled.into()) }
            1 => { expected[number].reference = Some("v9 \"".trim_end_matches(" \"").into()); ("ref", "v9".into()) }
            2 => { expected[number].tags = vec!["new".into(), "x".into()]; ("tags", vec!["new".to_owned(), "x".into()].into()) }
            3 => { expected[number].commit = Some("a".repeat(40)); ("commit", "a".repeat(40).into()) }
            _ => { expected[number].config = "c.toml".into(); ("config", "c.toml".into()) }
        };
        let after = edited(&before, |e| e.set(&name, key, value.clone()).unwrap());
        prop_assert_eq!(models(&after), expected.clone());
        let (start, end) = w.around(number);
        prop_assert!(after.text.starts_with(&start) && after.text.ends_with(&end), "{}\n---\n{}", before.text, after.text);
        let own = |t: &str| t[start.len()..t.len() - end.len()].lines().count();
        prop_assert!(own(&after.text) <= own(&before.text) + 1);
        prop_assert_eq!(edited(&after, |e| e.set(&name, key, value).unwrap()).text, after.text.clone());
        // And away again.
        let without = edited(&after, |e| e.unset(&name, key).unwrap());
        prop_assert!(without.text.starts_with(&start) && without.text.ends_with(&end), "{}\n---\n{}", after.text, without.text);
        prop_assert_eq!(without.projects.len(), expected.len());
        let gone = match key {
            "enabled" => without.projects[number].enabled,
            "tags" => without.projects[number].tags.is_empty(),
            "commit" => without.projects[number].commit.is_none(),
            "config" => without.projects[number].config == "agents.toml",
            _ => without.projects[number].reference == without.harness_of(&without.projects[number]).unwrap().reference,
        };
        prop_assert!(gone, "{}", without.text);
    }

    #[test]
    fn removing_takes_its_own_lines(seed in any::<u64>(), number in 0usize..5) {
        let w = written(seed);
        let before = registry(&w.text());
        prop_assume!(!before.projects.is_empty());
        let number = number % before.projects.len();
        let mut expected = models(&before);
        let gone = expected.remove(number);
        let after = edited(&before, |e| e.remove_project(&gone.name).unwrap());
        prop_assert_eq!(models(&after), expected);
        let (start, end) = w.around(number);
        if w.inline {
            // A comma before the last element may go with it.
            let start = start.trim_end().trim_end_matches(',');
            prop_assert!(after.text.starts_with(start) && after.text.ends_with(end.trim_start_matches(' ')), "{}\n---\n{}", before.text, after.text);
        } else {
            let kept = start.clone() + &end;
            // Its own comments go along unless the file begins with them or other entries' follow at once; nobody else's do.
            let (kept, left) = (solid_lines(&kept), solid_lines(&after.text));
            prop_assert!(left.len() >= kept.len(), "{}\n---\n{}", before.text, after.text);
            let mut rest = left.iter();
            prop_assert!(kept.iter().all(|k| rest.any(|l| l == k)), "{}\n---\n{}", before.text, after.text);
            let extra = left.iter().filter(|l| !kept.contains(l));
            prop_assert!(extra.into_iter().all(|l| l.trim_start().starts_with('#')), "{}\n---\n{}", before.text, after.text);
        }
    }

    #[test]
    fn adding_changes_no_line(seed in any::<u64>(), twice in any::<bool>()) {
        let w = written(seed);
        let before = registry(&w.text());
        let mut project = NewProject::new("new", Location::Here("/srv/new \"quoted\"".into()));
        project.reference = Some("v1".into());
        project.enabled = false;
        project.secrets = Some(Secrets::Command(vec!["pass".into(), "show".into()]));
        project.tags = vec!["t".into()];
        let mut after = edited(&before, |e| e.add_project(&project).unwrap());
        if twice {
            after = edited(&after, |e| e.add_project(&NewProject { name: "newer".into(), ..project.clone() }).unwrap());
        }
        let mut expected = models(&before);
        for name in if twice { &["new", "newer"][..] } else { &["new"] } {
            expected.push(Project {
                name: (*name).into(),
                location: project.location.clone(),
                harness: "agents".into(),
                reference: Some("v1".into()),
                commit: None,
                enabled: false,
                secrets: project.secrets.clone(),
                config: "agents.toml".into(),
                repo: None,
                tags: vec!["t".into()],
                line: 0,
            });
        }
        prop_assert_eq!(models(&after), expected);
        if w.inline {
            let (a, b) = (after.text.replace([',', ' '], ""), before.text.replace([',', ' '], ""));
            let mut rest = a.chars();
            prop_assert!(b.chars().all(|c| rest.any(|r| r == c)), "{}\n---\n{}", before.text, after.text);
        } else {
            let mut rest = after.text.lines();
            prop_assert!(before.text.lines().all(|l| rest.any(|r| r == l)), "{}\n---\n{}", before.text, after.text);
        }
        prop_assert!(w.newline == "\n" || !after.text.replace("\r\n", "").contains('\n') || !before.text.contains('\n'), "{:?}", after.text);
        // And removed again, the text is as it was, but for a comma or the last newline.
        let back = edited(&after, |e| { e.remove_project("new").unwrap(); if twice { e.remove_project("newer").unwrap(); } });
        let bare = |t: &str| t.split_whitespace().collect::<String>().replace(",]", "]").replace("project=[]", "");
        if !w.inline {
            prop_assert_eq!(bare(&back.text), bare(&before.text));
        }
    }

    #[test]
    fn a_harness_is_set_wherever_it_stands(seed in any::<u64>(), fresh in any::<bool>(), twice in any::<bool>()) {
        let w = written(seed);
        let before = registry(&w.text());
        let name = if fresh { "fresh" } else if seed % 3 == 0 { "agents" } else { "own" };
        let after = edited(&before, |e| {
            e.set_harness(name, "url", "ssh://git@example.org/moved").unwrap();
            if twice {
                e.set_harness(name, "ref", "v7").unwrap();
                e.set_harness(name, "signed", true).unwrap();
            }
        });
        let mut harnesses = before.harnesses.clone();
        let harness = harnesses.entry(name.into()).or_insert_with(|| Harness { name: name.into(), ..Harness::default() });
        harness.url = Some("ssh://git@example.org/moved".into());
        if twice {
            harness.reference = Some("v7".into());
            harness.signed = true;
        }
        prop_assert_eq!(&after.harnesses, &harnesses, "{}\n---\n{}", before.text, after.text);
        prop_assert_eq!(names(&after), names(&before));
        let own = w.parts.iter().filter(|(owner, _)| owner.is_some()).map(|(_, part)| part.as_str());
        if w.inline {
            prop_assert!(own.into_iter().all(|part| after.text.contains(&part.replace('\n', w.newline))), "{}\n---\n{}", before.text, after.text);
        } else {
            let mut rest = after.text.lines();
            prop_assert!(own.flat_map(str::lines).all(|l| rest.any(|r| r == l)), "{}\n---\n{}", before.text, after.text);
        }
    }
}

/// The sweeps above have to see an edit that prints the document anew.
#[test]
fn a_careless_writer_is_caught() {
    let caught = (1..300u64).filter(|n| {
        let w = written(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut document: toml_edit::DocumentMut = w.text().parse().unwrap();
        let Some(first) = document.get_mut("project").and_then(|p| p.get_mut(0)) else { return false };
        first["ref"] = toml_edit::value("v9");
        let ((start, end), after) = (w.around(0), document.to_string());
        !(after.starts_with(&start) && after.ends_with(&end))
    });
    assert!(caught.count() > 20);
}
