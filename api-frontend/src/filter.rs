//! The system calls that the frontend may make once it serves: everything else ends it
//! (SECCOMP_RET_KILL_PROCESS).
//!
//! It has its sockets, its memory and its threads by then, so nothing here opens, connects,
//! executes, or makes a thread.

use std::collections::BTreeMap;

use nix::libc::{self, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::confine::SandboxError;

/// A condition on one argument.
#[derive(Debug, Clone, Copy)]
pub enum Argument {
    /// Any arguments.
    Any,
    /// Argument `.0`, 32 bits, is one of these.
    OneOf(u8, &'static [libc::c_int]),
    /// Argument `.0` has none of these bits.
    Without(u8, libc::c_int),
}

use Argument::{Any, OneOf, Without};

/// Number, name, condition and reason of each allowed system call.
pub const ALLOWED: &[(c_long, &str, Argument, &str)] = &[
    (libc::SYS_epoll_wait, "epoll_wait", Any, "the event loop"),
    (libc::SYS_epoll_pwait, "epoll_pwait", Any, "the event loop"),
    (
        libc::SYS_epoll_ctl,
        "epoll_ctl",
        Any,
        "the event loop: new connections",
    ),
    (
        libc::SYS_futex,
        "futex",
        Any,
        "threads wait for and wake each other",
    ),
    (
        libc::SYS_accept4,
        "accept4",
        Any,
        "connections, on the listener that was handed over",
    ),
    (
        libc::SYS_read,
        "read",
        Any,
        "wake-ups of the event loop (eventfd)",
    ),
    (libc::SYS_readv, "readv", Any, "sockets"),
    (libc::SYS_pread64, "pread64", Any, "output of processes"),
    (
        libc::SYS_write,
        "write",
        Any,
        "the log, wake-ups of the event loop",
    ),
    (libc::SYS_writev, "writev", Any, "sockets"),
    (libc::SYS_recvfrom, "recvfrom", Any, "sockets"),
    (
        libc::SYS_recvmsg,
        "recvmsg",
        Any,
        "the supervisor's messages and descriptors",
    ),
    (
        libc::SYS_sendto,
        "sendto",
        Without(3, libc::MSG_FASTOPEN),
        "sockets, never to connect one (TCP Fast Open)",
    ),
    (
        libc::SYS_sendmsg,
        "sendmsg",
        Without(2, libc::MSG_FASTOPEN),
        "messages to the supervisor",
    ),
    (libc::SYS_shutdown, "shutdown", Any, "sockets"),
    (
        libc::SYS_close,
        "close",
        Any,
        "sockets and descriptors of output",
    ),
    (libc::SYS_getsockopt, "getsockopt", Any, "sockets"),
    (
        libc::SYS_setsockopt,
        "setsockopt",
        Any,
        "TCP_NODELAY, keepalive, TCP_USER_TIMEOUT",
    ),
    (libc::SYS_getsockname, "getsockname", Any, "sockets"),
    (
        libc::SYS_getpeername,
        "getpeername",
        Any,
        "the log: who was refused",
    ),
    (
        libc::SYS_poll,
        "poll",
        Any,
        "whether the supervisor has hung up",
    ),
    (
        libc::SYS_ioctl,
        "ioctl",
        OneOf(1, &[FIONBIO]),
        "non-blocking sockets",
    ),
    (
        libc::SYS_fcntl,
        "fcntl",
        OneOf(
            1,
            &[
                libc::F_GETFL,
                libc::F_SETFL,
                libc::F_GETFD,
                libc::F_SETFD,
                libc::F_DUPFD_CLOEXEC,
            ],
        ),
        "flags of sockets",
    ),
    (
        libc::SYS_mmap,
        "mmap",
        Without(2, libc::PROT_EXEC),
        "memory, never executable",
    ),
    (
        libc::SYS_mprotect,
        "mprotect",
        Without(2, libc::PROT_EXEC),
        "memory, never executable",
    ),
    (libc::SYS_munmap, "munmap", Any, "memory"),
    (libc::SYS_mremap, "mremap", Any, "memory"),
    (libc::SYS_madvise, "madvise", Any, "memory"),
    (libc::SYS_brk, "brk", Any, "memory"),
    (
        libc::SYS_getrandom,
        "getrandom",
        Any,
        "keys of TLS, ids of processes",
    ),
    (
        libc::SYS_clock_gettime,
        "clock_gettime",
        Any,
        "time, where it is not read without a system call",
    ),
    (
        libc::SYS_clock_nanosleep,
        "clock_nanosleep",
        Any,
        "waits of the runtime",
    ),
    (
        libc::SYS_nanosleep,
        "nanosleep",
        Any,
        "waits of the runtime",
    ),
    (
        libc::SYS_restart_syscall,
        "restart_syscall",
        Any,
        "waits that a stop signal interrupted",
    ),
    (
        libc::SYS_sched_yield,
        "sched_yield",
        Any,
        "spinning threads give way",
    ),
    (
        libc::SYS_sched_getaffinity,
        "sched_getaffinity",
        Any,
        "the number of CPUs",
    ),
    (libc::SYS_rseq, "rseq", Any, "the start of a thread"),
    (
        libc::SYS_set_robust_list,
        "set_robust_list",
        Any,
        "the start of a thread",
    ),
    (
        libc::SYS_prctl,
        "prctl",
        OneOf(0, &[libc::PR_SET_NAME]),
        "the start of a thread: its name",
    ),
    (
        libc::SYS_sigaltstack,
        "sigaltstack",
        Any,
        "start and end of a thread",
    ),
    (
        libc::SYS_rt_sigprocmask,
        "rt_sigprocmask",
        Any,
        "start of a thread, abort",
    ),
    (libc::SYS_rt_sigaction, "rt_sigaction", Any, "abort"),
    (
        libc::SYS_rt_sigreturn,
        "rt_sigreturn",
        Any,
        "the end of a signal handler",
    ),
    (libc::SYS_gettid, "gettid", Any, "abort"),
    (libc::SYS_getpid, "getpid", Any, "abort"),
    (
        libc::SYS_tgkill,
        "tgkill",
        Any,
        "abort; the user has no other process to signal",
    ),
    (libc::SYS_exit, "exit", Any, "the end of a thread"),
    (libc::SYS_exit_group, "exit_group", Any, "the end"),
];

/// System calls that are answered with EACCES instead: what asks takes no for an answer.
pub const REFUSED: &[(c_long, &str, &str)] = &[(
    libc::SYS_openat,
    "openat",
    "the C library looks at /proc/sys/vm/overcommit_memory before it gives memory back; there are no files here anyway",
)];

/// asm-generic/ioctls.h; libc has it as a number of another type.
const FIONBIO: libc::c_int = 0x5421;

/// Applies the filter to all threads of this process, for good.
///
/// # Errors
/// If the kernel refuses.
pub fn apply() -> Result<(), SandboxError> {
    // A filter has one answer for what it does not list, so there are two; of their answers the
    // sterner one counts (seccomp(2)). The second could not be applied after the first.
    seccompiler::apply_filter_all_threads(&refusing()?)?;
    seccompiler::apply_filter_all_threads(&allowing()?)?;
    Ok(())
}

fn refusing() -> Result<BpfProgram, SandboxError> {
    let eacces = u32::try_from(libc::EACCES).unwrap_or(1);
    let rules = REFUSED
        .iter()
        .map(|(number, ..)| (*number, Vec::new()))
        .collect();
    compile(rules, SeccompAction::Allow, SeccompAction::Errno(eacces))
}

fn allowing() -> Result<BpfProgram, SandboxError> {
    let mut rules: Rules = REFUSED
        .iter()
        .map(|(number, ..)| (*number, Vec::new()))
        .collect();
    for (number, _, argument, _) in ALLOWED {
        rules.insert(*number, conditions(*argument)?);
    }
    compile(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn compile(
    rules: Rules,
    unlisted: SeccompAction,
    listed: SeccompAction,
) -> Result<BpfProgram, SandboxError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    Ok(SeccompFilter::new(rules, unlisted, listed, arch)?.try_into()?)
}

/// The rules of one system call: it may be made if one of them holds, and always if there is none.
fn conditions(argument: Argument) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |place, operation, value: libc::c_int| {
        let value = u64::from(value.unsigned_abs());
        SeccompRule::new(vec![SeccompCondition::new(
            place,
            SeccompCmpArgLen::Dword,
            operation,
            value,
        )?])
    };
    match argument {
        Any => Ok(Vec::new()),
        OneOf(place, values) => values
            .iter()
            .map(|value| rule(place, SeccompCmpOp::Eq, *value))
            .collect(),
        Without(place, bits) => {
            let mask = u64::from(bits.unsigned_abs());
            let condition = SeccompCondition::new(
                place,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::MaskedEq(mask),
                0,
            )?;
            Ok(vec![SeccompRule::new(vec![condition])?])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_names_each_call_once() {
        assert!(!allowing().unwrap().is_empty() && !refusing().unwrap().is_empty());
        let mut numbers: Vec<_> = ALLOWED.iter().map(|(number, ..)| *number).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), ALLOWED.len());
    }

    #[test]
    fn s3_nothing_that_opens_connects_executes_or_makes_a_process_is_allowed() {
        for name in [
            "open", "socket", "connect", "bind", "execve", "clone", "fork", "ptrace", "unshare",
            "mount", "bpf",
        ] {
            assert!(
                !ALLOWED
                    .iter()
                    .any(|(_, allowed, ..)| allowed.starts_with(name)),
                "{name}"
            );
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn security_md_has_this_table() {
        let condition = |argument| match argument {
            Any => String::new(),
            OneOf(place, values) => format!(", if argument {place} is one of {values:?}"),
            Without(place, bits) => format!(", if argument {place} has none of the bits {bits:#x}"),
        };
        let allowed = ALLOWED.iter().map(|(number, name, argument, reason)| {
            format!("| {name} {number} | {reason}{} |\n", condition(*argument))
        });
        let refused = REFUSED.iter().map(|(number, name, reason)| {
            format!("| {name} {number} | answered with EACCES: {reason} |\n")
        });
        let rows: String = allowed.chain(refused).collect();
        let made = format!("| call | why |\n|---|---|\n{rows}");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SECURITY.md");
        let document = std::fs::read_to_string(path).unwrap();
        let (before, rest) = document.split_once("<!-- frontend: begin -->\n").unwrap();
        let (found, after) = rest.split_once("<!-- frontend: end -->").unwrap();
        if found != made && std::env::var_os("PRN_WRITE_TABLES").is_some() {
            let document =
                format!("{before}<!-- frontend: begin -->\n{made}<!-- frontend: end -->{after}");
            return std::fs::write(path, document).unwrap();
        }
        assert_eq!(
            found, made,
            "SECURITY.md is out of date: run the tests with PRN_WRITE_TABLES=1 once"
        );
    }
}
