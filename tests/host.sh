#!/usr/bin/env bash
# `make test-host`: all tests that run on this machine. Says their number last, and leaves it in target/results/host.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

results=${CARGO_TARGET_DIR:-$PWD/target}/results
mkdir -p "$results"
rm -f "$results/host"
status=0
# In the background of a script, or under nohup, a program begins with signals ignored, and hands that on: `prn run` obeys,
# and tests that interrupt it would wait for ever.
env --default-signal=HUP,INT,QUIT,TERM "${CARGO:-cargo}" test --release --locked --workspace --no-fail-fast 2>&1 | tee "$results/host.log" || status=$?
awk '/^test result: / { p += $4; f += $6; i += $8 }
    END { printf "host: %d passed, %d failed, %d ignored\n", p, f, i; exit p == 0 }' "$results/host.log" |
    tee "$results/host"
exit "$status"
