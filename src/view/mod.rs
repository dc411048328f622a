//! What a person sees.

pub mod status;
