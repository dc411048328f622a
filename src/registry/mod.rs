//! The registry, `fleet.toml`: the only record of which projects exist, where, on which harness, at which ref, enabled or not.
//!
//! Reading gives the model below, with every default filled in. Changes go through [`edit`], which touches its own lines only.
//! Nothing in here looks at a project; only [`validate`] does.

mod check;
pub mod edit;
pub mod entry;
mod file;
mod find;
pub mod grammar;
mod lock;
pub mod records;
pub mod select;
mod splice;
pub mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use agents::cli::{Error, Place, Result, document};
use agents::os;

pub use check::{Finding, Severity};
pub use edit::{Edit, NewProject, Value};
pub use lock::lock;
pub use select::Select;

/// The file's name.
pub const FILE: &str = "fleet.toml";
/// Names the registry to use.
pub const FLEET_REGISTRY: &str = "FLEET_REGISTRY";
/// The version of the file's format that is written. Newer ones are read and never written.
pub const VERSION: u32 = 1;
/// The harness that needs no entry: the engine inside `fleet`.
pub const BUILT_IN_HARNESS: &str = "agents";

/// A registry as it was read.
#[derive(Debug, Clone)]
pub struct Registry {
    /// The file as it was named or found, absolute.
    pub path: PathBuf,
    /// The fleet home: the folder that holds the file itself, links followed.
    pub home: PathBuf,
    /// What was read, for [`edit`] and for places in messages.
    pub text: String,
    pub fleet: FleetSection,
    /// In the file's order; names are unique.
    pub projects: Vec<Project>,
    /// By name; [`BUILT_IN_HARNESS`] is always there.
    pub harnesses: BTreeMap<String, Harness>,
}

/// `[fleet]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSection {
    pub version: u32,
    /// Where `fleet create NAME` puts it, absolute.
    pub root: PathBuf,
    /// The harness of new projects, and of those that name none.
    pub harness: String,
}

/// One `[[project]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub name: String,
    pub location: Location,
    pub harness: String,
    /// The tag or branch asked for (key `ref`): its own, else its harness's. `None`: neither says.
    pub reference: Option<String>,
    /// The commit that `reference` meant when it was pinned.
    pub commit: Option<String>,
    pub enabled: bool,
    pub secrets: Option<Secrets>,
    /// The engine's file in the project, relative to its folder.
    pub config: String,
    pub repo: Option<String>,
    pub tags: Vec<String>,
    /// Where its entry begins, from 1.
    pub line: usize,
}

/// Where a project is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// A folder of this machine, absolute.
    Here(PathBuf),
    /// A folder of another machine. `host` may say `user@host:port`: ssh takes it as `ssh://{host}`. `folder` is absolute, or begins with `~`.
    Ssh { host: String, folder: String },
}

/// Where a project's secrets are; never what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secrets {
    /// A file, absolute.
    File(PathBuf),
    /// Argv of a command that prints them.
    Command(Vec<String>),
}

/// One `[harness.NAME]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Harness {
    pub name: String,
    /// `None`: for [`BUILT_IN_HARNESS`], the engine inside `fleet`; another harness without one cannot be pinned.
    pub url: Option<String>,
    /// Default for projects that name none.
    pub reference: Option<String>,
    /// Argv each, instead of what the harness's manifest says.
    pub up: Option<Vec<String>>,
    pub down: Option<Vec<String>>,
    pub status: Option<Vec<String>>,
    pub check: Option<Vec<String>>,
    /// Only tags with a good signature are pinned.
    pub signed: bool,
}

impl Registry {
    /// Finds and loads it: `explicit` (`--registry`), `$FLEET_REGISTRY`, `fleet.toml` from here upward, `$XDG_CONFIG_HOME/fleet/fleet.toml`.
    pub fn find(explicit: Option<&Path>) -> Result<Registry> {
        Registry::load(&find::find(explicit)?)
    }

    /// Where it is, as [`Registry::find`] looks for it.
    pub fn locate(explicit: Option<&Path>) -> Result<PathBuf> {
        find::find(explicit)
    }

    /// Reads a registry. Whatever is wrong in the text itself is one error with all findings.
    pub fn load(path: &Path) -> Result<Registry> {
        checked(Registry::read(path)?)
    }

