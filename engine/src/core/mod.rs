//! Decisions. Pure: no clock, file, process or socket; time comes in as a number, what is to be done goes out as a list.

pub mod activity;
pub mod cause;
pub mod graph;
pub mod keep;
pub mod limits;
pub mod notices;
pub mod restart;
pub mod schedule;
pub mod screen;
pub mod session;
pub mod stall;
pub mod storm;
pub mod submit;
pub mod turns;
pub mod version;
pub mod watch;
pub mod when;

#[cfg(test)]
mod simulator;
