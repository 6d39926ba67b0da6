#!/usr/bin/env bash
# `make static`: the command prn as one file that needs nothing of its host. Says where it is.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

folder=${CARGO_TARGET_DIR:-$PWD/target}/static
triple=$(uname -m)-unknown-linux-musl
missing() {
    echo "static: missing: $*" >&2
    exit 1
}
command -v musl-gcc >/dev/null || missing 'musl-gcc (apt-get install musl-tools)'
[[ -d $(rustc --print sysroot)/lib/rustlib/$triple ]] || missing "rustup target add $triple"
# Optimized as a whole, which takes minutes and is not worth it for what is built all the time: a smaller file, of which a
# short run touches fewer pages.
export CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
"${CARGO:-cargo}" build --release --locked -p prn --target "$triple" --target-dir "$folder"
echo "$folder/$triple/release/prn"
