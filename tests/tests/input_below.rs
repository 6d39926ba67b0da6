//! Input and terminals as the supervisor has them, against a frontend that was taken over.
#![expect(
    unsafe_code,
    reason = "a call whose answer goes to memory that does not arrive"
)]

use std::fs;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::libc::{self, c_long};
use prn_ipc_protocol::message::{
    Ask, Event, ExitStatus, Input, Refusal, Reply, Request, StopHow, TerminalSize,
};
use prn_ipc_protocol::types::ProcessId;
use prn_tests::hostile_frontend::{Deed, HostileFrontend, Mode, Outcome, call, encoded};
use prn_tests::slow_memory::SlowPage;
use prn_tests::{procfs, wait_for};

const SIZE: TerminalSize = TerminalSize {
    rows: 33,
    columns: 101,
};

fn start(hostile: &mut HostileFrontend, input: Input, script: &str) -> ProcessId {
    let mut spec = hostile.spec(&["sh", "-c", script]);
    spec.process.input = input;
    let id = spec.id;
    assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
    id
}

/// What was taken, and where to write.
fn lent(hostile: &mut HostileFrontend, id: ProcessId) -> (Option<u64>, i64) {
    match hostile.ask(Ask::LendInput(id)) {
        (Reply::Input { taken }, fds) => (taken, i64::from(fds[0])),
        other => panic!("{other:?}"),
    }
}

fn write(hostile: &HostileFrontend, fd: i64, bytes: &[u8]) -> i64 {
    let length = i64::try_from(bytes.len()).unwrap();
    hostile.call(call(libc::SYS_write, &[fd, 0, length]).bytes(1, bytes))
}

/// Closes it, and says how much was ever taken.
fn give_back(hostile: &mut HostileFrontend, id: ProcessId, fd: i64, taken: u64) {
    assert_eq!(hostile.call(call(libc::SYS_close, &[fd])), 0);
    hostile.send(&encoded(&Request::InputTaken { id, taken }));
}

fn exit(hostile: &mut HostileFrontend, id: ProcessId) -> ExitStatus {
    hostile.end_of(id).main_exit.expect("its end").status
}

const OK: ExitStatus = ExitStatus::Exited(0);

#[test]
fn n1_input_reaches_the_process_in_order_and_ends_when_that_is_said() {
    let mut hostile = HostileFrontend::start();
    let id = start(&mut hostile, Input::Pipe, "test \"$(cat)\" = onetwo");
    let (taken, fd) = lent(&mut hostile, id);
    assert_eq!(taken, Some(0));
    assert_eq!(write(&hostile, fd, b"one"), 3);
    give_back(&mut hostile, id, fd, 3);
    let (taken, fd) = lent(&mut hostile, id);
    assert_eq!(taken, Some(3));
    assert_eq!(write(&hostile, fd, b"two"), 3);
    assert_eq!(hostile.ask(Ask::EndInput(id)).0, Reply::Done);
    assert_eq!(hostile.ask(Ask::EndInput(id)).0, Reply::Done, "so it is");
    let over = Reply::InputOver { taken: None };
    assert_eq!(hostile.ask(Ask::LendInput(id)).0, over, "it is out");
    give_back(&mut hostile, id, fd, 6);
    let over = Reply::InputOver { taken: Some(6) };
    assert_eq!(hostile.ask(Ask::LendInput(id)).0, over);
    assert_eq!(exit(&mut hostile, id), OK);
    assert_eq!(
        hostile.ask(Ask::LendInput(id)).0,
        over,
        "known after its end"
    );
}

#[test]
fn n2_a_frontend_that_dies_while_it_writes_ends_no_input_and_leaves_it_unknown() {
    let mut hostile = HostileFrontend::start();
    let id = start(&mut hostile, Input::Pipe, "test \"$(cat)\" = onetwo");
    let (_, fd) = lent(&mut hostile, id);
    assert_eq!(write(&hostile, fd, b"one"), 3);
    hostile.live_again(Mode::Ready);
    let (taken, fd) = lent(&mut hostile, id);
    assert_eq!(taken, None);
    assert_eq!(write(&hostile, fd, b"two"), 3);
    give_back(&mut hostile, id, fd, 6);
    assert_eq!(lent(&mut hostile, id).0, None, "for good");
    hostile.live_again(Mode::Ready);
    assert_eq!(hostile.ask(Ask::EndInput(id)).0, Reply::Done);
    assert_eq!(exit(&mut hostile, id), OK, "both parts, and then the end");
}

