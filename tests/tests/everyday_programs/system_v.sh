ipcmk --shmem 4096 --semaphore 3 --queue > made
for kind in shmem semaphores queues; do
    test "$(ipcs --$kind | grep -c ^0x)" = 1
done
perl -e '
use constant { IPC_PRIVATE => 0, IPC_RMID => 0, IPC_CREAT => 01000 };
my $memory = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600) // die "shmget: $!";
shmwrite($memory, "shared", 0, 6) or die "shmwrite: $!";
my $queue = msgget(0x1234, IPC_CREAT | 0600) // die "msgget: $!";
my $semaphore = semget(0x1234, 1, IPC_CREAT | 0600) // die "semget: $!";
if (!fork) {
    shmread($memory, my $read, 0, 6) or die "shmread: $!";
    msgsnd($queue, pack("l! a*", 1, $read), 0) or die "msgsnd: $!";
    semop($semaphore, pack("s!3", 0, 1, 0)) or die "semop: $!";
    exit;
}
semop($semaphore, pack("s!3", 0, -1, 0)) or die "semop: $!";
msgrcv($queue, my $message, 64, 0, 0) or die "msgrcv: $!";
wait;
(unpack("l! a*", $message))[1] eq "shared" or die $message;
shmctl($memory, IPC_RMID, 0); msgctl($queue, IPC_RMID, 0); semctl($semaphore, 0, IPC_RMID, 0);'
ipcrm --all
test "$(ipcs | grep -c ^0x)" = 0
