listen=unix:$PWD/socket
get() {
    /usr/bin/python3 -c '
import socket
client = socket.socket(socket.AF_UNIX)
client.connect("socket")
client.send(b"GET / HTTP/1.0\r\n\r\n")
print(client.makefile().read())'
}
