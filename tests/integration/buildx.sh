#!/bin/bash
# An unmodified docker buildx: build, secrets, build args, push to a registry, and errors.
. "$(dirname "$0")/lib.sh"
need_root
start_daemon
use_docker
start_registry
busybox_context "$work/context"
cat >> "$work/context/Dockerfile" <<'DOCKERFILE'
FROM busybox
ARG WORD=none
RUN --mount=type=secret,id=token sh -c 'wc -c < /run/secrets/token > /size; echo $WORD > /word'
CMD ["cat", "/word"]
DOCKERFILE
printf 12345 > "$work/token"

buildx build --progress plain --secret "id=token,src=$work/token" --build-arg WORD=whale -t "$registry/app:1" --push "$work/context" >"$work/push.log" 2>&1 ||
  { cat "$work/push.log"; fail "build and push"; }
skopeo copy -q --src-tls-verify=false "docker://$registry/app:1" "oci:$work/image:latest"
umoci unpack --image "$work/image:latest" "$work/bundle" >/dev/null 2>&1
[ "$(cat "$work/bundle/rootfs/word")" = whale ] || fail "the build argument"
[ "$(cat "$work/bundle/rootfs/size")" = 5 ] || fail "the secret"
refuse 12345 "$work/push.log"
! grep -rqF 12345 "$work/bundle/rootfs/run" "$work/root/blobs" || fail "the secret leaked"

printf 'FROM %s/app:1\nRUN exit 3\n' "$registry" > "$work/context/Dockerfile"
! buildx build --progress plain "$work/context" >"$work/error.log" 2>&1 || fail "a failing step"
expect 'exit code: 3' "$work/error.log"
expect '>>> RUN exit 3' "$work/error.log"
