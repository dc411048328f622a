//! Each lock of a project, held by somebody else: who holds it is named, the status says to try again, nothing is changed.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::project::TestProject;
use crate::sessions::{ONE, git, project, rows};

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
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = Command::new("pkill").args(["-P", &self.child.id().to_string()]).status();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A project, one of its locks, and the commands that need it.
fn refused(lock: impl Fn(&TestProject) -> PathBuf, commands: &[&[&str]]) {
    let project = project(&format!("{ONE}task = [\"sleep\", \"1000\"]\n"));
    project.run(&["up"]).ok();
    project.run(&["spawn"]).ok();
    let held = Held::of(&lock(&project));
    let before = (rows(&project, &[]), git(&project.folder, &["branch"]));
    for args in commands {
        let said = project.run(args);
        let named = held.is_in(&said.stderr) && said.stderr.contains("hint: ");
        assert!(said.code == 75 && named, "{args:?}: {said:#?}");
    }
    drop(held);
    // What could not even be taken back without the lock is taken back now.
    project.run(&["clean"]).ok();
    assert_eq!((rows(&project, &[]), git(&project.folder, &["branch"])), before);
    for args in commands {
        project.run(args).ok();
    }
}

fn runtime(project: &TestProject) -> PathBuf {
    let info: serde_json::Value = serde_json::from_str(&project.run(&["info", "--json"]).ok().stdout).unwrap();
    info["runtime"].as_str().unwrap().into()
}

#[test]
fn who_holds_a_lock_is_named() {
    // Those that are waited for take their time; all at once, it passes once.
    std::thread::scope(|s| {
        s.spawn(|| refused(|p| runtime(p).join("command.lock"), &[&["down"], &["up"], &["restart"]]));
        s.spawn(|| refused(|p| runtime(p).join("int-2.op"), &[&["kill", "int-2"]]));
        s.spawn(|| refused(|p| p.folder.join(".git/agents-worktrees.lock"), &[&["spawn"]]));
        s.spawn(|| refused(|p| p.data().join("tasks/lock"), &[&["task", "add", "x"]]));
        let mailbox = |p: &TestProject| {
            p.run(&["send", "writer", "hello"]).ok();
            p.data().join("mail/int-1/lock")
        };
        s.spawn(move || refused(mailbox, &[&["send", "writer", "x"]]));
    });
}
