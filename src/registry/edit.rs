//! Changes to `fleet.toml` that touch only their own lines.
//!
//! The file is a person's: whoever keeps it finds every comment, blank line and line ending where it was. So the text is never printed anew from
//! a model; `splice` finds the bytes a change is about and replaces those. What comes out is read back before it is written.

use std::collections::BTreeSet;
use std::path::PathBuf;

use agents::cli::{Error, Result};
use agents::os;
use agents::os::fs::Found;

use super::splice::{self, Target};
use super::{Location, Registry, Secrets, VERSION};

/// A value that an edit writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Bool(bool),
    List(Vec<String>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<Vec<String>> for Value {
    fn from(list: Vec<String>) -> Value {
        Value::List(list)
    }
}

impl From<&Value> for toml_edit::Value {
    fn from(value: &Value) -> toml_edit::Value {
        match value {
            Value::Text(text) => text.as_str().into(),
            Value::Bool(value) => (*value).into(),
            Value::List(list) => list.iter().map(String::as_str).collect::<toml_edit::Array>().into(),
        }
    }
}

/// A project to be added. What is `None` or empty is not written, so that its default goes on being a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProject {
    pub name: String,
    pub location: Location,
    pub harness: Option<String>,
    pub reference: Option<String>,
    pub commit: Option<String>,
    pub enabled: bool,
    pub secrets: Option<Secrets>,
    pub config: Option<String>,
    pub repo: Option<String>,
    pub tags: Vec<String>,
}

impl NewProject {
    /// Enabled, all else by default.
    pub fn new(name: impl Into<String>, location: Location) -> NewProject {
        NewProject {
            name: name.into(),
            location,
            harness: None,
            reference: None,
            commit: None,
            enabled: true,
            secrets: None,
            config: None,
            repo: None,
            tags: vec![],
        }
    }

    /// Its keys in the order in which they are written.
    fn keys(&self) -> Result<Vec<(&'static str, Value)>> {
        let path = |p: &PathBuf| match p.to_str() {
            Some(_) => Ok(os::env::shorten(p)),
            None => Err(Error::failed(format!("{}: the path is not UTF-8, so {} cannot hold it", p.display(), super::FILE))),
        };
        let mut keys: Vec<(&'static str, Value)> = vec![("name", self.name.as_str().into())];
        keys.push((
            "location",
            match &self.location {
                Location::Here(folder) => path(folder)?.into(),
                there => there.to_string().into(),
            },
        ));
        let texts = [("harness", &self.harness), ("ref", &self.reference), ("commit", &self.commit)];
        keys.extend(texts.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?.into()))));
        if !self.enabled {
            keys.push(("enabled", false.into()));
        }
        match &self.secrets {
            Some(Secrets::File(file)) => keys.push(("secrets", path(file)?.into())),
            Some(Secrets::Command(argv)) => keys.push(("secrets", argv.clone().into())),
            None => {}
        }
        let texts = [("config", &self.config), ("repo", &self.repo)];
        keys.extend(texts.into_iter().filter_map(|(key, text)| Some((key, text.as_deref()?.into()))));
        if !self.tags.is_empty() {
            keys.push(("tags", self.tags.clone().into()));
        }
        Ok(keys)
    }
}

/// Changes to one registry, written all at once by [`Edit::save`] or not at all.
#[derive(Debug)]
pub struct Edit {
    /// As it was named, for messages.
    path: PathBuf,
    home: PathBuf,
    original: String,
    text: splice::Text,
    /// What the pending splices are about: a second change of the same thing has to see the first one done.
    touched: BTreeSet<(String, String)>,
}

impl Edit {
    /// Begins to change a registry as it was read. One of a newer format is refused.
    pub fn open(registry: &Registry) -> Result<Edit> {
        if registry.is_newer() {
            let version = registry.fleet.version;
            let error = Error::failed(format!(
                "{} is of format {version}; this fleet reads it, but writes only format {VERSION}",
                registry.path.display()
            ));
            return Err(error.hint("use the newer fleet that wrote it, or edit the file by hand"));
        }
        Ok(Edit {
            path: registry.path.clone(),
            home: registry.home.clone(),
            original: registry.text.clone(),
            text: splice::Text::new(registry.text.clone())?,
            touched: BTreeSet::new(),
        })
    }

