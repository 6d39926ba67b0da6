//! System calls: what the supervisor and all that it starts may make, and what processes may not.
//! Tables, with reasons.
//!
//! A filter is inherited and can only be narrowed (seccomp(2)), so the first table holds what
//! anything below the supervisor needs: the supervisor itself, the frontend and processes before
//! they apply filters of their own, and every program that somebody may run. The
//! supervisor's own confinement is its capabilities, its size and its phases rather than this list;
//! what the list keeps from it, and so from all, is the kernel's rarely used and often broken
//! parts.

use nix::errno::Errno;
use nix::libc::{c_int, c_long};
use prn_ipc_protocol::fds::quota;

use super::namespaces;
use super::program::{Answer, Check, Refused, Rule};

/// Name, with the C library's prefix, and number.
pub type Call = (&'static str, c_long);

/// Calls that are listed for one reason.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Why.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the tables of docs/security/")
    )]
    pub reason: &'static str,
    /// Which.
    pub calls: &'static [Call],
}

/// A call whose arguments decide.
#[derive(Debug, Clone, Copy)]
pub struct Special {
    /// Why, and what is allowed.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the tables of docs/security/")
    )]
    pub reason: &'static str,
    /// Which.
    pub call: Call,
    /// What it gets.
    pub rule: Rule,
}

/// Numbers of libc, and what it lacks of them. Those of 424 and above are the same on all machines.
#[expect(
    non_upper_case_globals,
    reason = "the C library's names of system calls"
)]
mod numbers {
    // What is named here wins over a name of the same kind that comes with the star.
    use nix::libc::c_long;
    pub use nix::libc::*;

    pub const SYS_cachestat: c_long = 451;
    pub const SYS_map_shadow_stack: c_long = 453;
    pub const SYS_futex_wake: c_long = 454;
    pub const SYS_futex_wait: c_long = 455;
    pub const SYS_futex_requeue: c_long = 456;
    pub const SYS_statmount: c_long = 457;
    pub const SYS_listmount: c_long = 458;
    pub const SYS_lsm_get_self_attr: c_long = 459;
    pub const SYS_lsm_set_self_attr: c_long = 460;
    pub const SYS_lsm_list_modules: c_long = 461;

    #[cfg(target_arch = "x86_64")]
    pub const SYS_io_pgetevents: c_long = 333;
    #[cfg(target_arch = "x86_64")]
    pub const SYS_uretprobe: c_long = 335;
    #[cfg(target_arch = "x86_64")]
    pub const SYS_uprobe: c_long = 336;
    #[cfg(target_arch = "aarch64")]
    pub const SYS_renameat: c_long = 38;
    #[cfg(target_arch = "aarch64")]
    pub const SYS_sync_file_range: c_long = 84;
    #[cfg(target_arch = "aarch64")]
    pub const SYS_getrlimit: c_long = 163;
    #[cfg(target_arch = "aarch64")]
    pub const SYS_setrlimit: c_long = 164;
    #[cfg(target_arch = "aarch64")]
    pub const SYS_io_pgetevents: c_long = 292;
    #[cfg(target_arch = "aarch64")]
    pub const SYS_kexec_file_load: c_long = 294;
    #[cfg(target_arch = "aarch64")]
    pub const SYS_fchmodat2: c_long = 452;
}

macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), numbers::$name)),*] };
}

macro_rules! call {
    ($name:ident) => {
        (stringify!($name), numbers::$name)
    };
}

/// The highest number that was looked at for these tables (Linux 6.12). Later ones get ENOSYS, as
/// on a kernel that does not have them, so that C libraries use what was there before.
pub const HIGHEST: c_long = numbers::SYS_mseal;

