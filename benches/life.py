"""Sessions from their first moment to a boot: spawning into worktrees, losing everything at once, coming back, being told something."""

import collections
import json
import os
import shutil
import signal
import statistics
import subprocess
import time

from keepers import Agents, names
from kit import Fifo, begun, interleaved, output, socket_of, timed

PROBE = """#!/bin/sh
echo hello
echo "$AGENTS_SESSION $$ $1" >"$2"
exec sleep 1000000
"""

LISTENER = """#!/bin/sh
echo ready
echo up >"$1"
while read -r line; do echo "$line" >"$1"; done
"""


def crowd(world, part, count):
    """Agents that speak, and say who they are and how they were started; the fifo hears them."""
    fifo = Fifo(os.path.join(world.folder, f"{part}.fifo"))
    keeper = Agents(world, part)
    script = world.write(f"{part}.sh", PROBE, 0o755)
    text = f'[project]\nname = "{part}"\nsession_prefix = "s"\n[defaults]\nbackend = "probe"\n[backend.probe]\nid = "mint"\n'
    for key, how in (("start", "begun"), ("resume", "resumed")):
        text += f'{key} = ["{script}", "{how}:{{resume_id}}", "{fifo.path}"]\n'
    world.write(f"{part}/agents.toml", text + "".join(f"[agent.{name}]\n" for name in names(count)))
    return keeper, fifo


def end_all(world, part):
    """Everything at once: stopped before it is killed, so that nobody sees another die and acts on it."""
    stopped = set()
    while news := set(world.processes(part)) - stopped:
        for pid in news:
            try:
                os.kill(pid, signal.SIGSTOP)
            except ProcessLookupError:
                pass
        stopped |= news
    at = time.monotonic()
    for pid in stopped:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return at


def spawn(world, table, options):
    """A session in a worktree of 2,000 files, beside the worktree alone, in one repository."""
    keeper, fifo = crowd(world, "spawn", 1)
    env, folder = keeper.env, keeper.folder
    git = lambda *argv: subprocess.run(["git", "-C", folder, *argv], env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    git("init", "-q")
    for i in range(2000):
        world.write(f"spawn/files/{i % 40}/{i}.txt", f"{i}\n" * 40)
    git("add", ".")
    git("commit", "-qm", "first")
    turn = iter(range(1 << 20))

    def theirs():
        n = next(turn)
        path = os.path.join(world.folder, f"tree-{n}")
        took = timed(["git", "worktree", "add", "-q", "-b", f"theirs-{n}", path], env, folder) * 1000
        git("worktree", "remove", "--force", path)
        return took

    def ours():
        took = timed(["agents", "spawn"], env, folder) * 1000
        session = fifo.lines(1)[0][0].split()[0]
        timed(["agents", "kill", session], env, folder)
        return took

    # The watchdog runs, as it does from the first session on.
    timed(["agents", "up"], env, folder)
    fifo.lines(1)
    took = interleaved(options.rounds * 4, theirs=theirs, ours=ours)
    table.add("agents spawn, 2,000 files", took["ours"], "ms", "git worktree add", took["theirs"], most=1.3 * took["theirs"] + 10)
    keeper.down()


def together(world, table, options):
    """100 sessions: all agents, hosts and the watchdog are killed at once, and `agents up` is called."""
    count = 100
    keeper, fifo = crowd(world, "together", count)
    took, wrong = [], 0
    for _ in range(options.rounds):
        # Each time as if for the first: who dies again and again is slowed down.
        timed(["agents", "up"], keeper.env, keeper.folder)
        fifo.lines(count)
        start = end_all(world, keeper.part)
        subprocess.Popen(["agents", "up"], env=keeper.env, cwd=keeper.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).wait()
        lines, at = fifo.lines(count)
        took.append((at - start) * 1000)
        starts = collections.Counter(line.split()[0] for line in lines)
        wrong += sum(n != 1 for n in starts.values()) + abs(count - len(starts))
        living = sum(name == "sleep" for name in world.processes(keeper.part).values())
        wrong += abs(count - living)
        keeper.down()
        fifo.drain()
    table.add("100 sessions, everything killed at once, `agents up`: all back", statistics.median(took), "ms", most=500)
    table.add("sessions lost or doubled by it", wrong, "", most=0)


def message(world, table, options):
    """A line to an agent that waits for one: until the agent has read it, and until the command says `taken`."""
    fifo = Fifo(os.path.join(world.folder, "message.fifo"))
    keeper = Agents(world, "message")
    keeper.configure({"a": [world.write("listener.sh", LISTENER, 0o755), fifo.path]})
    keeper.up()
    fifo.lines(1)
    read, taken, paper = [], [], os.path.join(world.folder, "said")
    for turn in range(options.rounds * 10):
        time.sleep(0.5)  # idle is who has said nothing for a while
        start = time.monotonic()
        sender = begun(["agents", "send", "a", f"line {turn}"], keeper.env, keeper.folder, paper)
        lines, at = fifo.lines(1)
        os.waitpid(sender, 0)
        taken.append((time.monotonic() - start) * 1000)
        read.append((at - start) * 1000)
        with open(paper) as file:
            said = file.read()
        if lines != [f"line {turn}"] or not said.startswith("taken"):
            table.skip("a message to an idle agent", f"{said!r}, and the agent read {lines}")
            return
    table.add("message to an idle agent: it has read it", statistics.median(read), "ms", most=10)
    table.add("message to an idle agent: `agents send` says taken", statistics.median(taken), "ms")
    keeper.down()


def restore(world, table, options):
    """20 sessions; the machine goes down and comes up again: each once, in its own conversation."""
    count = 20
    keeper, fifo = crowd(world, "restore", count)
    timed(["agents", "up"], keeper.env, keeper.folder)
    conversation = lambda line: (line.split()[0], line.split()[2].split(":")[1])
    before = dict(conversation(line) for line in fifo.lines(count)[0])
    runtime = os.path.dirname(socket_of(world, "watchdog.sock"))
    data = json.loads(output(["agents", "info", "--json"], keeper.env, keeper.folder))["data"]
    took, wrong = [], 0
    for _ in range(options.rounds):
        end_all(world, keeper.part)
        world.end(keeper.part)
        shutil.rmtree(runtime)
        with open(os.path.join(data, "boot"), "w") as file:
            file.write("00000000-0000-0000-0000-000000000000\n")
        start = time.monotonic()
        timed(["agents", "up", "--wanted"], keeper.env, keeper.folder)
        lines, at = fifo.lines(count)
        took.append((at - start) * 1000)
        wrong += abs(count - len({line.split()[0] for line in lines}))
        wrong += sum(before[session] != same or "resumed" not in line for line in lines for session, same in [conversation(line)])
    table.add("20 sessions after a boot: all back", statistics.median(took), "ms")
    table.add("not back once, or in another conversation", wrong, "", most=0)
    keeper.down()
