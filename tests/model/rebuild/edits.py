#!/usr/bin/env python3
"""Random Dockerfiles under random edits (other sources of the same names, swapped mounts, moved and changed steps, and back again): an engine that
remembers all of it gives the tree that one gives which remembers nothing.

    edits.py PROGRAMS [--mode embedded|daemon] [--rounds N] [--seconds N] [--seed N]

Prints its seed; a failing one is played again with --seed and the printed --rounds."""
import argparse
import copy
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from engine import Engine, read_limits
from rebuild import busybox_root
from trees import difference, read_tar

PLACES = ["p", "q", "d/sub", "d/other", "d", "l"]
FILES = ["f", "g", "h/f"]
CONTENTS = ["one", "two", "three"]
LOOK = "busybox find {} | busybox sort | while read p; do busybox stat -c '%n %a %u %g %F' $p; [ ! -f $p ] || busybox md5sum $p; done > /seen{}"
BUILDS_PER_RUN = 20


class Wrong(Exception):
    """The engine that remembers differs from the one that does not."""


def context(path):
    """Files of the same names in several folders, and a link from one folder to another."""
    for place in PLACES[:5]:
        for name in FILES:
            file = os.path.join(path, place, name)
            os.makedirs(os.path.dirname(file), exist_ok=True)
            with open(file, "w") as out:
                out.write(place)
    os.symlink("q", os.path.join(path, "l"))


def edit_context(path, rng):
    with open(os.path.join(path, rng.choice(PLACES[:5]), rng.choice(FILES)), "w") as out:
        out.write(rng.choice(CONTENTS))


class Dockerfile:
    """Stages; each is what it stands on and its steps, which are dicts of what an edit may change."""

    def __init__(self, rng):
        self.argument = "p"
        self.stages = []
        for number in range(rng.randint(2, 4)):
            self.stages.append({"base": self.some_base(rng, number), "steps": [self.some_step(rng, number) for _ in range(rng.randint(1, 4))]})

    def some_base(self, rng, number):
        return rng.choice(["based", "scratch", *(f"s{earlier}" for earlier in range(number))])

    def some_step(self, rng, stage):
        kind = rng.choice(["COPY"] * 5 + ["ADD", "RUN", "RUN", "ENV", "WORKDIR", "HEREDOC"])
        return {"kind": kind, "from": self.some_origin(rng, stage), "flags": rng.choice([[]] * 4 + [[self.some_flag(rng)]]),
                "sources": [self.some_source(rng) for _ in range(rng.choice([1, 1, 2, 3]))], "target": rng.choice(["/t/", "/u/", "t/", "/t/u/"]),
                "mounts": [self.some_mount(rng, stage) for _ in range(rng.randint(1, 3))], "word": rng.choice(CONTENTS)}

    def some_origin(self, rng, stage):
        return rng.choice([None, None, *(f"s{earlier}" for earlier in range(stage))])

    def some_flag(self, rng):
        return rng.choice(["--chmod=0640", "--chmod=u+x", "--chown=7:8", "--link", "--parents", "--exclude=*/f", "--exclude=g", "--link --chown=9"])

    def some_source(self, rng):
        return rng.choice([*PLACES, *(f"{place}/{name}" for place in PLACES for name in FILES), "$A", "$A/f", "*/f", "p/*", "d/*/f"])

    def some_mount(self, rng, stage):
        return {"from": self.some_origin(rng, stage), "source": rng.choice(["p", "q", "d", "d/sub", "p/f", "q/f", "l", ""]), "target": rng.choice("mno"),
                "writable": rng.random() < 0.2}

    def edit(self, rng):
        number = rng.randrange(len(self.stages))
        steps, kind = self.stages[number]["steps"], rng.randrange(12)
        step = rng.choice(steps)
        if kind == 0:
            rng.shuffle(steps)
        elif kind == 1 and len(steps) > 1:
            steps.remove(step)
        elif kind == 2:
            steps.insert(rng.randint(0, len(steps)), self.some_step(rng, number))
        elif kind == 3:
            self.argument = rng.choice(PLACES)
        elif kind == 4:
            self.stages[number]["base"] = self.some_base(rng, number)
        elif kind == 5:
            step["from"] = self.some_origin(rng, number)
        elif kind == 6:
            step["flags"] = [] if step["flags"] else [self.some_flag(rng)]
        elif kind == 7:
            step["word"] = rng.choice(CONTENTS)
        elif step["kind"] == "RUN":
            mounts = step["mounts"]
            first, second = rng.choice(mounts), rng.choice(mounts)
            field = rng.choice(["source", "target", "from"])
            if first is second:
                first[field] = self.some_mount(rng, number)[field]
            else:
                first[field], second[field] = second[field], first[field]
        else:
            if kind == 8:
                step["sources"][rng.randrange(len(step["sources"]))] = self.some_source(rng)
            else:
                rng.shuffle(step["sources"])

    def text(self):
        lines = ["FROM scratch AS based", "COPY --from=base / /", "ENV PATH=/bin"]
        for number, stage in enumerate(self.stages):
            lines += [f"FROM {stage['base']} AS s{number}", f"ARG A={self.argument}", "COPY . /t/", f"COPY <<EOF /t/{PLACES[number]}/f", f"{number}", "EOF"]
            for position, step in enumerate(stage["steps"]):
                lines += self.lines(step, f"{number}{position}", self.has_shell(stage["base"]))
        return "\n".join([*lines, "FROM scratch", *(f"COPY --from=s{number} / /s{number}/" for number in range(len(self.stages)))]) + "\n"

    def has_shell(self, base):
        return base == "based" or (base != "scratch" and self.has_shell(self.stages[int(base[1:])]["base"]))

    def lines(self, step, name, shell):
        origin = [f"--from={step['from']}"] if step["from"] else []
        if step["kind"] in ("COPY", "ADD"):
            sources = [f"/t/{source}" if origin and step["kind"] == "COPY" else source for source in step["sources"]]
            return [" ".join([step["kind"], *(origin if step["kind"] == "COPY" else []), *step["flags"], *sources, step["target"]])]
        if step["kind"] == "RUN" and shell:
            mounts = [f"--mount=type=bind,source=/{mount['source']},target=/{mount['target']}" + (f",from={mount['from']}" if mount["from"] else "") +
                      (",rw" if mount["writable"] else "") for mount in step["mounts"]]
            targets = " ".join(sorted({"/" + mount["target"] for mount in step["mounts"]}))
            return [" ".join(["RUN", *mounts, LOOK.format(targets, name)])]
        if step["kind"] == "HEREDOC":
            return [f"COPY <<EOF {step['target']}{step['sources'][0].split('/')[0].strip('*$')}.txt", f"{step['word']} $A", "EOF"]
        return [f"WORKDIR /{step['word']}" if step["kind"] == "WORKDIR" else f"ENV A={step['sources'][0].strip('*$')}"]


