sqlite3 d 'pragma journal_mode=wal; create table t(a); insert into t values(1),(2);' > /dev/null
# Two at once, which share memory in a file beside the database.
sqlite3 -cmd '.timeout 20000' d 'begin; insert into t select value from generate_series(1, 50000); commit;' &
sqlite3 -cmd '.timeout 20000' d 'insert into t values(3)'
wait $!
test "$(sqlite3 d 'select count(*) from t')" = 50003
# What is too large for memory is sorted in a file in /tmp or /var/tmp.
SQLITE_TMPDIR=/var/tmp sqlite3 d 'pragma temp_store=file; pragma cache_size=10; select a from t order by -a' > sorted
head -n 1 sorted | grep -qx 50000
