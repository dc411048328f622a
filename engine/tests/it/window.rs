//! What stays on a terminal and draws, in windows of every size.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::Duration;

use agents::os::clock::monotonic;
use agents::os::process::ProcessId;
use agents::os::pty::{self, Program, Pty, Size};
use agents::os::wait::readable;
use rustix::process::Signal;

use crate::project::{TWO, TestProject, kill, of};

/// What every page ends with.
const END: &str = "\x1b[?7h";

/// A command of the engine on a terminal of its own.
struct Window {
    pty: Pty,
    child: ProcessId,
    read: String,
}

impl Window {
    fn open(project: &TestProject, size: Size, args: &[&str]) -> Window {
        let pty = Pty::open(size).unwrap();
        let command = project.command(args);
        let mut argv = vec!["env".to_owned(), "-i".to_owned(), "TERM=xterm".to_owned(), "NO_COLOR=1".to_owned()];
        argv.extend(command.get_envs().map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.unwrap().to_str().unwrap())));
        argv.push(command.get_program().to_str().unwrap().into());
        argv.extend(args.iter().map(|a| (*a).to_owned()));
        let lock = std::fs::File::open("/dev/null").unwrap();
        let program =
            Program { argv: &argv, folder: &project.folder, env: &BTreeMap::new(), env_remove: &[], lock: lock.as_fd(), group: None };
        let child = pty::spawn(&pty, &program).unwrap();
        Window { pty, child, read: String::new() }
    }

    /// The next page.
    #[track_caller]
    fn page(&mut self) -> String {
        let deadline = Some(monotonic() + Duration::from_secs(60));
        loop {
            if let Some((page, rest)) = self.read.split_once(END) {
                let page = page.to_owned();
                self.read = rest.to_owned();
                return page;
            }
            assert!(readable(&[self.pty.master.as_fd()], deadline).unwrap()[0], "no page, but {:?}", self.read);
            let mut bytes = [0; 4096];
            let n = rustix::io::read(&self.pty.master, &mut bytes).unwrap();
            self.read += &String::from_utf8_lossy(&bytes[..n]);
        }
    }

    /// The next page that says this, or does not.
    #[track_caller]
    fn until(&mut self, words: &str, says: bool) -> String {
        loop {
            let page = self.page();
            if page.contains(words) == says {
                return page;
            }
        }
    }

    /// In a window of another size a page comes that fits it, though nothing has changed.
    #[track_caller]
    fn fits(&mut self, rows: u16, cols: u16) -> String {
        pty::set_size(&self.pty.master, Size { rows, cols }).unwrap();
        let page = self.page();
        let breaks = page.matches('\n').count();
        assert!(breaks < usize::from(rows), "{breaks} line breaks in {rows} rows: {page:?}");
        // Cut off by the terminal, so that no line takes two rows.
        assert!(page.starts_with("\x1b[?7l\x1b[H"), "{page:?}");
        page
    }

    /// It ends by this signal, and the terminal is as it was before.
    fn ends(self, signal: Signal) {
        let fresh = Pty::open(Size { rows: 24, cols: 80 }).unwrap();
        assert!(self.child.signal(signal));
        let pid = rustix::process::Pid::from_raw(self.child.pid);
        rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
        let modes = |pty: &Pty| format!("{:?}", rustix::termios::tcgetattr(&pty.slave).unwrap());
        assert_eq!(modes(&self.pty), modes(&fresh));
        let switched: Vec<&str> = self.read.split("\x1b[?").skip(1).filter(|s| !s.starts_with("7l") && !s.starts_with("7h")).collect();
        assert!(switched.is_empty(), "{switched:?}");
    }
}

/// Each is looked at in the smallest ones, too.
fn in_all_sizes(window: &mut Window, first: &str, last: &str) {
    for (rows, cols) in [(1, 1), (2, 5), (5, 20), (2, 200)] {
        window.fits(rows, cols);
    }
    let page = window.fits(40, 120);
    assert!(page.contains(first) && page.contains(last), "{page:?}");
}

#[test]
fn status_is_laid_out_anew_for_every_size() {
    let project = TestProject::new(TWO);
    // Nobody runs yet: then it is the files that are waited for.
    let mut window = Window::open(&project, Size { rows: 24, cols: 80 }, &["status", "--watch"]);
    window.until("never started", true);
    in_all_sizes(&mut window, "lead", "tester");
    project.run(&["up"]).ok();
    window.until("  up  ", true);
    let watchdog = project.status()["watchdog"]["pid"].as_i64().unwrap() as i32;
    kill(watchdog);
    project.until("another watchdog", |s| s["watchdog"]["pid"].as_i64().is_some_and(|pid| pid as i32 != watchdog));
    let lead = project.pid("lead");
    kill(lead);
    project.until("it is healed", |s| of(s, "lead")["pid"].as_i64().is_some_and(|pid| pid as i32 != lead));
    window.until(&lead.to_string(), false);
    // What was drawn meanwhile is not what is asked for now.
    window.ends(Signal::TERM);
    let mut window = Window::open(&project, Size { rows: 24, cols: 80 }, &["status", "--watch"]);
    window.page();
    in_all_sizes(&mut window, "lead", "tester");
    window.ends(Signal::INT);
}

#[test]
fn the_queue_is_laid_out_anew_for_every_size() {
    let project = TestProject::new(TWO);
    let mut window = Window::open(&project, Size { rows: 24, cols: 80 }, &["task", "list", "--watch"]);
    window.until("no task is queued", true);
    project.write_config(&format!("{TWO}task = [\"cat\"]\n"));
    for name in ["first", "second", "third"] {
        project.run(&["task", "add", "lead", name]).ok();
    }
    project.run(&["down"]).ok();
    window.until("stopped: agents up", true);
    window.ends(Signal::HUP);
    let mut window = Window::open(&project, Size { rows: 24, cols: 80 }, &["task", "list", "--watch"]);
    window.page();
    in_all_sizes(&mut window, "first", "third");
    window.ends(Signal::INT);
}
