#!/usr/bin/env bash
# `make deny`: known vulnerabilities, licences, unwanted crates. Needs cargo-deny; without a network, known vulnerabilities
# are left out, and it says so.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

cargo=${CARGO:-cargo}
if "$cargo" deny --locked fetch db 2>/dev/null; then
    "$cargo" deny --locked check advisories
else
    echo 'deny: advisories not checked, their database cannot be reached'
fi
"$cargo" deny --locked check bans licenses sources
