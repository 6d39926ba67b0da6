#!/usr/bin/env bash
# Puts the files of packages, which packaging/files lists, below a folder: for `make install`, the .deb and the .rpm.
#
#   stage.sh ROOT [PACKAGE…]      the files (default: of all packages)
#   stage.sh --list [PACKAGE…]    their paths alone, one a line; of empty folders with a slash at the end
#
#   BIN_DIR      folder of the binaries (default: target/release)
#   PREFIX       for /usr, in paths and in units that name it
#   SYSCONFDIR   for /etc: a file that is there stays as it is
#   LEAVE_OUT    what goes below this folder is left out (of the destinations in packaging/files)
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

bin_dir=${BIN_DIR:-$top/target/release}
prefix=${PREFIX-/usr}
sysconfdir=${SYSCONFDIR:-/etc}
(($#)) || { sed -n 's/^# \{0,1\}//; 2,10p' "${BASH_SOURCE[0]}" >&2 && exit 2; }
root=$1
shift
wanted=" $* "

# put MODE SOURCE PATH: one file, or an empty folder.
put() {
    if [[ $root == --list ]]; then
        printf '%s\n' "$3"
    elif [[ $2 == - ]]; then
        install -d -m "$1" "$root$3"
    elif [[ $3 != "$sysconfdir"/* || ! -e $root$3 ]]; then
        install -D -m "$1" "$2" "$root$3"
        [[ $3 != */systemd/system/* ]] || sed -i -E "s#^(Exec[A-Za-z]*=)/usr/(bin/prn|libexec/prn/)#\1$prefix/\2#" "$root$3"
    fi
}

while read -r package mode source destination; do
    [[ -n $package && $package != '#'* ]] || continue
    [[ $wanted == '  ' || $wanted == *" $package "* ]] || continue
    [[ -z ${LEAVE_OUT:-} || $destination != "$LEAVE_OUT"* ]] || continue
    destination=${destination/#\/usr\//$prefix/}
    destination=${destination/#\/etc\//$sysconfdir/}
    if [[ $source == - ]]; then
        put "$mode" - "$destination"
        continue
    fi
    case $source in
        bin/*) sources=("$bin_dir/${source#bin/}") ;;
        *) mapfile -t sources < <(compgen -G "$top/$source" | LC_ALL=C sort) ;;
    esac
    ((${#sources[@]})) || { echo "stage: nothing is $source" >&2 && exit 1; }
    for source in "${sources[@]}"; do
        [[ $root == --list || -f $source ]] || { echo "stage: $source is missing: run make build" >&2 && exit 1; }
        path=$destination
        [[ $path != */ ]] || path+=${source##*/}
        put "$mode" "$source" "$path"
    done
done <"$top/packaging/files"
