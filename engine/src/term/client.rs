//! The client of an attached terminal.
