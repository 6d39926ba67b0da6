#!/usr/bin/env bash
# `make bench`: builds what prn is compared with, and measures (the tables: docs/performance.md). Needs root, a finished
# `make build`, and openssh-server for the comparisons with ssh. The static binary is measured too if `make static` left one.
#
#   tests/bench.sh [SUBJECT…] [--rounds N] [--idle-seconds N] [--files N]
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-$PWD/target}
export PRN_BIN_DIR=${PRN_BIN_DIR:-$target/release}
# Both halves without the moderation of reads, into a folder of their own.
"${CARGO:-cargo}" build --release --locked -p prn-supervisor -p prn-api-frontend --target-dir "$target/unmoderated" \
    --features prn-supervisor/unmoderated,prn-api-frontend/unmoderated
static=$target/static/$(uname -m)-unknown-linux-musl/release/prn
[[ ! -x $static ]] || export PRN_STATIC_BIN=$static
PRN_UNMODERATED_BIN_DIR=$target/unmoderated/release "$target/release/bench" "$@"
