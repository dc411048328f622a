//! No room, no right to write, a lock that somebody else holds: refused with the path or the holder named, and nothing changed.

use std::time::Duration;

use crate::foreign_lock::Held;
use crate::home::{Ran, TestHome};

#[test]
fn without_room_or_right_to_write_every_change_is_refused_whole() {
    let home = TestHome::new();
    let disk = home.file("disk");
    std::fs::create_dir(&disk).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut script = home.command("unshare", &home.file(""));
    // A user, mounts and processes of its own: all that is started ends with the script.
    script.args(["--mount", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c"]);
    script.arg(include_str!("refused.sh")).env("HOME", &disk).env("W", scratch.path()).env("F", env!("CARGO_BIN_EXE_fleet"));
    let ran = Ran::of(script.output().unwrap());
    if ran.out.contains("skipped") || (ran.code != 0 && ran.err.contains("unshare")) {
        return println!("skipped: no namespaces can be made here: {}", ran.err);
    }
    assert!(ran.code == 0 && ran.out.contains("whole, 34 refused"), "{ran:#?}");
}

/// Refused for now, with the holder named and the way out.
#[track_caller]
fn is_named(held: &Held, ran: &Ran) {
    let named = held.is_in(&ran.err) && ran.err.contains("hint: ");
    assert!(ran.code == 75 && named, "{ran:#?}");
}

#[test]
fn who_holds_a_lock_is_named_whoever_signed_it_last() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let before = home.registry();
    let held = Held::of(&home.file("home/.fleet.lock"));
    for args in [&["disable", "web"][..], &["create", "api"], &["remove", "web"], &["update", "web", "v0.1.0"], &["undo"]] {
        is_named(&held, &home.fleet(args));
    }
    assert!(held.is_in(&home.fleet(&["doctor"]).out));
    home.fleet(&["status"]).ok();
    drop(held);
    home.fleet(&["init", "../first"]).ok();
    let held = Held::of(&home.file("run/agents/init.lock"));
    is_named(&held, &home.fleet(&["init", "../second"]));
    drop(held);
    // Held for moments by all of ours, so it is waited for, and not for ever.
    let held = Held::of(&home.records().join("lock"));
    let begun = std::time::Instant::now();
    is_named(&held, &home.fleet(&["disable", "web"]));
    assert!(begun.elapsed() > Duration::from_secs(10));
    drop(held);
    assert_eq!(home.registry(), before);
    home.fleet(&["disable", "web"]).ok();
}
