//! Whether a process may be started, before anything is made for it. Runs in the supervisor; pure.

use prn_ipc_protocol::config;
use prn_ipc_protocol::digest::canonical;
use prn_ipc_protocol::message::{
    Denial, Input, Overflow, ProcessSpec, Profile, Refusal, Scarce, StartSpec,
};
use prn_ipc_protocol::policy::Starter;
use prn_ipc_protocol::types::{Digest, LimitName, Limits, PathRule, ProcessId, UnixMicros};

use crate::resolve::{Execution, resolve};
use crate::store::Store;

/// Most terminals at a time: a third of what the machine has by default for all but its operator's own
/// (kernel.pty.max, kernel.pty.reserve, pty(7)).
const TERMINALS_MAX: u32 = 1024;

/// Most bytes of arguments and paths of all processes that are not finished: both halves hold them.
const ARGUMENTS_MAX: usize = 16 << 20;

/// Most bytes of arguments of processes that are kept until they are removed: half of what is
/// remembered.
pub(crate) const KEPT_BYTES_MAX: usize = 8 << 20;

/// Processes, alive or finished, that are kept until they are removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// How many there are.
    pub count: usize,
    /// Bytes of their arguments.
    pub bytes: usize,
}

/// What is in use when a process is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Whether new processes are wanted at all.
    pub is_draining: bool,
    /// Bytes of the arguments and paths of all processes that are not finished.
    pub arguments: usize,
    /// Bytes that can be set aside still in the store that is asked for.
    pub reservable: u64,
    /// User ids that nobody has.
    pub free_uids: usize,
    /// User ids of finished processes whose directories are still being emptied.
    pub held_uids: usize,
    /// Terminals of processes.
    pub terminals: usize,
    /// Who is alive and has the name that is asked for.
    pub namesake: Option<ProcessId>,
    /// What is kept.
    pub kept: Kept,
    /// The time.
    pub now: UnixMicros,
}

/// What a process gets that may be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Its limits.
    pub limits: Limits,
    /// Bytes that are set aside for its output.
    pub reserved: u64,
    /// What is executed.
    pub execution: Execution,
    /// The user of the machine's that it runs as, if it is one.
    pub user: Option<config::User>,
    /// The rule of the principal's role that describes that, by its place.
    pub rule: Option<u16>,
    /// The digest of what is about to be run.
    pub digest: Digest,
}

/// Decides by what the server allows, to this principal if it is somebody's wish, and what is in
/// use.
pub(crate) fn admit(
    policy: &config::Supervisor,
    usage: &Usage,
    starter: Option<Starter<'_>>,
    spec: &StartSpec,
) -> Result<Admitted, Refusal> {
    if usage.is_draining {
        return Err(Refusal::Draining);
    }
    let process = &spec.process;
    let mut execution = resolve(&policy.state_dir, spec)?;
    let mut ceilings = policy.limit_ceilings.clone();
    let mut rule = None;
    if let Some(starter) = starter {
        let granted = policy
            .policy
            .may_start(starter, spec, &execution.candidates)
            .map_err(Refusal::Denied)?;
        if let Some(program) = granted.program {
            execution.candidates = vec![program.to_owned()];
        }
        ceilings = ceilings.lowest(&granted.role.ceilings);
        rule = granted.rule.and_then(|place| place.try_into().ok());
    }
    if process.profile == Profile::None && !policy.confinement.allow_none {
        return Err(Refusal::Unconfined);
    }
    if process.profile == Profile::Strict && policy.confinement.strict.is_none() {
        return Err(Refusal::StrictUnavailable);
    }
    let user = user(policy, process)?;
    if let Some(namesake) = usage.namesake {
        return Err(Refusal::NameTaken(namesake));
    }
    if process
        .deadline
        .is_some_and(|deadline| deadline <= usage.now)
    {
        return Err(Refusal::DeadlinePassed);
    }
    check_paths(policy, process)?;
    check_arguments(usage.arguments, process.size())?;
    check_kept(policy, usage.kept, process)?;
    let reserved = reservation(policy, usage, process)?;
    let limits = limits(&ceilings, &process.limits)?;
    check_uids(policy, usage)?;
    check_terminals(usage, process.input)?;
    let digest = check_digest(spec, &limits, &execution)?;
    Ok(Admitted {
        limits,
        reserved,
        execution,
        user,
        rule,
        digest,
    })
}

