redis-server --port 0 --unixsocket "$PWD/socket" --save '' --appendonly yes > log 2>&1 &
serves $! redis-cli -s socket -e ping
redis-cli -s socket set key value | grep -q OK
redis-cli -s socket bgrewriteaof > /dev/null
test "$(redis-cli -s socket get key)" = value
redis-cli -s socket shutdown nosave
wait $!
