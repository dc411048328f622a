//! No room, no right to write, a lock that somebody else holds: refused with the path or the holder named, and nothing changed.

use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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

/// Somebody else's hold on a lock, who has signed nothing.
struct Held {
    child: Child,
    /// Whether the kernel tells who holds it: on some filesystems its list numbers the disk otherwise than the file does.
    listed: bool,
}

impl Held {
    fn of(path: &std::path::Path) -> Held {
        let mut flock = Command::new("flock");
        let mut child = flock.arg(path).args(["sh", "-c", "echo held; exec sleep 1000"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let file = std::fs::metadata(path).unwrap();
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        let entry = format!(" {} {major:02x}:{minor:02x}:{} ", child.id(), file.ino());
        let listed = std::fs::read_to_string("/proc/locks").unwrap_or_default().contains(&entry);
        if !listed {
            println!("skipped: who is named, as the kernel's list of locks does not show {} under its own number", path.display());
        }
        Held { child, listed }
    }
    /// Whether this text names the holder, where that can be known.
    fn is_in(&self, text: &str) -> bool {
        !self.listed || (text.contains(&format!("(process {})", self.child.id())) && text.contains("`flock "))
    }
    #[track_caller]
    fn is_named(&self, ran: &Ran) {
        let named = self.is_in(&ran.err) && ran.err.contains("hint: ");
        assert!(ran.code == 75 && named, "{ran:#?}");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The lock is the kernel's, and goes with the last who inherited it.
        let _ = Command::new("pkill").args(["-P", &self.child.id().to_string()]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_holds_a_lock_is_named_whoever_signed_it_last() {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let before = home.registry();
    let held = Held::of(&home.file("home/.fleet.lock"));
    for args in [&["disable", "web"][..], &["create", "api"], &["remove", "web"], &["update", "web", "v0.1.0"], &["undo"]] {
        held.is_named(&home.fleet(args));
    }
    assert!(held.is_in(&home.fleet(&["doctor"]).out));
    home.fleet(&["status"]).ok();
    drop(held);
    home.fleet(&["init", "../first"]).ok();
    let held = Held::of(&home.file("run/agents/init.lock"));
    held.is_named(&home.fleet(&["init", "../second"]));
    drop(held);
    // Held for moments by all of ours, so it is waited for, and not for ever.
    let held = Held::of(&home.records().join("lock"));
    let begun = std::time::Instant::now();
    held.is_named(&home.fleet(&["disable", "web"]));
    assert!(begun.elapsed() > Duration::from_secs(10));
    drop(held);
    assert_eq!(home.registry(), before);
    home.fleet(&["disable", "web"]).ok();
}
