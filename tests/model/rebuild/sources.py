#!/usr/bin/env python3
"""What is remembered of sources that change is never taken for what they are now: web pages, git repositories, image tags, cache mounts, caches of other
engines, merged layers; random changes and random events, against a model.

    sources.py PROGRAMS [--mode embedded|daemon] [--only NAME] [--rounds N] [--seconds N] [--seed N]"""
import argparse
import itertools
import os
import random
import shutil
import signal
import stat
import sys
import tempfile
import time

from dockerfiles import Plan
from engine import Engine, read_limits
from servers import Git, Registry, Web
from trees import Tree, difference, digest, read_tar

ROUNDS_PER_RUN = 15


class Wrong(Exception):
    """What the engine did is not what the model says."""


class Model:
    """One source with its changes. `build` makes one build and checks it."""

    def __init__(self, work, engine, rng):
        self.work, self.engine, self.rng, self.known, self.arguments = work, engine, rng, set(), ()
        self.context = os.path.join(work, "context")
        os.mkdir(self.context)

    def run(self, lines, *arguments):
        """Builds a Dockerfile; its build and its output as {path: data of regular files}."""
        dockerfile, output, self.arguments = os.path.join(self.work, "Dockerfile"), os.path.join(self.work, "output.tar"), arguments
        with open(dockerfile, "w") as file:
            file.write("\n".join(lines) + "\n")
        build = self.engine.build(self.context, dockerfile, output, *arguments)
        if build.code != 0:
            return build, None
        return build, {path: entry[4] for path, entry in read_tar(output).items() if stat.S_ISREG(entry[0])}

    def check(self, build, got, want, steps):
        """`want` maps names to bytes; `steps` maps Dockerfile lines to what they read."""
        if got is None:
            raise Wrong("the build failed: " + build.log[-1500:])
        want = {name.encode(): digest(data) for name, data in want.items()}
        if got != want:
            places = [name for name in got.keys() | want.keys() if got.get(name) != want.get(name)]
            raise Wrong(f"wrong: {places}\n{build.log}")
        for line, key in steps.items():
            if (line, key) in self.known and build.step(line) == "run":
                raise Wrong(f"needless: {line}\n{build.log}")
            self.known.add((line, key))

    def pruned(self):
        self.known.clear()

    def kill(self):
        """kill -9 of the engine in the middle of a build; what that build had done may be there or not."""
        dockerfile = os.path.join(self.work, "Dockerfile")
        if not os.path.exists(dockerfile):
            return
        process = self.engine.spawn(self.context, dockerfile, os.path.join(self.work, "killed.tar"), *self.arguments)
        time.sleep(self.rng.random() * self.rng.choice([0.02, 0.1, 0.4]))
        self.engine.kill_build(process, self.rng.random() < 0.5)
        self.engine.finish(process)

    def close(self):
        pass


