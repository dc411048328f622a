"""Live upgrades: how long another engine takes to take over, and whether the agents notice."""

import os
import shutil
import statistics

from keepers import Agents
from kit import Fifo, ask, socket_of, timed


def upgrade(world, table, options):
    """100 sessions; two copies of the engine, as a build cache holds them, take over from each other in turns."""
    count = 100
    fifo = Fifo(os.path.join(world.folder, "upgrade.fifo"))
    keeper = Agents(world, "upgrade")
    keeper.configure_probes(count, fifo)
    engines = []
    for tree in ("a1" * 20, "b2" * 20):
        folder = world.path(os.path.join("engines", tree))
        engines.append(shutil.copy(os.path.join(options.bin, "fleet"), os.path.join(folder, "agents")))
    timed([engines[0], "up"], keeper.env, keeper.folder)
    pids = {int(line.split()[1]) for line in fifo.lines(count)[0]}
    watchdog = socket_of(world, "watchdog.sock")
    daemons = set(keeper.own())
    took, restarted, kept_old = [], 0, 0
    for turn in range(options.rounds * 2):
        engine = engines[(turn + 1) % 2]
        took.append(timed([engine, "up"], keeper.env, keeper.folder) * 1000)
        status = ask(watchdog, {"ask": "status"})["status"]
        restarted += len(pids - {a["pid"] for a in status["agents"] if a["state"] == "up"})
        now = set(keeper.own())
        kept_old += len(now ^ daemons) + sum(os.readlink(f"/proc/{pid}/exe") != engine for pid in now)
    table.add("100 sessions upgraded while they run: `agents up` is back", statistics.median(took), "ms", most=1000)
    table.add("agents restarted by it", restarted, "", most=0)
    table.add("daemons that are another process or the old program", kept_old, "", most=0)
