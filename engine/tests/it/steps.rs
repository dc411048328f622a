//! A new host or watchdog is killed at each kind of system call that it makes while it takes over: the next one does it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::Value;

use crate::chaos::{Census, SLEEP, all_up, crowd, labels_are_right};
use crate::project::{TestProject, kill};

/// System calls of a beginning daemon, and up to which occurrence of each it is killed; what a machine does not know is passed over.
const CALLS: &[(&str, usize)] = &[
    ("execve", 1),
    ("mmap", 2),
    ("openat", 4),
    ("read", 2),
    ("write", 3),
    ("close", 3),
    ("fcntl", 2),
    ("ioctl", 2),
    ("flock", 3),
    ("prctl", 2),
    ("rt_sigprocmask", 2),
    ("signalfd4", 1),
    ("socket", 1),
    ("socketpair", 1),
    ("connect", 1),
    ("bind", 1),
    ("listen", 1),
    ("?rename", 2),
    ("sendmsg", 2),
    ("recvmsg", 2),
    ("?poll,?ppoll", 2),
    ("getdents64", 2),
    ("pidfd_open", 1),
    ("?vfork,?fork,clone,?clone3", 2),
];

/// Follows a process and all it starts, kills the first that comes to the `nth` such call, and lets go.
pub struct Strace {
    child: Arc<std::sync::Mutex<Child>>,
    pub hit: Arc<AtomicBool>,
}

impl Strace {
    /// None: it may not, or is not installed.
    pub fn follow(pid: i32, call: &str, nth: usize) -> Option<Strace> {
        let mut command = Command::new("strace");
        command.args([
            "-f",
            "-p",
            &pid.to_string(),
            "-e",
            &format!("trace={call}"),
            "-e",
            &format!("inject={call}:signal=KILL:when={nth}"),
        ]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
        let said = BufReader::new(child.stderr.take().unwrap());
        let strace = Strace { child: Arc::new(child.into()), hit: Arc::default() };
        let (child, hit) = (strace.child.clone(), strace.hit.clone());
        let (sender, attached) = mpsc::channel();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if line.contains("attached") {
                    let _ = sender.send(());
                } else if line.contains("killed by SIGKILL") {
                    hit.store(true, Ordering::Relaxed);
                    let _ = child.lock().unwrap().kill();
                }
            }
        });
        attached.recv().ok().map(|()| strace)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn watchdog(status: &Value) -> i32 {
    status["watchdog"]["pid"].as_i64().unwrap() as i32
}

/// At every step: follow one daemon, kill another, which the first replaces; meanwhile count.
fn sweep(n: usize, pick: impl Fn(&TestProject, &Value) -> (i32, i32)) {
    let project = TestProject::new(&crowd(n, SLEEP));
    project.run(&["up"]).ok();
    let census = Census::of(&project);
    let stop = AtomicBool::new(false);
    let (mut tried, mut hits) = (0, 0);
    let (doubled, skipped) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut doubled = vec![];
            while !stop.load(Ordering::Relaxed) {
                doubled.extend(census.doubled());
            }
            doubled
        });
        let mut skipped = false;
        'all: for (call, most) in CALLS {
            for nth in 1..=*most {
                let status = all_up(&project, n);
                let (follow, victim) = pick(&project, &status);
                let Some(strace) = Strace::follow(follow, call, nth) else {
                    skipped = true;
                    break 'all;
                };
                kill(victim);
                all_up(&project, n);
                labels_are_right(&census, &project);
                tried += 1;
                hits += usize::from(strace.hit.load(Ordering::Relaxed));
            }
        }
        stop.store(true, Ordering::Relaxed);
        (sampler.join().unwrap(), skipped)
    });
    if skipped {
        return println!("skipped: strace is not installed or may not follow processes");
    }
    assert_eq!(doubled, Vec::<String>::new());
    assert!(hits * 2 > tried, "most steps are taken: {hits} of {tried}");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
    println!("killed at {hits} of {tried} steps: none doubled, none lost");
}

#[test]
fn a_host_is_killed_at_every_step_of_taking_over() {
    sweep(2, |project, status| (watchdog(status), project.host("int-1")));
}

#[test]
fn a_watchdog_is_killed_at_every_step_of_its_start() {
    sweep(1, |project, status| (project.host("int-1"), watchdog(status)));
}