#[test]
fn n2_a_frontend_that_has_given_an_input_back_can_die_and_nothing_is_unknown() {
    let mut hostile = HostileFrontend::start();
    let id = start(&mut hostile, Input::Pipe, "test \"$(cat)\" = one");
    let (_, fd) = lent(&mut hostile, id);
    assert_eq!(write(&hostile, fd, b"one"), 3);
    give_back(&mut hostile, id, fd, 3);
    assert!(hostile.is_alive(), "it was read");
    hostile.live_again(Mode::Ready);
    assert_eq!(lent(&mut hostile, id).0, Some(3));
    hostile.live_again(Mode::Ready);
    assert_eq!(hostile.ask(Ask::EndInput(id)).0, Reply::Done);
    assert_eq!(exit(&mut hostile, id), OK);
}

#[test]
fn n3_what_has_no_input_or_no_terminal_is_refused_by_name() {
    let mut hostile = HostileFrontend::start();
    let nothing = start(&mut hostile, Input::Nothing, "sleep 60");
    let pipe = start(&mut hostile, Input::Pipe, "sleep 60");
    let refused = |refusal| Reply::Refused(refusal);
    for (ask, refusal) in [
        (Ask::LendInput(nothing), Refusal::NoInput),
        (Ask::EndInput(nothing), Refusal::NoInput),
        (Ask::ResizeTerminal(nothing, SIZE), Refusal::NoTerminal),
        (Ask::ResizeTerminal(pipe, SIZE), Refusal::NoTerminal),
    ] {
        assert_eq!(hostile.ask(ask).0, refused(refusal));
    }
    let unknown = ProcessId::from_bytes([9; 16]);
    for ask in [
        Ask::LendInput(unknown),
        Ask::EndInput(unknown),
        Ask::ResizeTerminal(unknown, SIZE),
    ] {
        assert_eq!(hostile.ask(ask).0, refused(Refusal::UnknownProcess));
    }
    hostile.send(&encoded(&Request::InputTaken {
        id: unknown,
        taken: u64::MAX,
    }));
    assert!(hostile.is_alive());
}

#[test]
fn n3_input_and_terminals_cannot_be_read_back_or_changed() {
    for (input, script) in [
        (Input::Pipe, "sleep 60"),
        (Input::Terminal(SIZE), "echo shown; sleep 60"),
    ] {
        let mut hostile = HostileFrontend::start();
        let id = start(&mut hostile, input, script);
        let (_, fd) = lent(&mut hostile, id);
        assert_eq!(write(&hostile, fd, b"secret"), 6);
        let read = Deed::Call(call(libc::SYS_read, &[fd, 0, 16]).bytes(1, &[0; 16]));
        let pread = Deed::Call(call(libc::SYS_pread64, &[fd, 0, 16, 0]).bytes(1, &[0; 16]));
        let outcome = hostile.attack(&[read, pread], true);
        let refused = [-i64::from(libc::EBADF), -i64::from(libc::ESPIPE)];
        assert!(
            matches!(&outcome.returned[..], [a, b] if *a == refused[0] && refused.contains(b)),
            "{outcome:?}"
        );
        let dies = |what: &str, number: c_long, arguments: &[i64]| {
            let outcome = hostile.attack(&[Deed::Call(call(number, arguments))], true);
            let end = Outcome {
                returned: Vec::new(),
                began: true,
                signal: libc::SIGSYS,
            };
            assert_eq!(outcome, end, "{what}");
        };
        let fcntl = |command: i32, argument| [fd, i64::from(command), argument];
        dies("blocking", libc::SYS_fcntl, &fcntl(libc::F_SETFL, 0));
        dies("size", libc::SYS_fcntl, &fcntl(libc::F_SETPIPE_SZ, 1 << 20));
        dies("ioctl", libc::SYS_ioctl, &[fd, 0x5412, 0]);
        dies("splice", libc::SYS_splice, &[fd, 0, fd, 0, 1, 0]);
        dies("tee", libc::SYS_tee, &[fd, fd, 1, 0]);
        // Nor by the name of the descriptor: there is no file to open.
        let path = format!("/proc/self/fd/{fd}\0");
        let open = call(libc::SYS_openat, &[i64::from(libc::AT_FDCWD), 0, 0, 0]);
        let outcome = hostile.attack(&[Deed::Call(open.bytes(1, path.as_bytes()))], true);
        assert!(
            matches!(outcome.returned[..], [] | [-13 | -2]),
            "{outcome:?}"
        );
    }
}

