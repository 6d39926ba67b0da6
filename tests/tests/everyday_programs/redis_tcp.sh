port=$(free_port)
redis-server --bind 127.0.0.1 --port "$port" --save '' > log 2>&1 &
serves $! redis-cli -p "$port" -e ping
redis-cli -p "$port" set key value | grep -q OK
test "$(redis-cli -p "$port" get key)" = value
redis-cli -p "$port" shutdown nosave
wait $!
