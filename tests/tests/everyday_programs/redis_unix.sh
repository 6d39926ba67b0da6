redis-server --port 0 --unixsocket "$PWD/socket" --save '' --appendonly yes > log 2>&1 &
until redis-cli -s socket ping 2> /dev/null | grep -q PONG; do
    kill -0 $! || { cat log >&2; exit 1; }
    sleep 0.05
done
redis-cli -s socket set key value | grep -q OK
redis-cli -s socket bgrewriteaof > /dev/null
test "$(redis-cli -s socket get key)" = value
redis-cli -s socket shutdown nosave
wait $!
