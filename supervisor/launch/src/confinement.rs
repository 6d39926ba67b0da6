//! How the supervisor and processes are confined, made from tables by `prn server start`.
//!
//! Runs as root before the supervisor is executed. The supervisor and what runs as a process's user
//! get programs and rules that they install without looking at them: they hold neither the tables
//! nor a compiler.

mod calls;
mod files;
mod namespaces;
mod program;
#[cfg(test)]
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landlock::ABI;
use nix::errno::Errno;
use prn_ipc_protocol::config::{Confinement, Filter, Layers};

use calls::{Group, Special};
use namespaces::Places;
pub use namespaces::{Refused, mount_points};
pub use program::TooLong;
use program::{Answer, Policy, Rule, Verdict};

use crate::host::Host;

/// Why no confinement could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfinementError {
    /// A filter is too long.
    #[error("the system call filters cannot be compiled")]
    Filter(#[from] TooLong),
}

/// What this host offers to confine processes with.
#[derive(Debug)]
pub struct Offer {
    /// Its kernel has filters of system calls.
    pub seccomp: bool,
    /// The version of its Landlock.
    pub landlock: ABI,
    /// Namespaces work.
    pub namespaces: Result<Places, Refused>,
}

impl Offer {
    /// Asks the kernel, and tries what it cannot be asked for. `hidden` are directories that no
    /// process is to see.
    pub fn survey(host: &Host, state_dir: &Path, hidden: Vec<PathBuf>) -> Self {
        let places = Places::survey(host, state_dir, hidden);
        // All that there is for any process.
        let whole = places.process(true, None);
        let has_sys_admin = namespaces::has_sys_admin(host.capabilities);
        Self {
            seccomp: host.seccomp,
            landlock: files::abi(),
            namespaces: namespaces::attempt(&whole, state_dir, has_sys_admin).map(|()| places),
        }
    }

    /// What profile strict lacks: it is all of them or none.
    pub fn missing_for_strict(&self) -> Vec<&'static str> {
        let layers = [
            (self.namespaces.is_ok(), "namespaces"),
            (self.landlock != ABI::Unsupported, "Landlock"),
            (self.seccomp, "system call filters"),
        ];
        let missing = layers.into_iter().filter(|(there, _)| !there);
        missing.map(|(_, name)| name).collect()
    }
}

/// What the server is for, beside what each is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Uses {
    /// Clients may ask for profile none.
    pub profile_none: bool,
    /// The supervisor bounds workspaces by quotas.
    pub quotas: bool,
}

/// What confines the supervisor and all that it starts, as far as this host can enforce it.
///
/// # Errors
/// Only where the tables are at fault.
pub fn resolve(offer: &Offer, uses: Uses) -> Result<Confinement, ConfinementError> {
    let filters = |policy: Policy| -> Result<Vec<Filter>, TooLong> {
        let compile = || Ok(program::encode(&program::compile(&policy)?));
        offer.seccomp.then(compile).into_iter().collect()
    };
    let places = offer.namespaces.as_ref().ok();
    let (default, strict) = (
        files::default(offer.landlock),
        files::strict(offer.landlock),
    );
    let strict = Layers {
        namespaces: places.map(|places| places.process(true, strict.as_ref())),
        landlock: strict,
        filters: filters(strict_policy())?,
    };
    Ok(Confinement {
        own: filters(own_policy(Makes {
            namespaces: places.is_some(),
            quotas: uses.quotas,
        }))?,
        frontend: Layers {
            namespaces: places.map(|_| Places::frontend()),
            ..Layers::default()
        },
        default: Layers {
            namespaces: places.map(|places| places.process(false, default.as_ref())),
            landlock: default,
            filters: filters(default_policy(places.is_some()))?,
        },
        strict: offer.missing_for_strict().is_empty().then_some(strict),
        allow_none: uses.profile_none,
    })
}

