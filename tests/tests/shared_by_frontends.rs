//! What all frontends of a server share, against one that was taken over: whatever it does in its
//! sandbox to the listener and to memory, the next frontend serves as if nothing had been.
//!
//! Each attack is one child of the hostile frontend, in the frontend's own sandbox and with its
//! descriptors: a call that ends it is what should be.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use nix::libc::{self, c_int, c_long};
use prn_ipc_protocol::fds::frontend::{CHANNEL, CONFIG, EMPTY_FOLDER, LISTENER, TLS_KEY};
use prn_ipc_protocol::message::{Ask, Reply};
use prn_ipc_protocol::types::ProcessId;
use prn_tests::hostile_frontend::{Call, Deed, HostileFrontend, Mode, Outcome, call};
use prn_tests::server::Options;
use prn_tests::{deadline, wait_for};

/// Standard streams and all that is handed to a frontend.
const HANDED: [c_int; 8] = [0, 1, 2, CHANNEL, CONFIG, TLS_KEY, LISTENER, EMPTY_FOLDER];

/// The bit above those of a descriptor: the kernel does not look at it.
const WIDE: i64 = 1 << 32;

/// What came of calls that should each have been the end, but were not.
fn survived(
    hostile: &HostileFrontend,
    calls: impl IntoIterator<Item = (String, Call)>,
) -> Vec<String> {
    let end = Outcome {
        returned: Vec::new(),
        began: true,
        signal: libc::SIGSYS,
    };
    calls
        .into_iter()
        .map(|(what, call)| (what, hostile.attack(&[Deed::Call(call)], true)))
        .filter(|(_, outcome)| *outcome != end)
        .map(|(what, outcome)| format!("{what}: {:?}", outcome.returned))
        .collect()
}

/// The next frontend is the real one: new connections reach it, and it starts what it is asked to.
fn the_next_one_serves(hostile: &mut HostileFrontend) {
    hostile.hand_over();
    assert_eq!(
        hostile.server.ok(&["run", "--", "echo", "served"]),
        "served\n"
    );
}

fn number(value: c_int) -> i64 {
    i64::from(value)
}

fn set(socket: i64, level: c_int, option: c_int, value: &[u8]) -> Call {
    let length = i64::try_from(value.len()).unwrap();
    call(
        libc::SYS_setsockopt,
        &[socket, number(level), number(option), 0, length],
    )
    .bytes(3, value)
}

#[test]
fn x2_no_option_of_the_listener_can_be_set() {
    let mut hostile = HostileFrontend::start();
    let mut calls = Vec::new();
    // All that there are, and then some: the highest of Linux 6.18 are 83, 51, 84, 45 and 4.
    for (level, highest) in [
        (libc::SOL_SOCKET, 90),
        (libc::IPPROTO_IP, 60),
        (libc::IPPROTO_IPV6, 90),
        (libc::IPPROTO_TCP, 60),
        (libc::SOL_TLS, 6),
        (libc::IPPROTO_MPTCP, 4),
        (libc::IPPROTO_RAW, 2),
        (libc::SOL_NETLINK, 2),
    ] {
        for option in 0..=highest {
            let call = set(number(LISTENER), level, option, &255u32.to_ne_bytes());
            calls.push((format!("level {level}, option {option}"), call));
        }
    }
    // iptables' tables, and an option with room for a structure (SO_LINGER, SO_ATTACH_FILTER).
    for (level, option) in [
        (libc::IPPROTO_IP, 64),
        (libc::IPPROTO_IPV6, 64),
        (libc::SOL_SOCKET, libc::SO_LINGER),
        (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER),
        (libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY),
    ] {
        let call = set(number(LISTENER), level, option, &[1; 16]);
        calls.push((format!("level {level}, option {option}, 16 bytes"), call));
    }
    // What may be set on a connection, with a number that the kernel takes for the listener's.
    for (level, option) in [
        (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    ] {
        let call = set(number(LISTENER) | WIDE, level, option, &1u32.to_ne_bytes());
        calls.push((format!("level {level}, option {option}, wide"), call));
    }
    assert_eq!(survived(&hostile, calls), [""; 0]);
    the_next_one_serves(&mut hostile);
}

#[test]
fn x2_of_other_sockets_only_what_serving_takes_can_be_set_or_asked() {
    let hostile = HostileFrontend::start();
    let allowed = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
        (libc::IPPROTO_TCP, libc::TCP_NODELAY),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT),
        (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT),
    ];
    let mut calls = Vec::new();
    for (level, highest) in [
        (libc::SOL_SOCKET, 90),
        (libc::IPPROTO_IP, 60),
        (libc::IPPROTO_IPV6, 90),
        (libc::IPPROTO_TCP, 60),
    ] {
        for option in 0..=highest {
            if !allowed.contains(&(level, option)) {
                let call = set(number(CHANNEL), level, option, &1u32.to_ne_bytes());
                calls.push((format!("set level {level}, option {option}"), call));
            }
        }
    }
    // Makes a descriptor of the supervisor (SO_PEERPIDFD, Linux 6.5).
    for (level, option) in [
        (libc::SOL_SOCKET, 77),
        (libc::SOL_SOCKET, libc::SO_PEERCRED),
    ] {
        let call = call(
            libc::SYS_getsockopt,
            &[number(CHANNEL), number(level), number(option), 0, 0],
        );
        calls.push((format!("get level {level}, option {option}"), call));
    }
    assert_eq!(survived(&hostile, calls), [""; 0]);
}

