#!/usr/bin/env bash
# `make image-test`: the server's image under podman, as docs/operate/container.md has it run: nothing but the capabilities
# listed there, a root that cannot be written to, a key that is a secret. A client of this machine starts, follows and stops
# a process, a client is added by a reload, the server stops in order. Says its size and rights last.
#
# It listens on loopback alone. Where the controllers are on cgroup v1 (a hybrid machine), the container gets a group of version 2
# without them, and the flag that lifts limits: that is said, and then limits are not tested.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

archive=${CARGO_TARGET_DIR:-$PWD/target}/image/prn.oci.tar
prn=${PRN_BIN_DIR:-$PWD/target/release}/prn

say() { echo "image-test: $*" >&2; }
die() {
    say "$*"
    exit 1
}
for pair in podman:podman runc:runc jq:jq; do
    command -v "${pair%%:*}" >/dev/null || die "missing: ${pair%%:*} (apt-get install ${pair#*:})"
done
((EUID == 0)) || die "root is needed (sudo make image-test)"
[[ -e $archive ]] || die "there is no $archive: make image"

work=$(mktemp -d /var/tmp/prn-image-test.XXXXXX)
container=prn-image-test-$$
group=
# Everything of podman's in a folder of this run's own.
podman() {
    command podman --root "$work/storage" --runroot "$work/run" --tmpdir "$work/tmp" --storage-driver vfs \
        --runtime "$(command -v runc)" --cgroup-manager cgroupfs --events-backend file "$@"
}
cleanup() {
    local status=$?
    ((status == 0)) || podman logs "$container" >&2 || :
    podman rm --force --time 10 "$container" >/dev/null 2>&1 || :
    podman secret rm "$container" >/dev/null 2>&1 || :
    podman rmi --force --all >/dev/null 2>&1 || :
    [[ -z $group ]] || find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null || :
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- What an operator has: a configuration, keys, a port -------------------------------------------------------------

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
config=$work/etc
install -d -m 0700 "$config" "$work/client"
install -d -m 0711 "$work/state"
"$prn" keygen --name server --key "$work/server.key" --cert "$config/server.pem" >/dev/null
"$prn" keygen --name anna --key "$work/client/anna.key" --cert "$config/anna.pem" >/dev/null
"$prn" keygen --name ben --key "$work/client/ben.key" --cert "$work/client/ben.pem" >/dev/null
cat >"$config/prn.toml" <<TOML
address = "127.0.0.1:$port"
server-cert = "server.pem"
[[client]]
name = "anna"
cert = "anna.pem"
role = "admin"
TOML
as() {
    local who=$1
    shift
    PRN_SERVER_CERT=$config/server.pem PRN_CLIENT_CERT=$([[ $who == anna ]] && echo "$config" || echo "$work/client")/$who.pem \
        PRN_TLS_KEY_FILE=$work/client/$who.key PRN_ADDRESS=127.0.0.1:$port timeout 60 "$prn" "$@"
}

# --- The container, as in docs/operate/container.md -------------------------------------------------------------------

image=$(podman load --quiet --input "$archive" | sed -n 's/^Loaded image: //p')
podman secret create "$container" "$work/server.key" >/dev/null
options=(
    --read-only --cap-drop ALL --cap-add SETUID --cap-add SETGID --cap-add SETPCAP --cap-add KILL --cap-add CHOWN
    --security-opt no-new-privileges --security-opt "seccomp=$PWD/packaging/container/seccomp.json"
    --ulimit nofile=4096:4096 --ulimit nproc=1000:1000 --ulimit core=0:0
    --volume "$config:/etc/prn:ro" --volume "$work/state:/var/lib/prn"
    --secret "$container,target=/srv/tls-key,mode=0400"
    --network host
)
start=(--config /etc/prn/prn.toml --tls-key /srv/tls-key --log-format json)
if [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]; then
    options+=(--cgroupns private --security-opt unmask=/sys/fs/cgroup)
    limits=1 reload=()
else
    unified=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
    [[ -n $unified ]] || die "this machine has no cgroup v2"
    group=$unified/$container
    mkdir "$group"
    options+=(--volume "$group:/sys/fs/cgroup/unified:rw")
    reload=(--allow-missing-limits)
    start+=("${reload[@]}")
    limits=
    say "no controllers on cgroup v2 here: without limits"
fi
# serve OPTION…: until it does.
serve() {
    podman run --detach --name "$container" "${options[@]}" "$@" "$image" "${start[@]}" >/dev/null
    for _ in {1..300}; do
        ! as anna list >/dev/null 2>&1 || return 0
        [[ $(podman inspect --format '{{.State.Running}}' "$container") == true ]] || die "it has ended"
        sleep 0.1
    done
    die "it does not serve"
}
serve

# --- What it does ----------------------------------------------------------------------------------------------------

log() { podman logs "$container" 2>&1; }
# shellcheck disable=SC2016  # the process expands it
[[ $(as anna run -- sh -c 'echo "$(id -u) $$"; touch /usr/x 2>/dev/null || echo read-only') == 20000*' '*$'\nread-only' ]] ||
    die "a process is not as it should be: $(as anna run -- sh -c 'id; touch /usr/x' 2>&1)"
id=$(as anna start --name tail -- sh -c 'echo begun; sleep 1000')
[[ $(as anna logs --no-follow "$id") == begun ]] || die "its output is not there"
# It is seen in the container, and as nobody's of the host's.
podman exec "$container" sh -c 'cat /proc/[0-9]*/cmdline' 2>/dev/null | tr '\0' ' ' | grep -q 'sleep 1000' || die "it does not run in the container"
as anna stop "$id" >/dev/null
[[ $(as anna status -o json "$id" | jq -r .state) == stopped ]] || die "it has not stopped"
if [[ $limits ]]; then
    as anna run --memory 16M -- sh -c 'head -c 200M /dev/zero | tail >/dev/null' >/dev/null 2>&1 && die "a limit of memory is not enforced"
fi

# Another client, by a reload: as documented, from within.
! as ben list >/dev/null 2>&1 || die "a client is let in that is not listed"
cp "$work/client/ben.pem" "$config/"
printf '[[client]]\nname = "ben"\ncert = "ben.pem"\nrole = "viewer"\n' >>"$config/prn.toml"
podman exec "$container" prn server reload --config /etc/prn/prn.toml --tls-key /srv/tls-key "${reload[@]}" |
    grep -q 'in force: clients added: ben' || die "the reload says something else"
as ben list >/dev/null || die "a client is not let in after the reload"

# --- Its rights ------------------------------------------------------------------------------------------------------

pid=$(podman exec "$container" sh -c 'for status in /proc/[0-9]*/status; do grep -q "^Name:.prn-supervisor" $status && echo $status; done' | head -n 1)
held=$(podman exec "$container" sed -n 's/^CapEff:\t//p' "$pid")
bounding=$(podman exec "$container" sed -n 's/^CapBnd:\t//p' /proc/1/status)
log | jq -R 'fromjson? | select(.level == "warning" and .program == "prn") | .message' | sed 's/^/image-test: says at start: /' >&2
log | jq -R 'fromjson?' | jq -e -s 'any(.message | contains("processes of profile default are confined by"))' >/dev/null ||
    die "it does not say what confines processes"

# --- And its end: in order, within the time that is given -------------------------------------------------------------

begin=$SECONDS
podman stop --time 30 "$container" >/dev/null
code=$(podman inspect --format '{{.State.ExitCode}}' "$container")
[[ $code == 0 ]] || die "it ended with $code"
((SECONDS - begin < 25)) || die "it had to be killed"
log | jq -R 'fromjson?' | jq -e -s 'any(.message == "stopping all processes")' >/dev/null || die "it did not stop in order"

# --- With namespaces of their own for processes ------------------------------------------------------------------------

podman rm "$container" >/dev/null
serve --cap-add SYS_ADMIN
seen=$(as anna run --profile strict -- sh -c 'set -- /proc/[0-9]*; echo $#; touch /tmp/x && ls /tmp')
[[ $seen == $'1\nx' ]] || die "with SYS_ADMIN a process of profile strict sees $seen"
confined=$(log | jq -Rr 'fromjson? | select(.program == "prn" and .level == "info") | .message')
[[ $confined == *'profile strict is available' ]] || die "with SYS_ADMIN it says $confined"
podman stop --time 30 "$container" >/dev/null

say "with SYS_ADMIN: $confined"
say "$image: $(podman image inspect --format '{{.Size}}' "$image" | numfmt --to=iec) unpacked, $(stat -c %s "$archive" | numfmt --to=iec) as an archive"
say "user $(podman image inspect --format '{{.User}}' "$image"), bounding set of the container $bounding, supervisor $held, root read-only"
say "ran in $SECONDS s"