/// Who it is to run as, if that is a user of the machine's: one that the server may use, whoever asks.
fn user(
    policy: &config::Supervisor,
    process: &ProcessSpec,
) -> Result<Option<config::User>, Refusal> {
    let Some(name) = &process.user else {
        return Ok(None);
    };
    if process.workspace.is_some() {
        return Err(Refusal::UserInWorkspace);
    }
    let known = policy.users.get(name).cloned();
    let known = known.ok_or(Refusal::Denied(Denial::User))?;
    // Its directories are in memory: where others of that user are, they could lead a cleaner astray.
    if has_namespaces(policy, process) {
        Ok(Some(known))
    } else {
        Err(Refusal::UserUnavailable)
    }
}

/// Of what is about to be run, which has to be what was expected.
fn check_digest(
    spec: &StartSpec,
    limits: &Limits,
    execution: &Execution,
) -> Result<Digest, Refusal> {
    let digest = Digest::of(&canonical(spec, limits, &execution.candidates));
    match spec.expect {
        Some(expected) if expected != digest => Err(Refusal::OtherDigest(digest)),
        Some(_) | None => Ok(digest),
    }
}

fn has_namespaces(policy: &config::Supervisor, process: &ProcessSpec) -> bool {
    let layers = policy.confinement.of(process.profile);
    layers.is_some_and(|layers| layers.namespaces.is_some())
}

/// Paths are ruled in namespaces alone, and bound is only what the operator has named.
fn check_paths(policy: &config::Supervisor, process: &ProcessSpec) -> Result<(), Refusal> {
    let rules = process.paths.as_slice();
    if !rules.is_empty() && !has_namespaces(policy, process) {
        return Err(Refusal::PathsUnavailable);
    }
    for (rule, place) in rules.iter().zip(0..) {
        if let PathRule::Bound { source, .. } = rule
            && !policy.bindable.iter().any(|known| known.path == *source)
        {
            return Err(Refusal::NotBindable(place));
        }
    }
    Ok(())
}

/// Whether so many bytes of arguments have room beside those of all others.
pub(crate) fn check_arguments(others: usize, size: usize) -> Result<(), Refusal> {
    let left = ARGUMENTS_MAX.saturating_sub(others);
    if size > left {
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        return Err(Refusal::ArgumentsAboveBudget(left));
    }
    Ok(())
}

/// Half of what is remembered can be kept.
fn check_kept(
    policy: &config::Supervisor,
    kept: Kept,
    process: &ProcessSpec,
) -> Result<(), Refusal> {
    let max = policy.finished_max;
    let most = usize::try_from(max / 2).unwrap_or(usize::MAX);
    let has_room = kept.count < most && kept.bytes + process.size() <= KEPT_BYTES_MAX;
    if process.retention.is_kept && !has_room {
        return Err(Refusal::TooManyKept { max });
    }
    Ok(())
}

/// What is to be set aside for a process's output: all that it may come to, where nothing of it may
/// be dropped.
fn reservation(
    policy: &config::Supervisor,
    usage: &Usage,
    process: &ProcessSpec,
) -> Result<u64, Refusal> {
    let store = policy.output.get(&process.output.store);
    let config::StoreLimits { ceiling, budget } = store.copied().unwrap_or_default();
    if budget == 0 || process.output.max > ceiling {
        return Err(Refusal::OutputAboveCeiling(ceiling));
    }
    let reserved = match process.output.overflow {
        Overflow::DropOldest | Overflow::Follow(_) if !process.retention.is_kept => 0,
        Overflow::DropOldest | Overflow::Follow(_) | Overflow::Wait | Overflow::Kill => {
            Store::most(process.output)
        }
    };
    if reserved > usage.reservable {
        return Err(Refusal::OutputAboveBudget(usage.reservable));
    }
    Ok(reserved)
}

