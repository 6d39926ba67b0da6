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
until get > page 2> /dev/null; do
    kill -0 "$server" || { cat log >&2; exit 1; }
    sleep 0.05
done
grep -qx page page
kill -QUIT "$server"
wait "$server"
