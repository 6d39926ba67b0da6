#!/usr/bin/env bash
# Runs the tests that need a machine of their own: boots the test guest with an installed prn and the test programs in
# it. Succeeds only if each ignored test of these programs ran in the guest and passed.
#
#   run.sh [TEST-PROGRAM…]     default: those that cargo builds for this workspace
#   run.sh --shell COMMAND…    one shell command in the guest, with prn installed, instead of the tests
#
#   PRN_BIN_DIR         folder of the binaries (default: target/release)
#   PRN_GUEST_FILTER    part of the names of the tests to run (default: guest_); another value skips the check that
#                       every ignored test ran
#   PRN_GUEST_TIMEOUT   seconds for the whole run (default: 1800)
#   PRN_GUEST_PROGRAMS  further programs for it, with spaces between, beside prn's in $PRN_BIN_DIR there
#   PRN_GUEST_ACCEL     tcg or kvm (default: tcg, which works everywhere)
#   PRN_GUEST_LOG       folder for output.log and console.log (default: target/guest)
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
top=$(cd -- "$here/../.." && pwd)
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$here/lib.sh"

bin_dir=${PRN_BIN_DIR:-$top/target/release}
filter=${PRN_GUEST_FILTER-guest_}
timeout=${PRN_GUEST_TIMEOUT:-1800}
accel=${PRN_GUEST_ACCEL:-tcg}
log=${PRN_GUEST_LOG:-$top/target/guest}

case $accel in
    tcg) machine=(-accel 'tcg,thread=multi' -cpu max) ;;
    kvm) machine=(-accel kvm -cpu host) ;;
    *) die "PRN_GUEST_ACCEL is tcg or kvm, not $accel" ;;
esac

command=
tests=()
if [[ ${1:-} == --shell ]]; then
    shift
    (($#)) || die "--shell needs a command"
    command=$*
elif (($#)); then
    tests=("$@")
else
    say "building the test programs"
    mapfile -t tests < <("$here/test-programs.sh")
fi

need qemu-system-x86_64 qemu-system-x86 zstd zstd cpio cpio strip binutils dpkg-shlibdeps dpkg-dev etcd etcd-server
image=$("$here/build-image.sh")

# Which programs have something to do in the guest. An ignored test that the filter misses would run nowhere.
selected=()
expected=0
if [[ -z $command ]]; then
    forgotten=()
    for test in "${tests[@]}"; do
        if [[ $filter == guest_ ]]; then
            mapfile -t names < <("$test" --list --ignored --format terse | sed -n 's/: test$//p')
            for name in "${names[@]}"; do
                [[ $name == *guest_* ]] || forgotten+=("${test##*/} $name")
            done
        else
            mapfile -t names < <("$test" --list --include-ignored --format terse "$filter" | sed -n 's/: test$//p')
        fi
        if ((${#names[@]})); then
            selected+=("$test")
            expected=$((expected + ${#names[@]}))
        fi
    done
    if ((${#forgotten[@]})); then
        say "ignored, but without guest_ in the name, so they would run nowhere:"
        printf '  %s\n' "${forgotten[@]}" >&2
        exit 1
    fi
    ((expected > 0)) || die "no test to run in the guest"
fi

work=$(mktemp -d)
qemu=
cleanup() {
    if [[ -n $qemu ]]; then
        kill "$qemu" 2>/dev/null || :
        wait "$qemu" 2>/dev/null || :
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# What goes on top of the image: the packages of prn, for guest-init to install as users do, with others of a higher version for
# the test that upgrades; and the tests.
root=$work/root
guest=$root/opt/prn-guest
mkdir -p "$guest/bin" "$guest/tests" "$root/etc/systemd/system/multi-user.target.wants"
BIN_DIR=$bin_dir "$top/packaging/deb.sh" "$guest/packages/now" >/dev/null
BIN_DIR=$bin_dir PRN_COMPRESSION=0 "$top/packaging/deb.sh" "$guest/packages/next" 999.0.0 >/dev/null
read -ra more <<<"${PRN_GUEST_PROGRAMS:-}"
# The store of a fleet, whose agent's unit is tested.
[[ -n $command ]] || more+=("$(command -v etcd)")
((${#more[@]} == 0)) || install -m 0755 "${more[@]}" "$guest/bin/"
install -m 0755 "$here/guest-init" "$guest/guest-init"
install -m 0644 "$here/prn-guest.service" "$root/etc/systemd/system/"
ln -s ../prn-guest.service "$root/etc/systemd/system/multi-user.target.wants/"
if [[ -n $command ]]; then
    printf '%s\n' "$command" >"$guest/command"
else
    install -m 0755 "${selected[@]}" "$guest/tests/"
    printf '%s\n' "$filter" >"$guest/filter"
fi
# The kernel unpacks archives that follow each other into the same root.
{
    cat "$image/root.cpio.zst"
    (cd "$root" && find . -mindepth 1 -print0 | cpio --null --quiet -o -H newc -R 0:0 | zstd -q -T0 -3)
} >"$work/initrd"
truncate -s 2G "$work/disk"

mkdir -p "$log"
: >"$log/output.log"
: >"$log/console.log"
# Two serial lines: the kernel and systemd on one, the tests' output alone on the other.
timeout --kill-after=5 "$timeout" qemu-system-x86_64 "${machine[@]}" -m 4096 -smp 2 \
    -nodefaults -no-user-config -display none -no-reboot -nic none \
    -kernel "$image/vmlinuz" -initrd "$work/initrd" \
    -append 'console=ttyS0 panic=-1 maxcpus=1 noreplace-smp rdinit=/sbin/init systemd.show_status=0 mitigations=off quiet' \
    -drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
    -serial "file:$log/console.log" -serial stdio \
    </dev/null > >(tr -d '\r' | tee "$log/output.log") &
qemu=$!
status=0
wait "$qemu" || status=$?
qemu=
# The reader of the serial line ends a moment after qemu does, and bash does not wait for it.
for _ in {1..50}; do
    ! grep -q '^prn-guest: end ' "$log/output.log" || break
    sleep 0.1
done

fail() {
    say "$*"
    if [[ -s $log/console.log ]]; then
        say "last lines of the console:"
        tail -n 20 "$log/console.log" | tr -d '\r' >&2
    fi
    exit 1
}
((status != 124 && status != 137)) || fail "not finished after $timeout s; the last test above is the one that hangs"
((status == 0)) || fail "qemu ended with status $status"
end=$(sed -n 's/^prn-guest: end \([0-9]*\)$/\1/p' "$log/output.log" | tail -n 1)
[[ -n $end ]] || fail "the guest went down before its end"
if [[ -n $command ]]; then
    exit "$end"
fi

read -r programs passed failed < <(
    sed -n 's/^test result: [A-Za-z]*\. \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$log/output.log" |
        awk '{ p += $1; f += $2 } END { print NR, p + 0, f + 0 }'
)
printf 'guest: %d passed, %d failed\n' "$passed" "$failed" | tee "$log/summary"
((failed == 0)) || exit 1
((programs == ${#selected[@]})) || die "$((${#selected[@]} - programs)) of ${#selected[@]} test programs ended without a result"
((passed == expected)) || die "$expected tests were to run, $passed did"
((end == 0)) || die "the guest ended with status $end"
