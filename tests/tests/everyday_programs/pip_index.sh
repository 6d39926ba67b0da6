mkdir -p simple/hello
cp wheels/*.whl simple/hello
/usr/bin/python3 -u -m http.server --bind 127.0.0.1 --directory . 0 > served 2>&1 &
server=$!
until grep -q 'port [0-9]' served; do
    kill -0 "$server" || { cat served >&2; exit 1; }
    sleep 0.05
done
port=$(sed -n 's/.*port \([0-9]*\).*/\1/p' served)
/usr/bin/python3 -m pip --disable-pip-version-check install --quiet --break-system-packages --user \
    --index-url "http://127.0.0.1:$port/simple" hello
test "$(.local/bin/hello)" = hello
kill "$server"