class Run:
    def __init__(self, programs, daemon, seed):
        self.rng, self.work = random.Random(seed), tempfile.mkdtemp(prefix="cachalot-edits.")
        self.context = os.path.join(self.work, "context")
        context(self.context)
        self.engines = []
        for name, lives in (("warm", daemon), ("cold", True)):
            os.mkdir(os.path.join(self.work, name))
            self.engines.append(Engine(programs, os.path.join(self.work, name), lives))
        self.builds = self.failed = 0

    def play(self, builds, deadline):
        dockerfile, known = Dockerfile(self.rng), []
        for _ in range(builds):
            if time.monotonic() > deadline:
                break
            known.append(copy.deepcopy(dockerfile))
            if self.rng.random() < 0.3:
                dockerfile = copy.deepcopy(self.rng.choice(known))
            for _ in range(self.rng.randint(0, 3)):
                dockerfile.edit(self.rng)
            if self.rng.random() < 0.2:
                edit_context(self.context, self.rng)
            if self.rng.random() < 0.1:
                self.engines[0].restart(self.rng.choice([signal.SIGTERM, signal.SIGKILL]))
            if not self.build(dockerfile.text()) and self.rng.random() < 0.8:
                dockerfile = known.pop()

    def build(self, text):
        """Whether the Dockerfile is free of errors."""
        with open(os.path.join(self.work, "Dockerfile"), "w") as file:
            file.write(text)
        self.engines[1].prune("--all")
        arguments = ["--build-context", "base=" + busybox_root(self.work)]
        outputs, done = [os.path.join(self.work, name) for name in ("warm.tar", "cold.tar")], []
        for engine, output, extra in zip(self.engines, outputs, ([], ["--no-cache"])):
            done.append(engine.build(self.context, os.path.join(self.work, "Dockerfile"), output, *arguments, *extra))
        self.builds += 1
        warm, cold = done
        if warm.code != cold.code:
            raise Wrong(f"exit code {warm.code} warm, {cold.code} cold\n{text}\n{warm.log}\n{cold.log}")
        if cold.code != 0:
            self.failed += 1
            return False
        wrong = difference(read_tar(outputs[1]), read_tar(outputs[0]))
        if wrong:
            raise Wrong(f"{wrong}\n{text}\n{warm.log}")
        return True

    def close(self):
        for engine in self.engines:
            engine.close()

    def abandon(self):
        for engine in self.engines:
            engine.abandon()
        shutil.rmtree(self.work, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs")
    parser.add_argument("--mode", choices=["embedded", "daemon"], default="daemon")
    options, first, wanted, deadline = read_limits(parser)
    builds = failed = wrong = 0
    for seed in itertools.count(first):
        if builds >= wanted or time.monotonic() >= deadline:
            break
        run = Run(options.programs, options.mode == "daemon", seed)
        try:
            run.play(min(BUILDS_PER_RUN, wanted - builds), deadline)
            run.close()
        except (Wrong, AssertionError) as error:
            wrong += 1
            print(f"WRONG after {run.builds} builds: {error}\nagain: --mode {options.mode} --seed {seed} --rounds {run.builds}", flush=True)
        finally:
            run.abandon()
        builds, failed = builds + run.builds, failed + run.failed
    print(f"{options.mode}: from seed {first}, {builds} builds, {failed} of them of Dockerfiles in error, {wrong} wrong")
    return 1 if wrong or failed * 10 > builds * 9 else 0


if __name__ == "__main__":
    sys.exit(main())
