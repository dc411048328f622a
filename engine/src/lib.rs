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