/// What the supervisor makes on this host.
#[derive(Debug, Clone, Copy)]
struct Makes {
    namespaces: bool,
    quotas: bool,
}

/// The filter of the supervisor and all that it starts.
fn own_policy(makes: Makes) -> Policy {
    let mut listed = BTreeMap::new();
    list(&mut listed, calls::ALLOWED, Answer::Allow);
    list_specials(&mut listed, calls::ALLOWED_PARTLY);
    if !makes.namespaces {
        list_specials(&mut listed, calls::WITHOUT_NAMESPACES);
    }
    list(&mut listed, calls::REFUSED, Answer::Fail(Errno::EPERM));
    if makes.quotas {
        list_specials(&mut listed, calls::WITH_QUOTAS);
    }
    let others = [
        (0, Answer::Fail(Errno::EPERM)),
        (
            number(calls::HIGHEST).saturating_add(1),
            Answer::Fail(Errno::ENOSYS),
        ),
        // x32's calls have this bit (x32 ABI, asm/unistd.h): the same calls by numbers that no
        // table lists.
        (0x4000_0000, Answer::Kill),
        // What a tracer makes of a call that is not to be made (ptrace(2)).
        (u32::MAX, Answer::Fail(Errno::ENOSYS)),
    ];
    Policy {
        listed,
        others: others.into(),
    }
}

/// What profile default takes away from that. `has_namespaces` says whether objects between
/// processes are its own.
fn default_policy(has_namespaces: bool) -> Policy {
    let mut listed = default_list();
    if !has_namespaces {
        list(
            &mut listed,
            calls::SHARED_REFUSED,
            Answer::Fail(Errno::EPERM),
        );
    }
    Policy {
        listed,
        others: [(0, Answer::Allow)].into(),
    }
}

/// What profile strict takes away from it.
fn strict_policy() -> Policy {
    let mut listed = default_list();
    list(
        &mut listed,
        calls::STRICT_REFUSED,
        Answer::Fail(Errno::EPERM),
    );
    list_specials(&mut listed, calls::STRICT_PARTLY);
    Policy {
        listed,
        others: [(0, Answer::Allow)].into(),
    }
}

fn default_list() -> BTreeMap<u32, Verdict> {
    let mut listed = BTreeMap::new();
    list(
        &mut listed,
        calls::DEFAULT_REFUSED,
        Answer::Fail(Errno::EPERM),
    );
    list_specials(&mut listed, calls::DEFAULT_PARTLY);
    listed
}

fn list(listed: &mut BTreeMap<u32, Verdict>, groups: &[Group], answer: Answer) {
    let calls = groups.iter().flat_map(|group| group.calls);
    listed.extend(calls.map(|(_, call)| (number(*call), Verdict::Always(answer))));
}

fn list_specials(listed: &mut BTreeMap<u32, Verdict>, specials: &[Special]) {
    for Special {
        call: (_, call),
        rule,
        ..
    } in specials
    {
        let verdict = match rule {
            Rule {
                allowed: [],
                refused: [],
                otherwise,
            } => Verdict::Always(*otherwise),
            rule => Verdict::By(*rule),
        };
        listed.insert(number(*call), verdict);
    }
}

