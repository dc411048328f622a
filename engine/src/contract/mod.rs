//! The versioned shapes by which an engine and whoever looks at it understand each other: places, records, messages, answers.
//!
//! Shapes only. What reads them decides; what writes them is in `store` and `drive`.

pub mod control;
pub mod handover;
pub mod layout;
pub mod mail;
pub mod manifest;
pub mod notify;
pub mod records;
pub mod status;
pub mod task;

/// The version of everything in here. A reader takes newer ones too, ignoring what it does not know, and never writes them.
pub const PROTOCOL: u32 = 1;
