# prn cp, to a workspace: unpacks what comes beside where it is to be, and then moves it there.
#
# $1 says what comes: "one" (a file, or a directory that is to be below TARGET if that is one), a
# directory's "contents", or "many" (for a TARGET that is there). $2 is the NAME of what is one, $3
# TARGET, both as the %b of printf(1) has them. Of a stream that brings nothing for 60 times $4
# seconds there is no more to come. What comes is called "t", and an empty file "e" behind it says
# that it is all.
umask 077
fail() {
    printf '%s\n' "$1" >&2
    exit 1
}
for tool in tar mktemp mv cp rm find xargs stat touch chmod sleep; do
    command -v "$tool" >/dev/null ||
        fail "the server has no $tool (GNU tar, coreutils and findutils are needed there)"
done

stage= tar= watch=
# What cp has linked is the same file here: the modes of directories alone may be changed.
clean() {
    trap '' TERM HUP INT
    [ -z "$watch" ] || kill -KILL "$watch"
    [ -z "$tar" ] || kill "$tar"
    [ -z "$tar" ] || wait "$tar"
    [ -n "$stage" ] || return
    rm -rf -- "$stage" 2>/dev/null && return
    find "$stage" -type d ! -perm -700 -exec chmod u+rwx {} \;
    rm -rf -- "$stage"
}
trap 'clean 2>/dev/null' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

is_directory() { [ -d "$1" ] && [ ! -L "$1" ]; }
is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# Where it is to be: in BASE, and there under FINAL, or as what FINAL has in it.
name=$(printf '%b.' "$2") target=$(printf '%b.' "$3")
name=${name%.} target=${target%.} final= slash=
case $target in
    /*) ;;
    *) target=./$target ;;
esac
if [ -d "$target" ]; then
    base=$target
    [ "$1" != one ] || final=$base/$name
else
    [ "$1" != many ] || fail "$target is no directory"
    while case $target in */) true ;; *) false ;; esac; do
        target=${target%/} slash=/
    done
    final=$target base=${target%/*}/
    [ -d "$base" ] || fail "there is no directory $base in the workspace: make it first"
fi

# A directory that is to be moved has to be one that may be written to (rename(2)).
move() {
    if [ -w "$1" ]; then
        mv -T -- "$1" "$2"
    else
        mode=$(stat -c %a -- "$1") && chmod u+w -- "$1" && mv -T -- "$1" "$2" && chmod "$mode" -- "$2"
    fi
}

# Moves what is in directory $1 to directory $2: as a whole what is not there, file by file what is.
# cp puts a link in the place of each file, by rename(2).
merge() {
    chmod u+rwx -- "$1" && exec 4>"$stage/moved" 5>"$stage/merged" || return
    for from in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        is_there "$from" || continue
        to=$2/${from##*/}
        if is_directory "$from"; then
            if is_directory "$to"; then
                printf '%s\0' "$from" >&5 || return
            elif is_there "$to"; then
                fail "$to is no directory"
            elif [ -w "$from" ]; then
                printf '%s\0' "$from" >&4 || return
            else
                move "$from" "$to" || return
            fi
        elif is_directory "$to"; then
            fail "$to is a directory"
        else
            printf '%s\0' "$from" >&4 || return
        fi
    done
    exec 4>&- 5>&-
    xargs -0 -r mv -f -t "$2" -- <"$stage/moved" &&
        xargs -0 -r cp -a -l -f -t "$2" -- <"$stage/merged"
}

# Nobody says so when a client is gone for good. One that is there may have to wait for what it is to
# send, but not for an hour. USR1 ends tar, and nothing else sends that.
watch() {
    last= idle=0
    while sleep "$1"; do
        read -r _ now <"/proc/$tar/io" || return
        if [ "$now" != "$last" ]; then
            last=$now idle=0
        elif idle=$((idle + 1)) && [ "$idle" -ge 60 ]; then
            kill -USR1 "$tar"
            return
        fi
    done
}

stage=$(mktemp -d -- "${base%/}/.prn-cp.XXXXXX") || exit 1
exec 3<&0 </dev/null
tar -x -p --no-same-owner --warning=no-timestamp --delay-directory-restore -b 128 \
    -f - -C "$stage" <&3 &
tar=$!
exec 3<&-
watch=$( (watch "$4") </dev/null >/dev/null 2>&1 & echo $!)
wait "$tar" 2>/dev/null
status=$?
tar=
kill -KILL "$watch"
watch=
[ "$status" -le 128 ] || [ "$(kill -l "$status")" != USR1 ] || fail "nothing has come for an hour"
[ "$status" -eq 0 ] || fail "the server's tar failed (exit $status)"
[ -f "$stage/e" ] || fail "the copy ended before its end"

# Half of it would be of no use: what is begun now is ended, by mv and cp too, which inherit this.
trap '' TERM HUP INT
staged=$stage/t
if ! is_directory "$staged"; then
    final=${final:-$base/$name}
    [ -z "$slash" ] || fail "there is no directory $final in the workspace: without a slash it is made"
    ! is_directory "$final" || fail "$final is a directory"
    mv -f -T -- "$staged" "$final"
elif [ -z "$final" ]; then
    merge "$staged" "$base"
elif is_directory "$final"; then
    mode=$(stat -c %a -- "$staged") && touch -r "$staged" -- "$stage/time" &&
        merge "$staged" "$final" && chmod "$mode" -- "$final" && touch -r "$stage/time" -- "$final"
elif is_there "$final"; then
    fail "$final is there, and is no directory"
else
    move "$staged" "$final"
fi
