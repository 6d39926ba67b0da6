# Makes system calls. Each argument is `name:number:argument,…`; for each it prints the name and errno's number, 0 if the
# call did not fail. An argument `fd` is a descriptor of this process's, `buffer` the address of 4096 writable bytes,
# `iovec` that of one struct iovec for them, and `p` with a number a pidfd of that process.
use strict;
use warnings;

$| = 1;
my $buffer = "\0" x 4096;
my $iovec = pack("JJ", unpack("J", pack("p", $buffer)), 8);
open(my $file, '<', '/dev/null') or die;
my $PIDFD_OPEN = 434;

sub argument {
    my ($word) = @_;
    return { fd => fileno($file), buffer => $buffer, iovec => $iovec }->{$word} // int($word) unless $word =~ /^p(\d+)$/;
    my $pidfd = syscall($PIDFD_OPEN, int($1), 0);
    die "pidfd_open: $!" if $pidfd < 0;
    return $pidfd;
}

for my $word (@ARGV) {
    my ($name, $number, $rest) = split /:/, $word, 3;
    my @arguments = map { argument($_) } split /,/, $rest // '';
    push @arguments, 0 while @arguments < 6;
    $! = 0;
    my $result = syscall(int($number), @arguments);
    print "$name ", ($result == -1 ? $! + 0 : 0), "\n";
}
