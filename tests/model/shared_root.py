#!/usr/bin/env python3
"""Many clients on one state directory without a daemon, or with one that owns it: each that is left alone succeeds, and gets its own result.

SHARED_ROOT_SEED=n replays one round; SHARED_ROOT_ROUNDS=n is the long form. Without it, rounds run for about 40 seconds.
"""
import fcntl, os, random, shutil, signal, subprocess, sys, tempfile, threading, time

BIN = os.environ["CACHALOT_BIN"]
SKIPPED = 77
SECONDS = 40


class Wrong(Exception):
    pass


def context(directory):
    """A build context whose base is this machine's busybox."""
    root = os.path.join(directory, "base")
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", os.path.join(root, "bin/busybox"))
    for applet in ("sh", "sleep", "echo", "cat"):
        os.symlink("busybox", os.path.join(root, "bin", applet))
    path = os.path.join(directory, "context")
    os.makedirs(path)
    subprocess.run(["tar", "-C", root, "-cf", os.path.join(path, "base.tar"), "."], check=True)
    with open(os.path.join(path, "Dockerfile"), "w") as file:
        file.write("FROM scratch\nADD base.tar /\nENV PATH=/bin\nARG A\nARG NAP\nRUN sleep $NAP; echo $A > /a\nRUN cat /a /a > /b\n")
    return path


class Client:
    """One process, with what is to happen to it. `kind` is build, du or prune."""

    def __init__(self, chance, number, root, path, out):
        self.kind = chance.choices(["build", "du", "prune"], [8, 1, 1])[0]
        self.start_at = chance.choice([0, chance.uniform(0, 0.1), chance.uniform(0, 1.5)])
        self.blow = chance.choices([None, signal.SIGINT, signal.SIGKILL], [6, 2, 2])[0]
        self.blow_at = self.start_at + chance.uniform(0, 1.0)
        self.want = f"{chance.randrange(3)}-{number if chance.random() < 0.7 else 'same'}"
        self.out = os.path.join(out, str(number))
        self.command = [f"{BIN}/cachalot", "--root", root]
        if self.kind == "build":
            nap = round(chance.uniform(0, 0.8), 2)
            self.command += ["build", "--progress", "plain", "--build-arg", f"A={self.want}", "--build-arg", f"NAP={nap}", "-o", self.out, path]
        else:
            self.command.append(self.kind)
        self.log = self.out + ".log"

    def start(self):
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def strike(self):
        if self.process.poll() is None:
            self.process.send_signal(self.blow)
        else:
            self.blow = None

    def check(self):
        code = self.process.wait(timeout=60)
        told = f"{self.kind} at {self.start_at:.3f} (blow {self.blow} at {self.blow_at:.3f})"
        if self.blow == signal.SIGKILL or (self.blow == signal.SIGINT and code in (130, -signal.SIGINT)):
            return
        if code != 0:
            raise Wrong(f"{told}: code {code}\n{open(self.log).read()[-3000:]}")
        if self.kind == "build" and open(os.path.join(self.out, "b")).read() != f"{self.want}\n" * 2:
            raise Wrong(f"{told}: a wrong result")


def play(clients):
    """Starts and strikes in the order of their times."""
    events = [(c.start_at, 0, i, c.start) for i, c in enumerate(clients)]
    events += [(c.blow_at, 1, i, c.strike) for i, c in enumerate(clients) if c.blow is not None]
    begin = time.monotonic()
    for at, _, _, act in sorted(events):
        pause = begin + at - time.monotonic()
        if pause > 0:
            threading.Event().wait(pause)
        act()


def wait_until(what, ready):
    deadline = time.monotonic() + 30
    while not ready():
        if time.monotonic() > deadline:
            raise Wrong(f"after 30 s still not: {what}")
        os.sched_yield()


def is_free(root):
    path = os.path.join(root, "engine.lock")
    if not os.path.exists(path):
        return True  # every client was killed before it began
    with open(path, "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False


def kill_engine(root):
    """kill -9 of the engine that has the root, if one does."""
    def done():
        if is_free(root):
            return True
        pid = open(os.path.join(root, "engine.lock")).read()
        try:
            if pid:  # it is written a moment after the lock was taken
                os.kill(int(pid), signal.SIGKILL)
            return bool(pid)
        except ProcessLookupError:  # still the last one's
            return False
    wait_until("the engine tells its process", done)


def start_daemon(root, directory):
    log = open(os.path.join(directory, "daemon.log"), "w")
    daemon = subprocess.Popen([f"{BIN}/cachalotd", "--root", root, "--addr", f"unix://{directory}/d.sock"], stdout=log, stderr=log)
    wait_until("the daemon listens", lambda: os.path.exists(f"{directory}/d.sock") or daemon.poll() is not None)
    return daemon


def round_of(seed):
    chance = random.Random(seed)
    directory = tempfile.mkdtemp(prefix="shared-root.", dir=os.environ.get("TMPDIR", "/tmp"))
    root, out = os.path.join(directory, "root"), os.path.join(directory, "out")
    os.makedirs(out)
    daemon = None
    try:
        path = context(directory)
        if chance.random() < 0.25:
            daemon = start_daemon(root, directory)
        clients = [Client(chance, i, root, path, out) for i in range(chance.randint(2, 6))]
        engine_dies = daemon is None and chance.random() < 0.2
        play(clients)
        if engine_dies:
            kill_engine(root)
            for client in clients:
                client.process.wait(timeout=60)
        else:
            for client in clients:
                client.check()
        if daemon is not None:
            daemon.send_signal(signal.SIGTERM)
            if daemon.wait(timeout=30) != 0:
                raise Wrong("the daemon ended badly")
        # A client that was killed leaves its engine, which goes by itself.
        wait_until("the engine has gone", lambda: is_free(root))
        last = Client(random.Random(seed), 99, root, path, out)
        last.kind, last.blow, last.command[3:] = "build", None, ["build", "--progress", "plain", "--build-arg", f"A={last.want}", "--build-arg", "NAP=0", "-o", last.out, path]
        last.start()
        last.check()
        if not is_free(root):
            raise Wrong("the last client left its engine")
        if any(root in line for line in open("/proc/self/mounts")):
            raise Wrong("mounts are left")
        return len(clients)
    finally:
        if daemon is not None and daemon.poll() is None:
            daemon.kill()
            daemon.wait()
        shutil.rmtree(directory, ignore_errors=True)


def main():
    if os.geteuid() != 0 or not os.path.exists("/bin/busybox"):
        print("skipped: needs root and busybox")
        return SKIPPED
    if "SHARED_ROOT_SEED" in os.environ:
        seeds = iter([int(os.environ["SHARED_ROOT_SEED"])])
    elif "SHARED_ROOT_ROUNDS" in os.environ:
        first = random.randrange(10**9)
        seeds = iter(range(first, first + int(os.environ["SHARED_ROOT_ROUNDS"])))
    else:
        first, deadline = random.randrange(10**9), time.monotonic() + SECONDS
        seeds = iter(lambda state=[first - 1]: state.__setitem__(0, state[0] + 1) or (state[0] if time.monotonic() < deadline else None), None)
    rounds = clients = 0
    for seed in seeds:
        try:
            clients += round_of(seed)
        except (Wrong, subprocess.TimeoutExpired) as error:
            print(f"SHARED_ROOT_SEED={seed}: {error}")
            return 1
        rounds += 1
    print(f"{rounds} rounds, {clients} clients: all right")
    return 0


sys.exit(main())