/// The limits that a process gets: what it asks for, else the ceiling; never above the ceiling.
fn limits(ceilings: &Limits, asked: &Limits) -> Result<Limits, Refusal> {
    check_ceilings(ceilings, asked)?;
    Ok(asked.or(ceilings))
}

/// Whether no limit that is asked for is above its ceiling.
pub(crate) fn check_ceilings(ceilings: &Limits, asked: &Limits) -> Result<(), Refusal> {
    let above = |(limit, ceiling): &(LimitName, u64)| asked.get(*limit) > Some(*ceiling);
    if let Some((limit, ceiling)) = ceilings.iter().find(above) {
        return Err(Refusal::AboveCeiling { limit, ceiling });
    }
    Ok(())
}

fn check_uids(policy: &config::Supervisor, usage: &Usage) -> Result<(), Refusal> {
    if usage.free_uids > 0 {
        return Ok(());
    }
    Err(no_uid(policy, usage.held_uids))
}

/// No user id is free, while so many belong to what is still being removed.
pub(crate) fn no_uid(policy: &config::Supervisor, held: usize) -> Refusal {
    let all = policy.uid_count;
    match u32::try_from(held).unwrap_or(u32::MAX) {
        0 => Refusal::TooManyProcesses {
            max: all,
            scarce: policy.scarce,
        },
        held => Refusal::UserIdsHeld { held, all },
    }
}

