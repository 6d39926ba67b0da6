#!/usr/bin/env bash
# Makes the packages prn and prn-server for distributions with rpm, from binaries that are built already: the same files as
# those for Debian, but for where a distribution wants completions of zsh and licences. Says where they are.
#
#   rpm.sh FOLDER [VERSION]    version of the programs (default: that of Cargo.toml)
#
# The environment: as for deb.sh. The programs need the C library that they were built with, or a newer one.
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$top/packaging/lib.sh"

folder=$(into "$@")
version=${2:-$(version)}

# list PACKAGE: for %files, what is there with its mode. Folders are the distribution's, but for those that are the package's.
list() {
    local mode path
    while read -r mode path; do
        case $path in
            /etc/prn | /etc/needrestart | /etc/needrestart/conf.d | /usr/libexec/prn | /usr/share/doc/"$1" | /usr/share/licenses/"$1") printf '%%dir ' ;;
            /etc/*) printf '%%config(noreplace) ' ;;
            /usr/share/man/* | /usr/share/doc/*) printf '%%doc ' ;;
            /usr/share/licenses/*) printf '%%license ' ;;
        esac
        printf '%%attr(%s, root, root) %s\n' "$mode" "$path"
    done < <(find "$work/$1" \( ! -type d -o -path '*/etc/prn' -o -path '*/etc/needrestart*' -o -path '*/libexec/prn' -o -path "*/doc/$1" -o -path "*/licenses/$1" \) \
        -printf '%m /%P\n' | LC_ALL=C sort -k 2)
}

mkdir "$work/lists" "$work/stage"
for package in prn prn-server; do
    root=$work/$package
    stage "$package" "$root"
    install -D -m 0644 "$top/LICENSE" "$root/usr/share/licenses/$package/LICENSE"
    install -D -m 0644 "$top/CHANGELOG.md" "$root/usr/share/doc/$package/CHANGELOG.md"
    if [[ -d $root/usr/share/zsh ]]; then
        mv "$root/usr/share/zsh/vendor-completions" "$root/usr/share/zsh/site-functions"
    fi
    list "$package" >"$work/lists/$package"
    cp -a "$root/." "$work/stage/"
done
find "$work/stage" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

# Nothing of the machine that builds, nor of the time, is in them.
rpmbuild --quiet -bb \
    --define "prn_version $version" \
    --define "prn_stage $work/stage" \
    --define "prn_lists $work/lists" \
    --define "prn_url $url" \
    --define "_topdir $work/rpmbuild" \
    --define "_rpmdir $folder" \
    --define '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm' \
    --define "_tmppath $work" \
    --define "_binary_payload w$compression.xzdio" \
    --define "packager $maintainer" \
    --define '_buildhost localhost' \
    --define 'use_source_date_epoch_as_buildtime 1' \
    --define 'clamp_mtime_to_source_date_epoch 1' \
    "$top/packaging/rpm/prn.spec" >&2
for package in prn prn-server; do
    printf '%s\n' "$folder/$package-$version-1.$(rpm --eval '%{_target_cpu}').rpm"
done
