//! `fleet history` and `fleet undo`.

use crate::home::TestHome;

#[test]
fn the_last_operations_are_reversed_one_by_one() {
    let home = TestHome::new();
    home.sh_harness("sh", false);
    let empty = home.registry();
    home.fleet(&["create", "shop", "--harness", "sh"]).ok();
    let created = home.registry();
    let pin = home.pin("shop");
    home.fleet(&["update", "shop", "v1.1.0"]).ok();
    let updated = home.registry();
    home.fleet(&["remove", "shop"]).ok();

    assert!(home.fleet(&["undo", "--dry-run"]).ok().contains("would undo `remove shop`"));
    home.fleet(&["undo"]).ok();
    assert_eq!(home.registry(), updated);
    home.fleet(&["undo"]).ok();
    assert_eq!((home.pin("shop"), home.registry()), (pin, created));
    assert_eq!(home.git(&home.project("shop"), &["log", "--format=%s"]).lines().count(), 3);

    let said = home.fleet(&["undo"]).fails(1);
    assert!(said.contains("commits of yours"), "{said}");
    home.git(&home.project("shop"), &["reset", "-q", "--hard", "HEAD~2"]);
    home.fleet(&["undo"]).ok();
    assert_eq!(home.registry().trim_end(), empty.trim_end());
    assert!(!home.project("shop").exists());
    assert!(home.fleet(&["undo"]).fails(1).contains("nothing to undo"));
    let history = home.fleet(&["history"]).ok();
    assert!(history.contains("create shop") && history.contains("undo"), "{history}");
}

#[test]
fn undo_refuses_to_lose_what_was_done_since() {
    let home = TestHome::new();
    home.fleet(&["create", "web"]).ok();
    home.write("projects/web/.env", "ignored, but mine");
    assert!(home.fleet(&["undo"]).fails(1).contains("files of yours"));
    home.fleet(&["remove", "web"]).ok();
    home.write("home/fleet.toml", &(home.registry() + "# a note of mine\n"));
    assert!(home.fleet(&["undo"]).fails(1).contains("was changed since"));
    assert!(home.registry().contains("a note of mine"));
}
