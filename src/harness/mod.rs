//! Harnesses: where engines come from. The one this program carries, mirrors of the others, the cache of built ones.
//!
//! Nothing here knows of projects.

pub mod cache;
pub mod carried;
pub mod mirror;
pub mod submodule;
pub mod url;

pub use mirror::{Mirror, Resolved};

/// The name of the harness that this program carries.
pub const CARRIED: &str = "agents";
