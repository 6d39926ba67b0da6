# Serves pages on the address in $listen.
mkdir pages
echo page > pages/index.html
cat > nginx.conf <<NGINX
daemon off;
worker_processes 2;
pid pid;
error_log stderr;
events {}
http {
    access_log access;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server { listen $listen; root pages; }
}
NGINX
nginx -p "$PWD" -e stderr -c nginx.conf 2> log &
server=$!
serves "$server" get
get | grep -qx page
kill -QUIT "$server"
wait "$server"