/// For the supervisor and all that it starts.
pub const ALLOWED: &[Group] = &[
    Group {
        reason: "files by path: open, look, make, rename, remove",
        calls: calls![
            SYS_openat SYS_openat2 SYS_faccessat SYS_faccessat2 SYS_newfstatat SYS_statx SYS_statfs SYS_readlinkat
            SYS_mkdirat SYS_mknodat SYS_linkat SYS_symlinkat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_fchmodat
            SYS_fchmodat2 SYS_fchownat SYS_utimensat SYS_truncate SYS_chdir SYS_getcwd SYS_name_to_handle_at
        ],
    },
    Group {
        reason: "open files and directories",
        calls: calls![
            SYS_close SYS_close_range SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv
            SYS_pwritev SYS_preadv2 SYS_pwritev2 SYS_lseek SYS_fstat SYS_fstatfs SYS_ftruncate SYS_fallocate
            SYS_fchmod SYS_fchown SYS_fchdir SYS_flock SYS_fcntl SYS_dup SYS_dup3 SYS_getdents64 SYS_fsync
            SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_readahead SYS_fadvise64 SYS_cachestat
            SYS_copy_file_range SYS_sendfile SYS_splice SYS_tee SYS_vmsplice SYS_pipe2 SYS_umask
        ],
    },
    Group {
        reason: "extended attributes",
        calls: calls![
            SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_listxattr
            SYS_llistxattr SYS_flistxattr SYS_removexattr SYS_lremovexattr SYS_fremovexattr
        ],
    },
    Group {
        reason: "waiting for events",
        calls: calls![
            SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2
            SYS_signalfd4 SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime SYS_inotify_init1
            SYS_inotify_add_watch SYS_inotify_rm_watch
        ],
    },
    Group {
        reason: "asynchronous input and output of databases and web servers (io_setup(2))",
        calls: calls![
            SYS_io_setup SYS_io_destroy SYS_io_submit SYS_io_cancel SYS_io_getevents SYS_io_pgetevents
        ],
    },
    Group {
        reason: "sockets",
        calls: calls![
            SYS_socket SYS_socketpair SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_shutdown SYS_sendto
            SYS_sendmsg SYS_sendmmsg SYS_recvfrom SYS_recvmsg SYS_recvmmsg SYS_getsockopt SYS_setsockopt
            SYS_getsockname SYS_getpeername
        ],
    },
    Group {
        reason: "memory",
        calls: calls![
            SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_process_madvise SYS_msync SYS_mincore
            SYS_mlock SYS_mlock2 SYS_mlockall SYS_munlock SYS_munlockall SYS_mseal SYS_memfd_create SYS_memfd_secret
            SYS_remap_file_pages SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_map_shadow_stack
            SYS_process_mrelease
        ],
    },
    Group {
        reason: "placement of memory and threads on processors",
        calls: calls![
            SYS_get_mempolicy SYS_set_mempolicy SYS_set_mempolicy_home_node SYS_mbind SYS_migrate_pages SYS_move_pages
            SYS_getcpu SYS_sched_getaffinity SYS_sched_setaffinity
        ],
    },
    Group {
        reason: "processes and threads: start, wait, end, execute",
        calls: calls![
            SYS_clone SYS_clone3 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_pidfd_open
            SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_futex SYS_futex_waitv SYS_futex_wait
            SYS_futex_wake SYS_futex_requeue SYS_rseq SYS_membarrier SYS_restart_syscall
        ],
    },
    Group {
        reason: "scheduling, limits and use of resources",
        calls: calls![
            SYS_sched_yield SYS_sched_getparam SYS_sched_setparam SYS_sched_getscheduler SYS_sched_setscheduler
            SYS_sched_getattr SYS_sched_setattr SYS_sched_get_priority_max SYS_sched_get_priority_min
            SYS_sched_rr_get_interval SYS_getpriority SYS_setpriority SYS_ioprio_get SYS_ioprio_set SYS_getrlimit
            SYS_setrlimit SYS_prlimit64 SYS_getrusage SYS_times SYS_sysinfo SYS_uname SYS_getrandom
        ],
    },
    Group {
        reason: "signals",
        calls: calls![
            SYS_kill SYS_tkill SYS_tgkill SYS_pidfd_send_signal SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn
            SYS_rt_sigsuspend SYS_rt_sigpending SYS_rt_sigtimedwait SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo
            SYS_sigaltstack
        ],
    },
    Group {
        reason: "clocks and timers, to read and to wait",
        calls: calls![
            SYS_gettimeofday SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_nanosleep SYS_getitimer
            SYS_setitimer SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun SYS_timer_delete
        ],
    },
    Group {
        reason: "System V and POSIX objects between processes, for those that have a namespace of their own for them",
        calls: calls![
            SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_semget SYS_semop SYS_semtimedop SYS_semctl SYS_msgget
            SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink SYS_mq_timedsend SYS_mq_timedreceive
            SYS_mq_notify SYS_mq_getsetattr
        ],
    },
    Group {
        reason: "identity and sessions; the supervisor gives processes theirs, who has no capability gains nothing",
        calls: calls![
            SYS_getpid SYS_getppid SYS_gettid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid SYS_getuid SYS_geteuid
            SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups SYS_setuid SYS_setgid SYS_setreuid
            SYS_setregid SYS_setresuid SYS_setresgid SYS_setfsuid SYS_setfsgid SYS_setgroups SYS_capget SYS_capset
        ],
    },
    Group {
        reason: "properties of the process itself; to confine itself further",
        calls: calls![
            SYS_prctl SYS_personality SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule
            SYS_landlock_restrict_self SYS_lsm_get_self_attr SYS_lsm_list_modules
        ],
    },
    Group {
        reason: "debuggers and tracers, on processes of the same user",
        calls: calls![
            SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp SYS_pidfd_getfd
        ],
    },
    Group {
        reason: "to see what is mounted",
        calls: calls![SYS_statmount SYS_listmount],
    },
    Group {
        reason: "the frontend's empty root",
        calls: calls![SYS_chroot],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "older forms of the above, which this machine has kept",
        calls: calls![
            SYS_open SYS_creat SYS_access SYS_stat SYS_lstat SYS_readlink SYS_mkdir SYS_rmdir SYS_mknod SYS_link
            SYS_symlink SYS_unlink SYS_rename SYS_chmod SYS_chown SYS_lchown SYS_utime SYS_utimes SYS_futimesat
            SYS_dup2 SYS_getdents SYS_pipe SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_eventfd
            SYS_signalfd SYS_inotify_init SYS_fork SYS_vfork SYS_getpgrp SYS_pause SYS_alarm SYS_time
        ],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "thread-local storage of this machine",
        calls: calls![SYS_arch_prctl SYS_set_thread_area SYS_get_thread_area],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "made by the kernel's own trampolines in a program that an administrator traces: refused, they kill it",
        calls: calls![SYS_uretprobe SYS_uprobe],
    },
];

