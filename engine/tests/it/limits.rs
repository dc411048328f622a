//! A full disk, no descriptors, a program that is gone: said, survived, and over when its cause is.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::chaos::{SLEEP, crowd};
use crate::project::{Said, TWO, TestProject, kill, of, said};

/// Runs with a disk of one megabyte for the engine's data, in a mount namespace of its own; `FILL` leaves not a byte on it.
const FULL: &str = r#"
mount -t tmpfs -o size=1m tmpfs "$AGENTS_HOME" || { echo skipped; exit 0; }
set -e
field() { sed -n "/\"name\":\"lead\"/s/.*\"name\":\"lead\"[^}]*\"$1\":\([^,}]*\).*/\1/p"; }
now() { "$A" status --json | tr -d ' \n'; }
# What was just killed may not be back yet.
again() { for try in 1 2 3 4 5 6 7 8 9 10; do if "$@"; then return 0; fi; sleep 0.2; done; return 1; }
"$A" up
lead=$(now | field pid)
dd if=/dev/zero of="$AGENTS_HOME/fill" bs=4k 2>/dev/null || true
if "$A" send lead "never kept" 2>told; then echo "a message was kept where there is no room"; exit 1; fi
grep -q "$AGENTS_HOME" told || { echo "send does not say where: $(cat told)"; exit 1; }
"$A" send --no-enter lead "$(head -c 3000 /dev/zero | tr '\0' x)
"
"$A" send --no-enter lead "$(head -c 3000 /dev/zero | tr '\0' y)
"
[ "$(now | field pid)" = "$lead" ] || { echo "the agent is another"; exit 1; }
now | grep -q 'logincomplete' || { echo "status does not say it: $(now)"; exit 1; }
kill -9 "$lead"
again "$A" send --no-enter lead back
new=$(now | field pid)
[ "$new" != "$lead" ]
for host in $(pgrep -f -- "host --data $AGENTS_HOME"); do kill -9 "$host"; done
again "$A" send --no-enter lead again
[ "$(now | field pid)" = "$new" ] || { echo "not adopted"; exit 1; }
watchdog=$(pgrep -f -- "watchdog --data $AGENTS_HOME")
kill -9 "$watchdog"
again "$A" up
[ "$(now | field pid)" = "$new" ] || { echo "not the same after the watchdog's end"; exit 1; }
if "$A" down 2>told; then echo "down wrote nothing and said so to nobody"; exit 1; fi
grep -q "$AGENTS_HOME" told || { echo "it does not say where: $(cat told)"; exit 1; }
[ "$(now | field pid)" = "$new" ] || { echo "a refused down has done something"; exit 1; }
rm "$AGENTS_HOME/fill"
"$A" down
echo whole
"#;

