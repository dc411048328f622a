//! What a home is believed: never what came along with it, and always what its owner did there, wherever it was moved.

use std::path::Path;

use crate::attacks::stranger;
use crate::home::TestHome;

fn copy(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// Turns what was done last into something interrupted.
fn interrupt(home: &TestHome) {
    let last = std::fs::read_dir(home.records().join("journal")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let text = std::fs::read_to_string(&last).unwrap();
    let open: Vec<&str> = text.lines().filter(|l| !l.contains("\"end\"")).collect();
    std::fs::write(&last, open.join("\n") + "\n").unwrap();
}

#[test]
fn what_lies_in_a_home_says_nothing_of_what_is_trusted_or_interrupted() {
    let home = TestHome::new();
    let web = stranger(&home);
    home.fleet(&["add", web.to_str().unwrap()]).ok();
    // The most that a repository's author could know: the very records of this home.
    for forged in [".fleet", "fleet", ".local/state/fleet/0123456789ab"] {
        std::fs::create_dir_all(home.file("home").join(forged).parent().unwrap()).unwrap();
        copy(&home.records(), &home.file("home").join(forged));
    }
    std::fs::remove_file(home.records().join("trust.json")).unwrap();
    assert!(home.fleet(&["start", "web"]).fails(1).contains("nobody has said yet"));
    let victim = home.file("projects/.victim.partial");
    std::fs::create_dir(&victim).unwrap();
    let intent = format!(
        "{{\"intent\":{{\"at\":\"2026-01-01T00:00:00Z\",\"operation\":\"create\",\"name\":\"victim\",\"folder\":{:?},\"partial\":{victim:?},\"entry\":null}}}}\n",
        home.file("projects/victim")
    );
    home.write("home/.fleet/journal/000099.jsonl", &intent);
    home.fleet(&["disable", "web"]).ok();
    assert!(victim.is_dir());
    let said = home.fleet(&["doctor"]).out;
    assert!(said.contains("home/.fleet is not read") && said.contains("rm -r ~/home/.fleet"), "{said}");
    // Among the records it would have been obeyed.
    std::fs::write(home.records().join("journal/000099.jsonl"), intent).unwrap();
    assert!(home.fleet(&["enable", "web"]).ok().contains("undid `create victim`"));
    assert!(!victim.exists());
}

#[test]
fn a_copy_of_a_home_is_another_home_and_a_moved_one_is_the_same() {
    let home = TestHome::new();
    home.fleet(&["init", home.file("one").to_str().unwrap(), "--backend", "shell"]).ok();
    let registry = |at: &str| home.file(at).join("fleet.toml").display().to_string();
    let fleet = |at: &str, args: &[&str]| home.fleet(&[&["--registry", &registry(at)], args].concat());
    home.write("one/fleet.toml", &(home.read("one/fleet.toml").replace("\"~/projects\"", "\"projects\"")));
    fleet("one", &["create", "web", "--backend", "shell"]).ok();
    copy(&home.file("one"), &home.file("two"));
    assert!(!fleet("two", &["history"]).ok().contains("create web"));
    assert!(fleet("two", &["po", "up"]).fails(1).contains("nobody has said yet"));
    std::fs::rename(home.file("one"), home.file("three")).unwrap();
    assert!(fleet("three", &["history"]).ok().contains("create web"));
    // What was trusted below it is trusted, until it is another.
    home.write("three/fleet.toml", &home.read("three/fleet.toml").replace("/one/", "/three/"));
    fleet("three", &["start", "web"]).ok();
    fleet("three", &["stop", "web"]).ok();
    fleet("three", &["disable", "web"]).ok();
    assert!(home.records_of(&home.file("three")).is_dir());
    // A home that is made in its place, or restored there, is known nothing of.
    std::fs::rename(home.file("two"), home.file("one")).unwrap();
    assert!(fleet("one", &["po", "up"]).fails(1).contains("nobody has said yet"));
    copy(&home.file("three"), &home.file("four"));
    std::fs::remove_dir_all(home.file("three")).unwrap();
    std::fs::rename(home.file("four"), home.file("three")).unwrap();
    let said = fleet("three", &["enable", "web"]).ok();
    assert!(said.contains("another folder stood at") && said.contains("if it is the same home"), "{said}");
    // Its owner does what the hint says.
    let way = said.lines().find_map(|l| l.split_once("copied: ")).unwrap().1;
    assert!(home.command("sh", &home.file("home")).args(["-c", way]).status().unwrap().success());
    assert!(fleet("three", &["history"]).ok().contains("create web"));
    fleet("three", &["disable", "web"]).ok();
    fleet("three", &["start", "web"]).ok();
    fleet("three", &["stop", "web"]).ok();
}

#[test]
fn what_was_interrupted_before_a_home_was_moved_is_ended_where_it_was() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    interrupt(&home);
    std::fs::rename(home.file("home"), home.file("moved")).unwrap();
    let moved = home.file("moved/fleet.toml").display().to_string();
    let before = home.read("moved/fleet.toml");
    let said = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file(".")).args(["--registry", &moved, "disable", "web"]).output().unwrap();
    let said = crate::home::Ran::of(said).fails(1);
    assert!(said.contains("was moved from ~/home while `create web` was unfinished") && said.contains("move it back"), "{said}");
    assert_eq!(home.read("moved/fleet.toml"), before);
    std::fs::rename(home.file("moved"), home.file("home")).unwrap();
    assert!(home.fleet(&["disable", "web"]).ok().contains("finished `create web`"));
}
