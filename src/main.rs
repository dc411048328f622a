//! One program under two names: started as `agents` it is the engine.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name() {
        Some(name) if name == "agents" => agents::main(),
        _ => fleet::main(),
    }
}
