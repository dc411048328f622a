# A small disk for a whole user, in namespaces of its own: HOME is its place, F the program, W a folder elsewhere.
mount -t tmpfs -o size=24m,mode=755 tmpfs "$HOME" || { echo skipped; exit 0; }
cd "$HOME"
mkdir -m 700 run; mkdir bin home projects h; ln -s "$F" bin/agents
export XDG_RUNTIME_DIR="$HOME/run" AGENTS_BIN="$HOME/bin/agents"
printf '[user]\n\tname = Ada\n\temail = ada@example.org\n[init]\n\tdefaultBranch = main\n' >.gitconfig
printf '[fleet]\nversion = 1\nroot = "~/projects"\n[harness.h]\nurl = "%s"\nref = "v1"\n' "$HOME/h" >home/fleet.toml
(
    cd h
    git init -q
    printf '[engine]\nname = "h"\nversion = "1"\nprotocol = 1\n[commands]\nup = ["true"]\ndown = ["true"]\nstatus = ["false"]\ncheck = ["true"]\n' >engine.toml
    git add . && git commit -qm one && git tag v1 && echo two >two && git add . && git commit -qm two && git tag v2
)
git init -q --bare pub.git
f() { (cd "$HOME/home" && exec "$F" "$@"); }
ok() { f "$@" >"$W/out" 2>"$W/err" || { echo "failed: $*"; cat "$W/err"; exit 1; }; }
files() { find projects second home/fleet.toml -path '*/.git' -prune -o -type f -print0 | sort -z | xargs -0 sha1sum; }
refused() {
    files >"$W/before"
    if f "$@" >"$W/out" 2>"$W/err"; then echo "not refused: $*"; exit 1; fi
    grep -q "$WORDS" "$W/err" && grep -q "$HOME" "$W/err" && grep -q '^error: ' "$W/err" || { echo "$*: $(cat "$W/err")"; exit 1; }
    files | cmp -s - "$W/before" || { echo "$* has changed something"; exit 1; }
    count=$((count + 1))
}
every() {
    refused create api --backend shell
    refused create api2 --harness h
    refused add ../projects/other
    refused remove web
    refused disable web
    refused update h1 v2
    refused start web
    refused stop run
    refused restart run
    refused engine publish "$HOME/pub.git"
    refused undo
    refused init ../third --backend shell
    refused --registry ../second/fleet.toml po up
    refused task add web x
    refused task add run x
    refused send run x
    refused service install
    for look in status list history doctor 'get web' validate 'logs run'; do ok $look; done
}
for name in web run other; do ok create $name --backend shell; done
ok remove other
ok create h1 --harness h
ok init ../second --backend shell
ok start run
f attach run </dev/null >/dev/null 2>&1
dd if=/dev/zero of=fill bs=4k 2>/dev/null || true
WORDS='No space left\|failed to write'
every
rm fill
mount --bind "$HOME" "$HOME"
mount -o remount,bind,ro "$HOME"
cd "$HOME"
WORDS='Read-only file system'
every
mount -o remount,bind,rw "$HOME"
cd "$HOME"
ok status
for verb in 'create api --backend shell' 'add ../projects/other' 'disable web' 'update h1 v2' 'restart run' 'task add run x' 'stop run' 'init ../third --backend shell' undo; do ok $verb; done
f history | grep -q interrupted && { echo "something is unfinished"; exit 1; }
echo "whole, $count refused"
