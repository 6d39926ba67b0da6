mkdir -p simple/hello
cp wheels/*.whl simple/hello
port=$(free_port)
/usr/bin/python3 -m http.server --bind 127.0.0.1 "$port" > served 2>&1 &
server=$!
fetch() { /usr/bin/python3 -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$port/simple/')"; }
# Where nothing can be served, pip itself is to say what it lacks.
until fetch 2> /dev/null || ! kill -0 "$server" 2> /dev/null; do sleep 0.02; done
/usr/bin/python3 -m pip --disable-pip-version-check install --no-warn-script-location --break-system-packages --user \
    --retries 1 --index-url "http://127.0.0.1:$port/simple" hello > log 2>&1 || { cat log >&2; exit 1; }
test "$(.local/bin/hello)" = hello
kill "$server"
