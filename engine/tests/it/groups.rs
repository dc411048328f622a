//! A session's control group: caps in force or said not to be, and nothing that leaves it unseen. Where no group can be made, a test says that it skips.

use std::path::Path;
use std::process::Command;

use crate::project::{Lines, TestProject, is_alive, kill, of};
use crate::upgrade::Engines;

/// Lets go of all that tells whose it is: the lock, the environment, the terminal, its parent.
const STRAY: &str = r#"(setsid env -i bash -c 'for f in /proc/self/fd/*; do n=${f##*/}; eval "exec $n>&-"; done; echo $$ > stray; trap "" TERM HUP; exec env -i sleep 1000' &)
until [ -s stray ]; do sleep 0.05; done
echo ready
exec sleep 1000"#;

fn project(command: &str, more: &str) -> TestProject {
    let project = TestProject::new(&format!(
        "[project]\nsession_prefix = \"int\"\n[agent.lead]\nbackend = \"shell\"\ncommand = [\"sh\", \"agent\"]\ngrace = \"200ms\"\n\
         restart = {{ backoff = \"1ms..50ms\", burst = 1000, window = \"10m\" }}\n{more}\n"
    ));
    std::fs::write(project.folder.join("agent"), command).unwrap();
    project
}

/// Whether what it says of its caps is that they are not in force.
fn uncapped(project: &TestProject) -> bool {
    let status = project.status();
    let reason = of(&status, "lead")["reason"].as_str().unwrap_or_default().to_owned();
    if reason.contains("not in force") {
        println!("skipped: {reason}");
    }
    reason.contains("not in force")
}

fn members(group: &Path) -> Vec<i32> {
    std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|l| l.parse().ok()).collect()
}

fn stray(project: &TestProject) -> i32 {
    Lines::of(project.command(&["logs", "-f", "lead"])).until("ready");
    std::fs::read_to_string(project.folder.join("stray")).unwrap().trim().parse().unwrap()
}

#[test]
fn what_lost_every_mark_ends_with_its_session_though_all_daemons_were_killed_first() {
    let project = project(STRAY, "");
    project.run(&["up"]).ok();
    let (first, agent) = (stray(&project), project.pid("lead"));
    let Some(group) = project.group("int-1") else {
        kill(first);
        return println!("skipped: no control group can be made here");
    };
    assert!(members(&group).contains(&first) && members(&group).contains(&agent));
    project.kill_all();
    assert!(is_alive(first), "nothing tells the test whose it is");
    project.run(&["down"]).ok();
    assert!(!is_alive(first));
    assert!(!group.exists(), "an empty group is removed");

    // The same, and then it is started again: not beside it.
    std::fs::remove_file(project.folder.join("stray")).unwrap();
    project.run(&["up"]).ok();
    let second = stray(&project);
    project.kill_all();
    project.run(&["up"]).ok();
    assert!(!is_alive(second));
    project.run(&["down"]).ok();
    assert!(!group.exists());
    assert_eq!(project.processes(), Vec::<i32>::new());
}

#[test]
fn a_group_is_handed_over_to_another_engine() {
    let project = project(STRAY, "watch = \"none\"");
    project.run(&["up"]).ok();
    let (stray, agent) = (stray(&project), project.pid("lead"));
    let Some(group) = project.group("int-1") else {
        kill(stray);
        return println!("skipped: no control group can be made here");
    };
    let engines = Engines::new();
    crate::project::said(project.command_of(&engines.other, &["upgrade"])).ok();
    assert_eq!(project.pid("lead"), agent);
    assert!(members(&group).contains(&stray) && members(&group).contains(&agent));
    // What that engine writes next is what it was told, not what it has found or made.
    kill(agent);
    project.until("it has ended", |s| of(s, "lead")["state"] == "exited");
    assert_eq!(project.group("int-1").as_ref(), Some(&group));
    assert!(!is_alive(stray), "what it had left behind is ended with it");
    crate::project::said(project.command_of(&engines.other, &["down"])).ok();
    assert!(!group.exists());
}

