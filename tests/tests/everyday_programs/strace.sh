strace -f -o trace sh -c 'true; /bin/true & wait'
grep -q 'execve("/bin/true"' trace
