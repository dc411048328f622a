//! The other commands, killed at every kind of system call; see `kill` for how.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::home::TestHome;
use crate::kill::{ENDS, Found, State, Sweep, expect, settled, strace_is_here};

const FLEET: &str = env!("CARGO_BIN_EXE_fleet");
/// A sample of one of these commands ends after this long.
const TIME: Duration = Duration::from_secs(5);

/// The command is killed everywhere; what is found must be the old state or the new one, and each must be found.
#[track_caller]
fn sweep(home: &TestHome, args: &[&str], look: &dyn Fn(&TestHome) -> Found) {
    let tally = Sweep::of(home, &[&[FLEET], args].concat(), look).within(TIME).run();
    assert!(tally.torn.is_empty(), "{}", tally.torn.join("\n\n"));
    assert!(tally.old > 0 && tally.new > 0, "{tally:?}");
}

/// One text of the registry or the other, byte by byte, and what belongs to it.
fn registry_is(home: &TestHome, old: &str, new: &str) -> Found {
    settled(home)?;
    let text = home.registry();
    match text {
        _ if text == old => Ok(State::Old),
        _ if text == new => Ok(State::New),
        _ => Err(format!("the registry is neither old nor new:\n{text}")),
    }
}

/// The registry's text after the command, in a home that is put back as it was.
fn after(home: &TestHome, args: &[&str]) -> (String, String) {
    let before = home.registry();
    home.fleet(args).ok();
    let after = home.registry();
    home.fleet(&["undo"]).ok();
    assert_eq!(home.registry(), before);
    (before, after)
}

#[test]
fn a_change_of_the_registry_killed_anywhere_is_old_or_new() {
    if !strace_is_here() {
        return;
    }
    let home = TestHome::new();
    home.sh_harness("sh", true);
    home.fleet(&["create", "shop", "--harness", "sh"]).ok();
    for args in [&["remove", "shop"][..], &["disable", "shop"]] {
        let (old, new) = after(&home, args);
        sweep(&home, args, &|home| registry_is(home, &old, &new));
        home.write("home/fleet.toml", &old);
    }
    home.fleet(&["disable", "shop"]).ok();
    let (old, new) = after(&home, &["enable", "shop"]);
    sweep(&home, &["enable", "shop"], &|home| registry_is(home, &old, &new));
}

#[test]
fn an_add_killed_anywhere_is_registered_or_not() {
    if !strace_is_here() {
        return;
    }
    let home = TestHome::new();
    home.sh_harness("sh", true);
    home.fleet(&["create", "shop", "--harness", "sh"]).ok();
    home.fleet(&["remove", "shop"]).ok();
    let shop = home.project("shop").display().to_string();
    let (old, new) = after(&home, &["add", &shop]);
    sweep(&home, &["add", &shop], &|home| {
        let found = registry_is(home, &old, &new)?;
        // Repeated, it is there and trusted, whatever came before.
        let again = home.fleet(&["add", &shop]);
        expect("status of a second add", &again.code.to_string(), if found == State::Old { "0" } else { "1" })?;
        Ok(found)
    });

    let url = format!("file://{shop}");
    sweep(&home, &["add", &url, "--name", "copy"], &|home| {
        let (copy, registered) = (home.project("copy"), home.registry().contains("name = \"copy\""));
        settled(home)?;
        if !copy.exists() {
            return if registered { Err("registered, but not there".into()) } else { Ok(State::Old) };
        }
        expect("files", &home.git(&copy, &["status", "--porcelain"]), "")?;
        expect("checkout", &home.git(&copy.join("engine"), &["rev-parse", "HEAD"]), &home.pin("copy"))?;
        if registered { Ok(State::New) } else { Err("there, but not registered".into()) }
    });
}

#[test]
fn an_undo_killed_anywhere_is_done_or_not() {
    if !strace_is_here() {
        return;
    }
    let home = TestHome::new();
    home.sh_harness("sh", true);
    home.fleet(&["create", "shop", "--harness", "sh"]).ok();
    let created = home.registry();
    sweep(&home, &["undo"], &|home| {
        let there = home.project("shop").exists();
        settled(home)?;
        match home.registry() == created {
            registered if registered != there => Err(format!("registered: {registered}, there: {there}")),
            true => Ok(State::Old),
            false => Ok(State::New),
        }
    });
}

