#!/usr/bin/env bash
# `make test`: lints, documentation, budgets, tests on this machine, tests in the virtual machine. The last two lines are
# their numbers. Does not look for what it needs: `make test` has.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

results=${CARGO_TARGET_DIR:-$PWD/target}/results

# The guest's image comes from the network while the compiler has the CPUs; run.sh waits for it, and builds it if this fails.
tests/guest/build-image.sh >/dev/null &
image=$!
trap 'kill "$image" 2>/dev/null || :' EXIT
make --no-print-directory lint
make --no-print-directory budgets
if command -v cargo-deny >/dev/null; then
    make --no-print-directory deny
else
    echo 'deny: not run, cargo-deny is not installed (cargo install --locked cargo-deny)'
fi
make --no-print-directory test-host
make --no-print-directory test-guest
trap - EXIT
# A test that the host ignores runs in the guest, or it runs nowhere.
ignored=$(awk '{ print $6 }' "$results/host")
ran=$(awk '{ print $2 + $4 }' "$results/guest")
if [[ $ignored != "$ran" ]]; then
    echo "test: $ignored tests are ignored on the host, but $ran ran in the guest" >&2
    exit 1
fi
cat "$results/host" "$results/guest"
