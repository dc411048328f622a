"""The task queue beside nq and pueue: adding, running many, listing, and what it costs while it waits."""

import json
import os
import statistics
import subprocess
import time

from keepers import Keeper
from kit import Missing, interleaved, output, pss_kb, settled_ticks, timed

CONFIG = """[project]
name = "queue"
[agent.worker]
backend = "run"
[backend.run]
start = ["true"]
task = ["true"]
[tasks]
parallel = 2
keep_count = 1000000
"""
FINISHED = 10_000
LIVE = 100


class Queue(Keeper):
    """Ours: the queue of one project."""

    name, program = "tasks", "agents"

    def __init__(self, world, part):
        super().__init__(world, part)
        world.write(f"{part}/agents.toml", CONFIG)
        # The engine takes no folder into which others could look.
        os.umask(0o077)
        info = json.loads(output(["agents", "info", "--json"], self.env, self.folder))
        self.tasks = os.path.join(info["data"], "tasks")

    def add(self):
        return timed(["agents", "task", "add", "true"], self.env, self.folder) * 1000

    def stop(self):
        """Tasks stay where they are put."""
        os.makedirs(self.tasks, exist_ok=True)
        open(os.path.join(self.tasks, "stopped"), "w").close()

    def fill(self, count):
        """As if so many had been done."""
        done = os.path.join(self.tasks, "finished/done")
        os.makedirs(done, exist_ok=True)
        at = "2026-01-01T10:00:00Z"
        for n in range(1_000_001, 1_000_001 + count):
            folder = os.path.join(done, f"t{n}")
            os.mkdir(folder, 0o700)
            attempt = {"started_at": at, "ended_at": at, "outcome": "done", "exit": {"status": 0}}
            record = {"task": f"t{n}", "agent": "worker", "created_at": at, "by": "operator", "attempts": [attempt], "prompt": "true"}
            with open(os.path.join(folder, "task.json"), "w") as file:
                json.dump(record, file)

    def end(self):
        timed(["agents", "down"], self.env, self.folder)
        self.world.end(self.part)


class Nq(Keeper):
    name, program = "nq", "nq"

    def __init__(self, world, part):
        super().__init__(world, part)
        self.env = dict(self.env, NQDIR=self.folder)

    def add(self):
        return timed(["nq", "-q", "true"], self.env) * 1000

    def fill(self, count):
        for n in range(count):
            open(os.path.join(self.folder, f",{0x19b00000000 + n:x}.{n % 30000 + 2}"), "w").close()

    def end(self):
        subprocess.run(["nq", "-w"], env=self.env, timeout=600, stdout=subprocess.DEVNULL)
        self.world.end(self.part)


