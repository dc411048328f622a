//! What is sent to a terminal, and to anybody else: progress and tables.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;

use agents::os::pty::{self, Program, Pty, Size};

use crate::home::TestHome;

/// What `fleet` sends to a terminal of so many columns.
fn shown(home: &TestHome, cols: u16, variables: &[(&str, &str)], args: &[&str]) -> String {
    let pty = Pty::open(Size { rows: 50, cols }).unwrap();
    let lock = std::fs::File::open("/dev/null").unwrap();
    // Nothing of the caller's environment, as everywhere.
    let command = home.command(env!("CARGO_BIN_EXE_fleet"), &home.file("home"));
    let mut argv = vec!["env".to_owned(), "-i".to_owned(), "TERM=xterm".to_owned()];
    let own = command.get_envs().filter(|(name, _)| *name != "TERM");
    argv.extend(own.map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.unwrap().to_str().unwrap())));
    argv.extend(variables.iter().map(|(name, value)| format!("{name}={value}")));
    argv.push(env!("CARGO_BIN_EXE_fleet").into());
    argv.extend(args.iter().map(|a| (*a).to_owned()));
    let program =
        Program { argv: &argv, folder: &home.file("home"), env: &BTreeMap::new(), env_remove: &[], lock: lock.as_fd(), group: None };
    let child = pty::spawn(&pty, &program).unwrap();
    let (master, slave) = (pty.master, pty.slave);
    drop(slave);
    rustix::io::ioctl_fionbio(&master, false).unwrap();
    let mut bytes = vec![];
    // A terminal whose last program has ended answers with an error (EIO).
    let _ = std::fs::File::from(master).read_to_end(&mut bytes);
    let pid = rustix::process::Pid::from_raw(child.pid);
    let (_, status) = rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(status.exit_status(), Some(0), "{text}");
    text
}

#[test]
fn progress_is_for_terminals_and_leaves_nothing_behind() {
    let home = TestHome::new();
    home.sh_harness("sh", true);
    let text = shown(&home, 80, &[], &["create", "web", "--harness", "sh"]);
    assert!(text.contains("creating web"), "{text:?}");
    // The line was erased before anything else was said.
    let last = text.lines().last().unwrap();
    assert!(last.contains("created web at") && last.rsplit("\x1b[2K").next().unwrap().trim_start().starts_with("created web"), "{last:?}");
    let text = shown(&home, 80, &[], &["--quiet", "start", "web"]);
    assert_eq!(text, "");
    let text = shown(&home, 80, &[("NO_COLOR", "1")], &["stop", "web"]);
    assert!(text.contains("stopping web") && !text.contains("\x1b[3") && !text.contains("\x1b[1m"), "{text:?}");
    let ran = home.fleet(&["create", "api", "--harness", "sh"]);
    assert!(!ran.err.contains('\x1b') && !ran.err.contains("creating"), "{ran:?}");
}

#[test]
fn tables_are_as_wide_as_the_terminal_and_whole_elsewhere() {
    let home = TestHome::new();
    home.fleet(&["create", "a-project-of-a-long-name", "--backend", "shell"]).ok();
    home.fleet(&["create", "web", "--backend", "shell"]).ok();
    std::fs::remove_dir_all(home.project("web")).unwrap();
    for args in [&["status"][..], &["status", "--long"], &["list"], &["history"], &["engine", "list"]] {
        let whole = home.fleet(args).ok();
        for cols in [40, 60, 80, 200] {
            let text = shown(&home, cols, &[("NO_COLOR", "1")], args);
            let longest = text.lines().filter(|l| !l.contains("projects, ")).map(|l| l.trim_end().chars().count()).max().unwrap();
            assert!(longest <= usize::from(cols), "{args:?} at {cols}: {longest} in\n{text}");
            let words = |text: &str| text.split_whitespace().filter(|w| *w != "-").map(str::len).sum::<usize>();
            assert!(words(&text) >= words(&whole) / 2, "{args:?} at {cols}:\n{text}");
        }
        assert!(!whole.contains('\x1b'), "{whole:?}");
    }
}
