#!/bin/bash
# What was built is kept across a boot of the machine, by an engine that lived a moment; a broken state is made anew.
. "$(dirname "$0")/lib.sh"
need_root
busybox_context "$work/context"
printf 'FROM busybox\nRUN echo made > /a\nFROM scratch\nCOPY --from=1 /a /\n' >> "$work/context/Dockerfile"

# build_alone: without a daemon, on the machine's boot $boot; checks the result.
boot=$(cat /proc/sys/kernel/random/boot_id)
build_alone() {
  echo "$boot" > "$work/boot_id"
  rm -rf "$work/out"
  unshare -m --propagation private sh -c 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"' "$work/boot_id" \
    "$CACHALOT_BIN/cachalot" --root "$work/root" build --progress plain --output "$work/out" "$work/context" >"$work/build.log" 2>&1 ||
    { cat "$work/build.log"; fail "a build"; }
  [ "$(cat "$work/out/a")" = made ] || fail "a wrong result"
}
cached() { grep -c '^#[0-9]* CACHED$' "$work/build.log" || true; }

build_alone
boot=11111111-1111-1111-1111-111111111111
build_alone
[ "$(cached)" = 3 ] || { cat "$work/build.log"; fail "the cache is lost after the boot"; }

# Folders of snapshots and files of blobs that are gone.
rm -rf "$work"/root/snapshots/[0-9]* "$work"/root/blobs/sha256/*
build_alone
build_alone
[ "$(cached)" = 3 ] || fail "the cache is not made anew"

rm -f "$work"/root/metadata.db-*
head -c 9000 /dev/urandom > "$work/root/metadata.db"
build_alone
expect "metadata.db is broken and is moved to $work/root/metadata.db.broken-" "$work/build.log"
build_alone
[ "$(cached)" = 3 ] || fail "the cache is not made anew"
