#!/usr/bin/env bash
# `make image`: the server's image, built without a daemon and without a registry. Prints its name, and leaves it as an OCI
# archive, which podman, docker and skopeo load: target/image/prn.oci.tar.
#
#   PRN_BIN_DIR       folder of the binaries (default: target/release)
#   PRN_IMAGE         its name (default: localhost/prn:VERSION)
#   PRN_IMAGE_SUITE   Debian release that is in it (default: this machine's, whose glibc the binaries are linked against)
#   PRN_IMAGE_CACHE   where the Debian root is kept (default: prn-image in the user's cache folder)
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
top=$(cd -- "$here/../.." && pwd)

# coreutils and a shell come with any Debian root; the init is for the server, which must not be process 1.
packages=(tini)

say() { echo "image: $*" >&2; }
die() {
    say "$*"
    exit 1
}
for pair in buildah:buildah mmdebstrap:mmdebstrap tar:tar flock:util-linux sha256sum:coreutils; do
    command -v "${pair%%:*}" >/dev/null || die "missing: ${pair%%:*} (apt-get install ${pair#*:})"
done
((EUID == 0)) || die "root is needed: files of the image have their owners (sudo make image)"

suite=${PRN_IMAGE_SUITE:-$(. /etc/os-release && [[ $ID == debian ]] && echo "$VERSION_CODENAME")} ||
    die "this machine is no Debian: set PRN_IMAGE_SUITE to a release whose glibc is no older than this machine's"
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$top/Cargo.toml")
name=${PRN_IMAGE:-localhost/prn:$version}
bin_dir=${PRN_BIN_DIR:-$top/target/release}
out=${CARGO_TARGET_DIR:-$top/target}/image
cache=${PRN_IMAGE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/prn-image}
key=$({ printf '%s\n' "$suite" "${packages[@]}"; cat "${BASH_SOURCE[0]}"; } | sha256sum | cut -c1-16)
mkdir -p "$cache" "$out"

# The Debian root, once for each list of packages; a call beside this one waits for it.
exec 9>"$cache/$key.lock"
flock 9
if [[ ! -e $cache/$key.tar ]]; then
    say "building a root of Debian $suite (once; kept in $cache)"
    # No program of it changes its user, documentation is elsewhere, and nothing installs packages there: who needs more
    # programs derives an image from this one, or copies prn into another one.
    # shellcheck disable=SC2016  # the hook expands it
    mmdebstrap --quiet --variant=essential --include="$(IFS=, && printf '%s' "${packages[*]}")" \
        --aptopt='Acquire::Retries "3"' \
        --dpkgopt=force-unsafe-io \
        --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' \
        --customize-hook='cd "$1" && rm -rf usr/share/i18n usr/lib/*/gconv var/cache/* var/lib/apt/lists/* &&
            find . -xdev -type f -perm /6000 -exec chmod ug-s {} +' \
        "$suite" "$cache/$key.part.tar"
    mv "$cache/$key.part.tar" "$cache/$key.tar"
fi
flock -u 9

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir "$root"
tar -xpf "$cache/$key.tar" -C "$root" --exclude='./dev/*'
make --no-print-directory -s -C "$top" install DESTDIR="$root" PREFIX=/usr BIN_DIR="$bin_dir" >/dev/null
install -m 0755 "$here/container-start" "$root/usr/libexec/prn/container-start"
# Of the package, what a machine with systemd and people at its terminals needs.
rm -rf "$root"/usr/lib/{systemd/system/prn*,sysusers.d,tmpfiles.d,sysctl.d/10-prn.conf} \
    "$root"/usr/share/{man,bash-completion,zsh,fish} "$root/etc/prn/prn.toml"
# The user of the half that talks to the network, by a number that does not change from image to image.
echo 'prn:x:990:990:prn frontend:/:/usr/sbin/nologin' >>"$root/etc/passwd"
echo 'prn:x:990:' >>"$root/etc/group"
echo 'prn:!:1::::::' >>"$root/etc/shadow"
install -d -m 0711 "$root/var/lib/prn"
tar -C "$root" --sort=name --numeric-owner -cf "$work/root.tar" .
cp "$here/Containerfile" "$work/"
rm -rf "$root"

# Kept apart from images of the user's, whose storage may be of another kind.
storage=(--storage-driver vfs --root "$work/storage" --runroot "$work/run")
buildah "${storage[@]}" bud --isolation chroot --format oci --quiet --tag "$name" "$work" >/dev/null
rm -f "$out/prn.oci.tar"
buildah "${storage[@]}" push --quiet "$name" "oci-archive:$out/prn.oci.tar:$name" >/dev/null
say "$name: $(du -h --apparent-size "$out/prn.oci.tar" | cut -f1) compressed, $(du -h --apparent-size "$work/root.tar" | cut -f1) unpacked: $out/prn.oci.tar"
echo "$name"
