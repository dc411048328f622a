"""Sessions: how fast they start, heal and survive, and what they cost."""

import collections
import json
import os
import signal
import statistics
import time

from keepers import S6, Agents, Dtach, Mprocs, Tmux, names
from kit import Fifo, Missing, ask, ask_until, interleaved, output, pss_kb, settled_ticks, socket_of, status_number, timed, usage


def peers(world, table, what, kinds):
    """Those of the kinds that are installed; of the others it says so."""
    found = []
    for kind in kinds:
        try:
            found.append(kind(world, f"{what}-{kind.name}"))
        except Missing as missing:
            table.skip(f"{what} beside {kind.name}", missing)
    return found


def startup(world, table, options):
    commands = {"git": ["git", "--version"], "fleet": ["fleet", "--version"], "agents": ["agents", "--version"]}

    def once(argv):
        start = time.monotonic()
        pid = os.posix_spawnp(argv[0], argv, world.env("startup"), file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
        os.waitpid(pid, 0)
        return (time.monotonic() - start) * 1000

    os.environ["PATH"] = world.plain["PATH"]
    took = interleaved(50, **{name: (lambda argv=argv: once(argv)) for name, argv in commands.items()})
    for name in ("fleet", "agents"):
        table.add(f"{name} --version", took[name], "ms", "git --version", took["git"], ratio_max=3)


def up(world, table, options):
    """100 agents, until the command is back and every agent has run its first command."""
    count = 100
    fifo = Fifo(os.path.join(world.folder, "up.fifo"))
    keepers = peers(world, table, "up", [Agents, Dtach, Mprocs, Tmux])
    downs = collections.defaultdict(list)

    def once(keeper):
        keeper.configure_probes(count, fifo)
        start = time.monotonic()
        keeper.up()
        returned = time.monotonic()
        _, last = fifo.lines(count)
        took = (max(returned, last) - start) * 1000
        start = time.monotonic()
        keeper.down()
        downs[keeper.name].append((time.monotonic() - start) * 1000)
        left = world.end(keeper.part)
        if left and keeper.name == "agents":
            table.skip("down", f"{left} processes were left by it")
        fifo.drain()
        return took

    took = interleaved(options.rounds, **{k.name: (lambda k=k: once(k)) for k in keepers})
    for name, theirs in took.items():
        if name != "agents":
            table.add("100 agents up, one project", took["agents"], "ms", name, theirs, ratio_max=1 if name == "dtach" else None)
    table.add("100 agents down, one project", statistics.median(downs["agents"]), "ms")


def ten_projects(world, env, fifo):
    """A home with ten projects of ten agents each."""
    home = world.path("ten")
    timed(["fleet", "init", home], env, world.folder)
    from keepers import argv

    for p in range(10):
        folder = os.path.join(world.path("ten-projects"), f"p{p}")
        timed(["fleet", "create", f"p{p}", "--path", folder], env, home)
        keeper = Agents(world, f"ten-projects/p{p}")
        keeper.configure({f"{name}": argv(world, name, fifo) for name in names(10)})
    return home


def status_up(world, table, options):
    """A look at 100 agents that are up, in ten projects."""
    fifo = Fifo(os.path.join(world.folder, "ten.fifo"))
    env = world.env("ten")
    home = ten_projects(world, env, fifo)
    timed(["fleet", "start", "--all"], env, home)
    fifo.lines(100)
    tmux = peers(world, table, "status-up", [Tmux])
    for k in tmux:
        k.configure_probes(100, fifo)
        k.up()
        fifo.lines(100)
    took = interleaved(
        max(options.rounds, 20),
        ours=lambda: timed(["fleet", "status"], env, home) * 1000,
        **{k.name: (lambda k=k: timed(k.run("ls"), k.env) * 1000) for k in tmux},
    )
    table.add("fleet status, 100 agents up in ten projects", took["ours"], "ms", "tmux ls", took.get("tmux"), ratio_max=1.5)
    timed(["fleet", "stop", "--all"], env, home)
    for k in tmux:
        k.down()
    world.end("ten")


def up_projects(world, table, options):
    """100 agents in ten projects, by one command."""
    fifo = Fifo(os.path.join(world.folder, "ten.fifo"))
    env = world.env("ten")
    home = ten_projects(world, env, fifo)
    dtach = peers(world, table, "ten", [Dtach])

    def ours():
        start = time.monotonic()
        timed(["fleet", "start", "--all"], env, home)
        returned = time.monotonic()
        _, last = fifo.lines(100)
        took = (max(returned, last) - start) * 1000
        timed(["fleet", "stop", "--all"], env, home)
        fifo.drain()
        return took

    def theirs():
        dtach[0].configure_probes(100, fifo)
        start = time.monotonic()
        dtach[0].up()
        _, last = fifo.lines(100)
        took = (last - start) * 1000
        dtach[0].down()
        fifo.drain()
        return took

    took = interleaved(options.rounds, ours=ours, **({"dtach": theirs} if dtach else {}))
    table.add("100 agents up, ten projects", took["ours"], "ms", "dtach", took.get("dtach"), ratio_max=1)
    world.end("ten")


def heal(world, table, options):
    """An agent is killed; how long until the next one has run its first command."""
    count = 30
    keepers = peers(world, table, "heal", [Agents, S6, Mprocs])
    fifos, living = {}, {}
    for k in keepers:
        fifos[k.name] = Fifo(os.path.join(world.folder, f"heal-{k.name}.fifo"))
        k.configure_probes(count, fifos[k.name])
        k.up()
        lines, _ = fifos[k.name].lines(count)
        living[k.name] = [line.split() for line in lines]
    # s6 and mprocs do not restart at once what has lived for less than a second.
    time.sleep(2)
    took = {k.name: [] for k in keepers}
    for turn in range(count):
        for k in keepers:
            start = time.monotonic()
            name, pid = living[k.name][turn]
            os.kill(int(pid), signal.SIGKILL)
            try:
                _, at = fifos[k.name].line_of(name, seconds=5)
                took[k.name].append((at - start) * 1000)
            except TimeoutError:
                table.skip(f"heal by {k.name}", "an agent was not brought back within 5 s")
    for k in keepers:
        if k.name != "agents" and took[k.name]:
            table.add("agent killed, next one runs (p50)", statistics.median(took["agents"]), "ms", k.name, statistics.median(took[k.name]), ratio_max=1)
    table.add("agent killed, next one runs (max of 30)", max(took["agents"]), "ms")
    for k in keepers:
        k.down()


def kill(world, table, options):
    """100 sessions; the watchdog, then single hosts, then all hosts are killed. The agents must not notice."""
    count = 100
    fifo = Fifo(os.path.join(world.folder, "kill.fifo"))
    keeper = Agents(world, "kill")
    keeper.configure_probes(count, fifo)
    keeper.up()
    pids = {line.split()[0]: int(line.split()[1]) for line in fifo.lines(count)[0]}
    hash_folder = os.path.dirname(socket_of(world, "watchdog.sock"))
    watchdog = os.path.join(hash_folder, "watchdog.sock")
    sessions = {a["name"]: a["session"] for a in ask(watchdog, {"ask": "status"})["status"]["agents"]}

    def whole(answer):
        agents = answer.get("status", {}).get("agents", [])
        return len(agents) == count and all(a["state"] == "up" and a["pid"] == pids[a["name"]] for a in agents)

    def judge(what):
        alive = collections.Counter()
        for pid, name in world.processes("kill").items():
            if name in ("sleep", "sh", "agent.sh"):
                alive[pid] += 1
        status = {a["name"]: a for a in json.loads(output(["agents", "status", "--json"], keeper.env, keeper.folder))["agents"]}
        adopted = sum(alive[pid] == 1 for pid in pids.values())
        doubled = sum(1 for pid in alive if pid not in pids.values())
        wrong = sum(status.get(n, {}).get("state") != "up" or status[n]["pid"] != pid for n, pid in pids.items())
        print(f"  {what}: {adopted} of {count} adopted, {doubled} doubled, {count - adopted} lost, {wrong} mislabelled", flush=True)
        table.add(f"{what}: agents lost, doubled or mislabelled", (count - adopted) + doubled + wrong, "", most=0)

    took = []
    for _ in range(options.rounds * 2):
        old = ask(watchdog, {"ask": "status"})["status"]["watchdog"]["pid"]
        start = time.monotonic()
        os.kill(old, signal.SIGKILL)
        _, at = ask_until(watchdog, {"ask": "status"}, whole)
        took.append((at - start) * 1000)
    table.add("watchdog killed, 100 sessions: all told right again", statistics.median(took), "ms", most=50)
    judge("watchdog killed")

    def hosts():
        found = {}
        for pid in keeper.own():
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().split("\0")
            if "host" in words:
                found[words[words.index("--session") + 1]] = pid
        return found

    def host_good(name):
        return lambda answer: answer.get("say") == "report" and answer["status"]["state"] == "up" and answer["status"]["pid"] == pids[name]

    took, of = [], hosts()
    for name in names(count)[:20]:
        start = time.monotonic()
        os.kill(of[sessions[name]], signal.SIGKILL)
        _, at = ask_until(os.path.join(hash_folder, f"{sessions[name]}.sock"), {"ask": "status"}, host_good(name))
        took.append((at - start) * 1000)
    table.add("one host killed, 100 sessions: its agent adopted", statistics.median(took), "ms", most=50)
    judge("hosts killed one by one")

    of = hosts()
    start = time.monotonic()
    for pid in of.values():
        os.kill(pid, signal.SIGKILL)
    for name in names(count):
        _, at = ask_until(os.path.join(hash_folder, f"{sessions[name]}.sock"), {"ask": "status"}, host_good(name))
    table.add("100 hosts killed at once: all agents adopted", (at - start) * 1000, "ms")
    ask_until(watchdog, {"ask": "status"}, whole)
    judge("100 hosts killed")
    keeper.down()


def idle(world, table, options):
    """100 sessions of each, side by side over the same time: CPU, wake-ups, memory."""
    count = 100
    keepers = peers(world, table, "idle", [Agents, Dtach, S6, Tmux])
    for k in keepers:
        fifo = Fifo(os.path.join(world.folder, f"idle-{k.name}.fifo"))
        k.configure_probes(count, fifo)
        k.up()
        fifo.lines(count)
    time.sleep(5)
    own = {k.name: k.own() for k in keepers}
    before = {name: usage(pids) for name, pids in own.items()}
    time.sleep(options.idle_seconds)
    after = {name: usage(pids) for name, pids in own.items()}
    memory = {name: sum(pss_kb(pid) for pid in pids) / count for name, pids in own.items()}
    same = {k.name: sorted(k.own()) == sorted(own[k.name]) for k in keepers}
    if not same["agents"]:
        table.skip("idle", "our processes changed meanwhile")
    ticks, switches = ({name: after[name][i] - before[name][i] for name in own} for i in (0, 1))
    what = f"idle, 100 sessions, {options.idle_seconds} s"
    for name in own:
        if name != "agents":
            table.add(f"{what}: CPU", ticks["agents"], "ticks", name, ticks[name], most=0)
            table.add(f"{what}: wake-ups", switches["agents"], "", name, switches[name], most=0)
    for name in own:
        if name != "agents":
            table.add("memory a session adds (PSS, 100 sessions)", memory["agents"], "kB", name, memory[name], most=400)
    # The same sessions serve for the cost of a look at them.
    took = interleaved(
        20,
        ours=lambda: timed(["agents", "status"], keepers[0].env, keepers[0].folder) * 1000,
        **{k.name: (lambda k=k: timed(k.run("ls"), k.env) * 1000) for k in keepers if k.name == "tmux"},
    )
    table.add("agents status, 100 agents up", took["ours"], "ms", "tmux ls", took.get("tmux"), ratio_max=1.5)
    for k in keepers:
        k.down()


PRINTER = """#!/bin/sh
read -r _ <"$2"
i=0
while [ $i -lt 100 ]; do cat "$1"; i=$((i + 1)); done
echo done >"$3"
exec sleep 1000000
"""


def printing(world, table, options):
    """100 MB of lines from an agent that nobody looks at."""
    script = world.write("printer.sh", PRINTER, 0o755)
    line = "".join(chr(33 + i % 90) for i in range(78)) + "\n"
    block = world.write("block", (line * (1_000_000 // len(line) + 1))[:1_000_000])
    done = Fifo(os.path.join(world.folder, "printed.fifo"))
    keepers = peers(world, table, "print", [Agents, Dtach, Tmux])
    results = collections.defaultdict(list)
    for turn in range(options.rounds):
        for k in keepers:
            go = Fifo(os.path.join(world.folder, f"go-{k.name}-{turn}.fifo"))
            command = [script, block, go.path, done.path]
            k.count = 1
            if k.name == "agents":
                k.configure({"p": command})
            else:
                if k.name == "tmux":
                    k.conf()
                k.loop(" ".join(command))
            k.up()
            own = k.own()
            cpu, size = settled_ticks(own), sum(status_number(pid, "VmRSS") for pid in own)
            start = time.monotonic()
            os.write(go.fd, b"go\n")
            _, at = done.lines(1, seconds=300)
            cpu = settled_ticks(own) - cpu
            grown = sum(status_number(pid, "VmRSS") for pid in own) - size
            results[k.name].append(((at - start) * 1000, cpu * 10, grown))
            k.down()
            world.end(k.part)
    middle = {name: [statistics.median(values) for values in zip(*rows)] for name, rows in results.items()}
    ours = middle["agents"]
    if "dtach" in middle:
        table.add("100 MB printed, nobody attached: wall", ours[0], "ms", "dtach", middle["dtach"][0], ratio_max=1.1)
        table.add("100 MB printed, nobody attached: CPU", ours[1], "ms", "dtach", middle["dtach"][1])
    if "tmux" in middle:
        table.add("100 MB printed, nobody attached: wall", ours[0], "ms", "tmux", middle["tmux"][0])
        table.add("100 MB printed, nobody attached: CPU", ours[1], "ms", "tmux", middle["tmux"][1], ratio_max=0.25)
    table.add("100 MB printed: memory grown by", ours[2], "kB", "tmux", middle.get("tmux", [0, 0, None])[2])


TALKER = """#!/bin/sh
seq -f 'line %.0f of a transcript that is about as wide as what people read in a terminal' 1 60000
echo done >"$1"
exec sleep 1000000
"""


def capture(world, table, options):
    script = world.write("talker.sh", TALKER, 0o755)
    keepers = peers(world, table, "capture", [Agents, Tmux])
    for k in keepers:
        done = Fifo(os.path.join(world.folder, f"said-{k.name}.fifo"))
        k.count = 1
        if k.name == "agents":
            k.configure({"p": [script, done.path]})
        else:
            k.conf()
            k.loop(f"{script} {done.path}")
        k.up()
        done.lines(1)
        settled_ticks(k.own())
    ours, theirs = keepers[0], keepers[1] if len(keepers) > 1 else None
    session = ours.status()["agents"][0]["session"]
    for lines, what, goal in ((2000, "2,000 of 60,000 lines", 1), (50000, "50,000 of 60,000 lines", 1), (60000, "all lines", None)):
        argv = ["agents", "capture", session, "--lines", str(lines)]
        got = output(argv, ours.env, ours.folder).decode().splitlines()
        if len(got) < lines or f"line {60001 - lines} of" not in "\n".join(got):
            table.skip(f"capture of {what}", f"only {len(got)} lines came")
            continue
        took = interleaved(
            options.rounds * 4,
            ours=lambda: timed(argv, ours.env, ours.folder) * 1000,
            **({"tmux": lambda: timed(theirs.run("capture-pane", "-p", "-t", names(1)[0], "-S", f"-{lines}"), theirs.env) * 1000} if theirs else {}),
        )
        table.add(f"capture of {what}", took["ours"], "ms", "tmux capture-pane", took.get("tmux"), ratio_max=goal)
    for k in keepers:
        k.down()
