//! What a host knows of its terminal, and the client that shows it to a person.
//!
//! The raw log on disk is the state: output is scanned once, for modes and questions, and written. Nothing computes the screen until
//! somebody asks for it; then the log is replayed.

mod answer;
pub mod client;
mod draft;
mod log;
mod modes;
mod plain;
mod recorder;
mod replay;
mod scan;

pub use draft::Draft;
pub use recorder::Recorder;
