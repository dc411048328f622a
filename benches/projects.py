"""Projects: how fast many are looked at, created, and moved to another engine."""

import os
import shutil
import subprocess

from kit import interleaved, output, timed


def sh(script, env, cwd):
    return timed(["sh", "-ec", script], env, cwd)


def engine(world, env):
    """A harness as its own repository: an engine of a real one's size, 150 commits, two tags."""
    folder = os.path.join(world.folder, "engine.git")
    if not os.path.exists(folder):
        work = os.path.join(world.folder, "engine-work")
        root = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "engine")
        shutil.copytree(root, work, ignore=shutil.ignore_patterns("target", "Cargo.lock"))
        # The engine that looks after the bumped project is not what is measured: `check` says yes.
        manifest = '[engine]\nname = "agents"\nversion = "0.1.0"\nprotocol = 1\n[commands]\nup = ["true"]\ndown = ["true"]\ncheck = ["true"]\n'
        world.write("engine-work/engine.toml", manifest)
        sh(
            """
            git init -q . && git add -A && git commit -qm 'Start'
            for i in $(seq 1 149); do echo $i > note; git add note; git commit -qm "Change $i"; [ $i != 120 ] || git tag -am v0.1.0 v0.1.0; done
            git tag -am v0.2.0 v0.2.0
            git clone -q --bare . ../engine.git
            """,
            env,
            work,
        )
    return folder


def template(world, env, files):
    """One project with the engine as its submodule at v0.1.0 and as many files as asked for."""
    url = engine(world, env)
    folder = world.path("template")
    world.write("template/agents.toml", '[agent.one]\nbackend = "shell"\n')
    for n in range(files):
        world.write(f"template/src/{n % 10}/{n}.txt", f"file {n}\n" * 4)
    sh(
        f"""
        git init -q . && git submodule --quiet add {url} engine && git -C engine checkout -q v0.1.0
        git add -A && git commit -qm 'A project' && git status --short
        """,
        env,
        folder,
    )
    return folder


def copies(world, env, count, files, name="projects"):
    source = os.path.join(world.folder, "template")
    if not os.path.exists(source):
        template(world, env, files)
    target = world.path(name)
    sh(f"seq -f p%04.0f 1 {count} | xargs -P2 -I@ cp -r {source} {target}/@", env, world.folder)
    # Copies have inodes and times of their own: git reads them once, as after any checkout.
    sh("for p in */; do git -C $p status --short; git -C $p/engine status --short; done", env, target)
    return target


def home_of(world, env, projects, name, commit):
    """A home whose registry names every folder in `projects`."""
    home = world.path(name)
    timed(["fleet", "init", home], env, world.folder)
    registry = os.path.join(home, "fleet.toml")
    with open(registry, "a") as file:
        file.write(f'\n[harness.bench]\nurl = "{os.path.join(world.folder, "engine.git")}"\nref = "v0.1.0"\n')
        for p in sorted(os.listdir(projects)):
            location = os.path.join(projects, p)
            file.write(f'\n[[project]]\nname = "{p}"\nlocation = "{location}"\nharness = "bench"\nref = "v0.1.0"\ncommit = "{commit}"\n')
    return home


