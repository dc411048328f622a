//! Files of record that a disk or a stranger has damaged, and process ids that belong to somebody else by now.
//!
//! `SWEEP=all` damages them at many more places.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::project::{TWO, TestProject, is_alive, said};

/// Cut off and flipped, at places all over it.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    let places = if std::env::var_os("SWEEP").is_some() { 40 } else { 3 };
    let at = |i: usize| (i * whole.len() / places).min(whole.len() - 1);
    let cut = (0..places).map(|i| whole[..at(i)].to_vec());
    let flipped = (0..places).map(|i| {
        let mut bytes = whole.to_vec();
        bytes[at(i)] ^= 0x55;
        bytes
    });
    cut.chain(flipped).chain([vec![0; whole.len()], [whole, &[0xff, 0xfe]].concat()]).collect()
}

fn sh(text: &str) {
    assert!(Command::new("sh").args(["-c", text]).status().unwrap().success(), "{text}");
}

/// The files below, but logs: what an agent printed may be anything.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true if entry.file_name() != "logs" => found.extend(files(&entry.path())),
            false if entry.metadata().unwrap().len() > 0 => found.push(entry.path()),
            _ => {}
        }
    }
    found.sort();
    found
}

/// How many agents of this project live: whoever is not one of its daemons.
fn living(project: &TestProject) -> usize {
    let is_daemon = |pid: &i32| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"agents\0"));
    project.processes().into_iter().filter(|pid| is_alive(*pid) && !is_daemon(pid)).count()
}

#[test]
fn a_file_of_record_damaged_anywhere_is_named_or_without_harm() {
    let project = TestProject::new(TWO);
    project.run(&["up"]).ok();
    project.run(&["down"]).ok();
    project.run(&["send", "lead", "kept"]).ok();
    let (data, kept) = (project.data(), project.root().join("kept"));
    sh(&format!("cp -a {} {}", data.display(), kept.display()));
    let (mut tried, mut named) = (0, 0);
    for file in files(&data) {
        let whole = std::fs::read(&file).unwrap();
        for bytes in damaged(&whole) {
            std::fs::write(&file, &bytes).unwrap();
            let up = project.run(&["up"]);
            let name = file.strip_prefix(&data).unwrap().display().to_string();
            let what = format!("{name} as {:?}: {up:#?}", String::from_utf8_lossy(&bytes));
            assert!(living(&project) <= 2, "doubled with {what}");
            if up.code == 0 {
                assert_eq!(living(&project), 2, "{what}");
            } else {
                assert!(up.stderr.contains(&name), "it is not named: {what}");
                assert_eq!(std::fs::read(&file).unwrap(), bytes, "what cannot be read was written over: {what}");
                named += 1;
            }
            tried += 1;
            project.run(&["down"]);
            project.kill_all();
            assert_eq!(living(&project), 0, "{what}");
            sh(&format!("rm -rf {0} && cp -a {1} {0}", data.display(), kept.display()));
        }
    }
    println!("{tried} tried, {named} named");
    assert!(tried > 30 && named > 5, "{tried} tried, {named} named");
}

/// In a process namespace of its own, where the kernel can be told which number comes next: the dead agent's goes to somebody else.
const REUSED: &str = r#"
mount -t proc proc /proc || { echo skipped; exit 0; }
set -e
pid() { "$A" status --json | tr -d ' \n' | sed -n 's/.*"name":"lead"[^}]*"pid":\([0-9]*\).*/\1/p'; }
"$A" up lead
agent=$(pid)
# Everybody at once, so that nobody sees how the agent ended.
for p in $(pgrep -f -- "--data $AGENTS_HOME") $agent; do echo $p; done | xargs kill -9
while kill -0 "$agent" 2>/dev/null; do sleep 0.02; done
for try in 1 2 3 4 5 6 7 8 9 10; do
    echo $((agent - 1)) > /proc/sys/kernel/ns_last_pid
    sleep 1000 & stranger=$!
    [ "$stranger" = "$agent" ] && break
    kill $stranger
done
[ "$stranger" = "$agent" ] || { echo skipped; exit 0; }
"$A" up lead
[ "$(pid)" != "$stranger" ]
kill -0 "$stranger" || { echo "the stranger was ended"; exit 1; }
"$A" down
kill -0 "$stranger" || { echo "the stranger was ended"; exit 1; }
kill "$stranger"
echo whole
"#;

#[test]
fn whoever_has_a_dead_agents_number_is_left_alone() {
    let project = TestProject::new(TWO);
    let engine = project.command(&[]);
    let mut script = Command::new("unshare");
    script.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", REUSED]).current_dir(&project.folder).env_clear();
    script.envs(engine.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("AGENTS_HOME", project.root().join("data")).env("A", engine.get_program());
    let said = said(script);
    if said.stdout.contains("skipped") || (said.code != 0 && said.stderr.contains("unshare")) {
        return println!("skipped: no process namespace can be made here: {}", said.stderr);
    }
    assert!(said.code == 0 && said.stdout.ends_with("whole\n"), "{said:#?}");
}
