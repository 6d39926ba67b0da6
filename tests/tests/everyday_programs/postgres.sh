PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
mkdir socket
initdb --pgdata=data --auth=trust --no-sync > log
# What it finds best for itself where everything is there.
grep -q 'selecting dynamic shared memory implementation ... posix' log
pg_ctl --pgdata=data --log=server --silent --wait start --options="-k $PWD/socket -c listen_addresses=" ||
    { cat server >&2; exit 1; }
query() { psql --host="$PWD/socket" --dbname=postgres --no-psqlrc --tuples-only --no-align --command="$1"; }
query 'create table numbers as select generate_series(1, 100000) as n' > /dev/null
# With workers, which share memory.
test "$(query "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
    select sum(n) from numbers" | tail -n 1)" = 5000050000
query "set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
    explain (analyze, timing off) select sum(n) from numbers" | grep -q 'Workers Launched: [1-9]'
test "$(query 'select current_user')" = "$(whoami)"
pg_ctl --pgdata=data --silent --wait stop
