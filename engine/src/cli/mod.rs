//! The command line: parse, call, show. One file a verb.
//!
//! `out` (the gate for all output), the error and the strict reading of TOML are also for other programs that want to speak the same way.

pub mod out;

pub use crate::document;
pub use crate::error::{Error, Kind, Place, Result};

pub(crate) fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match crate::drive::daemon(&args) {
        Some(Err(e)) => {
            out::error(&e);
            std::process::ExitCode::from(e.kind.exit_code())
        }
        Some(Ok(())) | None => std::process::ExitCode::SUCCESS,
    }
}
