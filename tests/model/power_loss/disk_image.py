"""A directory tree as a disk may hold it: read, what a loss of power leaves of it, written back."""
import os
import shutil
import stat
from typing import NamedTuple

BLOCK = 512


class Node(NamedTuple):
    kind: int  # S_IFMT
    mode: int
    owner: tuple
    data: bytes  # of files; the target of links
    device: int
    attributes: tuple


def read_node(path):
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    data = b""
    if kind == stat.S_IFREG:
        with open(path, "rb") as file:
            data = file.read()
    elif kind == stat.S_IFLNK:
        data = os.fsencode(os.readlink(path))
    attributes = tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(os.listxattr(path, follow_symlinks=False)))
    return Node(kind, stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid), data, status.st_rdev, attributes)


def read_tree(root):
    """Path to node, parents first. What goes away meanwhile is left out; so are sockets."""
    tree = {}

    def walk(path):
        try:
            names = sorted(os.listdir(os.path.join(root, path)))
        except FileNotFoundError:
            return
        for name in names:
            child = os.path.join(path, name)
            try:
                node = read_node(os.path.join(root, child))
            except FileNotFoundError:
                continue
            if node.kind == stat.S_IFSOCK:
                continue
            tree[child] = node
            if node.kind == stat.S_IFDIR:
                walk(child)

    walk("")
    return tree


def write_tree(root, tree):
    shutil.rmtree(root)
    os.mkdir(root, 0o711)
    for path, node in tree.items():
        full = os.path.join(root, path)
        if node.kind == stat.S_IFDIR:
            os.mkdir(full)
        elif node.kind == stat.S_IFREG:
            with open(full, "wb") as file:
                file.write(node.data)
        elif node.kind == stat.S_IFLNK:
            os.symlink(node.data, full)
        else:
            os.mknod(full, node.kind | node.mode, node.device)
        os.chown(full, *node.owner, follow_symlinks=False)
        for name, value in node.attributes:
            os.setxattr(full, name, value, follow_symlinks=False)
        if node.kind != stat.S_IFLNK:
            os.chmod(full, node.mode)


def mixed(old, new, random):
    """Bytes of a file of which some blocks were written and some were not; it may end anywhere between."""
    sizes = sorted((len(old), len(new)))
    size = random.choice([*sizes, random.randint(*sizes)])
    result = bytearray(size)
    share = random.random()
    for at in range(0, size, BLOCK):
        source = new if random.random() < share else old
        block = source[at:at + BLOCK][:size - at]
        result[at:at + len(block)] = block
    return bytes(result)


def new_node(node, random):
    """A node that was made since the last sync, as far as it was written."""
    if node.kind == stat.S_IFREG:
        node = node._replace(data=random.choice([node.data, b"", mixed(b"", node.data, random)]))
    if random.random() < 0.1:
        node = node._replace(mode=0o700 if node.kind == stat.S_IFDIR else 0o600, owner=(0, 0), attributes=())
    return node


def changed_node(old, new, random):
    if old.kind != new.kind:
        return random.choice([old, new])
    if old.kind == stat.S_IFREG and old.data != new.data:
        new = new._replace(data=random.choice([old.data, new.data, mixed(old.data, new.data, random)]))
    if random.random() < 0.5:
        new = new._replace(mode=old.mode, owner=old.owner, attributes=old.attributes)
    return new


def after_power_loss(synced, last, random):
    """What may be left of the tree `last` when the disk is known to hold `synced`: each change happened or did not, on its own."""
    share_made, share_gone = (random.choice([0, 0.1, 0.5, 0.9, 1]) for _ in range(2))
    left = {}
    for path in sorted(synced.keys() | last.keys()):
        above = os.path.dirname(path)
        if above and (above not in left or left[above].kind != stat.S_IFDIR):
            continue
        old, new = synced.get(path), last.get(path)
        if old is None:
            if random.random() < share_made:
                left[path] = new_node(new, random)
        elif new is None:
            if random.random() >= share_gone:
                left[path] = old
        else:
            left[path] = old if old == new else changed_node(old, new, random)
    return left
