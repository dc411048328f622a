//! What can be told from the file's text alone: grammars, doubles, references within it. Looks at nothing else.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use agents::cli::{Error, Place, document};
use toml::de::DeTable;

use super::file::{File, HarnessTable, ProjectTable, SecretsValue};
use super::{BUILT_IN_HARNESS, Location, grammar};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The registry, or what it speaks of, is wrong.
    Error,
    /// It works, but an operator would want to know.
    Warning,
}

/// Something found wrong, with its place in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub place: Place,
    /// `project web`, `harness agents`, `[fleet]`.
    pub of: String,
    pub message: String,
    pub hints: Vec<String>,
}

impl From<Finding> for Error {
    fn from(finding: Finding) -> Error {
        let message = if finding.of.is_empty() { finding.message } else { format!("{}: {}", finding.of, finding.message) };
        Error { hints: finding.hints, ..Error::invalid_at(finding.place, message) }
    }
}

/// A key's place in the file, by what it belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Spot<'a> {
    Fleet(&'a str),
    Harness(&'a str, &'a str),
    /// By its number in the file.
    Project(usize, &'a str),
}

/// The places of keys, looked up in the text when the first one is asked for.
pub(super) struct Places<'a> {
    path: &'a Path,
    text: &'a str,
    table: OnceCell<Option<DeTable<'a>>>,
}

impl<'a> Places<'a> {
    pub fn new(path: &'a Path, text: &'a str) -> Places<'a> {
        Places { path, text, table: OnceCell::new() }
    }

    /// Where the key stands; the beginning of its table where it does not stand there.
    pub fn of(&self, spot: Spot<'_>) -> Place {
        document::place(self.path, self.text, self.offset(spot).unwrap_or(0))
    }

    fn offset(&self, spot: Spot<'_>) -> Option<usize> {
        let table = self.table.get_or_init(|| DeTable::parse(self.text).ok().map(toml::Spanned::into_inner)).as_ref()?;
        let (entry, key) = match spot {
            Spot::Fleet(key) => (table.get("fleet")?, key),
            Spot::Harness(name, key) => (table.get("harness")?.get_ref().get(name)?, key),
            Spot::Project(number, key) => (table.get("project")?.get_ref().get(number)?, key),
        };
        let found = entry.get_ref().as_table().and_then(|t| t.get_key_value(key));
        Some(found.map_or(entry.span().start, |(key, _)| key.span().start))
    }
}

/// All findings in the text, in the file's order.
pub(super) fn check(path: &Path, text: &str, home: &Path, file: &File) -> Vec<Finding> {
    let mut check = Check { places: Places::new(path, text), home, findings: vec![] };
    check.fleet(file);
    for (name, harness) in &file.harness {
        check.harness(name, harness);
    }
    let mut names = BTreeMap::new();
    for (number, project) in file.project.iter().enumerate() {
        let project = project.get_ref();
        check.project(number, project, file);
        if let Some(first) = names.insert(project.name.as_str(), number) {
            let line = check.places.of(Spot::Project(first, "name")).line;
            check.find(
                Spot::Project(number, "name"),
                format!("project {}", project.name),
                format!("the name is taken by the project in line {line}"),
                "give one of them another name",
            );
        }
    }
    check.findings.sort_by_key(|f| (f.place.line, f.place.column));
    check.findings
}

struct Check<'a> {
    places: Places<'a>,
    home: &'a Path,
    findings: Vec<Finding>,
}

