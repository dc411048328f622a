//! The engine inside a project: it keeps the project's agents alive in terminals of their own.
//!
//! Public on purpose are `os`, `contract`, `cli` and [`main`]; the rest is nobody else's business.

pub mod cli;
pub mod contract;
pub mod os;

mod backend;
mod core;
pub mod document;
mod drive;
mod error;
mod model;
mod store;
mod term;

/// The program `agents`: reads its command line, does what it says, returns the exit status.
pub fn main() -> std::process::ExitCode {
    cli::main()
}

/// The engine that runs: its version, and the git tree it was built from where its place in the build cache (`…/engines/<tree>/agents`) tells.
pub(crate) fn engine_version() -> contract::status::EngineVersion {
    let tree = os::process::own_path().and_then(|p| Some(p.parent()?.file_name()?.to_str()?.to_owned()));
    let is_tree = |t: &String| matches!(t.len(), 40 | 64) && t.bytes().all(|b| b.is_ascii_hexdigit());
    contract::status::EngineVersion { version: env!("CARGO_PKG_VERSION").into(), tree: tree.filter(is_tree).unwrap_or_default() }
}
