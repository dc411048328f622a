//! Power lost the moment a command has said that it is done: the home lies on a filesystem of its own, and what the kernel had not written is thrown away.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::home::TestHome;

/// Ends the filesystem under this folder without writing anything more, its journal included (`FS_IOC_SHUTDOWN`, `fs/ext4/ioctl.c`).
fn shut_down(folder: &Path) {
    const SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
    const WITHOUT_THE_LOG: u32 = 2;
    // SAFETY: the call reads one number of 32 bits and writes nothing.
    unsafe { rustix::ioctl::ioctl(File::open(folder).unwrap(), rustix::ioctl::Setter::<SHUTDOWN, u32>::new(WITHOUT_THE_LOG)) }.unwrap();
}

/// A home on a disk that can lose its power.
struct Disk {
    home: TestHome,
    image: PathBuf,
}

impl Disk {
    /// None where nothing can be mounted, which is said.
    fn of(home: TestHome) -> Option<Disk> {
        let image = home.file("").with_extension("disk");
        let sh = |text: String| Command::new("sh").args(["-c", &text]).stderr(Stdio::null()).status().unwrap().success();
        let (folder, aside) = (home.file("").display().to_string(), image.with_extension("aside").display().to_string());
        let mounted = sh(format!(
            "truncate -s 256M {0} && mkfs.ext4 -q -F {0} && mkdir {aside} && mv {folder}/* {folder}/.gitconfig {aside} && \
             mount -o loop,commit=600,noauto_da_alloc {0} {folder}",
            image.display()
        ));
        sh(format!("mv {aside}/* {aside}/.gitconfig {folder}; rmdir {aside}"));
        let disk = Disk { home, image };
        if !mounted {
            println!("skipped: no filesystem can be mounted here");
            return None;
        }
        assert!(sh(format!("sync -f {folder}")));
        Some(disk)
    }

    /// What was not on the disk is gone, and so is every process and what a boot takes with it.
    fn lose_power(&self) {
        let folder = self.home.file("");
        shut_down(&folder);
        self.end_all();
        let text = format!(
            "for try in $(seq 100); do umount {0} && break; sleep 0.1; done; mount -o loop,commit=600,noauto_da_alloc {1} {0} && rm -rf {0}/run/*",
            folder.display(),
            self.image.display()
        );
        assert!(Command::new("sh").args(["-c", &text]).status().unwrap().success());
    }

    /// Kills whoever has this home in its environment, until nobody is left.
    fn end_all(&self) {
        let home = self.home.file("").display().to_string();
        let home = home.trim_end_matches('/').as_bytes();
        let mut nobody = 0;
        while nobody < 5 {
            let pids = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
            let ours: Vec<i32> = pids
                .filter(|pid| {
                    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                    environ.windows(home.len()).any(|w| w == home)
                })
                .collect();
            nobody = if ours.is_empty() { nobody + 1 } else { 0 };
            for pid in &ours {
                let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(*pid).unwrap(), rustix::process::Signal::KILL);
            }
            // One that is killed loses its environment first and its files last.
            let lives = |pid: &i32| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
                stat.rfind(')').is_some_and(|at| !stat[at..].starts_with(") Z") && !stat[at..].starts_with(") X"))
            };
            while ours.iter().any(lives) {
                std::thread::yield_now();
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.end_all();
        let _ = Command::new("umount").arg(self.home.file("")).stderr(Stdio::null()).status();
        let _ = std::fs::remove_file(&self.image);
    }
}

/// The project is whole: its files are those of its commit, and every object is there.
#[track_caller]
fn is_whole(home: &TestHome, name: &str) {
    let project = home.project(name);
    // Without optional locks it writes nothing of its own: git does not sync an index.
    for repository in [&project, &project.join("engine")] {
        assert_eq!(home.git(repository, &["--no-optional-locks", "status", "--porcelain"]), "");
    }
    assert_eq!(home.git(&project.join("engine"), &["rev-parse", "HEAD"]), home.pin(name));
    for repository in [&project, &project.join("engine")] {
        home.git(repository, &["fsck", "--strict", "--connectivity-only"]);
    }
    assert!(!home.fleet(&["history"]).out.contains("interrupted:"));
    home.fleet(&["validate"]).ok();
}

#[test]
fn what_was_done_outlives_a_power_loss() {
    let home = TestHome::new();
    home.sh_harness("sh", true);
    let Some(disk) = Disk::of(home) else { return };
    let home = &disk.home;

    home.fleet(&["create", "shop", "--harness", "sh"]).ok();
    disk.lose_power();
    is_whole(home, "shop");
    assert!(home.registry().contains("name = \"shop\""));

    home.fleet(&["update", "shop", "v1.1.0"]).ok();
    disk.lose_power();
    is_whole(home, "shop");
    assert_eq!(home.pin("shop"), home.git(&home.file("harness/sh"), &["rev-parse", "v1.1.0"]));

    home.fleet(&["disable", "shop"]).ok();
    disk.lose_power();
    assert!(home.registry().contains("enabled = false"));
    home.fleet(&["undo"]).ok();
    disk.lose_power();
    assert!(!home.registry().contains("enabled = false"));
    is_whole(home, "shop");
}

