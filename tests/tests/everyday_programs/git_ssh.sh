mkdir -m 0700 keys .ssh
ssh-keygen -q -t ed25519 -N '' -f keys/host
ssh-keygen -q -t ed25519 -N '' -f keys/user
cp keys/user.pub keys/authorized
port=$(free_port)
cat > sshd_config <<SSHD
ListenAddress 127.0.0.1
Port $port
HostKey $PWD/keys/host
PidFile none
AuthorizedKeysFile $PWD/keys/authorized
StrictModes no
UsePAM no
LogLevel VERBOSE
SSHD
echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 keys/host.pub)" > keys/known
/usr/sbin/sshd -D -e -f sshd_config 2> log &
server=$!
serves "$server" grep 'Server listening' log
git init -q repository
seq 9999 > repository/file
git -C repository add file
git -C repository -c user.name=n -c user.email=e commit -qm message
export GIT_SSH_COMMAND="ssh -F none -i $PWD/keys/user -o UserKnownHostsFile=$PWD/keys/known -o BatchMode=yes"
git clone -q "ssh://127.0.0.1:$port$PWD/repository" clone || { cat log >&2; exit 1; }
cmp repository/file clone/file
# Who one is on the other side, and a copy with the same connection's program.
$GIT_SSH_COMMAND -p "$port" 127.0.0.1 id -un | grep -qx "$(whoami)"
kill "$server"