#[test]
fn x2_the_listener_cannot_be_shut_down_or_written_to() {
    let mut hostile = HostileFrontend::start();
    let mut calls = Vec::new();
    for listener in [number(LISTENER), number(LISTENER) | WIDE] {
        for how in [libc::SHUT_RD, libc::SHUT_WR, libc::SHUT_RDWR] {
            let call = call(libc::SYS_shutdown, &[listener, number(how)]);
            calls.push((format!("shutdown {listener:#x} {how}"), call));
        }
        for (name, send) in [
            ("sendto", libc::SYS_sendto),
            ("sendmsg", libc::SYS_sendmsg),
            ("recvmsg", libc::SYS_recvmsg),
        ] {
            let flags = number(libc::MSG_NOSIGNAL);
            let place = if send == libc::SYS_sendto { 3 } else { 2 };
            let mut arguments = [listener, 0, 0, 0, 0, 0];
            arguments[place] = flags;
            calls.push((format!("{name} {listener:#x}"), call(send, &arguments)));
        }
    }
    // The log may be a socket that both halves share.
    let call = call(libc::SYS_shutdown, &[2, number(libc::SHUT_RDWR)]);
    calls.push(("shutdown 2".to_owned(), call));
    assert_eq!(survived(&hostile, calls), [""; 0]);
    the_next_one_serves(&mut hostile);
}

/// Flags such as O_NONBLOCK and O_ASYNC, owner and signal belong to an open file description, which
/// outlives a frontend where the supervisor holds it too (open(2), fcntl(2)).
#[test]
fn x2_nothing_that_was_handed_over_can_be_changed_or_duplicated() {
    let mut hostile = HostileFrontend::start();
    let mut calls = Vec::new();
    let mut with = |name: &str, number: c_long, arguments: &[i64]| {
        calls.push((format!("{name} {arguments:?}"), call(number, arguments)));
    };
    // All commands of fcntl(2), and those of Linux (F_LINUX_SPECIFIC_BASE).
    for command in (0..=40).chain(1024..=1044) {
        with("fcntl", libc::SYS_fcntl, &[number(LISTENER), command, 0]);
    }
    for handed in HANDED.map(number) {
        let (asynchronous, nonblocking) = (0x5452, 0x5421);
        for (command, value) in [
            (libc::F_DUPFD, 0),
            (libc::F_DUPFD_CLOEXEC, 0),
            (libc::F_SETFD, 0),
            (libc::F_SETFL, libc::O_ASYNC | libc::O_NONBLOCK),
            (libc::F_SETOWN, 1),
            (libc::F_SETLK, 0),
            (libc::F_NOTIFY, 1),
        ] {
            with(
                "fcntl",
                libc::SYS_fcntl,
                &[handed, number(command), number(value)],
            );
        }
        with("dup", libc::SYS_dup, &[handed]);
        with("dup3", libc::SYS_dup3, &[handed, 100, 0]);
        for request in [asynchronous, nonblocking] {
            with("ioctl", libc::SYS_ioctl, &[handed, request, 0]);
        }
    }
    // FIOCLEX, FIOQSIZE, FIOSETOWN, SIOCSPGRP, SIOCGIFCONF, SIOCOUTQ, FS_IOC_SETFLAGS, TIOCSTI,
    // TUNSETIFF.
    for request in [
        0x5451,
        0x5460,
        0x8901,
        0x8902,
        0x8912,
        0x5411,
        0x4008_6602,
        0x5412,
        0x4004_54ca,
    ] {
        with("ioctl", libc::SYS_ioctl, &[number(LISTENER), request, 0]);
    }
    // Only from the listener.
    with("accept4", libc::SYS_accept4, &[number(CHANNEL), 0, 0, 0]);
    assert_eq!(survived(&hostile, calls), [""; 0]);
    the_next_one_serves(&mut hostile);
}

