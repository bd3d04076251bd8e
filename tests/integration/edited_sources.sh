#!/bin/bash
# Dockerfiles that name other sources of equal names are other steps; and builds that run side by side want different things of one step.
. "$(dirname "$0")/lib.sh"
need_root
start_daemon
busybox_context "$work/context"
mkdir -p "$work"/context/{p,q,d/sub,d/other}
for place in p q d/sub d/other; do echo "$place" > "$work/context/$place/f"; done
cat >> "$work/context/Dockerfile" <<'DOCKERFILE'
FROM busybox AS base
RUN mkdir a b; echo a > /a/f; echo b > /b/f
DOCKERFILE

# edited WANT LINE...: what the last stage has in /f after a step of these lines; built twice, the second time from the cache.
edited() {
  local want=$1
  shift
  { cat "$work/context/Dockerfile"; printf '%s\n' "$@" 'FROM scratch' 'COPY --from=last /out/f /f'; } > "$work/Dockerfile"
  for _ in first again; do
    build -f "$work/Dockerfile" --output "$work/out" "$work/context" 2>"$work/log" || { cat "$work/log"; fail "$*"; }
    [ "$(cat "$work/out/f")" = "$want" ] || fail "$*: $(cat "$work/out/f") instead of $want"
  done
  ! grep -q '\] COPY .*/out' "$work/log" || grep -A1 '\] COPY .*/out' "$work/log" | grep -q CACHED || { cat "$work/log"; fail "$*: not cached"; }
}
edited a 'FROM base AS last' 'COPY --from=base /a/f /out/f'
edited b 'FROM base AS last' 'COPY --from=base /b/f /out/f'
edited q 'FROM scratch AS last' 'COPY p/f q/f /out/'
edited p 'FROM scratch AS last' 'COPY q/f p/f /out/'
edited d/sub 'FROM scratch AS last' 'COPY d d/sub/f /out/'
edited d/other 'FROM scratch AS last' 'COPY d d/other/f /out/'
mounts() { echo "RUN --mount=source=$1,target=/m --mount=source=$2,target=/n mkdir /out && cp /m/f /out/f"; }
edited p 'FROM busybox AS last' "$(mounts p q)"
edited q 'FROM busybox AS last' "$(mounts q p)"

# Two builds wait for one step; the one that lacks its secret fails alone.
cat "$work/context/Dockerfile" - > "$work/Dockerfile" <<'DOCKERFILE'
FROM busybox AS secret
RUN --mount=type=cache,sharing=locked,id=gate,target=/gate --mount=type=secret,id=s,required=true cat /run/secrets/s
FROM busybox AS holder
RUN --mount=type=cache,sharing=locked,id=gate,target=/gate echo holding; sleep 2
DOCKERFILE
echo word > "$work/word"
build -f "$work/Dockerfile" --target holder --output type=cacheonly "$work/context" >"$work/holder.log" 2>&1 & holder=$!
until grep -q holding "$work/holder.log"; do :; done
build -f "$work/Dockerfile" --target secret --output type=cacheonly "$work/context" >"$work/without.log" 2>&1 & without=$!
until grep -q 'RUN --mount=type=cache,sharing=locked,id=gate,target=/gate --mount=type=secret' "$work/without.log"; do :; done
build -f "$work/Dockerfile" --target secret --output type=cacheonly --secret "id=s,src=$work/word" "$work/context" >"$work/with.log" 2>&1 ||
  { cat "$work/with.log"; fail "the build that has the secret"; }
wait $holder || { cat "$work/holder.log"; fail "the build that holds the cache"; }
! wait $without || fail "a build without its secret succeeded"
grep -q 'secret.*s.*not found' "$work/without.log" || { cat "$work/without.log"; fail "the reason is not told"; }

# Locked caches in opposite order.
cat "$work/context/Dockerfile" - > "$work/Dockerfile" <<'DOCKERFILE'
FROM busybox AS one
RUN --mount=type=cache,sharing=locked,id=x,target=/x --mount=type=cache,sharing=locked,id=y,target=/y echo 1 > /one
FROM busybox AS two
RUN --mount=type=cache,sharing=locked,id=y,target=/y --mount=type=cache,sharing=locked,id=x,target=/x echo 2 > /two
FROM scratch
COPY --from=one /one /
COPY --from=two /two /
DOCKERFILE
for _ in 1 2 3 4 5; do
  timeout 60 "$CACHALOT_BIN/cachalot" --addr "unix://$socket" build --no-cache -f "$work/Dockerfile" --output "$work/out" "$work/context" 2>"$work/log" ||
    { cat "$work/log"; fail "locked caches in opposite order"; }
done
