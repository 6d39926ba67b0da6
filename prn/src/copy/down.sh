# prn cp, from a workspace: packs PATH, which $1 is as the %b of printf(1) has it. Of a directory,
# what is packed is ".".
fail() {
    printf '%s\n' "$1" >&2
    exit 1
}
for tool in tar find head; do
    command -v "$tool" >/dev/null ||
        fail "the server has no $tool (GNU tar, coreutils and findutils are needed there)"
done
path=$(printf '%b.' "$1")
path=${path%.} link=
case $path in
    /*) ;;
    *) path=./$path ;;
esac
# With a slash or a dot behind it, a link is what it leads to.
case $path in
    */ | */.) ;;
    *) [ ! -L "$path" ] || link=1 ;;
esac
if [ -d "$path" ] && [ -z "$link" ]; then
    cd -- "$path" || exit 1
    what=.
elif [ -e "$path" ] || [ -L "$path" ]; then
    cd -- "${path%/*}/" || exit 1
    what=./${path##*/}
else
    fail "there is no $path in the workspace"
fi
odd=$(find "$what" ! -type f ! -type d ! -type l -print 2>/dev/null | head -n 10)
[ -z "$odd" ] || fail "only files, directories and links can be copied, not:
$odd"
exec tar -c --format=posix --pax-option=delete=atime,delete=ctime --sparse --owner=0 --group=0 \
    --numeric-owner -b 128 -f - -- "$what"
