#!/usr/bin/env bash
# Takes away one step of the protection at a time, in a copy of the sources, and runs the tests that are to notice. Prints
# which tests failed for each; a step that nobody misses is an error. Needs a finished `make build`; takes half an hour.
#
#   tests/mutations.sh [NAME…]
#   tests/mutations.sh --check     only looks whether each step finds what it takes away: seconds
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
top=$PWD

# name | file | substitution (perl, over the whole file) | package to build | test programs
# shellcheck disable=SC2016  # perl's variables
steps=(
    'frontend: a user namespace|api-frontend/src/confine.rs|s/match unshare\(CloneFlags::CLONE_NEWUSER \| missing\)/match Err::<(), Errno>(Errno::EPERM)/|prn-api-frontend|privilege_separation'
    'frontend: empty root|api-frontend/src/confine.rs|s/nix::unistd::chroot\("\."\)/nix::unistd::chdir(".")/|prn-api-frontend|privilege_separation'
    'frontend: bounding set|api-frontend/src/confine.rs|s/            caps::clear\(None, CapSet::Bounding\)\?;\n//|prn-api-frontend|privilege_separation'
    'frontend: capabilities|api-frontend/src/confine.rs|s/        caps::clear\(None, set\)\?;/        let _ = set;/|prn-api-frontend|privilege_separation'
    'frontend: not dumpable|api-frontend/src/confine.rs|s/    prctl::set_dumpable\(false\)\?;\n//|prn-api-frontend|privilege_separation'
    'frontend: no core|api-frontend/src/confine.rs|s/setrlimit\(Resource::RLIMIT_CORE, 0, 0\)/Ok(())/|prn-api-frontend|privilege_separation'
    'frontend: no tasks|api-frontend/src/confine.rs|s/setrlimit\(Resource::RLIMIT_NPROC, 0, 0\)/Ok(())/|prn-api-frontend|privilege_separation'
    'frontend: Landlock|api-frontend/src/confine.rs|s/pub fn deny_files\(\) -> Result<\(\), SandboxError> \{/pub fn deny_files() -> Result<(), SandboxError> {\n    if std::process::id() != 0 { return Ok(()); }/|prn-api-frontend|faults'
    'frontend: call filter|api-frontend/src/filter.rs|s/    seccompiler::apply_filter_all_threads\(&allowing\(\)\?\)\?;\n//|prn-api-frontend|privilege_separation'
    'frontend: options of the listener|api-frontend/src/filter.rs|s/\[IsNot\(0, LISTENER\), Is\(1, level\), Is\(2, name\)\]/[IsNot(0, -1), Is(1, level), Is(2, name)]/|prn-api-frontend prn-tests|shared_by_frontends'
    'frontend: shutdown of the listener|api-frontend/src/filter.rs|s/            IsNot\(0, LISTENER\),\n            IsNot\(0, libc::STDERR_FILENO\),\n            Is\(1, libc::SHUT_WR\),/            IsNot(0, libc::STDERR_FILENO),/|prn-api-frontend prn-tests|shared_by_frontends'
    'frontend: messages on the channel alone|api-frontend/src/filter.rs|s/Is\(0, CHANNEL\)/IsNot(0, 0)/g|prn-api-frontend prn-tests|shared_by_frontends'
    'frontend: mappings of memory alone|api-frontend/src/filter.rs|s/            IsBeside\(3, PLACEMENT, libc::MAP_PRIVATE \| libc::MAP_ANONYMOUS\),\n/            IsBeside(3, !0, 0),\n/|prn-api-frontend prn-tests|shared_by_frontends'
    'frontend: advice on memory|api-frontend/src/filter.rs|s/&\[&\[Is\(2, libc::MADV_DONTNEED\)\]\]/ANY/|prn-api-frontend prn-tests|shared_by_frontends'
    'supervisor: a look at the listener|supervisor/src/frontend/instance.rs|s/if !getsockopt\(listener, AcceptConn\)\? \{/if !getsockopt(listener, AcceptConn)? \&\& std::os::fd::AsRawFd::as_raw_fd(listener) < 0 {/|prn-supervisor|shared_by_frontends'
    'supervisor: listens again|supervisor/src/frontend/instance.rs|s/    listen\(listener, Backlog::MAXCONN\)\n/    let _ = (listen::<OwnedFd>, Backlog::MAXCONN);\n    Ok(())\n/|prn-supervisor|shared_by_frontends'
    'supervisor: not dumpable|supervisor/src/privilege.rs|s/    prctl::set_dumpable\(false\)\?;\n//|prn-supervisor|privilege_separation'
    'supervisor: no new privileges|supervisor/src/privilege.rs|s/prctl::set_no_new_privs\(\)/Ok(())/|prn-supervisor|privilege_separation'
    'supervisor: bounding set|supervisor/src/privilege.rs|s/            caps::drop\(None, CapSet::Bounding, other\)\?;/            let _ = other;/; s/caps::read\(None, CapSet::Bounding\)\?\s*\.iter\(\)\s*\.any\(\|left\| \*left != BOUNDING\)/false/|prn-supervisor|privilege_separation'
    'supervisor: capabilities|supervisor/src/privilege.rs|s/    caps::set\(None, CapSet::Effective, &kept\)\?;\n    caps::set\(None, CapSet::Permitted, &kept\)\?;\n/    let _ = kept;\n/|prn-supervisor|privilege_separation'
    'supervisor: the policy|supervisor/src/frontend/session.rs|s/        access::check\(&who, &ask, runner\)\?;\n/        let _ = access::check(\&who, \&ask, runner);\n/|prn-supervisor|access'
    'frontend: who may only read|api-frontend/src/access.rs|s/owner == Some\(&self.who\) \|\|/true ||/|prn-api-frontend|access'
    'supervisor: the policy of starts|supervisor/src/admission.rs|s/            \.map_err\(Refusal::Denied\)\?;/            .map_err(Refusal::Denied).unwrap_or(prn_ipc_protocol::policy::Grant { role: policy.policy.roles.values().next().ok_or(Refusal::Draining)?, rule: None, program: None });/|prn-supervisor|access'
    'supervisor: a signature that is required|supervisor/src/signed.rs|s/None if policy\.must_sign\(start\.owner\) => Err\(SignatureRefusal::Required\)/None if policy.must_sign(start.owner) \&\& start.run.is_some() => Err(SignatureRefusal::Required)/|prn-supervisor|signed_starts'
    'supervisor: a signature that fits|supervisor/src/signed.rs|s/if !signature\.is_of\(start\.spec\.id, start\.digest\) \{/if !signature.is_of(start.spec.id, start.digest) \&\& start.run.is_none() {/|prn-supervisor|signed_starts'
    'supervisor: once|supervisor/src/signed.rs|s/let refusal = if self\.knows\(id\) \{/let refusal = if self.knows(id) \&\& end.0 == 0 {/; s/        self\.ids\.contains\(&id\)/        self.ids.contains(\&id) \&\& self.began.0 == 0/|prn-supervisor|signed_starts'
    'supervisor: no input without a signature|supervisor/src/signed.rs|s/spec\.process\.input != Input::Nothing \{/spec.process.input != Input::Nothing \&\& spec.expect.is_some() {/|prn-supervisor|signed_starts'
    'supervisor: no input without a signature, of what ran before|supervisor/src/runner/input.rs|s/may_be_fed\?;/may_be_fed.unwrap_or_default();/|prn-supervisor|signed_starts'
    'supervisor: a user of a role alone|ipc-protocol/src/policy.rs|s/!role\.users\.contains\(user\)/false \&\& !role.users.contains(user)/|prn-supervisor|users'
    'supervisor: no user in a workspace|supervisor/src/admission.rs|s/if process\.workspace\.is_some\(\) \{\n        return Err\(Refusal::UserInWorkspace\)/if process.workspace.is_some() \&\& policy.users.is_empty() {\n        return Err(Refusal::UserInWorkspace)/|prn-supervisor|users'
    'signer: handshakes alone|supervisor/signer/src/serve.rs|s/message\.len\(\) <= SIGNED_MAX && role\.signs\(message\)/message.len() <= SIGNED_MAX/; s/, role: Role/, _role: Role/g; s/token, role, /token, _role, /|prn-signer|keys'
    'signer: no root|supervisor/signer/src/identity.rs|s/    setresuid\(uid, uid, uid\)\.map_err\(failed\)/    let _ = (setresuid, uid);\n    Ok(())/; s/if role == Role::Server\n/if role == Role::Client\n/|prn-signer|keys'
    'signer: no core|supervisor/signer/src/identity.rs|s/    setrlimit\(Resource::RLIMIT_CORE, 0, 0\)\.map_err\(failed\)\?;\n//|prn-signer|keys'
    'server: no user with an id of root|supervisor/launch/src/access/users.rs|s/            0 => Some\(.*\n//|prn|users'
    'process: paths looked up with its groups|supervisor/src/sys/spawn/namespaces.rs|s/setgroups\(ids\.groups\)/setgroups(\&[])/|prn-supervisor|users'
    'supervisor: call filter|supervisor/src/main.rs|s/    prn_supervisor::filter\(&config.confinement.own\)\?;\n//|prn-supervisor|privilege_separation confinement'
    'supervisor: orders of root alone|supervisor/src/control.rs|s/peer\.uid\(\) == 0/peer.uid() < u32::MAX/|prn-supervisor|reload'
    'supervisor: orders that nobody can change|supervisor/src/control.rs|s/seals\.contains\(all\)/seals.intersects(all)/|prn-supervisor|reload'
    'supervisor: what was before|supervisor/src/control.rs|s/                runner\.reconfigure\(former\.config\);\n//|prn-supervisor|reload'
    'server: a control socket of root alone|supervisor/launch/src/control.rs|s/umask\(Mode::S_IXUSR \| Mode::S_IRWXG \| Mode::S_IRWXO\)/umask(Mode::empty())/|prn|reload'
    'process: session|supervisor/src/sys/spawn/child.rs|s/    step\(ChildStep::Session, begin_session\),\n//|prn-supervisor|privilege_separation confinement'
    'process: a terminal for its session|supervisor/src/sys/spawn/child.rs|s/    if !prepared\.child\.has_terminal \{/    if prepared.child.streams.len() == 3 {/|prn-supervisor|input_below'
    'process: its terminal closed to others|supervisor/src/sys/terminal.rs|s/fchmod\(&slave, Mode::S_IRUSR \| Mode::S_IWUSR\)/fchmod(\&slave, Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IWGRP)/|prn-supervisor|input_below'
    'supervisor: no end of input but by request|supervisor/src/runner/input.rs|s/process\.live\.as_ref\(\)\.and_then\(\|live\| live\.input\.as_ref\(\)\)/process.live.as_mut().and_then(|live| live.input.take())/|prn-supervisor|input_below'
    'supervisor: a full terminal|supervisor/src/runner/input.rs|s/contains\(PollFlags::POLLIN\) => Typed::Full,/contains(PollFlags::POLLIN) => Typed::Some,/|prn-supervisor|input_below'
    'process: descriptors closed|supervisor/src/sys/spawn/child.rs|s/libc::CLOSE_RANGE_CLOEXEC\.into\(\)/0/; s/c_uint::MAX\.into\(\)/(libc::c_long::from(kept) - 1)/|prn-supervisor|privilege_separation confinement'
    'process: OOM score|supervisor/src/sys/spawn/child.rs|s/    step\(ChildStep::Limits, raise_oom_score\),\n//|prn-supervisor|confinement'
    'process: open files|supervisor/src/sys/spawn/child.rs|s/    step\(ChildStep::Limits, limit_open_files\),\n//|prn-supervisor|confinement'
    'process: groups|supervisor/src/sys/spawn/child.rs|s/    unistd::setgroups\(ids\.groups\)\?;\n//|prn-supervisor|privilege_separation confinement users'
    'process: group id|supervisor/src/sys/spawn/child.rs|s/    unistd::setresgid\(gid, gid, gid\)\?;/    let _ = gid;/|prn-supervisor|privilege_separation confinement'
    'process: user id|supervisor/src/sys/spawn/child.rs|s/    unistd::setresuid\(uid, uid, uid\)\?;/    let _ = uid;/|prn-supervisor|privilege_separation confinement'
    'process: death signal|supervisor/src/sys/spawn/child.rs|s/    prctl::set_pdeathsig\(Signal::SIGKILL\)\?;\n//|prn-supervisor|lifecycle'
    'process: umask|supervisor/src/sys/spawn/child.rs|s/    umask\(Mode::S_IWGRP \| Mode::S_IWOTH\);\n//|prn-supervisor|privilege_separation confinement'
    'process: signal mask|supervisor/src/sys/spawn/child.rs|s/Some\(&SigSet::empty\(\)\), None\)/Some(&SigSet::all()), None)/|prn-supervisor|privilege_separation confinement'
    'process: Landlock|supervisor/src/sys/spawn/child.rs|s/    step\(ChildStep::Confinement, confine_files\),\n//|prn-supervisor|confinement'
    'process: call filter|supervisor/src/sys/spawn/child.rs|s/    step\(ChildStep::Confinement, confine_calls\),\n//|prn-supervisor|confinement'
    'process: pairs of sockets|supervisor/launch/src/confinement/calls.rs|s/    LOCAL_PAIRS,\n//g; s/^const LOCAL_PAIRS/#[expect(dead_code)]\nconst LOCAL_PAIRS/m|prn|confinement'
    'process: protocols of sockets|supervisor/launch/src/confinement/calls.rs|s/Check::Is\(2, IPPROTO_UDP\),?/Check::IsNot(2, 0),/g|prn|confinement'
    'process: sockets of another protocol|supervisor/launch/src/confinement/calls.rs|s/&\[Check::IsNot\(2, TCP_ULP\), Check::IsNot\(2, UDP_ENCAP\)\]/\&[Check::IsNot(2, UDP_ENCAP)]/|prn|confinement'
    'server: groups closed to others|supervisor/launch/src/claim.rs|s/    fs::set_permissions\(path, Permissions::from_mode\(PASSABLE\)\)/    fs::set_permissions(path, Permissions::from_mode(PASSABLE | 0o44))/|prn|sweep'
    'server: a lock that no server holds|supervisor/launch/src/claim.rs|s/        \} else if lives \{/        } else if lives || !locked {/|prn|sweep'
    'server: whatever is in the tree|supervisor/launch/src/claim.rs|s/        Cgroup::Own\(_\) => groups_in\(base\)\?,/        Cgroup::Own(_) => vec![base.join("frontend"), base.join("processes")],/|prn|sweep'
    'process: directories of a user in memory|supervisor/src/sys/spawn/child.rs|s/    step\(ChildStep::Namespaces, keep_in_memory\),\n//|prn-supervisor|users'
    'supervisor: no user without namespaces|supervisor/src/admission.rs|s/    if has_namespaces\(policy, process\) \{\n        Ok\(Some\(known\)\)/    if has_namespaces(policy, process) || !policy.users.is_empty() {\n        Ok(Some(known))/|prn-supervisor|users'
    'supervisor: refusals of principals that there are|supervisor/src/frontend/session.rs|s/if runner\.policy\(\)\.principals\.contains_key\(&who\) \{/if runner.policy().principals.len() < usize::MAX {/|prn-supervisor|audit'
    'process: namespaces|supervisor/src/sys/spawn/child.rs|s/    step\(ChildStep::Namespaces, leave_the_host\),\n    step\(ChildStep::Namespaces, keep_in_memory\),\n    step\(ChildStep::Path\(0\), find_sources\),\n    step\(ChildStep::Namespaces, arrange\),\n    step\(ChildStep::Path\(0\), follow_rules\),\n//|prn-supervisor|confinement'
    'process: hears of the mounts of the host|supervisor/src/sys/spawn/namespaces.rs|s/MsFlags::MS_SLAVE/MsFlags::MS_PRIVATE/|prn-supervisor|confinement'
    'process: pipes on an account of its own|supervisor/src/runner/start.rs|s/account: blueprint\.account,/account: blueprint.ids.uid,/|prn-supervisor|workspaces_below'
    'start: what dies without a report is noticed by whoever sees it|supervisor/src/runner/end.rs|s/        self\.take_back\(process\);\n        self\.reported\(process\);\n//|prn-supervisor|workspaces_below'
    'process: no limits of neighbours|supervisor/launch/src/confinement/calls.rs|s/allowed: &\[&\[Check::Is\(0, 0\)\]\]/allowed: \&[\&[]]/|prn|workspaces_below'
    'process: an account|supervisor/src/sys/spawn/namespaces.rs|s/if let Some\(accounts\) = &namespaces\.accounts \{/if let Some(accounts) = namespaces.accounts.as_ref().filter(|_| false) {/|prn-supervisor|private_places'
    'process: temporary files|supervisor/src/sys/spawn/namespaces.rs|s/Source::Temporary => bind\([^\n]*,\n/Source::Temporary => {}\n/|prn-supervisor|confinement'
    'process: the way to the state folder|supervisor/src/sys/spawn/namespaces.rs|s/Some\(state\) => bind\([^\n]*,\n/Some(_) => Ok(()),\n/|prn-supervisor|confinement'
    'process: looks as its user|supervisor/src/sys/spawn/namespaces.rs|s/    unistd::setfsuid\(Uid::from_raw\(ids\.uid\)\);\n/    let _ = Uid::from_raw(ids.uid);\n/|prn-supervisor|confinement'
    'process: shared memory|supervisor/launch/src/confinement/namespaces.rs|s/\"\/dev\/shm\"/\"\/dev\/no-shm\"/|prn|confinement'
    'process: message queues|supervisor/launch/src/confinement/namespaces.rs|s/\"\", Rights::Own\)/\"\", Rights::Around)/|prn|private_places'
    'process: sees its own processes|supervisor/launch/src/confinement/namespaces.rs|s/hidepid=invisible/hidepid=off/|prn|private_places'
    'process: objects between processes|supervisor/launch/src/confinement/namespaces.rs|s/libc::CLONE_NEWNS \| libc::CLONE_NEWIPC/libc::CLONE_NEWNS/|prn|confinement private_places'
    'paths: only what may be bound|supervisor/src/admission.rs|s/            return Err\(Refusal::NotBindable\(place\)\);/            let _ = Refusal::NotBindable(place);/|prn-supervisor|paths'
    'paths: the directory that was named|supervisor/src/sys/spawn/paths.rs|s/if \(status\.st_dev, status\.st_ino\) == \(bindable\.device, bindable\.inode\) \{/if status.st_dev == bindable.device || bindable.inode > 0 {/|prn-supervisor|paths'
    'paths: read-only|supervisor/src/sys/spawn/paths.rs|s/(let flags = kept\.fold\(protected, \|flags, \(_, flag\)\| flags \| flag\);\n)    mount\(NOTHING, target, NOTHING, flags, NOTHING\)/$1    let _ = (target, flags);\n    Ok(())/|prn-supervisor|paths'
    'paths: looked up as the process|supervisor/src/sys/spawn/paths.rs|s/    namespaces::look_as\(ids\)\?;\n//|prn-supervisor|paths'
    'paths: hidden ones|supervisor/launch/src/confinement/namespaces.rs|s/hidden\.chain\(there\)\.collect\(\)/hidden.take(0).chain(there).collect()/|prn|paths'
    'strict: network|supervisor/launch/src/confinement/namespaces.rs|s/DEFAULT \| libc::CLONE_NEWNET \| libc::CLONE_NEWUTS/DEFAULT | libc::CLONE_NEWUTS/|prn|confinement'
    'strict: services|supervisor/launch/src/confinement/namespaces.rs|s/\"\/run\"/\"\/no-run\"/|prn|confinement'
    'frontend: namespaces that its child makes|supervisor/src/frontend/instance.rs|s/            layers: Some\(&setup\.layers\),\n//|prn-supervisor|privilege_separation'
    'log: the frontend has a pipe of its own|supervisor/src/frontend/instance.rs|s/null\.as_fd\(\), stderr\.as_fd\(\)\]/null.as_fd(), std::io::stderr().as_fd()]/|prn-supervisor|server_log'
    'log: a line of the frontend is escaped|ipc-protocol/src/lines.rs|s/_ => line\.extend\(character\.escape_debug\(\)\),/_ => line.push(character),/|prn-supervisor|server_log'
    'log: nobody waits for its reader|supervisor/src/log.rs|s/pipe2\(OFlag::O_CLOEXEC \| OFlag::O_NONBLOCK\)/pipe2(OFlag::O_CLOEXEC)/|prn-supervisor|server_log'
    'stop: as many at a time as there are descriptors|supervisor/src/cgroup.rs|s/                waiting\.push\(pid\);\n                break;/                break;/|prn-supervisor|process_faults'
    'cleanup: a large directory is removed by a child|supervisor/src/directory.rs|s/size <= SHORT/size <= i64::MAX/|prn-supervisor|leftovers'
    'cleanup: what is left is tried again|supervisor/src/runner/cleanup.rs|s/        self\.deadline\(number, pause, Due::Clean\);\n//|prn-supervisor|leftovers'
    'start: arguments are bounded|supervisor/src/admission.rs|s/ARGUMENTS_MAX: usize = 16 << 20/ARGUMENTS_MAX: usize = 16 << 30/|prn-supervisor|process_faults'
    'output: a closed stream is kept|supervisor/src/reading.rs|s/\(Stopped::Failed\(_\), _\) => \(Again::Never/(Stopped::Failed(_) | Stopped::Closed, _) => (Again::Never/|prn-supervisor|process_faults'
    'output: a follower is waited for|supervisor/src/process.rs|s/\(Some\(Follower::Awaited \{ \.\. \} \| Follower::Present\), _\) => taken/(Some(Follower::Awaited { .. } | Follower::Present), _) => u64::MAX/|prn-supervisor|followers'
    'prn: what may be asked twice is|prn/client/src/client.rs|s/self\.route\.as_ref\(\)\.filter\(\|_\| self\.asks_twice\)/self.route.as_ref().filter(|_| false)/|prn|connection_loss'
    'prn: a handshake that is cut off is made again|prn/client/src/client.rs|s/ if broken\.is_transient\(\) => \{/ if broken.is_transient() && false => {/|prn|connection_loss'
    'TLS: signature of the handshake|proto/src/tls/peers.rs|s/    verify_tls13_signature\(message, certificate, signature, kinds\.algorithms\(\)\)/    let _ = (message, certificate, signature, kinds, verify_tls13_signature); Ok(HandshakeSignatureValid::assertion())/|prn prn-api-frontend|authentication'
)

