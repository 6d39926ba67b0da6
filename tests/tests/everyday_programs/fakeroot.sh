# A system of its own to build a package in: who owns what is kept by a program that others ask by System V queues.
fakeroot sh -c 'touch file; chown 0:5 file; test "$(id -u) $(stat -c %u:%g file)" = "0 0:5"; tar -cf packed file'
tar --numeric-owner -tvf packed | grep -q ' 0/5 '
