#!/usr/bin/env bash
# What a make target needs besides make: `needs.sh demo`, `image`, `image-test`, `packages`, `test` or `test-fresh`. Where that is possible without
# asking (root, apt), it installs what is missing. Else it says all of it in one line that can be pasted, and fails. The
# targets call it before they build anything, so that nobody waits for a compiler only to read that ping is missing.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

# command:package of Debian.
for_demo=(ip:iproute2 ping:iputils-ping ps:procps unshare:util-linux)
# Most of them are run as processes, under the confinement that processes have (docs/programs.md); node with npm and
# python3 with venv are clients of other languages as well. cpio, mmdebstrap, qemu and zstd make and run the guest; dpkg-dev,
# lintian, rpm and rpmlint make the packages, and look into them.
for_test=(
    chromium-headless-shell:chromium-headless-shell
    cmake:cmake
    codespell:codespell
    /usr/bin/convert:imagemagick
    cpio:cpio
    dpkg-shlibdeps:dpkg-dev
    etcd:etcd-server
    etcdctl:etcd-client
    fakeroot:fakeroot
    faketime:faketime
    fish:fish
    flock:util-linux
    gdb:gdb
    git:git
    '/usr/lib/postgresql/*/bin/initdb:postgresql'
    hunspell:hunspell
    /usr/share/hunspell/en_US.dic:hunspell-en-us
    java:default-jre-headless
    jq:jq
    keyctl:keyutils
    less:less
    lintian:lintian
    make:make
    man:man-db
    mandoc:mandoc
    mkfs.ext4:e2fsprogs
    mmdebstrap:mmdebstrap
    mount:mount
    /usr/sbin/nginx:nginx
    ninja:ninja-build
    node:nodejs
    npm:npm
    openssl:openssl
    perl:perl-base
    prometheus:prometheus
    /usr/bin/pip3:python3-pip
    pytest-3:python3-pytest
    /usr/bin/python3:python3
    /usr/lib/python3/dist-packages/cryptography/__init__.py:python3-cryptography
    '/usr/lib/python3*/ensurepip/__init__.py:python3-venv'
    qemu-system-x86_64:qemu-system-x86
    readelf:binutils
    redis-server:redis-server
    rpmbuild:rpm
    rpmlint:rpmlint
    rsync:rsync
    script:bsdutils
    setcap:libcap2-bin
    setpriv:util-linux
    softhsm2-util:softhsm2
    sqlite3:sqlite3
    ssh:openssh-client
    /usr/sbin/sshd:openssh-server
    strace:strace
    tar:tar
    tmux:tmux
    top:procps
    useradd:passwd
    vi:vim-tiny
    zsh:zsh
    zstd:zstd
)
# Of these packages, the services that are not to serve on this machine because it runs tests.
services=(etcd-server:etcd nginx:nginx openssh-server:ssh postgresql:postgresql prometheus:prometheus redis-server:redis-server)
for_packages=(
    aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu
    '/usr/aarch64-linux-gnu/include/stdlib.h:libc6-dev-arm64-cross'
    dpkg-shlibdeps:dpkg-dev
    git:git
    jq:jq
    lintian:lintian
    musl-gcc:musl-tools
    rpmbuild:rpm
    rpmlint:rpmlint
)
for_test_fresh=(git:git mmdebstrap:mmdebstrap mount:mount unshare:util-linux)
for_image=(buildah:buildah flock:util-linux mmdebstrap:mmdebstrap tar:tar)
for_image_test=(jq:jq podman:podman /usr/bin/python3:python3 runc:runc)

missing=()  # what is, for people
packages=() # that put it right
steps=()    # that nobody but the user takes: what is installed for a user, not for the machine

