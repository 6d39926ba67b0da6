echo '<body style="background: #00f"><script>document.title = 6 * 7</script>' > page.html
chromium-headless-shell --headless "$sandbox" --disable-gpu --disable-quic --no-first-run --disable-background-networking \
    --disable-component-update --disable-sync --user-data-dir="$PWD/profile" --window-size=64,64 \
    --screenshot="$PWD/shot.png" "file://$PWD/page.html" > log 2>&1 || { cat log >&2; exit 1; }
test -s shot.png || { cat log >&2; exit 1; }
test "$(head --bytes=4 shot.png | tail --bytes=3)" = PNG
