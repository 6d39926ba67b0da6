#!/usr/bin/env bash
# What the tests and the demo need beside Rust. Without arguments: says in one line what is missing, and fails. With
# --install: installs it (Debian, as root).
set -euo pipefail

# command:package. A C compiler is for crates with C or assembly in them; node is the foreign-language client; git,
# java, python3, script, sqlite3 and tar are run as processes, under the confinement that processes have.
wanted=(
    cc:gcc
    cpio:cpio
    git:git
    ip:iproute2
    java:default-jre-headless
    make:make
    mkfs.ext4:e2fsprogs
    mmdebstrap:mmdebstrap
    node:nodejs
    npm:npm
    openssl:openssl
    ping:iputils-ping
    python3:python3
    qemu-system-x86_64:qemu-system-x86
    script:bsdutils
    setcap:libcap2-bin
    setpriv:util-linux
    sqlite3:sqlite3
    strace:strace
    tar:tar
    zstd:zstd
)
missing=()
for pair in "${wanted[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
done
((${#missing[@]})) || exit 0
if [[ ${1-} != --install ]]; then
    echo "missing: apt-get install ${missing[*]}" >&2
    exit 1
fi
if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "missing packages: ${missing[*]}" >&2
    exit 1
fi
echo "installing ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
