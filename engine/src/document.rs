//! Strict reading of TOML that people write: every finding with its file, line, column and the nearest known key.
