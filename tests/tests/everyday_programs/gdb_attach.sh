sleep 1000 &
gdb --batch --nx -ex 'set debuginfod enabled off' -p $! -ex 'info proc' > log 2>&1 || :
kill $!
cat log
grep -q "^cmdline = 'sleep 1000'" log