#[test]
fn a_publication_killed_anywhere_is_repeated() {
    if !strace_is_here() {
        return;
    }
    let home = TestHome::new();
    // The mirror of what is carried is there: how it is made is tried by the first `create` and `init`.
    home.fleet(&["create", "first"]).ok();
    let goal = home.file("pub.git");
    home.git(&home.file(""), &["init", "-q", "--bare", "pub.git"]);
    let (url, old) = (goal.display().to_string(), home.registry());
    sweep(&home, &["engine", "publish", &url], &|home| {
        settled(home)?;
        let changed = home.registry() != old;
        if changed && !home.registry().contains(&url) {
            return Err(format!("half a harness:\n{}", home.registry()));
        }
        if changed && home.git(&goal, &["for-each-ref"]).lines().count() != 2 {
            return Err("registered, but not all of it was pushed".into());
        }
        let mut again = home.fleet(&["engine", "publish", &url]);
        // A receiving git that is killed leaves files in its own repository, which is not ours to clear.
        if again.code == 1 && again.err.contains("remote rejected") && again.err.contains("was left by a push") {
            let left = ["-name", "*.keep", "-o", "-name", "*.lock", "-o", "-name", "tmp_*"];
            let found = Command::new("find").arg(&goal).args(left).output().unwrap().stdout;
            let found = String::from_utf8(found).unwrap();
            assert!(!found.is_empty(), "{}", again.err);
            assert!(Command::new("rm").arg("-rf").args(found.lines()).status().unwrap().success());
            again = home.fleet(&["engine", "publish", &url]);
        }
        if again.code != 0 || again.err.contains("error:") {
            return Err(format!("repeated: {} {}", again.code, again.err));
        }
        Ok(if changed { State::New } else { State::Old })
    });
}

#[test]
fn an_init_killed_anywhere_is_repeated() {
    if !strace_is_here() {
        return;
    }
    let home = TestHome::new();
    // Git that outlives its starter holds this lock.
    let free = |home: &TestHome| {
        let lock = home.file("run/agents/init.lock");
        assert!(!lock.exists() || Command::new("flock").arg(lock).arg("true").status().unwrap().success());
    };
    for empty_folder in [false, true] {
        let folder = home.file("second");
        if empty_folder {
            std::fs::create_dir(&folder).unwrap();
        }
        let path = folder.display().to_string();
        sweep(&home, &["init", &path], &|home| {
            free(home);
            let was_home = folder.join("fleet.toml").exists();
            let again = home.fleet(&["init", &path]);
            let found = match (again.code, again.err.contains("is a fleet home already")) {
                (0, _) => State::Old,
                (1, true) if was_home => State::New,
                _ => return Err(format!("a second init said {}: {}", again.code, again.err)),
            };
            expect("files", &home.git(&folder, &["status", "--porcelain"]), "")?;
            expect(
                "checkout",
                &home.git(&folder.join("engine"), &["rev-parse", "HEAD"]),
                &home.git(&folder, &["rev-parse", "HEAD:engine"]),
            )?;
            let valid = home.fleet(&["--registry", &folder.join("fleet.toml").display().to_string(), "validate"]);
            expect("validate", &valid.code.to_string(), "0")?;
            match home.file(".second.partial").exists() || folder.join(".git/fleet-init").exists() {
                true => Err("what was half made is still there".into()),
                false => Ok(found),
            }
        });
        let _ = std::fs::remove_dir_all(folder);
    }
}

/// The agents that live: programs other than the engine's that stand in the project's folder.
fn living(project: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stands = |p: &Path| std::fs::read_link(p.join("cwd")).is_ok_and(|cwd| cwd == project);
    let is_agent =
        |p: &Path| std::fs::read_to_string(p.join("comm")).is_ok_and(|comm| !["agents", "fleet", "strace"].contains(&comm.trim()));
    processes.filter(|e| stands(&e.path()) && is_agent(&e.path())).count()
}

/// What starts or stops is killed at one call after the other, until it ends whole; a second command then makes it so.
#[test]
fn a_start_or_stop_killed_anywhere_is_made_good_by_the_next() {
    if !strace_is_here() {
        return;
    }
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let web = home.project("web");
    let calls = "?openat,write,?fsync,?fdatasync,?rename,?renameat,?renameat2,?unlink,?unlinkat,execve,sendto,?sendmsg,connect";
    let all = std::env::var_os("SWEEP").is_some();
    let engine = web.join("engine/agents").display().to_string();
    let (mut kills, begun) = (0, Instant::now());
    for (verb, argv, alive) in [
        ("start", vec![FLEET, "start", "web"], 1),
        ("stop", vec![FLEET, "stop", "web"], 0),
        ("up", vec![&engine, "up"], 1),
        ("down", vec![&engine, "down"], 0),
    ] {
        let until = begun.elapsed() + TIME;
        let mut n = 1;
        while all || begun.elapsed() < until {
            home.fleet(&[if alive == 1 { "stop" } else { "start" }, "web"]).ok();
            let folder = if verb == "up" || verb == "down" { &web } else { &home.file("home") };
            let mut command = home.command("strace", folder);
            command.args([
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                &format!("trace={calls}"),
                "-e",
                &format!("inject={calls}:signal={}:when={n}", ENDS[kills % ENDS.len()]),
            ]);
            let whole = command.args(&argv).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success();
            kills += usize::from(!whole);
            let again = home.fleet(&[if alive == 1 { "start" } else { "stop" }, "web"]);
            assert_eq!(again.code, 0, "{verb} killed at call {n}: {}", again.err);
            assert_eq!(living(&web), alive, "{verb} killed at call {n}: agents alive\n{}", home.agents("web", &["status"]).out);
            if whole {
                break;
            }
            n += if all { 1 } else { 9 };
        }
    }
    println!("start, stop, up, down: {kills} kills");
    home.fleet(&["stop", "web"]).ok();
}
