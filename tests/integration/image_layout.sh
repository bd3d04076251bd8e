#!/bin/bash
# Image layouts of the client: an output into one, a context from it, a cache exported to and imported from another.
. "$(dirname "$0")/lib.sh"
need_root
start_daemon
busybox_context "$work/base"
build --output "type=oci,tar=false,dest=$work/layout,name=example.com/base:1" "$work/base" 2>"$work/base.log" || { cat "$work/base.log"; fail "output as a layout"; }
skopeo inspect "oci:$work/layout:1" >/dev/null || fail "skopeo does not read the layout"
[ -z "$(ls "$work/layout/ingest" 2>/dev/null)" ] || fail "half-written blobs are left over"

mkdir "$work/context"
printf 'FROM base\nCOPY input /input\nRUN tr a-z A-Z < /input > /output\nFROM scratch\nCOPY --from=0 /output /\n' > "$work/context/Dockerfile"
echo hello > "$work/context/input"
with_layout() { build --build-context "base=oci-layout://$work/layout:1" --output "$work/out" "$@" "$work/context"; }
with_layout --cache-to "type=local,dest=$work/cache,mode=max" 2>"$work/first.log" || { cat "$work/first.log"; fail "a context from a layout"; }
[ "$(cat "$work/out/output")" = HELLO ] || fail "wrong result"
[ "$(jq -r '.manifests[0].annotations."org.opencontainers.image.ref.name"' "$work/cache/index.json")" = latest ] || fail "the cache has no name"

cachalot prune --all >/dev/null
with_layout --cache-from "type=local,src=$work/cache" 2>"$work/second.log" || { cat "$work/second.log"; fail "a cache from a directory"; }
[ "$(grep -c CACHED "$work/second.log")" -ge 2 ] || { cat "$work/second.log"; fail "steps were not cached"; }
cachalot prune --all >/dev/null
with_layout --cache-from "type=local,src=$work/nowhere" 2>"$work/third.log" || fail "a missing cache is no error"
grep -qF "local cache import at $work/nowhere skipped" "$work/third.log" || fail "a missing cache goes unmentioned"
! with_layout --build-context "base=oci-layout://$work/layout:2" 2>"$work/fourth.log" || fail "a missing tag was accepted"
grep -qF 'index.json: nothing is called "2"' "$work/fourth.log" || { cat "$work/fourth.log"; fail "unclear error"; }
