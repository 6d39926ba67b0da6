//! A frontend that was taken over, against the real supervisor: what it says, what it does not say,
//! what it does to the descriptors that it gets, and what it can do from inside its sandbox. No
//! word of it becomes more than policy allows.

use std::collections::HashMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_ipc_protocol::channel::MESSAGE_MAX;
use prn_ipc_protocol::message::{
    Ask, ChildStep, Denial, Event, ExitStatus, FromSupervisor, Keeping, OutputStore, PROTOCOL,
    ProcessSpec, Profile, Refusal, Reply, Request, RequestId, StartSpec, StopHow,
};
use prn_ipc_protocol::types::{
    ARGUMENTS_MAX, AccessName, LimitName, Limits, PathRule, ProcessId, UnixMicros,
};
use prn_proto::v1;
use prn_tests::hostile_frontend::{
    Answer, Cargo, Deed, HostileFrontend, Mode, Order, Outcome, call, encoded, replaced, spec,
};
use prn_tests::server::{Options, Server};
use prn_tests::{client, procfs, sha256, wait_for};

/// Faults of one server: each doubles the wait for the next frontend.
const FAULTS: usize = 4;

fn unknown() -> ProcessId {
    ProcessId::from_bytes([0xee; 16])
}

fn principal() -> AccessName {
    "client".to_owned().try_into().unwrap()
}

fn ask(request: u64, ask: Ask) -> Vec<u8> {
    encoded(&Request::Ask(RequestId(request), principal(), ask))
}

fn arguments(words: &[&str]) -> Options {
    Options {
        arguments: words.iter().map(|word| word.to_string()).collect(),
        ..Options::default()
    }
}

