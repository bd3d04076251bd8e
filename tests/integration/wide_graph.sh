#!/bin/bash
# Stages that are joined by COPY --from run side by side: each of eight steps waits until all eight are there.
. "$(dirname "$0")/lib.sh"
need_root
start_daemon
busybox_context "$work/context"
stages='a b c d e f g h'
for stage in $stages; do
  cat >> "$work/context/Dockerfile" <<DOCKERFILE
FROM busybox AS $stage
RUN --mount=type=cache,target=/meet touch /meet/$stage; i=0; while [ "\$(ls /meet | wc -l)" -lt 8 ]; do i=\$((i+1)); [ \$i -lt 600 ] || exit 1; sleep 0.1; done; echo $stage > /$stage
DOCKERFILE
done
echo 'FROM busybox AS all' >> "$work/context/Dockerfile"
for stage in $stages; do echo "COPY --from=$stage /$stage /out/" >> "$work/context/Dockerfile"; done
printf 'RUN cat /out/* > /all\nFROM scratch\nCOPY --from=all /all /\n' >> "$work/context/Dockerfile"

build --output "$work/out" "$work/context" 2>"$work/first.log" || { tail -n 30 "$work/first.log"; fail "the stages did not meet"; }
[ "$(tr -d '\n' < "$work/out/all")" = abcdefgh ] || fail "wrong result"