#[test]
fn x2_the_supervisor_makes_a_listener_that_does_not_listen_listen_again_and_says_so() {
    // Of its own: the kernel's choice is given up with the listening (inet_shutdown). And where
    // nobody else is that might take the port meanwhile.
    let free = TcpListener::bind("127.7.7.7:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut hostile = HostileFrontend::with(Options {
        address: Some(address),
        ..Options::default()
    });
    // Outside of its sandbox.
    let shut_down = call(
        libc::SYS_shutdown,
        &[number(LISTENER), number(libc::SHUT_RDWR)],
    );
    assert_eq!(hostile.call(shut_down), 0);
    the_next_one_serves(&mut hostile);
    let said = "audit: the listener did not listen any more";
    let log = hostile.server.log();
    assert_eq!(log.matches(said).count(), 1, "{log}");
    // Whoever finds it listening says nothing.
    hostile.take_over(Mode::Ready);
    the_next_one_serves(&mut hostile);
    assert_eq!(hostile.server.log().matches(said).count(), 1);
}

/// Where an attacker may map what it likes.
const PLACE: i64 = 0x2000_0000_0000;

/// 1,024 pages of a ring or of nothing.
const LENGTH: i64 = 4 << 20;

/// A frontend with a process whose ring is much larger than its output; the ring's descriptor.
fn with_a_ring() -> (HostileFrontend, i64) {
    let mut hostile = HostileFrontend::start();
    let mut spec = hostile.spec(&["sh", "-c", "echo x; exec sleep 1000"]);
    spec.process.output.max = 16 << 20;
    let id: ProcessId = spec.id;
    assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
    let (reply, fds) = hostile.ask(Ask::Subscribe(id));
    assert_eq!(reply, Reply::Subscribed);
    let ring = fds.first().copied().map(number).unwrap();
    wait_for("its output", || allocated(&hostile, ring) > 0);
    (hostile, ring)
}

