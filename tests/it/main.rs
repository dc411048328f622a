//! End to end, through the real programs, each test in a home of its own.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod attacks;
mod build;
mod completions;
mod create;
mod drive;
#[path = "../../engine/tests/it/foreign_lock.rs"]
mod foreign_lock;
mod frozen;
mod home;
mod interrupt;
mod join;
mod kill;
mod links;
mod live;
mod power;
mod records;
mod refused;
mod service;
mod status;
mod sweeps;
mod tasks;
mod terminal;
mod trust;
mod undo;
mod update;
mod wrong;