def commit_of(world, tag):
    done = subprocess.run(["git", "-C", f"{world.folder}/engine.git", "rev-parse", f"{tag}^{{commit}}"], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode().strip()


def installed(world, program):
    return shutil.which(program, path=world.plain["PATH"])


def status(world, table, options):
    env = world.env("status")
    for count in [int(n) for n in options.projects.split(",")]:
        projects = copies(world, env, count, options.files, f"projects-{count}")
        home = home_of(world, env, projects, f"home-{count}", commit_of(world, "v0.1.0"))
        mrconfig = world.write(f"mrconfig-{count}", "".join(f"[{projects}/{p}]\ncheckout = true\n" for p in sorted(os.listdir(projects))))
        ms = lambda argv, cwd=home, check=True: timed(argv, env, cwd, check) * 1000
        short = {"ours": lambda: ms(["fleet", "status"])}
        long = {"long": lambda: ms(["fleet", "status", "--long"])}
        if "--long" not in output(["fleet", "status", "--help"], env).decode():
            long = {}
            table.skip("fleet status --long", "this version does not have it")
        if installed(world, "gfold"):
            long["gfold"] = lambda: ms(["gfold", projects])
        else:
            table.skip("status beside gfold", "it is not installed")
        took = interleaved(max(options.rounds, 10 if count <= 100 else 5), **short, **long)
        # The slow peers take seconds, so their median is over fewer rounds.
        slow = {"git submodule status": lambda: ms(["sh", "-c", f"for p in {projects}/*/; do git -C $p submodule status; done"])}
        if installed(world, "mr"):
            slow["mr -j2 status"] = lambda: ms(["mr", "-j", "2", "-t", "-c", mrconfig, "status"], world.folder)
        else:
            table.skip("status beside mr", "it is not installed")
        took |= interleaved(1 if count > 100 else 3, **slow)
        goals = {"git submodule status": 1 / 100, "mr -j2 status": 1 / 40, "gfold": 1 / 10}
        what = f"fleet status, {count} projects that are down"
        for peer, goal in goals.items():
            if peer in took:
                table.add(what, took["ours"], "ms", peer, took[peer], ratio_max=goal if count == 1000 else None)
        if "gfold" in took and "long" in took:
            table.add(f"fleet status --long, {count} projects", took["long"], "ms", "gfold", took["gfold"], ratio_max=0.5 if count == 1000 else None)
        shutil.rmtree(projects)


def create(world, table, options):
    """A project with an engine of 150 commits, beside what `git submodule add` alone takes."""
    env = world.env("create")
    url = engine(world, env)
    home, projects = home_of(world, env, world.path("none"), "create-home", ""), world.path("created")
    turn = {"ours": 0, "theirs": 0}

    def ours():
        turn["ours"] += 1
        name = f"c{turn['ours']}"
        return timed(["fleet", "create", name, "--path", f"{projects}/{name}", "--harness", "bench"], env, home) * 1000

    def theirs():
        turn["theirs"] += 1
        folder = world.path(f"added/{turn['theirs']}")
        sh("git init -q . && git commit -q --allow-empty -m start", env, folder)
        return timed(["git", "submodule", "--quiet", "add", url, "engine"], env, folder) * 1000

    ours()
    took = interleaved(options.rounds * 2, ours=ours, theirs=theirs)
    table.add("fleet create, engine of 150 commits", took["ours"], "ms", "git submodule add", took["theirs"], ratio_max=0.7)


def bump(world, table, options):
    """100 pins from v0.1.0 to v0.2.0, beside the two git commands that do no more than that."""
    env, count = world.env("bump"), 100
    engine(world, env)
    turn = {"ours": 0, "theirs": 0}

    def fresh(who):
        turn[who] += 1
        return copies(world, env, count, 20, f"bump-{who}-{turn[who]}")

    def ours():
        projects = fresh("ours")
        home = home_of(world, env, projects, f"bump-home-{turn['ours']}", commit_of(world, "v0.1.0"))
        took = timed(["fleet", "update", "--all", "v0.2.0"], env, home) * 1000
        check(projects)
        return took

    def theirs():
        projects = fresh("theirs")
        each = "git -C $0/engine checkout -q v0.2.0 && git -C $0 commit -q --only -m bump -- engine"
        took = sh(f"printf '%s\\n' * | xargs -P2 -n1 sh -ec '{each}'", env, projects) * 1000
        check(projects)
        return took

    def check(projects):
        goal = commit_of(world, "v0.2.0")
        for p in os.listdir(projects):
            pin = subprocess.run(["git", "-C", f"{projects}/{p}", "rev-parse", "HEAD:engine"], env=env, stdout=subprocess.PIPE).stdout.decode().strip()
            if pin != goal:
                raise RuntimeError(f"{p} stands at {pin}, not at {goal}")

    took = interleaved(min(options.rounds, 3), ours=ours, theirs=theirs)
    table.add("100 pins bumped", took["ours"], "ms", "xargs -P2 checkout, commit", took["theirs"], ratio_max=1.2)
