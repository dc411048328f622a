//! One registry for all coding-agent projects: create, start, stop, update, see.

pub mod cli;
pub mod harness;
pub mod ops;
pub mod registry;
