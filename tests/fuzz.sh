#!/usr/bin/env bash
# `make fuzz` and `make fuzz-corpora`: runs each fuzz target from its committed corpus on, or takes over into the corpora what
# was found (tests/fuzz/README.md). Needs cargo and a C++ compiler.
#
#   tests/fuzz.sh run|corpora [TARGET…]
#
# FUZZ_SECONDS: for each target (60); 0 runs each file of the corpora once.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

seconds=${FUZZ_SECONDS:-60}
cargo=${CARGO:-cargo}
folder=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
# Files of each committed corpus, besides those with names.
corpus_max=12
# As cargo-fuzz sets them, without a sanitizer: there is next to no unsafe code to watch, and stable Rust knows these.
flags=(
    --cfg fuzzing
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0
)

missing() {
    echo "fuzz: missing: $*" >&2
    exit 1
}

build() {
    host=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p') || :
    [[ -n $host ]] || missing 'cargo and rustc'
    command -v "${CXX:-c++}" >/dev/null || missing 'a C++ compiler, for libFuzzer (apt install g++)'
    # --target, so that build scripts and macros are built without the flags: libFuzzer is not linked to them.
    RUSTFLAGS="${flags[*]}" "$cargo" build --release --locked --manifest-path tests/fuzz/Cargo.toml \
        --target "$host" --target-dir "$folder"
    programs=$folder/$host/release
    mkdir -p "$folder/crashes"
}

# fuzz TARGET ARGUMENT…
fuzz() {
    "$programs/$1" -timeout=10 -rss_limit_mb=1024 "-artifact_prefix=$folder/crashes/$1-" "${@:2}"
}

# Runs one target, says in a line what came of it, and fails if it crashed.
run() {
    local target=$1 found=$folder/corpora/$1 log=$folder/$1.log crashes=0 bound
    if [[ ! -x $programs/$target ]]; then
        echo "fuzz: missing: $target in tests/fuzz/Cargo.toml" >&2
        return 1
    fi
    # New inputs go to the first folder, so the committed corpus stays as it is.
    mkdir -p "$found" "tests/fuzz/corpora/$target"
    bound=("-max_total_time=$seconds" "$found")
    [[ $seconds != 0 ]] || bound=(-runs=0)
    fuzz "$target" -print_final_stats=1 "${bound[@]}" "tests/fuzz/corpora/$target" >"$log" 2>&1 || crashes=1
    awk -v target="$target" -v crashes="$crashes" '/^stat::number_of_executed_units:/ { n = $2 }
        /^stat::average_exec_per_sec:/ { rate = $2 }
        END { printf "fuzz: %s: %d executions, %d a second, %d crashes\n", target, n, rate, crashes }' "$log"
    ((crashes)) || return 0
    grep -aE 'panicked at|ERROR:|Test unit written' -A1 "$log" >&2 || tail -5 "$log" >&2
    return 1
}

# Adds to the committed corpus of one target what was found, and drops from it what covers nothing more.
merge() {
    local target=$1 corpus=tests/fuzz/corpora/$1 merged
    [[ -x $programs/$target ]] || return 0
    merged=$(mktemp -d -p "$folder")
    mkdir -p "$folder/corpora/$target" "$corpus"
    # Those with a name of their own are kept: somebody wrote them, or a bug was found with them.
    find "$corpus" -type f ! -name "$(printf '[0-9a-f]%.0s' {1..40})" -exec cp {} "$merged" \;
    # Branches count here, not how often each is taken. Files come in the order of what each adds, and the first few cover
    # most: the rest, an end at each byte of a message and the like, is found again within seconds.
    fuzz "$target" -set_cover_merge=1 -use_counters=0 "$merged" "$corpus" "$folder/corpora/$target" 2>/dev/null || return 1
    # shellcheck disable=SC2012  # names of 40 digits, by the time of their making
    ls -tr "$merged" | sed -nE '/^[0-9a-f]{40}$/p' | tail -n "+$((corpus_max + 1))" | (cd "$merged" && xargs -r rm)
    rm -rf "$corpus"
    mv "$merged" "$corpus"
    chmod 755 "$corpus"
    echo "fuzz-corpora: $target: $(find "$corpus" -type f | wc -l) files, $(cat "$corpus"/* | wc -c) bytes"
}

what=${1:-}
if [[ $what != run && $what != corpora ]]; then
    echo 'usage: tests/fuzz.sh run|corpora [TARGET…]' >&2
    exit 2
fi
targets=("${@:2}")
if ((${#targets[@]} == 0)); then
    for file in tests/fuzz/targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi
build
failed=0
for target in "${targets[@]}"; do
    if [[ $what == run ]]; then
        run "$target" || failed=1
    else
        merge "$target" || failed=1
    fi
done
exit "$failed"
