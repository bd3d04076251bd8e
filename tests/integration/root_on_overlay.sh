#!/bin/bash
# A root on a file system where overlayfs stacks nothing, as in a container without a volume: it is said at the start, and builds work.
. "$(dirname "$0")/lib.sh"
need_root
mkdir -p "$work"/disk/{lower,upper,work,merged}
mount -t overlay overlay -o "lowerdir=$work/disk/lower,upperdir=$work/disk/upper,workdir=$work/disk/work" "$work/disk/merged" || skip "no overlayfs"
leave() {
  local code=$?
  set +e
  stop_daemon || code=1
  umount "$work/disk/merged"
  (exit $code)
  clean_up
}
trap leave EXIT
ln -s disk/merged "$work/root"

! timeout 60 "$CACHALOT_BIN/cachalotd" --root "$work/root" --addr "unix://$socket" --oci-worker-snapshotter=overlayfs >"$work/refused.log" 2>&1 ||
  fail "overlayfs was taken"
expect "overlayfs does not work below" "$work/refused.log"

start_daemon
expect "snapshots are whole copies (native)" "$work/daemon.log"
busybox_context "$work/context"
cat >> "$work/context/Dockerfile" <<'END'
FROM busybox AS made
RUN mkdir -p /d/old && echo 1 > /d/file && ln /d/file /d/twin
RUN rm -r /d/old && echo 2 > /d/new
FROM busybox
RUN --mount=type=cache,target=/cache echo kept >> /cache/log
COPY --from=made --link /d /copied
RUN test ! -e /copied/old && test "$(cat /copied/twin /copied/new)" = "$(printf '1\n2')"
END
build --output "type=oci,dest=$work/image.tar" "$work/context" >"$work/build.log" 2>&1 || { cat "$work/build.log"; fail "the build"; }
build "$work/context" >"$work/again.log" 2>&1 || fail "the build again"
[ "$(grep -c CACHED "$work/again.log")" -ge 6 ] || { cat "$work/again.log"; fail "steps run again"; }
stop_daemon
start_daemon
build "$work/context" >"$work/reopened.log" 2>&1 || fail "the build after a restart"
[ "$(grep -c CACHED "$work/reopened.log")" -ge 6 ] || { cat "$work/reopened.log"; fail "steps run again after a restart"; }
cachalot prune --all >/dev/null
