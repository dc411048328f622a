//! A project as it is checked out here: where its HEAD stands, how its engine is driven, and whether what it names may be run.

pub mod drive;
pub mod head;
pub mod trust;
