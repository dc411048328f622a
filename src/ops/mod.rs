//! Operations that change something: each is journaled, and after an interruption the next command finishes or undoes it.

pub mod create;
pub mod journal;
pub mod repo;
pub mod scaffold;
