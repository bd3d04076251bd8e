#!/bin/bash
# Every failure is told with its place, the exit code is not zero, and nothing stays mounted.
. "$(dirname "$0")/lib.sh"
need_root
start_daemon
busybox_context "$work/context"
base=$(cat "$work/context/Dockerfile")

# attempt NAME DOCKERFILE-TAIL: a build that must fail; its report is in $work/NAME.log.
attempt() {
  printf '%s\nFROM busybox\n%s\n' "$base" "$2" > "$work/context/Dockerfile"
  ! build "$work/context" >"$work/$1.log" 2>&1 || fail "$1: the build should have failed"
}

attempt run 'RUN echo before; echo trouble >&2; exit 42'
expect 'exit code: 42' "$work/run.log"
expect 'trouble' "$work/run.log"
expect 'Dockerfile:5' "$work/run.log"
expect '>>> RUN echo before' "$work/run.log"

attempt copy 'COPY --from=busybox /bin/busybox /etc/passwd /a /'
cachalot du --verbose >"$work/du.log"
refuse 'mount / from exec' "$work/du.log"  # the tree of a failed step goes with its build
refuse '[stage-1 1/1]' "$work/du.log"

attempt syntax 'RUNN true'
expect 'unknown instruction: RUNN' "$work/syntax.log"
expect 'Dockerfile:5' "$work/syntax.log"

# For the kernel a null byte ends a name: "..\0x" is the way up.
printf '%s\nFROM busybox\nRUN --mount=type=cache,source=/..\0x/..\0x/..\0x/etc,target=/m ls /m\n' "$base" > "$work/context/Dockerfile"
! build "$work/context" >"$work/null.log" 2>&1 || fail "a null byte in a path"
expect 'the instruction holds a null byte' "$work/null.log"
expect 'Dockerfile:5' "$work/null.log"

attempt missing 'COPY nothing-here /x'
expect '"/nothing-here": not found' "$work/missing.log"
expect '>>> COPY nothing-here /x' "$work/missing.log"

attempt stage 'COPY --from=nowhere:9.9 /a /b'
expect 'nowhere:9.9' "$work/stage.log"

start_registry  # any server with a known answer will do
attempt digest "ADD --checksum=sha256:$(printf '0%.0s' {1..64}) http://$registry/v2/ /answer"
expect "digest mismatch for http://$registry/v2/: sha256:$(curl -fs "http://$registry/v2/" | sha256sum | cut -d' ' -f1)" "$work/digest.log"
expect '>>> ADD --checksum' "$work/digest.log"

printf 'FROM 127.0.0.1:1/nothing\n' > "$work/context/Dockerfile"
! build "$work/context" >"$work/registry.log" 2>&1 || fail "an unreachable registry"
expect '127.0.0.1:1/nothing' "$work/registry.log"
expect 'connection refused' "$work/registry.log"

! build --target absent "$work/context" >"$work/target.log" 2>&1 || fail "an absent target"
! build --build-arg >"$work/usage.log" 2>&1 || fail "a flag without value"
! build "$work/no-such-context" >"$work/context.log" 2>&1 || fail "an absent context"
expect "$work/no-such-context" "$work/context.log"
