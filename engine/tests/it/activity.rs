//! What an agent does, by each source: told when it changes, kept when daemons die or are replaced, never made up.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::project::{Lines, TWO, TestProject, kill, of};

/// An agent that does what it is ordered to: each line of the pipe `orders` is run by its shell.
pub struct Puppet {
    pub project: TestProject,
    orders: File,
}

impl Puppet {
    /// With these further keys of its agent and of its backend.
    pub fn new(agent: &str, backend: &str) -> Puppet {
        let puppet = Puppet::stopped(agent, backend);
        puppet.project.run(&["up"]).ok();
        puppet
    }

    /// The same, not started yet.
    pub fn stopped(agent: &str, backend: &str) -> Puppet {
        let project = TestProject::new(&format!(
            "[project]\nname = \"web\"\nsession_prefix = \"int\"\n[agent.lead]\nbackend = \"puppet\"\n{agent}\n[backend.puppet]\n\
             start = [\"sh\", \"-c\", \"stty -echo; echo $$ >> starts; exec 3<&0; cat <&3 >> typed & while :; do while IFS= read -r line; do eval \\\"$line\\\"; done < orders; done\"]\n{backend}\n"
        ));
        let pipe = project.folder.join("orders");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        // Open for both, so that neither end waits for the other.
        let orders = File::options().read(true).write(true).open(&pipe).unwrap();
        Puppet { project, orders }
    }

    pub fn order(&mut self, line: &str) {
        writeln!(self.orders, "{line}").unwrap();
    }

    /// The screen shows only this.
    pub fn draw(&mut self, text: &str) {
        self.order(&format!("printf '\\033[2J\\033[H{text}'"));
    }

    /// Waits for a line with these words in one of its files; how many lines have them then.
    #[track_caller]
    pub fn until_line(&self, file: &Path, words: &str) -> usize {
        let mut tail = Command::new("tail");
        tail.args(["-n", "+1", "-F"]).arg(file).stderr(Stdio::null());
        Lines::of(tail).until(words);
        std::fs::read_to_string(file).unwrap().lines().filter(|l| l.contains(words)).count()
    }

    pub fn typed(&self) -> PathBuf {
        self.project.folder.join("typed")
    }

    pub fn events(&self) -> PathBuf {
        self.project.data().join("events.jsonl")
    }

    #[track_caller]
    pub fn until(&self, activity: &str) -> Value {
        let state = self.project.until(activity, |s| of(s, "lead")["activity"] == activity);
        of(&state, "lead").clone()
    }

    /// The agent's process, and the time since when it does what it does.
    fn since(&self) -> (i32, String) {
        let status = self.project.status();
        let lead = of(&status, "lead");
        (self.project.pid("lead"), lead["evidence"]["since"].as_str().unwrap_or_default().to_owned())
    }

    /// Whatever becomes of the daemons, the agent goes on with what it did.
    #[track_caller]
    fn outlives_its_daemons(&self, activity: &str) {
        let before = self.since();
        kill(self.project.host("int-1"));
        self.project.until("adopted", |s| of(s, "lead")["state"] == "up" && of(s, "lead")["activity"] == activity);
        let watchdog = self.project.status()["watchdog"]["pid"].as_i64().unwrap();
        kill(watchdog as i32);
        self.project.until("another watchdog", |s| {
            s["watchdog"]["pid"].as_i64().is_some_and(|pid| pid != watchdog) && of(s, "lead")["activity"] == activity
        });
        assert_eq!(self.since(), before, "the same agent does the same since the same moment");
    }
}

const SCREEN: &str = "ready = '^>$'\nwaiting = '(?<what>Run [a-z]+)\\?'\nworking = 'esc to stop'";

#[test]
fn the_screen_tells() {
    let mut puppet = Puppet::new("", SCREEN);
    assert_eq!(of(&puppet.project.status(), "lead")["activity"], "unknown");
    puppet.draw("hello\\n> ");
    let idle = puppet.until("idle");
    assert_eq!((idle["evidence"]["source"].as_str(), idle["reason"].as_str()), (Some("screen"), None));
    puppet.draw("(3s, esc to stop)\\n> ");
    puppet.until("working");
    puppet.draw("Run rm? [y/n]");
    assert_eq!(puppet.until("waiting")["evidence"]["what"], "Run rm");
    puppet.outlives_its_daemons("waiting");
    let table = puppet.project.run(&["status"]).ok().stdout;
    assert!(table.contains("waiting") && table.contains("Run rm"), "{table}");
    let why = puppet.project.run(&["why", "lead"]).ok().stdout;
    assert!(why.contains("waiting: Run rm for ") && why.contains("by its screen"), "{why}");
    let list: Value = serde_json::from_str(&puppet.project.run(&["list", "--json"]).ok().stdout).unwrap();
    assert_eq!(list[0]["activity"], "waiting");
    // What matches nothing tells nothing.
    puppet.draw("something else");
    puppet.until("unknown");
}

