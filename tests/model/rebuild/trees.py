"""Random trees of files, random edits of them, and what is in them. Paths are bytes: names need not be UTF-8."""
import hashlib
import os
import shutil
import stat
import tarfile

ODD = [b"sp ace", b"new\nline", b"\xff\xfe", b"st*r", b"q?[x]", b"back\\slash", b"-dash", b"quo'te\"", "\u00fc\u00df".encode(), b".hidden", b"a:b", b"!no", b"#no"]
MODES = [0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o4755, 0o2711, 0o000]
DIRECTORY_MODES = [0o755, 0o755, 0o700, 0o1777, 0o2755, 0o555]


def is_directory(path):
    return stat.S_ISDIR(os.lstat(path).st_mode)


def remove(path):
    shutil.rmtree(path) if is_directory(path) else os.unlink(path)


class Tree:
    """A tree on disk below `root`. Of its first level, the directories d0 to d4 are what Dockerfiles name; r0 and f0.txt are never taken away."""

    KEPT = {b"r0", b"f0.txt"}

    def __init__(self, root):
        self.root = os.fsencode(root)

    def entries(self, wanted):
        """Paths of entries of which `wanted(stat)` holds, in a fixed order."""
        found = []
        for directory, directories, files in os.walk(self.root):
            directories.sort()
            for name in sorted(directories + files):
                path = os.path.join(directory, name)
                if os.path.relpath(path, self.root) not in (b"Dockerfile", b".dockerignore") and wanted(os.lstat(path)):
                    found.append(path)
        return found

    def files(self):
        return self.entries(lambda st: stat.S_ISREG(st.st_mode))

    def directories(self):
        return [self.root] + self.entries(lambda st: stat.S_ISDIR(st.st_mode))

    def grow(self, rng, size):
        os.mkdir(self.root, 0o755)
        for name in (b"d0", b"d1", b"d2", b"d3", b"d4", b"r0"):
            os.mkdir(os.path.join(self.root, name))
        self.write(rng, os.path.join(self.root, b"f0.txt"))
        places = [os.path.join(self.root, name) for name in (b"d0", b"d1", b"d2", b"d3", b"d4", b"r0")] + [self.root]
        for _ in range(size):
            place = rng.choice(places)
            made = self.add(rng, place)
            if made is not None and is_directory(made) and len(places) < 200:
                places.append(made)

    def name(self, rng):
        kind = rng.random()
        if kind < 0.1:
            return rng.choice(ODD)
        if kind < 0.15:
            return b"keep.txt"
        return b"%s%d%s" % (rng.choice([b"f", b"e", b"x"]), rng.randrange(400), rng.choice([b"", b".txt", b".log", b".tmp"]))

    def write(self, rng, path, size=None):
        with open(path, "wb") as file:
            file.write(rng.randbytes(rng.choice([0, 1, 7, 40, 40, 40, 300, 5000, 70000 if rng.random() < 0.05 else 20]) if size is None else size))

    def add(self, rng, place):
        """A new entry in `place`; None when the name is taken."""
        path = os.path.join(place, self.name(rng))
        # The glob of Dockerfiles matches nothing but files.
        plain = place == self.root and os.path.basename(path).startswith(b"f") and path.endswith(b".txt")
        if os.path.lexists(path):
            return None
        kind = 0.5 if plain else rng.random()
        if kind < 0.12:
            os.mkdir(path)
            os.chmod(path, rng.choice(DIRECTORY_MODES))
        elif kind < 0.2:
            os.symlink(rng.choice([b"f0.txt", b"../d1", b"/d2", b"nowhere", b".", b"../../../etc", self.name(rng)]), path)
        elif kind < 0.26:
            files = [entry.path for entry in sorted(os.scandir(place), key=lambda e: e.name) if entry.is_file(follow_symlinks=False)]
            if files:
                os.link(rng.choice(files), path)
        elif kind < 0.27:
            os.mkfifo(path)
        else:
            self.write(rng, path)
            os.chmod(path, rng.choice(MODES))
            if rng.random() < 0.2:
                os.chown(path, rng.randrange(3), rng.randrange(3))
        return path if os.path.lexists(path) else None

    # Edits. Each takes what it needs from the tree as it is now, so that it means something after other edits were left out.

    def edit_content(self, rng):
        for path in self.some(rng, self.files(), 3):
            self.write(rng, path)

    def edit_in_secret(self, rng):
        """Other bytes, of the same size and at the same time."""
        for path in self.some(rng, self.files(), 3):
            before = os.lstat(path)
            with open(path, "r+b") as file:
                file.write(rng.randbytes(before.st_size))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    def edit_by_replacing(self, rng):
        for path in self.some(rng, self.files(), 2):
            before = os.lstat(path)
            self.write(rng, path + b".new", before.st_size)
            os.chmod(path + b".new", stat.S_IMODE(before.st_mode))
            os.utime(path + b".new", ns=(before.st_atime_ns, before.st_mtime_ns))
            os.rename(path + b".new", path)

    def touch(self, rng):
        for path in self.some(rng, self.files(), 5):
            os.utime(path, **({"ns": (0, rng.randrange(10**18))} if rng.random() < 0.5 else {}))

    def change_mode(self, rng):
        for path in self.some(rng, self.files() + self.directories()[1:], 3):
            os.chmod(path, rng.choice(DIRECTORY_MODES if is_directory(path) else MODES))

    def change_owner(self, rng):
        for path in self.some(rng, self.files(), 2):
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            os.chown(path, rng.randrange(3), rng.randrange(3))
            os.chmod(path, mode)

    def add_some(self, rng):
        for place in self.some(rng, self.directories(), 4):
            self.add(rng, place)

    def add_many(self, rng):
        place = os.path.join(rng.choice(self.directories()), b"many%d" % rng.randrange(5))
        if not os.path.lexists(place):
            os.mkdir(place)
            for _ in range(rng.randrange(60)):
                self.add(rng, place)

    def delete(self, rng):
        for path in self.some(rng, self.movable(), rng.choice([1, 1, 3, 10])):
            if os.path.lexists(path):
                remove(path)

    def move(self, rng):
        for path in self.some(rng, self.movable(), 2):
            target = os.path.join(rng.choice(self.directories()), os.path.basename(path) if rng.random() < 0.5 else self.name(rng))
            into_itself = (target + b"/").startswith(path + b"/")
            if os.path.lexists(path) and not os.path.lexists(target) and not into_itself and not self.is_glob(target):
                os.rename(path, target)

    def swap(self, rng):
        paths = self.some(rng, self.files(), 2)
        if len(paths) == 2:
            os.rename(paths[0], paths[0] + b"~")
            os.rename(paths[1], paths[0])
            os.rename(paths[0] + b"~", paths[1])

    def copy(self, rng):
        path = rng.choice(self.directories()[1:])
        target = os.path.join(rng.choice(self.directories()), b"copy%d" % rng.randrange(9))
        if not os.path.lexists(target) and not (target + b"/").startswith(path + b"/") and len(os.listdir(path)) < 100:
            shutil.copytree(path, target, symlinks=True, copy_function=lambda a, b: shutil.copy2(a, b, follow_symlinks=False),
                            ignore=lambda place, names: [n for n in names if not stat.S_IFMT(os.lstat(os.path.join(place, n)).st_mode) in
                                                         (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)])

    def turn(self, rng):
        """A file becomes a directory or a link, a directory becomes a file."""
        for path in self.some(rng, self.movable(), 2):
            if not os.path.lexists(path) or self.is_glob(path):
                continue
            was_directory = is_directory(path)
            first_level = os.path.dirname(path) == self.root
            remove(path)
            if was_directory:
                self.write(rng, path)
            elif rng.random() < 0.7 or first_level:
                os.mkdir(path)
                for _ in range(rng.randrange(4)):
                    self.add(rng, path)
            else:
                os.symlink(self.name(rng), path)

    def retarget(self, rng):
        for path in self.some(rng, self.entries(lambda st: stat.S_ISLNK(st.st_mode)), 3):
            target = os.readlink(path)
            os.unlink(path)
            os.symlink(target[::-1] if rng.random() < 0.5 else self.name(rng), path)

    def unlink_names(self, rng):
        """A file of several names becomes one of its own, with the same bytes and time."""
        for path in self.some(rng, self.entries(lambda st: stat.S_ISREG(st.st_mode) and st.st_nlink > 1), 2):
            shutil.copy2(path, path + b"~")
            os.rename(path + b"~", path)

    EDITS = (edit_content, edit_in_secret, edit_by_replacing, touch, change_mode, change_owner, add_some, add_many, delete, move, swap, copy, turn, retarget,
             unlink_names)

    def edit(self, rng):
        edit = rng.choice(self.EDITS)
        edit(self, rng)
        return edit.__name__

    @staticmethod
    def some(rng, paths, count):
        return rng.sample(paths, min(len(paths), rng.randint(1, count)))

    def movable(self):
        return [path for path in self.entries(lambda st: True) if os.path.relpath(path, self.root) not in self.KEPT]

    def is_glob(self, path):
        return os.path.dirname(path) == self.root and os.path.basename(path).startswith(b"f") and path.endswith(b".txt")

    def scan(self):
        """The tree as {path: Entry}, paths relative to the root, the root itself left out."""
        found = {}
        stack = [(self.root, b"")]
        while stack:
            directory, prefix = stack.pop()
            for entry in os.scandir(directory):
                path = prefix + entry.name
                st = entry.stat(follow_symlinks=False)
                data = b""
                if stat.S_ISREG(st.st_mode):
                    with open(entry.path, "rb") as file:
                        data = digest(file.read())
                elif stat.S_ISLNK(st.st_mode):
                    data = os.readlink(entry.path)
                elif stat.S_ISDIR(st.st_mode):
                    stack.append((entry.path, path + b"/"))
                found[path] = Entry(stat.S_IFMT(st.st_mode), stat.S_IMODE(st.st_mode), 0, 0, data)
        return found


