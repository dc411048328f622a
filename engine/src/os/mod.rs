//! The only module that touches the world: files, locks, clocks, environment, processes, signals, sockets, terminals, git.
//!
//! It decides nothing. Every other module asks here, and `clippy.toml` sees to it.
#![allow(clippy::disallowed_methods)]

pub mod append;
pub mod aside;
pub mod beside;
mod born;
pub mod cgroup;
pub mod clock;
pub mod env;
pub mod folder;
pub mod follow;
pub mod fork;
pub mod fs;
pub mod git;
pub mod interrupt;
pub mod lock;
pub mod process;
pub mod pty;
pub mod question;
pub mod runtime;
pub mod service;
pub mod signal;
pub mod socket;
pub mod succession;
pub mod tmux;
pub mod wait;
pub mod wake;
pub mod watch;
