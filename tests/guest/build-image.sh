#!/usr/bin/env bash
# Builds the test guest: a Debian root file system, packed as an initramfs, and its kernel. Prints the folder that holds
# `vmlinuz` and `root.cpio.zst`. A second call finds the result in the cache.
#
#   PRN_GUEST_CACHE   where images are kept (default: prn-guest in the user's cache folder)
#   PRN_GUEST_SUITE   Debian release of the guest (default: the first whose glibc runs what this machine builds)
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

# iproute2, iputils-ping, jq, strace, python3-minimal, openssl, softhsm2: used by tests inside the guest.
packages=(
    dbus
    e2fsprogs
    iproute2
    iputils-ping
    jq
    kmod
    linux-image-cloud-amd64
    openssl
    procps
    python3-minimal
    softhsm2
    strace
    systemd
    systemd-sysv
    udev
    util-linux
)

# Units that cost boot time or print to a console, and have nothing to do with what is tested.
masked=(
    apt-daily-upgrade.timer
    apt-daily.timer
    console-getty.service
    dpkg-db-backup.timer
    e2scrub_all.timer
    e2scrub_reap.service
    fstrim.timer
    getty.target
    systemd-networkd-wait-online.service
    systemd-pcrphase-sysinit.service
    systemd-pcrphase.service
    systemd-timesyncd.service
    systemd-update-utmp.service
    systemd-update-utmp-runlevel.service
)

# Kernel modules to keep; the rest is half of the image, which the guest unpacks in emulation at each boot.
modules='drivers/virtio|drivers/block|drivers/char/hw_random|drivers/net/(veth|dummy|tun|virtio_net)|fs/(autofs|fuse|overlayfs|quota)|net/(sched|core|netfilter|ipv4|ipv6)|crypto|lib'

# The tests are linked against the glibc of this machine, and an older one does not run them.
suite_for_host() {
    local codename id
    # shellcheck source=/dev/null
    { read -r id; read -r codename; } < <(. /etc/os-release && printf '%s\n%s\n' "${ID:-}" "${VERSION_CODENAME:-}")
    if [[ $id == debian && -n $codename ]]; then
        printf '%s\n' "$codename"
        return
    fi
    local glibc
    glibc=$(getconf GNU_LIBC_VERSION) || die "this machine's C library is not glibc: set PRN_GUEST_SUITE"
    glibc=${glibc#glibc }
    if [[ $(printf '%s\n2.36\n' "$glibc" | sort -V | tail -n 1) == 2.36 ]]; then
        printf 'bookworm\n'
    elif [[ $(printf '%s\n2.41\n' "$glibc" | sort -V | tail -n 1) == 2.41 ]]; then
        printf 'trixie\n'
    else
        die "no Debian release is known to run programs linked against glibc $glibc: set PRN_GUEST_SUITE"
    fi
}

[[ $(uname -m) == x86_64 ]] || die "the test guest is for x86_64 only"
suite=${PRN_GUEST_SUITE:-$(suite_for_host)}
cache=${PRN_GUEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prn-guest}
key=$({ printf '%s\n' "$suite" "${packages[@]}"; cat "${BASH_SOURCE[0]}"; } | sha256sum | cut -c1-16)
image=$cache/$key

mkdir -p "$cache"
need flock util-linux
# A parallel run waits here for this one's image instead of building its own.
exec 9>"$cache/$key.lock"
flock 9
if [[ -d $image ]]; then
    printf '%s\n' "$image"
    exit 0
fi

need mmdebstrap mmdebstrap zstd zstd cpio cpio
as_root=()
if ((EUID != 0)); then
    need fakeroot fakeroot newuidmap uidmap
    as_root=(fakeroot --)
fi
[[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || need debian-archive-keyring debian-archive-keyring

work=$(mktemp -d "$cache/.build.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/image"

say "building the $suite image (once; kept in $cache)"
# Runs as root of the new system, its root folder in $1.
customize() {
    set -euo pipefail
    cd "$1"
    local version unit
    version=$(basename lib/modules/*)
    (cd "lib/modules/$version/kernel" && find . -type f | grep -vE "^\./($modules)" | xargs rm -f)
    chroot . depmod "$version"
    rm -rf usr/lib/udev/hwdb.d usr/lib/udev/hwdb.bin usr/share/zoneinfo usr/share/i18n usr/lib/x86_64-linux-gnu/gconv
    # An id of its own, or systemd takes each boot for the first one.
    printf '%032x\n' 1 >etc/machine-id
    printf 'prn-guest\n' >etc/hostname
    printf '127.0.0.1 localhost prn-guest\n::1 localhost\n' >etc/hosts
    for unit in $masked_units; do
        ln -sf /dev/null "etc/systemd/system/$unit"
    done
    ln -sf /usr/lib/systemd/system/multi-user.target etc/systemd/system/default.target
}
# Through the environment: mmdebstrap runs a hook with sh, in a namespace where this file may not be readable.
export modules masked_units="${masked[*]}"
CUSTOMIZE=$(declare -f customize)
export CUSTOMIZE
# shellcheck disable=SC2016  # the hook expands them
mmdebstrap --quiet --variant=minbase --include="$(IFS=, && printf '%s' "${packages[*]}")" \
    --aptopt='Acquire::Retries "3"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --customize-hook='exec bash -c "$CUSTOMIZE; customize \"\$1\"" customize "$1"' \
    "$suite" "$work/root.tar"

mkdir "$work/root"
(
    cd "$work/root"
    # Devices are the guest kernel's business. `exec` keeps one fakeroot for the unpacking and the packing.
    exec "${as_root[@]}" bash -euo pipefail -c '
        tar -xpf ../root.tar --exclude="./dev/*"
        mv boot/vmlinuz-* ../image/vmlinuz
        rm -rf boot/*
        find . -mindepth 1 -print0 | cpio --null --quiet -o -H newc | zstd -q -T0 -10 >../image/root.cpio.zst'
)

# The rename publishes the image whole or not at all.
mv "$work/image" "$image"
say "image of $(du -h "$image/root.cpio.zst" | cut -f1) built in ${SECONDS} s"
printf '%s\n' "$image"