    /// Adds a project after the last one.
    pub fn add_project(&mut self, project: &NewProject) -> Result<()> {
        self.apply()?;
        if self.text.project(&project.name).is_some() {
            let error = Error::failed(format!("there is a project `{}` in {} already", project.name, self.path.display()));
            return Err(error.hint(format!("give another name, or: fleet remove {}", project.name)));
        }
        self.text.add_project(&project.keys()?);
        self.apply()
    }

    /// Removes a project's entry, with the comment lines that stand directly above it.
    pub fn remove_project(&mut self, name: &str) -> Result<()> {
        self.apply()?;
        let number = self.number(name)?;
        self.text.remove_project(number);
        self.apply()
    }

    /// Sets a key of a project.
    pub fn set(&mut self, name: &str, key: &str, value: impl Into<Value>) -> Result<()> {
        let number = self.number(name)?;
        self.change((format!("project {name}"), key.into()), |text| text.set(&Target::Project(number), key, &value.into()))
    }

    /// Takes a key of a project away, so that its default holds.
    pub fn unset(&mut self, name: &str, key: &str) -> Result<()> {
        let number = self.number(name)?;
        self.apply()?;
        self.text.unset(number, key);
        self.apply()
    }

    /// Sets a key of a harness, which need not be there yet.
    pub fn set_harness(&mut self, name: &str, key: &str, value: impl Into<Value>) -> Result<()> {
        super::grammar::name(name).map_err(|expected| Error::usage(format!("harness {name:?}: {expected}")))?;
        if !self.text.has_harness(name) {
            self.apply()?;
            self.text.add_harness(name, key, &value.into());
            return self.apply();
        }
        self.change((format!("harness {name}"), key.into()), |text| text.set(&Target::Harness(name), key, &value.into()))
    }

    /// The text as it will be written.
    pub fn text(&mut self) -> Result<&str> {
        self.apply()?;
        Ok(self.text.text())
    }

    /// Whether [`Edit::save`] would take it, as far as the text tells.
    pub fn check(&mut self) -> Result<()> {
        self.apply()?;
        self.valid(self.text.text().to_owned()).map(drop)
    }

    fn valid(&self, text: String) -> Result<Registry> {
        let (registry, findings) = Registry::parse(&self.path, &self.home, text)?;
        match Error::all(findings.into_iter().map(|f| Error { place: None, ..f.into() }).collect()) {
            Some(error) => Err(error.of(format!("{} is left as it was", self.path.display()))),
            None => Ok(registry),
        }
    }

    /// Writes the changes and returns the registry as it now is. Refused, with nothing written, where the result would not be a valid registry,
    /// or somebody else changed the file since it was read (exit 75).
    pub fn save(mut self) -> Result<Registry> {
        self.apply()?;
        let text = self.text.text().to_owned();
        let registry = self.valid(text)?;
        // The file, not a link to it: the link stays.
        let file = os::fs::canonical(&self.path)?;
        if os::fs::read_to_string(&file)? != self.original {
            let error = Error::busy(format!("{} was changed by somebody else meanwhile, so it is left as it is", self.path.display()));
            return Err(error.hint("run the command again"));
        }
        let mode = match os::fs::look(&file)? {
            Found::File { mode, .. } => mode,
            _ => return Err(Error::failed(format!("{} is no file", file.display()))),
        };
        if mode & 0o200 == 0 {
            let error = Error::failed(format!("{} is read-only (mode {mode:04o}), so it is left as it is", self.path.display()));
            return Err(error.hint(format!("chmod u+w {}", self.path.display())));
        }
        if registry.text != self.original {
            os::fs::write_atomic(&file, registry.text.as_bytes(), mode)?;
        }
        Ok(registry)
    }

    fn number(&self, name: &str) -> Result<usize> {
        self.text.project(name).ok_or_else(|| Error::usage(format!("there is no project `{name}` in {}", self.path.display())))
    }

    fn change(&mut self, what: (String, String), change: impl FnOnce(&mut splice::Text)) -> Result<()> {
        if self.touched.contains(&what) {
            self.apply()?;
        }
        change(&mut self.text);
        self.touched.insert(what);
        Ok(())
    }

    fn apply(&mut self) -> Result<()> {
        self.touched.clear();
        self.text.apply().map_err(|e| e.of(format!("{} cannot be edited", self.path.display())))
    }
}
