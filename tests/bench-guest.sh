#!/usr/bin/env bash
# `make bench-guest`: what calls and an idle server cost by how many processes are alive, up to 4,000 of them, of the unit as
# it is installed, under systemd and with all controllers (docs/performance.md). In the test guest, which is emulated: its
# figures are many times those of a machine, and their ratios are what counts. Needs a finished `make build`.
#
#   tests/bench-guest.sh [ROUNDS]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
rounds=${1:-1}
export PRN_BIN_DIR=${PRN_BIN_DIR:-$target/release}
export PRN_GUEST_PROGRAMS=$target/release/bench
export PRN_GUEST_LOG=$target/bench-guest
export PRN_GUEST_TIMEOUT=${PRN_GUEST_TIMEOUT:-3600}
# shellcheck disable=SC2016  # the guest's own variables
tests/guest/run.sh --shell 'set -eu
cd /etc/prn
for name in server client; do prn keygen --force --name $name --key $name.key --cert $name.pem; done
systemctl start prn.service
supervisor=$(systemctl show -p MainPID --value prn.service)
grep "^Max open files" "/proc/$supervisor/limits"
"$PRN_BIN_DIR/bench" growth-of '"$rounds"' 127.0.0.1:50051 /etc/prn "$supervisor" || {
    journalctl -u prn.service --no-pager -n 50
    exit 1
}
grep -E "^(MemTotal|MemAvailable)" /proc/meminfo
systemctl stop prn.service'
