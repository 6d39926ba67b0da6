# Temporary files, and moving things between the folders that a process has.
test "$(stat --format=%u "$TMPDIR" "$HOME" | uniq)" = "$(id -u)"
/usr/bin/python3 - <<'PYTHON'
import errno, os, shutil, tempfile

home, own = os.environ["HOME"], os.environ["TMPDIR"]
for folder in ["/tmp", "/var/tmp", "/dev/shm", own, home]:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"x")
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")
    os.mkdir(folder + "/made", 0o700)
    os.symlink("made", folder + "/soft")
    os.rename(folder + "/made", folder + "/renamed")
    os.rmdir(folder + "/renamed")
    os.unlink(folder + "/soft")
# One file system: rename and link between them, as programs do that write a file and then put it in its place.
for one, other in [(own, home), (home, own)]:
    open(one + "/file", "w").close()
    os.link(one + "/file", other + "/link")
    os.rename(one + "/file", other + "/file")
    os.unlink(other + "/link")
    os.unlink(other + "/file")
for one, other in [("/tmp", home), (home, "/tmp"), ("/tmp", "/dev/shm"), ("/var/tmp", home)]:
    open(one + "/file", "w").close()
    shutil.move(one + "/file", other + "/moved")
    os.unlink(other + "/moved")
# To /tmp, where that is mounted, a rename is what it is to another file system.
open("/tmp/file", "w").close()
try:
    os.rename("/tmp/file", home + "/file")
except OSError as error:
    assert error.errno == errno.EXDEV, error
else:
    raise AssertionError("renamed")
os.unlink("/tmp/file")
PYTHON
# $TMPDIR, /tmp and /var/tmp are the same folder.
echo x > "$TMPDIR/x"
cmp "$TMPDIR/x" /tmp/x
cmp "$TMPDIR/x" /var/tmp/x
mv /tmp/x "$HOME/x"
mv "$HOME/x" /var/tmp/x
mv /var/tmp/x "$HOME"
test "$(cat "$HOME/x")" = x
mktemp > made
mktemp -p /tmp >> made
mktemp -d -p /var/tmp >> made
while read -r path; do test -e "$path"; done < made