    /// Reads a registry, with what is wrong in it; an error where it cannot be read at all.
    fn read(path: &Path) -> Result<(Registry, Vec<Finding>)> {
        let path = std::path::absolute(path)?;
        let Some(text) = document::text(&path)? else {
            return Err(Error::failed(format!("{}: there is no such file", path.display())));
        };
        let real = os::fs::canonical(&path)?;
        Registry::parse(&path, real.parent().unwrap_or(Path::new("/")), text)
    }

    /// The model of a text; `home` is the folder that relative paths start from.
    fn parse(path: &Path, home: &Path, text: String) -> Result<(Registry, Vec<Finding>)> {
        let file = read_file(path, &text)?;
        let findings = check::check(path, &text, home, &file);
        let fleet = FleetSection {
            version: file.fleet.version.unwrap_or(VERSION),
            root: absolute(home, file.fleet.root.as_deref().unwrap_or("~/projects")),
            harness: file.fleet.harness.unwrap_or_else(|| BUILT_IN_HARNESS.into()),
        };
        let mut harnesses: BTreeMap<String, Harness> = file.harness.into_iter().map(|(name, h)| (name.clone(), harness(name, h))).collect();
        harnesses.entry(BUILT_IN_HARNESS.into()).or_insert_with(|| harness(BUILT_IN_HARNESS.into(), file::HarnessTable::default()));
        let mut lines = Lines::of(&text);
        let projects = file
            .project
            .into_iter()
            .map(|entry| {
                let line = lines.at(entry.span().start);
                project(entry.into_inner(), line, home, &fleet, &harnesses)
            })
            .collect();
        Ok((Registry { path: path.to_path_buf(), home: home.to_path_buf(), text, fleet, projects, harnesses }, findings))
    }

    /// The registry that this text would be at `path`; relative paths start from the folder of that path.
    pub fn from_text(path: &Path, text: &str) -> Result<Registry> {
        checked(Registry::parse(path, path.parent().unwrap_or(Path::new("/")), text.to_owned())?)
    }

    /// The project of exactly this name.
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.projects.iter().find(|p| p.name == name)
    }

    /// The project's harness; an error names those that exist.
    pub fn harness_of(&self, project: &Project) -> Result<&Harness> {
        self.harness(&project.harness)
            .map_err(|e| Error { place: Some(self.place_of_line(project.line)), ..e.of(format!("project {}", project.name)) })
    }

    /// The harness of this name; an error names those that exist.
    pub fn harness(&self, name: &str) -> Result<&Harness> {
        self.harnesses.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.harnesses.keys().map(String::as_str).collect();
            let error = Error::new(agents::cli::Kind::Invalid, format!("there is no harness `{name}`; there is {}", known.join(", ")));
            error.hint(format!("add [harness.{name}] with its url to {}", self.path.display()))
        })
    }

    /// Whether the file is of a format newer than this program writes.
    pub fn is_newer(&self) -> bool {
        self.fleet.version > VERSION
    }

    /// The beginning of a line of the file.
    fn place_of_line(&self, line: usize) -> Place {
        Place { file: self.path.clone(), line, column: 1 }
    }
}

impl Project {
    /// Its folder where it is on this machine.
    pub fn folder(&self) -> Option<&Path> {
        match &self.location {
            Location::Here(folder) => Some(folder),
            Location::Ssh { .. } => None,
        }
    }
}

impl Location {
    /// Reads what the registry says; a relative path starts from `home`. The error is what was expected.
    pub fn parse(text: &str, home: &Path) -> Result<Location, &'static str> {
        let Some(rest) = text.strip_prefix("ssh://") else {
            return match text {
                "" => Err("expected a folder"),
                text if text.contains("://") => Err("expected a folder, or ssh://host/folder"),
                text if text.contains(|c: char| c.is_control()) => Err("expected a folder without control characters in its name"),
                text => Ok(Location::Here(absolute(home, text))),
            };
        };
        let (host, folder) = rest.split_once('/').ok_or("expected ssh://host/folder")?;
        let name = match host.rsplit_once(':') {
            Some((name, port)) => port.parse::<u16>().map(|_| name).map_err(|_| "expected a port number after ssh://host:")?,
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
        if name.is_empty() || name.starts_with(['-', '@']) || name.ends_with('@') || name.contains("@-") || !name.chars().all(plain) {
            return Err("expected ssh://host/folder, the host of letters, digits, `.`, `_`, `-`, perhaps with user@ before it");
        }
        if folder.is_empty() || folder.contains(|c: char| c.is_control()) {
            return Err("expected ssh://host/folder, the folder not empty and without control characters");
        }
        let folder = if folder == "~" || folder.starts_with("~/") { folder.into() } else { format!("/{folder}") };
        Ok(Location::Ssh { host: host.into(), folder })
    }
}

