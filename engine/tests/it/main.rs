//! The real program, end to end, in a home of its own: nothing waits by sleeping, every wait has a deadline and says what it waited for.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod activity;
mod backends;
mod boot;
mod chaos;
mod ctrl_c;
mod endings;
mod escape;
mod input;
mod interrupted;
mod launcher;
mod limits;
mod lives;
mod lock;
mod mail;
mod model_server;
mod programs;
mod project;
mod service;
mod sessions;
mod show;
mod steps;
mod storm;
mod strangers;
mod tmux;
mod upgrade;
