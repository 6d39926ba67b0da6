port=$(free_port)
listen=127.0.0.1:$port
get() { /usr/bin/python3 -c "import urllib.request as r; print(r.urlopen('http://$listen').read().decode())"; }
