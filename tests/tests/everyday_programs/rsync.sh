mkdir from
seq 9999 > from/a
ln from/a from/hard
ln -s a from/soft
chmod 640 from/a
rsync --archive --hard-links from/ to
cmp from/a to/a
test "$(stat --format=%a:%h to/a) $(readlink to/soft)" = '640:2 a'
echo more >> from/a
rsync --archive --hard-links --checksum --itemize-changes from/ to | grep -q '^>f.*a$'
cmp from/a to/a
# To a folder of its own below /tmp, and with it as the folder for what is not whole yet.
mkdir /tmp/partial
rsync --archive --temp-dir=/tmp/partial from/ /tmp/to
cmp from/a /tmp/to/a