/// asm-generic/ioctls.h.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const TIOCSETD: u32 = 0x5423;

/// For the supervisor and all that it starts, by argument.
pub const ALLOWED_PARTLY: &[Special] = &[
    Special {
        reason: "devices and terminals; but not to type into a terminal (TIOCSTI), to drive its screen (TIOCLINUX), or \
                 to load a line discipline (TIOCSETD)",
        call: call!(SYS_ioctl),
        rule: Rule {
            allowed: &[&[
                Check::IsNot(1, TIOCSTI),
                Check::IsNot(1, TIOCLINUX),
                Check::IsNot(1, TIOCSETD),
            ]],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
    Special {
        reason: "what threads share; the namespaces of a process, of the frontend, and those that the frontend makes \
                 itself, each set as it is made",
        call: call!(SYS_unshare),
        rule: Rule {
            allowed: &[
                &[Check::Without(0, CLONE_NEW | CLONE_NEWTIME)],
                &[Check::Is(0, bits(namespaces::DEFAULT))],
                &[Check::Is(0, bits(namespaces::STRICT))],
                &[Check::Is(0, CLONE_NEWUSER)],
                &[Check::Is(0, CLONE_NEWUSER | bits(namespaces::STRICT))],
            ],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
    Special {
        reason: "what is mounted for a process, by the flags that it is mounted with (below); a mount may be bound \
                 elsewhere, and made read-only",
        call: call!(SYS_mount),
        rule: Rule {
            allowed: &[
                &[Check::Is(3, MS_REC | MS_SLAVE)],
                &[Check::Is(3, MS_PRIVATE)],
                &[Check::Is(3, MS_BIND)],
                &[Check::Is(3, MS_BIND | MS_REC)],
                &[Check::IsBeside(
                    3,
                    MS_NOSUID | MS_NODEV | MS_NOEXEC,
                    MS_REMOUNT | MS_BIND | MS_RDONLY,
                )],
                &[Check::Is(3, MS_NOSUID | MS_NODEV)],
                &[Check::Is(3, MS_NOSUID | MS_NODEV | MS_NOEXEC)],
            ],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
];

/// The same, where nothing makes namespaces for processes.
pub const WITHOUT_NAMESPACES: &[Special] = &[
    Special {
        reason: "what threads share; those that the frontend makes itself",
        call: call!(SYS_unshare),
        rule: Rule {
            allowed: &[
                &[Check::Without(0, CLONE_NEW | CLONE_NEWTIME)],
                &[Check::Is(0, CLONE_NEWUSER | bits(namespaces::STRICT))],
            ],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
    Special {
        reason: "nothing is mounted",
        call: call!(SYS_mount),
        rule: Rule {
            allowed: &[],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
];

/// The same, where the file system of workspaces enforces quotas, and instead of what [`REFUSED`] says.
pub const WITH_QUOTAS: &[Special] = &[Special {
    reason: "to bound the disk space of a workspace's user",
    call: call!(SYS_quotactl_fd),
    rule: Rule {
        allowed: &[&[Check::Is(1, quota::SET)]],
        refused: &[],
        otherwise: Answer::Fail(Errno::EPERM),
    },
}];

/// linux/mount.h.
const MS_RDONLY: u32 = 1;
const MS_NOSUID: u32 = 2;
const MS_NODEV: u32 = 4;
const MS_NOEXEC: u32 = 8;
const MS_REMOUNT: u32 = 32;
const MS_BIND: u32 = 4096;
const MS_REC: u32 = 16384;
const MS_PRIVATE: u32 = 1 << 18;
const MS_SLAVE: u32 = 1 << 19;

/// Flags that are an int to the C library and bits to a filter.
const fn bits(flags: c_int) -> u32 {
    flags.cast_unsigned()
}

/// Known, and refused (EPERM), as all numbers up to [`HIGHEST`] are that no table lists.
pub const REFUSED: &[Group] = &[
    Group {
        reason: "the kernel's code",
        calls: calls![
            SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_kexec_file_load SYS_bpf
        ],
    },
    Group {
        reason: "kernel interfaces with a long record of holes, which programs use for speed or introspection alone",
        calls: calls![
            SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_perf_event_open SYS_userfaultfd
            SYS_fanotify_init SYS_fanotify_mark
        ],
    },
    Group {
        reason: "keyrings: they belong to a user and outlive processes",
        calls: calls![SYS_add_key SYS_request_key SYS_keyctl],
    },
    Group {
        reason: "files by handle: the way out of a root directory (CVE-2014-3519, \"shocker\")",
        calls: calls![SYS_open_by_handle_at],
    },
    Group {
        reason: "namespaces of others, and mounts beyond mount(2) that nothing here makes",
        calls: calls![
            SYS_setns SYS_pivot_root SYS_umount2 SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount
            SYS_fspick SYS_mount_setattr
        ],
    },
    Group {
        reason: "the machine as a whole: its clock, names, power, swap, quotas, accounting, log and consoles",
        calls: calls![
            SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_sethostname SYS_setdomainname
            SYS_reboot SYS_swapon SYS_swapoff SYS_quotactl SYS_quotactl_fd SYS_acct SYS_syslog SYS_vhangup
        ],
    },
    Group {
        reason: "labels of security modules",
        calls: calls![SYS_lsm_set_self_attr],
    },
    Group {
        reason: "obsolete or never made",
        calls: calls![SYS_lookup_dcookie SYS_nfsservctl],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "the machine's ports and segments",
        calls: calls![SYS_iopl SYS_ioperm SYS_modify_ldt],
    },
    #[cfg(target_arch = "x86_64")]
    Group {
        reason: "obsolete or never made, on this machine",
        calls: calls![
            SYS__sysctl SYS_sysfs SYS_ustat SYS_uselib SYS_afs_syscall SYS_getpmsg SYS_putpmsg SYS_security SYS_tuxcall
            SYS_vserver SYS_epoll_ctl_old SYS_epoll_wait_old
        ],
    },
];

/// linux/sched.h: mount, control group, UTS, IPC, user, process and network namespaces.
const CLONE_NEW: u32 = 0x7e02_0000;
/// Time namespaces: in clone(2) this bit is part of a signal number, in unshare(2) it is a flag.
const CLONE_NEWTIME: u32 = 0x80;
const CLONE_NEWUSER: u32 = 0x1000_0000;

/// Not for processes of profile default: EPERM.
pub const DEFAULT_REFUSED: &[Group] = &[
    Group {
        reason: "other roots and mounts: with a user namespace they are the usual way to the kernel's privileged code",
        calls: calls![SYS_chroot SYS_mount],
    },
    Group {
        reason: "quotas, also where the supervisor sets them",
        calls: calls![SYS_quotactl_fd],
    },
];

/// Not for processes without a namespace of their own for such objects: EPERM.
pub const SHARED_REFUSED: &[Group] = &[Group {
    reason: "objects that outlive the process, where the next one with its user id would find them",
    calls: calls![
        SYS_shmget SYS_shmat SYS_shmctl SYS_semget SYS_semop SYS_semtimedop SYS_semctl SYS_msgget SYS_msgsnd SYS_msgrcv
        SYS_msgctl SYS_mq_open SYS_mq_unlink
    ],
}];

/// For processes of profile default, by argument.
pub const DEFAULT_PARTLY: &[Special] = &[
    Special {
        reason: "processes and threads, but no namespaces",
        call: call!(SYS_clone),
        rule: Rule {
            allowed: &[&[Check::Without(0, CLONE_NEW)]],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
    Special {
        reason: "its flags are in memory, where no filter sees them: C libraries fall back to clone(2)",
        call: call!(SYS_clone3),
        rule: Rule {
            allowed: &[],
            refused: &[],
            otherwise: Answer::Fail(Errno::ENOSYS),
        },
    },
    Special {
        reason: "limits of its own, and not of its workspace's other processes",
        call: call!(SYS_prlimit64),
        rule: Rule {
            allowed: &[&[Check::Is(0, 0)]],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
    Special {
        reason: "what threads share, but no namespaces",
        call: call!(SYS_unshare),
        rule: Rule {
            allowed: &[&[Check::Without(0, CLONE_NEW | CLONE_NEWTIME)]],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
    Special {
        reason: "local sockets; TCP, UDP and ICMP echo (ping) of IPv4 and IPv6, by type and protocol (an error of its \
                 own for others: no SCTP, MPTCP, UDP-Lite, SMC); netlink's route family, which lists addresses",
        call: call!(SYS_socket),
        rule: Rule {
            allowed: &[
                &[
                    Check::Is(0, AF_UNIX),
                    of_type(SOCK_STREAM),
                    Check::Without(2, !PF_UNIX),
                ],
                &[
                    Check::Is(0, AF_UNIX),
                    of_type(SOCK_DGRAM),
                    Check::Without(2, !PF_UNIX),
                ],
                &[
                    Check::Is(0, AF_UNIX),
                    of_type(SOCK_SEQPACKET),
                    Check::Without(2, !PF_UNIX),
                ],
                &[
                    Check::Is(0, AF_INET),
                    of_type(SOCK_STREAM),
                    Check::Is(2, ITS_OWN),
                ],
                &[
                    Check::Is(0, AF_INET),
                    of_type(SOCK_STREAM),
                    Check::Is(2, IPPROTO_TCP),
                ],
                &[
                    Check::Is(0, AF_INET),
                    of_type(SOCK_DGRAM),
                    Check::Is(2, ITS_OWN),
                ],
                &[
                    Check::Is(0, AF_INET),
                    of_type(SOCK_DGRAM),
                    Check::Is(2, IPPROTO_UDP),
                ],
                &[
                    Check::Is(0, AF_INET),
                    of_type(SOCK_DGRAM),
                    Check::Is(2, IPPROTO_ICMP),
                ],
                &[
                    Check::Is(0, AF_INET6),
                    of_type(SOCK_STREAM),
                    Check::Is(2, ITS_OWN),
                ],
                &[
                    Check::Is(0, AF_INET6),
                    of_type(SOCK_STREAM),
                    Check::Is(2, IPPROTO_TCP),
                ],
                &[
                    Check::Is(0, AF_INET6),
                    of_type(SOCK_DGRAM),
                    Check::Is(2, ITS_OWN),
                ],
                &[
                    Check::Is(0, AF_INET6),
                    of_type(SOCK_DGRAM),
                    Check::Is(2, IPPROTO_UDP),
                ],
                &[
                    Check::Is(0, AF_INET6),
                    of_type(SOCK_DGRAM),
                    Check::Is(2, IPPROTO_ICMPV6),
                ],
                &[
                    Check::Is(0, AF_NETLINK),
                    of_type(SOCK_RAW),
                    Check::Is(2, NETLINK_ROUTE),
                ],
                &[
                    Check::Is(0, AF_NETLINK),
                    of_type(SOCK_DGRAM),
                    Check::Is(2, NETLINK_ROUTE),
                ],
            ],
            refused: &[
                // As the kernel, to whom has no capability: programs ask for one by name.
                Refused {
                    checks: &[Check::Is(0, AF_INET), of_type(SOCK_RAW)],
                    with: Errno::EPERM,
                },
                Refused {
                    checks: &[Check::Is(0, AF_INET6), of_type(SOCK_RAW)],
                    with: Errno::EPERM,
                },
                // As the kernel where it has not got the protocol: who prefers it falls back.
                Refused {
                    checks: &[Check::Is(0, AF_INET)],
                    with: Errno::EPROTONOSUPPORT,
                },
                Refused {
                    checks: &[Check::Is(0, AF_INET6)],
                    with: Errno::EPROTONOSUPPORT,
                },
            ],
            otherwise: Answer::Fail(Errno::EAFNOSUPPORT),
        },
    },
    LOCAL_PAIRS,
    Special {
        reason: "options of sockets, but none that makes one of another protocol (TCP_ULP, UDP_ENCAP): TLS in the \
                 kernel, SMC, IPsec, L2TP",
        call: call!(SYS_setsockopt),
        rule: Rule {
            allowed: &[
                &[Check::IsNot(2, TCP_ULP), Check::IsNot(2, UDP_ENCAP)],
                &[Check::IsNot(1, IPPROTO_TCP), Check::IsNot(1, IPPROTO_UDP)],
            ],
            refused: &[],
            otherwise: Answer::Fail(Errno::ENOPROTOOPT),
        },
    },
    Special {
        reason: "to ask; Linux of 64 and 32 bits, an old version's number; no random addresses, as debuggers want it. \
                 Not: readable memory that is executable",
        call: call!(SYS_personality),
        rule: Rule {
            allowed: &[
                &[Check::Is(0, u32::MAX)],
                &[Check::Without(0, !PERSONALITIES)],
            ],
            refused: &[],
            otherwise: Answer::Fail(Errno::EPERM),
        },
    },
];

/// Both ends of a pair are created in their family before it is asked whether it has pairs.
const LOCAL_PAIRS: Special = Special {
    reason: "pairs of local sockets, the only ones that are of use",
    call: call!(SYS_socketpair),
    rule: LOCAL,
};

const LOCAL: Rule = Rule {
    allowed: &[
        &[
            Check::Is(0, AF_UNIX),
            of_type(SOCK_STREAM),
            Check::Without(2, !PF_UNIX),
        ],
        &[
            Check::Is(0, AF_UNIX),
            of_type(SOCK_DGRAM),
            Check::Without(2, !PF_UNIX),
        ],
        &[
            Check::Is(0, AF_UNIX),
            of_type(SOCK_SEQPACKET),
            Check::Without(2, !PF_UNIX),
        ],
    ],
    refused: &[],
    otherwise: Answer::Fail(Errno::EAFNOSUPPORT),
};

/// The type of socket(2) and socketpair(2), whatever flags come with it.
const fn of_type(kind: u32) -> Check {
    Check::IsBeside(1, SOCK_NONBLOCK | SOCK_CLOEXEC, kind)
}

/// linux/socket.h and linux/netlink.h.
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const NETLINK_ROUTE: u32 = 0;

/// linux/net.h.
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;
const SOCK_SEQPACKET: u32 = 5;
const SOCK_NONBLOCK: u32 = 0o4000;
const SOCK_CLOEXEC: u32 = 0o200_0000;

/// The protocol of a type that has one (socket(2)).
const ITS_OWN: u32 = 0;
/// The same, for local sockets.
const PF_UNIX: u32 = 1;
/// linux/in.h and linux/in6.h.
const IPPROTO_ICMP: u32 = 1;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_ICMPV6: u32 = 58;

/// linux/tcp.h and linux/udp.h: options of the levels IPPROTO_TCP and IPPROTO_UDP.
const TCP_ULP: u32 = 31;
const UDP_ENCAP: u32 = 100;

/// linux/personality.h: PER_LINUX32, UNAME26, ADDR_NO_RANDOMIZE.
const PERSONALITIES: u32 = 0x0008 | 0x0002_0000 | 0x0004_0000;

/// Not for processes of profile strict, beside what default may not: EPERM.
pub const STRICT_REFUSED: &[Group] = &[Group {
    reason: "other processes' memory and descriptors",
    calls: calls![SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_kcmp SYS_pidfd_getfd SYS_process_madvise],
}];

/// For processes of profile strict, by argument, instead of what default says.
pub const STRICT_PARTLY: &[Special] = &[
    Special {
        reason: "local sockets",
        call: call!(SYS_socket),
        rule: LOCAL,
    },
    LOCAL_PAIRS,
];
