#!/bin/bash
# Nobody else reads the state below the root, and secrets of a step never reach a disk: not as files, and not as blocks of a file system.
. "$(dirname "$0")/lib.sh"
need_root
command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4 is not installed"
secret=S3CR3T$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
mkdir "$work/disk"
ln -s disk "$work/root"
truncate -s 600M "$work/disk.img"
mkfs.ext4 -q -m 0 "$work/disk.img"
mount -o loop "$work/disk.img" "$work/disk" 2>/dev/null || skip "loop devices cannot be mounted here"
search=
trap 'code=$?; [ -z "$search" ] || kill "$search" 2>/dev/null || true; stop_daemon || true; umount -l "$work/disk"; clean_up $code' EXIT
rmdir "$work/disk/lost+found"
chmod 0777 "$work/disk"

umask 0
start_daemon
umask 022
busybox_context "$work/context"
port=$(free_port)
cat >> "$work/context/Dockerfile" <<DOCKERFILE
FROM busybox
ARG TOKEN
RUN --mount=type=secret,id=hidden,env=IN_ENV --mount=type=secret,id=hidden,target=/in/file \\
    test "\$IN_ENV" = "\$(cat /in/file)" && nc 127.0.0.1 $port > /answer && grep -q go-on /answer
DOCKERFILE

# While the step waits for an answer, everything is searched that could have its secret.
cat > "$work/search.py" <<'PYTHON'
import os, socket, sys
port, work, places = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
secret = os.environ["SECRET"].encode()
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", port))
server.listen()
open(work + "/listening", "w").close()
step = server.accept()[0]
found = []
for place in places:
    for directory, _, names in os.walk(place):
        for name in names:
            path = os.path.join(directory, name)
            try:
                if os.path.isfile(path) and not os.path.islink(path) and secret in open(path, "rb").read(): found.append(path)
            except OSError: pass
print("\n".join(found))
step.sendall(b"go-on\n")
PYTHON
SECRET=$secret python3 "$work/search.py" "$port" "$work" "$work" /run /tmp > "$work/found" 2>&1 &
search=$!
until [ -e "$work/listening" ]; do kill -0 "$search" || fail "the search did not start"; done
export HIDDEN=$secret
build --build-arg TOKEN=t0k3n --secret id=hidden,env=HIDDEN "$work/context" >"$work/build.log" 2>&1 ||
  { cat "$work/build.log"; fail "the build"; }
wait "$search"
search=
[ -z "$(cat "$work/found")" ] || fail "the secret of a running step is in $(cat "$work/found")"

# Another user sees nothing, also of a root that was made with loose modes.
readable() {
  find "$work/disk" -type f | head -n 2000 | while read -r file; do
    setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$file" && echo "$file"
  done
}
private() {
  [ -z "$(readable)" ] || fail "$1: others read $(readable | head -n 3)"
  for name in "$work"/disk/*; do [ -z "$(find "$name" -maxdepth 0 -perm /077)" ] || fail "$1: $name has mode $(stat -c %a "$name")"; done
}
chmod 755 "$work"
private "a new root"
[ -n "$(grep -aF t0k3n "$work/root/metadata.db"*)" ] || fail "the test does not find what it should: build arguments are in the database"
stop_daemon || fail "the daemon did not stop in order"
chmod -R a+rX "$work/disk"/*
chmod 0777 "$work/disk"
start_daemon
private "a root with loose modes"
[ "$(stat -c %a "$work/disk")" = 711 ] || fail "the root has mode $(stat -c %a "$work/disk")"
build --build-arg TOKEN=t0k3n --secret id=hidden,env=HIDDEN "$work/context" >"$work/build.log" 2>&1
expect CACHED "$work/build.log"
stop_daemon || fail "the daemon did not stop in order"
umount "$work/disk"
trap clean_up EXIT
! grep -qaF "$secret" "$work/disk.img" || fail "the secret is on the disk"
grep -qaF t0k3n "$work/disk.img" || fail "the test does not find what it should on the disk"