/// As the kernel hands it to a filter. Tables hold no negative numbers (a test).
fn number(call: nix::libc::c_long) -> u32 {
    u32::try_from(call).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nix::libc::{self, c_int};
    use nix::mount::MsFlags;
    use prn_ipc_protocol::config::{Mount, Source};
    use seccompiler::sock_filter;

    use super::calls::*;
    use super::program::tests::ask;
    use super::*;

    fn own_filter() -> Result<Vec<sock_filter>, TooLong> {
        program::compile(&own_policy(Makes {
            namespaces: true,
            quotas: false,
        }))
    }

    fn default_filter() -> Result<Vec<sock_filter>, TooLong> {
        program::compile(&default_policy(true))
    }

    fn strict_filter() -> Result<Vec<sock_filter>, TooLong> {
        program::compile(&strict_policy())
    }

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const ENOSYS: u32 = 0x0005_0026;
    const EAFNOSUPPORT: u32 = 0x0005_0061;
    const KILL: u32 = 0x8000_0000;

    fn calls_of<'a>(
        groups: &'a [Group],
        specials: &'a [Special],
    ) -> impl Iterator<Item = Call> + 'a {
        groups
            .iter()
            .flat_map(|group| group.calls)
            .copied()
            .chain(specials.iter().map(|special| special.call))
    }

    fn named(name: &str) -> u32 {
        let mut all = calls_of(ALLOWED, ALLOWED_PARTLY).chain(calls_of(REFUSED, &[]));
        number(
            all.find(|(known, _)| known.strip_prefix("SYS_") == Some(name))
                .expect(name)
                .1,
        )
    }

    #[test]
    fn each_call_is_listed_once_by_its_own_number() {
        let mut seen = BTreeMap::new();
        for (name, call) in calls_of(ALLOWED, ALLOWED_PARTLY).chain(calls_of(REFUSED, &[])) {
            assert!((0..=HIGHEST).contains(&call), "{name}");
            assert_eq!(seen.insert(call, name), None, "{name}");
        }
        for (groups, specials) in [
            (DEFAULT_REFUSED, DEFAULT_PARTLY),
            (STRICT_REFUSED, STRICT_PARTLY),
        ] {
            let mut seen = BTreeMap::new();
            for (name, call) in calls_of(groups, specials) {
                assert_eq!(seen.insert(call, name), None, "{name}");
                // It can only take away what there is.
                assert!(
                    calls_of(ALLOWED, ALLOWED_PARTLY)
                        .chain(calls_of(&[], WITH_QUOTAS))
                        .any(|known| known == (name, call)),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn every_call_of_this_machine_is_allowed_or_refused_by_name() {
        let header = if cfg!(target_arch = "x86_64") {
            "x86_64-linux-gnu/asm/unistd_64.h"
        } else {
            "asm-generic/unistd.h"
        };
        let Ok(text) = std::fs::read_to_string(format!("/usr/include/{header}")) else {
            println!("skipped: no kernel headers here");
            return;
        };
        let known: BTreeMap<_, _> = calls_of(ALLOWED, ALLOWED_PARTLY)
            .chain(calls_of(REFUSED, &[]))
            .map(|(name, call)| (call, name))
            .collect();
        let mut looked_at = 0;
        for line in text.lines() {
            let mut words = line
                .strip_prefix("#define __NR_")
                .unwrap_or_default()
                .split_whitespace();
            let (Some(name), Some(Ok(call))) = (words.next(), words.next().map(str::parse)) else {
                continue;
            };
            // Numbers that an architecture may use, and calls of x86_64 that no kernel has made
            // since 2.6.
            if matches!(name, "syscalls" | "arch_specific_syscall")
                || matches!(name, "create_module" | "get_kernel_syms" | "query_module")
                || call > HIGHEST
            {
                continue;
            }
            assert!(known.contains_key(&call), "{name} {call}");
            looked_at += 1;
        }
        assert!(looked_at > 200, "{looked_at}");
    }

    #[test]
    fn s1_the_own_filter_answers_as_its_tables_say() {
        let filter = own_filter().unwrap();
        let allowed: BTreeMap<_, _> = calls_of(ALLOWED, ALLOWED_PARTLY)
            .map(|(name, call)| (number(call), name))
            .collect();
        for call in 0..=number(HIGHEST) {
            // As one of a process's is made; the test of its flags is another one.
            let arguments = if call == named("mount") {
                [0, 0, 0, MsFlags::MS_BIND.bits(), 0, 0]
            } else {
                [0; 6]
            };
            let wanted = if allowed.contains_key(&call) {
                ALLOW
            } else {
                EPERM
            };
            assert_eq!(ask(&filter, call, arguments), wanted, "{call}");
        }
        for unknown in [number(HIGHEST) + 1, 600, 0x3fff_ffff, u32::MAX] {
            assert_eq!(ask(&filter, unknown, [0; 6]), ENOSYS, "{unknown:#x}");
        }
        for x32 in [
            0x4000_0000,
            0x4000_0000 + 39,
            0x4000_0200 + 30,
            0x8000_0000,
            u32::MAX - 1,
        ] {
            assert_eq!(ask(&filter, x32, [0; 6]), KILL, "{x32:#x}");
        }
        let ioctl = |request: u64| ask(&filter, named("ioctl"), [0, request, 0, 0, 0, 0]);
        assert_eq!((ioctl(0x5401), ioctl(0x5413)), (ALLOW, ALLOW));
        // TIOCSTI, also with a high half that the kernel does not look at (CVE-2019-10063).
        assert_eq!(
            (ioctl(0x5412), ioctl(0xdead_0000_5412), ioctl(0x541c)),
            (EPERM, EPERM, EPERM)
        );
    }

    #[test]
    fn j10_a_process_gets_no_namespace_no_mount_and_no_rare_socket() {
        let filter = default_filter().unwrap();
        let with = |name, arguments: [u64; 3]| {
            let [a, b, c] = arguments;
            ask(&filter, named(name), [a, b, c, 0, 0, 0])
        };
        for refused in ["mount", "chroot"] {
            assert_eq!(with(refused, [0; 3]), EPERM, "{refused}");
        }
        let shared = program::compile(&default_policy(false)).unwrap();
        for object in ["shmget", "semop", "msgrcv", "mq_open"] {
            let refused = ask(&shared, named(object), [0; 6]);
            assert_eq!((with(object, [0; 3]), refused), (ALLOW, EPERM), "{object}");
        }
        assert_eq!(with("clone3", [0; 3]), ENOSYS);
        // A thread and a process, as C libraries make them; then each namespace.
        assert_eq!(
            (
                with("clone", [0x003d_0f00, 0, 0]),
                with("clone", [0x0120_0011, 0, 0])
            ),
            (ALLOW, ALLOW)
        );
        for namespace in [
            0x0002_0000,
            0x0200_0000,
            0x0400_0000,
            0x0800_0000,
            0x1000_0000,
            0x2000_0000,
            0x4000_0000u64,
        ] {
            assert_eq!(
                with("clone", [namespace | 17, 0, 0]),
                EPERM,
                "{namespace:#x}"
            );
            assert_eq!(with("unshare", [namespace, 0, 0]), EPERM, "{namespace:#x}");
        }
        assert_eq!(
            (
                with("unshare", [0x80, 0, 0]),
                with("unshare", [0x200, 0, 0])
            ),
            (EPERM, ALLOW)
        );
        for family in 0..64 {
            let wanted = if matches!(family, 1 | 2 | 10 | 16) {
                ALLOW
            } else {
                EAFNOSUPPORT
            };
            assert_eq!(with("socket", [family, 2, 0]), wanted, "{family}");
        }
        assert_eq!(
            (with("socket", [2, 1, 6]), with("socket", [16, 3, 15])),
            (ALLOW, EAFNOSUPPORT)
        );
        for (persona, wanted) in [
            (0, ALLOW),
            (0xffff_ffff, ALLOW),
            (0x4_0000, ALLOW),
            (0x2_0008, ALLOW),
            (0x40_0000, EPERM),
        ] {
            assert_eq!(with("personality", [persona, 0, 0]), wanted, "{persona:#x}");
        }
        assert_eq!(
            (
                with("ptrace", [0; 3]),
                with("execve", [0; 3]),
                with("io_setup", [0; 3])
            ),
            (ALLOW, ALLOW, ALLOW)
        );
    }

    #[test]
    fn x14_sockets_and_pairs_are_of_a_listed_family_type_and_protocol() {
        const LISTED: &[(u64, u64, &[u64])] = &[
            (1, 1, &[0, 1]),
            (1, 2, &[0, 1]),
            (1, 5, &[0, 1]),
            (2, 1, &[0, 6]),
            (2, 2, &[0, 1, 17]),
            (10, 1, &[0, 6]),
            (10, 2, &[0, 17, 58]),
            (16, 2, &[0]),
            (16, 3, &[0]),
        ];
        let (default, strict) = (default_filter().unwrap(), strict_filter().unwrap());
        let listed = |family, kind, protocol: u64| {
            LISTED
                .iter()
                .any(|(f, k, p)| (*f, *k) == (family, kind) && p.contains(&protocol))
        };
        let answers = |call, arguments| {
            let number = named(call);
            [&default, &strict].map(|filter| ask(filter, number, arguments) == ALLOW)
        };
        // Flags, and halves that the kernel does not look at.
        let (flags, wide) = (0x8_0800, 0xdead_0000_0000);
        for (family, kind) in (0..64).flat_map(|family| (0..16).map(move |kind| (family, kind))) {
            for protocol in (0..60).chain([115, 132, 136, 255, 256, 262, 0xffff_ffff]) {
                let is_listed = listed(family, kind, protocol);
                let local = is_listed && family == 1;
                for arguments in [
                    [family, kind, protocol, 0, 0, 0],
                    [family | wide, kind | flags, protocol | wide, 0, 0, 0],
                ] {
                    assert_eq!(answers("socket", arguments), [is_listed, local]);
                    assert_eq!(answers("socketpair", arguments), [local, local]);
                }
            }
        }
        // Another flag than the two that there are.
        assert_eq!(answers("socket", [2, 0x4001, 0, 0, 0, 0]), [false, false]);
        let errors = [
            [2, 1, 262],
            [2, 2, 136],
            [2, 5, 132],
            [2, 3, 255],
            [40, 1, 0],
        ]
        .map(|[a, b, c]| ask(&default, named("socket"), [a, b, c, 0, 0, 0]));
        let protocol = 0x0005_005d;
        assert_eq!(errors, [protocol, protocol, protocol, EPERM, EAFNOSUPPORT]);
    }

    #[test]
    fn x14_no_option_makes_a_socket_one_of_another_protocol() {
        let filter = default_filter().unwrap();
        let set = |level, option| ask(&filter, named("setsockopt"), [3, level, option, 0, 0, 0]);
        // TCP_ULP and UDP_ENCAP; then the same numbers at other levels.
        let refused = 0x0005_005c;
        assert_eq!((set(6, 31), set(17, 100)), (refused, refused));
        assert_eq!(
            (set(1, 31), set(0, 31), set(41, 100)),
            (ALLOW, ALLOW, ALLOW)
        );
        assert_eq!((set(6, 1), set(17, 103)), (ALLOW, ALLOW));
    }

    #[test]
    fn strict_refuses_what_default_does_and_the_network_and_the_memory_of_others() {
        let (strict, default) = (strict_filter().unwrap(), default_filter().unwrap());
        for call in 0..=number(HIGHEST) {
            if ask(&default, call, [u64::from(u32::MAX); 6]) != ALLOW {
                let strict = ask(&strict, call, [u64::from(u32::MAX); 6]);
                assert_ne!(strict, ALLOW, "{call}");
            }
        }
        for refused in [
            "ptrace",
            "process_vm_readv",
            "process_vm_writev",
            "pidfd_getfd",
            "mount",
        ] {
            assert_eq!(ask(&strict, named(refused), [0; 6]), EPERM, "{refused}");
        }
        let socket = |family| ask(&strict, named("socket"), [family, 1, 0, 0, 0, 0]);
        assert_eq!(
            (socket(1), socket(2), socket(10), socket(16)),
            (ALLOW, EAFNOSUPPORT, EAFNOSUPPORT, EAFNOSUPPORT)
        );
        assert_eq!(ask(&strict, named("shmget"), [0; 6]), ALLOW);
    }

    #[test]
    fn what_the_supervisor_and_its_children_do_before_a_program_is_allowed() {
        let filter = own_filter().unwrap();
        for call in [
            "clone3",
            "close_range",
            "setsid",
            "dup3",
            "setgroups",
            "setresgid",
            "setresuid",
            "setfsuid",
            "setfsgid",
            "prctl",
            "prlimit64",
            "getppid",
            "chdir",
            "umask",
            "rt_sigaction",
            "rt_sigprocmask",
            "execve",
            "execveat",
            "waitid",
            "pidfd_open",
            "pidfd_send_signal",
            "signalfd4",
            "epoll_create1",
            "epoll_ctl",
            "epoll_pwait2",
            "readv",
            "memfd_create",
            "fallocate",
            "ftruncate",
            "fchmod",
            "fchownat",
            "mkdirat",
            "unlinkat",
            "openat",
            "openat2",
            "getdents64",
            "sendmsg",
            "recvmsg",
            "socketpair",
            "pipe2",
            "fcntl",
            "flock",
            "madvise",
            "mmap",
            "unshare",
            "chroot",
            "fchdir",
            "capget",
            "capset",
            "seccomp",
            "landlock_create_ruleset",
            "landlock_add_rule",
            "landlock_restrict_self",
            "accept4",
            "setsockopt",
            "getrandom",
            "sched_getaffinity",
        ] {
            assert_eq!(ask(&filter, named(call), [0; 6]), ALLOW, "{call}");
        }
    }

    #[test]
    fn s1_where_nothing_makes_namespaces_only_the_frontend_may_make_its_own() {
        let makes = Makes {
            namespaces: false,
            quotas: false,
        };
        let filter = program::compile(&own_policy(makes)).unwrap();
        let unshare = |flags: c_int| ask(&filter, named("unshare"), [bits(flags), 0, 0, 0, 0, 0]);
        let frontend = Places::frontend().flags;
        let answers = [
            frontend,
            namespaces::DEFAULT,
            libc::CLONE_NEWUSER | frontend,
            0,
        ];
        assert_eq!(answers.map(unshare), [EPERM, EPERM, ALLOW, ALLOW]);
        let bind = [0, 0, 0, MsFlags::MS_BIND.bits(), 0, 0];
        assert_eq!(ask(&filter, named("mount"), bind), EPERM);
    }

    #[test]
    fn s1_quotas_are_set_where_there_are_any_by_the_supervisor_alone() {
        let answers = |quotas| {
            let makes = Makes {
                namespaces: true,
                quotas,
            };
            let filter = program::compile(&own_policy(makes)).unwrap();
            let ask = |command| ask(&filter, named("quotactl_fd"), [3, command, 0, 0, 0, 0]);
            // To set those of users, of groups and of projects, and to get them; to switch them off.
            [
                0x8000_0800,
                0x8000_0801,
                0x8000_0802,
                0x8000_0700,
                0x8000_0300,
            ]
            .map(ask)
        };
        assert_eq!(answers(true), [ALLOW, EPERM, EPERM, EPERM, EPERM]);
        assert_eq!(answers(false), [EPERM; 5]);
        let by_path = ask(
            &own_filter().unwrap(),
            named("quotactl"),
            [0x8000_0800, 0, 0, 0, 0, 0],
        );
        assert_eq!(by_path, EPERM);
        for filter in [default_filter().unwrap(), strict_filter().unwrap()] {
            let set = [3, 0x8000_0800, 0, 0, 0, 0];
            assert_eq!(ask(&filter, named("quotactl_fd"), set), EPERM);
        }
    }

    #[test]
    fn s1_namespaces_and_mounts_are_allowed_as_a_plan_makes_them_and_no_other_way() {
        let filter = own_filter().unwrap();
        let unshare = |flags: c_int| ask(&filter, named("unshare"), [bits(flags), 0, 0, 0, 0, 0]);
        let mount = |flags: u64| ask(&filter, named("mount"), [0, 0, 0, flags, 0, 0]);
        let closed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let places = Places::survey(
            &Host::survey(),
            Path::new("/var/lib/prn"),
            vec!["/home".into()],
        );
        for is_strict in [false, true] {
            let plan = places.process(is_strict, None);
            assert_eq!(unshare(plan.flags), ALLOW);
            for Mount { source, .. } in plan.mounts {
                let flags = match source {
                    Source::Temporary | Source::At { .. } => MsFlags::MS_BIND.bits(),
                    Source::Empty => closed.bits(),
                    Source::New { flags, .. } => flags,
                };
                assert_eq!(mount(flags), ALLOW);
            }
        }
        let frontend = Places::frontend().flags;
        let user = libc::CLONE_NEWUSER;
        for flags in [frontend, user, frontend | user, libc::CLONE_FILES] {
            assert_eq!(unshare(flags), ALLOW, "{flags:#x}");
        }
        let protected = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        for flags in [
            MsFlags::MS_REC | MsFlags::MS_SLAVE,
            MsFlags::MS_PRIVATE,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            protected,
            protected | MsFlags::MS_NODEV,
            protected | closed,
        ] {
            assert_eq!(mount(flags.bits()), ALLOW, "{flags:?}");
        }
        for flags in [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWNS | user,
            libc::CLONE_NEWPID,
            frontend | libc::CLONE_NEWCGROUP,
            0x80,
        ] {
            assert_eq!(unshare(flags), EPERM, "{flags:#x}");
        }
        for flags in [
            MsFlags::empty(),
            MsFlags::MS_REMOUNT,
            MsFlags::MS_BIND | MsFlags::MS_REMOUNT,
            MsFlags::MS_RDONLY | MsFlags::MS_REMOUNT,
            protected | MsFlags::MS_REC,
            MsFlags::MS_MOVE,
            MsFlags::MS_SHARED,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            MsFlags::MS_NOSUID,
        ] {
            assert_eq!(mount(flags.bits()), EPERM, "{flags:?}");
        }
    }

    fn bits(flags: c_int) -> u64 {
        u64::from(flags.cast_unsigned())
    }

    fn offer(is_complete: bool) -> Offer {
        Offer {
            seccomp: is_complete,
            landlock: if is_complete {
                ABI::V6
            } else {
                ABI::Unsupported
            },
            namespaces: if is_complete {
                Ok(Places::survey(
                    &Host::survey(),
                    Path::new("/var/lib/prn"),
                    Vec::new(),
                ))
            } else {
                Err(Refused::Capability)
            },
        }
    }

    #[test]
    fn the_configuration_has_what_the_host_can_enforce() {
        let uses = Uses {
            profile_none: true,
            quotas: true,
        };
        let full = resolve(&offer(true), uses).unwrap();
        assert!(full.allow_none && full.own.len() == 1 && full.has_namespaces());
        for layers in [full.default, full.strict.unwrap()] {
            assert!(layers.namespaces.is_some() && layers.landlock.is_some());
            assert_eq!(layers.filters.len(), 1);
        }
        let none = resolve(&offer(false), Uses::default()).unwrap();
        assert!(!none.allow_none && none.own.is_empty() && !none.has_namespaces());
        assert_eq!(none.default, Layers::default());
    }

    #[test]
    fn profile_strict_is_all_of_its_layers_or_none() {
        let without: [fn(&mut Offer); 3] = [
            |offer| offer.seccomp = false,
            |offer| offer.landlock = ABI::Unsupported,
            |offer| offer.namespaces = Err(Refused::Capability),
        ];
        for change in without {
            let mut offer = offer(true);
            change(&mut offer);
            assert_eq!(
                resolve(&offer, Uses::default()).unwrap().strict,
                None,
                "{offer:?}"
            );
        }
    }
}
