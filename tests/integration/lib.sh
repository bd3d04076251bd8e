# Sourced by every integration script: a scratch directory, a daemon of its own, checks, cleaning up.
# Expects $CACHALOT_BIN (folder of the programs). Exit code 77 means skipped; the reason is printed.
set -euo pipefail
: "${CACHALOT_BIN:?folder of cachalot and cachalotd}"
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
work=$(mktemp -d "${TMPDIR:-/tmp}/cachalot-test.XXXXXX")
socket=$work/daemon.sock
daemon_pid= registry_pid=
export CACHALOT_ROOT=$work/cli-root

skip() { echo "skipped: $*"; exit 77; }
fail() { echo "FAILED: $*" >&2; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || skip "needs root"; }

# clean_up [CODE]: scripts with a trap of their own hand over the code that they end with.
clean_up() {
  local code=${1:-$?}
  stop_daemon || code=1
  [ -z "$registry_pid" ] || { kill "$registry_pid"; wait "$registry_pid" || true; } 2>/dev/null
  if [ $code -ne 0 ] && [ $code -ne 77 ] && [ -f "$work/daemon.log" ]; then
    echo "-- end of the daemon's log"; tail -n 40 "$work/daemon.log"
  fi
  rm -rf --one-file-system "$work"
  exit $code
}
trap clean_up EXIT

# start_daemon [flag...]: waits until it answers.
start_daemon() {
  "$CACHALOT_BIN/cachalotd" --root "$work/root" --addr "unix://$socket" "$@" >>"$work/daemon.log" 2>&1 &
  daemon_pid=$!
  until "$CACHALOT_BIN/cachalot" --addr "unix://$socket" du >/dev/null 2>&1; do
    kill -0 "$daemon_pid" 2>/dev/null || fail "the daemon ended: $(tail -n 5 "$work/daemon.log")"
  done
}

# Stops the daemon and checks that it left no mount and no process.
stop_daemon() {
  [ -n "$daemon_pid" ] || return 0
  kill -TERM "$daemon_pid" 2>/dev/null || true
  local code=0
  wait "$daemon_pid" || code=$?
  daemon_pid=
  [ $code -eq 0 ] || { echo "the daemon exited with $code" >&2; return 1; }
  no_leftovers
}

no_leftovers() {
  ! grep -F "$work/root" /proc/mounts || { echo "mounts are left over" >&2; return 1; }
  ! pgrep -f "$work/root" >/dev/null || { echo "processes are left over: $(pgrep -af "$work/root")" >&2; return 1; }
}

cachalot() { "$CACHALOT_BIN/cachalot" --addr "unix://$socket" "$@"; }
build() { cachalot build --progress plain "$@"; }

# rootfs DIR: a root file system with busybox and all its applets.
rootfs() {
  mkdir -p "$1"/{bin,etc,tmp,proc,sys,dev,root}
  cp /bin/busybox "$1/bin/busybox"
  for applet in $(/bin/busybox --list); do [ -e "$1/bin/$applet" ] || ln -s busybox "$1/bin/$applet"; done
  echo 'root:x:0:0:root:/root:/bin/sh' > "$1/etc/passwd"
  echo 'root:x:0:' > "$1/etc/group"
}

# busybox_context DIR: a build context whose Dockerfile may say FROM busybox AS ... through busybox.tar.
busybox_context() {
  rootfs "$work/busybox"
  mkdir -p "$1"
  tar -C "$work/busybox" -cf "$1/busybox.tar" .
  printf 'FROM scratch AS busybox\nADD busybox.tar /\nENV PATH=/bin\n' > "$1/Dockerfile"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start_registry: Debian's docker-registry on a free loopback port; sets $registry.
start_registry() {
  command -v docker-registry >/dev/null || skip "docker-registry is not installed"
  local port
  port=$(free_port)
  printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$work/registry" "$port" > "$work/registry.yml"
  docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
  registry_pid=$!
  registry=127.0.0.1:$port
  until curl -fs "http://$registry/v2/" >/dev/null; do
    kill -0 "$registry_pid" 2>/dev/null || fail "the registry ended: $(cat "$work/registry.log")"
  done
}

# use_docker: the docker client with buildx from a newer suite, as a remote builder of our daemon; defines `buildx`.
use_docker() {
  local clients=${CACHALOT_CLIENTS:-$here/../../build/clients}
  "$here/../clients/fetch" "$clients" >"$work/clients.log" 2>&1 || skip "no buildx: $(tail -n 1 "$work/clients.log")"
  export DOCKER_CONFIG=$work/docker
  mkdir -p "$DOCKER_CONFIG/cli-plugins"
  ln -s "$(readlink -f "$clients/config/cli-plugins/docker-buildx")" "$DOCKER_CONFIG/cli-plugins/docker-buildx"
  docker=$clients/bin/docker
  "$docker" buildx create --name cachalot --driver remote "unix://$socket" >/dev/null
  buildx() { "$docker" buildx --builder cachalot "$@"; }
}

expect() { grep -qF -- "$1" "$2" || { cat "$2" >&2; fail "expected: $1"; }; }
refuse() { ! grep -qF -- "$1" "$2" || { cat "$2" >&2; fail "unexpected: $1"; }; }
