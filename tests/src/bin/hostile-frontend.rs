//! A `prn-frontend` that does what a test tells it to: see [`prn_tests::hostile_frontend`]. Started
//! by the real supervisor, with the descriptors and as the user that the real frontend gets.
//!
//! Under the name [`AS_PROCESS`] it is a process that tries to become root.
#![expect(
    unsafe_code,
    reason = "an attacker makes system calls that no safe wrapper would"
)]

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc::{self, c_long};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, getpid};
use prn_api_frontend::sandbox;
use prn_ipc_protocol::channel::{FrontendEnd, Received};
use prn_ipc_protocol::fds::frontend as numbers;
use prn_ipc_protocol::message::{Event, FromSupervisor, PROTOCOL, Request};
use prn_ipc_protocol::{codec, config, fds};
use prn_tests::hostile_frontend::{
    Answer, Argument, Call, Cargo, Deed, MODE, Mode, Order, Outcome, REAL, encoded, read_frame,
    write_frame,
};

/// First argument of a process that tries to become root.
const AS_PROCESS: &str = "hostile-process";

fn main() {
    if std::env::args().next().as_deref() == Some(AS_PROCESS) {
        return become_root();
    }
    let folder = std::env::current_exe()
        .expect("its own path")
        .parent()
        .expect("its folder")
        .to_owned();
    let mode = codec::decode(&std::fs::read(folder.join(MODE)).expect("a mode")).expect("a mode");
    if mode == Mode::Honest {
        // Descriptors and user are those that this program was started with.
        panic!(
            "{}",
            Command::new(folder.join(REAL)).arg0("prn-frontend").exec()
        );
    }
    let program = Program::begin(mode);
    program.serve().expect("a listener");
}

/// One life.
struct Program {
    flooded: Arc<AtomicU64>,
}

impl Program {
    /// Does what its mode says.
    fn begin(mode: Mode) -> Self {
        let program = Self {
            flooded: Arc::default(),
        };
        let hello = |protocol: &str| {
            program
                .send(&encoded(&Request::Hello(protocol.to_owned())), &[])
                .expect("Hello")
        };
        match mode {
            Mode::Silent | Mode::Honest => {}
            Mode::OtherBuild => hello("prn 0.0.0 ipc 0"),
            Mode::Greeted | Mode::Ready => {
                hello(PROTOCOL);
                // By the real code: it takes descriptors, of which a snapshot has none.
                let mut channel = FrontendEnd::new(duplicate(numbers::CHANNEL));
                loop {
                    wait_readable(numbers::CHANNEL);
                    match channel
                        .receive(FromSupervisor::descriptors)
                        .expect("the snapshot")
                    {
                        Received::Message(FromSupervisor::Event(Event::SnapshotEnd { .. }), _) => {
                            break;
                        }
                        Received::Message(..) | Received::Nothing => {}
                        Received::Closed => panic!("no snapshot"),
                    }
                }
                if mode == Mode::Ready {
                    program.send(&encoded(&Request::Ready), &[]).expect("Ready");
                }
            }
        }
        program
    }

