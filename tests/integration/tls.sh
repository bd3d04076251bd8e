#!/bin/bash
# TCP with TLS: a client with a certificate of the right authority builds; one without, or of another authority, is refused.
. "$(dirname "$0")/lib.sh"
need_root

# authority NAME: makes NAME.pem, NAME.key and certificates NAME-server and NAME-client signed by it.
authority() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/$1.pem" 2>/dev/null
  for role in server client; do
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$role" -keyout "$work/$1-$role.key" -out "$work/$role.csr" 2>/dev/null
    openssl x509 -req -in "$work/$role.csr" -CA "$work/$1.pem" -CAkey "$work/$1.key" -CAcreateserial -days 2 \
      -extfile <(echo 'subjectAltName=IP:127.0.0.1') -out "$work/$1-$role.pem" 2>/dev/null
  done
}
authority ours
authority theirs
port=$(free_port)
start_daemon --addr "tcp://127.0.0.1:$port" --tlscacert "$work/ours.pem" --tlscert "$work/ours-server.pem" --tlskey "$work/ours-server.key"
use_docker

# builder NAME OPTIONS: a remote builder over TCP with these driver options.
builder() { "$docker" buildx create --name "$1" --driver remote --driver-opt "$2" "tcp://127.0.0.1:$port" >/dev/null; }
builder known "cacert=$work/ours.pem,cert=$work/ours-client.pem,key=$work/ours-client.key,servername=127.0.0.1"
builder stranger "cacert=$work/ours.pem,cert=$work/theirs-client.pem,key=$work/theirs-client.key,servername=127.0.0.1"

busybox_context "$work/context"
echo 'RUN echo over TLS > /result' >> "$work/context/Dockerfile"
"$docker" buildx --builder known build --output "$work/out" "$work/context" >"$work/known.log" 2>&1 || { cat "$work/known.log"; fail "a known client"; }
[ "$(cat "$work/out/result")" = "over TLS" ] || fail "a wrong result"
! timeout 20 "$docker" buildx --builder stranger build "$work/context" >"$work/stranger.log" 2>&1 || fail "a stranger was let in"

# refused TEXT FLAG...: our own client says why it does not get in.
refused() {
  local text=$1; shift
  ! "$CACHALOT_BIN/cachalot" --addr "tcp://127.0.0.1:$port" "$@" du >"$work/refused.log" 2>&1 || fail "let in: $*"
  expect "$text" "$work/refused.log"
}
refused "refuses the client's certificate ($work/theirs-client.pem)" \
  --tlscacert "$work/ours.pem" --tlscert "$work/theirs-client.pem" --tlskey "$work/theirs-client.key"
refused "none was given with --tlscert" --tlscacert "$work/ours.pem"
refused "is not trusted" --tlscacert "$work/theirs.pem" --tlscert "$work/ours-client.pem" --tlskey "$work/ours-client.key"
refused "is not trusted" --tlscacert "$work/ours.pem" --tlsservername elsewhere --tlscert "$work/ours-client.pem" --tlskey "$work/ours-client.key"
refused "does not speak gRPC without TLS"
! curl -fsk --max-time 5 "https://127.0.0.1:$port/" >/dev/null 2>&1 || fail "a client without a certificate was let in"
