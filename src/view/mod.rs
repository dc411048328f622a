//! What a person sees.

pub mod progress;
pub mod screen;
pub mod status;
pub mod tasks;