class Pages(Model):
    """ADD of a URL: with an ETag, with a date, with both or with neither; the body changes, or only its validators do, or what came before comes back."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.web, self.clock, self.bodies = Web(), 1_600_000_000, [self.rng.randbytes(50) for _ in range(4)]
        for name in ("/a", "/b"):
            self.web.pages[name] = Web.Page(self.bodies[0], '"0"')

    def change(self):
        name = self.rng.choice(["/a", "/b"])
        body = self.rng.choice(self.bodies)
        self.clock += self.rng.randint(1, 100)
        etag = self.rng.choice([None, f'"{self.clock}"', f'W/"{self.clock}"', f'"{digest(body).hex()}"'])
        self.web.pages[name] = Web.Page(body, etag, self.rng.choice([None, self.clock]))

    def build(self):
        lines = {name: f"ADD http://{self.web.address}{name} /out{name}" for name in self.web.pages}
        sent = self.web.sent
        build, got = self.run([line for name, line in lines.items() for line in (f"FROM scratch AS s{name[1:]}", line)] +
                              ["FROM scratch"] + [f"COPY --from=s{name[1:]} /out /out" for name in lines])
        pages = self.web.pages
        self.check(build, got, {"out" + name: page.body for name, page in pages.items()},
                   {line: (pages[name].body, pages[name].modified) for name, line in lines.items()})
        again, _ = self.run(["FROM scratch", lines["/a"]])
        assert again.code == 0 and self.web.sent >= sent

    def close(self):
        self.web.close()


class Repositories(Model):
    """ADD of a git repository by branch, tag and directory: commits, branches that go back, tags that move, references that go away."""

    REFS = {"refs/heads/main": "main", "refs/heads/other": "other", "refs/tags/v1": "v1"}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.server, self.commits = Git(self.work, ["repository", "library0", "library1"]), []
        self.git, self.libraries = self.server.repositories[0], self.server.repositories[1:]
        self.commit()
        self.refs = {}
        for ref in self.REFS:
            self.move(ref)

    def commit(self):
        files = {f"{directory}f{number}": self.rng.randbytes(30) for directory in ("", "sub/", "sub/deep/") for number in range(self.rng.randint(1, 3))}
        submodules = []
        if self.rng.random() < 0.7:
            library, content = self.rng.choice(self.libraries), self.rng.randbytes(30)
            head = library.commit({"g": content})
            library.point("refs/heads/main", head)
            submodules.append(("sm", head))
            files[".gitmodules"] = f'[submodule "sm"]\n\tpath = sm\n\turl = {library.url}\n'.encode()
        commit = self.git.commit(files, submodules)
        self.commits.append((commit, files | {"sm/g": content} if submodules else files))

    def move(self, ref):
        self.refs[ref] = self.rng.choice(self.commits[-3:])
        self.git.point(ref, self.refs[ref][0])

    def change(self):
        kind = self.rng.random()
        if kind < 0.5 or not self.commits:
            self.commit()
        ref = self.rng.choice(list(self.REFS))
        if kind > 0.93 and ref in self.refs:
            del self.refs[ref]
            self.git.delete(ref)
        else:
            self.move(ref)

    def build(self):
        ref, directory = self.rng.choice(list(self.REFS)), self.rng.choice(["", "sub", "sub/deep"])
        line = f"ADD {self.git.url}#{self.REFS[ref]}{':' + directory if directory else ''} /out"
        build, got = self.run(["FROM scratch", line])
        if got is not None:
            got.pop(b"out/sm/.git", None)  # names a folder of the engine's
        if ref not in self.refs:
            if build.code == 0:
                raise Wrong(f"{ref} is gone, but was built: {build.log}")
            return
        commit, files = self.refs[ref]
        prefix = directory + "/" if directory else ""
        self.check(build, got, {"out/" + name[len(prefix):]: data for name, data in files.items() if name.startswith(prefix)}, {line: (commit, directory)})

    def close(self):
        self.server.close()


class Images(Model):
    """FROM a tag that moves, forth and back."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.registry, self.contents, self.tags = Registry(), [self.rng.randbytes(40) for _ in range(5)], {}
        self.change()

    def change(self):
        for name in ("latest", "v1"):
            if name not in self.tags or self.rng.random() < 0.6:
                self.tags[name] = self.rng.choice(self.contents)
                self.registry.tag(name, self.tags[name])

    def build(self):
        name = self.rng.choice(list(self.tags))
        pull = self.rng.choice([[], ["--pull"]])
        with open(os.path.join(self.context, "own"), "wb") as file:
            file.write(b"own")
        build, got = self.run([f"FROM {self.registry.address}/image:{name}", "COPY own /own"], *pull)
        self.check(build, got, {"file": self.tags[name], "own": b"own"}, {"COPY own /own": self.tags[name]})

    def close(self):
        self.registry.close()


