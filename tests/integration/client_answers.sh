#!/bin/bash
# What the client says without a daemon: every line, help, advice for what was mistyped, refusals before anything runs, answers to questions.
. "$(dirname "$0")/lib.sh"
need_root
cachalot() { "$CACHALOT_BIN/cachalot" "$@"; }
context=$work/context log=$work/log
busybox_context "$context"
base=$(cat "$context/Dockerfile")
# refused TEXT ARGUMENT...: `cachalot build` refuses these arguments with TEXT, and opens no engine for it.
refused() {
  local text=$1; shift
  ! cachalot build "$@" >"$log" 2>&1 || fail "accepted: $*"
  expect "$text" "$log"
  [ ! -e "$CACHALOT_ROOT" ] || fail "an engine was opened for: $*"
}

cachalot >"$log" 2>"$work/err" || fail "no help without arguments"
expect 'build an image from a Dockerfile' "$log"
[ ! -s "$work/err" ] || fail "help on stderr"
! cachalot buld "$context" >"$log" 2>&1 || fail "an unknown command"
expect 'unknown command "buld" (did you mean build?)' "$log"

refused 'invalid tag "BAD NAME"' -t 'BAD NAME' "$context"
refused 'invalid annotation "x", expected key=value' --annotation x "$context"
refused 'invalid mode "most"' --provenance mode=most "$context"
refused 'no such file or directory' --ssh "default=$work/no-key" "$context"
refused "open $work/nowhere/id: no such file or directory" --iidfile "$work/nowhere/id" "$context"
refused "open $work: is a directory" --metadata-file "$work" "$context"
refused "secret x: open $work/no-secret: no such file or directory" --secret "id=x,src=$work/no-secret" "$context"
refused 'two outputs have the same destination' -o "type=oci,dest=$work/x" -o "type=tar,dest=$work/x" "$context"
refused 'invalid context name UPPER' --build-context UPPER="$context" "$context"
refused 'unexpected argument --tagg (did you mean --tag?)' --tagg x "$context"
printf '\x28\xb5\x2f\xfd' | { ! cachalot build - >"$log" 2>&1; } && expect 'use gzip, bzip2 or xz' "$log" || fail "a context in zstd"
code=0; time_used=$SECONDS
(ulimit -f 100; cachalot build "$context") >"$log" 2>&1 || code=$?
[ $code = 1 ] && [ $((SECONDS - time_used)) -lt 10 ] || fail "an engine that dies at its start: exit code $code after $((SECONDS - time_used)) s"
expect "the engine's process was killed while it started: signal 25" "$log"
rm -rf "$CACHALOT_ROOT"
! PATH=/nowhere cachalot build --load -t x "$context" >"$log" 2>&1 || fail "loaded without docker"
expect '--load needs the docker client' "$log"
! PATH=/nowhere cachalot build "$context" >"$log" 2>&1 || fail "built without a runtime"
expect 'crun was not found' "$log"
echo 'FROM scratch' | setpriv --reuid=65534 --clear-groups "$CACHALOT_BIN/cachalot" build - >"$log" 2>&1 && fail "built as nobody"
expect 'needs root' "$log"

# What a result is written into stays what it is.
mkfifo "$work/pipe" && ln -s target "$work/link"
jq -r '."buildx.build.ref"' <"$work/pipe" >"$work/ref" & reader=$!
cachalot build --metadata-file "$work/pipe" --progress plain "$context" >"$log" 2>&1 || fail "$(tail -n 5 "$log")"
wait "$reader" && [ -s "$work/ref" ] && [ -p "$work/pipe" ] || fail "metadata into a pipe"
cachalot build --metadata-file "$work/link" "$context" >"$log" 2>&1 && [ -L "$work/link" ] && [ -s "$work/target" ] || fail "metadata into a link's target"
cachalot build "$context" >&- 2>&- || fail "built without an output: exit code $?"

# Each step that asks has what came through a pipe; a variable that cannot hold a secret is an error; a name in any of its forms is replaced.
printf '%s\nFROM busybox\nRUN --mount=type=secret,id=s grep word /run/secrets/s\nRUN --mount=type=secret,id=s,env=S [ "$S" = word ]\n' "$base" > "$context/Dockerfile"
cachalot build -o type=cacheonly --secret id=s,src=<(echo -n word) "$context" >"$log" 2>&1 || fail "$(tail -n 5 "$log")"
! cachalot build --no-cache --secret id=s,src=<(printf 'word\0') "$context" >"$log" 2>&1 || fail "a zero byte in a variable"
expect 'secret s holds a zero byte' "$log"
mkdir "$work/other" && echo other > "$work/other/file" && printf 'FROM alpine:3\n' > "$work/Dockerfile"
for name in alpine:3 docker.io/library/alpine:3 docker.io/alpine:3; do
  cachalot build -f "$work/Dockerfile" --build-context "$name=$work/other" -o "$work/named" "$context" >"$log" 2>&1 || fail "$name: $(tail -n 5 "$log")"
  [ "$(cat "$work/named/file")" = other ] || fail "$name is not replaced"
done

printf '%s\nFROM busybox\nRUN --network=host seq 1 30000\n' "$base" > "$context/Dockerfile"
cachalot build --progress plain --allow network.host "$context" >"$log" 2>&1 || fail "$(tail -n 5 "$log")"
[ "$(grep -cE '^#[0-9]+ [0-9.]+ [0-9]+$' "$log")" = 30000 ] || fail "lines are missing"
cachalot du --filter type=regular >"$log"
expect 'Total:' "$log"

printf 'ARG colour=red\nFROM scratch as main\nARG colour\nCOPY x-$colour /\n' > "$context/Dockerfile"
code=0; cachalot build --check "$context" >"$log" 2>/dev/null || code=$?
[ "$code" = 1 ] || fail "--check with warnings: exit code $code"
expect 'Check complete, 1 warning has been found!' "$log"
expect 'WARNING: FromAsCasing' "$log"
cachalot build --call=outline,format=json "$context" 2>/dev/null | jq -e '.args[0].value == "red"' >/dev/null || fail "an outline"
cachalot build --call=targets "$context" 2>/dev/null | grep -q 'main (default)' || fail "targets"

printf '%s\nFROM busybox\nRUN echo begun; sleep 1000\n' "$base" > "$context/Dockerfile"
mkfifo "$work/output"
"$CACHALOT_BIN/cachalot" build --progress plain "$context" >"$work/output" 2>&1 & builder=$!
while read -r line; do
  echo "$line"
  [[ $line != *' begun' ]] || kill -INT "$builder"
done <"$work/output" >"$work/interrupted"
code=0; wait "$builder" || code=$?
[ "$code" = 130 ] || fail "interrupted: exit code $code"
expect 'CANCELED' "$work/interrupted"