#[test]
fn n3_a_terminal_is_the_processs_own_and_has_the_size_that_was_asked_for() {
    let mut hostile = HostileFrontend::start();
    // The terminal is its session's, its user's, and nobody else can write to it.
    let script = "set -e; test \"$(stty size)\" = '33 101'; stty -a | grep -q ' iutf8'; t=$(tty); \
        test \"$(stat -c '%u %g %a' $t)\" = \"$(id -u) $(id -g) 600\"; echo >/dev/tty; echo >$t; test -t 1; test -t 2; \
        read line; test \"$line\" = typed; trap 'test \"$(stty size)\" = \"7 8\" && exit 5' WINCH; echo ready; \
        while :; do sleep 0.05; done";
    let id = start(&mut hostile, Input::Terminal(SIZE), script);
    let (taken, fd) = lent(&mut hostile, id);
    assert_eq!(taken, Some(0));
    assert_eq!(write(&hostile, fd, b"typed\n"), 6);
    let size = TerminalSize {
        rows: 7,
        columns: 8,
    };
    // Both empty lines, the echo and the last word, each with a carriage return: the trap is there.
    let seen = 2 + 2 + 7 + 6;
    hostile.send(&encoded(&Request::Watch { id, seen }));
    hostile.event(|event| match event {
        Event::Advanced { id: other, .. } if *other == id => Some(()),
        _ => None,
    });
    assert_eq!(hostile.ask(Ask::ResizeTerminal(id, size)).0, Reply::Done);
    let info = hostile.end_of(id);
    assert_eq!(info.main_exit.unwrap().status, ExitStatus::Exited(5));
    let resize = hostile.ask(Ask::ResizeTerminal(id, size)).0;
    assert_eq!(resize, Reply::Refused(Refusal::NoTerminal));
}

#[test]
fn o6_all_that_is_written_to_a_terminal_is_kept_also_what_is_written_last() {
    let mut hostile = HostileFrontend::start();
    for bytes in [1, 4095, 4096, 4097, 65_536, 300_000] {
        let script = format!("stty -opost; head -c {bytes} /dev/zero");
        let mut spec = hostile.spec(&["sh", "-c", &script]);
        spec.process.input = Input::Terminal(SIZE);
        spec.process.output.max = 1 << 20;
        let id = spec.id;
        assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
        let end = hostile.end_of(id).end.unwrap();
        assert_eq!((end.output.stdout, end.output.stderr), (bytes, 0));
    }
}