#[test]
fn a_group_whose_project_is_gone_is_removed_by_the_next_up() {
    let (project, other) = (project("exec sleep 1000", ""), project("exec sleep 1000", ""));
    project.run(&["up"]).ok();
    let Some(group) = project.group("int-1") else { return println!("skipped: no control group can be made here") };
    let data = project.data();
    project.kill_all();
    other.run(&["up"]).ok();
    assert!(group.exists(), "its project is there, and may be started again");
    std::fs::remove_dir_all(&data).unwrap();
    other.run(&["up"]).ok();
    assert!(!group.exists());
    assert_eq!(members(&other.group("int-1").unwrap()), [other.pid("lead")]);
}

/// In a part of the unified hierarchy that belongs to an ordinary user, as that user. `$T`: a folder of the user's, with a copy of the engine.
const HANDED_OVER: &str = r#"
top=$UNIFIED/handed-over-$$
mkdir "$top" || { echo skipped: "no group can be made"; exit 0; }
trap 'for p in $(cat "$top"/cgroup.procs "$top"/*/cgroup.procs 2>/dev/null); do [ $p = $$ ] || kill -9 $p 2>/dev/null; done; echo $$ > "$UNIFIED/cgroup.procs"; sleep 0.2; rmdir "$top"/* "$top" 2>/dev/null' EXIT
chown -R 65534:65534 "$T" && chown 65534:65534 "$top" "$top/cgroup.procs" "$top/cgroup.subtree_control" || exit 1
echo $$ > "$top/cgroup.procs" || exit 1
as() { setpriv --reuid 65534 --regid 65534 --clear-groups -- env -i "PATH=$PATH" HOME="$T/home" XDG_RUNTIME_DIR="$T/run" "$T/agents" -C "$T/web" "$@"; }
as up || exit 2
group=$(echo "$top"/agents-*-int-1)
[ -d "$group" ] || { echo "no group was made in $top"; exit 3; }
until [ -s "$T/web/stray" ]; do sleep 0.05; done
stray=$(cat "$T/web/stray")
grep -qx "$stray" "$group/cgroup.procs" || { echo "the stray is not in it"; exit 4; }
as down || exit 5
if grep -q '^State:[^ZX]*$' "/proc/$stray/status" 2>/dev/null; then echo "the stray lives"; exit 6; fi
[ ! -d "$group" ] || { echo "the empty group is left"; exit 7; }
echo whole
"#;

#[test]
fn a_user_whom_a_part_of_the_hierarchy_was_handed_to_has_groups_there() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let unified = mounts.lines().find(|l| l.contains(" - cgroup2 ")).and_then(|l| l.split(' ').nth(4));
    let (true, Some(unified)) = (rustix::process::geteuid().is_root(), unified) else {
        return println!("skipped: it takes root and a unified hierarchy");
    };
    let place = tempfile::Builder::new().prefix("ag").tempdir_in("/tmp").unwrap();
    for name in ["home", "run", "web"] {
        std::fs::create_dir(place.path().join(name)).unwrap();
    }
    std::fs::copy(env!("CARGO_BIN_EXE_agents"), place.path().join("agents")).unwrap();
    let config =
        "[project]\nsession_prefix = \"int\"\n[agent.lead]\nbackend = \"shell\"\ncommand = [\"sh\", \"agent\"]\ngrace = \"200ms\"\n";
    std::fs::write(place.path().join("web/agents.toml"), config).unwrap();
    std::fs::write(place.path().join("web/agent"), STRAY).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", HANDED_OVER]).env("T", place.path()).env("UNIFIED", unified);
    let said = crate::project::said(shell);
    if said.stdout.contains("skipped") || said.stderr.contains("setpriv") {
        return println!("skipped: {} {}", said.stdout, said.stderr);
    }
    assert!(said.code == 0 && said.stdout.ends_with("whole\n"), "{said:#?}");
}

