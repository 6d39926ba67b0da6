# shellcheck shell=bash
# Sourced by build-image.sh and run.sh: what both need. Not a program.

# say LINE…: one line to the person who runs this; standard output belongs to the result.
say() {
    printf 'guest: %s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# need COMMAND PACKAGE …: makes sure that each command exists. Installs the Debian packages of the missing ones where
# that is possible without asking, else says what is missing, once, and ends.
need() {
    local commands=() packages=()
    while (($# >= 2)); do
        if ! command -v "$1" >/dev/null; then
            commands+=("$1")
            packages+=("$2")
        fi
        shift 2
    done
    ((${#packages[@]})) || return 0
    if ((EUID == 0)) && command -v apt-get >/dev/null; then
        say "installing ${packages[*]}"
        apt-get update -qq >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        die "missing commands: ${commands[*]} (Debian packages: ${packages[*]})"
    fi
}
