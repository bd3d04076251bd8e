#!/usr/bin/env python3
"""COPY and ADD side by side with buildkitd: random trees and flags, and the same tar, entry by entry.

Skips (exit 77) without root, or without buildkitd, buildctl and runc: on PATH or in the directory $PEER_BIN.
CACHALOT_BIN  folder of cachalotd
ROUNDS        how many builds are compared (default 20)
SEED          the first round's seed; a failing round prints its own, which alone repeats it with ROUNDS=1
KEEP          a directory that is left behind for each difference: context, Dockerfile and both tars
"""
import os, random, re, shutil, signal, subprocess, sys, tempfile, time
sys.dont_write_bytecode = True
import cases, tar_entries


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def program(name):
    here = os.environ.get("PEER_BIN", "")
    path = shutil.which(name, path=here + ":" + os.environ["PATH"])
    return path or skip(f"no {name} in $PEER_BIN or on PATH")


class Daemon:
    """A daemon of its own root and socket, until stop()."""

    def __init__(self, name, command, work):
        self.name, self.address = name, f"unix://{work}/{name}.sock"
        root = f"{work}/{name}-root"
        self.log = open(f"{work}/{name}.log", "w")
        self.process = subprocess.Popen(command + ["--root", root, "--addr", self.address], stdout=self.log, stderr=self.log)
        while subprocess.run([BUILDCTL, "--addr", self.address, "debug", "workers"], capture_output=True).returncode != 0:
            if self.process.poll() is not None:
                sys.exit(f"{name} ended: {open(self.log.name).read()[-2000:]}")

    def build(self, context, target, kind="tar"):
        """Builds the Dockerfile of `context` into the file `target`. None, or the line of the Dockerfile that failed (0: none) and why."""
        command = [BUILDCTL, "--addr", self.address, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
                   "--local", f"context={context}", "--local", f"dockerfile={context}", "--output", f"type={kind},dest={target}"]
        if kind == "oci":
            command[-1] += ",compression=uncompressed,force-compression=true"
        done = subprocess.run(command, capture_output=True, timeout=120)
        if done.returncode == 0:
            return None
        said = done.stderr.decode(errors="replace")
        where = re.search(r"^Dockerfile:(\d+)$", said, re.M)
        return int(where[1]) if where else 0, said.strip().split("\n")[-1]

    def forget(self):
        """Nothing of an earlier context is left: what was synchronised before decides about times of directories."""
        subprocess.run([BUILDCTL, "--addr", self.address, "prune", "--all"], check=True, capture_output=True)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def settle(daemons, context, case, scratch):
    """Drops the steps that both refuse, until the rest builds. What one refuses alone is a difference."""
    while True:
        case.write_dockerfile(context)
        failures = [daemon.build(context, f"{scratch}/{daemon.name}.tar") for daemon in daemons]
        if failures == [None, None]:
            return []
        told = [f"{daemon.name}: {failure or 'builds it'}" for daemon, failure in zip(daemons, failures)]
        if None in failures or 0 in (failures[0][0], failures[1][0]):
            return told
        lines = [failure[0] for failure in failures]
        if lines[0] != lines[1]:  # of several that fail, each chose another: each has to refuse the other's, too
            for daemon, own, other in zip(daemons, lines, reversed(lines)):
                case.write_dockerfile(context, without=own)
                failure = daemon.build(context, f"{scratch}/{daemon.name}.tar")
                if failure is None or failure[0] != other - (own < other):
                    return told + [f"{daemon.name} without line {own}: {failure or 'builds it'}"]
        for line in sorted(set(lines), reverse=True):
            case.drop(line)


def compare(daemons, seed, work, started):
    """The differences of one round, and its case."""
    scratch = f"{work}/{seed}"
    for daemon in daemons:
        daemon.forget()
    context = f"{scratch}/context"
    os.makedirs(context)
    case = cases.Case(random.Random(seed), context)
    differences = settle(daemons, context, case, scratch)
    if differences:
        return differences, case
    ours, peer = ([f"{scratch}/{daemon.name}.tar"] for daemon in daemons)
    for daemon, paths in zip(daemons, (ours, peer)):
        failure = daemon.build(context, f"{scratch}/{daemon.name}-oci.tar", "oci")
        if failure:
            return [f"{daemon.name}: oci: {failure}"], case
        paths += tar_entries.layers(f"{scratch}/{daemon.name}-oci.tar", f"{scratch}/{daemon.name}-layers")
    if len(ours) != len(peer):
        return [f"layers: {len(ours) - 1}, the peer has {len(peer) - 1}"], case
    for number, pair in enumerate(zip(ours, peer)):
        what = f"layer {number - 1}" if number else "the tree"
        differences += [f"{what}: {line}" for line in tar_entries.differences(*pair, recent=started)]
    return differences, case


def main():
    if os.geteuid() != 0:
        skip("needs root")
    runc, peer = program("runc"), program("buildkitd")
    work = tempfile.mkdtemp(prefix="copy-differential.")
    daemons = []
    rounds, seed = int(os.environ.get("ROUNDS", "20")), int(os.environ.get("SEED", "1"))
    different = refused = 0
    started = time.time() - 1
    try:
        daemons.append(Daemon("cachalot", [os.environ["CACHALOT_BIN"] + "/cachalotd"], work))
        daemons.append(Daemon("buildkitd", [peer, "--containerd-worker=false", "--oci-worker=true", f"--oci-worker-binary={runc}"], work))
        print(f"SEED={seed} ROUNDS={rounds}", flush=True)
        for number in range(seed, seed + rounds):
            differences, case = compare(daemons, number, work, started)
            refused += case.dropped
            if differences:
                different += 1
                print(f"\nSEED={number} ROUNDS=1 differs:\n{chr(10).join(case.lines)}", *differences[:20], sep="\n", flush=True)
            if differences and "KEEP" in os.environ:
                subprocess.run(["cp", "-a", f"{work}/{number}", os.environ["KEEP"]], check=True)
            shutil.rmtree(f"{work}/{number}")
        print(f"{rounds} rounds, {different} differ; {refused} steps were refused by both")
    finally:
        for daemon in daemons:
            daemon.stop()
        shutil.rmtree(work, ignore_errors=True)
    return 1 if different else 0


BUILDCTL = program("buildctl")
if __name__ == "__main__":
    sys.exit(main())
