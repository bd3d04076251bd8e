"""Random build contexts, and Dockerfiles whose COPY and ADD steps use every flag."""
import bz2, gzip, io, json, lzma, os, socket, tarfile, time

NAMES = ["a", "b", "c", "d", "e.txt", "f.md", "g.sh"]
ODD_NAMES = ["sp ace", "x[1]", "st*r", "qu?stion", "back\\slash", "dol$lar", "\u00e4\U0001F433", "e\u0301", "-rf", "--from=x", "..dots", ".hidden", "n" * 200,
             "per%41cent", "hash#", "q\"uote", "s'q", "+plus", "co:lon,", "!neg", "tab\t"]
MODES = [0o644, 0o600, 0o755, 0o640, 0o444, 0o4755, 0o2755, 0o1777, 0o000, 0o666, 0o751]
DIRECTORY_MODES = [0o755, 0o700, 0o711, 0o1777, 0o2775, 0o555]
OWNERS = ["1", "12:34", "0:7", "user", "user:group", "user:77", "33:group", "other", ":group"]
CHMODS = ["0644", "755", "4555", "2775", "1777", "600", "0", "u=rwX,go=rX", "g=u", "u+s,+t", "a+X", "go-rwx", "u+x,g=X", "+x", "o=", "a=rx,u+w",
          "ug+s", "o+t", "g+s,o-t", "u=rw,g=u,o=g", "-x+X", "u-w", "g=u-w", "a-s", "=rw,+X"]
PASSWD = "root:x:0:0:root:/:/bin/sh\nuser:x:1001:1002::/:/bin/sh\nother:x:55:66::/:/bin/sh\n"
GROUP = "root:x:0:\ngroup:x:2001:user\n"
TIMES = range(1_000_000_000, 1_600_000_000)


def quoted(words):
    return json.dumps(words, ensure_ascii=False)


class Tree:
    """Makes a random tree on disk and remembers its paths, relative to it."""

    def __init__(self, rng, root, size):
        self.rng, self.root, self.paths, self.directories, self.files = rng, root, [], [""], []
        os.makedirs(root, exist_ok=True)
        for _ in range(size):
            self.add()
        for directory in reversed(self.directories[1:]):
            os.chmod(f"{root}/{directory}", rng.choice(DIRECTORY_MODES) if rng.random() < 0.4 else 0o755)
            os.utime(f"{root}/{directory}", (0, rng.choice(TIMES)))

    def name(self):
        return self.rng.choice(ODD_NAMES if self.rng.random() < 0.12 else NAMES)

    def add(self):
        rng = self.rng
        path = os.path.join(rng.choice(self.directories), self.name())
        full = f"{self.root}/{path}"
        if os.path.lexists(full):
            return
        kind = rng.choices(["file", "directory", "symlink", "hardlink", "fifo", "socket"], [50, 25, 12, 8, 2, 1])[0]
        if kind == "directory":
            os.mkdir(full)
            self.directories.append(path)
        elif kind == "symlink":
            os.symlink(rng.choice([self.name(), "../" + self.name(), "/" + self.name(), "missing/x", ".", "/", "../../../../b"]), full)
        elif kind == "hardlink" and self.files:
            os.link(f"{self.root}/{rng.choice(self.files)}", full, follow_symlinks=False)
        elif kind == "fifo":
            os.mkfifo(full)
        elif kind == "socket" and len(full) < 100:
            socket.socket(socket.AF_UNIX).bind(full)
        else:
            self.write(full)
            self.files.append(path)
        if kind != "directory":
            os.utime(full, ns=(0, rng.choice(TIMES) * 10**9 + rng.choice([0, 0, 5, 999_999_999])), follow_symlinks=False)
        self.paths.append(path)

    def write(self, full):
        rng = self.rng
        with open(full, "wb") as file:
            if rng.random() < 0.05:
                file.seek(rng.randrange(1 << 20))
            file.write(rng.randbytes(rng.choice([0, 1, 10, 100, 5000, 70000])))
            if rng.random() < 0.05:
                file.truncate(2 << 20)
        os.chmod(full, rng.choice(MODES) if rng.random() < 0.5 else 0o644)
        if rng.random() < 0.1:
            os.setxattr(full, "user.note", rng.randbytes(5))
        if rng.random() < 0.05:
            os.setxattr(full, "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
        if rng.random() < 0.05:  # user::rw- user:1:r-- group::r-- mask::r-- other::r--
            os.setxattr(full, "system.posix_acl_access", bytes.fromhex("02000000" "01000600ffffffff" "0200040001000000" "04000400ffffffff" "10000400ffffffff" "20000400ffffffff"))


def archive(rng, count):
    """The bytes of a random tar, plain or compressed, whose names stay inside."""
    raw = io.BytesIO()
    files, directories = [], set()
    with tarfile.open(fileobj=raw, mode="w", format=rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])) as tar:
        for _ in range(count):
            name = "/".join(rng.choice(NAMES) for _ in range(rng.randint(1, 3)))
            entry = tarfile.TarInfo(rng.choice(["", "", "./", "/"]) + name)
            entry.type = rng.choices([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE], [50, 25, 10, 10, 3])[0]
            entry.mode, entry.mtime = rng.choice(MODES), rng.choice(TIMES)
            entry.uid, entry.gid = rng.choice([0, 0, 5, 1000]), rng.choice([0, 0, 6])
            data = b""
            parents = {name[:i] for i, c in enumerate(name) if c == "/"}
            if entry.type == tarfile.DIRTYPE:
                parents.add(name)
            elif name in directories:
                continue  # the peer gives what replaces a directory the directory's time
            directories |= parents
            if entry.type == tarfile.LNKTYPE:
                if not files:
                    continue
                entry.linkname = rng.choice(files)
            elif entry.type == tarfile.SYMTYPE:
                entry.linkname = rng.choice(NAMES + ["../" + rng.choice(NAMES), "missing"])
            elif entry.type == tarfile.REGTYPE:
                data = rng.randbytes(rng.choice([0, 1, 600, 3000]))
                files.append(entry.name)
                if rng.random() < 0.1:
                    entry.pax_headers = {"SCHILY.xattr.user.note": "x"}
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return rng.choice([bytes, gzip.compress, bz2.compress, lzma.compress])(raw.getvalue())