#[test]
fn wanted_sessions_and_messages_outlive_a_power_loss() {
    let Some(disk) = Disk::of(TestHome::new()) else { return };
    let home = &disk.home;
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    home.agents("web", &["send", "web-1", "echo first"]);
    home.fleet(&["start", "web"]).ok();
    disk.lose_power();
    assert_eq!(home.agents("web", &["up", "--wanted"]).code, 0);
    assert!(home.agents("web", &["status"]).ok().contains(" up "));
    home.fleet(&["stop", "web"]).ok();
    assert!(home.agents("web", &["send", "web-1", "echo for-later"]).ok().starts_with("queued "));
    disk.lose_power();
    home.agents("web", &["up", "--wanted"]).ok();
    assert!(!home.agents("web", &["status"]).ok().contains(" up "), "what was stopped came back");
    assert!(home.agents("web", &["mail", "web-1"]).ok().contains("for-later"));
}

/// Each task is in one place, and how it stands is told.
#[track_caller]
fn stands(home: &TestHome, id: &str, state: &str) {
    let places = ["pending", "running", "held", "finished/done", "finished/failed", "archive/*/done", "archive/*/failed"];
    let paths: Vec<String> = places.iter().map(|place| format!("\"$0\"/tasks/{place}/{id} \"$0\"/tasks/{place}/{id}.json")).collect();
    let script = format!("ls -d {} 2>/dev/null", paths.join(" "));
    let out = Command::new("sh").args(["-c", &script]).arg(data(home)).output().unwrap().stdout;
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.lines().count(), 1, "{id} lies in {out:?}");
    let shown = home.agents("web", &["task", "show", id]).ok();
    assert!(shown.starts_with(&format!("{id}  {state}")), "{shown}");
}

fn data(home: &TestHome) -> PathBuf {
    let info: serde_json::Value = serde_json::from_str(&home.agents("web", &["info", "--json"]).ok()).unwrap();
    info["data"].as_str().unwrap().into()
}

#[test]
fn tasks_outlive_a_power_loss() {
    let Some(disk) = Disk::of(TestHome::new()) else { return };
    let home = &disk.home;
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    home.agents("web", &["up"]).ok();
    home.agents("web", &["down"]).ok();
    // The queue is stopped: what is added waits.
    let script = home.project("web").join("ran");
    let prompt = |n: u32| format!("echo {n} >> '{}'; test {n} != 2", script.display());
    let add = |n: u32| home.agents("web", &["task", "add", &prompt(n)]).out;
    assert_eq!(add(1), "t1\n");
    disk.lose_power();
    stands(home, "t1", "pending");
    // Its number is not given away again.
    assert_eq!(add(2), "t2\n");
    let file = home.file("many.jsonl");
    std::fs::write(&file, (3..=20).map(|_| "{\"prompt\": \"true\"}\n").collect::<String>()).unwrap();
    home.agents("web", &["task", "add", "--from", file.to_str().unwrap()]).ok();
    disk.lose_power();
    (1..=20).for_each(|n| stands(home, &format!("t{n}"), "pending"));

    // What was told to have ended has ended, and is not run again.
    home.agents("web", &["up"]).ok();
    assert_eq!(home.agents("web", &["task", "wait", "t1", "t2", "t3"]).code, 1);
    let ran = std::fs::read_to_string(&script).unwrap();
    disk.lose_power();
    stands(home, "t1", "done");
    stands(home, "t2", "failed");
    home.agents("web", &["up", "--wanted"]).ok();
    home.agents("web", &["task", "wait"]);
    (3..=20).for_each(|n| {
        let state = home.agents("web", &["task", "show", &format!("t{n}"), "--json"]).ok();
        assert!(["done", "held"].iter().any(|s| state.contains(&format!("\"state\":\"{s}\""))), "t{n}: {state}");
    });
    assert_eq!(ran.matches(['1', '2']).count(), 2, "{ran:?}");
    // Without a sync the file with what ran may be gone with the power; what is there was written once.
    let after = std::fs::read_to_string(&script).unwrap_or_default();
    assert!(after.matches('1').count() <= 1 && after.matches('2').count() <= 1, "{after:?}");

    // A cancelled one stays so; and one that is put away is in the archive or where it was.
    assert_eq!(home.agents("web", &["down"]).code, 0);
    let id = add(21);
    home.agents("web", &["task", "cancel", id.trim()]).ok();
    home.agents("web", &["task", "clean", "t1", "t2"]).ok();
    disk.lose_power();
    stands(home, "t1", "done");
    stands(home, "t2", "failed");
    assert!(home.agents("web", &["task", "show", id.trim()]).ok().contains("cancelled"));
    assert!(home.agents("web", &["task", "show", "t1"]).ok().contains("in the archive"));
    std::fs::remove_dir_all(data(home).join("tasks/archive")).unwrap();
    assert_eq!(add(22), "t22\n", "no number comes twice");
}

/// Writes beside and renames, and syncs nothing: it must be caught, or the disk loses nothing.
#[test]
fn a_writer_that_only_renames_is_caught() {
    let Some(disk) = Disk::of(TestHome::new()) else { return };
    let (home, before) = (&disk.home, disk.home.registry());
    let script = "sed 's/version = 1/version = 1 # changed/' fleet.toml > fleet.toml.tmp && mv fleet.toml.tmp fleet.toml";
    assert!(home.command("sh", &home.file("home")).args(["-c", script]).status().unwrap().success());
    assert_ne!(home.registry(), before);
    disk.lose_power();
    assert!(!home.registry().contains("# changed"), "a change that nobody synced was kept");
}
