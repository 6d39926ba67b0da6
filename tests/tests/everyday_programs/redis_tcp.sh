port=$(free_port)
redis-server --bind 127.0.0.1 --port "$port" --save '' > log 2>&1 &
until redis-cli -p "$port" ping 2> /dev/null | grep -q PONG; do
    kill -0 $! || { cat log >&2; exit 1; }
    sleep 0.05
done
redis-cli -p "$port" set key value | grep -q OK
test "$(redis-cli -p "$port" get key)" = value
redis-cli -p "$port" shutdown nosave
wait $!
