# The C library's ways to ask, which other programs have it from.
name=$(whoami)
test -n "$name"
test "$(id -un)" = "$name"
test "$(id -gn)" = "$name"
getent passwd "$name" > by_name
getent passwd "$(id -u)" | cmp - by_name
IFS=: read -r found _ uid gid _ home shell < by_name
test "$found:$uid:$gid:$home" = "$name:$(id -u):$(id -g):$HOME"
"$shell" -c true
IFS=: read -r group _ gid _ <<< "$(getent group "$(id -g)")"
test "$group:$gid" = "$name:$(id -g)"
test ~ -ef "$HOME"
test "$(env -u HOME bash -c 'echo ~')" = "$HOME"
test "$(stat --format=%U:%G .)" = "$name:$name"
# Who else there is, is still there.
test "$(getent passwd 0 | cut -d: -f1)" = root
