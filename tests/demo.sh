#!/usr/bin/env bash
# A guided tour of prn against a real server on this machine: keys, mutual TLS, two processes, their output for an early
# and a late subscriber, a stop. Ends by itself, and leaves nothing behind.
set -euo pipefail

bin=${PRN_BIN_DIR:?run it by: make demo}
PATH=$bin:$PATH

say() { printf '\n\033[1m%s\033[0m\n' "# $*"; }
show() { printf '\033[36m$ %s\033[0m\n' "$*"; "$@"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 1; }

if ((EUID != 0)); then
    command -v sudo >/dev/null || fail 'the server needs root, which makes cgroups and users: run it as root, or install sudo'
    exec sudo --preserve-env=PRN_BIN_DIR "$0"
fi

# Unprivileged ping depends on a setting of the network namespace. A namespace of our own, and the machine's stays as it is.
if [[ ${PRN_DEMO_NETWORK:-} != own ]]; then
    exec env PRN_DEMO_NETWORK=own unshare --net -- "$0"
fi
ip link set lo up
echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range

work=$(mktemp -d -t prn-demo-XXXXXX)
chmod 0711 "$work"
# The server starts only programs that nobody but root can change, and a checkout is somebody's.
install -o root -g root -m 0755 -D -t "$work/bin" "$bin"/prn{,-supervisor,-frontend,-tools}
PATH=$work/bin:$PATH
server=
finish() {
    if [[ -n $server ]]; then
        kill -TERM "$server" 2>/dev/null || :
        wait "$server" 2>/dev/null || :
    fi
    rm -rf -- "$work"
}
trap finish EXIT
cd "$work"

say 'What this host offers'
show prn server check && enforced=yes || enforced=no
flags=()
limits=(--cpu 0.5 --memory 128M --pids 32)
if [[ $enforced = no ]]; then
    echo 'demo: this host lacks cgroup v2 controllers, so the demo starts the server with --allow-missing-limits: its limits are NOT enforced'
    flags+=(--allow-missing-limits)
fi

say 'Keys: Ed25519, self-signed, each pinned by the other side'
show prn keygen --name server --key server.key --cert server.pem
show prn keygen --name client --key client.key --cert client.pem

say 'The server'
echo '$ prn server start --server-cert ./server.pem --client-cert ./client.pem'
PRN_TLS_KEY=$(<server.key) prn server start --server-cert ./server.pem --client-cert ./client.pem \
    --address 127.0.0.1:0 --state-dir "$work/state" --instance "prn-demo-$$" "${flags[@]}" >listening &
server=$!
for _ in $(seq 200); do
    [[ -s listening ]] && break
    kill -0 "$server" 2>/dev/null || fail 'the server did not start'
    sleep 0.05
done
cat listening
PRN_ADDRESS=$(sed -n 's/^Listening on //p' listening)
[[ -n $PRN_ADDRESS ]] || fail 'the server is not listening'
export PRN_ADDRESS PRN_CLIENT_CERT=./client.pem PRN_SERVER_CERT=./server.pem
PRN_TLS_KEY=$(<client.key)
export PRN_TLS_KEY

say 'Two halves: a small root supervisor, and a frontend without privilege that faces the network'
show ps -o user:12,pid,ppid,nlwp,comm -p "$server" --ppid "$server"

say 'Start a process, leave, come back'
show prn start "ping -c 6 -i 0.5 127.0.0.1" "${limits[@]}" | tee id
id=$(sed -n '$p' id)
[[ $id =~ ^[0-9a-f]{32}$ ]] || fail 'start did not print an id'
prn logs "$id" >early &
early=$!
show prn start "sh -c 'sleep 300 & sleep 300'"
show prn list
show prn status "$id"

say 'One subscriber was there from the beginning; another comes late, and reads from the first byte all the same'
sleep 1.5
printf '\033[36m$ prn logs %s\033[0m\n' "$id"
prn logs "$id" | tee late
wait "$early"
cmp early late || fail 'the two subscribers saw different bytes'
echo "demo: both subscribers saw the same $(stat -c %s late) bytes"

say 'Stop a process with everything it started'
other=$(prn list -o json | sed -n 's/.*"id": *"\([0-9a-f]*\)".*/\1/p' | sed -n 2p)
show prn stop "$other"
show prn list

say 'Run, and exit as the process exits'
code=0
show prn run -- sh -c 'echo to stdout; echo to stderr >&2; exit 42' || code=$?
echo "exit code $code"
[[ $code = 42 ]] || fail 'the exit code is not the process'"'"'s'

say 'Nobody else gets in'
prn keygen --name client --key other.key --cert other.pem >/dev/null
if PRN_TLS_KEY=$(<other.key) show prn list --client-cert ./other.pem; then
    fail 'an unknown certificate was let in'
fi

say 'The end: the server stops everything, and nothing is left'
kill -TERM "$server"
wait "$server" || fail 'the server did not end well'
server=
leftover=$(find "$work/state" -mindepth 1 -maxdepth 1 ! -name '.*' | wc -l)
groups=$(find /sys/fs/cgroup -maxdepth 3 -name "prn-demo-$$" 2>/dev/null | wc -l)
echo "demo: $leftover directories and $groups cgroups left"
[[ $leftover = 0 && $groups = 0 ]] || fail 'something is left behind'
echo 'demo: done'
