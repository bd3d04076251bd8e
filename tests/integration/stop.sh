#!/bin/bash
# A client that leaves takes its work along; a daemon that is told to stop ends its builds. No process and no mount stays.
. "$(dirname "$0")/lib.sh"
need_root
busybox_context "$work/context"
marker=$((RANDOM * 32768 + RANDOM))000
printf 'FROM busybox\nRUN echo has begun; sleep %s\n' "$marker" >> "$work/context/Dockerfile"

# begin_build: a build that sleeps for ever; returns when its step runs. Sets $client.
begin_build() {
  : > "$work/build.log"  # what the build before said does not count
  "$CACHALOT_BIN/cachalot" --addr "unix://$socket" build --progress plain "$work/context" >"$work/build.log" 2>&1 &
  client=$!
  until grep -qE '^#[0-9]+ [0-9.]+ has begun' "$work/build.log"; do
    kill -0 $client 2>/dev/null || { cat "$work/build.log"; fail "the build ended early"; }
  done
  pgrep -f "sleep $marker" >/dev/null || fail "the step does not run"
}

# ended_badly: the client has ended, and not with success.
ended_badly() { ! wait $client || fail "the client should have failed"; }

start_daemon
begin_build
kill -INT $client
ended_badly
for _ in $(seq 200); do pgrep -f "sleep $marker" >/dev/null || break; sleep 0.02; done
! pgrep -f "sleep $marker" || fail "the step outlives its client"

begin_build
kill -KILL $client
ended_badly
for _ in $(seq 200); do pgrep -f "sleep $marker" >/dev/null || break; sleep 0.02; done
! pgrep -f "sleep $marker" || fail "the step outlives its killed client"

begin_build
stop_daemon
ended_badly
! pgrep -f "sleep $marker" || fail "the step outlives the daemon"
