//! The system calls that the frontend may make once it serves: everything else ends it
//! (SECCOMP_RET_KILL_PROCESS).
//!
//! It has its sockets, its memory and its threads by then, so nothing here opens, connects,
//! executes, or makes a thread.
//!
//! What all frontends of a server share outlives each of them, so none may change it: the listener
//! (its options, its flags, whether it listens), standard error, the memory behind output. A call
//! with a command, an option or flags is allowed by these. A rule that spares the listener goes by
//! its number, and holds because nothing here makes a second number for a descriptor: no dup, no
//! F_DUPFD, and no socket but the channel, whose other end is the supervisor's, that could bring it
//! back (SCM_RIGHTS, unix(7)).

use std::collections::BTreeMap;

use nix::libc::{self, c_int, c_long};
use prn_ipc_protocol::fds::frontend::{CHANNEL, LISTENER};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use crate::confine::SandboxError;

/// A condition on one argument: on its low 32 bits, which are all that the kernel looks at in those
/// asked for here, but for an address.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// Argument `.0` is `.1`.
    Is(u8, c_int),
    /// Argument `.0` is not `.1`.
    IsNot(u8, c_int),
    /// Argument `.0`, but for the bits `.1`, is `.2`.
    IsBeside(u8, c_int, c_int),
    /// Argument `.0` has no other bits than `.1`.
    Only(u8, c_int),
    /// Argument `.0` is no address.
    Null(u8),
}

use Check::{Is, IsBeside, IsNot, Null, Only};

/// A system call that may be made.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    /// Its number.
    pub number: c_long,
    /// The name of its number.
    pub name: &'static str,
    /// It may be made if all checks of one of these hold, and always if there is none.
    pub rules: &'static [&'static [Check]],
    /// What it is for.
    pub reason: &'static str,
}

macro_rules! allowed {
    ($name:ident, $rules:expr, $reason:literal) => {
        Allowed {
            number: libc::$name,
            name: stringify!($name),
            rules: $rules,
            reason: $reason,
        }
    };
}

const ANY: &[&[Check]] = &[];

