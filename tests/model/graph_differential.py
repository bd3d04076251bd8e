#!/usr/bin/env python3
"""Dockerfiles converted to graphs ("frontend.convertllb") side by side with buildkitd: the same operations, metadata and source lines.

Skips (exit 77) without root, docker-registry, or buildkitd and buildctl: on PATH or in the directory $PEER_BIN.
CACHALOT_BIN  folder of cachalotd
ROUNDS        how many random Dockerfiles are compared (default 60)
SEED          the first round's seed; a failing round prints its own, which alone repeats it with ROUNDS=1
Digests of what a client's directory is part of differ from session to session: there, operations are compared without the session's name,
and their inputs by what they are.
"""
import hashlib, json, os, random, re, shutil, signal, subprocess, sys, tempfile, time, urllib.request
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import graph_cases


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def program(name):
    path = shutil.which(name, path=os.environ.get("PEER_BIN", "") + ":" + os.environ["PATH"])
    return path or skip(f"no {name} in $PEER_BIN or on PATH")


class Process:
    def __init__(self, command, log):
        self.log = log
        self.process = subprocess.Popen(command, stdout=open(log, "w"), stderr=subprocess.STDOUT)

    def wait_for(self, ready):
        while not ready():
            if self.process.poll() is not None:
                sys.exit(f"{self.process.args[0]} ended: {open(self.log).read()[-2000:]}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


class Registry(Process):
    """A registry with tiny images under docker.io's names."""

    def __init__(self, work):
        config = f"{work}/registry.json"
        with open(config, "w") as file:
            json.dump({"version": "0.1", "storage": {"filesystem": {"rootdirectory": f"{work}/registry"}}, "http": {"addr": "127.0.0.1:0"}}, file)
        super().__init__(["docker-registry", "serve", config], f"{work}/registry.log")
        self.wait_for(lambda: re.search(r"listening on 127\.0\.0\.1:(\d+)", open(self.log).read()))
        self.host = "127.0.0.1:" + re.search(r"listening on 127\.0\.0\.1:(\d+)", open(self.log).read())[1]
        for name, config in graph_cases.IMAGES.items():
            self.push(name, config)

    def request(self, method, path, data=b"", kind="application/octet-stream"):
        url = path if path.startswith("http") else f"http://{self.host}/v2/{path}"
        return urllib.request.urlopen(urllib.request.Request(url, data=data, method=method, headers={"Content-Type": kind}))

    def blob(self, name, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        place = self.request("POST", f"library/{name}/blobs/uploads/").headers["Location"]
        self.request("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}", data)
        return {"digest": digest, "size": len(data)}

    def push(self, name, config):
        layer = bytes(1024)  # an archive of nothing
        image = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
                 "history": [{"created_by": "base"}], **config}
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": kind,
                    "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **self.blob(name, json.dumps(image).encode())},
                    "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **self.blob(name, layer)}]}
        self.request("PUT", f"library/{name}/manifests/latest", json.dumps(manifest).encode(), kind)


class Daemon(Process):
    def __init__(self, name, command, work):
        self.name, self.address = name, f"unix://{work}/{name}.sock"
        super().__init__(command + ["--root", f"{work}/{name}-root", "--addr", self.address, "--config", f"{work}/daemon.toml"], f"{work}/{name}.log")
        self.wait_for(lambda: subprocess.run([BUILDCTL, "--addr", self.address, "debug", "workers"], capture_output=True).returncode == 0)

    def convert(self, context, options):
        """The graph, or the last line of the error."""
        command = [BUILDCTL, "--addr", self.address, "build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local",
                   f"context={context}", "--local", f"dockerfile={context}", "--local", f"srcdir={context}", "--opt", "requestid=frontend.convertllb"]
        for name, value in options.items():
            command += ["--opt", f"{name}={value}"]
        done = subprocess.run(command, capture_output=True, timeout=120)
        said = done.stdout.decode()
        if done.returncode != 0:
            return done.stderr.decode(errors="replace").strip().split("\n")[-1]
        return json.loads(said[said.index("{"):])


def plain(graph):
    """The graph with digests that hold in every session."""
    names = {}

    def name(digest):
        if digest not in names:
            operation = graph["def"][digest]
            inputs = [{**i, "digest": name(i["digest"])} for i in operation.get("inputs", [])]
            attributes = operation.get("source", {}).get("attrs", {})
            local = attributes.pop("local.session", None) is not None
            operation["inputs"] = inputs
            foreign = local or any(i["digest"].startswith("plain:") for i in inputs)
            names[digest] = "plain:" + hashlib.sha256(json.dumps(operation, sort_keys=True).encode()).hexdigest() if foreign else digest
        return names[digest]

    for digest in graph["def"]:
        name(digest)
    for metadata in (graph["metadata"] or {}).values():
        metadata.pop("caps", None)  # ours say more fully what an old daemon lacks
        metadata.get("progress_group", {}).pop("id", None)  # random
    source = graph.get("source") or {}
    for info in source.get("infos", []):
        info.pop("definition", None)  # one local source: the Dockerfile's
    return {"def": {names[d]: op for d, op in graph["def"].items()},
            "metadata": {names[d]: m for d, m in (graph["metadata"] or {}).items()},
            "locations": {names[d]: place for d, place in source.get("locations", {}).items() if place}, "infos": source.get("infos", [])}


def compare(daemons, context, case):
    dockerfile, options = case
    with open(f"{context}/Dockerfile", "w") as file:
        file.write(dockerfile)
    ours, theirs = [answer if isinstance(answer, str) else plain(answer) for answer in (daemon.convert(context, options) for daemon in daemons)]
    if isinstance(ours, str) and isinstance(theirs, str):
        return False
    if not isinstance(ours, str) and not isinstance(theirs, str):
        # Ours have places for downloads, too.
        ours["locations"] = {name: place for name, place in ours["locations"].items() if name in theirs["locations"]}
    if ours == theirs:
        return True
    print(f"DIFFERENT for {options}\n{dockerfile}")
    if isinstance(ours, str) or isinstance(theirs, str):
        print("ours:", ours if isinstance(ours, str) else "a graph", "\ntheirs:", theirs if isinstance(theirs, str) else "a graph")
        sys.exit(1)
    for part in ours:
        for key in sorted(set(ours[part]) | set(theirs[part])) if isinstance(ours[part], dict) else []:
            if ours[part].get(key) != theirs[part].get(key):
                print(f"{part} {key}\n  ours   {json.dumps(ours[part].get(key), sort_keys=True)}\n  theirs {json.dumps(theirs[part].get(key), sort_keys=True)}")
    if ours["infos"] != theirs["infos"]:
        print("infos\n  ours  ", ours["infos"], "\n  theirs", theirs["infos"])
    sys.exit(1)


def main():
    if os.geteuid() != 0:
        skip("needs root")
    work = tempfile.mkdtemp(prefix="cachalot-graphs-")
    running = []
    try:
        running.append(Registry(work))
        with open(f"{work}/daemon.toml", "w") as file:
            file.write(f'[registry."docker.io"]\n  mirrors = ["{running[0].host}"]\n[registry."{running[0].host}"]\n  http = true\n')
        daemons = [Daemon("cachalotd", [os.path.join(os.environ["CACHALOT_BIN"], "cachalotd")], work),
                   Daemon("buildkitd", [BUILDKITD, "--oci-worker=true", "--containerd-worker=false"], work)]
        running += daemons
        context = f"{work}/context"
        os.mkdir(context)
        graphs = 0
        for case in graph_cases.KNOWN:
            if not compare(daemons, context, case):
                sys.exit(f"neither converts:\n{case[0]}")
        seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
        rounds = int(os.environ.get("ROUNDS", "60"))
        print(f"SEED={seed} ROUNDS={rounds}")
        for i in range(rounds):
            case = graph_cases.random_case(random.Random(seed + i))
            try:
                graphs += compare(daemons, context, case)
            except SystemExit:
                print(f"repeat it with SEED={seed + i} ROUNDS=1")
                raise
        print(f"{len(graph_cases.KNOWN)} known and {graphs} random Dockerfiles give the same graphs, {rounds - graphs} are refused by both")
        if rounds >= 20 and graphs < rounds / 2:
            sys.exit("too many are refused")
    finally:
        for process in reversed(running):
            process.stop()
        shutil.rmtree(work, ignore_errors=True)


shutil.which("docker-registry") or skip("no docker-registry")
BUILDCTL, BUILDKITD = program("buildctl"), program("buildkitd")
main()
