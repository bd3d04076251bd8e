"""Dockerfiles for graph_differential.py: those of the frontend's golden tests, and random ones."""

# The images that they begin with: configurations by name.
IMAGES = {
    "busybox": {"config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]}},
    "debian": {"config": {"Env": ["PATH=/usr/bin:/bin", "A=from base"], "WorkingDir": "/w/d", "User": "5:6", "Labels": {"l": "m"}, "Volumes": {"/v": {}}}},
    "trigger": {"config": {"OnBuild": ["COPY --from=busybox /bin/sh /sh", "RUN trig"]}},
    "armonly": {"architecture": "arm64", "config": {}},
}

KNOWN = [
    ("ARG V=latest\nFROM debian:$V AS build\nARG NAME=world\nENV GREETING=\"hello $NAME\"\nWORKDIR /src\nCOPY --chown=1:2 a.c b* ./\nRUN make \\\n  all\n"
     "FROM debian AS unused\nRUN never\nFROM busybox\nCOPY --from=build /src/out /bin/\nCMD [\"/bin/out\"]\n", {}),
    ("FROM busybox AS tools\nFROM debian\nARG ID=npm\n"
     "RUN --mount=type=cache,id=$ID,target=/cache,uid=5 --mount=type=secret,id=token,env=TOKEN --mount=type=secret,id=file \\\n"
     "    --mount=type=ssh --mount=from=tools,source=bin,target=/tools --mount=type=tmpfs,target=tmp \\\n"
     "    --mount=target=/ctx,source=sub,rw --network=none build $TOKEN\n", {}),
    ("FROM debian\nENV X=1\nRUN <<EOF\necho $X\necho b\nEOF\nRUN <<EOF\n#!/usr/bin/python\nprint(1)\nEOF\n"
     "RUN cat <<A - <<-B\na\nA\n\tb\n\tB\nCOPY <<one <<\"two\" /dir/\nx=$X\none\nx=$X\ntwo\n", {}),
    ("FROM scratch\nADD --chmod=755 https://example.com/a/b.tar?x=1 /dl/\nADD https://example.com/r.git?tag=v1 /git\n"
     "ADD --unpack=false --exclude=*.md x.tar y /z/\nCOPY --parents a/./b/* /p/\nCOPY --link q /q\n", {}),
    ("FROM base AS b\nCOPY x /x\nCOPY --from=src /a /b /\nFROM busybox\nCOPY --from=b / /\n",
     {"context:base": "docker-image://debian", "context:src": "local:srcdir", "sharedkey:localdir:src": "key"}),
    ("FROM trigger\nRUN own\n", {}),
    ("FROM armonly\nRUN own\n", {}),
    ("FROM --platform=$BUILDPLATFORM busybox\nARG TARGETARCH\nRUN echo $TARGETARCH\n", {"platform": "linux/arm64"}),
    ("FROM scratch\n", {}),
]

OPTIONS = [
    {}, {}, {}, {"build-arg:ARG1": "given"}, {"build-arg:http_proxy": "http://proxy:1"}, {"label:x": "y"}, {"no-cache": ""}, {"no-cache": "s1"},
    {"add-hosts": "one=10.0.0.1,two=10.0.0.2"}, {"shm-size": "134217728"}, {"ulimit": "nofile=1024:2048"}, {"force-network-mode": "none"},
    {"hostname": "host"}, {"cgroup-parent": "/x"}, {"build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}, {"build-arg:SOURCE_DATE_EPOCH": "1000"},
    {"build-arg:BUILDKIT_CACHE_MOUNT_NS": "ns"}, {"image-resolve-mode": "pull"}, {"target": "s0"},
]


class Writer:
    def __init__(self, choose):
        self.choose = choose
        self.stages = []

    def one(self, *texts):
        return self.choose.choice(texts)

    def some(self, *texts):
        return " ".join(text for text in texts if self.choose.random() < 0.25)

    def path(self):
        return "/".join(self.one("a", "b", "c.txt", "$ARG1", "d*", "..", ".") for _ in range(self.choose.randint(1, 3)))

    def place(self):
        return self.one("/", "", "./") + self.path() + self.one("", "/")

    def origin(self):
        names = [f"--from={s}" for s in self.stages] + ["--from=busybox"] + [f"--from={i}" for i in range(len(self.stages))]
        return self.choose.choice(names) if self.choose.random() < 0.4 else ""

    def mount(self):
        source = self.choose.choice([f"from={s}," for s in self.stages] + ["from=busybox,", ""])
        return "--mount=" + self.one(
            f"type=cache,target=/cache/{self.path()}", f"target=cache,id=$ARG1,sharing={self.one('shared', 'private', 'locked')},type=cache,mode=0700,uid=3",
            f"{source}target=/m,source={self.path()}", f"type=bind,{source}target=/m,rw", "type=tmpfs,target=/t,size=10m", "type=secret,id=s",
            "type=secret,id=s,target=/s,mode=0400,required", "type=secret,id=s,env=S", "type=ssh", "type=ssh,id=k,target=/k,uid=1,gid=2")

    def instruction(self):
        copy = self.some("--chown=1:2", "--chown=user", "--chmod=644", "--chmod=u+x", "--link", "--parents", "--exclude=*.o")
        return self.one(
            f"RUN {self.some(self.mount(), self.mount(), '--network=none', '--network=host', '--security=sandbox')} echo $ARG1 ${{A:-b}}",
            'RUN ["a", "b c"]', "RUN <<E\nx\nE", f"COPY {self.origin()} {copy} {self.path()} {self.place()}", f"COPY {copy} {self.path()} {self.path()} /d/",
            f"ADD {self.some('--chown=1', '--chmod=755', '--unpack', '--unpack=false', '--keep-git-dir')} {self.path()} {self.place()}",
            f"ADD {self.some('--chmod=600')} https://example.com/{self.one('x', 'x/y.tar.gz', 'f?q=1')} {self.place()}",
            f"ADD {self.some('--keep-git-dir')} https://example.com/r.git{self.one('', '#v1', '#v1:sub', '?tag=x&subdir=y')} {self.place()}",
            f"COPY <<E {self.place()}\n$ARG1\nE", f"WORKDIR {self.one('/', '')}{self.path()}", f"ENV A={self.one('1', '$ARG1', '${A}x')} B=2",
            f"ARG ARG1{self.one('', '=x', '=$A')}", f"USER {self.one('1', 'u:g', '$ARG1')}", 'SHELL ["/bin/x", "-e"]', "LABEL a=$ARG1", "VOLUME /v",
            "ENTRYPOINT x", "CMD y", "EXPOSE 80", "STOPSIGNAL 9", "HEALTHCHECK CMD x", "ONBUILD RUN later")

    def dockerfile(self):
        lines = [f"ARG ARG1={self.one('', 'global')}"] if self.choose.random() < 0.5 else []
        for number in range(self.choose.randint(1, 4)):
            base = self.choose.choice(self.stages + ["scratch", "busybox", "debian", "trigger", "armonly", "--platform=linux/arm64 busybox"])
            lines.append(f"FROM {base} AS s{number}")
            self.stages.append(f"s{number}")
            lines += [self.instruction() for _ in range(self.choose.randint(0, 6))]
        return "\n".join(lines) + "\n"


def random_case(choose):
    return Writer(choose).dockerfile(), choose.choice(OPTIONS)
