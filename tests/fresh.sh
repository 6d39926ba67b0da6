#!/usr/bin/env bash
# The two commands of README.md as somebody meets them who has just installed Debian, git, make and Rust: in a root file
# system that has nothing else, from a clone of what is committed here. Needs root, a network and some gigabytes; takes
# minutes. Run it by: make test-fresh
#
#   fresh.sh [demo] [test]   which of them (default: both)
#
#   PRN_FRESH_SUITE   Debian release (default: this machine's, else the stable one)
#
# Rust is this machine's; packages come from where this machine's own come from, by the same proxies. The commands run in
# mount and process namespaces of their own, whose end ends every process in them; what they mount goes with them, and the
# folder is removed.
set -euo pipefail
top=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'fresh: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# The release of this machine, if it is Debian.
suite_of_host() {
    # shellcheck source=/dev/null
    (. /etc/os-release && [[ ${ID:-} == debian ]] && printf '%s\n' "${VERSION_CODENAME:-}") || :
}

# Where this machine gets Debian's packages, as lines of sources.list for another release. Nothing if apt does not know
# yet, and then mmdebstrap takes Debian's own.
sources() {
    local host=$1 suite=$2
    # shellcheck disable=SC2016  # apt's own variables
    apt-get indextargets --format '$(ORIGIN) $(REPO_URI) $(SUITE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
        awk -v host="$host" -v suite="$suite" '$1 == "Debian" && index($4, host) == 1 {
            print "deb", $2, suite substr($4, length(host) + 1), $5
        }' | sort -u
}

# The folder that holds bin/cargo: rustup's toolchain, or /usr.
toolchain() {
    rustc --print sysroot 2>/dev/null || die 'rustc is missing'
}

make_root() {
    local host suite rust mirrors=() include=git,make,ca-certificates
    host=$(suite_of_host)
    suite=${PRN_FRESH_SUITE:-${host:-stable}}
    rust=$(toolchain)
    [[ $rust != /usr ]] || include+=,cargo,rustfmt,rust-clippy
    [[ -z $host ]] || mapfile -t mirrors < <(sources "$host" "$suite")
    # Proxies, and what this machine has to be told about its mirror.
    apt-config dump 2>/dev/null | grep -E '^Acquire::(https?|Check-|Retries|ForceIPv)' >"$work/apt.conf" || :
    say "making a $suite root"
    mmdebstrap --quiet --variant=minbase --include="$include" --aptopt="$work/apt.conf" "$suite" "$root" "${mirrors[@]}"
    # Read-only below: nothing of this machine's is changed in there.
    if [[ $rust != /usr ]]; then
        mkdir "$root/opt/rust"
        printf '%s\n' "$rust" >"$work/rust"
    fi
    cp -L /etc/resolv.conf "$root/etc/resolv.conf"
    [[ ! -e /etc/ssl/certs/ca-certificates.crt ]] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    copy_user_files
    git clone --quiet --no-hardlinks "$top" "$root/root/prn"
}

# What a user of this machine has set up for package managers, and the crates that are here already.
copy_user_files() {
    local cargo=${CARGO_HOME:-$HOME/.cargo} file
    mkdir -p "$root/root/.cargo/registry"
    for file in config config.toml; do
        [[ ! -e $cargo/$file ]] || cp "$cargo/$file" "$root/root/.cargo/"
    done
    for file in index cache; do
        [[ ! -d $cargo/registry/$file ]] || cp -r "$cargo/registry/$file" "$root/root/.cargo/registry/"
    done
    [[ ! -e $HOME/.npmrc ]] || cp "$HOME/.npmrc" "$root/root/"
    [[ ! -e /etc/pip.conf ]] || cp /etc/pip.conf "$root/etc/"
}

# Runs inside namespaces of its own, whose process 1 it is.
enter() {
    local goal=$1 pass=()
    # A root that is a mount, and the only one: in a chroot nobody can make a user namespace (user_namespaces(7)) or set
    # how the root's mounts propagate, both of which programs do that are run in there.
    mount --bind "$root" "$root"
    mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
    # With the cgroup mounts, where the server's groups are made.
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
    [[ ! -e $work/rust ]] || mount --bind -o ro "$(<"$work/rust")" "$root/opt/rust"
    mapfile -t pass < <(env | grep -E '^(https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY|(CARGO|npm_config|PIP|PRN_GUEST)_[A-Za-z_]+)=' |
        grep -vE '^CARGO_(HOME|TARGET_DIR)=' || :)
    mkdir -p "$root/.host"
    cd "$root"
    pivot_root . .host
    umount --lazy /.host
    rmdir /.host
    cd /root/prn
    exec env -i HOME=/root LANG=C.UTF-8 TERM=dumb "${pass[@]}" \
        PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin make "$goal"
}

if [[ ${1:-} == --enter ]]; then
    work=$2 root=$2/root
    enter "$3"
fi

goals=("$@")
((${#goals[@]})) || goals=(demo test)
for goal in "${goals[@]}"; do
    [[ $goal == demo || $goal == test ]] || die "demo or test, not $goal"
done
((EUID == 0)) || die 'needs root'
# The folder is passable for all: processes with users of their own run in there.
work=$(mktemp -d "${TMPDIR:-/tmp}/prn-fresh-XXXXXX")
chmod 0755 "$work"
root=$work/root
# No mount of `enter` is seen here, and none is followed.
trap 'rm -rf --one-file-system -- "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
make_root
for goal in "${goals[@]}"; do
    say "make $goal"
    unshare --mount --propagation private --pid --fork --kill-child "${BASH_SOURCE[0]}" --enter "$work" "$goal"
    say "make $goal: passed"
done
