"""What every measurement stands on: a world of its own, clocks, /proc, and a table at the end."""

import glob
import json
import os
import select
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")
MARK = "BENCH_WORLD"


class Missing(Exception):
    """A measurement that cannot be made here, and why."""


class World:
    """A temporary HOME with its own XDG folders. Whatever is started in it carries its mark, so that at the end all of it is ended by pid."""

    def __init__(self, binaries):
        self.folder = tempfile.mkdtemp(prefix="fb.", dir="/tmp")
        # Sockets lie in memory where a session's runtime folder does, as it does under every login; the peers' too.
        self.runtime = tempfile.mkdtemp(prefix="fb.", dir="/dev/shm" if os.path.isdir("/dev/shm") else "/tmp")
        self.bin = self.path("bin")
        os.symlink(os.path.join(binaries, "fleet"), os.path.join(self.bin, "fleet"))
        # Under this name the same program is the engine.
        os.symlink(os.path.join(binaries, "fleet"), os.path.join(self.bin, "agents"))
        keep = {k: os.environ[k] for k in ("LANG", "LC_ALL", "PYENV_ROOT") if k in os.environ}
        self.plain = dict(
            keep,
            PATH=self.bin + ":" + os.environ["PATH"],
            HOME=self.path("home"),
            XDG_CONFIG_HOME=self.path("config"),
            XDG_STATE_HOME=self.path("state"),
            XDG_CACHE_HOME=self.path("cache"),
            XDG_RUNTIME_DIR=self.runtime,
            TMPDIR=self.path("tmp"),
            TERM="xterm-256color",
            SHELL="/bin/sh",
        )
        run = lambda *argv: subprocess.run(argv, env=self.plain, check=True)
        run("git", "config", "--global", "user.name", "Bench")
        run("git", "config", "--global", "user.email", "bench@example.org")
        run("git", "config", "--global", "init.defaultBranch", "main")
        run("git", "config", "--global", "protocol.file.allow", "always")

    def path(self, name, mode=0o755):
        full = os.path.join(self.folder, name)
        os.makedirs(full, exist_ok=True)
        os.chmod(full, mode)
        return full

    def env(self, part="-"):
        """The environment of one part, whose processes `processes(part)` finds again."""
        return dict(self.plain, **{MARK: f"{self.folder}:{part}"})

    def write(self, name, text, mode=0o644):
        full = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(text)
        os.chmod(full, mode)
        return full

    def processes(self, part=None):
        """Living processes of a part, or of all of them, as {pid: name}."""
        wanted = f"{MARK}={self.folder}:" + ("" if part is None else part + "\0")
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                with open(f"/proc/{entry}/environ") as file:
                    if wanted not in file.read() + "\0":
                        continue
                with open(f"/proc/{entry}/stat") as file:
                    name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
            except (OSError, UnicodeDecodeError):
                continue
            if rest.split()[0] not in "ZX":
                found[int(entry)] = name
        return found

    def end(self, part=None):
        """Ends what still lives, by pid; returns how many there were."""
        before = 0
        for sign in (signal.SIGTERM, signal.SIGKILL, signal.SIGKILL):
            living = self.processes(part)
            before = max(before, len(living))
            for pid in living:
                try:
                    os.kill(pid, sign)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + 2
            while self.processes(part) and time.monotonic() < deadline:
                time.sleep(0.05)
        return before

    def close(self):
        self.end()
        for folder in (self.folder, self.runtime):
            shutil.rmtree(folder, ignore_errors=True)