/// What may be set of a socket that is not the listener. Each frontend sets these on each
/// connection anew: what they were on the listener is of no effect.
const OPTIONS: &[&[Check]] = &[
    &option(libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    &option(libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
    &option(libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
    &option(libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
    &option(libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    &option(libc::IPPROTO_TCP, libc::TCP_NODELAY),
];

const fn option(level: c_int, name: c_int) -> [Check; 3] {
    [IsNot(0, LISTENER), Is(1, level), Is(2, name)]
}

/// Flags of futex(2) that change no operation.
const FUTEX_FLAGS: c_int = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;

/// Flags of mmap(2) that say where memory is, not what it is.
const PLACEMENT: c_int = libc::MAP_FIXED | libc::MAP_NORESERVE | libc::MAP_STACK;

/// Each system call that is allowed.
pub const ALLOWED: &[Allowed] = &[
    allowed!(SYS_epoll_wait, ANY, "the event loop"),
    allowed!(SYS_epoll_pwait, ANY, "the event loop"),
    allowed!(
        SYS_epoll_ctl,
        ANY,
        "the event loop: new connections, ends of inputs; what watches ends with this process"
    ),
    allowed!(
        SYS_futex,
        &[
            &[IsBeside(1, FUTEX_FLAGS, libc::FUTEX_WAIT)],
            &[IsBeside(1, FUTEX_FLAGS, libc::FUTEX_WAKE)],
            &[IsBeside(1, FUTEX_FLAGS, libc::FUTEX_WAIT_BITSET)],
        ],
        "threads wait for and wake each other; no requeueing and no priorities (CVE-2014-3153)"
    ),
    allowed!(
        SYS_accept4,
        &[&[
            Is(0, LISTENER),
            Only(3, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK),
        ]],
        "connections, on the listener that was handed over"
    ),
    allowed!(SYS_read, ANY, "wake-ups of the event loop (eventfd)"),
    allowed!(SYS_readv, ANY, "sockets"),
    allowed!(
        SYS_pread64,
        ANY,
        "output of processes; reading a hole allocates nothing"
    ),
    allowed!(
        SYS_write,
        ANY,
        "the log, wake-ups of the event loop, input of processes"
    ),
    allowed!(SYS_writev, ANY, "sockets; a listener takes no bytes"),
    allowed!(
        SYS_recvfrom,
        &[&[IsNot(0, LISTENER), Only(3, libc::MSG_PEEK)]],
        "sockets; to look whether a stranger has sent something"
    ),
    allowed!(
        SYS_recvmsg,
        &[&[
            Is(0, CHANNEL),
            Only(2, libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC),
        ]],
        "the supervisor's messages and descriptors"
    ),
    allowed!(
        SYS_sendto,
        &[&[IsNot(0, LISTENER), Only(3, libc::MSG_NOSIGNAL), Null(4)]],
        "sockets that are connected, never to connect one (TCP Fast Open)"
    ),
    allowed!(
        SYS_sendmsg,
        &[&[
            Is(0, CHANNEL),
            Only(2, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL),
        ]],
        "messages to the supervisor"
    ),
    allowed!(
        SYS_shutdown,
        &[&[
            IsNot(0, LISTENER),
            IsNot(0, libc::STDERR_FILENO),
            Is(1, libc::SHUT_WR),
        ]],
        "the end of what is sent on a connection; not of the listener, nor of the log, which may be a socket"
    ),
    allowed!(
        SYS_close,
        ANY,
        "sockets and descriptors of output and input; others keep theirs"
    ),
    allowed!(
        SYS_setsockopt,
        OPTIONS,
        "TCP_NODELAY, keepalive and TCP_USER_TIMEOUT of a connection, never of the listener"
    ),
    allowed!(SYS_getsockname, ANY, "sockets"),
    allowed!(SYS_getpeername, ANY, "the log: who was refused"),
    allowed!(
        SYS_poll,
        ANY,
        "whether the supervisor has hung up, and an input has room"
    ),
    allowed!(
        SYS_mmap,
        &[&[
            Only(2, libc::PROT_READ | libc::PROT_WRITE),
            IsBeside(3, PLACEMENT, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS),
        ]],
        "memory of its own, never executable: no file, whose pages would be filled by looking at them and stay, \
         no huge pages, which are the machine's"
    ),
    allowed!(
        SYS_mprotect,
        &[&[Only(2, libc::PROT_READ | libc::PROT_WRITE)]],
        "memory, never executable"
    ),
    allowed!(SYS_munmap, ANY, "memory"),
    allowed!(
        SYS_mremap,
        &[&[Is(3, libc::MREMAP_MAYMOVE)]],
        "memory: realloc of large blocks"
    ),
    allowed!(
        SYS_madvise,
        &[&[Is(2, libc::MADV_DONTNEED)]],
        "memory: given back; never asked for"
    ),
    allowed!(SYS_brk, ANY, "memory"),
    allowed!(SYS_getrandom, ANY, "keys of TLS, ids of processes"),
    allowed!(
        SYS_clock_gettime,
        ANY,
        "time, where it is not read without a system call"
    ),
    allowed!(SYS_clock_nanosleep, ANY, "waits of the runtime"),
    allowed!(SYS_nanosleep, ANY, "waits of the runtime"),
    allowed!(
        SYS_restart_syscall,
        ANY,
        "waits that a stop signal interrupted"
    ),
    allowed!(SYS_sched_yield, ANY, "spinning threads give way"),
    allowed!(SYS_sched_getaffinity, ANY, "the number of CPUs"),
    allowed!(SYS_rseq, ANY, "the start of a thread"),
    allowed!(SYS_set_robust_list, ANY, "the start of a thread"),
    allowed!(
        SYS_prctl,
        &[&[Is(0, libc::PR_SET_NAME)]],
        "the start of a thread: its name"
    ),
    allowed!(SYS_sigaltstack, ANY, "start and end of a thread"),
    allowed!(SYS_rt_sigprocmask, ANY, "start of a thread, abort"),
    allowed!(SYS_rt_sigaction, ANY, "abort"),
    allowed!(SYS_rt_sigreturn, ANY, "the end of a signal handler"),
    allowed!(SYS_gettid, ANY, "abort"),
    allowed!(SYS_getpid, ANY, "abort"),
    allowed!(
        SYS_tgkill,
        ANY,
        "abort; the user has no other process to signal"
    ),
    allowed!(SYS_exit, ANY, "the end of a thread"),
    allowed!(SYS_exit_group, ANY, "the end"),
];

/// System calls that are answered with EACCES instead: what asks takes no for an answer.
pub const REFUSED: &[(c_long, &str, &str)] = &[(
    libc::SYS_openat,
    "openat",
    "the C library looks at /proc/sys/vm/overcommit_memory before it gives memory back; there are no files here anyway",
)];

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
    for allowed in ALLOWED {
        rules.insert(allowed.number, conditions(allowed.rules)?);
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

fn conditions(rules: &[&[Check]]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |checks: &&[Check]| {
        let conditions = checks.iter().map(|check| condition(*check));
        SeccompRule::new(conditions.collect::<Result<_, _>>()?)
    };
    rules.iter().map(rule).collect()
}

fn condition(check: Check) -> Result<SeccompCondition, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    // The 32 bits of the argument, unsigned as a filter sees them.
    let bits = |value: c_int| u64::from(value.cast_unsigned());
    let (place, length, operation, value) = match check {
        Is(place, value) => (place, Dword, SeccompCmpOp::Eq, bits(value)),
        IsNot(place, value) => (place, Dword, SeccompCmpOp::Ne, bits(value)),
        IsBeside(place, ignored, value) => (
            place,
            Dword,
            SeccompCmpOp::MaskedEq(bits(!ignored)),
            bits(value),
        ),
        Only(place, value) => (place, Dword, SeccompCmpOp::MaskedEq(bits(!value)), 0),
        Null(place) => (place, Qword, SeccompCmpOp::Eq, 0),
    };
    SeccompCondition::new(place, length, operation, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_compile_and_names_each_call_once() {
        assert!(!allowing().unwrap().is_empty() && !refusing().unwrap().is_empty());
        let mut numbers: Vec<_> = ALLOWED.iter().map(|allowed| allowed.number).collect();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), ALLOWED.len());
    }

    #[test]
    fn s3_nothing_that_opens_connects_executes_or_makes_a_process_is_allowed() {
        for name in [
            "open",
            "socket",
            "connect",
            "bind",
            "execve",
            "clone",
            "fork",
            "ptrace",
            "unshare",
            "mount",
            "bpf",
            "dup",
            "fcntl",
            "ioctl",
            "listen",
            "getsockopt",
        ] {
            assert!(
                !ALLOWED
                    .iter()
                    .any(|allowed| name_of(allowed).starts_with(name)),
                "{name}"
            );
        }
    }

    fn name_of(allowed: &Allowed) -> &'static str {
        allowed.name.strip_prefix("SYS_").unwrap()
    }

    /// As docs/security/ says it.
    fn words(check: Check) -> String {
        match check {
            Is(place, value) => format!("argument {place} is {value}"),
            IsNot(place, value) => format!("argument {place} is not {value}"),
            IsBeside(place, bits, value) => {
                format!("argument {place} is {value} beside the bits {bits:#x}")
            }
            Only(place, bits) => format!("argument {place} has no bits but {bits:#x}"),
            Null(place) => format!("argument {place} is NULL"),
        }
    }

    fn condition_of(allowed: &Allowed) -> String {
        let rules: Vec<String> = allowed
            .rules
            .iter()
            .map(|checks| {
                let words: Vec<_> = checks.iter().copied().map(words).collect();
                words.join(" and ")
            })
            .collect();
        match rules.as_slice() {
            [] => String::new(),
            rules => format!("; if {}", rules.join(", or ")),
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn security_md_has_this_table() {
        let allowed = ALLOWED.iter().map(|allowed| {
            let (name, condition) = (name_of(allowed), condition_of(allowed));
            format!(
                "| {name} {} | {}{condition} |\n",
                allowed.number, allowed.reason
            )
        });
        let refused = REFUSED.iter().map(|(number, name, reason)| {
            format!("| {name} {number} | answered with EACCES: {reason} |\n")
        });
        let rows: String = allowed.chain(refused).collect();
        let made = format!("| call | why |\n|---|---|\n{rows}");
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/security/frontend-calls.md"
        );
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
            "docs/security/frontend-calls.md is out of date: run the tests with PRN_WRITE_TABLES=1 once"
        );
    }
}
