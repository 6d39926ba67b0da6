#!/usr/bin/env bash
# Prints the paths of the workspace's test programs, one a line, after building those that are not up to date.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.."
cargo test --release --locked --workspace --no-run --message-format=json-render-diagnostics |
    sed -n '/"profile":{[^}]*"test":true}/s/.*"executable":"\([^"]*\)".*/\1/p'
