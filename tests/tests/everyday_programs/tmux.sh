tmux() { command tmux -f /dev/null "$@"; }
tmux -S "$PWD/socket" new-session -d -x 80 -y 24 'exec bash --norc --noprofile'
tmux -S "$PWD/socket" send-keys 'echo $((6 * 7)) > answer; echo "shown $((6 * 7))"' Enter
until tmux -S "$PWD/socket" capture-pane -p | grep -qx 'shown 42'; do sleep 0.05; done
grep -qx 42 answer
tmux -S "$PWD/socket" kill-server
# By its own choice the socket is below /tmp.
tmux new-session -d 'sleep 1000'
test -S "/tmp/tmux-$(id -u)/default"
tmux kill-server
