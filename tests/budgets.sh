#!/usr/bin/env bash
# `make budgets`: what runs as root is small enough to be read, links few crates and no parser, and `unsafe` is in two places.
# Code lines are counted as stock rustfmt breaks them, which is how the whole workspace is formatted (`make lint`): a budget is
# met by doing less. Each line of the answer has a number and its limit; what is over its limit is an error.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

crates_max=25
# The child that makes namespaces and mounts, and rules for paths, are root's as well now, and so are inputs, terminals and workspaces:
# 6000, 2400 and 2500 were without them; 7750 and 3850 without signals, updates, leases, names, retention and the watchdog; 8550, 4400 and
# 3100 without a policy, and without clients and roles in the configuration that it is made of; 3800 without a look at who
# could write what lets somebody in; 3830 without clients that are known by their keys, or by an authority and a name, and without
# a check of a file that is to become one of the folder of clients; 9050, 4850 and 4080 without reloads: orders, a frontend that
# leaves, and comparing what is new; 9480, 4900 and 4650 without digests of starts, the audit and receipts, and what it is opened for;
# 10400 and 4850 without what a reload says in words, a word for each refusal, cause and event, as an audit and a receipt have them, and
# a lock of an audit's folder; 5200 without orders, lines of the audit and receipts, which were not counted as authority; 5050 without a look
# at a file of clients that is to be changed, files below the configuration's folder, and lists that are not there; 10650, 5650 and 5200
# without signed starts (whose signature counts for what and until when, which ids were signed for, and a word for each refusal), users
# of the machine's (their ids in the configuration, in children, directories and streams; names, groups and what they must not be, with its
# place), hours of a role, and lines of the audit for what the frontend has refused; 11200 and 6100 without types for a signature's key,
# audience and bytes and for hours, which do not decode if they cannot be one, who has signed what is refused, directories in memory for
# users of the machine's, and why the audit is not written, and how much of it was not at the end; 11450 without priorities, fields
# and JSON of the log's lines, which are escaped and cut here because what they say comes from the frontend, and without a signer's
# socket in the place of the key, and what the server tells root of itself; 5420 without a key in a token: who signs with it, in which group, and what a reload starts anew.
root_lines_max=11600
authority_lines_max=6250
launch_lines_max=5600
# Of prn-proto: where a key is, and how it is had from there.
# 1030 was without knowing whether signatures are made, which who is connected is told.
keys_lines_max=1050
tables_lines_max=1500
function_lines_max=60
# Not linked into the root half, with all that is named after them.
banned='tokio|tonic|hyper|rustls|prost|clap|toml'

# What the root half uses of ipc-protocol: not names.rs, output.rs and what is in a file frontend.rs, which are the frontend's.
ipc=(ipc-protocol/src/{channel,codec,control,config,config/filter,config/layers,digest,fds,fds/quota,lines,message,netstring,output/layout,policy,search,signed,signer,status,types}.rs)
# What decides and acts as root for a peer: what a reviewer reads in one sitting, in the order of docs/security/review.md.
authority=(
    ipc-protocol/src/{channel,codec,control,digest,message,netstring,policy,search,signed,types}.rs
    supervisor/src/{admission,audit/line,control,receipts,resolve,signed,frontend/{phase,table,fault,session,access,outbox,instance},privilege,streams,workspaces,runner/{start,update,lease,input,aside,workspaces},sys/terminal,sys/spawn,sys/spawn/{plan,prepared,passing,child,namespaces,paths,confine}}.rs
)
# For the test of docs/security/review.md.
if [[ ${1:-} == --authority ]]; then
    printf '%s\n' "${authority[@]}"
    exit
fi
unsafe_allowed='^(supervisor/src/sys(/.*|[.]rs)|ipc-protocol/src/fds(/quota)?[.]rs)$'
# No part of any program: what attacks them makes system calls that no safe wrapper would.
unsafe_tests='^tests/'

