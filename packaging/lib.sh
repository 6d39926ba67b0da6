# shellcheck shell=bash
# Sourced by deb.sh, rpm.sh and release.sh, which set $top to the folder of the sources. Not a program.

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# shellcheck disable=SC2034  # for those that source it
maintainer=${PRN_MAINTAINER:-prn maintainers <prn@maintainers.invalid>}
# shellcheck disable=SC2034
url=${PRN_URL:-https://prn.invalid}
# shellcheck disable=SC2034
compression=${PRN_COMPRESSION:-1}

# The time of the last commit, which is the same wherever it is built.
: "${SOURCE_DATE_EPOCH:=$(git -C "$top" log -1 --format=%ct 2>/dev/null || stat -c %Y "$top/Cargo.lock")}"
export SOURCE_DATE_EPOCH

# What is made has the modes that its list says, whoever makes it.
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Of the programs: that of the workspace.
version() {
    sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml"
}

# programs ROOT: all that can be executed there.
programs() {
    find "$1/usr/bin" "$1/usr/libexec" -type f 2>/dev/null | LC_ALL=C sort || :
}

# into FOLDER: makes the folder that packages go into, and says where it is.
into() {
    [[ -n ${1:-} ]] || die 'a folder for the packages is needed'
    mkdir -p "$1"
    (cd -- "$1" && pwd)
}

# stage PACKAGE ROOT: the files of a package, as every distribution wants them: programs without symbols, pages compressed.
stage() {
    local program
    "$top/packaging/stage.sh" "$2" "$1"
    while read -r program; do
        strip --strip-unneeded --remove-section=.comment "$program"
    done < <(programs "$2")
    find "$2/usr/share/man" -type f -exec gzip -9n {} +
}