# What fails without a mutation means nothing with one: it is told, and left out.
run_tests() { # folder of the binaries, test programs
    local program run out=$copy/out
    for program in "${@:2}"; do
        run=$(find "$top/target/release/deps" -name "$program-*" ! -name '*.d' -printf '%T@ %p\n' | sort -rn | head -1)
        # No pipe: a process that a mutation leaves behind would hold it open.
        (cd tests && PRN_BIN_DIR=$1 timeout 280 "${run#* }" --test-threads=4 >"$out" 2>&1) || :
        grep -q '^test result: ' "$out" || echo "($program did not run to its end)"
        grep -E '^test .* FAILED$' "$out" | awk '{ print $2 }' | grep -vxF -e "${baseline:-none}" || :
    done
}

if [[ ${1:-} == --check ]]; then
    status=0
    for step in "${steps[@]}"; do
        IFS='|' read -r name file rest <<<"$step"
        rest=${rest%|*}
        change=${rest%|*}
        if [[ ! -f $file ]] || perl -0pe "$change" "$file" | cmp -s - "$file"; then
            echo "mutations: $name: nothing to take away in $file" >&2
            status=1
        fi
    done
    exit "$status"
fi

# Names may be given, each as one argument.
if (($#)); then
    chosen=()
    for step in "${steps[@]}"; do
        if printf '%s\n' "$@" | grep -qxF "${step%%|*}"; then chosen+=("$step"); fi
    done
    steps=("${chosen[@]}")
fi
mapfile -t all_programs < <(printf '%s\n' "${steps[@]}" | awk -F'|' '{ print $NF }' | tr ' ' '\n' | sort -u)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents -t "$copy"
cp -a target "$copy/target"
# Processes run programs from here.
chmod 755 "$copy"
mapfile -t pristine < <(find target/release -maxdepth 1 -type f -executable)
mkdir "$copy/bin"
cp "${pristine[@]}" "$copy/bin"
baseline=$(run_tests "$copy/bin" "${all_programs[@]}")
[[ -z $baseline ]] || echo "fails without a mutation, and is left out: ${baseline//$'\n'/ }" >&2
status=0
for step in "${steps[@]}"; do
    IFS='|' read -r name file rest <<<"$step"
    read -ra programs <<<"${rest##*|}"
    rest=${rest%|*}
    read -ra packages <<<"${rest##*|}"
    change=${rest%|*}
    perl -0pe "$change" "$top/$file" >"$copy/$file"
    if cmp -s "$top/$file" "$copy/$file"; then
        echo "$name: NOT CHANGED: the substitution finds nothing"
        status=1
        continue
    fi
    flags=(--bins)
    for package in "${packages[@]}"; do flags+=(-p "$package"); done
    if ! (cd "$copy" && RUSTFLAGS='' cargo build --release --quiet "${flags[@]}" 2>"$copy/log"); then
        echo "$name: DOES NOT BUILD: $(grep -m1 '^error' "$copy/log")"
        status=1
    else
        # Beside the others as they should be: one that a step before has changed is still there.
        cp "${pristine[@]}" "$copy/bin"
        for package in "${packages[@]}"; do
            binary=${package/api-/}
            # The attacker closes the same sandbox behind itself.
            binary=${binary/prn-tests/hostile-frontend}
            cp "$copy/target/release/$binary" "$copy/bin"
        done
        failed=$(run_tests "$copy/bin" "${programs[@]}" | tr '\n' ' ')
        echo "$name: ${failed:-NOT NOTICED}"
        [[ -n $failed ]] || status=1
    fi
    cp "$top/$file" "$copy/$file"
done
exit $status
