#!/bin/bash
# A full disk fails the build with a clear message and spoils nothing: with a daemon and without, what frees space works while there is
# none, and the next build is right. On tmpfs and on ext4 with reserved blocks, which neither engine nor steps may touch.
. "$(dirname "$0")/lib.sh"
need_root
busybox_context "$work/context"
base=$(cat "$work/context/Dockerfile")
trap 'code=$?; set +e; stop_daemon || code=1; umount -l "$work"/disk.* 2>/dev/null; (exit $code); clean_up' EXIT

# As users of quotas are: what is reserved for root is not for them.
ordinary="setpriv --bounding-set -sys_resource --inh-caps -sys_resource"
alone() { $ordinary "$CACHALOT_BIN/cachalot" --root "$disk/root" "$@"; }
served() { $ordinary "$CACHALOT_BIN/cachalot" --addr "unix://$socket" "$@"; }
dockerfile() { printf '%s\nFROM busybox\n%s\n' "$base" "$1" > "$work/context/Dockerfile"; }

# fails NAME DOCKERFILE-TAIL: a build that must run out of space; its report is in $work/NAME.log.
fails() {
  dockerfile "$2"
  ! $engine build --progress plain "$work/context" >"$work/$1.log" 2>&1 || fail "$1: the build should have failed"
}
# works WHAT [STEP]: a build with the right result.
works() {
  dockerfile "${2:-}"$'\n'"RUN echo $1 > /result"
  $engine build --progress plain --output "$work/out" "$work/context" >"$work/works.log" 2>&1 || { cat "$work/works.log"; fail "the build $1"; }
  [ "$(cat "$work/out/result")" = "$1" ] || fail "a wrong result $1"
}
# Somebody else takes the last byte, root's reserve too.
fill() { cat /dev/zero > "$disk/filler" 2>/dev/null || true; dd if=/dev/zero of="$disk/filler" bs=1 count=4096 oflag=append conv=notrunc 2>/dev/null || true; }

# What must hold of `alone` and of `served`, as $engine says.
check_engine() {
  works before 'RUN dd if=/dev/zero of=/much bs=1M count=12 2>/dev/null'
  fails run 'RUN dd if=/dev/zero of=/big bs=1M count=200'
  expect 'No space left on device' "$work/run.log"
  expect '>>> RUN dd if=/dev/zero' "$work/run.log"
  expect "no space is left on the file system of $disk/root" "$work/run.log"
  works after-a-step
  truncate -s 200M "$work/context/big"
  fails copy 'COPY big /big'
  expect 'no space left on device' "$work/copy.log"
  rm "$work/context/big"
  [ -z "$(find "$disk/root" -name big -size +0)" ] || fail "what was received of a context stays"
  works after-a-copy
  fill
  $engine du >/dev/null || fail "du with no byte left"
  fails full 'RUN dd if=/dev/zero of=/x bs=1M count=8'
  expect 'no space' "$work/full.log"
  $engine du >/dev/null || fail "du after that"
}
prune_full() {
  $engine prune --all >"$work/prune.log" 2>&1 || { cat "$work/prune.log"; fail "prune with no byte left"; }
  [ "$(df --output=avail "$disk" | tail -n 1)" -gt 1000 ] || fail "prune freed nothing"
  rm "$disk/filler"
  works after-all
  [ "$(find "$disk/root/snapshots" -name big | wc -l)" = 0 ] || fail "half-written files are left"
}

check_disk() {
  engine=alone check_engine
  engine=alone prune_full
  $ordinary "$CACHALOT_BIN/cachalotd" --root "$disk/root" --addr "unix://$socket" >>"$work/daemon.log" 2>&1 &
  daemon_pid=$!
  until [ -S "$socket" ]; do kill -0 $daemon_pid || fail "the daemon ended"; done
  engine=served check_engine
  stop_daemon || fail "the daemon's stop with no byte left"
  fill
  $ordinary "$CACHALOT_BIN/cachalotd" --root "$disk/root" --addr "unix://$socket" >>"$work/daemon.log" 2>&1 &
  daemon_pid=$!
  until [ -S "$socket" ]; do kill -0 $daemon_pid || fail "the daemon does not start with no byte left"; done
  engine=served prune_full
  stop_daemon
}

disk=$work/disk.tmpfs
mkdir "$disk"
mount -t tmpfs -o size=80m tmpfs "$disk"
check_disk
umount "$disk"

disk=$work/disk.ext4
mkdir "$disk"
truncate -s 96M "$work/image"
mkfs.ext4 -q -m 10 "$work/image"
mount -o loop "$work/image" "$disk" 2>/dev/null || { echo "without ext4: no loop devices here"; exit 0; }
check_disk
