# To one that lets itself be traced, as some hosts ask for (Yama), by another process that is no parent of it.
/usr/bin/python3 -c '
import ctypes, time
PR_SET_PTRACER, PR_SET_PTRACER_ANY = 0x59616D61, ctypes.c_ulong(-1)
ctypes.CDLL(None).prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0)
open("ready", "w").close()
time.sleep(1000)' &
until test -e ready; do sleep 0.02; done
gdb --batch --nx -ex 'set debuginfod enabled off' -p $! -ex 'info proc' > log 2>&1 || :
kill $!
cat log
grep -q "^cmdline = '/usr/bin/python3 -c" log
