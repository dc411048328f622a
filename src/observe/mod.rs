//! How projects stand, seen from outside: their pins in git, their engines through their sockets. Looks only: nothing is written in a project, and no
//! program that a project names is run (but for a foreign harness's own status command).

pub mod engine;
pub mod git;
pub mod lean;
pub mod pin;
pub mod project;
pub mod report;
pub mod tasks;
pub mod watch;
pub mod worktree;

#[cfg(test)]
mod git_tests;
