"""Programs that keep agents running, ours and the peers', behind one face: `up` starts n of the same agent, `down` ends them.

The agent is the same everywhere: a shell that says its name and pid into a fifo and becomes `sleep`.
"""

import os
import pty
import shutil
import subprocess
import threading
import time

from kit import Missing, output, timed

AGENT = """#!/bin/sh
echo "$1 $$" >"$2"
exec sleep 1000000
"""


def argv(world, name, fifo):
    script = world.write("agent.sh", AGENT, 0o755)
    return [script, name, fifo.path]


def names(count):
    return [f"a{i:03}" for i in range(count)]


class Keeper:
    name = ""
    program = ""

    def __init__(self, world, part=None):
        if not shutil.which(self.program, path=world.plain["PATH"]):
            raise Missing(f"{self.program} is not installed")
        self.world, self.part = world, part or self.name
        self.env = world.env(self.part)
        self.folder = world.path(self.part)

    def own(self):
        """Pids of the keeper's own processes: all that are marked, except the agents, which have become `sleep`."""
        return [pid for pid, name in self.world.processes(self.part).items() if name not in ("sleep", "sh", "agent.sh", "cat")]

    def down(self):
        self.world.end(self.part)


class Agents(Keeper):
    """Ours, one project: `agents up`."""

    name, program = "agents", "agents"

    def configure(self, agents, restart='backoff = "1ms..1s", burst = 1000, window = "10m"'):
        """`agents` is {name: argv}."""
        text = f'[project]\nname = "{self.part}"\nsession_prefix = "s"\n\n[defaults]\nrestart = {{ {restart} }}\n'
        for name, command in agents.items():
            text += f"\n[backend.{name}]\nstart = {list(command)!r}\n[agent.{name}]\nbackend = \"{name}\"\n".replace("'", '"')
        self.world.write(f"{self.part}/agents.toml", text)

    def configure_probes(self, count, fifo):
        self.configure({name: argv(self.world, name, fifo) for name in names(count)})

    def up(self):
        return timed(["agents", "up"], self.env, self.folder)

    def status(self):
        import json

        return json.loads(output(["agents", "status", "--json"], self.env, self.folder))

    def down(self):
        return timed(["agents", "down"], self.env, self.folder)


class Script(Keeper):
    """A peer that is driven by a loop in sh; `line` starts session `$n`."""

    line = ""

    @property
    def sockets(self):
        return os.path.join(self.world.runtime, self.part)

    def configure_probes(self, count, fifo):
        self.count, self.fifo = count, fifo
        self.loop(f"{' '.join(argv(self.world, '$n', fifo))}")

    def loop(self, command):
        os.makedirs(self.sockets, exist_ok=True)
        each = self.line.replace("FOLDER", self.folder).replace("SOCKETS", self.sockets).replace("COMMAND", command)
        self.script = f"for n in {' '.join(names(self.count))}; do {each} || exit 1; done"

    def up(self):
        return timed(["sh", "-c", self.script], self.env, self.folder)


class Dtach(Script):
    name, program = "dtach", "dtach"
    line = "dtach -n SOCKETS/$n COMMAND"


class Tmux(Script):
    name, program = "tmux", "tmux"
    line = "tmux -S SOCKETS/s -f FOLDER/conf new-session -d -s $n COMMAND"

    def configure_probes(self, count, fifo):
        self.conf()
        super().configure_probes(count, fifo)

    def conf(self):
        self.world.write(f"{self.part}/conf", "set -g history-limit 70000\n")

    def run(self, *args):
        return ["tmux", "-S", f"{self.sockets}/s", *args]


class S6(Keeper):
    """s6-svscan over one service directory each; an agent says that it is ready, as s6 wants it said."""

    name, program = "s6", "s6-svscan"

    def configure_probes(self, count, fifo):
        for name in names(count):
            command = " ".join(argv(self.world, name, fifo))
            self.world.write(f"{self.part}/scan/{name}/notification-fd", "3\n")
            self.world.write(f"{self.part}/scan/{name}/run", f"#!/bin/sh\necho >&3\nexec 3>&-\nexec {command}\n", 0o755)
        self.scan = f"{self.folder}/scan"

    def up(self):
        start = time.monotonic()
        with open(os.devnull, "r+") as null:
            self.process = subprocess.Popen(["s6-svscan", self.scan], env=self.env, stdin=null, stdout=null, stderr=null)
        return time.monotonic() - start

    def down(self):
        super().down()
        self.process.wait()


class Mprocs(Keeper):
    """mprocs wants a terminal: it gets one of its own, and what it draws is thrown away."""

    name, program = "mprocs", "mprocs"

    def configure_probes(self, count, fifo):
        text = "procs:\n"
        for name in names(count):
            command = ", ".join(f'"{word}"' for word in argv(self.world, name, fifo))
            text += f"  {name}:\n    cmd: [{command}]\n    autorestart: true\n"
        self.world.write(f"{self.part}/mprocs.yaml", text)

    def up(self):
        start = time.monotonic()
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(self.folder)
            os.execvpe("mprocs", ["mprocs", "--config", "mprocs.yaml"], self.env)
        threading.Thread(target=self.swallow, daemon=True).start()
        return time.monotonic() - start

    def swallow(self):
        try:
            while os.read(self.master, 65536):
                pass
        except OSError:
            pass

    def down(self):
        super().down()
        os.waitpid(self.pid, 0)
        os.close(self.master)
