//! A project that pins this folder builds it alone, by its own `Cargo.lock`.

use std::path::Path;
use std::process::Command;

/// A copy of the engine as the launcher would build it.
fn copied_out(to: &Path) {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = |name: &str| std::fs::copy(engine.join(name), to.join(name)).unwrap();
    copy("Cargo.lock");
    let manifest = std::fs::read_to_string(engine.join("Cargo.toml")).unwrap();
    std::fs::write(to.join("Cargo.toml"), format!("{manifest}\n[workspace]\n")).unwrap();
    std::fs::create_dir(to.join("src")).unwrap();
    for name in ["lib.rs", "main.rs"] {
        std::fs::write(to.join("src").join(name), "").unwrap();
    }
}

#[test]
fn the_lock_fits_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    copied_out(folder.path());
    let said = crate::project::said({
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["tree", "--locked", "--offline", "--edges", "normal,build,dev"]).current_dir(folder.path());
        cargo
    });
    assert_eq!(said.code, 0, "{said:?}\nrun engine/tests/lock.sh: it writes engine/Cargo.lock anew, with the versions of the workspace");
}
