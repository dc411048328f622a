//! `fleet engine build` of a version that is not carried, with a cargo that is a few lines of sh.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::home::{Ran, TestHome};
use crate::kill::{State, Sweep, expect, strace_is_here};

/// A home whose carried engine has a second version, and its tree's id.
fn ready(cargo: &str) -> (TestHome, String) {
    let home = TestHome::new();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    let (mirror, clone) = (home.file(".cache/fleet/harness/agents-carried"), home.file("next"));
    home.git(&home.file(""), &["clone", "-q", mirror.to_str().unwrap(), clone.to_str().unwrap()]);
    home.git(&clone, &["checkout", "-q", &format!("v{}", env!("CARGO_PKG_VERSION"))]);
    home.release(&clone, "v9.0.0", &[("NEXT", "another tree\n")]);
    home.git(&clone, &["push", "-q", "origin", "v9.0.0"]);
    home.write("tools/cargo", &format!("#!/bin/sh\nset -eu\necho run >>{}\n{cargo}\n", home.file("runs").display()));
    std::fs::set_permissions(home.file("tools/cargo"), PermissionsExt::from_mode(0o755)).unwrap();
    let tree = home.git(&clone, &["rev-parse", "v9.0.0^{tree}"]);
    (home, tree)
}

fn build(home: &TestHome) -> Command {
    let path = std::env::var("PATH").unwrap();
    let mut command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
    command.args(["engine", "build", "v9.0.0"]).env("PATH", format!("{}:{path}", home.file("tools").display()));
    command
}

/// What the cache holds of builds under way, the work trees among it.
fn half_made(home: &TestHome) -> Vec<PathBuf> {
    let folders = [".cache/agents/engines", ".cache/fleet/build"].map(|f| std::fs::read_dir(home.file(f)).into_iter().flatten());
    let paths = folders.into_iter().flatten().map(|e| e.unwrap().path());
    paths.filter(|p| p.is_dir() && (p.starts_with(home.file(".cache/fleet/build")) || p.to_string_lossy().contains(".build-"))).collect()
}

const PROGRAM: &str =
    "mkdir -p target/release\nprintf '#!/bin/sh\\necho agents 9.0.0\\n' >target/release/agents\nchmod +x target/release/agents";

#[test]
fn another_version_is_built_once_while_a_second_builder_waits() {
    let cargo = "echo >\"$HOME/reached\"\ncat \"$HOME/go\" >/dev/null\n".to_owned() + PROGRAM;
    let (home, tree) = ready(&cargo);
    for fifo in ["reached", "go"] {
        assert!(Command::new("mkfifo").arg(home.file(fifo)).status().unwrap().success());
    }
    let first = build(&home).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::fs::read(home.file("reached")).unwrap();
    let program = home.file(&format!(".cache/agents/engines/{tree}/agents"));
    assert!(!program.exists(), "there before it was built");
    let mut second = build(&home).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(second.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let holder = format!("`{} engine build v9.0.0` (process {})", env!("CARGO_BIN_EXE_fleet"), first.id());
    assert_eq!(line, format!("waiting: another `fleet engine build` is at work: {holder}\n"));
    std::fs::write(home.file("go"), "go").unwrap();
    let said = Ran::of(first.wait_with_output().unwrap()).ok();
    assert!(said.contains("built agents 9.0.0"), "{said}");
    assert!(second.wait().unwrap().success());
    assert_eq!(home.read("runs"), "run\n", "built more than once");
    assert!(program.exists());
    assert_eq!(half_made(&home), Vec::<PathBuf>::new());
}

#[test]
fn a_build_that_fails_leaves_nothing_half_and_says_why() {
    let (home, tree) = ready("mkdir -p target/release\necho half >target/release/agents\necho 'error: no luck in line 7' >&2\nexit 101");
    let said = Ran::of(build(&home).output().unwrap()).fails(1);
    assert!(said.contains("v9.0.0 could not be built") && said.contains("no luck in line 7"), "{said}");
    let log = said.lines().find_map(|l| l.strip_prefix("hint: all of it: ~/")).expect("the log is named");
    assert!(home.read(log).contains("no luck in line 7"));
    assert!(!home.file(&format!(".cache/agents/engines/{tree}")).exists());
    assert_eq!(half_made(&home), Vec::<PathBuf>::new());
    // Mended, the same command builds it.
    home.write("tools/cargo", &format!("#!/bin/sh\nset -eu\n{PROGRAM}\n"));
    Ran::of(build(&home).output().unwrap()).ok();
}

#[test]
fn a_builder_killed_in_the_middle_is_followed_by_another() {
    let (home, tree) = ready("echo >\"$HOME/reached\"\nexec sleep 600");
    assert!(Command::new("mkfifo").arg(home.file("reached")).status().unwrap().success());
    use std::os::unix::process::CommandExt;
    let mut child = build(&home).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
    std::fs::read(home.file("reached")).unwrap();
    assert!(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status().unwrap().success());
    assert!(!child.wait().unwrap().success());
    home.write("tools/cargo", &format!("#!/bin/sh\nset -eu\n{PROGRAM}\n"));
    Ran::of(build(&home).output().unwrap()).ok();
    assert!(home.file(&format!(".cache/agents/engines/{tree}/agents")).exists());
    assert_eq!(half_made(&home), Vec::<PathBuf>::new());
}

#[test]
fn a_build_killed_anywhere_is_repeated() {
    if !strace_is_here() {
        return;
    }
    let (home, tree) = ready(PROGRAM);
    let path = format!("PATH={}:{}", home.file("tools").display(), std::env::var("PATH").unwrap());
    let program = home.file(&format!(".cache/agents/engines/{tree}/agents"));
    let version = || Ran::of(Command::new(&program).arg("--version").output().unwrap());
    let look = |home: &TestHome| {
        // A builder that outlives its starter goes on.
        let lock = home.file(&format!(".cache/agents/engines/.lock-{tree}"));
        assert!(!lock.exists() || Command::new("flock").arg(lock).arg("true").status().unwrap().success());
        let found = if program.exists() { State::New } else { State::Old };
        if found == State::New {
            expect("the program", &version().out, "agents 9.0.0\n")?;
        }
        let again = Ran::of(build(home).output().unwrap());
        if again.code != 0 {
            return Err(format!("repeated it ended with {}: {}", again.code, again.err));
        }
        expect("the program", &version().out, "agents 9.0.0\n")?;
        let left = [".cache/agents/engines", ".cache/fleet/build"].map(|f| std::fs::read_dir(home.file(f)).unwrap().flatten());
        let names: Vec<String> = left.into_iter().flatten().map(|e| e.file_name().into_string().unwrap()).collect();
        let half: Vec<&String> = names.iter().filter(|n| n.contains("build-") || n.len() == 40 && **n != tree).collect();
        expect("half builds", &format!("{half:?}"), "[]")?;
        let mirror = home.file(".cache/fleet/harness/agents-carried");
        expect("work trees", &home.git(&mirror, &["worktree", "list"]).lines().count().to_string(), "1")?;
        Ok(found)
    };
    let fleet = env!("CARGO_BIN_EXE_fleet");
    let tally = Sweep::of(&home, &["env", &path, fleet, "engine", "build", "v9.0.0"], &look).within(Duration::from_secs(20)).run();
    assert!(tally.torn.is_empty(), "{}", tally.torn.join("\n\n"));
    assert!(tally.old > 0 && tally.new > 0, "{tally:?}");
}