def digest(data):
    return hashlib.blake2b(data, digest_size=12).digest()


class Entry(tuple):
    """Type, permissions (777 for links), owner and group, and the digest of the data or a link's target."""

    def __new__(cls, kind, mode, uid, gid, data):
        return super().__new__(cls, (kind, 0o777 if kind == stat.S_IFLNK else mode, uid, gid, data))

    def owned_by(self, uid, gid):
        return Entry(self[0], self[1], uid, gid, self[4])


TAR_TYPES = {tarfile.DIRTYPE: stat.S_IFDIR, tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO, tarfile.REGTYPE: stat.S_IFREG}


def read_tar(path):
    """The tree in an archive as {path: Entry}."""
    found = {}
    with tarfile.open(path, errors="surrogateescape") as archive:
        for member in archive:
            name = os.fsencode(member.name).strip(b"/")
            if name in (b"", b"."):
                continue
            if member.type == tarfile.LNKTYPE:
                found[name] = found[os.fsencode(member.linkname).strip(b"/")]
                continue
            data = b""
            if member.isreg():
                data = digest(archive.extractfile(member).read())
            elif member.issym():
                data = os.fsencode(member.linkname)
            found[name] = Entry(TAR_TYPES[member.type], member.mode, member.uid, member.gid, data)
    return found


def difference(want, got):
    """The first few places where two trees differ, as text; empty when they are equal."""
    places = sorted(path for path in want.keys() | got.keys() if want.get(path) != got.get(path))
    return "; ".join(f"{path!r}: want {show(want.get(path))}, got {show(got.get(path))}" for path in places[:5])


def show(entry):
    return "nothing" if entry is None else f"{entry[0]:o} {entry[1]:o} {entry[2]}:{entry[3]} {entry[4]!r}"
