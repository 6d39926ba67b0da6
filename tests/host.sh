#!/usr/bin/env bash
# `make test-host`: all tests that run on this machine. Says their number last, and leaves it in target/results/host.
#
# Most tests wait for something most of the time, so a few of their programs run beside each other; cargo would run one after the
# other. What one of them prints is shown when it has ended, and kept in target/results/host.d.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

results=${CARGO_TARGET_DIR:-$PWD/target}/results
flags=(--release --locked --workspace)
at_once=${PRN_TESTS_AT_ONCE:-3}
# These take minutes, and are begun first.
long='output|frontend|updates|hostile_server'

# For xargs below. `--run FOLDER PROGRAM`: one of them, as cargo would run it, in the folder of its package.
if [[ ${1:-} == --run ]]; then
    log=$results/host.d/$(basename "$3") status=0
    (cd "$2" && CARGO_MANIFEST_DIR=$2 "$3") >"$log" 2>&1 </dev/null || status=$?
    ((status == 0)) || printf 'test program %s ended with %d\n' "$3" "$status" >>"$log"
    # In one piece, so that nothing of another stands in its middle.
    printf '\n     Running %s\n%s\n' "$3" "$(<"$log")"
    exit "$((status != 0))"
fi

programs() {
    "${CARGO:-cargo}" test "${flags[@]}" --no-run --message-format=json-render-diagnostics |
        jq -r 'select(.reason == "compiler-artifact" and .executable != null and .profile.test)
            | (.manifest_path | rtrimstr("/Cargo.toml")), .executable' | paste - -
}

rm -rf "$results/host" "$results/host.d"
mkdir -p "$results/host.d"
all=$(programs)
status=0
# In the background of a script, or under nohup, a program begins with signals ignored, and hands that on: `prn run` obeys,
# and tests that interrupt it would wait for ever.
{
    grep -E "/($long)-[0-9a-f]+$" <<<"$all"
    grep -vE "/($long)-[0-9a-f]+$" <<<"$all"
} | tr '\t' '\n' | env --default-signal=HUP,INT,QUIT,TERM xargs -d '\n' -n 2 -P "$at_once" tests/host.sh --run || status=$?
# Examples in documentation comments have no program of their own.
"${CARGO:-cargo}" test "${flags[@]}" --doc --no-fail-fast 2>&1 | tee "$results/host.d/documentation" || status=$?
awk '/^test result: / { p += $4; f += $6; i += $8 }
    END { printf "host: %d passed, %d failed, %d ignored\n", p, f, i; exit p == 0 }' "$results"/host.d/* >"$results/host"
grep -h '^test program ' "$results"/host.d/* || :
cat "$results/host"
exit "$status"