class Case:
    """A context on disk, and the steps of a Dockerfile that uses it."""

    def __init__(self, rng, context):
        self.rng, self.dropped = rng, 0
        tree = Tree(rng, f"{context}/src", rng.randint(3, 40))
        os.makedirs(f"{context}/etc")
        # No round is served from the cache of another: the files of accounts are each round's own.
        for name, text in (("passwd", PASSWD), ("group", GROUP)):
            with open(f"{context}/etc/{name}", "w") as file:
                file.write(text + f"note{time.time_ns()}:x:9:9::/:\n")
            os.utime(f"{context}/etc/{name}")
        self.archives = [f"{name}.tar" for name in NAMES[:2]]
        for name in self.archives:
            with open(f"{context}/{name}", "wb") as file:
                file.write(archive(rng, rng.randint(1, 12)))
            os.utime(f"{context}/{name}", (0, 1_234_567_890))
        for name in ("etc", "src"):
            os.utime(f"{context}/{name}", (0, 1_222_222_222))
        self.tree = tree
        self.lines = ["FROM scratch AS source", "COPY etc /etc", "COPY --chown=12:34 src /src", "COPY --chmod=700 --chown=5 src /src/a/"]
        self.lines += ["FROM scratch", "COPY etc/ /etc/", "WORKDIR /work"] + [self.step() for _ in range(rng.randint(1, 5))]

    def pattern(self, path):
        """`path`, perhaps with a wildcard in place of a part of it."""
        rng = self.rng
        if not path or rng.random() < 0.6:
            return path.replace("[", "\\[") if "[" in path and rng.random() < 0.5 else path
        parts = path.split("/")
        i = rng.randrange(len(parts))
        parts[i] = rng.choice(["*", "?", parts[i][:1] + "*", "[a-d]", "*.txt", "[!a]", "[^b]*"])
        return "/".join(parts)

    def source(self, root, wildcards):
        """A source that is mostly there. The peer does not exclude what a wildcard gives, and refuses names with control characters."""
        rng = self.rng
        path = rng.choice([path for path in self.tree.paths + self.tree.directories + ["missing"] if "\t" not in path])
        path = self.pattern(path) if wildcards else path.replace("[", "\\[").replace("*", "\\*").replace("?", "\\?")
        text = f"{root}{path}"
        return rng.choice(["", "", "", "/", "./"]) + text + rng.choice(["", "", "", "/", "/."])

    def destination(self):
        rng = self.rng
        path = "/".join(rng.choice(NAMES) for _ in range(rng.randint(0, 3)))
        return rng.choice(["/", "/", "", "./"]) + path + rng.choice(["", "/", "/", "/."]) or "."

    def step(self):
        rng = self.rng
        is_add = rng.random() < 0.3
        words = ["ADD" if is_add else "COPY"]
        from_stage = not is_add and rng.random() < 0.4
        if from_stage:
            words.append("--from=source")
        if rng.random() < 0.3:
            words.append("--chmod=" + rng.choice(CHMODS))
        if rng.random() < 0.3:
            words.append("--chown=" + rng.choice(OWNERS))
        if rng.random() < 0.2:
            words.append("--link")
        excludes = rng.choice([0, 0, 0, 1, 2])
        for _ in range(excludes):
            words.append("--exclude=" + rng.choice(["", "", "", "!", "**/"]) + self.pattern(rng.choice(NAMES + self.tree.paths).split("/")[-1]).replace(" ", "?"))
        if not is_add and not excludes and rng.random() < 0.25:  # to the peer a named path that is excluded is missing
            words.append("--parents")
        sources = [self.source("src/", wildcards=not excludes) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        if is_add and rng.random() < 0.6:
            sources = rng.sample(self.archives, rng.choice([1, 1, 2]))
            if rng.random() < 0.3:
                words.append("--unpack=" + rng.choice(["true", "false"]))
        destination = self.destination()
        return " ".join(words) + " " + quoted(sources + [destination if len(sources) == 1 else destination.rstrip("/.") + "/"])

    def drop(self, line):
        """Takes back the instruction at `line`, from 1."""
        self.dropped += 1
        del self.lines[line - 1]

    def write_dockerfile(self, context, without=0):
        lines = self.lines[: without - 1] + self.lines[without:] if without else self.lines
        with open(f"{context}/Dockerfile", "w") as file:
            file.write("\n".join(lines) + "\n")
