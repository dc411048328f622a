//! Sessions on disks without room or right to write: what cannot be done whole is refused, and nobody's work is lost.

use std::process::Command;

use crate::project::{TestProject, said};

/// HOME is on one small disk, the project on another. Whatever is started ends with the script.
const DISKS: &str = r#"
mount -t tmpfs -o size=6m,mode=755 tmpfs "$HOME" || { echo skipped; exit 0; }
cd "$HOME"; mkdir -m 700 run; mkdir web data
mount -t tmpfs -o size=4m,mode=755 tmpfs web; cd web
export XDG_RUNTIME_DIR="$HOME/run" AGENTS_HOME="$HOME/data"
printf '[user]\n\tname = Ada\n\temail = ada@example.org\n' >../.gitconfig
printf '[project]\nname = "web"\nsession_prefix = "int"\n[agent.lead]\nbackend = "b"\n[backend.b]\nstart = ["cat"]\ntask = ["cat"]\n' >agents.toml
git init -q . && git add . && git commit -qm one
ok() { "$A" "$@" >"$HOME/../out" 2>&1 || { echo "failed: $*: $(cat "$HOME/../out")"; exit 1; }; }
ok up; ok spawn --name one; ok spawn --name two; ok kill two
tree=$(echo "$AGENTS_HOME"/*/worktrees/int-2)
echo precious >"$tree/new"
look() { "$A" list --json; "$A" list --archived --json; git worktree list; git for-each-ref; cat "$tree/new"; }
refused() {
    look >"$HOME/../before"
    if "$A" "$@" >"$HOME/../out" 2>&1; then echo "not refused: $*"; exit 1; fi
    grep -q "$WORDS" "$HOME/../out" && grep -q '^hint: make ' "$HOME/../out" || { echo "$*: $(cat "$HOME/../out")"; exit 1; }
    look | cmp - "$HOME/../before" || { echo "$* has changed something"; exit 1; }
}
every() {
    for verb in 'spawn --name four' 'spawn --no-worktree' orchestrate 'kill one' 'restore int-3' 'task add x' 'send lead x' down; do refused $verb; done
}
WORDS='No space left'
dd if=/dev/zero of="$HOME/fill" bs=4k 2>/dev/null || true
every
rm "$HOME/fill"
WORDS='Read-only file system'
mount --bind "$HOME/data" "$HOME/data"; mount -o remount,bind,ro "$HOME/data"
every
mount -o remount,bind,rw "$HOME/data"
# Room for sessions, and none in the repository, where work is kept before a worktree goes.
WORDS='No space left'
dd if=/dev/zero of=fill bs=4k 2>/dev/null || true
for try in 1 2; do
    if "$A" kill one >"$HOME/../out" 2>&1; then echo "killed without keeping its work"; exit 1; fi
    grep -q "$WORDS" "$HOME/../out" && grep -q '^hint: make room' "$HOME/../out" || { echo "$(cat "$HOME/../out")"; exit 1; }
    [ "$(cat "$tree/new")" = precious ] || { echo "the work is lost"; exit 1; }
done
rm fill
ok clean
[ "$(git show refs/agents/preserved/int-2:new)" = precious ] || { echo "the work was not kept"; exit 1; }
[ ! -e "$tree" ] || { echo "the kill was not finished"; exit 1; }
ok restore int-2
[ "$(cat "$tree/new")" = precious ] || { echo "the work did not come back"; exit 1; }
ok down
echo whole
"#;

#[test]
fn no_session_is_half_made_or_ended_and_no_work_is_lost() {
    let project = TestProject::new("");
    let disk = project.root().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let engine = project.command(&[]);
    let mut script = Command::new("unshare");
    script.args(["--mount", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", "-c", DISKS]);
    script.env_clear().envs(engine.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.env("HOME", &disk).env("A", engine.get_program()).env("GIT_CONFIG_NOSYSTEM", "1");
    let said = said(script);
    if said.stdout.contains("skipped") || (said.code != 0 && said.stderr.contains("unshare")) {
        return println!("skipped: no namespaces can be made here: {}", said.stderr);
    }
    assert!(said.code == 0 && said.stdout.ends_with("whole\n"), "{said:#?}");
}