#[test]
fn a_group_is_kept_by_the_next_host_and_gone_after_all_was_killed() {
    let project = project("exec sleep 1000", "");
    project.run(&["up"]).ok();
    let Some(group) = project.group("int-1") else { return println!("skipped: no control group can be made here") };
    let agent = project.pid("lead");
    let host = project.host("int-1");
    kill(host);
    project.until("another host", |s| of(s, "lead")["state"] == "up" && project.find_host("int-1").is_some_and(|h| h != host));
    assert_eq!((project.pid("lead"), members(&group)), (agent, vec![agent]));
    kill(agent);
    project.until("it is back", |s| of(s, "lead")["pid"].as_i64().is_some_and(|p| p != i64::from(agent)));
    assert_eq!((project.group("int-1").as_ref(), members(&group)), (Some(&group), vec![project.pid("lead")]));
    project.kill_all();
    assert!(group.exists());
    project.run(&["down"]).ok();
    assert!(!group.exists());
}

#[test]
fn who_takes_more_memory_than_it_may_is_told_so_for_certain() {
    let project = project("[ -e enough ] && exec sleep 1000\ntouch enough\nexec tail /dev/zero", "memory = \"48M\"");
    project.run(&["up"]);
    if uncapped(&project) {
        return;
    }
    project.until("it is back", |s| of(s, "lead")["heals"] == 1 && of(s, "lead")["state"] == "up");
    let why = project.run(&["why", "lead"]).ok().stdout;
    assert!(why.contains("killed by the kernel for want of memory"), "{why}");
    // A kill that was not for memory is not mistaken for one.
    kill(project.pid("lead"));
    project.until("it is back again", |s| of(s, "lead")["heals"] == 2 && of(s, "lead")["state"] == "up");
    let why = project.run(&["why", "lead", "-n", "2"]).ok().stdout;
    assert!(why.contains("killed by SIGKILL") && !why.contains("want of memory"), "{why}");
}

#[test]
fn no_more_processes_than_it_may_have() {
    let spawns = "i=0; while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); done; echo all of them; exec sleep 1000";
    let project = project(spawns, "processes = 20\ncpu = \"150%\"");
    project.run(&["up"]);
    if uncapped(&project) {
        return;
    }
    // What the shell says, whichever it is.
    Lines::of(project.command(&["logs", "-f", "lead"])).until("ork");
    project.run(&["down"]).ok();
    assert_eq!(project.processes(), Vec::<i32>::new());
}

/// With all control groups read-only, in a mount namespace of its own.
const READ_ONLY: &str = r#"
for m in $(sed -n 's/^\([^ ]* \)\{4\}\([^ ]*\) .* - cgroup2* .*/\2/p' /proc/self/mountinfo); do
    mount -o bind "$m" "$m" && mount -o remount,bind,ro "$m" || { echo skipped; exit 0; }
done
"$A" check || exit 1
"$A" up || exit 2
"$A" status || exit 3
"$A" down
"#;

#[test]
fn caps_that_are_wrong_are_found_and_those_that_cannot_be_are_told() {
    let wrong = TestProject::new("[defaults]\nmemory = \"4\"\n[agent.lead]\ncpu = \"1.5\"\nprocesses = 0\n");
    let said = wrong.run(&["check"]);
    assert_eq!(said.code, 3, "{said:#?}");
    for words in ["`4` is no amount of memory", "`1.5` is no share of processors", "0 processes"] {
        assert!(said.stderr.contains(words), "{said:#?}");
    }
    let project = project("exec sleep 1000", "memory = \"1G\"\nprocesses = 99");
    let engine = project.command(&[]);
    let mut shell = Command::new("unshare");
    shell.args(["--mount", "sh", "-c", READ_ONLY]).current_dir(&project.folder).env_clear();
    shell.envs(engine.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("A", engine.get_program());
    let said = crate::project::said(shell);
    if said.stdout.contains("skipped") || (said.code != 0 && said.stderr.contains("unshare")) {
        return println!("skipped: no mount namespace can be made here: {}", said.stderr);
    }
    assert_eq!(said.code, 0, "{said:#?}");
    assert!(said.stderr.contains("agent lead: its caps would not be in force: memory ("), "{said:#?}");
    assert!(said.stdout.contains("its caps are not in force: memory ("), "{said:#?}");
}