/// Bytes of memory that a descriptor's file has.
fn allocated(hostile: &HostileFrontend, fd: i64) -> u64 {
    let path = format!("/proc/{}/fd/{fd}", hostile.pid);
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn x6_output_cannot_be_mapped_and_reading_it_takes_no_memory() {
    let (hostile, ring) = with_a_ring();
    let before = allocated(&hostile, ring);
    let (read, shared) = (
        number(libc::PROT_READ),
        number(libc::MAP_SHARED | libc::MAP_FIXED),
    );
    // Mapped, and then each page of it asked for.
    let map = call(libc::SYS_mmap, &[PLACE, LENGTH, read, shared, ring, 0]);
    let populate = call(
        libc::SYS_madvise,
        &[PLACE, LENGTH, number(libc::MADV_POPULATE_READ)],
    );
    let outcome = hostile.attack(&[Deed::Call(map), Deed::Call(populate)], true);
    let private = number(libc::MAP_PRIVATE);
    let populated = call(
        libc::SYS_mmap,
        &[
            0,
            LENGTH,
            read,
            private | number(libc::MAP_POPULATE),
            ring,
            0,
        ],
    );
    let other = hostile.attack(&[Deed::Call(populated)], true);
    assert_eq!(allocated(&hostile, ring), before);
    for outcome in [outcome, other] {
        assert_eq!(
            (outcome.returned, outcome.signal),
            (Vec::new(), libc::SIGSYS)
        );
    }
    // A hole is read without a page (tmpfs), also a hole that is longer than what is read at once.
    let buffer = vec![0; 1 << 20];
    let until = Instant::now() + deadline();
    for offset in (0..16).map(|megabyte| megabyte << 20) {
        assert!(Instant::now() < until);
        let read = call(libc::SYS_pread64, &[ring, 0, 1 << 20, offset]).bytes(1, &buffer);
        let outcome = hostile.attack(&[Deed::Call(read)], true);
        assert_eq!(outcome.returned.len(), 1, "{outcome:?}");
    }
    assert_eq!(allocated(&hostile, ring), before);
}

#[test]
fn x6_memory_is_private_anonymous_and_of_ordinary_pages() {
    let (mut hostile, ring) = with_a_ring();
    let (read, write) = (number(libc::PROT_READ), number(libc::PROT_WRITE));
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let mut calls = Vec::new();
    let mut with = |name: &str, number: c_long, arguments: &[i64]| {
        calls.push((format!("{name} {arguments:x?}"), call(number, arguments)));
    };
    for fd in [ring, number(CONFIG), number(LISTENER), number(CHANNEL), 0] {
        for kind in [
            libc::MAP_PRIVATE,
            libc::MAP_SHARED,
            libc::MAP_SHARED_VALIDATE,
        ] {
            with(
                "mmap",
                libc::SYS_mmap,
                &[0, 4096, read, number(kind), fd, 0],
            );
        }
    }
    // Huge pages are the machine's, locked ones are never taken back, and shared ones outlive who
    // maps them.
    for flags in [
        libc::MAP_SHARED | libc::MAP_ANONYMOUS,
        libc::MAP_SHARED_VALIDATE | libc::MAP_ANONYMOUS,
        anonymous | libc::MAP_HUGETLB,
        anonymous | libc::MAP_LOCKED,
        anonymous | libc::MAP_POPULATE,
        anonymous | libc::MAP_GROWSDOWN,
        anonymous | libc::MAP_SYNC,
        // MAP_DROPPABLE (linux/mman.h, Linux 6.11), in place of MAP_PRIVATE and beside it.
        libc::MAP_ANONYMOUS | 0x08,
        anonymous | 0x08,
        0,
    ] {
        let arguments = [0, 4096, read | write, number(flags), -1, 0];
        with("mmap", libc::SYS_mmap, &arguments);
    }
    for advice in (0..=30).chain(95..=110) {
        if advice != number(libc::MADV_DONTNEED) {
            with("madvise", libc::SYS_madvise, &[PLACE, 4096, advice]);
        }
    }
    for flags in [
        0,
        libc::MREMAP_FIXED | libc::MREMAP_MAYMOVE,
        libc::MREMAP_DONTUNMAP | libc::MREMAP_MAYMOVE,
    ] {
        let arguments = [PLACE, 4096, 8192, number(flags), 0];
        with("mremap", libc::SYS_mremap, &arguments);
    }
    for (name, number, arguments) in [
        ("readahead", libc::SYS_readahead, &[ring, 0, LENGTH][..]),
        (
            "fadvise64",
            libc::SYS_fadvise64,
            &[ring, 0, LENGTH, number(libc::POSIX_FADV_WILLNEED)],
        ),
        ("mincore", libc::SYS_mincore, &[PLACE, 4096, 0]),
        ("mlock", libc::SYS_mlock, &[PLACE, 4096]),
        ("mlockall", libc::SYS_mlockall, &[1]),
        ("vmsplice", libc::SYS_vmsplice, &[1, 0, 0, 0]),
        ("splice", libc::SYS_splice, &[ring, 0, 1, 0, 4096, 0]),
        ("sendfile", libc::SYS_sendfile, &[1, ring, 0, 4096]),
        ("preadv2", libc::SYS_preadv2, &[ring, 0, 0, 0, 0, 0]),
        (
            "process_madvise",
            libc::SYS_process_madvise,
            &[-1, 0, 0, 0, 0],
        ),
        ("pipe2", libc::SYS_pipe2, &[0, 0]),
        ("eventfd2", libc::SYS_eventfd2, &[0, 0]),
        ("epoll_create1", libc::SYS_epoll_create1, &[0]),
    ] {
        with(name, number, arguments);
    }
    // FUTEX_LOCK_PI, FUTEX_REQUEUE, FUTEX_WAIT_REQUEUE_PI: kernel code that nothing here uses.
    for operation in [3, 4, 5, 6, 7, 8, 11, 12, 13] {
        for private in [0, 128] {
            let arguments = [PLACE, operation | private, 0, 0, 0, 0];
            with("futex", libc::SYS_futex, &arguments);
        }
    }
    assert_eq!(survived(&hostile, calls), [""; 0]);
    // The control: memory as the allocators take it, give it back and move it.
    let flags = number(anonymous | libc::MAP_FIXED | libc::MAP_NORESERVE);
    let allowed = [
        call(libc::SYS_mmap, &[PLACE, 8192, 0, flags, -1, 0]),
        call(libc::SYS_mprotect, &[PLACE, 8192, read | write]),
        call(
            libc::SYS_madvise,
            &[PLACE, 8192, number(libc::MADV_DONTNEED)],
        ),
        call(
            libc::SYS_mremap,
            &[PLACE, 8192, 4096, number(libc::MREMAP_MAYMOVE), 0],
        ),
        call(libc::SYS_munmap, &[PLACE, 8192]),
    ];
    let outcome = hostile.attack(&allowed.map(Deed::Call), true);
    assert_eq!(
        (outcome.returned, outcome.signal),
        (vec![PLACE, 0, 0, PLACE, 0], 0)
    );
    hostile.live_again(Mode::Ready);
    the_next_one_serves(&mut hostile);
}