class Fifo:
    """Lines that agents write; waiting for them is waiting on an event, so what is timed is the agent and not the looking."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path, self.rest = path, b""
        self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.poll = select.poll()
        self.poll.register(self.fd, select.POLLIN)

    def lines(self, count, seconds=60):
        """The next `count` lines, and when the last of them was there."""
        got, deadline = [], time.monotonic() + seconds
        while True:
            while b"\n" in self.rest and len(got) < count:
                line, self.rest = self.rest.split(b"\n", 1)
                got.append(line.decode())
            if len(got) == count:
                return got, time.monotonic()
            if not self.poll.poll(max(0, (deadline - time.monotonic()) * 1000)):
                raise TimeoutError(f"{len(got)} of {count} agents were heard of within {seconds} s")
            self.rest += os.read(self.fd, 65536)

    def line_of(self, name, seconds):
        """The next line that this agent wrote; what others wrote late is passed over."""
        deadline = time.monotonic() + seconds
        while True:
            (line,), at = self.lines(1, max(0, deadline - time.monotonic()))
            if line.split()[0] == name:
                return line, at

    def drain(self):
        self.rest = b""
        while self.poll.poll(0):
            os.read(self.fd, 65536)


def timed(argv, env, cwd=None, check=True):
    """Wall time of one command in seconds, its output thrown away."""
    with open(os.devnull, "r+") as null:
        start = time.monotonic()
        code = subprocess.Popen(argv, env=env, cwd=cwd, stdin=null, stdout=null, stderr=subprocess.PIPE)
        error = code.stderr.read()
        code.wait()
        took = time.monotonic() - start
    if check and code.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)[:200]} ended with {code.returncode}: {error.decode(errors='replace')[-600:]}")
    return took


def output(argv, env, cwd=None):
    done = subprocess.run(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)[:200]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-600:]}")
    return done.stdout


def begun(argv, env, cwd, said):
    """Starts a command as a shell does, which costs half of what a pipe and a Popen do; what it prints goes to the file `said`. Its pid."""
    before = os.getcwd()
    os.chdir(cwd)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        return os.posix_spawn(shutil.which(argv[0], path=env["PATH"]), argv, env, file_actions=actions)
    finally:
        os.chdir(before)


def interleaved(rounds, **actions):
    """Runs each action once a round, in turn, and gives the median of what each returned."""
    seen = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            seen[name].append(action())
    return {name: statistics.median(values) for name, values in seen.items()}


def ask(path, question, timeout=10):
    """One question to a daemon of the engine's: a frame of JSON there, a frame of JSON back."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout)
        s.connect(path)
        body = json.dumps(question).encode()
        s.sendall(struct.pack("<BBI", 1, 0, len(body)) + body)
        data = b""
        while True:
            more = s.recv(1 << 20)
            if not more:
                raise ConnectionError("ended")
            data += more
            if len(data) >= 6:
                kind, _, length = struct.unpack("<BBI", data[:6])
                if len(data) >= 6 + length:
                    payload = data[6 : 6 + length]
                    return json.loads(payload) if kind == 1 else payload


def ask_until(path, question, good, seconds=30):
    """Asks again and again until the answer is good; returns it and when it came."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            last = ask(path, question)
            if good(last):
                return last, time.monotonic()
        except (OSError, ValueError) as error:
            last = error
        time.sleep(0.0002)
    raise TimeoutError(f"{path}: {str(last)[:400]}")


def stat_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def status_number(pid, key):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(key + ":"):
                return int(line.split()[1])
    return 0


def pss_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def usage(pids):
    """CPU ticks and context switches so far, over all of them."""
    ticks = sum(stat_ticks(pid) for pid in pids)
    switches = sum(status_number(pid, k) for pid in pids for k in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"))
    return ticks, switches


def settled_ticks(pids):
    """CPU ticks once nothing moves any more."""
    last, still = None, 0
    while still < 5:
        now = sum(stat_ticks(pid) for pid in pids)
        still = still + 1 if now == last else 0
        last = now
        time.sleep(0.1)
    return last


def socket_of(world, name):
    found = glob.glob(f"{world.plain['XDG_RUNTIME_DIR']}/agents/*/{name}")
    if not found:
        raise FileNotFoundError(f"no {name} below {world.plain['XDG_RUNTIME_DIR']}/agents")
    return found[0]


class Table:
    """what | ours | peer | ratio | goal | ok"""

    def __init__(self):
        self.rows, self.notes = [], []

    def add(self, what, ours, unit, peer=None, theirs=None, ratio_max=None, most=None):
        """A goal is either a ratio to the peer that must not be passed, or an absolute `most`."""
        ratio = ours / theirs if theirs else None
        goal, ok = "", ""
        if ratio_max is not None and ratio is not None:
            goal, ok = f"<= {ratio_max:g}x", "yes" if ratio <= ratio_max else "NO"
        elif most is not None:
            goal, ok = f"<= {most:g} {unit}", "yes" if ours <= most else "NO"
        self.rows.append(
            (
                what,
                f"{number(ours)} {unit}",
                "" if theirs is None else f"{peer} {number(theirs)} {unit}",
                "" if ratio is None else f"{ratio:.2f}" if ratio >= 0.1 else f"1/{1 / ratio:.0f}" if ratio else "0",
                goal,
                ok,
            )
        )
        print("  " + " | ".join(cell for cell in self.rows[-1] if cell), flush=True)

    def skip(self, what, why):
        self.notes.append(f"skipped: {what}: {why}")
        print("  " + self.notes[-1], flush=True)

    def text(self):
        rows = [("what", "ours", "peer", "ratio", "goal", "ok")] + self.rows
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        line = lambda row: "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join([line(rows[0]), rule] + [line(row) for row in rows[1:]] + [""] + self.notes)


def number(value):
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
