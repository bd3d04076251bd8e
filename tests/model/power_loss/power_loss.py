#!/usr/bin/env python3
"""Power is lost at random moments of random builds: what was on disk is served, and nothing wrong ever is.

usage: CACHALOT_BIN=FOLDER_OF_PROGRAMS DISK_RECORDER_LIBRARY=FILE power_loss.py

The engine's syncs are told to this test (disk_recorder.cc), which is the disk: it knows what was synced, and when power is lost it leaves
of everything else what it likes (disk_image.py). Then the machine has another boot id, and the same Dockerfiles are built again.

What must hold afterwards: every result is that of a cold build; a step that was built before a sync that ended is CACHED; a cache mount
holds what steps wrote into it, or nothing. Of each moment several outcomes are tried: of all but the last only the state is looked at
(Rows), once an engine has opened it: what it still knows is what was committed, bit by bit, and it knows all that was on disk.

POWER_LOSS_ROUNDS (losses), POWER_LOSS_SECONDS bound a run; POWER_LOSS_SEED replays a machine's life.
"""
import ctypes
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import uuid

import disk_image

BUSYBOX = "/bin/busybox"
PROJECTS = 3
OUTCOMES = 8  # of each loss of power
ACTIVE, COMMITTED = 0, 1  # states of snapshots
PR_SET_CHILD_SUBREAPER = 36
DOCKERFILE = """FROM scratch AS base
COPY busybox /bin/busybox
RUN ["/bin/busybox", "sh", "-c", "echo base > /base"]
FROM base AS work
COPY input /input
RUN ["/bin/busybox", "sh", "-c", "cat /input /base > /a; i=0; while [ $i -lt 400 ]; do echo {token} $i; i=$((i+1)); done > /b"]
RUN --mount=type=cache,target=/c,id={project} ["/bin/busybox", "sh", "-c", \
"n=$(($(cat /c/* 2>/dev/null | wc -l) + 1)); cat /c/* > /seen 2>/dev/null; echo line $n > /c/$n; echo {token} > /d"]
FROM scratch
COPY --from=work /input /a /b /d /seen /
"""


