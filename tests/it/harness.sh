#!/bin/sh
# An engine of somebody else's: it keeps one process alive, and knows nothing of agents.
set -eu

state=.run
pid() { cat "$state/pid" 2>/dev/null || true; }
alive() { [ -n "$(pid)" ] && kill -0 "$(pid)" 2>/dev/null; }

case ${1:-} in
up)
    if ! alive; then
        mkdir -p "$state"
        sleep 600 </dev/null >/dev/null 2>&1 &
        echo $! >"$state/pid"
        echo "started with $(cat engine/notes)" >>"$state/log"
    fi
    ;;
down)
    if alive; then
        kill "$(pid)"
    fi
    rm -f "$state/pid"
    ;;
status)
    if alive; then
        echo "up: $(cat engine/notes)"
    else
        echo down
        exit 1
    fi
    ;;
check)
    if [ -e broken ]; then
        echo "this project is broken" >&2
        exit 1
    fi
    ;;
*)
    echo "usage: run up|down|status|check" >&2
    exit 2
    ;;
esac