/// Runs a script in a mount namespace of its own, where it puts a disk under the engine's data.
fn on_a_small_disk(project: &TestProject, script: &str) -> Said {
    let home = project.root().join("data");
    std::fs::create_dir(&home).unwrap();
    let engine = project.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--user", "--map-root-user", "sh", "-c", script]).current_dir(&project.folder).env_clear();
    command.envs(engine.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("AGENTS_HOME", &home).env("A", engine.get_program());
    said(command)
}

#[test]
fn a_full_disk_ends_nobody_and_is_told() {
    let project = TestProject::new(TWO);
    let said = on_a_small_disk(&project, FULL);
    if said.stdout.contains("skipped") || (said.code != 0 && said.stderr.contains("unshare")) {
        return println!("skipped: no mount namespace can be made here: {}", said.stderr);
    }
    assert!(said.code == 0 && said.stdout.ends_with("whole\n"), "{said:#?}");
    assert_eq!(project.processes(), Vec::<i32>::new());
}

/// The same for the queue: a task that ends while there is no room, one that waits, one that is refused.
const FULL_QUEUE: &str = r#"
mount -t tmpfs -o size=2m tmpfs "$AGENTS_HOME" || { echo skipped; exit 0; }
set -e
pid() { "$A" status --json | tr -d ' \n' | sed -n 's/.*"watchdog":{"pid":\([0-9]*\).*/\1/p'; }
"$A" up
"$A" task add 'echo t1 >> ran; until test -e go; do sleep 0.1; done; echo t1 >> over'
"$A" task add 'echo t2 >> ran'
"$A" task add 'echo t3 >> ran'
until test -s ran; do sleep 0.1; done
watchdog=$(pid)
dd if=/dev/zero of="$AGENTS_HOME/fill" bs=4k 2>/dev/null || true
if "$A" task add 'echo never >> ran' >added 2>told; then echo "a task was kept where there is no room"; exit 1; fi
[ ! -s added ] || { echo "a number was told: $(cat added)"; exit 1; }
grep -q "$AGENTS_HOME.*/tasks/" told || { echo "add does not say where: $(cat told)"; exit 1; }
# It ends, and nobody can write that down.
touch go
until test -s over; do sleep 0.1; done
"$A" task list
[ "$(pid)" = "$watchdog" ] || { echo "the watchdog is another"; exit 1; }
# What is ordered meanwhile is refused for now, and done as soon as it can be.
if "$A" task cancel t2 2>told; then echo "a cancel was kept where there is no room"; exit 1; fi
grep -q "t2.*$AGENTS_HOME.*tried again" told || { echo "cancel does not say where: $(cat told)"; exit 1; }
rm "$AGENTS_HOME/fill"
"$A" task wait t1 t3 --timeout 40s
"$A" task wait t2 --timeout 40s 2>told || grep -q "t2 was cancelled" told
[ "$(pid)" = "$watchdog" ] || { echo "the watchdog is another"; exit 1; }
"$A" task add 'echo last >> ran'
"$A" task wait --timeout 40s
[ "$(sort ran | tr '\n' ' ')" = "last t1 t3 " ] || { echo "not each once: $(cat ran)"; exit 1; }
left=$(cd "$AGENTS_HOME"/*/tasks; find pending running held -mindepth 1; ls -A | grep '^\.' || true)
[ -z "$left" ] || { echo "left over: $left"; exit 1; }
"$A" down
echo whole
"#;

#[test]
fn a_full_disk_loses_no_task_and_the_queue_goes_on() {
    let project =
        TestProject::new("[project]\nname = \"web\"\n[agent.sh]\nbackend = \"shell\"\ncommand = [\"cat\"]\n[tasks]\nparallel = 1\n");
    let said = on_a_small_disk(&project, FULL_QUEUE);
    if said.stdout.contains("skipped") || (said.code != 0 && said.stderr.contains("unshare")) {
        return println!("skipped: no mount namespace can be made here: {}", said.stderr);
    }
    assert!(said.code == 0 && said.stdout.ends_with("whole\n"), "{said:#?}");
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn without_descriptors_it_is_said_and_nobody_spins() {
    let project = TestProject::new(&crowd(20, SLEEP));
    let engine = project.command(&["up"]);
    let mut up = Command::new("sh");
    up.args(["-c", "ulimit -n 24; exec \"$0\" up"]).arg(engine.get_program()).current_dir(&project.folder).env_clear();
    up.envs(engine.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = said(up);
    assert_eq!(said.code, 1, "{said:#?}");
    assert!(said.stderr.contains("too many open files") && said.stdout.contains("up "), "{said:#?}");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
    project.run(&["up"]).ok();
}

#[test]
fn what_was_missing_comes_back_and_so_does_the_agent() {
    let project = TestProject::new("[agent.lead]\nbackend = \"tool\"\n[backend.tool]\nstart = [\"tools/tool\"]\n");
    project.run(&["up"]).fails(1, "tools/tool");
    std::fs::create_dir(project.folder.join("tools")).unwrap();
    std::fs::write(project.folder.join("tools/tool.new"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(project.folder.join("tools/tool.new"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(project.folder.join("tools/tool.new"), project.folder.join("tools/tool")).unwrap();
    project.until("it runs by itself", |s| of(s, "lead")["state"] == "up");
}

/// In a user namespace of its own, where the kernel grants no inotify at all.
const BLIND: &str = r#"
echo 0 2>/dev/null >/proc/sys/user/max_inotify_instances || { echo skipped; exit 0; }
if "$A" up; then echo "it runs without its program"; exit 1; fi
mkdir tools
printf '#!/bin/sh\nexec sleep 1000\n' >tools/new
chmod 755 tools/new
mv tools/new tools/tool
for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    if "$A" status --json | tr -d ' \n' | grep -q '"state":"up"'; then "$A" down; echo whole; exit 0; fi
    sleep 0.5
done
"$A" status
exit 1
"#;

#[test]
fn what_was_missing_is_noticed_where_the_kernel_watches_nothing() {
    let project = TestProject::new("[agent.lead]\nbackend = \"tool\"\n[backend.tool]\nstart = [\"tools/tool\"]\n");
    let engine = project.command(&[]);
    let mut script = Command::new("unshare");
    script.args(["--user", "--map-root-user", "sh", "-c", BLIND]).current_dir(&project.folder).env_clear();
    script.envs(engine.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("A", engine.get_program());
    let said = said(script);
    if said.stdout.contains("skipped") || (said.code != 0 && said.stderr.contains("unshare")) {
        return println!("skipped: no user namespace can be made here: {}", said.stderr);
    }
    assert!(said.code == 0 && said.stdout.ends_with("whole\n"), "{said:#?}");
}

#[test]
fn a_folder_that_was_missing_comes_and_goes_until_the_program_is_there() {
    let project = TestProject::new("[agent.lead]\nbackend = \"tool\"\n[backend.tool]\nstart = [\"a/b/c/tool\"]\n");
    project.run(&["up"]).fails(1, "a/b/c/tool");
    for round in 0..20 {
        std::fs::create_dir_all(project.folder.join("a/b/c")).unwrap();
        std::fs::write(project.folder.join(format!("a/b/c/{round}")), "").unwrap();
        std::fs::remove_dir_all(project.folder.join(if round % 2 == 0 { "a" } else { "a/b" })).unwrap();
    }
    std::fs::create_dir_all(project.folder.join("a/b/c")).unwrap();
    std::os::unix::fs::symlink("/bin/cat", project.folder.join("a/b/c/tool")).unwrap();
    project.until("it runs by itself", |s| of(s, "lead")["state"] == "up");
}

#[test]
fn given_up_on_stays_so_whoever_dies_until_the_operator_acts() {
    let config = "[agent.lead]\nbackend = \"shell\"\ncommand = [\"sh\", \"-c\", \"[ -e well ] && exec sleep 1000; exit 7\"]\n\
        restart = { backoff = \"1ms..2ms\", burst = 2, window = \"10m\" }\n";
    let project = TestProject::new(config);
    project.run(&["up"]);
    let failing = |s: &serde_json::Value| of(s, "lead")["state"] == "failing";
    let status = project.until("it is given up on", failing);
    let session = of(&status, "lead")["session"].as_str().unwrap().to_owned();
    let first = of(&status, "lead")["reason"].clone();
    assert!(first.as_str().unwrap().contains("status 7"), "{first}");
    std::fs::write(project.folder.join("well"), "").unwrap();
    let host = project.host(&session);
    kill(host);
    project.until("it stays so without its host", |s| failing(s) && project.processes().len() > 1);
    project.kill_all();
    let status = project.status();
    assert_eq!((&of(&status, "lead")["state"], &of(&status, "lead")["reason"]), (&"failing".into(), &first));
    project.run(&["up"]).ok();
    assert_eq!(of(&project.status(), "lead")["state"], "up");
}