fn groups(server: &Server) -> usize {
    let entries = fs::read_dir(server.cgroup().join("processes"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir()).count()
}

// I2: what does not decode.

#[test]
fn i2_whatever_is_not_the_one_form_of_a_valid_message_is_a_fault_and_starts_nothing() {
    let undecodable = "datagram does not decode";
    let start = |hostile: &HostileFrontend, argv: &[&str], change: fn(&mut StartSpec)| {
        let mut spec = hostile.spec(argv);
        change(&mut spec);
        ask(1, Ask::Start(Box::new(spec)))
    };
    type Case = (
        &'static str,
        &'static str,
        Box<dyn Fn(&HostileFrontend) -> Vec<u8>>,
    );
    let cases: Vec<Case> = vec![
        ("unknown request", undecodable, Box::new(|_| vec![4])),
        (
            "unknown ask",
            undecodable,
            Box::new(|_| vec![2, 1, 1, b'a', 99]),
        ),
        (
            "a principal's name that is none",
            undecodable,
            Box::new(|_| {
                let bytes = ask(1, Ask::Subscribe(unknown()));
                replaced(&bytes, b"client", b"cli\nnt")
            }),
        ),
        (
            "a byte more",
            undecodable,
            Box::new(|_| [ask(1, Ask::Subscribe(unknown())), vec![0]].concat()),
        ),
        (
            "a byte less",
            undecodable,
            Box::new(|_| {
                let bytes = ask(1, Ask::Subscribe(unknown()));
                bytes[..bytes.len() - 1].to_vec()
            }),
        ),
        ("a padded tag", undecodable, Box::new(|_| vec![0x81, 0x00])),
        (
            "a padded request id",
            undecodable,
            Box::new(|_| {
                replaced(
                    &ask(1, Ask::Subscribe(unknown())),
                    &[2, 1, 6],
                    &[2, 0x81, 0, 6],
                )
            }),
        ),
        (
            "a length beyond the end",
            undecodable,
            Box::new(|_| vec![0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ),
        (
            "one byte over the limit",
            "datagram too long",
            Box::new(|_| vec![0; MESSAGE_MAX + 1]),
        ),
        (
            "all that the kernel takes",
            "datagram too long",
            Box::new(|_| vec![0; 212_960]),
        ),
        (
            "NUL in argv",
            undecodable,
            Box::new(move |h| {
                replaced(
                    &start(h, &["true", "MARKMARK"], |_| {}),
                    b"MARKMARK",
                    b"MARK\0ARK",
                )
            }),
        ),
        (
            "NUL in the environment",
            undecodable,
            Box::new(move |h| {
                let bytes = start(h, &["true"], |spec| spec.variables.push(c"MARKMARK".into()));
                replaced(&bytes, b"MARKMARK", b"MARK\0ARK")
            }),
        ),
        (
            "NUL in the working directory",
            undecodable,
            Box::new(move |h| {
                let bytes = start(h, &["true"], |spec| {
                    spec.process.working_directory = Some(c"MARKMARK".into())
                });
                replaced(&bytes, b"MARKMARK", b"MARK\0ARK")
            }),
        ),
        (
            "no argv",
            undecodable,
            Box::new(move |h| replaced(&start(h, &["MARK"], |_| {}), b"\x01\x04MARK", b"\0")),
        ),
        (
            "no name in argv",
            undecodable,
            Box::new(move |h| replaced(&start(h, &["MARK"], |_| {}), b"\x01\x04MARK", b"\x01\0")),
        ),
        (
            "limits out of order",
            undecodable,
            Box::new(move |h| {
                let bytes = start(h, &["true"], |spec| {
                    spec.process.limits =
                        Limits::try_from([Some(12), None, None, None, Some(77)]).unwrap();
                });
                replaced(&bytes, &[2, 0, 12, 4, 77], &[2, 4, 77, 0, 12])
            }),
        ),
    ];
    for some in cases.chunks(FAULTS) {
        let mut hostile = HostileFrontend::start();
        for (what, why, bytes) in some {
            let bytes = bytes(&hostile);
            println!("{what}");
            hostile.fault(why, Mode::Ready, |hostile| hostile.throw(&bytes));
        }
        assert_eq!(groups(&hostile.server), 0, "something was started");
        assert!(hostile.is_alive());
    }
}

// I3: out of order.

#[test]
fn i3_each_message_outside_of_its_phase_is_a_fault_and_inside_it_is_none() {
    let hello = |protocol: &str| encoded(&Request::Hello(protocol.to_owned()));
    let phases = [Mode::Silent, Mode::Greeted, Mode::Ready];
    let mut faults = Vec::new();
    for phase in phases {
        let asks = phase == Mode::Ready;
        for (what, bytes, allowed) in [
            ("Hello", hello(PROTOCOL), phase == Mode::Silent),
            ("Hello of another build", hello("x"), false),
            ("Ready", encoded(&Request::Ready), phase == Mode::Greeted),
            ("Start", Vec::new(), asks),
            ("Stop", ask(1, Ask::Stop(unknown(), StopHow::Kill)), asks),
            ("Subscribe", ask(1, Ask::Subscribe(unknown())), asks),
            (
                "Watch",
                encoded(&Request::Watch {
                    id: unknown(),
                    seen: 0,
                }),
                asks,
            ),
            (
                "Taken",
                encoded(&Request::Taken {
                    id: unknown(),
                    offset: 0,
                }),
                asks,
            ),
        ] {
            if !allowed {
                let why = match (what, phase) {
                    ("Hello of another build", Mode::Silent) => "it is another build",
                    (_, Mode::Silent) => "not allowed in phase Silent",
                    (_, Mode::Greeted) => "not allowed in phase Greeted",
                    _ => "not allowed in phase Ready",
                };
                faults.push((what, phase, bytes, why));
            }
        }
    }
    assert_eq!(faults.len(), 3 * 8 - 7);
    for some in faults.chunks(FAULTS - 1) {
        let mut hostile = HostileFrontend::start();
        hostile.live_again(some[0].1);
        for (at, (what, phase, bytes, why)) in some.iter().enumerate() {
            println!("{what} in {phase:?}");
            let start = ask(1, Ask::Start(Box::new(hostile.spec(&["true"]))));
            let bytes = if *what == "Start" { &start } else { bytes };
            let next = some.get(at + 1).map_or(Mode::Ready, |next| next.1);
            hostile.fault(why, next, |hostile| hostile.throw(bytes));
        }
        assert_eq!(groups(&hostile.server), 0, "something was started");
    }

    // What is allowed, from the first word on.
    let mut hostile = HostileFrontend::start();
    hostile.live_again(Mode::Silent);
    let pid = hostile.pid;
    hostile.send(&hello(PROTOCOL));
    let (first, _) = hostile.receive();
    let end = |event: &Event| {
        matches!(
            event,
            Event::SnapshotEnd {
                change: 0,
                receipt_key: Some(_)
            }
        )
    };
    assert!(
        matches!(&first, FromSupervisor::Event(event) if end(event)),
        "{first:?}"
    );
    hostile.send(&encoded(&Request::Ready));
    let id = hostile.start_process(&["true"]);
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    assert_eq!(hostile.ask(Ask::Subscribe(id)).0, Reply::Subscribed);
    hostile.send(&encoded(&Request::Watch { id, seen: 0 }));
    assert!(hostile.is_alive());
    assert_eq!(hostile.server.frontend(), pid);
}

#[test]
fn i3_an_unknown_process_is_answered_and_costs_nobody_anything() {
    let mut hostile = HostileFrontend::start();
    let no = Reply::Refused(Refusal::UnknownProcess);
    for how in [StopHow::Kill, StopHow::Graceful(None)] {
        assert_eq!(hostile.ask(Ask::Stop(unknown(), how)).0, no);
    }
    assert_eq!(hostile.ask(Ask::Subscribe(unknown())), (no, Vec::new()));
    hostile.send(&encoded(&Request::Watch {
        id: unknown(),
        seen: 0,
    }));
    assert!(hostile.is_alive());
}

#[test]
fn i3_a_request_id_that_is_repeated_or_goes_back_is_a_fault() {
    let mut hostile = HostileFrontend::start();
    for (first, second) in [(7, 7), (7, 6), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
        hostile.fault("a request id was repeated", Mode::Ready, |hostile| {
            for request in [first, second] {
                hostile.throw(&ask(request, Ask::Stop(unknown(), StopHow::Kill)));
            }
        });
    }
    // The first one is greater than that of no request.
    hostile.fault("a request id was repeated", Mode::Ready, |hostile| {
        hostile.throw(&ask(0, Ask::Stop(unknown(), StopHow::Kill)));
    });
}

// I4: the empty datagram and the end.

#[test]
fn i4_an_empty_datagram_is_a_fault_and_the_end_of_the_channel_is_an_end() {
    let mut hostile = HostileFrontend::start();
    let id = hostile.start_process(&["sleep", "1000"]);
    hostile.fault("empty datagram", Mode::Ready, |hostile| hostile.throw(b""));
    // Closed by one that lives on: killed, so that it is the supervisor's child no more.
    hostile.fault("it closed the channel", Mode::Ready, |hostile| {
        let _ = hostile.try_order(&Order::CloseChannel);
    });
    // Half of it.
    hostile.fault("it closed the channel", Mode::Ready, |hostile| {
        let _ = hostile.try_order(&Order::Call(call(
            libc::SYS_shutdown,
            &[3, libc::SHUT_WR.into()],
        )));
    });
    hostile.live_again(Mode::Ready);
    assert_eq!(
        hostile.ask(Ask::Stop(id, StopHow::Kill)).0,
        Reply::Done,
        "the process has lived through all of it"
    );
    assert_eq!(hostile.server.stop(), Some(0));
}

// I5: the limits of a start request, end to end. That they are the frontend's to refuse, and by
// name, is also in api-frontend/tests/frontend.rs.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_start_request_at_the_limit_runs_and_one_byte_more_is_refused_by_the_frontend() {
    let server = Server::start();
    let mut client = client::connect(&server).await.unwrap();
    let script = "printf %s \"$0$1\" | wc -c";
    let request = |filler: usize| v1::StartRequest {
        command: "sh".to_owned(),
        args: vec![
            "-c".to_owned(),
            script.to_owned(),
            "x".repeat(60_000),
            "x".repeat(filler),
        ],
        ..v1::StartRequest::default()
    };
    // All strings together, one byte more for each.
    let filler = 128 * 1024 - ("sh".len() + "-c".len() + script.len() + 60_000 + 5);
    let started = client.start(request(filler)).await.unwrap().into_inner();
    let id = started.response.unwrap().id.unwrap().id;
    let output = client::collect(client.clone(), client::output_request(&id))
        .await
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap().trim(),
        (60_000 + filler).to_string()
    );
    let refused = client.start(request(filler + 1)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    assert!(refused.message().contains("131072"), "{refused}");
    assert!(!server.log().contains("audit"), "{}", server.log());
}

// I6: descriptors.

/// Linux before 6.16 cannot refuse them (SO_PASSRIGHTS, socket(7)): they are closed, and their
/// sender dies.
#[test]
fn i6_descriptors_do_not_reach_the_supervisor_and_it_keeps_none() {
    let mut hostile = HostileFrontend::start();
    let supervisor = hostile.server.supervisor();
    assert!(hostile.is_alive());
    let held = || procfs::descriptors(supervisor).len();
    let before = held();
    let bytes = encoded(&Request::Watch {
        id: unknown(),
        seen: 0,
    });
    let refused = Answer::Sent(0, Errno::EPERM as i32);
    if hostile.order(&Order::Send(bytes.clone(), Cargo::Null, 1, 1)) == refused {
        // None is even sent, so that one life can try all of them.
        for (cargo, count) in [
            (Cargo::Null, 1),
            (Cargo::Null, 253),
            (Cargo::Channel, 1),
            (Cargo::Listener, 2),
        ] {
            let answer = hostile.order(&Order::Send(bytes.clone(), cargo, count, 2500));
            assert_eq!(answer, refused, "{cargo:?} {count}");
        }
        assert!(hostile.is_alive());
        assert_eq!(held(), before);
    } else {
        hostile.meet_next();
        for (cargo, count) in [
            (Cargo::Null, 253),
            (Cargo::Channel, 1),
            (Cargo::Listener, 2),
        ] {
            hostile.fault("datagram too long", Mode::Ready, |hostile| {
                let _ = hostile.order(&Order::Send(bytes.clone(), cargo, count, 100));
            });
        }
    }
    // As many bad messages as the queue takes, in a life each: the first one ends it, with all the
    // others unread.
    for bad in [vec![], vec![0xff; 100], bytes[..5].to_vec()] {
        hostile.fault("fault: ", Mode::Ready, |hostile| {
            let _ = hostile.try_order(&Order::Send(bad, Cargo::Null, 0, 10_000));
        });
        assert!(hostile.is_alive());
    }
    wait_for("as many descriptors as before", || held() == before);
}

// I7: how descriptors are received, in the source.

#[test]
fn i7_messages_are_received_in_one_place_with_close_on_exec_and_nothing_cut() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for package in [
        "proto",
        "ipc-protocol",
        "supervisor",
        "api-frontend",
        "prn",
        "prn/client",
    ] {
        sources(&top.join(package).join("src"), &mut files);
    }
    assert!(files.len() > 30, "{files:?}");
    let receives = |line: &str| {
        let line = line.split("//").next().unwrap();
        ["recvmsg(", "recvmsg::<", "recvmmsg", "SYS_recvmsg,"]
            .iter()
            .any(|call| line.contains(call))
    };
    let mut found = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        let name = file.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        found.extend(
            text.lines()
                .filter(|line| receives(line))
                .map(|line| (name.clone(), line.trim().to_owned())),
        );
    }
    // A system call filter names it too, and so do the tables of `prn server start`. What a child
    // takes is its parent's, and is its own beyond its program's start if that is meant.
    let passing = "supervisor/src/sys/spawn/passing.rs";
    found.retain(|(name, _)| {
        !name.ends_with("api-frontend/src/filter.rs")
            && !name.contains("server/confinement")
            && name != passing
    });
    let passing = fs::read_to_string(top.join(passing)).unwrap();
    assert!(passing.contains("message.flags.contains(MsgFlags::MSG_CTRUNC)"));
    let [(name, line)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(name, "ipc-protocol/src/channel.rs");
    assert!(line.contains("flags"), "{line}");
    let channel = fs::read_to_string(top.join(name)).unwrap();
    assert!(channel.contains("let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;"));
    // However the lines are broken.
    let channel: String = channel.split_whitespace().collect();
    let cut = "ifgot.flags.intersects(MsgFlags::MSG_TRUNC|MsgFlags::MSG_CTRUNC){returnErr(";
    assert!(channel.contains(cut), "both are fatal");
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

// I8: a frontend that does not read.

/// A process that writes down how far it has got, where the test can read it without a frontend.
const COUNTER: &str =
    "i=0; while :; do i=$((i + 1)); echo $i > count.new; mv count.new count; sleep 0.01; done";

fn counted(server: &Server, id: ProcessId) -> u64 {
    let text = fs::read_to_string(server.state_dir().join(id.to_string()).join("count"))
        .unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[test]
fn i8_a_frontend_that_does_not_read_stops_neither_processes_nor_the_server_and_costs_a_bounded_amount()
 {
    let mut hostile = HostileFrontend::start();
    let id = hostile.start_process(&["sh", "-c", COUNTER]);
    let supervisor = hostile.server.supervisor();
    wait_for("the process", || counted(&hostile.server, id) > 0);
    let before = procfs::memory(supervisor, "VmRSS");
    // Requests that are answered, until neither queue takes any more: the supervisor listens to it
    // no longer.
    let (mut request, mut full) = (1000, 0);
    wait_for("full queues", || {
        for _ in 0..200 {
            request += 1;
            let bytes = ask(request, Ask::Stop(unknown(), StopHow::Kill));
            match hostile.order(&Order::Send(bytes, Cargo::Null, 0, 1)) {
                Answer::Sent(1, 0) => full = 0,
                Answer::Sent(0, errno) => {
                    assert_eq!(errno, Errno::EAGAIN as i32);
                    full += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        full > 1000
    });
    // Everything else goes on, and nothing is piled up.
    let (count, pid) = (counted(&hostile.server, id), hostile.pid);
    wait_for("the process to go on", || {
        counted(&hostile.server, id) > count + 20
    });
    let grown = procfs::memory(supervisor, "VmRSS").saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
    assert_eq!(
        (
            hostile.server.frontend(),
            hostile.server.log().contains("audit")
        ),
        (pid, false)
    );
    assert_eq!(hostile.server.stop(), Some(0));
    assert!(!hostile.server.state_dir().join(id.to_string()).exists());
}

#[test]
fn i8_a_frontend_has_a_bounded_number_of_requests_that_wait() {
    let mut hostile = HostileFrontend::start();
    let mut spec = hostile.spec(&[
        "sh",
        "-c",
        "trap '' TERM; echo x > ready; while :; do sleep 1; done",
    ]);
    spec.process.stop_grace = 3_600_000.try_into().unwrap();
    let id = spec.id;
    assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
    wait_for("its trap", || {
        hostile
            .server
            .state_dir()
            .join(id.to_string())
            .join("ready")
            .exists()
    });
    hostile.fault("too many requests wait", Mode::Ready, |hostile| {
        // Answered after an hour.
        for request in 1000..=2024 {
            let stop = Order::Send(
                ask(request, Ask::Stop(id, StopHow::Graceful(None))),
                Cargo::Null,
                0,
                1,
            );
            // Or its end.
            wait_for("room", || {
                !matches!(hostile.try_order(&stop), Ok(Answer::Sent(0, _)))
            });
        }
    });
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
}

// I9: descriptors that nobody takes.

#[test]
fn i9_two_hundred_subscriptions_can_wait_to_be_read() {
    let _turn = IN_FLIGHT
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut hostile = HostileFrontend::start();
    let id = hostile.start_process(&["sh", "-c", "echo out; exec sleep 1000"]);
    for _ in 0..200 {
        hostile.request(Ask::Subscribe(id));
    }
    let mut replies = 0;
    while replies < 200 {
        if let (FromSupervisor::Reply(_, reply), fds) = hostile.receive() {
            assert_eq!((reply, fds.len()), (Reply::Subscribed, 2));
            for fd in fds {
                hostile.call(call(libc::SYS_close, &[fd.into()]));
            }
            replies += 1;
        }
    }
    assert!(hostile.is_alive());
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
}

/// Descriptors in flight count for a user, and so for all servers of root (unix(7)): tests with many
/// take turns.
static IN_FLIGHT: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// With as few open files as a caller may have left it: descriptors in flight are then refused
/// (ETOOMANYREFS, unix(7)).
#[test]
fn i9_a_frontend_that_leaves_descriptors_unread_holds_few_and_the_next_serves_the_same_processes() {
    let _turn = IN_FLIGHT
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let wrapper = ["sh", "-c", "ulimit -n 340; exec \"$@\"", "sh"]
        .map(str::to_owned)
        .to_vec();
    let mut hostile = HostileFrontend::with(Options {
        wrapper,
        ..arguments(&["--max-finished", "64"])
    });
    let supervisor = hostile.server.supervisor();
    let id = hostile.start_process(&["sh", "-c", "echo out; echo err >&2; exec sleep 1000"]);
    assert_eq!(hostile.ask(Ask::Subscribe(id)).0, Reply::Subscribed);
    // Once this is answered, what the last answer brought is closed over there.
    assert_eq!(
        hostile.ask(Ask::Subscribe(unknown())).0,
        Reply::Refused(Refusal::UnknownProcess)
    );
    let before = procfs::descriptors(supervisor).len();
    // Root with CAP_SYS_ADMIN is not held to a number of descriptors under way (unix(7)). What holds
    // is that nothing more is read while the socket has no room for an answer: of requests that came
    // together, those of one turn have been read, 64, with two descriptors each.
    let asked = (0..4000).take_while(|_| try_request(&mut hostile, Ask::Subscribe(id)));
    let asked = asked.count();
    assert!(asked < 4000, "all of them were read");
    let now = procfs::descriptors(supervisor).len();
    assert!(
        now <= before + 8 + 2 * 64,
        "{now} of {before}, {asked} asked"
    );
    hostile.live_again(Mode::Ready);
    wait_for("as many descriptors as before", || {
        procfs::descriptors(supervisor).len() == before
    });
    hostile.hand_over();
    let name = id.to_string();
    assert_eq!(hostile.server.status(&name)["state"], "running");
    assert_eq!(
        hostile
            .server
            .ok(&["logs", &name, "--no-follow", "--stdout"]),
        "out\n"
    );
    hostile.server.ok(&["stop", &name, "--signal", "kill"]);
}

/// As `HostileFrontend::request`, if there is room for it.
fn try_request(hostile: &mut HostileFrontend, what: Ask) -> bool {
    let request = hostile.next_request();
    let order = Order::Send(ask(request, what), Cargo::Null, 0, 1);
    matches!(hostile.order(&order), Answer::Sent(1, _))
}

// I10: a flood.

#[test]
fn i10_a_flood_of_valid_requests_holds_up_neither_others_nor_the_end() {
    let mut hostile = HostileFrontend::start();
    let id = hostile.start_process(&["sh", "-c", COUNTER]);
    hostile.order(&Order::Flood(encoded(&Request::Watch {
        id,
        seen: u64::MAX,
    })));
    let flooded = |hostile: &HostileFrontend| match hostile.order(&Order::Flooded) {
        Answer::Count(count) => count,
        other => panic!("{other:?}"),
    };
    // Each of these is done between two readings of a flood that goes on.
    for _ in 0..10 {
        let (before, count) = (flooded(&hostile), counted(&hostile.server, id));
        let spec = hostile.spec(&["sh", "-c", "echo x"]);
        let other = spec.id;
        let start = Ask::Start(Box::new(spec));
        // There is room for it only now and then.
        let request = hostile.next_request();
        let bytes = ask(request, start);
        wait_for("room", || {
            hostile.order(&Order::Send(bytes.clone(), Cargo::Null, 0, 1)) == Answer::Sent(1, 0)
        });
        let end = hostile.end_of(other);
        assert_eq!(
            end.main_exit.map(|exit| exit.status),
            Some(ExitStatus::Exited(0))
        );
        assert_eq!(end.end.map(|end| end.output.stdout), Some(2));
        wait_for("the flood to go on", || flooded(&hostile) > before + 1000);
        wait_for("the process to go on", || {
            counted(&hostile.server, id) > count
        });
    }
    // A signal from outside is seen as well.
    assert_eq!(hostile.server.stop(), Some(0));
}

// I11: the channel.

#[test]
fn i11_the_channel_has_no_name_and_nobody_else_holds_an_end_of_it() {
    let server = Server::start();
    server.start_process(&[], &["sleep", "1000"]);
    let (supervisor, frontend) = (server.supervisor(), server.frontend());
    let theirs = channel_of(frontend, 3);
    let unix = unix_sockets();
    assert_eq!(
        unix.get(&theirs).map(String::as_str),
        Some(""),
        "it has no name"
    );
    let ours: Vec<_> = sockets(supervisor)
        .into_iter()
        .filter(|(_, inode)| unix.contains_key(inode))
        .collect();
    // The other one is the socket that root orders a reload on.
    let (ours, named): (Vec<_>, Vec<_>) =
        (ours.into_iter()).partition(|(_, inode)| unix[inode].is_empty());
    let ([(number, ours)], [(_, control)]) = (&ours[..], &named[..]) else {
        panic!("{ours:?} {named:?}")
    };
    let (number, ours) = (*number, *ours);
    assert!(unix[control].ends_with("/.control"), "{}", unix[control]);
    assert_ne!(ours, theirs);
    for (pid, number) in [(supervisor, number), (frontend, 3)] {
        let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
        let flags = text
            .lines()
            .find_map(|line| line.strip_prefix("flags:"))
            .unwrap()
            .trim();
        assert_ne!(
            i32::from_str_radix(flags, 8).unwrap() & libc::O_CLOEXEC,
            0,
            "close-on-exec"
        );
    }
    for pid in fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
    {
        for (_, inode) in sockets(pid) {
            assert!(
                inode != ours || pid == supervisor,
                "{pid} holds the supervisor's end"
            );
            assert!(
                inode != theirs || pid == frontend,
                "{pid} holds the frontend's end"
            );
        }
    }
    kill(Pid::from_raw(frontend), Signal::SIGKILL).unwrap();
    wait_for("its end to be seen", || {
        server.log().contains("the frontend has ended")
    });
    assert_ne!(server.frontend(), frontend);
}

#[test]
fn i11_what_a_frontend_has_forked_dies_with_it() {
    let mut hostile = HostileFrontend::start();
    let mut children = Vec::new();
    for _ in 0..2 {
        let Answer::Forked(child) = hostile.order(&Order::Fork) else {
            panic!("no child")
        };
        children.push(child);
    }
    // It still holds the channel, so that there is no end of the stream.
    kill(Pid::from_raw(hostile.pid), Signal::SIGKILL).unwrap();
    hostile.meet_next();
    for child in children {
        wait_for("the child's end", || !procfs::alive(child));
    }
}

fn sockets(pid: i32) -> Vec<(i32, u64)> {
    let inode = |target: &Path| {
        target
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    };
    procfs::descriptors(pid)
        .into_iter()
        .filter_map(|(number, target)| Some((number, inode(&target)?)))
        .collect()
}

fn channel_of(pid: i32, number: i32) -> u64 {
    sockets(pid)
        .into_iter()
        .find(|(other, _)| *other == number)
        .expect("a socket")
        .1
}

/// Name of each Unix socket of this network namespace, by inode (proc_net(5)).
fn unix_sockets() -> HashMap<u64, String> {
    let text = fs::read_to_string("/proc/net/unix").unwrap();
    let parse = |line: &str| {
        let mut fields = line.split_whitespace().skip(4);
        // SOCK_SEQPACKET: pairs of datagram sockets pass descriptors to children.
        if fields.next()? != "0005" {
            return None;
        }
        let mut fields = fields.skip(1);
        Some((
            fields.next()?.parse().ok()?,
            fields.next().unwrap_or_default().to_owned(),
        ))
    };
    text.lines().skip(1).filter_map(parse).collect()
}

// I12: halves that do not belong together.

#[test]
fn i12_a_frontend_of_another_build_is_refused_and_the_server_gives_up() {
    let (code, log) = HostileFrontend::refused(Mode::OtherBuild);
    assert_eq!(code, Some(1), "{log}");
    assert_eq!(
        log.matches("it is another build than the supervisor: install both halves together")
            .count(),
        5,
        "{log}"
    );
    assert!(
        log.contains("the frontend does not get as far as serving: giving up"),
        "{log}"
    );
    assert!(!log.contains("Listening"), "{log}");
}

// S3, S4: from inside the sandbox.

fn sys(number: libc::c_long, arguments: &[i64]) -> Deed {
    Deed::Call(call(number, arguments))
}

#[test]
fn s3_every_call_out_of_the_sandbox_is_the_end_of_the_attacker() {
    let hostile = HostileFrontend::start();
    let supervisor = i64::from(hostile.server.supervisor());
    let at = |number, arguments: &[i64], path: &[u8], place| {
        Deed::Call(call(number, arguments).bytes(place, path))
    };
    let (read, write, exec) = (
        i64::from(libc::PROT_READ),
        i64::from(libc::PROT_WRITE),
        i64::from(libc::PROT_EXEC),
    );
    let anonymous = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let cwd = i64::from(libc::AT_FDCWD);
    let tiocsti = 0x5412;
    let mut killed = vec![
        (
            "socket",
            sys(
                libc::SYS_socket,
                &[libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0],
            ),
        ),
        (
            "socketpair",
            sys(
                libc::SYS_socketpair,
                &[libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, 0],
            ),
        ),
        ("connect", sys(libc::SYS_connect, &[6, 0, 0])),
        ("bind", sys(libc::SYS_bind, &[6, 0, 0])),
        ("listen", sys(libc::SYS_listen, &[6, 1])),
        ("accept", sys(libc::SYS_accept, &[6, 0, 0])),
        (
            "openat2",
            at(libc::SYS_openat2, &[cwd, 0, 0, 0], b"/etc/passwd\0", 1),
        ),
        (
            "open_by_handle_at",
            sys(libc::SYS_open_by_handle_at, &[cwd, 0, 0]),
        ),
        ("execve", at(libc::SYS_execve, &[0, 0, 0], b"/bin/sh\0", 0)),
        (
            "execveat",
            at(
                libc::SYS_execveat,
                &[4, 0, 0, 0, libc::AT_EMPTY_PATH.into()],
                b"\0",
                1,
            ),
        ),
        (
            "clone, a process",
            sys(libc::SYS_clone, &[libc::SIGCHLD.into(), 0, 0, 0, 0]),
        ),
        (
            "clone, a thread",
            sys(
                libc::SYS_clone,
                &[i64::from(libc::CLONE_THREAD | libc::CLONE_VM), 0, 0, 0, 0],
            ),
        ),
        ("clone3", sys(libc::SYS_clone3, &[0, 0])),
        (
            "ptrace",
            sys(
                libc::SYS_ptrace,
                &[libc::PTRACE_ATTACH.into(), supervisor, 0, 0],
            ),
        ),
        (
            "process_vm_readv",
            sys(libc::SYS_process_vm_readv, &[supervisor, 0, 0, 0, 0, 0]),
        ),
        (
            "process_vm_writev",
            sys(libc::SYS_process_vm_writev, &[supervisor, 0, 0, 0, 0, 0]),
        ),
        ("pidfd_open", sys(libc::SYS_pidfd_open, &[supervisor, 0])),
        ("pidfd_getfd", sys(libc::SYS_pidfd_getfd, &[3, 3, 0])),
        (
            "pidfd_send_signal",
            sys(libc::SYS_pidfd_send_signal, &[3, 9, 0, 0]),
        ),
        ("kill", sys(libc::SYS_kill, &[supervisor, 9])),
        ("tkill", sys(libc::SYS_tkill, &[supervisor, 9])),
        (
            "rt_sigqueueinfo",
            sys(libc::SYS_rt_sigqueueinfo, &[supervisor, 9, 0]),
        ),
        ("io_uring_setup", sys(libc::SYS_io_uring_setup, &[1, 0])),
        ("bpf", sys(libc::SYS_bpf, &[0, 0, 0])),
        ("userfaultfd", sys(libc::SYS_userfaultfd, &[0])),
        (
            "perf_event_open",
            sys(libc::SYS_perf_event_open, &[0, 0, -1, -1, 0]),
        ),
        ("keyctl", sys(libc::SYS_keyctl, &[0, 0])),
        (
            "mmap W+X",
            sys(
                libc::SYS_mmap,
                &[0, 4096, read | write | exec, anonymous, -1, 0],
            ),
        ),
        (
            "mmap X",
            sys(libc::SYS_mmap, &[0, 4096, read | exec, anonymous, -1, 0]),
        ),
        (
            "mprotect X",
            sys(libc::SYS_mprotect, &[0x1000, 4096, read | exec]),
        ),
        (
            "pkey_mprotect",
            sys(libc::SYS_pkey_mprotect, &[0x1000, 4096, read | exec, -1]),
        ),
        (
            "remap_file_pages",
            sys(libc::SYS_remap_file_pages, &[0x1000, 4096, 0, 0, 0]),
        ),
        ("personality", sys(libc::SYS_personality, &[0x0040_0000])),
        (
            "memfd_create",
            at(libc::SYS_memfd_create, &[0, 0], b"x\0", 0),
        ),
        ("memfd_secret", sys(libc::SYS_memfd_secret, &[0])),
        (
            "ioctl TIOCSTI",
            at(libc::SYS_ioctl, &[2, tiocsti, 0], b"x", 2),
        ),
        // Bits above those that the kernel looks at do not hide it.
        (
            "ioctl TIOCSTI, wide",
            at(libc::SYS_ioctl, &[2, tiocsti | 1 << 32, 0], b"x", 2),
        ),
        (
            "fcntl F_SETOWN",
            sys(libc::SYS_fcntl, &[3, libc::F_SETOWN.into(), supervisor]),
        ),
        (
            "fcntl F_ADD_SEALS",
            sys(
                libc::SYS_fcntl,
                &[4, libc::F_ADD_SEALS.into(), libc::F_SEAL_WRITE.into()],
            ),
        ),
        ("flock", sys(libc::SYS_flock, &[7, libc::LOCK_EX.into()])),
        ("fchmod", sys(libc::SYS_fchmod, &[7, 0o777])),
        ("mkdirat", at(libc::SYS_mkdirat, &[7, 0, 0o777], b"x\0", 1)),
        (
            "linkat",
            sys(libc::SYS_linkat, &[4, 0, 7, 0, libc::AT_EMPTY_PATH.into()]),
        ),
        ("setuid", sys(libc::SYS_setuid, &[0])),
        ("setresuid", sys(libc::SYS_setresuid, &[0, 0, 0])),
        ("setgroups", sys(libc::SYS_setgroups, &[0, 0])),
        ("capset", sys(libc::SYS_capset, &[0, 0])),
        (
            "unshare",
            sys(libc::SYS_unshare, &[libc::CLONE_NEWUSER.into()]),
        ),
        ("setns", sys(libc::SYS_setns, &[3, 0])),
        ("mount", sys(libc::SYS_mount, &[0, 0, 0, 0, 0])),
        ("open_tree", sys(libc::SYS_open_tree, &[cwd, 0, 0])),
        ("fsopen", sys(libc::SYS_fsopen, &[0, 0])),
        ("chroot", at(libc::SYS_chroot, &[0], b".\0", 0)),
        ("fchdir", sys(libc::SYS_fchdir, &[7])),
        (
            "prctl PR_SET_DUMPABLE",
            sys(libc::SYS_prctl, &[libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0]),
        ),
        (
            "prctl PR_SET_PTRACER",
            sys(libc::SYS_prctl, &[libc::PR_SET_PTRACER.into(), -1, 0, 0, 0]),
        ),
        (
            "prctl PR_SET_MM",
            sys(libc::SYS_prctl, &[libc::PR_SET_MM.into(), 0, 0, 0, 0]),
        ),
        ("seccomp", sys(libc::SYS_seccomp, &[0, 0, 0])),
        (
            "prlimit64",
            sys(
                libc::SYS_prlimit64,
                &[supervisor, libc::RLIMIT_NOFILE.into(), 0, 0],
            ),
        ),
        ("shmget", sys(libc::SYS_shmget, &[0, 4096, 0o1000])),
        ("setpriority", sys(libc::SYS_setpriority, &[0, 0, 19])),
        (
            "sched_setaffinity",
            sys(libc::SYS_sched_setaffinity, &[supervisor, 0, 0]),
        ),
        (
            "landlock_create_ruleset",
            sys(libc::SYS_landlock_create_ruleset, &[0, 0, 0]),
        ),
        ("a number that no call has", sys(100_000, &[])),
    ];
    #[cfg(target_arch = "x86_64")]
    killed.extend([
        ("open", at(libc::SYS_open, &[0, 0, 0], b"/etc/passwd\0", 0)),
        ("creat", at(libc::SYS_creat, &[0, 0o600], b"x\0", 0)),
        ("fork", sys(libc::SYS_fork, &[])),
        ("vfork", sys(libc::SYS_vfork, &[])),
        ("modify_ldt", sys(libc::SYS_modify_ldt, &[0, 0, 0])),
        // The same number is allowed without the bit (getpid).
        ("getpid, x32", sys(0x4000_0000 | libc::SYS_getpid, &[])),
        (
            "execve, x32",
            at(0x4000_0000 | 520, &[0, 0, 0], b"/bin/sh\0", 0),
        ),
    ]);
    for (what, deed) in killed {
        let outcome = hostile.attack(&[deed], true);
        assert_eq!(
            outcome,
            Outcome {
                returned: Vec::new(),
                began: true,
                signal: libc::SIGSYS
            },
            "{what}"
        );
    }
    // These are answered. A file cannot be opened, whatever its name and whatever it is relative
    // to.
    let eacces = i64::from(libc::EACCES);
    for (folder, path) in [
        (cwd, &b"/etc/passwd\0"[..]),
        (7, b"../../../etc/passwd\0"),
        (cwd, b"/proc/self/mem\0"),
    ] {
        let outcome = hostile.attack(
            &[at(
                libc::SYS_openat,
                &[folder, 0, libc::O_RDWR.into(), 0],
                path,
                1,
            )],
            true,
        );
        assert_eq!((outcome.returned, outcome.signal), (vec![-eacces], 0));
    }
    // Another user's process cannot be signalled (kill(2)): nor can its own user's outside of it,
    // by Landlock.
    for process in [supervisor, i64::from(hostile.pid)] {
        let outcome = hostile.attack(&[sys(libc::SYS_tgkill, &[process, process, 9])], true);
        assert_eq!(
            (outcome.returned, outcome.signal),
            (vec![-i64::from(libc::EPERM)], 0)
        );
    }
    // The other half's process number is of no use, and what is allowed is allowed.
    let outcome = hostile.attack(
        &[sys(libc::SYS_getpid, &[]), sys(libc::SYS_gettid, &[])],
        true,
    );
    assert_eq!((outcome.returned.len(), outcome.signal), (2, 0));
    // The control: without the sandbox the same calls are answered.
    let deeds = [
        sys(libc::SYS_socket, &[0, 0, 0]),
        sys(libc::SYS_setuid, &[0]),
        sys(libc::SYS_mount, &[0; 5]),
    ];
    let outcome = hostile.attack(&deeds, false);
    assert_eq!(
        (outcome.returned.len(), outcome.began, outcome.signal),
        (3, true, 0)
    );
}

/// A kernel without 32-bit programs has no such entry, and the instruction is a fault there.
#[test]
#[cfg(target_arch = "x86_64")]
fn s3_the_entry_for_32_bit_programs_is_the_end_of_the_attacker() {
    let hostile = HostileFrontend::start();
    let control = hostile.attack(&[Deed::Int80], false);
    let outcome = hostile.attack(&[Deed::Int80], true);
    let expected = if control.signal == 0 {
        libc::SIGSYS
    } else {
        control.signal
    };
    assert_eq!((outcome.returned, outcome.signal), (Vec::new(), expected));
}

/// A listener that were shut down would be a socket like any other, in the host's network: TCP Fast
/// Open connects it by sending (tcp(7)), and there is no connect(2) for the filter, or for Landlock
/// (measured on 6.18), to see. So neither can be done.
#[test]
fn s3_the_listener_is_no_way_out() {
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    outside.set_nonblocking(true).unwrap();
    let port = outside.local_addr().unwrap().port();
    let hostile = HostileFrontend::start();
    let address = [
        &2u16.to_ne_bytes()[..],
        &port.to_be_bytes(),
        &[127, 0, 0, 1],
        &[0; 8],
    ]
    .concat();
    let shut_down = call(libc::SYS_shutdown, &[6, libc::SHUT_RDWR.into()]);
    let flags = |more: libc::c_int| i64::from(libc::MSG_NOSIGNAL | more);
    let send = |flags, length| {
        call(libc::SYS_sendto, &[6, 0, 1, flags, 0, length])
            .bytes(1, b"x")
            .bytes(4, &address)
    };
    let message = call(libc::SYS_sendmsg, &[6, 0, flags(libc::MSG_FASTOPEN)]);
    // Outside of the sandbox it is such a socket.
    assert_eq!(hostile.call(shut_down.clone()), 0);
    let (fast, slow) = (send(flags(libc::MSG_FASTOPEN), 16), send(flags(0), 16));
    for deed in [shut_down, fast, slow, message] {
        let outcome = hostile.attack(&[Deed::Call(deed.clone())], true);
        assert_eq!(
            (outcome.returned, outcome.signal),
            (Vec::new(), libc::SIGSYS),
            "{deed:?}"
        );
    }
    assert!(outside.accept().is_err(), "it got out");
}

#[test]
fn s4_a_panic_and_a_failed_allocation_abort_in_the_sandbox_and_a_caught_panic_is_survived() {
    let hostile = HostileFrontend::start();
    for deed in [Deed::Panic, Deed::AllocationFailure] {
        let outcome = hostile.attack(std::slice::from_ref(&deed), true);
        assert_eq!(
            (outcome.began, outcome.signal),
            (true, libc::SIGABRT),
            "{deed:?}"
        );
    }
    let outcome = hostile.attack(&[Deed::CaughtPanic], true);
    assert_eq!((outcome.returned, outcome.signal), (vec![1], 0));
}

// S6: forged starts.

#[test]
fn s6_a_forged_start_chooses_no_user_and_gets_no_more_than_policy_allows() {
    let options = arguments(&[
        "--max-memory",
        "1G",
        "--max-pids",
        "100",
        "--output-default",
        "1M",
        "--output-ceiling",
        "1M",
    ]);
    let mut hostile = HostileFrontend::with(options);
    let first_uid = hostile.server.first_uid();
    // All that can be said: a field that is new has to be thought of here.
    let StartSpec {
        id: _,
        process:
            ProcessSpec {
                argv: _,
                working_directory: _,
                limits: _,
                best_effort_limits: _,
                input: _,
                output: _,
                timeout: _,
                stop_grace: _,
                linger: _,
                profile: _,
                user: _,
                paths: _,
                workspace: _,
                name: _,
                labels: _,
                deadline: _,
                lease: _,
                retention: _,
            },
        variables: _,
        expect: _,
        signature: _,
        requested: _,
    } = hostile.spec(&["true"]);
    let refused = |hostile: &mut HostileFrontend, change: &dyn Fn(&mut StartSpec)| {
        let mut spec = hostile.spec(&["true"]);
        change(&mut spec);
        match hostile.ask(Ask::Start(Box::new(spec))).0 {
            Reply::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    };
    // When it was asked for, as the frontend says, is told and decides nothing.
    for requested in [UnixMicros(0), UnixMicros(u64::MAX)] {
        let spec = StartSpec {
            id: ProcessId::from_bytes(requested.0.to_be_bytes().repeat(2).try_into().unwrap()),
            requested: Some(requested),
            ..hostile.spec(&["true"])
        };
        assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
    }
    for user in ["root", "nobody"] {
        let denied = refused(&mut hostile, &|spec| {
            spec.process.user = Some(user.to_owned().try_into().unwrap());
        });
        assert_eq!(denied, Refusal::Denied(Denial::User), "{user}");
    }
    let limits = |memory, pids| Limits::try_from([None, memory, None, None, pids]).unwrap();
    for best_effort in [false, true] {
        let above = refused(&mut hostile, &|spec| {
            spec.process.limits = limits(Some((1 << 30) + 1), None);
            spec.process.best_effort_limits = best_effort;
        });
        assert_eq!(
            above,
            Refusal::AboveCeiling {
                limit: LimitName::Memory,
                ceiling: 1 << 30
            }
        );
        let above = refused(&mut hostile, &|spec| {
            spec.process.limits = limits(None, Some(101));
            spec.process.best_effort_limits = best_effort;
        });
        assert_eq!(
            above,
            Refusal::AboveCeiling {
                limit: LimitName::Pids,
                ceiling: 100
            }
        );
    }
    let above = refused(&mut hostile, &|spec| {
        spec.process.output.max = (1 << 20) + 1
    });
    assert_eq!(above, Refusal::OutputAboveCeiling(1 << 20));
    for max in [0, 65_536] {
        let disk = refused(&mut hostile, &|spec| {
            spec.process.output = Keeping {
                max,
                store: OutputStore::Disk,
                ..spec.process.output
            }
        });
        assert_eq!(
            disk,
            Refusal::OutputAboveCeiling(0),
            "a store that the server does not have"
        );
    }
    assert_eq!(
        refused(&mut hostile, &|spec| spec.process.profile = Profile::None),
        Refusal::Unconfined
    );
    // Entered and executed as the process's own user, so root's folders and programs are closed to
    // it.
    let secret = tempfile::tempdir_in("/var/lib").unwrap();
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let path = std::ffi::CString::new(secret.path().to_str().unwrap()).unwrap();
    let closed = refused(&mut hostile, &|spec| {
        spec.process.working_directory = Some(path.clone())
    });
    assert_eq!(
        closed,
        Refusal::Exec {
            step: ChildStep::WorkingDirectory,
            errno: libc::EACCES
        }
    );
    // So is what they have in them, and what the operator does not name is bound for nobody.
    let inner = secret.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let inner = std::ffi::CString::new(inner.to_str().unwrap()).unwrap();
    let bound = refused(&mut hostile, &|spec| {
        let rule = PathRule::Bound {
            source: path.clone(),
            target: c"/tmp/seen".into(),
        };
        spec.process.paths = vec![rule].try_into().unwrap();
    });
    assert_eq!(bound, Refusal::NotBindable(0));
    for rule in [
        PathRule::Hidden(inner.clone()),
        PathRule::ReadOnly(inner.clone()),
    ] {
        let closed = refused(&mut hostile, &|spec| {
            spec.process.paths = vec![rule.clone()].try_into().unwrap();
        });
        assert_eq!(
            closed,
            Refusal::Exec {
                step: ChildStep::Path(0),
                errno: libc::EACCES
            }
        );
    }
    let program = secret.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    let program = std::ffi::CString::new(program.to_str().unwrap()).unwrap();
    let closed = refused(&mut hostile, &|spec| {
        spec.process.argv = vec![program.clone()].try_into().unwrap();
    });
    assert_eq!(
        closed,
        Refusal::Exec {
            step: ChildStep::Exec,
            errno: libc::EACCES
        }
    );
    assert_eq!(groups(&hostile.server), 0, "nothing is left of any of them");

    // An environment for the dynamic linker and the like is read by nobody but that process.
    let mut spec = hostile.spec(&[
        "sh",
        "-c",
        "id -u; id -g; id -G; pwd; cd \"$HOME\"; id > mine",
    ]);
    for hostile in [
        c"LD_PRELOAD=/nonexistent.so",
        c"LD_AUDIT=/nonexistent.so",
        c"BASH_ENV=/etc/shadow",
        c"RUST_LOG=trace",
    ] {
        spec.variables.push(hostile.into());
    }
    spec.process.working_directory = Some(c"/".into());
    let id = spec.id;
    assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
    let info = hostile.end_of(id);
    assert_eq!(
        info.main_exit.map(|exit| exit.status),
        Some(ExitStatus::Exited(0))
    );
    assert!(
        (first_uid..first_uid + 256).contains(&info.uid),
        "{}",
        info.uid
    );
    let supervisor = hostile.server.supervisor();
    assert_eq!(
        fs::read(format!("/proc/{supervisor}/environ")).unwrap(),
        b""
    );
    hostile.hand_over();
    let uid = info.uid;
    let stdout = hostile.server.ok(&["logs", &id.to_string(), "--stdout"]);
    assert_eq!(stdout, format!("{uid}\n{uid}\n{uid}\n/\n"));
    assert!(
        !hostile.server.log().contains("fault: "),
        "{}",
        hostile.server.log()
    );
}

/// What is told of a process is more than what was asked for: what the kernel made of its limits,
/// and how it ended.
#[test]
fn s6_a_forged_start_that_fills_a_message_is_not_the_end_of_all_frontends() {
    let mut hostile = HostileFrontend::start();
    let long = "x".repeat(ARGUMENTS_MAX);
    let start = |argv: &[&str]| {
        let spec = StartSpec {
            variables: Vec::new(),
            ..spec(argv)
        };
        (spec.id, ask(1, Ask::Start(Box::new(spec))))
    };
    let (id, bytes) = start(&["sh", "-c", "exec sleep 1000", &long[..90_000], "@@@@"]);
    // Its length takes three bytes now, instead of one.
    let fill = MESSAGE_MAX - bytes.len() + 4 - 2;
    let [low, middle, high, _] = u32::try_from(fill).unwrap().to_le_bytes();
    let length = [
        low | 0x80,
        middle << 1 | low >> 7 | 0x80,
        high << 2 | middle >> 6,
    ];
    let whole = replaced(
        &bytes,
        b"\x04@@@@",
        &[&length[..], &long.as_bytes()[..fill]].concat(),
    );
    assert_eq!(whole.len(), MESSAGE_MAX);
    hostile.fault("does not decode", Mode::Ready, |hostile| {
        hostile.throw(&whole)
    });
    assert_eq!(groups(&hostile.server), 0);

    // The longest that there may be is told whole, to the next one as well.
    let fill = ARGUMENTS_MAX - "sh -c ".len() - "exec sleep 1000 ".len() - 90_001 - 1;
    let (longest, bytes) = start(&[
        "sh",
        "-c",
        "exec sleep 1000",
        &long[..90_000],
        &long[..fill],
    ]);
    hostile.send(&bytes);
    let is_told = |event: &Event| matches!(event, Event::Process(info) if info.id == longest);
    hostile.event(|event| is_told(event).then_some(()));
    hostile.hand_over();
    let status = |id: ProcessId| hostile.server.run(&["status", &id.to_string()]).status;
    assert!(status(longest).success());
    assert!(!status(id).success());
}

#[test]
fn s6_a_forged_start_with_a_known_name_changes_nothing() {
    let mut hostile = HostileFrontend::start();
    let spec = hostile.spec(&["sleep", "1000"]);
    let id = spec.id;
    assert_eq!(
        hostile.ask(Ask::Start(Box::new(spec.clone()))).0,
        Reply::Done
    );
    assert_eq!(
        hostile.ask(Ask::Start(Box::new(spec.clone()))).0,
        Reply::Existing
    );
    let other = StartSpec {
        process: ProcessSpec {
            argv: vec![c"true".into()].try_into().unwrap(),
            ..spec.process
        },
        ..spec
    };
    assert_eq!(
        hostile.ask(Ask::Start(Box::new(other))).0,
        Reply::Refused(Refusal::AlreadyExists)
    );
    assert_eq!(groups(&hostile.server), 1);
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
}

// S10: no way back.

#[test]
fn s10_a_process_cannot_become_root_again_whatever_its_profile() {
    let mut hostile = HostileFrontend::with(arguments(&["--allow-profile-none"]));
    let program = hostile
        .programs()
        .join("prn-frontend")
        .to_str()
        .unwrap()
        .to_owned();
    for profile in [Profile::Default, Profile::None] {
        let script = "(exec -a hostile-process \"$0\") > new 2>&1; mv new result; exec sleep 1000";
        let mut spec = hostile.spec(&["bash", "-c", script, &program]);
        spec.process.profile = profile;
        let result = hostile
            .server
            .state_dir()
            .join(spec.id.to_string())
            .join("result");
        let id = spec.id;
        assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
        wait_for("its result", || result.exists());
        let text = fs::read_to_string(&result).unwrap();
        for way in [
            "setresuid",
            "setreuid",
            "setuid",
            "setresgid",
            "setgid",
            "setgroups",
        ] {
            assert!(
                text.lines()
                    .any(|line| line == format!("{way} -{}", libc::EPERM)),
                "{profile:?}: {text}"
            );
        }
        for kind in ["Uid:", "Gid:"] {
            let ids = text
                .lines()
                .find_map(|line| line.strip_prefix(kind))
                .unwrap();
            assert!(ids.split_whitespace().all(|id| id != "0"), "{text}");
        }
        assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    }
}

// S11: the log.

#[test]
fn s11_no_string_of_a_frontend_or_a_process_reaches_the_log_as_it_is() {
    let poison = "x\nprn-supervisor: forged\r\x1b]0;owned\x07\x1b[31m\u{9b}31m";
    let mut hostile = HostileFrontend::start();
    let mut spec = hostile.spec(&["sh", "-c", "echo y > ready; exec sleep 1000", poison]);
    spec.variables
        .push(std::ffi::CString::new(format!("NAME={poison}")).unwrap());
    let (id, ready) = (
        spec.id,
        hostile
            .server
            .state_dir()
            .join(spec.id.to_string())
            .join("ready"),
    );
    assert_eq!(hostile.ask(Ask::Start(Box::new(spec))).0, Reply::Done);
    wait_for("the process", || ready.exists());
    for change in [
        (|spec: &mut StartSpec, text| spec.process.working_directory = Some(text))
            as fn(&mut StartSpec, std::ffi::CString),
        |spec, text| spec.process.argv = vec![text].try_into().unwrap(),
    ] {
        let mut spec = hostile.spec(&[poison]);
        change(
            &mut spec,
            std::ffi::CString::new(format!("/{poison}")).unwrap(),
        );
        assert!(matches!(
            hostile.ask(Ask::Start(Box::new(spec))).0,
            Reply::Refused(Refusal::Exec { .. })
        ));
    }
    let protocol = encoded(&Request::Hello(poison.to_owned()));
    hostile.fault("not allowed in phase Ready", Mode::Silent, |hostile| {
        hostile.throw(&protocol)
    });
    hostile.fault("it is another build", Mode::Ready, |hostile| {
        hostile.throw(&protocol)
    });
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    assert_eq!(hostile.server.stop(), Some(0));
    let log = hostile.server.log();
    assert!(!log.contains("forged") && !log.contains("owned"), "{log}");
    assert!(
        log.lines()
            .all(|line| line.starts_with("prn") && !line.chars().any(char::is_control)),
        "{log}"
    );
}

// O1 to O4: the output's descriptors.

/// What can be done to a descriptor by the frontend's user without any sandbox, and what must come
/// of it.
fn drill(hostile: &HostileFrontend, fd: i32) {
    let fd = i64::from(fd);
    let errno = |error: i32| -i64::from(error);
    let path = format!("/proc/self/fd/{fd}\0");
    let open = |flags: i32| {
        call(libc::SYS_openat, &[libc::AT_FDCWD.into(), 0, flags.into()]).bytes(1, path.as_bytes())
    };
    for flags in [
        libc::O_RDWR,
        libc::O_WRONLY,
        libc::O_RDWR | libc::O_TRUNC,
        libc::O_RDONLY,
    ] {
        assert_eq!(
            hostile.call(open(flags)),
            errno(libc::EACCES),
            "open {flags:o}"
        );
    }
    let (read, write) = (i64::from(libc::PROT_READ), i64::from(libc::PROT_WRITE));
    let shared = i64::from(libc::MAP_SHARED);
    let punch = i64::from(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE);
    for (what, call, error) in [
        (
            "write",
            call(libc::SYS_write, &[fd, 0, 4]).bytes(1, b"evil"),
            libc::EBADF,
        ),
        (
            "pwrite",
            call(libc::SYS_pwrite64, &[fd, 0, 4, 0]).bytes(1, b"evil"),
            libc::EBADF,
        ),
        (
            "ftruncate",
            call(libc::SYS_ftruncate, &[fd, 0]),
            libc::EINVAL,
        ),
        (
            "fallocate",
            call(libc::SYS_fallocate, &[fd, 0, 0, 1 << 20]),
            libc::EBADF,
        ),
        (
            "a hole",
            call(libc::SYS_fallocate, &[fd, punch, 0, 4096]),
            libc::EBADF,
        ),
        (
            "mmap",
            call(libc::SYS_mmap, &[0, 4096, read | write, shared, fd, 0]),
            libc::EACCES,
        ),
        ("fchmod", call(libc::SYS_fchmod, &[fd, 0o777]), libc::EPERM),
        (
            "fchown",
            call(libc::SYS_fchown, &[fd, 1_999_999_999, 1_999_999_999]),
            libc::EPERM,
        ),
        (
            "sealing",
            call(
                libc::SYS_fcntl,
                &[fd, libc::F_ADD_SEALS.into(), libc::F_SEAL_WRITE.into()],
            ),
            libc::EPERM,
        ),
        (
            "a lease",
            call(
                libc::SYS_fcntl,
                &[fd, libc::F_SETLEASE.into(), libc::F_RDLCK.into()],
            ),
            libc::EACCES,
        ),
        (
            "sendfile",
            call(libc::SYS_sendfile, &[fd, fd, 0, 4096]),
            libc::EBADF,
        ),
        (
            "utimensat",
            call(libc::SYS_utimensat, &[fd, 0, 0, 0]),
            libc::EACCES,
        ),
        (
            "fsetxattr",
            call(libc::SYS_fsetxattr, &[fd, 0, 0, 1, 0])
                .bytes(1, b"user.x\0")
                .bytes(2, b"x"),
            libc::EPERM,
        ),
    ] {
        let result = hostile.call(call);
        // A kernel may know no leases, or no attributes, of such a file.
        let soft = ["a lease", "fsetxattr"].contains(&what) && result < 0;
        assert!(soft || result == errno(error), "{what}: {result}");
    }
    // A mapping to read can't become one to write, not through the back door either, nor can holes
    // be made through it.
    let mapping = hostile.call(call(libc::SYS_mmap, &[0, 4096, read, shared, fd, 0]));
    assert!(mapping > 0, "{mapping}");
    assert_eq!(
        hostile.call(call(libc::SYS_mprotect, &[mapping, 4096, read | write])),
        errno(libc::EACCES)
    );
    let remove = hostile.call(call(
        libc::SYS_madvise,
        &[mapping, 4096, libc::MADV_REMOVE.into()],
    ));
    assert_eq!(remove, errno(libc::EACCES));
    let memory = call(
        libc::SYS_openat,
        &[libc::AT_FDCWD.into(), 0, libc::O_RDWR.into()],
    )
    .bytes(1, b"/proc/self/mem\0");
    let memory = hostile.call(memory);
    assert!(memory >= 0, "{memory}");
    let forced = hostile.call(call(libc::SYS_pwrite64, &[memory, 0, 4, mapping]).bytes(1, b"evil"));
    assert_eq!(forced, errno(libc::EIO), "a write that is forced");
    hostile.call(call(libc::SYS_close, &[memory]));
    // A copy of its own it may change.
    let private = hostile.call(call(
        libc::SYS_mmap,
        &[0, 4096, read | write, libc::MAP_PRIVATE.into(), fd, 0],
    ));
    assert!(private > 0, "{private}");
    // Locks are its own affair: the supervisor takes none.
    assert_eq!(
        hostile.call(call(
            libc::SYS_flock,
            &[fd, (libc::LOCK_EX | libc::LOCK_NB).into()]
        )),
        0
    );
}

fn subscribe(hostile: &mut HostileFrontend, id: ProcessId) -> [i32; 2] {
    let (reply, fds) = hostile.ask(Ask::Subscribe(id));
    assert_eq!(reply, Reply::Subscribed);
    fds.try_into().expect("ring and index")
}

#[test]
fn o1_o3_nothing_can_be_done_to_the_outputs_descriptors_and_output_is_the_same_after_the_drill() {
    let mut hostile = HostileFrontend::start();
    hostile.hand_over();
    let finished = hostile
        .server
        .start_process(&[], &["sh", "-c", "seq 20000; seq 3 >&2"]);
    let before = [
        hostile.server.run(&["logs", &finished]),
        hostile.server.run(&["logs", &finished, "--stderr"]),
    ];
    let script = "i=0; while [ $i -lt 300 ]; do i=$((i + 1)); echo line $i; sleep 0.01; done";
    let live = hostile.server.start_process(&[], &["sh", "-c", script]);
    hostile.take_over(Mode::Ready);
    for id in [&finished, &live] {
        let id: prn_proto::id::ProcessId = id.parse().unwrap();
        for fd in subscribe(&mut hostile, ProcessId::from_bytes(id.to_bytes())) {
            drill(&hostile, fd);
        }
    }
    assert!(hostile.is_alive());
    hostile.hand_over();
    let after = [
        hostile.server.run(&["logs", &finished]),
        hostile.server.run(&["logs", &finished, "--stderr"]),
    ];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(
            (
                sha256(&before.stdout),
                sha256(&before.stderr),
                before.status.code()
            ),
            (
                sha256(&after.stdout),
                sha256(&after.stderr),
                after.status.code()
            )
        );
    }
    assert!(after[0].stdout.len() > 100_000, "{}", after[0].stdout.len());
    // What was written during the drill, with the locks held, is whole as well.
    let expected: String = (1..=300).map(|line| format!("line {line}\n")).collect();
    assert_eq!(hostile.server.ok(&["logs", &live]), expected);
}

#[test]
fn o2_subscribers_do_not_share_a_file_offset() {
    let mut hostile = HostileFrontend::start();
    let id = hostile.start_process(&["sh", "-c", "echo output; exec sleep 1000"]);
    let (first, second) = (subscribe(&mut hostile, id), subscribe(&mut hostile, id));
    let seek = |hostile: &HostileFrontend, fd: i32, to: i64, from: i32| {
        hostile.call(call(libc::SYS_lseek, &[fd.into(), to, from.into()]))
    };
    for (fd, other) in first.into_iter().zip(second) {
        assert_eq!(seek(&hostile, fd, 12345, libc::SEEK_SET), 12345);
        assert_eq!(seek(&hostile, other, 0, libc::SEEK_CUR), 0);
        // Nor flags: one file description is not the other.
        let flags = hostile.call(call(
            libc::SYS_fcntl,
            &[fd.into(), libc::F_SETFL.into(), libc::O_NONBLOCK.into()],
        ));
        assert_eq!(flags, 0);
        let other = hostile.call(call(libc::SYS_fcntl, &[other.into(), libc::F_GETFL.into()]));
        assert_eq!(
            other & i64::from(libc::O_NONBLOCK | libc::O_ACCMODE),
            i64::from(libc::O_RDONLY)
        );
    }
    // Nor does the supervisor, which writes on where it was.
    hostile.send(&encoded(&Request::Watch { id, seen: 0 }));
    hostile.event(|event| matches!(event, Event::Advanced { .. }).then_some(()));
    assert_eq!(hostile.ask(Ask::Stop(id, StopHow::Kill)).0, Reply::Done);
    hostile.hand_over();
    assert_eq!(
        hostile.server.run(&["logs", &id.to_string()]).stdout,
        b"output\n"
    );
}

#[test]
fn o4_output_has_no_name_and_nobody_else_can_open_it() {
    let server = Server::start();
    let id = server.start_process(&[], &["sh", "-c", "echo secret; exec sleep 1000"]);
    wait_for("output", || {
        server.ok(&["logs", &id, "--no-follow"]) == "secret\n"
    });
    let supervisor = server.supervisor();
    let stores: Vec<_> = procfs::descriptors(supervisor)
        .into_iter()
        .filter(|(_, target)| target.to_string_lossy().contains("memfd:prn-"))
        .collect();
    let mut looked_at = 0;
    for (number, target) in stores {
        assert!(
            target.to_string_lossy().ends_with(" (deleted)"),
            "{target:?}"
        );
        let path = format!("/proc/{supervisor}/fd/{number}");
        // That of an answer which has just been sent is closed.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        looked_at += 1;
        assert_eq!(
            (metadata.mode() & 0o7777, metadata.uid(), metadata.nlink()),
            (0o400, 0, 0)
        );
        // Another user of the host, and the frontend's own.
        for uid in ["65534", "1999999999"] {
            let cat = [
                "--reuid",
                uid,
                "--regid",
                uid,
                "--clear-groups",
                "cat",
                &path,
            ];
            let output = Command::new("setpriv").args(cat).output().unwrap();
            assert!(
                !output.status.success() && output.stdout.is_empty(),
                "{output:?}"
            );
        }
        // Another process.
        let other = server.start_process(&[], &["cat", &path]);
        assert_ne!(
            server.run(&["logs", &other, "--no-follow"]).stdout,
            b"secret\n"
        );
        assert_eq!(server.ok(&["logs", &other, "--stdout"]), "");
    }
    assert!(looked_at >= 2, "{looked_at}");
}
