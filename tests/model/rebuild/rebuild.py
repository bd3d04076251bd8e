#!/usr/bin/env python3
"""A rebuild is as right as a cold build: random trees, random edits and random events between builds, against a model.

    rebuild.py PROGRAMS [--mode embedded|daemon|clients] [--rounds N] [--seconds N] [--seed N [--events 0,3,5] [--size N]]

After every build the whole output is what the tree and the Dockerfile say, and a step that reads nothing that was not read before is CACHED.
A failing run prints its seed, is shrunk to the events that it needs, and prints how to play these again."""
import argparse
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from dockerfiles import Plan
from engine import Engine, read_limits
from trees import Tree, difference, read_tar

ROUNDS_PER_RUN = 25
PRUNES = [[], ["--all"], ["--filter", "type==source.local"], ["--filter", "type==regular"], ["--max-used-space", "1"], ["--filter", "until=1h"],
          ["--all", "--keep-duration", "1h"]]


class Wrong(Exception):
    """What the engine did is not what the model says."""


class Client:
    """One working directory with its Dockerfile, and another one that takes its place at times."""

    def __init__(self, work, name, rng, size, containers):
        self.base = os.path.join(work, name)
        os.mkdir(self.base)
        self.context, self.stash = os.path.join(self.base, "context"), os.path.join(self.base, "stash")
        Tree(self.stash).grow(rng, size // 2)
        self.tree = Tree(self.context)
        self.tree.grow(rng, size)
        self.containers, self.number = containers, 0
        self.plan = Plan(rng, containers)
        self.write_plan()

    def write_plan(self):
        self.dockerfile = self.plan.write(self.base, self.context)

    def swap(self):
        """Another tree under the same name."""
        os.rename(self.context, self.base + "/between")
        os.rename(self.stash, self.context)
        os.rename(self.base + "/between", self.stash)
        self.write_plan()


class Run:
    """One engine from its birth to its end, with all that happens to it. What happens is a list of (kind, seed) that can be played in part."""

    def __init__(self, programs, mode, seed, size=None):
        self.programs, self.mode, self.seed = programs, mode, seed
        rng = random.Random(seed)
        self.size = size if size is not None else rng.choice([5, 30, 150, 260, 260, 260, 400, 700, 3000 if rng.random() < 0.3 else 300])
        self.containers = rng.random() < 0.25
        self.events = []
        for _ in range(ROUNDS_PER_RUN):
            for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
                self.events.append(("edit", rng.random()))
            if rng.random() < 0.45:
                kinds = ["stop", "stop", "kill", "kill", "prune", "swap", "dockerfile", "ignore", "killed"]
                self.events.append((rng.choice(kinds + ["idle"] * (mode != "embedded" and rng.random() < 0.1)), rng.random()))
            builds = ["build"] * 5 + ["twins"] + (["second", "both"] * 3 if mode == "clients" else [])
            self.events.append((rng.choice(builds), rng.random()))
        self.known, self.rounds, self.needless = set(), 0, 0

    def play(self, chosen=None, deadline=float("inf")):
        work = tempfile.mkdtemp(prefix="cachalot-model.")
        engine = None
        try:
            rng = random.Random(self.seed)
            self.clients = [Client(work, name, rng, self.size, self.containers) for name in (["a", "b"] if self.mode == "clients" else ["a"])]
            self.work, self.known, self.rounds = work, set(), 0
            self.engine = engine = Engine(self.programs, work, self.mode != "embedded")
            for number in chosen if chosen is not None else range(len(self.events)):
                if time.monotonic() > deadline:
                    break
                kind, seed = self.events[number]
                try:
                    getattr(self, kind)(random.Random(seed))
                except (Wrong, AssertionError) as wrong:
                    raise Wrong(f"event {number} ({kind}): {wrong}") from wrong
            engine.close()
            engine = None
        finally:
            if engine is not None:
                engine.abandon()
            shutil.rmtree(work, ignore_errors=True)

    # Events.

    def edit(self, rng):
        rng.choice(self.clients).tree.edit(rng)

    def stop(self, rng):
        self.engine.restart(signal.SIGTERM)

    def kill(self, rng):
        self.engine.restart(signal.SIGKILL)

    def idle(self, rng):
        time.sleep(2.3)  # a daemon lets go of what it does not need after 2 s

    def prune(self, rng):
        self.engine.prune(*rng.choice(PRUNES))
        self.known.clear()

    def swap(self, rng):
        rng.choice(self.clients).swap()

    def dockerfile(self, rng):
        client = rng.choice(self.clients)
        client.plan.change_steps(rng)
        client.write_plan()

    def ignore(self, rng):
        client = rng.choice(self.clients)
        client.plan.change_ignored(rng)
        client.write_plan()

    def killed(self, rng):
        """kill -9 in the middle of a build, of whoever builds."""
        client = rng.choice(self.clients)
        process = self.start(client)[0]
        time.sleep(rng.random() * rng.choice([0.02, 0.1, 0.3]))
        self.engine.kill_build(process, rng.random() < 0.5)
        self.engine.finish(process)

    def build(self, rng):
        self.check([self.start(self.clients[0])])

    def second(self, rng):
        self.check([self.start(self.clients[1])])

    def twins(self, rng):
        self.check([self.start(self.clients[0]), self.start(self.clients[0])])

    def both(self, rng):
        self.check([self.start(client) for client in self.clients])

    # Builds and what they must give.

    counter = itertools.count()

    def start(self, client):
        output = os.path.join(self.work, f"output{next(self.counter)}.tar")
        want = client.plan.expect(client.tree.scan())
        extra = ["--build-context", "base=" + busybox_root(self.work)] if client.plan.has_containers() else []
        return self.engine.spawn(client.context, client.dockerfile, output, *extra), output, want

    def check(self, started):
        for process, output, want in started:
            self.rounds += 1
            build = self.engine.finish(process)
            if want.error is not None:
                if build.code == 0 or want.error not in build.log:
                    raise Wrong(f"want an error with {want.error!r}, got exit code {build.code}: {build.log[-600:]}")
                continue
            if build.code != 0:
                raise Wrong("the build failed: " + build.log[-1500:])
            differences = difference(want.tree, read_tar(output))
            os.unlink(output)
            if differences:
                raise Wrong(differences + "\n" + build.log)
            for text, key in want.steps:
                how = build.step(text)
                if how is None and "--link" not in text:  # a layer that is merged is not always told
                    raise Wrong(f"nothing was said of {text}: {build.log}")
                if key in self.known and how == "run":
                    raise Wrong(f"needless: {text} reads what was read before: {build.log}")
        self.known.update(key for _, _, want in started if want.error is None for _, key in want.steps)


def busybox_root(work):
    root = os.path.join(work, "busybox")
    if not os.path.exists(root):
        os.makedirs(root + "/bin")
        shutil.copy("/bin/busybox", root + "/bin/busybox")
        os.symlink("busybox", root + "/bin/sh")
        os.symlink("busybox", root + "/bin/cp")
    return root


def shrink(run, seconds):
    """The events, fewer and fewer, with which the run still fails; then a smaller tree."""
    deadline = time.monotonic() + seconds

    def fails(events, size):
        again = Run(run.programs, run.mode, run.seed)
        again.size = size
        try:
            again.play(events)
        except Wrong as wrong:
            return str(wrong)
        return None

    events, size, message = list(range(len(run.events))), run.size, None
    step = len(events) // 2
    while step >= 1 and time.monotonic() < deadline:
        start = 0
        while start < len(events) and time.monotonic() < deadline:
            fewer = events[:start] + events[start + step:]
            failed = fails(fewer, size)
            if failed:
                events, message = fewer, failed
            else:
                start += step
        step //= 2
    while size > 2 and time.monotonic() < deadline:
        failed = fails(events, size // 2)
        if not failed:
            break
        size, message = size // 2, failed
    return events, size, message


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs")
    parser.add_argument("--mode", choices=["embedded", "daemon", "clients"], default="embedded")
    parser.add_argument("--shrink-seconds", type=float, default=120)
    parser.add_argument("--events")
    parser.add_argument("--size", type=int)
    options, first, wanted, deadline = read_limits(parser)
    rounds = failures = runs = 0
    for seed in itertools.count(first):
        if rounds >= wanted or time.monotonic() >= deadline or (options.events and runs > 0):
            break
        run = Run(options.programs, options.mode, seed, options.size)
        runs += 1
        try:
            run.play([int(number) for number in options.events.split(",")] if options.events else None, deadline)
        except Wrong as wrong:
            failures += 1
            print(f"FAILED: seed {seed}, {options.mode}, {run.size} entries: {wrong}", flush=True)
            if options.shrink_seconds > 0 and not options.events:
                events, size, message = shrink(run, options.shrink_seconds)
                kinds = ", ".join(run.events[number][0] for number in events)
                print(f"shrunk to {kinds}: {message}\nagain: {sys.argv[0]} {options.programs} --mode {options.mode} --seed {seed} --size {size} "
                      f"--events {','.join(map(str, events))}", flush=True)
        rounds += run.rounds
    print(f"{options.mode}: seeds {first} to {first + runs - 1}, {rounds} builds in {runs} runs, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
