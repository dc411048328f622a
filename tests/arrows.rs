//! The arrows between modules, held against `arrows.txt`: a new one is seen in review.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

#[path = "../engine/tests/arrows/draw.rs"]
mod draw;

use std::path::Path;

#[test]
fn arrows_are_those_that_were_agreed_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let arrows = draw::draw(&root.join("src"), &["agents"]);
    draw::compare(&draw::lines(&arrows, &["agents"]), &root.join("tests/arrows.txt"));
}

#[test]
fn of_the_engine_only_what_is_public_on_purpose() {
    let arrows = draw::draw(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &["agents"]);
    let every: Vec<&str> = arrows.keys().map(String::as_str).collect();
    draw::forbid(&arrows, &every, &["agents"], &["agents::os", "agents::contract", "agents::cli", "agents::main"]);
    // What a verb does, nobody below it calls.
    let below: Vec<&str> = every.into_iter().filter(|m| !matches!(*m, "cli" | "lib")).collect();
    draw::forbid(&arrows, &below, &["cli"], &[]);
}
