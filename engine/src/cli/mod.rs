//! The command line: parse, call, show. One file a verb.
//!
//! `out` (the gate for all output), the error and the strict reading of TOML are also for other programs that want to speak the same way.

pub mod out;

pub use crate::document;
pub use crate::error::{Error, Kind, Place, Result};

pub(crate) fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
