//! The one error that reaches a person: what kind, what happened, where, why, and what to do.
//!
//! Inner modules return it too. Where a caller decides on *which* error it got, the module has a type of its own instead.

use std::fmt;
use std::path::{Path, PathBuf};

/// What kind of failure, which is also the exit status. Exit statuses are part of the public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Exit 1: some or all of the work was not done.
    Failed,
    /// Exit 2: the command line itself was wrong.
    Usage,
    /// Exit 3: a file that a person wrote is invalid.
    Invalid,
    /// Exit 75 (`EX_TEMPFAIL` of sysexits.h): try again later, somebody holds a lock.
    Busy,
}

impl Kind {
    /// The exit status of a program that ends with this error.
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Failed => 1,
            Kind::Usage => 2,
            Kind::Invalid => 3,
            Kind::Busy => 75,
        }
    }
}

/// A place in a file: line and column count from 1; column counts characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file.display(), self.line, self.column)
    }
}

/// An error as a person reads it. Several findings of one look are one error with `others`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub kind: Kind,
    pub place: Option<Place>,
    pub message: String,
    /// Causes, nearest first.
    pub because: Vec<String>,
    /// What to do, each a command or a sentence.
    pub hints: Vec<String>,
    /// Further findings of the same look, each complete in itself.
    pub others: Vec<Error>,
}

/// The result of whatever can end with a message to a person.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, place: None, message: message.into(), because: vec![], hints: vec![], others: vec![] }
    }
    /// Exit 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }
    /// Exit 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// Exit 3, without a line: the whole file is meant.
    pub fn invalid(file: &Path, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, format!("{}: {}", file.display(), message.into()))
    }
    /// Exit 3, at a place in a file.
    pub fn invalid_at(place: Place, message: impl Into<String>) -> Self {
        Error { place: Some(place), ..Self::new(Kind::Invalid, message) }
    }
    /// Exit 75.
    pub fn busy(message: impl Into<String>) -> Self {
        Self::new(Kind::Busy, message)
    }
    /// Adds something to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
    /// Adds a cause.
    #[must_use]
    pub fn because(mut self, cause: impl fmt::Display) -> Self {
        self.because.push(cause.to_string());
        self
    }
    /// Puts words before the message: `project web: …`.
    #[must_use]
    pub fn of(mut self, whose: impl fmt::Display) -> Self {
        let prefix = format!("{whose}: ");
        // Said once is enough, by whoever knew first.
        for message in std::iter::once(&mut self.message).chain(self.others.iter_mut().map(|o| &mut o.message)) {
            if !message.starts_with(&prefix) {
                message.insert_str(0, &prefix);
            }
        }
        self
    }
    /// Many errors as one, in order; `None` for none. The kind of the first is the exit status, unless kinds differ: then `Failed`.
    pub fn all(errors: Vec<Error>) -> Option<Error> {
        let mut errors = errors.into_iter();
        let mut first = errors.next()?;
        for error in errors {
            if error.kind != first.kind {
                first.kind = Kind::Failed;
            }
            first.others.push(error);
        }
        Some(first)
    }
}

impl fmt::Display for Error {
    /// One paragraph per finding: `place: message`, `  because …` lines, `hint: …` lines. Uncoloured, not cleaned: output goes through `cli::out`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}", self.message)?;
        for cause in &self.because {
            write!(f, "\n  because {cause}")?;
        }
        for hint in &self.hints {
            write!(f, "\nhint: {hint}")?;
        }
        for other in &self.others {
            write!(f, "\nerror: {other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Somebody else has a lock, and does not let go of it: who. What an [`std::io::Error`] of kind `ResourceBusy` then holds, as others are of that kind too.
#[derive(Debug)]
pub struct Busy(pub String);

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Busy {}

impl From<std::io::Error> for Error {
    /// `os::fs` puts the path into its errors, so the text is complete.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            _ if error.get_ref().is_some_and(|e| e.is::<Busy>()) => Error::busy(error.to_string()).hint("run this again when it is free"),
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Error::failed(error.to_string()).hint("make room there, then run this again")
            }
            std::io::ErrorKind::ReadOnlyFilesystem => Error::failed(error.to_string()).hint("make that disk writable, then run this again"),
            _ => Error::failed(error.to_string()),
        }
    }
}
