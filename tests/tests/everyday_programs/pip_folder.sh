pip() { /usr/bin/python3 -m pip --disable-pip-version-check "$@"; }
# Debian's is told that it may install beside what Debian installs.
pip install --quiet --no-warn-script-location --break-system-packages --user --no-index --find-links wheels hello
test "$(.local/bin/hello)" = hello
pip download --quiet --no-index --find-links wheels --dest fetched hello
test -s fetched/hello-1.0-py3-none-any.whl