#[test]
fn n4_who_floods_a_terminal_that_nobody_reads_waits_and_costs_root_nothing() {
    let mut hostile = HostileFrontend::start();
    let silent = start(&mut hostile, Input::Terminal(SIZE), "sleep 60");
    let raw = "stty raw -echo; echo ready; sleep 60";
    let raw = start(&mut hostile, Input::Terminal(SIZE), raw);
    for id in [silent, raw] {
        let (_, fd) = lent(&mut hostile, id);
        let mut full = 0;
        // What the terminal takes, and then what the pipe holds.
        for _ in 0..10_000 {
            if write(&hostile, fd, &[b'x'; 4096]) < 0 {
                full += 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            if full > 200 {
                break;
            }
        }
        assert!(full > 200, "it is full in the end");
    }
    let supervisor = hostile.server.supervisor();
    let (switches, ticks) = (
        procfs::context_switches(supervisor),
        procfs::cpu_ticks(supervisor),
    );
    std::thread::sleep(Duration::from_secs(2));
    let woken = procfs::context_switches(supervisor) - switches;
    assert!(woken < 20, "woken {woken} times");
    assert!(procfs::cpu_ticks(supervisor) - ticks < 10);
    assert!(hostile.is_alive());
}

/// The name of a process's terminal.
fn terminal_of(hostile: &HostileFrontend, id: ProcessId) -> String {
    let group = hostile
        .server
        .cgroup()
        .join("processes")
        .join(id.to_string());
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    let first: i32 = members.lines().next().unwrap().parse().unwrap();
    let link = fs::read_link(format!("/proc/{first}/fd/0")).unwrap();
    link.to_str().unwrap().to_owned()
}

/// Makes a call on it, from a thread of its own, whose answer goes to memory that does not arrive.
fn call_that_waits(terminal: &str, request: libc::Ioctl) -> (SlowPage, JoinHandle<()>) {
    let page = SlowPage::new();
    let (address, file) = (page.address(), fs::File::open(terminal).unwrap());
    let (sender, thread) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        sender.send(nix::unistd::gettid()).unwrap();
        // SAFETY: the page is mapped for ever, and larger than what this request writes.
        unsafe { libc::ioctl(file.as_raw_fd(), request, address) };
    });
    let thread = thread.recv().unwrap();
    wait_for("the call to wait for its page", || {
        let path = format!("/proc/self/task/{thread}/wchan");
        fs::read_to_string(path).unwrap().contains("userfault")
    });
    (page, waiting)
}

#[test]
fn n4_a_call_on_a_terminal_that_does_not_come_back_holds_up_nobody_else() {
    let mut hostile = HostileFrontend::start();
    let id = start(&mut hostile, Input::Terminal(SIZE), "sleep 1000");
    let terminal = terminal_of(&hostile, id);
    let other = |rows| TerminalSize { rows, ..SIZE };
    // Who asks for the size has a lock that who sets it waits for.
    let (page, waiting) = call_that_waits(&terminal, libc::TIOCGWINSZ);
    for rows in 1..=5 {
        let resized = hostile.ask(Ask::ResizeTerminal(id, other(rows)));
        assert_eq!(resized.0, Reply::Done);
    }
    hostile.start_process(&["true"]);
    drop(page);
    waiting.join().unwrap();
    let size = format!("rows 5; columns {}", SIZE.columns);
    wait_for("the newest size", || {
        let stty = Command::new("stty").args(["-F", &terminal, "-a"]).output();
        String::from_utf8(stty.unwrap().stdout)
            .unwrap()
            .contains(&size)
    });
    // Who is in a call has what the last one to close it waits for.
    let (page, waiting) = call_that_waits(&terminal, libc::TCGETS);
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    hostile.start_process(&["true"]);
    let supervisor = hostile.server.supervisor();
    let children = procfs::children(supervisor).len();
    assert!(children >= 2, "one waits, beside the frontend");
    drop(page);
    waiting.join().unwrap();
    wait_for("its end", || procfs::children(supervisor).len() < children);
}

#[test]
fn n4_an_idle_terminal_wakes_nobody_and_nothing_of_it_is_left() {
    let mut hostile = HostileFrontend::start();
    let supervisor = hostile.server.supervisor();
    let before = procfs::descriptors(supervisor).len();
    let id = start(&mut hostile, Input::Terminal(SIZE), "read line; read line");
    let (_, fd) = lent(&mut hostile, id);
    assert_eq!(write(&hostile, fd, b"one\n"), 4);
    wait_for("quiet", || {
        let switches = procfs::context_switches(supervisor);
        std::thread::sleep(Duration::from_secs(1));
        procfs::context_switches(supervisor) == switches
    });
    assert_eq!(write(&hostile, fd, b"two\n"), 4);
    assert_eq!(exit(&mut hostile, id), OK);
    give_back(&mut hostile, id, fd, 8);
    let over = Reply::InputOver { taken: Some(8) };
    assert_eq!(hostile.ask(Ask::LendInput(id)).0, over);
    wait_for("all descriptors closed", || {
        procfs::descriptors(supervisor).len() <= before + 2
    });
}