failed=0
over() {
    echo "budgets: $*" >&2
    failed=1
}

# lines PATH…
lines() {
    tests/measure.sh "$@" | awk '$1 == "file" { n += $3 } END { print n + 0 }'
}

crates=$("${CARGO:-cargo}" tree --locked -e normal --prefix none -p prn-supervisor | sed 's/ (\*)$//' | sort -u)
count=$(wc -l <<<"$crates")
echo "budgets: root half: $count crates of $crates_max"
((count <= crates_max)) || over "too many crates: ${crates//$'\n'/ }"
found=$(grep -E "^($banned)([-_][a-z0-9_-]+)? " <<<"$crates" || :)
[[ -z $found ]] || over "not in the root half: ${found//$'\n'/ }"

# A build of the workspace has each crate once, with all features that anybody asks for: what others need must not make `prn`
# larger. Of these it has more for the frontend, the exporter and tests, which is next to nothing.
features() {
    "${CARGO:-cargo}" tree --locked -e normal --prefix none -f '{p} {f}' "$@" | sed 's/ (\*)$//' | sort -u
}
own=$(features -p prn)
everybodys=$(features --workspace)
found=$(comm -23 <(echo "$own") <(echo "$everybodys") | grep -vE '^(futures-executor|libc|nix|rustix|tokio-stream|tonic) ' || :)
echo "budgets: prn: $(wc -l <<<"$own") crates, none larger for the sake of others"
[[ -z $found ]] || over "other crates ask for more of these, which prn links: ${found//$'\n'/; }"

supervisor=$(lines supervisor/src)
shared=$(lines "${ipc[@]}")
sum=$((supervisor + shared))
echo "budgets: root half: $sum code lines ($supervisor in supervisor, $shared in ipc-protocol) of $root_lines_max"
((sum <= root_lines_max)) || over 'too many code lines'

count=$(lines "${authority[@]}")
echo "budgets: root half: $count code lines of $authority_lines_max are its authority"
((count <= authority_lines_max)) || over 'too many code lines of authority'

# What is pure and made of tables, and what is opened, checked and executed, apart: the tables are in docs/security/ for people.
launch=supervisor/launch/src
tables=$(lines "$launch"/confinement{,.rs})
count=$(($(lines "$launch") - tables))
echo "budgets: before it: $count code lines of $launch_lines_max run as root until the root half is executed, and $tables of $tables_lines_max make its filters"
keys=$(lines proto/src/credentials{,.rs} proto/src/signer.rs)
echo "budgets: before it: $keys code lines of $keys_lines_max read certificates and have the key from where it is, for clients too"
((keys <= keys_lines_max)) || over 'too many code lines for keys'
((count <= launch_lines_max)) || over 'too many code lines before the root half'
((tables <= tables_lines_max)) || over 'too many code lines of tables, and of what makes filters of them'

functions=$(tests/measure.sh supervisor/src ipc-protocol/src "$launch" |
    awk '$1 == "fn" { print $4, $3, $2 }' | sort -k1,1nr -k3)
read -r count name place <<<"$functions"
echo "budgets: longest function: $count code lines of $function_lines_max ($name, $place)"
((count <= function_lines_max)) || over "too long a function: $name"

unsafe=$(grep -rnE --include='*.rs' --exclude-dir=target '^[^/"]*\bunsafe( +(fn|impl|trait|extern)\b| *[{(])' . |
    sed 's|^\./||' | awk -F: -v allowed="$unsafe_allowed" -v tests="$unsafe_tests" '$1 !~ allowed && $1 !~ tests' || :)
blocks=$({ grep -rhE --include='*.rs' '^[^/"]*\bunsafe *\{' supervisor/src/sys* ipc-protocol/src/fds* || :; } | wc -l)
echo "budgets: root half: $blocks unsafe blocks in supervisor/src/sys and ipc-protocol/src/fds"
[[ -z $unsafe ]] || over "unsafe elsewhere: $unsafe"
exit "$failed"