    /// Takes orders, from one connection after the other.
    fn serve(&self) -> io::Result<()> {
        loop {
            wait_readable(numbers::LISTENER);
            // SAFETY: accept4(2) with no address to fill in.
            let number = unsafe {
                libc::accept4(
                    numbers::LISTENER,
                    std::ptr::null_mut(),
                    std::ptr::null_mut(),
                    libc::SOCK_CLOEXEC,
                )
            };
            match Errno::result(number) {
                // SAFETY: accept4(2) has just made this descriptor, for nobody else.
                Ok(number) => self.obey(&TcpStream::from(unsafe { OwnedFd::from_raw_fd(number) })),
                Err(Errno::EAGAIN | Errno::ECONNABORTED) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn obey(&self, link: &TcpStream) {
        let _ = link.set_nodelay(true);
        if write_frame(link, &Answer::Here(getpid().as_raw())).is_err() {
            return;
        }
        while let Ok(order) = read_frame(link) {
            if write_frame(link, &self.act(order)).is_err() {
                return;
            }
        }
    }

    fn act(&self, order: Order) -> Answer {
        match order {
            Order::Send(bytes, cargo, count, times) => self.send_many(&bytes, cargo, count, times),
            Order::Receive => receive(),
            Order::Call(call) => Answer::Returned(make(call)),
            Order::Attack(deeds, sandboxed) => Answer::Ended(attack(deeds, sandboxed)),
            Order::Flood(bytes) => {
                let flooded = Arc::clone(&self.flooded);
                std::thread::spawn(move || flood(&bytes, &flooded));
                Answer::Done
            }
            Order::Flooded => Answer::Count(self.flooded.load(Ordering::Relaxed)),
            Order::Fork => {
                // SAFETY: the child makes one system call, again and again.
                match unsafe { fork() }.expect("fork") {
                    ForkResult::Child => loop {
                        nix::unistd::pause();
                    },
                    ForkResult::Parent { child } => Answer::Forked(child.as_raw()),
                }
            }
            Order::CloseChannel => {
                nix::unistd::close(numbers::CHANNEL).expect("close");
                Answer::Done
            }
            Order::Exit => leave(),
        }
    }

    fn send_many(&self, bytes: &[u8], cargo: Cargo, count: u32, times: u32) -> Answer {
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .expect("/dev/null");
        let number = match cargo {
            Cargo::Null => null.as_raw_fd(),
            Cargo::Channel => numbers::CHANNEL,
            Cargo::Listener => numbers::LISTENER,
        };
        let cargo = vec![number; count.try_into().expect("a count")];
        let (mut sent, mut failed) = (0, 0);
        for _ in 0..times {
            match self.send(bytes, &cargo) {
                Ok(()) => sent += 1,
                Err(error) if failed == 0 => failed = error as i32,
                Err(_) => {}
            }
        }
        Answer::Sent(sent, failed)
    }

    /// Sends one datagram, without waiting for room.
    fn send(&self, bytes: &[u8], cargo: &[RawFd]) -> nix::Result<()> {
        let rights = [ControlMessage::ScmRights(cargo)];
        let control = if cargo.is_empty() {
            &[]
        } else {
            rights.as_slice()
        };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        sendmsg::<()>(
            numbers::CHANNEL,
            &[IoSlice::new(bytes)],
            control,
            flags,
            None,
        )
        .map(drop)
    }
}

/// Waits until there is something to receive or to accept. The server's end ends this program.
fn wait_readable(number: RawFd) {
    // SAFETY: the numbers that this program was started with stay open, but for the channel, once
    // closed.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::NONE).expect("poll");
}

fn duplicate(number: RawFd) -> OwnedFd {
    // SAFETY: F_DUPFD_CLOEXEC makes a descriptor, for nobody else.
    unsafe {
        OwnedFd::from_raw_fd(
            Errno::result(libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 100)).expect("a copy"),
        )
    }
}

/// Receives one datagram with whatever comes with it.
fn receive() -> Answer {
    wait_readable(numbers::CHANNEL);
    let mut bytes = vec![0; 256 * 1024];
    let mut control = nix::cmsg_space!([RawFd; 253]);
    let mut parts = [io::IoSliceMut::new(&mut bytes)];
    let got = nix::sys::socket::recvmsg::<()>(
        numbers::CHANNEL,
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )
    .expect("recvmsg");
    let fds = got
        .cmsgs()
        .expect("control messages")
        .flat_map(|message| match message {
            nix::sys::socket::ControlMessageOwned::ScmRights(numbers) => numbers,
            _ => Vec::new(),
        })
        .collect();
    let length = got.bytes;
    bytes.truncate(length);
    Answer::Received(bytes, fds)
}

fn flood(bytes: &[u8], count: &AtomicU64) {
    loop {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(numbers::CHANNEL, &[IoSlice::new(bytes)], &[], flags, None) {
            Ok(_) => drop(count.fetch_add(1, Ordering::Relaxed)),
            Err(Errno::EAGAIN) => {
                // SAFETY: the channel is open for as long as there is a flood.
                let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(numbers::CHANNEL) };
                poll(
                    &mut [PollFd::new(fd, PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                )
                .expect("poll");
            }
            Err(_) => return,
        }
    }
}

/// Makes a system call; its result, or its negative errno.
fn make(call: Call) -> i64 {
    let mut call = call;
    let mut words = [0; 6];
    for (word, argument) in words.iter_mut().zip(&mut call.arguments) {
        *word = match argument {
            Argument::Number(number) => *number as c_long,
            Argument::Bytes(bytes) => bytes.as_mut_ptr().expose_provenance() as c_long,
        };
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: none. It is whatever a test wants an attacker to do, and harms this program alone:
    // addresses are of buffers that outlive the call, or of nothing.
    let result = unsafe { libc::syscall(call.number, a, b, c, d, e, f) };
    if result == -1 {
        -i64::from(Errno::last_raw())
    } else {
        result
    }
}

/// Does it in a child, whose end can be told exactly. The child closes the frontend's own sandbox
/// behind itself first.
fn attack(deeds: Vec<Deed>, sandboxed: bool) -> Outcome {
    let (mut results, report) = io::pipe().expect("a pipe");
    // SAFETY: there is one thread: a flood is not told to attack.
    let child = match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            drop(results);
            in_child(deeds, sandboxed, report)
        }
        ForkResult::Parent { child } => child,
    };
    drop(report);
    let mut bytes = Vec::new();
    results.read_to_end(&mut bytes).expect("a report");
    let mut words = bytes
        .chunks_exact(8)
        .map(|word| i64::from_le_bytes(word.try_into().expect("8 bytes")));
    let began = words.next().is_some();
    let signal = match waitpid(child, None).expect("its end") {
        WaitStatus::Signaled(_, signal, _) => signal as i32,
        WaitStatus::Exited(_, _) => 0,
        other => panic!("{other:?}"),
    };
    Outcome {
        returned: words.collect(),
        began,
        signal,
    }
}

fn in_child(deeds: Vec<Deed>, sandboxed: bool, mut report: io::PipeWriter) -> ! {
    let mut tell = |word: i64| report.write_all(&word.to_le_bytes()).expect("a report");
    if sandboxed {
        sandbox::begin().expect("the first station");
        let empty = fds::inherited(numbers::EMPTY_FOLDER).expect("a folder");
        let config = fds::inherited(numbers::CONFIG).expect("a configuration");
        let config: config::Frontend = config::read(config.as_fd()).expect("its values");
        sandbox::leave(&empty, config.has_namespaces).expect("the second station");
        sandbox::close().expect("the third station");
    }
    tell(0);
    for deed in deeds {
        tell(match deed {
            Deed::Call(call) => make(call),
            Deed::Int80 => int80(),
            Deed::CaughtPanic => i64::from(std::panic::catch_unwind(|| panic!("caught")).is_err()),
            Deed::Panic => panic_without_unwinding(),
            Deed::AllocationFailure => {
                std::hint::black_box(Vec::<u8>::with_capacity(1 << 60)).capacity() as i64
            }
        });
    }
    leave()
}

/// Exits without another word: in a child nothing of the parent's is done twice.
fn leave() -> ! {
    // SAFETY: it ends this process.
    unsafe { libc::_exit(0) }
}

extern "C" fn panic_without_unwinding() -> i64 {
    panic!("not to be caught");
}

#[cfg(target_arch = "x86_64")]
fn int80() -> i64 {
    /// asm/unistd_32.h
    const GETPID: i64 = 20;
    let result: i64;
    // SAFETY: the entry for 32-bit programs: the number is in eax, and getpid(2) has no arguments.
    // It keeps all registers but r8 to r11.
    unsafe {
        std::arch::asm!("int 0x80", inlateout("rax") GETPID => result,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn int80() -> i64 {
    std::process::abort()
}

/// Tries all ways back to root that need no more than a system call, and tells the errno of each.
fn become_root() {
    let ways = [
        ("setresuid", libc::SYS_setresuid, [0, 0, 0]),
        ("setreuid", libc::SYS_setreuid, [0, 0, 0]),
        ("setuid", libc::SYS_setuid, [0, 0, 0]),
        ("setresgid", libc::SYS_setresgid, [0, 0, 0]),
        ("setgid", libc::SYS_setgid, [0, 0, 0]),
        ("setgroups", libc::SYS_setgroups, [0, 0, 0]),
    ];
    for (name, number, arguments) in ways {
        let call = prn_tests::hostile_frontend::call(number, &arguments);
        println!("{name} {}", make(call));
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("its status");
    status
        .lines()
        .filter(|line| line.starts_with("Uid:") || line.starts_with("Gid:"))
        .for_each(|line| println!("{line}"));
}