# A command, or a pattern of a path.
has() {
    if [[ $1 == */* ]]; then compgen -G "$1" >/dev/null; else command -v "$1" >/dev/null; fi
}

# lacks WHAT PACKAGE…
lacks() {
    missing+=("$1")
    local package
    for package in "${@:2}"; do
        [[ " ${packages[*]} " == *" $package "* ]] || packages+=("$package")
    done
}

need_commands() {
    local pair
    for pair in "$@"; do
        has "${pair%%:*}" || lacks "${pair%%:*}" "${pair#*:}"
    done
}

# For crates with C or assembly in them, and to link. Asked for by doing it: gcc only recommends the C library's headers.
need_c_compiler() {
    local program='int main(void) { return 0; }'
    cc -xc -include stdlib.h -o /dev/null - <<<"$program" 2>/dev/null || lacks cc gcc libc6-dev
}

need_rust() {
    local least found
    least=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    found=$(cargo --version 2>/dev/null | cut -d' ' -f2) || found=0
    [[ $(printf '%s\n' "$least" "$found" | sort -V | head -n 1) != "$least" ]] || return 0
    missing+=("cargo of Rust $least or newer")
    if has rustup; then
        steps+=('rustup toolchain install stable' 'rustup default stable')
    else
        has curl || lacks curl curl ca-certificates
        steps+=("curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y" '. ~/.cargo/env')
    fi
}

# need_rust_component NAME PACKAGE, by the name of cargo's subcommand. Where there is no rustup, Rust is Debian's.
need_rust_component() {
    ! has cargo || ! cargo "$1" --version >/dev/null 2>&1 || return 0
    if has rustup; then
        missing+=("cargo $1")
        steps+=("rustup component add ${2#rust-}")
    elif has cargo; then
        lacks "cargo $1" "$2"
    fi
}

# need_cargo_tool SUBCOMMAND: a program that cargo builds for a user.
need_cargo_tool() {
    ! has cargo || ! cargo "$1" --help >/dev/null 2>&1 || return 0
    missing+=("cargo $1")
    steps+=("cargo install --locked cargo-$1")
}

# What static programs are linked from, for machines of both kinds.
need_musl() {
    local triple
    for triple in {x86_64,aarch64}-unknown-linux-musl; do
        ! has rustc || [[ ! -d $(rustc --print sysroot)/lib/rustlib/$triple ]] || continue
        missing+=("Rust for $triple")
        steps+=("rustup target add $triple")
    done
}

# Services that a package brings are neither started now nor at the next boot.
install() {
    local policy=/usr/sbin/policy-rc.d pair
    if [[ ! -e $policy ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    for pair in "${services[@]}"; do
        if [[ " $* " == *" ${pair%%:*} "* ]] && has systemctl; then systemctl --quiet disable "${pair#*:}" || :; fi
    done
}

goal=${1:-}
case $goal in
    demo)
        need_c_compiler
        need_commands "${for_demo[@]}"
        # For the server alone.
        ((EUID == 0)) || need_commands sudo:sudo
        need_rust
        ;;
    packages)
        need_c_compiler
        need_commands "${for_packages[@]}"
        need_rust
        need_musl
        need_cargo_tool auditable
        need_cargo_tool cyclonedx
        ;;
    test)
        need_c_compiler
        need_commands "${for_demo[@]}" "${for_test[@]}"
        need_rust
        need_rust_component fmt rustfmt
        need_rust_component clippy rust-clippy
        ;;
    test-fresh) need_commands "${for_test_fresh[@]}" ;;
    image | image-test)
        need_c_compiler
        need_commands "${for_image[@]}"
        [[ $goal == image ]] || need_commands "${for_image_test[@]}"
        need_rust
        ;;
    *)
        echo 'usage: needs.sh demo|image|image-test|packages|test|test-fresh' >&2
        exit 2
        ;;
esac

if [[ $goal == test* ]] && ((EUID != 0)); then
    # It installs what is missing by itself then. Both variables, because sudo resets them and rustup looks there.
    # shellcheck disable=SC2016  # to be pasted
    echo "$goal: missing: root: "'sudo env "PATH=$PATH" "RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" make '"$goal" >&2
    exit 1
fi
((${#missing[@]})) || exit 0

what=$(printf ', %s' "${missing[@]}")
what=${what#, }
if ! has apt-get && ((${#packages[@]})); then
    echo "$goal: missing: $what (on Debian: ${packages[*]})" >&2
    exit 1
fi
if ((EUID != 0 || ${#steps[@]})); then
    sudo=
    ((EUID == 0)) || ! has sudo || sudo='sudo '
    ((${#packages[@]} == 0)) ||
        steps=("${sudo}apt-get update" "${sudo}apt-get install -y --no-install-recommends ${packages[*]}" "${steps[@]}")
    command=$(printf ' && %s' "${steps[@]}")
    echo "$goal: missing: $what: ${command# && }" >&2
    exit 1
fi
echo "$goal: installing ${packages[*]}" >&2
install "${packages[@]}"
