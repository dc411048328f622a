//! Links the program at a fixed address: a position-independent one has its pointer tables rewritten at every start, which costs each of the many small
//! processes a private copy of them (320 kB) and a part of its start.
// A build script has no `os` module to ask.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") && std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