impl fmt::Display for Location {
    /// As a person would write it into the registry.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Here(folder) => f.write_str(&os::env::shorten(folder)),
            Location::Ssh { host, folder } => write!(f, "ssh://{host}/{}", folder.strip_prefix('/').unwrap_or(folder)),
        }
    }
}

/// The JSON Schema of `fleet.toml`.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(file::File)
}

fn checked((registry, findings): (Registry, Vec<Finding>)) -> Result<Registry> {
    Error::all(findings.into_iter().map(Error::from).collect()).map_or(Ok(registry), Err)
}

/// A path of the file: `~` is the home folder, a relative one starts from the fleet home. Single dots are dropped.
fn absolute(home: &Path, text: &str) -> PathBuf {
    home.join(os::env::expand(text)).components().collect()
}

fn harness(name: String, h: file::HarnessTable) -> Harness {
    Harness { name, url: h.url, reference: h.reference, up: h.up, down: h.down, status: h.status, check: h.check, signed: h.signed }
}

/// A location that cannot be read becomes one that is refused by [`check`], which reads it again to say why.
fn project(p: file::ProjectTable, line: usize, home: &Path, fleet: &FleetSection, harnesses: &BTreeMap<String, Harness>) -> Project {
    let harness = p.harness.unwrap_or_else(|| fleet.harness.clone());
    Project {
        location: Location::parse(&p.location, home).unwrap_or_else(|_| Location::Here(PathBuf::new())),
        reference: p.reference.or_else(|| harnesses.get(&harness)?.reference.clone()),
        harness,
        name: p.name,
        commit: p.commit,
        enabled: p.enabled,
        secrets: p.secrets.map(|s| match s {
            file::SecretsValue::File(path) => Secrets::File(absolute(home, &path)),
            file::SecretsValue::Command(argv) => Secrets::Command(argv),
        }),
        config: p.config.unwrap_or_else(|| agents::contract::layout::CONFIG_FILE.into()),
        repo: p.repo,
        tags: p.tags,
        line,
    }
}

/// The file's tables. In one of a newer format, keys that nobody here knows are passed over.
fn read_file(path: &Path, text: &str) -> Result<file::File> {
    document::read(path, text).or_else(|error| match version(text) {
        Some(newer) if newer > VERSION => toml::from_str(text).map_err(|_| {
            error.hint(format!("the file is of format {newer}; this fleet knows formats up to {VERSION}: use the one that wrote it"))
        }),
        _ => Err(error),
    })
}

/// The format's version, whatever else the text may hold.
fn version(text: &str) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Top {
        fleet: Fleet,
    }
    #[derive(serde::Deserialize)]
    struct Fleet {
        version: u32,
    }
    toml::from_str::<Top>(text).ok().map(|top| top.fleet.version)
}

/// Line numbers of growing offsets, in one pass over the text.
struct Lines<'a> {
    text: &'a [u8],
    offset: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Lines<'a> {
        Lines { text: text.as_bytes(), offset: 0, line: 1 }
    }
    fn at(&mut self, offset: usize) -> usize {
        if offset < self.offset {
            (self.offset, self.line) = (0, 1);
        }
        let offset = offset.min(self.text.len());
        self.line += self.text[self.offset..offset].iter().filter(|b| **b == b'\n').count();
        self.offset = offset;
        self.line
    }
}

#[cfg(test)]
mod edit_tests;
#[cfg(test)]
mod save_tests;
#[cfg(test)]
mod tests;

/// A text's id as git's blob: short, and the same for the same text.
pub fn text_id(text: &str) -> String {
    gix::objs::compute_hash(gix::hash::Kind::Sha1, gix::objs::Kind::Blob, text.as_bytes()).map(|id| id.to_string()).unwrap_or_default()
}
