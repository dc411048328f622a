//! The arrows between modules, held against `arrows.txt`: a new one is seen in review.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod draw;

use std::path::Path;

#[test]
fn arrows_are_those_that_were_agreed_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let arrows = draw::draw(&root.join("src"), &[]);
    draw::compare(&draw::lines(&arrows, &[]), &root.join("tests/arrows/arrows.txt"));
}

#[test]
fn what_decides_knows_no_world() {
    let arrows = draw::draw(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[]);
    assert!(arrows.contains_key("core") && arrows.contains_key("model") && arrows.contains_key("contract"));
    draw::forbid(&arrows, &["core"], &["os", "store", "drive", "contract", "cli", "term", "model", "backend"], &[]);
    // A model may be written down as a launch, or as whom to tell; ids, steps, sizes and caps are plain values.
    let plain =
        ["contract::records", "contract::notify", "contract::task::Step", "contract::layout::is_name", "os::pty::Size", "os::cgroup::Caps"];
    draw::forbid(&arrows, &["model", "backend"], &["os", "store", "drive", "contract", "cli", "term"], &plain);
    draw::forbid(&arrows, &["contract"], &["store", "drive", "cli", "term", "core", "model", "backend"], &[]);
    draw::forbid(&arrows, &["os"], &["store", "drive", "cli", "term", "core", "model", "backend", "contract"], &[]);
    // All output goes through the one gate.
    draw::forbid(&arrows, &["store", "term", "drive"], &["cli"], &["cli::out"]);
    draw::forbid(&arrows, &["store", "term"], &["drive"], &[]);
}
