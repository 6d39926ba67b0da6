#!/usr/bin/env bash
# `make packages`: what is published of a version, in target/packages: packages for Debian and for distributions with rpm, the
# command alone as one file for any Linux, the sources with a formula for Homebrew, a list of the crates in each program
# (CycloneDX), and the checksums of all. The same
# sources and compiler make the same bytes, wherever and whenever that is: `make reproduce`. Takes minutes.
#
#   release.sh [deb] [rpm] [tarball] [homebrew] [sbom]    some of it (default: all)
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$top/packaging/lib.sh"
cd "$top"

cargo=${CARGO:-cargo}
target=${CARGO_TARGET_DIR:-$top/target}
folder=$target/packages
kinds=("$@")
((${#kinds[@]})) || kinds=(deb rpm tarball homebrew sbom)
# How they are compressed: as far as it gets.
export PRN_COMPRESSION=${PRN_COMPRESSION:-6}

# No program knows where it was built. What is said of a panic still names the file, in the sources or of a crate.
export CARGO_INCREMENTAL=0
RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$top=/prn --remap-path-prefix=$target=/target"
CFLAGS="${CFLAGS:-} -ffile-prefix-map=${CARGO_HOME:-$HOME/.cargo}=/cargo -ffile-prefix-map=$target=/target"
export RUSTFLAGS CFLAGS

# The programs of packaging/files, each with a list of its crates in it, which cargo-audit reads.
build() {
    local programs=() name
    while read -r name; do
        programs+=(--bin "$name")
    done < <(awk '$3 ~ /^bin\// { sub("^bin/", "", $3); print $3 }' packaging/files)
    "$cargo" auditable build --release --locked --workspace "${programs[@]}" --target-dir "$target/release-build"
    export BIN_DIR=$target/release-build/release
}

debs() {
    local made
    mapfile -t made < <(packaging/deb.sh "$folder")
    lintian --fail-on error,warning --allow-root "${made[@]}"
}

rpms() {
    local made
    mapfile -t made < <(packaging/rpm.sh "$folder")
    rpmlint --config packaging/rpm/rpmlint.toml "${made[@]}"
}

# archive NAME FOLDER: a folder as a tarball that says nothing of who made it, or when.
archive() {
    tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" --directory "$2" "$1" |
        gzip -9n >"$folder/$1.tar.gz"
}

# tarball TRIPLE: the command that needs nothing of its host, with pages and completions, to be unpacked below /usr/local.
tarball() {
    local program strip=strip name
    name=prn-$(version)-${1%%-*}-linux
    program=$(PRN_STATIC_AUDITABLE=1 tests/static.sh "$1")
    # What signs with a key in a token loads a library of the machine's, which no static program can.
    PREFIX='' BIN_DIR=${program%/*} LEAVE_OUT=/usr/libexec/ packaging/stage.sh "$work/$name" prn
    install -D -m 0644 LICENSE "$work/$name/share/doc/prn/LICENSE"
    [[ $1 == "$(uname -m)"-* ]] || strip=${1%%-*}-linux-gnu-strip
    "$strip" --strip-unneeded --remove-section=.comment "$work/$name/bin/prn"
    archive "$name" "$work"
}

# The sources, and the recipe of Homebrew that builds the command from them.
homebrew() {
    local name sum
    name=prn-$(version)
    mkdir "$work/$name"
    git ls-files -z | xargs -0 cp --parents --no-dereference -t "$work/$name"
    archive "$name" "$work"
    read -r sum _ < <(sha256sum "$folder/$name.tar.gz")
    sed "s|@URL@|$url|; s/@VERSION@/$(version)/; s/@SHA256@/$sum/" packaging/homebrew/prn.rb >"$folder/prn.rb"
}

# What is linked into a program of this package: a crate a line, with its version.
linked() {
    "$cargo" tree --locked --edges normal --target all --prefix none -p "$1" |
        sed -nE 's/^([^ ]+) v([^ ]+).*/\1 \2/p' | sort -u
}

# What a list has, in the same form.
listed() {
    jq -r '.metadata.component, .components[] | "\(.name) \(.version)"' "$1" | sort -u
}

# For each program's crate the list of what is linked into it. cargo-cyclonedx also lists what other members of the workspace
# switch on, tests among them: that is taken out.
sbom() {
    local source=$work/source member name crates list
    mkdir "$source"
    git ls-files -z | xargs -0 cp --parents --no-dereference -t "$source"
    (cd "$source" && "$cargo" cyclonedx --quiet --all --format json --spec-version 1.5 --target all --no-build-deps)
    for member in prn prn/agent prn/exporter supervisor supervisor/signer supervisor/tools api-frontend; do
        name=$(sed -n 's/^name = "\(.*\)"$/\1/p; T; q' "$member/Cargo.toml")
        list=$folder/$name-$(version).cdx.json
        crates=$(linked "$name")
        # No folder of this machine's.
        sed "s|$source|/prn|g" "$source/$member/$name.cdx.json" | jq --arg crates "$crates" '
            ($crates / "\n") as $linked
            | .components |= map(select("\(.name) \(.version)" | IN($linked[])))
            | [.metadata.component, .components[] | ."bom-ref"] as $refs
            | .dependencies |= map(select(.ref | IN($refs[])) | .dependsOn = [(.dependsOn // [])[] | select(IN($refs[]))])
        ' >"$list"
        diff <(listed "$list") <(echo "$crates") || die "the list of $name is not what is linked"
    done
    # Each has its checksum of Cargo.lock.
    diff <(
        jq -r '.components[] | select(.hashes) | "\(.name) \(.version) \(.hashes[0].content)"' "$folder"/*.cdx.json | sort -u
    ) <(
        sed -nE 's/^(name|version|checksum) = "(.*)"$/\1 \2/p' Cargo.lock |
            awk '$1 == "name" { n = $2 } $1 == "version" { v = $2 } $1 == "checksum" { print n, v, $2 }' | sort -u
    ) | grep '^<' && die 'a list has another checksum than Cargo.lock'
    return 0
}

mkdir -p "$folder"
rm -f "$folder"/*
[[ " ${kinds[*]} " != *' deb '* && " ${kinds[*]} " != *' rpm '* ]] || build
for kind in "${kinds[@]}"; do
    case $kind in
        deb) debs ;;
        rpm) rpms ;;
        tarball)
            tarball "$(uname -m)-unknown-linux-musl"
            [[ $(uname -m) == aarch64 ]] || tarball aarch64-unknown-linux-musl
            ;;
        homebrew) homebrew ;;
        sbom) sbom ;;
        *) die "deb, rpm, tarball, homebrew or sbom, not $kind" ;;
    esac
done
cd "$folder"
sha256sum -- * >"$work/SHA256SUMS"
mv "$work/SHA256SUMS" .
ls -l