fn check_terminals(usage: &Usage, input: Input) -> Result<(), Refusal> {
    let is_full = usize::try_from(TERMINALS_MAX).is_ok_and(|max| usage.terminals >= max);
    match input {
        Input::Terminal(_) if is_full => Err(Refusal::TooManyProcesses {
            max: TERMINALS_MAX,
            scarce: Scarce::Terminals,
        }),
        Input::Nothing | Input::Pipe | Input::Terminal(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::spec;
    use prn_ipc_protocol::message::{Keeping, OutputStore, TerminalSize};
    use prn_ipc_protocol::policy::{Policy, Principal, Program, Programs, Reach, Role, Verb};
    use prn_ipc_protocol::types::{AccessName, Paths, UserName};
    use std::collections::BTreeSet;
    use std::ffi::CStr;

    const MIB: u64 = 1 << 20;

    fn set(limits: &[(LimitName, u64)]) -> Limits {
        limits.iter().copied().collect()
    }

    fn policy() -> config::Supervisor {
        config::Supervisor {
            epoch: prn_ipc_protocol::types::Id::from_bytes([0; 16]),
            address: String::new(),
            state_dir: c"/state".into(),
            allow_missing_limits: false,
            disks: Vec::new(),
            frontend_uid: 1,
            frontend_gid: 1,
            first_uid: 100,
            uid_count: 5,
            scarce: Scarce::Descriptors,
            finished_max: 2,
            finished_age: None,
            limit_ceilings: set(&[(LimitName::Memory, 1000), (LimitName::Pids, 10)]),
            output: [(
                OutputStore::Memory,
                config::StoreLimits {
                    ceiling: MIB,
                    budget: 64 * MIB,
                },
            )]
            .into(),
            open_files: config::OpenFiles { soft: 1, hard: 1 },
            notify: false,
            watchdog: None,
            log: prn_ipc_protocol::lines::Style::default(),
            own_cgroup: None,
            users: Default::default(),
            workspaces: config::Workspaces {
                max: 2,
                disk_max: None,
                has_quota: false,
            },
            bindable: vec![config::Bindable {
                path: c"/data".into(),
                device: 1,
                inode: 2,
                is_writable: true,
            }],
            confinement: config::Confinement {
                default: layers(),
                strict: Some(layers()),
                ..config::Confinement::default()
            },
            policy: Policy::default(),
            fixed: Default::default(),
            audit: None,
        }
    }

    /// With namespaces, and nothing else.
    fn layers() -> config::Layers {
        config::Layers {
            namespaces: Some(config::Namespaces {
                flags: 0,
                accounts: None,
                mounts: Vec::new(),
                uncovered: None,
            }),
            ..config::Layers::default()
        }
    }

    fn hidden() -> Paths {
        vec![PathRule::Hidden(c"/a".into())].try_into().unwrap()
    }

    fn bound(source: &CStr) -> Paths {
        let rules = vec![
            PathRule::Hidden(c"/a".into()),
            PathRule::Bound {
                source: source.to_owned(),
                target: c"/b".into(),
            },
        ];
        rules.try_into().unwrap()
    }

    const NAMESAKE: ProcessId = ProcessId::from_bytes([9; 16]);

    const IDLE: Usage = Usage {
        is_draining: false,
        arguments: 0,
        reservable: 32 * MIB,
        free_uids: 5,
        held_uids: 0,
        terminals: 0,
        namesake: None,
        kept: Kept { count: 0, bytes: 0 },
        now: UnixMicros(1000),
    };

    /// What comes of an ordinary start after these changes.
    fn outcome(
        change: impl FnOnce(&mut config::Supervisor, &mut Usage, &mut StartSpec),
    ) -> Result<Admitted, Refusal> {
        let (mut policy, mut usage, mut spec) = (policy(), IDLE, spec(&["true"]));
        change(&mut policy, &mut usage, &mut spec);
        admit(&policy, &usage, None, &spec)
    }

    fn keeping(max: u64, overflow: Overflow, store: OutputStore) -> Keeping {
        Keeping {
            max,
            overflow,
            store,
        }
    }

    #[test]
    fn an_ordinary_start_gets_the_ceilings_and_nothing_set_aside() {
        let admitted = outcome(|_, _, _| {}).unwrap();
        assert_eq!(admitted.limits, policy().limit_ceilings);
        assert_eq!(admitted.reserved, 0);
        assert_eq!(admitted.execution.candidates.len(), 6);
    }

    /// Somebody may start `/bin/true` alone, with a little memory.
    fn ruled() -> config::Supervisor {
        let role = Role {
            verbs: [Verb::Start].into(),
            reach: Reach::Own,
            hours: Vec::new(),
            programs: Programs::Ruled {
                rules: vec![Program {
                    path: c"/bin/true".into(),
                    words: Vec::new(),
                    is_beginning: false,
                }],
                variables: BTreeSet::new(),
            },
            profile: Profile::Default,
            users: BTreeSet::new(),
            ceilings: set(&[(LimitName::Memory, 500), (LimitName::Pids, 20)]),
            defaults: Limits::default(),
            processes_max: Some(1),
            output_max: None,
        };
        let principal = Principal {
            role: access_name("r"),
            group: None,
            not_after: None,
            must_sign: false,
        };
        config::Supervisor {
            policy: Policy {
                principals: [(access_name("me"), principal)].into(),
                roles: [(access_name("r"), role)].into(),
                ..Policy::default()
            },
            ..policy()
        }
    }

    fn use_user(policy: &mut config::Supervisor, spec: &mut StartSpec) {
        let name: UserName = "deploy".to_owned().try_into().unwrap();
        let user = config::User {
            uid: 1001,
            gid: 1002,
            groups: vec![1002],
        };
        policy.users = [(name.clone(), user)].into();
        spec.process.user = Some(name);
    }

    fn access_name(text: &str) -> AccessName {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn s6_what_somebody_starts_is_held_to_their_role_and_to_the_server() {
        let (policy, me) = (ruled(), access_name("me"));
        let admit_for = |argv: &[&str], limits: &[(LimitName, u64)], processes| {
            let starter = Starter {
                principal: &me,
                processes,
                now: IDLE.now,
            };
            let mut spec = spec(argv);
            spec.process.limits = set(limits);
            admit(&policy, &IDLE, Some(starter), &spec)
        };
        let admitted = admit_for(&["true"], &[], 0).unwrap();
        assert_eq!(admitted.rule, Some(0));
        assert_eq!(admitted.execution.candidates, [c"/bin/true".to_owned()]);
        // Of each limit the lower ceiling is in force.
        let expected = set(&[(LimitName::Memory, 500), (LimitName::Pids, 10)]);
        assert_eq!(admitted.limits, expected);
        let above = |limit, ceiling| Err(Refusal::AboveCeiling { limit, ceiling });
        for (argv, limit, processes, expected) in [
            (["true"], (LimitName::Memory, 500), 0, Ok(())),
            (
                ["true"],
                (LimitName::Memory, 501),
                0,
                above(LimitName::Memory, 500),
            ),
            (
                ["true"],
                (LimitName::Pids, 11),
                0,
                above(LimitName::Pids, 10),
            ),
            (
                ["false"],
                (LimitName::Pids, 1),
                0,
                Err(Refusal::Denied(Denial::Program)),
            ),
            (
                ["true"],
                (LimitName::Pids, 1),
                1,
                Err(Refusal::Denied(Denial::Processes(1))),
            ),
        ] {
            let found = admit_for(&argv, &[limit], processes).map(|_| ());
            assert_eq!(found, expected, "{argv:?} {limit:?}");
        }
    }

    #[test]
    fn each_refusal_has_its_reason_and_begins_right_beyond_what_is_allowed() {
        type Change = fn(&mut config::Supervisor, &mut Usage, &mut StartSpec);
        let cases: [(&str, Change, Result<(), Refusal>); 37] = [
            (
                "draining",
                |_, usage, _| usage.is_draining = true,
                Err(Refusal::Draining),
            ),
            (
                "a user that the server may use",
                |policy, _, spec| use_user(policy, spec),
                Ok(()),
            ),
            (
                "one that it may not",
                |policy, _, spec| {
                    use_user(policy, spec);
                    policy.users.clear();
                },
                Err(Refusal::Denied(Denial::User)),
            ),
            (
                "one in a workspace",
                |policy, _, spec| {
                    use_user(policy, spec);
                    spec.process.workspace = Some("w".to_owned().try_into().unwrap());
                },
                Err(Refusal::UserInWorkspace),
            ),
            (
                "profile none",
                |_, _, spec| spec.process.profile = Profile::None,
                Err(Refusal::Unconfined),
            ),
            (
                "profile none, allowed",
                |policy, _, spec| {
                    policy.confinement.allow_none = true;
                    spec.process.profile = Profile::None;
                },
                Ok(()),
            ),
            (
                "profile strict",
                |_, _, spec| spec.process.profile = Profile::Strict,
                Ok(()),
            ),
            (
                "profile strict, where the host cannot enforce it",
                |policy, _, spec| {
                    policy.confinement.strict = None;
                    spec.process.profile = Profile::Strict;
                },
                Err(Refusal::StrictUnavailable),
            ),
            ("paths", |_, _, spec| spec.process.paths = hidden(), Ok(())),
            (
                "paths under profile none",
                |policy, _, spec| {
                    policy.confinement.allow_none = true;
                    spec.process.profile = Profile::None;
                    spec.process.paths = hidden();
                },
                Err(Refusal::PathsUnavailable),
            ),
            (
                "paths without namespaces",
                |policy, _, spec| {
                    policy.confinement.default.namespaces = None;
                    spec.process.paths = hidden();
                },
                Err(Refusal::PathsUnavailable),
            ),
            (
                "no paths without namespaces",
                |policy, _, _| policy.confinement.default.namespaces = None,
                Ok(()),
            ),
            (
                "what may be bound",
                |_, _, spec| spec.process.paths = bound(c"/data"),
                Ok(()),
            ),
            (
                "what is below what may be bound",
                |_, _, spec| spec.process.paths = bound(c"/data/a"),
                Err(Refusal::NotBindable(1)),
            ),
            (
                "what is beside what may be bound",
                |_, _, spec| spec.process.paths = bound(c"/data/../a"),
                Err(Refusal::NotBindable(1)),
            ),
            (
                "paths count as arguments do",
                |_, usage, spec| {
                    usage.arguments = ARGUMENTS_MAX - 68;
                    spec.process.paths = hidden();
                },
                Err(Refusal::ArgumentsAboveBudget(68)),
            ),
            // "true" counts for 4 bytes and 64.
            (
                "the last arguments",
                |_, usage, _| usage.arguments = ARGUMENTS_MAX - 68,
                Ok(()),
            ),
            (
                "one byte of arguments more",
                |_, usage, _| usage.arguments = ARGUMENTS_MAX - 67,
                Err(Refusal::ArgumentsAboveBudget(67)),
            ),
            (
                "more arguments than there should be",
                |_, usage, _| usage.arguments = ARGUMENTS_MAX + 1,
                Err(Refusal::ArgumentsAboveBudget(0)),
            ),
            (
                "output at the ceiling",
                |_, _, spec| spec.process.output.max = MIB,
                Ok(()),
            ),
            (
                "output above the ceiling",
                |_, _, spec| spec.process.output.max = MIB + 1,
                Err(Refusal::OutputAboveCeiling(MIB)),
            ),
            (
                "a store that there is not",
                |_, _, spec| {
                    spec.process.output = keeping(0, Overflow::DropOldest, OutputStore::Disk)
                },
                Err(Refusal::OutputAboveCeiling(0)),
            ),
            (
                "a store without a budget",
                |policy, _, _| {
                    policy.output.insert(
                        OutputStore::Memory,
                        config::StoreLimits {
                            ceiling: MIB,
                            budget: 0,
                        },
                    );
                },
                Err(Refusal::OutputAboveCeiling(MIB)),
            ),
            (
                "no room to set aside, and none needed",
                |_, usage, _| usage.reservable = 0,
                Ok(()),
            ),
            (
                "a follower's output is not set aside",
                |_, usage, spec| {
                    usage.reservable = 0;
                    spec.process.output.overflow = Overflow::Follow(1.try_into().unwrap());
                },
                Ok(()),
            ),
            (
                "room for what is set aside",
                |_, usage, spec| {
                    spec.process.output.overflow = Overflow::Wait;
                    usage.reservable = Store::most(spec.process.output);
                },
                Ok(()),
            ),
            (
                "a byte too little for what is set aside",
                |_, usage, spec| {
                    spec.process.output.overflow = Overflow::Kill;
                    usage.reservable = 7;
                },
                Err(Refusal::OutputAboveBudget(7)),
            ),
            (
                "a limit at the ceiling",
                |_, _, spec| spec.process.limits = set(&[(LimitName::Memory, 1000)]),
                Ok(()),
            ),
            (
                "a limit above the ceiling",
                |_, _, spec| spec.process.limits = set(&[(LimitName::Pids, 11)]),
                Err(Refusal::AboveCeiling {
                    limit: LimitName::Pids,
                    ceiling: 10,
                }),
            ),
            (
                "a limit without a ceiling",
                |_, _, spec| spec.process.limits = set(&[(LimitName::Cpu, u64::MAX)]),
                Ok(()),
            ),
            (
                "a search path without end",
                |_, _, spec| {
                    spec.variables = vec![
                        std::ffi::CString::new(format!("PATH={}", ":".repeat(40_000))).unwrap(),
                    ]
                },
                Err(Refusal::SearchPathAbove(
                    prn_ipc_protocol::search::CANDIDATES_MAX,
                )),
            ),
            (
                "the last user id",
                |_, usage, _| usage.free_uids = 1,
                Ok(()),
            ),
            (
                "all user ids are taken",
                |_, usage, _| usage.free_uids = 0,
                Err(Refusal::TooManyProcesses {
                    max: 5,
                    scarce: Scarce::Descriptors,
                }),
            ),
            (
                "some of them by what is left on disk",
                |_, usage, _| (usage.free_uids, usage.held_uids) = (0, 2),
                Err(Refusal::UserIdsHeld { held: 2, all: 5 }),
            ),
            (
                "another one has the name",
                |_, usage, _| usage.namesake = Some(NAMESAKE),
                Err(Refusal::NameTaken(NAMESAKE)),
            ),
            (
                "its time has come",
                |_, _, spec| spec.process.deadline = Some(UnixMicros(1000)),
                Err(Refusal::DeadlinePassed),
            ),
            (
                "its time has not come",
                |_, _, spec| spec.process.deadline = Some(UnixMicros(1001)),
                Ok(()),
            ),
        ];
        for (name, change, expected) in cases {
            assert_eq!(outcome(change).map(|_| ()), expected, "{name}");
        }
    }

    #[test]
    fn terminals_are_as_many_as_leave_the_machine_enough() {
        let with = |terminals, input| {
            outcome(|_, usage, spec| {
                usage.terminals = terminals;
                spec.process.input = input;
            })
        };
        let terminal = Input::Terminal(TerminalSize {
            rows: 24,
            columns: 80,
        });
        assert!(with(1023, terminal).is_ok());
        let full = Refusal::TooManyProcesses {
            max: 1024,
            scarce: Scarce::Terminals,
        };
        assert_eq!(with(1024, terminal), Err(full));
        assert!(with(1024, Input::Pipe).is_ok() && with(1024, Input::Nothing).is_ok());
    }

    #[test]
    fn half_of_what_is_remembered_can_be_kept() {
        let with = |count, bytes, is_kept| {
            outcome(|policy, usage, spec| {
                policy.finished_max = 10;
                usage.kept = Kept { count, bytes };
                spec.process.retention.is_kept = is_kept;
            })
        };
        let full = Err(Refusal::TooManyKept { max: 10 });
        let size = spec(&["true"]).process.size();
        let most = KEPT_BYTES_MAX - size;
        assert!(with(4, most, true).is_ok());
        assert_eq!(with(5, 0, true), full);
        assert_eq!(with(0, most + 1, true), full);
        assert!(with(5, most + 1, false).is_ok());
    }

    #[test]
    fn what_is_kept_is_set_aside_whole() {
        let keeping = keeping(MIB, Overflow::DropOldest, OutputStore::Memory);
        let reserved = |is_kept| {
            let admitted = outcome(|_, _, spec| {
                spec.process.output = keeping;
                spec.process.retention.is_kept = is_kept;
            });
            admitted.map(|admitted| admitted.reserved)
        };
        assert_eq!(reserved(false), Ok(0));
        assert_eq!(reserved(true), Ok(Store::most(keeping)));
    }

    #[test]
    fn what_may_not_be_dropped_is_set_aside_whole() {
        for overflow in [Overflow::Wait, Overflow::Kill] {
            let keeping = keeping(MIB, overflow, OutputStore::Memory);
            let admitted = outcome(|_, _, spec| spec.process.output = keeping).unwrap();
            assert_eq!(admitted.reserved, Store::most(keeping));
            let refused = outcome(|_, usage, spec| {
                spec.process.output = keeping;
                usage.reservable = Store::most(keeping) - 1;
            });
            let left = Store::most(keeping) - 1;
            assert_eq!(refused, Err(Refusal::OutputAboveBudget(left)));
        }
    }

    #[test]
    fn limits_are_what_is_asked_for_and_the_ceilings_where_nothing_is() {
        let ceilings = set(&[(LimitName::Memory, 1000), (LimitName::Pids, 10)]);
        for (asked, given) in [
            (
                vec![],
                vec![(LimitName::Memory, 1000), (LimitName::Pids, 10)],
            ),
            (
                vec![(LimitName::Memory, 1)],
                vec![(LimitName::Memory, 1), (LimitName::Pids, 10)],
            ),
            (
                vec![(LimitName::Cpu, 5), (LimitName::Pids, 10)],
                vec![
                    (LimitName::Cpu, 5),
                    (LimitName::Memory, 1000),
                    (LimitName::Pids, 10),
                ],
            ),
        ] {
            let asked = set(&asked);
            let given = set(&given);
            assert_eq!(limits(&ceilings, &asked), Ok(given), "{asked:?}");
        }
    }
}
