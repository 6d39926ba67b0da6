# What all begin with.

# A port that is free; where no socket has ports, any.
free_port() {
    /usr/bin/python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])' 2> /dev/null ||
        echo 7777
}

# serves PID COMMAND…: waits for the command to succeed, as it does once the server serves. Of one that has ended it tells what
# that wrote to the file log.
serves() {
    until "${@:2}" > /dev/null 2>&1; do
        kill -0 "$1" 2> /dev/null || { cat log >&2; exit 1; }
        sleep 0.02
    done
}
