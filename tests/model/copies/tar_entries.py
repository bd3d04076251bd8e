"""Tar archives as lists of entries that can be compared."""
import hashlib, json, os, tarfile

TYPES = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink",
         tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block"}
# What the peer loses and we keep: its layers have no attributes but capabilities, and a file of the context loses these when its content
# arrives after them.
LOST = {"SCHILY.xattr." + name for name in ("user.note", "security.capability", "system.posix_acl_access")}


def entries(path):
    """Name -> what the entry says, in the archive's order."""
    found = {}
    with tarfile.open(path, errors="surrogateescape") as archive:
        for member in archive:
            data = archive.extractfile(member).read() if member.isreg() else b""
            entry = {"type": TYPES.get(member.type, member.type), "mode": oct(member.mode & 0o7777), "uid": member.uid, "gid": member.gid,
                     "size": member.size, "content": hashlib.sha256(data).hexdigest()[:16], "link": member.linkname, "mtime": member.mtime,
                     "device": (member.devmajor, member.devminor) if member.ischr() or member.isblk() else None}
            for key, value in member.pax_headers.items():
                if key.startswith("SCHILY.xattr."):
                    entry[key] = value
            name = member.name.rstrip("/")
            if name in found:
                entry["again"] = True
            found[name] = entry
    return found


def differences(ours, peer, recent):
    """Lines that tell what differs. A time after `recent` is the build's own: then only that both are is compared."""
    a, b = entries(ours), entries(peer)
    lines = [f"{name!r} is ours alone: {a[name]}" for name in a if name not in b]
    lines += [f"{name!r} is the peer's alone: {b[name]}" for name in b if name not in a]
    for name in a:
        for key in sorted(set(a[name]) | set(b.get(name, {}))) if name in b else ():
            x, y = a[name].get(key), b[name].get(key)
            if x != y and not (key == "mtime" and x > recent and y > recent) and not (key in LOST and y is None):
                lines.append(f"{name!r} {key}: {x!r}, the peer's is {y!r}")
    return lines


def layers(image, directory):
    """Unpacks the layers of an OCI archive with one manifest; returns their paths, lowest first."""
    os.makedirs(directory)
    with tarfile.open(image) as archive:
        document = lambda name: json.load(archive.extractfile(name))
        blob = lambda descriptor: "blobs/" + descriptor["digest"].replace(":", "/")
        manifest = document(blob(document("index.json")["manifests"][0]))
        paths = []
        for number, layer in enumerate(manifest["layers"]):
            paths.append(f"{directory}/{number}.tar")
            with open(paths[-1], "wb") as target:
                target.write(archive.extractfile(blob(layer)).read())
    return paths
