//! What a project declares: its agents, how each is played, how its sessions are named. Pure: text comes in, findings go out.

pub(crate) mod agent;
pub(crate) mod amount;
pub(crate) mod config;
pub(crate) mod duration;
pub(crate) mod file;
pub(crate) mod name;
mod notify;
pub(crate) mod tasks;
pub(crate) mod template;

pub(crate) use agent::{Agent, Start};
pub(crate) use config::{Config, Runtime};

pub(crate) use notify::is_url;