class Disk:
    """What is known to be on the disk, and the syncs that are told of it."""

    def __init__(self, root, address):
        self.root, self.synced, self.senders, self.answered, self.cut_at, self.cut_asked = root, {}, set(), 0, None, threading.Event()
        self.contents = {}  # of files that were synced before their directory was
        self.lock = threading.Lock()
        self.device = os.stat(root).st_dev
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(address)
        self.listener.listen(64)
        threading.Thread(target=self.serve, daemon=True).start()

    def begin(self, cut_at):
        """A process is about to start; at its `cut_at`th sync (a half: after it, before anybody hears) power goes."""
        with self.lock:
            self.answered, self.cut_at, self.senders = 0, cut_at, set()
            self.cut_asked.clear()

    def serve(self):
        while True:
            link, _ = self.listener.accept()
            threading.Thread(target=self.answer, args=(link,), daemon=True).start()

    def answer(self, link):
        with link, self.lock:
            self.senders.add(struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
            words = link.recv(128).decode().split()
            if len(words) != 3 or self.cut_asked.is_set():
                return
            self.answered += 1
            if self.cut_at == self.answered:
                self.cut_asked.set()
                return
            self.sync(words[0], int(words[1]), int(words[2]))
            if self.cut_at == self.answered + 0.5:
                self.cut_asked.set()
                return
            try:
                link.send(b"!")
            except BrokenPipeError:
                pass

    def sync(self, what, device, inode):
        if device != self.device:
            return
        if what == "syncfs":
            self.synced, self.contents = disk_image.read_tree(self.root), {}
            return
        path = self.path_of(inode)
        if path is None:
            return
        if os.path.isdir(os.path.join(self.root, path)):
            self.sync_directory(path)
            return
        node = disk_image.read_node(os.path.join(self.root, path))
        if path in self.synced:
            self.synced[path] = node
        else:
            self.contents[inode] = node

    def sync_directory(self, path):
        names = os.listdir(os.path.join(self.root, path))
        for name in names:
            child = os.path.join(path, name)
            full = os.path.join(self.root, child)
            node, inode = disk_image.read_node(full), os.lstat(full).st_ino
            known = self.contents.get(inode, node._replace(data=b""))
            self.synced.setdefault(child, known)
        for gone in [p for p in self.synced if os.path.dirname(p) == path and os.path.basename(p) not in names]:
            del self.synced[gone]

    def path_of(self, inode):
        """Files that the engine syncs by themselves lie at most two levels deep."""
        for path in ["", *(e for e in os.listdir(self.root))]:
            full = os.path.join(self.root, path)
            if os.path.lexists(full) and os.lstat(full).st_ino == inode:
                return path
        return None


def children():
    """Of this process, those that wait to be reaped too."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if int(text[text.rindex(")") + 1 :].split()[1]) == os.getpid():
            yield int(stat.parent.name)


class Rows:
    """What an engine's state says that there is, and what is there. Nobody has the state open."""

    def __init__(self, root, work):
        self.tree = disk_image.read_tree(root)
        copy = work / "rows"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for name in ("metadata.db", "metadata.db-wal"):
            if name in self.tree:
                (copy / name).write_bytes(self.tree[name].data)
        self.snapshots, self.blobs = {}, {}
        database = sqlite3.connect(copy / "metadata.db")
        try:
            self.snapshots = {row[0]: row[1:] for row in database.execute("SELECT id, directory, state FROM snapshots")}
            self.blobs = dict(database.execute("SELECT digest, size FROM blobs"))
        except sqlite3.DatabaseError:
            pass  # none yet
        database.close()

    def committed(self):
        return {name for name, (_, state) in self.snapshots.items() if state == COMMITTED}

    def content(self, name, tree=None):
        """A digest of all that a snapshot's layer is."""
        prefix = f"snapshots/{self.snapshots[name][0]}/fs"
        nodes = [item for item in (self.tree if tree is None else tree).items() if item[0] == prefix or item[0].startswith(prefix + "/")]
        return hashlib.sha256(repr(nodes).encode()).hexdigest()

    def wrong_blobs(self):
        for digest, size in self.blobs.items():
            node = self.tree.get("blobs/" + digest.replace(":", "/"))
            if node is None or len(node.data) != size or "sha256:" + hashlib.sha256(node.data).hexdigest() != digest:
                yield digest


class Machine:
    def __init__(self, programs, library, work, rng):
        self.programs, self.library, self.work, self.random = programs, library, work, rng
        self.root = work / "root"
        self.root.mkdir()
        self.disk = Disk(str(self.root), str(work / "disk.sock"))
        self.tokens = {project: self.new_token() for project in range(PROJECTS)}
        self.built = set()     # tokens whose steps ran in an engine that stopped in order
        self.promised = set()  # of these the ones that a sync has covered
        self.contents = {}     # of committed snapshots, by id
        self.on_disk = set()   # the ids of those that a sync has covered
        self.log, self.counts = [], {"losses": 0, "builds": 0, "promised": 0, "cached": 0}
        self.boot()

    def new_token(self):
        return f"{self.random.getrandbits(64):016x}"

    def boot(self):
        (self.work / "boot_id").write_text(str(uuid.UUID(int=self.random.getrandbits(128))) + "\n")

    def say(self, text):
        self.log.append(text)

    def context(self, project):
        directory = self.work / f"context-{project}"
        directory.mkdir(exist_ok=True)
        token = self.tokens[project]
        (directory / "Dockerfile").write_text(DOCKERFILE.format(token=token, project=project))
        (directory / "input").write_text(f"input {token}\n")
        if not (directory / "busybox").exists():
            shutil.copy(BUSYBOX, directory / "busybox")
        return directory

    def start(self, arguments, cut_at=None):
        self.disk.begin(cut_at)
        script = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && export LD_PRELOAD="$1" && shift && exec "$@"'
        command = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, self.work / "boot_id", self.library,
                   self.programs / "cachalot", "--root", self.root, *arguments]
        environment = {**os.environ, "DISK_RECORDER": str(self.work / "disk.sock")}
        with open(self.work / "engine.log", "wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def wait_for_children(self):
        """For all that a process left, which are children of this one now."""
        while True:
            try:
                os.wait()
            except ChildProcessError:
                return

    def kill_all(self, process):
        process.kill()
        process.wait()
        # What it has started is a child of this one now, also what has not synced anything yet and would wait for the disk for ever.
        while True:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            try:
                os.wait()
            except ChildProcessError:
                return

    def engine_log(self):
        return (self.work / "engine.log").read_text(errors="replace")

    def fail(self, what):
        raise AssertionError("\n".join([*self.log, what, self.engine_log()[-6000:]]))

    # One build to its end, whose result must be right.
    def build(self, project):
        token, out = self.tokens[project], self.work / "out"
        archive = self.random.random() < 0.3
        self.say(f"build {project} {token}" + (" to an archive" if archive else ""))
        shutil.rmtree(out, ignore_errors=True)
        output = f"type=oci,dest={self.work}/image.tar" if archive else f"type=local,dest={out}"
        process = self.start(["build", "--progress", "plain", "--output", output, self.context(project)])
        if process.wait() != 0:
            self.fail(f"build {project} failed")
        self.counts["builds"] += 1
        if archive:
            out.mkdir()
            self.unpack(self.work / "image.tar", out)
        self.check_result(out, token)
        self.check_cached(token)
        self.built.add(token)

    def unpack(self, path, out):
        """The layers of an image in OCI layout; each blob has the digest of its name."""
        with tarfile.open(path) as image:
            blobs = {pathlib.Path(m.name).name: image.extractfile(m).read() for m in image if m.isfile() and m.name.startswith("blobs/")}
            index = json.load(image.extractfile("index.json"))
        for name, content in blobs.items():
            if hashlib.sha256(content).hexdigest() != name:
                self.fail(f"blob {name} has another digest")
        document = json.loads(blobs[index["manifests"][0]["digest"][7:]])
        if "manifests" in document:
            document = json.loads(blobs[document["manifests"][0]["digest"][7:]])
        for layer in document["layers"]:
            (self.work / "layer.tar").write_bytes(blobs[layer["digest"][7:]])
            with tarfile.open(self.work / "layer.tar") as tar:
                tar.extractall(out)

    def check_result(self, out, token):
        want = {"input": f"input {token}\n", "a": f"input {token}\nbase\n", "b": "".join(f"{token} {i}\n" for i in range(400)), "d": f"{token}\n"}
        for name, text in want.items():
            path = out / name
            if not path.exists() or path.read_text(errors="replace") != text:
                self.fail(f"/{name} is wrong: {path.read_text(errors='replace')[:200]!r}" if path.exists() else f"/{name} is missing")
            if path.stat().st_mode & 0o777 != 0o644 or path.stat().st_uid != 0:
                self.fail(f"/{name} has mode {path.stat().st_mode:o}")
        seen = sorted((out / "seen").read_text(errors="replace").splitlines())
        if seen != sorted(f"line {n}" for n in range(1, len(seen) + 1)):
            self.fail(f"the cache mount holds what no step wrote: {seen}")

    def check_cached(self, token):
        cached = self.engine_log().count("CACHED\n")
        if token in self.promised:
            self.counts["promised"] += 1
            if "echo base" not in self.engine_log() or cached < 6:
                self.fail(f"{token} was on disk, and is built again")
        self.counts["cached"] += cached == 6

    # Something that power will interrupt, perhaps.
    def act(self):
        action = self.random.choices(["build", "rebuild", "prune"], [6, 2, 1])[0]
        project = self.random.randrange(PROJECTS)
        if action == "build":
            self.tokens[project] = self.new_token()
        arguments = ["prune", "--all"] if action == "prune" else ["build", "--progress", "plain", self.context(project)]
        moment = self.random.choice(["syncs", "time", "stop", "after the stop", "end"])
        cut_at = self.random.randint(1, 8) / 2 + 0.5 if moment == "syncs" else None
        self.say(f"{action} {project} {self.tokens[project]}, power is lost: {moment} {cut_at or ''}")
        if action == "prune":
            self.promised, self.built, self.on_disk = set(), set(), set()
        process = self.start(arguments, cut_at)
        ended = self.interrupt(process, moment)
        if ended and process.returncode != 0:
            self.fail(f"{action} failed")
        if ended and action != "prune":
            self.built.add(self.tokens[project])
        if moment == "end" and ended:
            self.promise()

    def interrupt(self, process, moment):
        """True when the process ended by itself before power was lost."""
        if moment == "syncs":
            while (process.poll() is None or self.has_children()) and not self.disk.cut_asked.wait(0.005):
                pass
        elif moment == "time":
            try:
                process.wait(self.random.expovariate(1 / 0.3))
            except subprocess.TimeoutExpired:
                pass
        else:
            process.wait()
        ended = process.poll() is not None and not self.disk.cut_asked.is_set()
        if moment == "after the stop":
            deadline = time.monotonic() + self.random.expovariate(1 / 0.03)
            while time.monotonic() < deadline and self.has_children():
                pass
        if moment != "end":
            self.kill_all(process)
        return ended

    def has_children(self):
        try:
            return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def promise(self):
        """What there is has been synced."""
        self.wait_for_children()
        self.promised |= self.built
        self.on_disk = self.learn().committed()

    def learn(self):
        rows = Rows(self.root, self.work)
        for name in rows.committed():
            content = rows.content(name)
            if self.contents.setdefault(name, content) != content:
                self.fail(f"snapshot {name} has changed")
        return rows

    def lose_power(self):
        self.built = set(self.promised)
        synced = self.disk.synced
        last = self.learn().tree
        for outcome in range(OUTCOMES):
            left = disk_image.after_power_loss(synced, last, self.random)
            disk_image.write_tree(self.root, left)
            self.disk.synced, self.disk.contents = left, {}
            self.counts["losses"] += 1
            self.boot()
            if outcome < OUTCOMES - 1:
                self.look_at_state(synced)

    def look_at_state(self, synced):
        if self.start(["du"]).wait() != 0:
            self.fail("the state cannot be opened")
        self.wait_for_children()
        rows = Rows(self.root, self.work)
        for name, (directory, state) in rows.snapshots.items():
            if state == COMMITTED and rows.content(name) != self.contents.get(name):
                self.fail(f"snapshot {name} (folder {directory}) is not what it was")
            if state == ACTIVE and rows.content(name) != rows.content(name, synced):
                self.fail(f"the mutable snapshot {name} (folder {directory}) is not as it was synced")
        for digest in rows.wrong_blobs():
            self.fail(f"blob {digest} is broken")
        if missing := self.on_disk - rows.committed():
            self.fail(f"snapshots that were on disk are gone: {missing}")

    def shut_down(self):
        """In order: the kernel writes everything. What an engine that stopped in order had is promised when its sync had ended; the
        sync may have been killed."""
        self.wait_for_children()
        self.built = set(self.promised)
        self.disk.synced = disk_image.read_tree(self.root)
        self.boot()

    def round(self):
        for _ in range(self.random.randint(0, 2)):
            self.act()
        self.act()
        if self.random.random() < 0.2:
            self.say("the machine is shut down")
            self.shut_down()
        else:
            self.lose_power()
        for project in self.random.sample(range(PROJECTS), self.random.randint(1, PROJECTS)):
            self.build(project)
            if self.random.random() < 0.5:
                self.promise()
        self.promise()


def main():
    if os.geteuid() != 0:
        print("skipped: needs root")
        return 77
    programs, library = pathlib.Path(os.environ["CACHALOT_BIN"]).resolve(), os.environ["DISK_RECORDER_LIBRARY"]
    rounds, seconds = int(os.environ.get("POWER_LOSS_ROUNDS", "100000")), float(os.environ.get("POWER_LOSS_SECONDS", "25"))
    if "POWER_LOSS_ROUNDS" in os.environ and "POWER_LOSS_SECONDS" not in os.environ:
        seconds = float("inf")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    seed, one = os.environ.get("POWER_LOSS_SEED"), "POWER_LOSS_SEED" in os.environ
    seed = int(seed) if one else random.SystemRandom().getrandbits(32)
    print(f"seed {seed}", flush=True)
    totals, deadline = {}, time.monotonic() + seconds
    while totals.get("losses", 0) < rounds and time.monotonic() < deadline:
        with tempfile.TemporaryDirectory(prefix="cachalot-power.") as work:
            machine = Machine(programs, library, pathlib.Path(work), random.Random(seed))
            try:
                for _ in range(6):
                    if one or time.monotonic() < deadline:
                        machine.round()
            except AssertionError as error:
                print(f"FAILED: POWER_LOSS_SEED={seed}\n{error}")
                return 1
        for name, count in machine.counts.items():
            totals[name] = totals.get(name, 0) + count
        seed += 1
        if one:
            break
    print(" ".join(f"{name} {count}" for name, count in totals.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
