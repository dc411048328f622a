//! What a person sees.

pub mod screen;
pub mod status;
