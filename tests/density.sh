#!/usr/bin/env bash
# How dense the code is and how it is distributed: for each crate its code lines, characters in each, share of lines over
# 100 characters and unit tests; then the longest functions. A report, no gate: those are in tests/budgets.sh.
#
#   tests/density.sh [TREE]    a checkout; this one if none is named
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cd -- "${1:-$here/..}"

printf '%-20s %7s %11s %9s %7s %8s\n' crate lines characters 'over 100' tests longest
find . \( -name target -o -name fuzz \) -prune -o -name Cargo.toml -print | sort | while read -r manifest; do
    name=$(sed -n '/^\[package\]/,/^\[/ s/^name = "\(.*\)"/\1/p' "$manifest")
    [[ -n $name ]] || continue
    "$here/measure.sh" "$(dirname "$manifest")/src" | awk -v name="$name" '
        $1 == "file" { lines += $3; characters += $4; over += $5; tests += $6 }
        $1 == "fn" && $4 > longest { longest = $4 }
        END {
            if (lines) printf "%-20s %7d %11.1f %7.2f %% %7d %8d\n",
                name, lines, characters / lines, 100 * over / lines, tests, longest
        }'
done

printf '\nlongest functions, tests'\'' own tree left out:\n'
find . \( -name target -o -path ./tests \) -prune -o -type d -name src -print0 | xargs -0 "$here/measure.sh" |
    awk '$1 == "fn" { printf "%4d %s %s\n", $4, $3, $2 }' | sort -k1,1nr -k3 | sed -n "1,${LONGEST:-20}p"
