cd /tmp
exec 9> lock
flock 9
# Held, so that another one does not get it; and given up, so that it does.
flock --nonblock lock true && exit 1
(sleep 0.2; flock --unlock 9) &
flock --timeout 20 lock true
wait $!
# POSIX's kind, of ranges of bytes.
/usr/bin/python3 -c '
import fcntl, os
file = open("/var/tmp/lock", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
if os.fork() == 0:
    try:
        fcntl.lockf(open("/var/tmp/lock", "w"), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os._exit(0)
    os._exit(1)
assert os.wait()[1] == 0'
