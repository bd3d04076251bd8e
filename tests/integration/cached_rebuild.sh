#!/bin/bash
# A multi-stage build: unneeded stages are dropped, the second build is all cached, also by a daemon that restarted.
. "$(dirname "$0")/lib.sh"
need_root
start_daemon
busybox_context "$work/context"
cat >> "$work/context/Dockerfile" <<'DOCKERFILE'
FROM busybox AS unneeded
RUN false
FROM busybox AS compile
COPY input /input
RUN tr a-z A-Z < /input > /output
FROM scratch
COPY --from=compile /output /result
DOCKERFILE
echo hello > "$work/context/input"

build --output "$work/out" "$work/context" 2>"$work/first.log" || { cat "$work/first.log"; fail "the first build"; }
[ "$(cat "$work/out/result")" = HELLO ] || fail "wrong result"
refuse "RUN false" "$work/first.log"

build --output "$work/out" "$work/context" 2>"$work/second.log"
[ "$(grep -c CACHED "$work/second.log")" -ge 3 ] || { cat "$work/second.log"; fail "steps were not cached"; }

stop_daemon
start_daemon
build --output "$work/out" "$work/context" 2>"$work/third.log"
[ "$(grep -c CACHED "$work/third.log")" -ge 3 ] || { cat "$work/third.log"; fail "the cache did not outlive the daemon"; }

echo changed > "$work/context/input"
build --output "$work/out" "$work/context" 2>"$work/fourth.log"
[ "$(cat "$work/out/result")" = CHANGED ] || fail "a changed file was not seen"
