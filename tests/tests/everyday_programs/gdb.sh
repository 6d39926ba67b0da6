cat > a.c <<'C'
int triple(int n) { return 3 * n; }
int main(void) { return triple(14) - 42; }
C
gcc -g -O0 -o a a.c
gdb --batch --nx -ex 'set debuginfod enabled off' -ex 'break triple' -ex run -ex 'print n' -ex backtrace -ex continue ./a > log 2>&1 || :
cat log
grep -q '^\$1 = 14' log
grep -q '^#1 .*main' log
grep -q 'exited normally' log
