//! Puts the sources of `engine/` into the program, so that it can hand out the engine it was built with.
// A build script has no `os` module to ask.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::{env, fs};

fn main() {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("engine");
    println!("cargo::rerun-if-changed=engine");
    // As the engine's own build script does, and says why.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") && env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
    let mut files = vec![];
    collect(&root, "", &mut files);
    files.sort();
    let mut out = format!("pub const VERSION: &str = {:?};\n", version(&root.join("Cargo.toml")));
    out.push_str("pub static FILES: &[(&str, bool, &[u8])] = &[\n");
    for (path, executable) in &files {
        let source = root.join(path);
        writeln!(out, "    ({path:?}, {executable}, include_bytes!({source:?})),").expect("a string takes all");
    }
    out.push_str("];\n");
    let target = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("carried.rs");
    fs::write(&target, out).unwrap_or_else(|e| panic!("{}: {e}", target.display()));
}

/// Every file that belongs to the engine: no build output, nothing hidden, nothing that editors and test tools leave behind.
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, bool)>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let entry = entry.expect("a readable folder");
        let name = entry.file_name().into_string().unwrap_or_else(|n| panic!("{n:?} is not UTF-8"));
        let leftover = [".snap.new", ".pending-snap", "~", ".orig", ".rej"].iter().any(|end| name.ends_with(end));
        if name.starts_with('.') || name.starts_with('#') || leftover || (prefix.is_empty() && name == "target") {
            continue;
        }
        let path = format!("{prefix}{name}");
        let metadata = entry.metadata().unwrap_or_else(|e| panic!("{path}: {e}"));
        if metadata.is_dir() {
            collect(&entry.path(), &format!("{path}/"), files);
        } else {
            assert!(metadata.is_file(), "engine/{path} is neither file nor folder");
            files.push((path, metadata.permissions().mode() & 0o100 != 0));
        }
    }
}

fn version(manifest: &Path) -> String {
    let text = fs::read_to_string(manifest).unwrap_or_else(|e| panic!("{}: {e}", manifest.display()));
    let line = text.lines().find_map(|l| l.strip_prefix("version = ")).expect("engine/Cargo.toml has a version");
    line.trim_matches('"').to_owned()
}
