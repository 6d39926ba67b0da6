#!/usr/bin/env bash
# Makes the packages prn and prn-server for Debian, from binaries that are built already. Says where they are.
#
#   deb.sh FOLDER [VERSION]    version of the programs (default: that of Cargo.toml)
#
#   BIN_DIR             folder of the binaries (default: target/release)
#   PRN_MAINTAINER      who answers for the packages, as `Name <address>`
#   PRN_COMPRESSION     level of xz (default: 1, which takes seconds; 6 takes a minute and makes them a fifth smaller)
#   PRN_URL             where the project is (rpm only)
#   SOURCE_DATE_EPOCH   the time of all files (default: that of the last commit)
#
# dpkg-deb alone, with the maintainer scripts as they are in packaging/debian: there is little that a generator could add, and
# what it leaves out it would leave out without a word.
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$top/packaging/lib.sh"

folder=$(into "$@")
# The first, and so far only, packaging of that version.
version=${2:-$(version)}-1
architecture=$(dpkg --print-architecture)
debian=$top/packaging/debian

# shared_libraries ROOT: the packages of the libraries that the programs there link, with their least versions.
shared_libraries() {
    local programs
    mapfile -t programs < <(programs "$1")
    # It reads the list of packages that a source package would have.
    mkdir -p "$work/source/debian"
    printf 'Source: prn\n\nPackage: prn\nArchitecture: any\n' >"$work/source/debian/control"
    (cd "$work/source" && dpkg-shlibdeps -O "${programs[@]}" | sed -n 's/^shlibs:Depends=//p')
}

# papers PACKAGE ROOT: what Debian wants of every package, below usr/share/doc.
papers() {
    local doc=$2/usr/share/doc/$1
    install -D -m 0644 "$debian/copyright" "$doc/copyright"
    gzip -9n <"$top/CHANGELOG.md" >"$doc/changelog.gz"
    gzip -9n >"$doc/changelog.Debian.gz" <<END
prn ($version) unstable; urgency=medium

  * As the programs' own list of changes says.

 -- $maintainer  $(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %T +0000')
END
    [[ ! -e $debian/$1.README ]] || install -m 0644 "$debian/$1.README" "$doc/README.Debian"
    [[ ! -e $debian/$1.lintian-overrides ]] ||
        install -D -m 0644 "$debian/$1.lintian-overrides" "$2/usr/share/lintian/overrides/$1"
}

# control PACKAGE ROOT: its own description, and the scripts that run when it comes and goes.
control() {
    local file size
    mkdir "$2/DEBIAN"
    size=$(find "$2" -type f -printf '%s\n' | awk '{ n += int(($1 + 1023) / 1024) } END { print n }')
    sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@MAINTAINER@/$maintainer/; s/@SIZE@/$size/" \
        -e "s/@DEPENDS@/$(shared_libraries "$2")/" "$debian/$1.control" >"$2/DEBIAN/control"
    [[ ! -e $debian/$1.conffiles ]] || install -m 0644 "$debian/$1.conffiles" "$2/DEBIAN/conffiles"
    for file in postinst prerm postrm; do
        [[ ! -e $debian/$1.$file ]] || install -m 0755 "$debian/$1.$file" "$2/DEBIAN/$file"
    done
    (cd "$2" && find . -type f ! -path './DEBIAN/*' ! -path './etc/*' -printf '%P\0' | LC_ALL=C sort -z |
        xargs -0 md5sum) >"$2/DEBIAN/md5sums"
}

for package in prn prn-server; do
    root=$work/$package
    stage "$package" "$root"
    papers "$package" "$root"
    control "$package" "$root"
    deb=$folder/${package}_${version}_$architecture.deb
    # Files that are newer than SOURCE_DATE_EPOCH, as all are, have that time.
    dpkg-deb --root-owner-group -Zxz -z"$compression" --build "$root" "$deb" >/dev/null
    printf '%s\n' "$deb"
done
