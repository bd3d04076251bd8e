#!/bin/bash
# A full disk fails the build with a clear message and spoils nothing: the daemon lives on, and what fits is still built right.
. "$(dirname "$0")/lib.sh"
need_root
mkdir -p "$work/disk"
mount -t tmpfs -o size=64m tmpfs "$work/disk"
trap 'umount -l "$work/disk"; clean_up' EXIT
ln -s "$work/disk" "$work/root"
start_daemon
busybox_context "$work/context"
base=$(cat "$work/context/Dockerfile")

# attempt NAME DOCKERFILE-TAIL: a build that must run out of space; its report is in $work/NAME.log.
attempt() {
  printf '%s\nFROM busybox\n%s\n' "$base" "$2" > "$work/context/Dockerfile"
  ! build "$work/context" >"$work/$1.log" 2>&1 || fail "$1: the build should have failed"
}

attempt run 'RUN dd if=/dev/zero of=/big bs=1M count=100'
expect 'No space left on device' "$work/run.log"
expect '>>> RUN dd if=/dev/zero' "$work/run.log"

truncate -s 100M "$work/context/big"
attempt copy 'COPY big /big'
expect 'no space left on device' "$work/copy.log"
rm "$work/context/big"

printf '%s\nFROM busybox\nRUN echo right > /result\n' "$base" > "$work/context/Dockerfile"
build --output "$work/out" "$work/context" >"$work/after.log" 2>&1 || { cat "$work/after.log"; fail "the build after"; }
[ "$(cat "$work/out/result")" = right ] || fail "a wrong result"
cachalot prune --all >/dev/null
[ "$(find "$work/disk/snapshots" -name big | wc -l)" = 0 ] || fail "half-written files are left"
