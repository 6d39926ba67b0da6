# Runs the program that it is given, and says what is wrong with it.
failed=0
expect() {
    found=$(printf "$1" | "$program") || found="exit code $?"
    if [ "$found" = "$2" ]; then echo "ok: $2"; else echo "FAILED: $found instead of $2"; failed=1; fi
}
program=$1
expect '1\n2\n3\n' 6
expect '' 0
expect '5\n-5\n' 0
expect '1\nx\n' 'exit code 1'
exit $failed