impl Check<'_> {
    fn find(&mut self, spot: Spot<'_>, of: String, message: String, hint: &str) {
        let hints = if hint.is_empty() { vec![] } else { vec![hint.to_owned()] };
        self.findings.push(Finding { severity: Severity::Error, place: self.places.of(spot), of, message, hints });
    }

    /// One value against its grammar.
    fn value(&mut self, spot: Spot<'_>, of: &str, value: &str, grammar: impl Fn(&str) -> Result<(), &'static str>) {
        if let Err(expected) = grammar(value) {
            let (Spot::Fleet(key) | Spot::Harness(_, key) | Spot::Project(_, key)) = spot;
            self.find(spot, of.to_owned(), format!("{key} = {value:?}: {expected}"), "");
        }
    }

    fn url(&mut self, spot: Spot<'_>, of: &str, url: &str) {
        if let Err(error) = crate::harness::url::check(url) {
            self.find(spot, of.to_owned(), error.message, error.hints.first().map_or("", String::as_str));
        }
    }

    fn fleet(&mut self, file: &File) {
        let fleet = &file.fleet;
        if fleet.version == Some(0) {
            self.find(Spot::Fleet("version"), "[fleet]".into(), "version = 0: expected 1".into(), "");
        }
        if let Some(harness) = &fleet.harness
            && harness != BUILT_IN_HARNESS
            && !file.harness.contains_key(harness)
        {
            let message = format!("harness = {harness:?}: there is no [harness.{harness}] in this file");
            self.find(Spot::Fleet("harness"), "[fleet]".into(), message, &nearest_harness(file, harness));
        }
        if fleet.root.as_deref() == Some("") {
            self.find(Spot::Fleet("root"), "[fleet]".into(), "root = \"\": expected a folder".into(), "");
        }
    }

    fn harness(&mut self, name: &str, harness: &HarnessTable) {
        let of = format!("harness {name}");
        let spot = |key| Spot::Harness(name, key);
        if let Err(expected) = grammar::name(name) {
            self.find(spot(""), of.clone(), format!("its name: {expected}"), "");
        }
        match &harness.url {
            Some(url) => self.url(spot("url"), &of, url),
            None if name != BUILT_IN_HARNESS => {
                let hint = format!("add its url; only {BUILT_IN_HARNESS:?} is carried by fleet itself");
                self.find(spot("url"), of.clone(), "it has no url".into(), &hint);
            }
            None => {}
        }
        if let Some(reference) = &harness.reference {
            self.value(spot("ref"), &of, reference, grammar::reference);
        }
        for (key, argv) in [("up", &harness.up), ("down", &harness.down), ("status", &harness.status), ("check", &harness.check)] {
            if let Some(Err(expected)) = argv.as_deref().map(grammar::argv) {
                self.find(spot(key), of.clone(), format!("{key}: {expected}"), "");
            }
        }
    }

    fn project(&mut self, number: usize, project: &ProjectTable, file: &File) {
        let of = format!("project {}", project.name);
        let spot = |key| Spot::Project(number, key);
        self.value(spot("name"), &of, &project.name, grammar::name);
        let home = self.home;
        self.value(spot("location"), &of, &project.location, |text| Location::parse(text, home).map(drop));
        if let Some(harness) = &project.harness
            && harness != BUILT_IN_HARNESS
            && !file.harness.contains_key(harness)
        {
            let message = format!("harness = {harness:?}: there is no [harness.{harness}] in this file");
            self.find(spot("harness"), of.clone(), message, &nearest_harness(file, harness));
        }
        if let Some(reference) = &project.reference {
            self.value(spot("ref"), &of, reference, grammar::reference);
        }
        if let Some(commit) = &project.commit {
            self.value(spot("commit"), &of, commit, grammar::commit);
        }
        if let Some(config) = &project.config {
            self.value(spot("config"), &of, config, grammar::inside);
        }
        if let Some(repo) = &project.repo {
            self.url(spot("repo"), &of, repo);
        }
        match &project.secrets {
            Some(SecretsValue::File(path)) if path.is_empty() => {
                self.find(spot("secrets"), of.clone(), "secrets = \"\": expected the path of a file".into(), "");
            }
            Some(SecretsValue::Command(argv)) => {
                if let Err(expected) = grammar::argv(argv) {
                    self.find(spot("secrets"), of.clone(), format!("secrets: {expected}"), "");
                }
            }
            _ => {}
        }
        for tag in &project.tags {
            if let Err(expected) = grammar::name(tag) {
                self.find(spot("tags"), of.clone(), format!("tag {tag:?}: {expected}"), "");
            }
        }
    }
}

/// What to do about a harness that is not there.
fn nearest_harness(file: &File, name: &str) -> String {
    let known = file.harness.keys().map(String::as_str).chain([BUILT_IN_HARNESS]);
    match document::nearest(name, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("add [harness.{name}] with its url, or write \"{BUILT_IN_HARNESS}\""),
    }
}
