#!/bin/bash
# kill -9 of the daemon in the middle of a build, again and again: it starts again, the next build is right, nothing is left.
. "$(dirname "$0")/lib.sh"
need_root
rounds=${KILL_ROUNDS:-10}
busybox_context "$work/context"
cat >> "$work/context/Dockerfile" <<'DOCKERFILE'
FROM busybox
ARG ROUND
COPY input /input
RUN --mount=type=cache,target=/cache echo $ROUND > /cache/round && cat /input > /a
RUN i=0; while [ $i -lt 300 ]; do echo $ROUND $i >> /b; i=$((i+1)); done
RUN sleep 0.2; cat /input /a > /c
DOCKERFILE

for round in $(seq "$rounds"); do
  echo "round $round" > "$work/context/input"
  start_daemon
  : > "$work/build.log"
  build --build-arg ROUND="$round" "$work/context" >>"$work/build.log" 2>&1 &
  client=$!
  # A different moment every round: after that many lines of progress.
  until [ "$(wc -l < "$work/build.log" 2>/dev/null || echo 0)" -ge $((round % 17)) ] || ! kill -0 $client 2>/dev/null; do :; done
  kill -KILL "$daemon_pid"
  wait "$daemon_pid" 2>/dev/null || true
  wait $client 2>/dev/null || true
  daemon_pid=
  for _ in $(seq 100); do no_leftovers >/dev/null 2>&1 && break; sleep 0.02; done
  no_leftovers || fail "round $round"
  start_daemon
  build --build-arg ROUND="$round" --output "$work/out" "$work/context" >"$work/after.log" 2>&1 || { cat "$work/after.log"; fail "round $round: the build after"; }
  [ "$(cat "$work/out/c")" = "$(printf 'round %s\nround %s' "$round" "$round")" ] || fail "round $round: a wrong result"
  [ "$(wc -l < "$work/out/b")" = 300 ] || fail "round $round: a wrong result"
  stop_daemon || fail "round $round"
done
echo "$rounds rounds"
