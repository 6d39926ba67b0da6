#!/usr/bin/env bash
# `make reproduce`: packages what is committed here twice, in two folders, one after the other, and compares. Takes as long as
# two builds from nothing.
#
#   reproduce.sh [deb] [rpm] [tarball] [homebrew] [sbom]    some of it (default: all)
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$top" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
unset CARGO_TARGET_DIR
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Of another length and depth, since a path may be padded or cut.
for folder in one another/folder; do
    git clone --quiet --no-hardlinks "$top" "$work/$folder"
    (cd "$work/$folder" && packaging/release.sh "$@")
    cp "$work/$folder/target/packages/SHA256SUMS" "$work/${folder##*/}.sums"
    # Half of the disk that both would take.
    rm -rf "$work/$folder/target/release-build" "$work/$folder/target/static"
done
if ! diff "$work/one.sums" "$work/folder.sums"; then
    echo 'reproduce: these differ' >&2
    exit 1
fi
echo "reproduce: two builds in two folders are equal:"
cat "$work/one.sums"