#[test]
fn the_program_s_own_record_tells_more_than_its_screen() {
    let record = "record = { file = [\"$NOT_SET/{pid}.json\", \"~/.puppet/{pid}.json\"], key = \"status\", what = \"for\", \
                  working = [\"busy\"], waiting = [\"asks\"], idle = [\"idle\"] }";
    let mut puppet = Puppet::new("", &format!("{SCREEN}\n{record}"));
    puppet.draw("> ");
    puppet.until("idle");
    puppet.order("mkdir -p ~/.puppet; f=~/.puppet/$$.json; echo '{\"status\":\"busy\"}' > $f");
    let working = puppet.until("working");
    assert_eq!(working["evidence"]["source"], "record");
    puppet.order("echo '{\"status\":\"asks\",\"for\":\"a permission\\u001b[31m\"}' > $f");
    assert_eq!(puppet.until("waiting")["evidence"]["what"], "a permission [31m", "nothing in it acts on a terminal");
    puppet.outlives_its_daemons("waiting");
    // Half a record says nothing new; a record that is gone leaves it to the screen.
    puppet.order("printf '{\"status' > $f; printf '\":\"busy\"}' >> $f");
    puppet.until("working");
    puppet.order("rm $f");
    assert_eq!(puppet.until("idle")["evidence"]["source"], "screen");
    // Another process's record is none of ours.
    puppet.order(
        "echo '{\"status\":\"busy\"}' > ~/.puppet/1.json; echo '{\"status\":\"busy\"}' > ~/.puppet/x.json; printf '\\033[2J\\033[HRun it?'",
    );
    puppet.until("waiting");
}

#[test]
fn a_hook_tells_until_the_screen_knows_better() {
    let mut puppet = Puppet::new("", "ready = '^>$'");
    puppet.order("\"$AGENTS_PROGRAM\" hook working --any 'thing' < /dev/null");
    assert_eq!(puppet.until("working")["evidence"]["source"], "hook");
    puppet.order("cd /; env -u XDG_RUNTIME_DIR \"$AGENTS_PROGRAM\" hook waiting \"the $(printf '\\033[31m')schema\"; cd -");
    assert_eq!(puppet.until("waiting")["evidence"]["what"], "the  [31mschema");
    puppet.outlives_its_daemons("waiting");
    // Who interrupts it calls no hook; the screen shows it.
    puppet.draw("> ");
    assert_eq!(puppet.until("idle")["evidence"]["source"], "screen");
    puppet.order("\"$AGENTS_PROGRAM\" hook dreaming 2> said; \"$AGENTS_PROGRAM\" hook waiting; echo done >> said");
    puppet.until("waiting");
    puppet.project.run(&["hook", "idle"]).fails(2, "this is no session");
    // An upgraded engine is still found.
    assert!(Path::new(&puppet.project.root().join("run/agents")).is_dir());
}

#[test]
fn one_that_is_stopped_hangs_and_goes_on() {
    let mut puppet = Puppet::new("", SCREEN);
    puppet.draw("> ");
    puppet.until("idle");
    let pid = Pid::from_raw(puppet.project.pid("lead")).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let hung = puppet.until("hung");
    assert_eq!((hung["state"].as_str(), hung["evidence"]["source"].as_str()), (Some("up"), Some("process")));
    kill_process(pid, Signal::CONT).unwrap();
    puppet.until("idle");
}

#[test]
fn nothing_is_claimed_where_nothing_tells() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    project.run(&["send", "--wait=30s", "lead", "hello"]).ok();
    let status = project.status();
    assert_eq!((&of(&status, "lead")["activity"], &of(&status, "lead")["evidence"]), (&Value::from("unknown"), &Value::Null));
    assert!(project.run(&["why", "lead"]).ok().stdout.contains("what it does is not known"));
}
