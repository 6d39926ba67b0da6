#!/usr/bin/env bash
# `make static`: the command prn as one file that needs nothing of its host. Says where it is.
#
#   static.sh [TRIPLE]    x86_64-unknown-linux-musl or aarch64-unknown-linux-musl (default: of this machine)
#
#   PRN_STATIC_AUDITABLE   not empty: with the list of its crates in it (cargo-auditable)
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

folder=${CARGO_TARGET_DIR:-$PWD/target}/static
own=$(uname -m)-unknown-linux-musl
triple=${1:-$own}
missing() {
    echo "static: missing: $*" >&2
    exit 1
}
[[ -d $(rustc --print sysroot)/lib/rustlib/$triple ]] || missing "rustup target add $triple"
if [[ $triple == "$own" ]]; then
    command -v musl-gcc >/dev/null || missing 'musl-gcc (apt-get install musl-tools)'
else
    # For the C and assembly of a few crates; what is linked comes with Rust.
    gcc=${triple%%-*}-linux-gnu-gcc
    command -v "$gcc" >/dev/null || missing "$gcc (apt-get install gcc-${triple%%-*}-linux-gnu)"
    variable=${triple//-/_}
    export "CC_$variable=$gcc" "AR_$variable=${gcc%gcc}ar" "CARGO_TARGET_${variable^^}_LINKER=rust-lld"
fi
build=(build)
[[ -z ${PRN_STATIC_AUDITABLE:-} ]] || build=(auditable build)
# Optimized as a whole, which takes minutes and is not worth it for what is built all the time: a smaller file, of which a
# short run touches fewer pages.
export CARGO_PROFILE_RELEASE_LTO=${CARGO_PROFILE_RELEASE_LTO:-fat} CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
"${CARGO:-cargo}" "${build[@]}" --release --locked -p prn --bin prn --target "$triple" --target-dir "$folder"
echo "$folder/$triple/release/prn"
