//! One registry for all coding-agent projects: create, start, stop, update, see.

pub mod checkout;
pub mod cli;
pub mod harness;
pub mod observe;
pub mod ops;
pub mod parallel;
pub mod registry;
pub mod view;

/// The program `fleet`: reads its command line, does what it says, returns the exit status.
pub fn main() -> std::process::ExitCode {
    cli::main()
}
