"""The real programs under test: an engine inside `cachalot build`, or a daemon that comes and goes."""
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

PATIENCE = 120  # seconds for anything that must not hang


def read_limits(parser):
    """Adds the flags for how long a model runs and from which seed on. Returns the options, the first seed, how many builds are wanted at most and when to
    end (on the monotonic clock; wanted builds are made however long they take). Exits with 77, which skips the test, without root."""
    parser.add_argument("--rounds", type=int, default=os.environ.get("CACHALOT_MODEL_ROUNDS"))
    parser.add_argument("--seconds", type=float, default=10**9)
    parser.add_argument("--seed", type=int, default=os.environ.get("CACHALOT_SEED"))
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("skipped: needs root")
        sys.exit(77)
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6) * 1000
    return options, first, options.rounds or 10**9, time.monotonic() + (options.seconds if options.rounds is None else 10**9)


class Build:
    """What one build said: its exit code, and for each step (the text of its vertex) whether it was cached."""

    def __init__(self, code, log):
        self.code, self.log = code, log
        names, self.steps = {}, {}
        for line in log.splitlines():
            match = re.match(r"#(\d+) (.*)$", line)
            if not match:
                continue
            number, text = match.groups()
            names.setdefault(number, text)
            if text == "CACHED":
                self.steps[names[number]] = "cached"
            elif text.startswith("DONE"):
                self.steps.setdefault(names[number], "run")

    def step(self, text):
        """How the step whose Dockerfile line is `text` went: cached, run, or None."""
        for name, how in self.steps.items():
            if name.endswith("] " + text):
                return how
        return None


def children(parent):
    """The processes that `parent` has started."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                if int(file.read().rsplit(")", 1)[1].split()[1]) == parent:
                    found.append(int(pid))
        except OSError:
            pass
    return found


def engines(root):
    """The processes that were started for this state directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if os.fsencode(root) in file.read().split(b"\0"):
                    found.append(int(pid))
        except OSError:
            pass
    return found


class Engine:
    """All processes that it starts end with close()."""

    def __init__(self, programs, work, daemon, flags=()):
        self.programs, self.work, self.flags = programs, work, list(flags)
        self.root, self.socket = os.path.join(work, "root"), os.path.join(work, "socket")
        self.has_daemon, self.daemon = daemon, None
        if daemon:
            self.start()

    def command(self, *arguments):
        place = ["--addr", "unix://" + self.socket] if self.has_daemon else ["--root", self.root]
        return [os.path.join(self.programs, "cachalot"), *place, *arguments]

    def environment(self):
        return {**os.environ, "CACHALOT_ROOT": self.root, "BUILDKIT_HOST": "", "HOME": self.work}

    def start(self):
        with open(os.path.join(self.work, "daemon.log"), "ab") as log:
            self.daemon = subprocess.Popen(
                [os.path.join(self.programs, "cachalotd"), "--root", self.root, "--addr", "unix://" + self.socket, *self.flags], stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while subprocess.run(self.command("du"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment()).returncode != 0:
            if self.daemon.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the daemon does not come up: see daemon.log")

    def end(self, how):
        """Ends the daemon with a signal and waits for it."""
        self.daemon.send_signal(how)
        code = self.daemon.wait(PATIENCE)
        if how == signal.SIGTERM and code != 0:
            raise AssertionError(f"the daemon exited with {code}")
        self.daemon = None

    def restart(self, how):
        if self.has_daemon:
            self.end(how)
            self.start()

    def kill_build(self, process, client_too):
        """kill -9 of the engine that works for a client: the daemon, or the client's child; and of the client."""
        if self.has_daemon:
            self.restart(signal.SIGKILL)
            return
        for pid in children(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it had ended
        if client_too:
            process.kill()

    def spawn(self, context, dockerfile, output, *arguments):
        arguments = ["build", "--progress", "plain", "-f", dockerfile, "-o", "type=tar,dest=" + output, *arguments, context]
        return subprocess.Popen(self.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                env=self.environment(), text=True, errors="surrogateescape")

    def finish(self, process):
        try:
            log = process.communicate(timeout=PATIENCE)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            log = process.communicate()[1] + "\nthe build did not end\n"
        return Build(process.returncode, log)

    def build(self, *arguments):
        return self.finish(self.spawn(*arguments))

    def prune(self, *arguments):
        done = subprocess.run(self.command("prune", *arguments), capture_output=True, text=True, timeout=PATIENCE, env=self.environment())
        if done.returncode != 0:
            raise AssertionError("prune failed: " + done.stderr)

    def abandon(self):
        """Ends what is left after a failure."""
        for pid in engines(self.root):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.daemon is not None:
            self.daemon.wait()
        subprocess.run(f"grep -o '{self.work}[^ ]*' /proc/mounts | xargs -r umount -l", shell=True, check=False)

    def close(self):
        if self.daemon is not None:
            self.end(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        while engines(self.root) and time.monotonic() < deadline:  # one that lost its client ends by itself
            pass
        if os.path.exists(self.root):
            with open("/proc/mounts") as mounts:
                if self.root in mounts.read():
                    raise AssertionError("mounts are left over")
            shutil.rmtree(self.root)