class CacheMounts(Model):
    """RUN with a cache mount that counts the steps; two of them by different names, which are no part of the step's key (BuildKit's rule)."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.lists, self.texts, self.number = {"a": [], "b": []}, {}, 0

    def change(self):
        pass

    def build(self):
        from rebuild import busybox_root
        name = self.rng.choice(list(self.lists))
        if self.number == 0 or self.rng.random() < 0.7:
            self.number += 1
        lines = {name: f"RUN --mount=type=cache,id={name},target=/c echo {self.number} >> /c/list && cp /c/list /list" for name in self.lists}
        if self.number not in self.texts:
            self.lists[name].append(self.number)
            self.texts[self.number] = "".join(f"{number}\n" for number in self.lists[name]).encode()
        build, got = self.run(["FROM scratch AS based", "COPY --from=base / /", "ENV PATH=/bin", "FROM based AS made", lines[name], "FROM scratch",
                               "COPY --from=made /list /list"], "--build-context", "base=" + busybox_root(self.work))
        self.check(build, got, {"list": self.texts[self.number]}, {lines[name]: self.number})
        self.known.update((line, self.number) for line in lines.values())

    def pruned(self):
        super().pruned()
        self.lists, self.texts = {"a": [], "b": []}, {}


class OtherCaches(Model):
    """Export of a cache, edits, and an engine that knows nothing but that cache; layers are merged (COPY --link) at times."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        shutil.rmtree(self.context)
        self.tree = Tree(self.context)
        self.tree.grow(self.rng, self.rng.choice([10, 100, 300]))
        self.plan, self.exported = Plan(self.rng, False), set()
        self.cache = os.path.join(self.work, "cache")

    def change(self):
        for _ in range(self.rng.randint(0, 3)):
            self.tree.edit(self.rng)
        if self.rng.random() < 0.3:
            self.plan.change_steps(self.rng)

    def build(self):
        dockerfile = self.plan.write(self.work, self.context)
        want, output = self.plan.expect(self.tree.scan()), os.path.join(self.work, "output.tar")
        arguments = [f"--cache-from=type=local,src={self.cache}"] if self.exported else []
        exports = self.rng.random() < 0.5
        build = self.engine.build(self.context, dockerfile, output, *arguments,
                                  *([f"--cache-to=type=local,dest={self.cache},mode=max"] if exports else []))
        if want.error is not None:
            if build.code == 0 or want.error not in build.log:
                raise Wrong(f"want an error with {want.error!r}: {build.log}")
            return
        if build.code != 0:
            raise Wrong("the build failed: " + build.log[-1500:])
        differences = difference(want.tree, read_tar(output))
        if differences:
            raise Wrong(differences + "\n" + build.log)
        for line, key in want.steps:
            if key in self.known | self.exported and build.step(line) == "run":
                raise Wrong(f"needless: {line}\n{build.log}")
        self.known.update(key for _, key in want.steps)
        if exports:
            self.exported = {key for _, key in want.steps}


MODELS = {"http": Pages, "git": Repositories, "images": Images, "mounts": CacheMounts, "caches": OtherCaches}


def play(programs, mode, name, seed, deadline):
    work = tempfile.mkdtemp(prefix="cachalot-model.")
    rng = random.Random(seed)
    engine = Engine(programs, work, mode == "daemon")
    model, builds = None, 0
    try:
        model = MODELS[name](work, engine, rng)
        for builds in range(1, ROUNDS_PER_RUN + 1):
            if time.monotonic() > deadline:
                break
            if rng.random() < 0.6:
                model.change()
            event = rng.random()
            if event < 0.15:
                engine.restart(signal.SIGTERM)
            elif event < 0.3:
                engine.restart(signal.SIGKILL)
            elif event < 0.4:
                engine.prune("--all")
                model.pruned()
            elif event < 0.5 and name != "mounts":  # whose steps count
                model.kill()
            try:
                model.build()
            except Wrong as wrong:
                raise Wrong(f"build {builds}: {wrong}") from wrong
        engine.close()
    finally:
        if model is not None:
            model.close()
        engine.abandon()
        shutil.rmtree(work, ignore_errors=True)
    return builds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs")
    parser.add_argument("--mode", choices=["embedded", "daemon"], default="embedded")
    parser.add_argument("--only", choices=sorted(MODELS))
    options, first, wanted, deadline = read_limits(parser)
    names = [options.only] if options.only else sorted(MODELS)
    rounds = failures = 0
    for seed in itertools.count(first):
        if rounds >= wanted or time.monotonic() >= deadline:
            break
        name = names[seed % len(names)]
        try:
            rounds += play(options.programs, options.mode, name, seed, deadline)
        except (Wrong, AssertionError) as wrong:
            failures += 1
            print(f"FAILED: {wrong}\nagain: {sys.argv[0]} {options.programs} --mode {options.mode} --only {name} --seed {seed} --rounds 1", flush=True)
    print(f"{options.mode}: {', '.join(names)}: from seed {first}, {rounds} builds, {failures} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