class Pueue(Keeper):
    name, program = "pueue", "pueue"

    def __init__(self, world, part):
        super().__init__(world, part)
        # The daemon keeps what it is given, so its end is not waited for on a pipe.
        subprocess.run(["pueued", "-d"], env=self.env, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while subprocess.run(["pueue", "status"], env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            if time.monotonic() > deadline:
                raise Missing("pueued does not answer")
            time.sleep(0.05)
        timed(["pueue", "parallel", "2"], self.env)

    def add(self):
        return timed(["pueue", "add", "--", "true"], self.env) * 1000

    def end(self):
        timed(["pueue", "shutdown"], self.env, check=False)
        self.world.end(self.part)


def peer(world, table, kind, part):
    try:
        return kind(world, part)
    except Missing as missing:
        table.skip(part, missing)
        return None


def tasks(world, table, options):
    rounds = max(options.rounds * 6, 30)
    adding(world, table, rounds)
    running(world, table)
    waiting(world, table, options)


def adding(world, table, rounds):
    """One more, with none and with many finished ones; and a look at them."""
    ours = {n: Queue(world, f"add{n}") for n in (0, FINISHED)}
    for n, queue in ours.items():
        queue.stop()
        queue.fill(n)
        queue.add()
    nqs = {n: peer(world, table, Nq, f"nq{n}") for n in (0, FINISHED)}
    pueue = peer(world, table, Pueue, "pueue")
    if nqs[FINISHED]:
        nqs[FINISHED].fill(FINISHED)
    actions = {"none": ours[0].add, "many": ours[FINISHED].add}
    actions.update({f"nq{n}": q.add for n, q in nqs.items() if q})
    if pueue:
        actions["pueue"] = pueue.add
    # A sync waits for whatever others have written before it, too: here for the 10,000 folders, and for what the peers leave to be written later.
    took = interleaved(rounds, **{name: lambda add=add: (os.sync(), add())[1] for name, add in actions.items()})
    table.add("task add, on disk for good when it returns", took["none"], "ms", "nq", took.get("nq0"), ratio_max=1.0)
    table.add("the same", took["none"], "ms", "pueue", took.get("pueue"), ratio_max=0.5)
    table.add(f"task add with {FINISHED:,} finished", took["many"], "ms", "with none", took["none"], ratio_max=1.1)
    table.add("the same", took["many"], "ms", f"nq with {FINISHED:,}", took.get(f"nq{FINISHED}"))
    queue = ours[FINISHED]
    while len(os.listdir(os.path.join(queue.tasks, "pending"))) < LIVE:
        queue.add()
    actions = {"ours": lambda: timed(["agents", "task", "list"], queue.env, queue.folder) * 1000}
    if nqs[FINISHED]:
        folder = nqs[FINISHED].folder
        actions["ls"] = lambda: timed(["ls", folder], queue.env) * 1000
    took = interleaved(rounds, **actions)
    table.add(f"task list, {FINISHED:,} finished, {LIVE} live", took["ours"], "ms", "ls of nq's folder", took.get("ls"), ratio_max=1.0)
    for q in [*ours.values(), *(q for q in nqs.values() if q), *([pueue] if pueue else [])]:
        q.end()


def running(world, table):
    """A thousand to the end, two at once, each with log and record."""
    count, seconds = 1000, {}
    for turn in range(3):
        queue = Queue(world, f"run{turn}")
        world.write(f"run{turn}/many.jsonl", '{"prompt": "true"}\n' * count)
        start = time.monotonic()
        timed(["agents", "task", "add", "--from", "many.jsonl"], queue.env, queue.folder)
        timed(["agents", "task", "wait"], queue.env, queue.folder)
        seconds.setdefault("ours", []).append(time.monotonic() - start)
        done = len(os.listdir(os.path.join(queue.tasks, "finished/done")))
        if done != count:
            raise RuntimeError(f"{done} of {count} are done")
        queue.end()
        # nq runs one at a time in a folder, so two folders are two at once.
        try:
            two = [Nq(world, f"nqrun{turn}{half}") for half in "ab"]
        except Missing as missing:
            table.skip("1,000 tasks", missing)
            continue
        start = time.monotonic()
        loops = [subprocess.Popen(["sh", "-c", f"i=0; while [ $i -lt {count // 2} ]; do nq -q true; i=$((i+1)); done; nq -w"], env=q.env, cwd=q.folder, stdout=subprocess.DEVNULL) for q in two]
        for loop in loops:
            loop.wait()
        seconds.setdefault("nq", []).append(time.monotonic() - start)
        for q in two:
            q.end()
    median = {name: statistics.median(values) for name, values in seconds.items()}
    table.add("1,000 tasks `true`, two at once, to the end", median["ours"], "s", "nq", median.get("nq"), ratio_max=2.0)


def waiting(world, table, options):
    """A queue that waits for its time: memory with none and with many finished, and what it costs."""
    memory = {}
    for n in (0, FINISHED):
        queue = Queue(world, f"wait{n}")
        queue.fill(n)
        # One that runs keeps the watchdog; one waits for it.
        world.write(f"wait{n}/agents.toml", CONFIG.replace('task = ["true"]', 'task = ["sleep", "1000000"]'))
        queue.add()
        timed(["agents", "task", "add", "true", "--after", "t1"] if n == 0 else ["agents", "task", "add", "true", "--after", "t1000001"], queue.env, queue.folder)
        pids = [pid for pid, name in queue.world.processes(queue.part).items() if name not in ("sleep", "sh")]
        settled_ticks(pids)
        memory[n] = sum(pss_kb(pid) for pid in pids)
        if n:
            before = settled_ticks(pids)
            time.sleep(options.idle_seconds)
            after = settled_ticks(pids)
            table.add(f"idle with a queue, {options.idle_seconds} s: CPU", after - before, "ticks", most=0)
        queue.end()
    table.add(f"memory with {FINISHED:,} finished (PSS, all daemons)", memory[FINISHED], "kB", "with none", memory[0], ratio_max=1.1)
