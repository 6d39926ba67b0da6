//! The wire form of every message, byte for byte. A change here is a change of the contract between
//! the halves: raise `PROTOCOL` with it.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use prn_ipc_protocol::codec::{decode, encode};
use prn_ipc_protocol::control::{Answer, Key, Order, Refused};
use prn_ipc_protocol::digest::canonical;
use prn_ipc_protocol::message::*;
use prn_ipc_protocol::signed::{SignatureRefusal, StartSignature};
use prn_ipc_protocol::status::{Frontends, Status};
use prn_ipc_protocol::types::*;

fn id() -> ProcessId {
    ProcessId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff])
}

fn name() -> WorkspaceName {
    "w-1".to_owned().try_into().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(value: u64) -> Millis {
    Duration::from_millis(value).try_into().unwrap()
}

fn labels() -> Labels {
    let labels = [("k".to_owned(), "v".to_owned())];
    std::collections::BTreeMap::from(labels).try_into().unwrap()
}

fn label_changes() -> LabelChanges {
    let changes = [
        ("k".to_owned(), Some("v".to_owned())),
        ("x".to_owned(), None),
    ];
    std::collections::BTreeMap::from(changes)
        .try_into()
        .unwrap()
}

fn limits() -> Limits {
    Limits::try_from([Some(500), Some(1 << 20), Some(1024), None, Some(64)]).unwrap()
}

fn spec() -> StartSpec {
    StartSpec {
        id: id(),
        process: ProcessSpec {
            argv: vec![c"a".into(), c"bc".into()].try_into().unwrap(),
            working_directory: None,
            limits: limits(),
            best_effort_limits: true,
            input: Input::Terminal(TerminalSize {
                rows: 24,
                columns: 300,
            }),
            output: Keeping {
                max: 65_536,
                overflow: Overflow::DropOldest,
                store: OutputStore::Memory,
            },
            timeout: Some(millis(1000)),
            stop_grace: 10_000.try_into().unwrap(),
            linger: false,
            profile: Profile::Strict,
            user: Some("u-1".to_owned().try_into().unwrap()),
            paths: vec![
                PathRule::ReadOnly(c"/r".into()),
                PathRule::Hidden(c"/h".into()),
                PathRule::Bound {
                    source: c"/s".into(),
                    target: c"/t".into(),
                },
            ]
            .try_into()
            .unwrap(),
            workspace: Some(name()),
            name: Some("n.1".to_owned().try_into().unwrap()),
            labels: labels(),
            deadline: Some(UnixMicros(128)),
            lease: Some(millis(9)),
            retention: Retention {
                is_kept: true,
                max_age: Some(millis(8)),
                until_read: true,
            },
        },
        variables: vec![c"N=v".into()],
        expect: Some(Digest([7; 32])),
        signature: Some(StartSignature {
            key: key().try_into().unwrap(),
            audience: "prod".to_owned().try_into().unwrap(),
            not_before: UnixMicros(3),
            not_after: UnixMicros(128),
            signature: vec![4].try_into().unwrap(),
        }),
        requested: Some(UnixMicros(2)),
    }
}

/// The SubjectPublicKeyInfo of an Ed25519 key.
fn key() -> Vec<u8> {
    let head = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    [&head[..], &[1; 32]].concat()
}

fn who() -> AccessName {
    "a".to_owned().try_into().unwrap()
}

fn file(name: &str, text: &str) -> FileText {
    FileText {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

fn info() -> ProcessInfo {
    ProcessInfo {
        id: id(),
        number: 7,
        spec: ProcessSpec {
            argv: vec![c"a".into()].try_into().unwrap(),
            working_directory: Some(c"/w".into()),
            limits: Limits::default(),
            best_effort_limits: false,
            input: Input::Pipe,
            output: Keeping {
                max: 65_536,
                overflow: Overflow::Wait,
                store: OutputStore::Disk,
            },
            timeout: None,
            stop_grace: millis(5),
            linger: true,
            profile: Profile::None,
            user: None,
            paths: Paths::default(),
            workspace: None,
            name: None,
            labels: Labels::default(),
            deadline: None,
            lease: None,
            retention: Retention::default(),
        },
        uid: 2_000_000_000,
        started_by: Some(who()),
        signed: Some(SignedBy {
            key: Digest([7; 32]),
            via: Some(who()),
            not_before: UnixMicros(3),
            not_after: UnixMicros(128),
        }),
        requested: Some(UnixMicros(2)),
        received: UnixMicros(3),
        admitted: UnixMicros(4),
        prepared: UnixMicros(5),
        started: UnixMicros(1),
        limits: AppliedLimits {
            in_force: vec![file("pids.max", "64")],
            not_enforced: LimitName::ALL.to_vec(),
        },
        waits: true,
        input_ended: true,
        main_exit: Some(MainExit {
            status: ExitStatus::Signalled {
                signal: 9,
                core_dumped: true,
            },
            cause: ExitCause::OomKilled,
            at: UnixMicros(2),
        }),
        end: Some(End {
            at: UnixMicros(3),
            usage: vec![file("memory.peak", "7")],
            output: OutputTotals {
                first: 8,
                end: 9,
                stdout: 10,
                stderr: 11,
            },
        }),
        stuck: vec![b"1 (n) D".to_vec()],
        left_behind: Some(LeftBehind {
            processes: 3,
            stopped_for: Some(ExitCause::TimedOut),
        }),
        layers: vec![Layer::Namespaces, Layer::Landlock, Layer::SystemCallFilter],
        paused: true,
        lease_ends: Some(UnixMicros(4)),
        stop: Some(Stop {
            by: Some(who()),
            cause: ExitCause::LeaseExpired,
            asked: UnixMicros(5),
            killed: Some(UnixMicros(6)),
            outlived: vec![b"2 (m) S".to_vec()],
        }),
        change: 129,
    }
}

/// What the fuzz target of that name begins with (tests/fuzz/README.md): is written down if
/// `PRN_WRITE_TABLES` is set, and otherwise has to be there.
fn seed(target: &str, name: &str, bytes: &[u8]) {
    let corpora = std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fuzz/corpora"
    ));
    let path = corpora.join(target).join(format!("golden-{name}"));
    if std::env::var_os("PRN_WRITE_TABLES").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    let found = std::fs::read(&path).unwrap_or_default();
    assert_eq!(found, bytes, "{}: PRN_WRITE_TABLES=1", path.display());
}

/// [`seed`] of each message.
fn seeds<T: serde::Serialize>(target: &str, cases: &[(T, &str)]) {
    for (number, (message, _)) in cases.iter().enumerate() {
        seed(target, &format!("{number:03}"), &encode(message).unwrap());
    }
}

/// Each message with its bytes. Ids are replaced by `<id>` and the long values by their names, to
/// be readable.
fn check<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(
    cases: Vec<(T, &str)>,
) {
    let (id, spec, info) = (
        hex(&encode(&id()).unwrap()),
        hex(&encode(&spec()).unwrap()),
        hex(&encode(&info()).unwrap()),
    );
    for (message, golden) in cases {
        let golden = golden
            .replace("<spec>", &spec)
            .replace("<info>", &info)
            .replace("<digest>", &"07".repeat(32))
            .replace("<id>", &id);
        let bytes = encode(&message).unwrap();
        assert_eq!(hex(&bytes), golden, "{message:?}");
        assert_eq!(decode::<T>(&bytes).unwrap(), message);
    }
}

#[test]
fn the_long_values_have_their_bytes() {
    assert_eq!(
        hex(&encode(&id()).unwrap()),
        "000102030405060708090a0b0c0d0eff"
    );
    assert_eq!(
        hex(&encode(&spec()).unwrap()),
        "000102030405060708090a0b0c0d0eff\
         020161026263\
         00\
         0400f403018080400280080440\
         01\
         0218ac02\
         8080040000\
         01e807\
         904e\
         00\
         01\
         0103752d31\
         0300022f7201022f6802022f73022f74\
         0103772d31\
         01036e2e31\
         01016b0176\
         018001\
         0109\
         01010801\
         01034e3d76\
         010707070707070707070707070707070707070707070707070707070707070707\
         01\
         2c302a300506032b6570032100\
         0101010101010101010101010101010101010101010101010101010101010101\
         0470726f64\
         03\
         8001\
         0104\
         0102"
    );
    assert_eq!(
        hex(&encode(&info()).unwrap()),
        "000102030405060708090a0b0c0d0eff\
         07\
         01016101022f77\
         00\
         00\
         01\
         8080040101\
         00\
         05\
         01\
         02\
         00\
         00\
         00\
         00000000000000\
         80a8d6b907\
         010161\
         010707070707070707070707070707070707070707070707070707070707070707010161038001\
         0102030405\
         01\
         0108706964732e6d6178023634\
         050001020304\
         01\
         01\
         0101090102\
         02\
         0103\
         010b6d656d6f72792e7065616b0137\
         08090a0b\
         01073120286e292044\
         01030103\
         03000102\
         01\
         0104\
         010701016105010601073220286d292053\
         8101"
    );
}

#[test]
fn requests_have_their_bytes() {
    let request = RequestId(300);
    let cases = vec![
        (Request::Hello("p".to_owned()), "000170"),
        (Request::Ready, "01"),
        (
            Request::Ask(request, who(), Ask::Start(Box::new(spec()))),
            "02ac02016100<spec>",
        ),
        (
            Request::Ask(request, who(), Ask::Stop(id(), StopHow::Graceful(None))),
            "02ac02016101<id>0000",
        ),
        (
            Request::Ask(
                request,
                who(),
                Ask::Stop(id(), StopHow::Graceful(Some(millis(5)))),
            ),
            "02ac02016101<id>000105",
        ),
        (
            Request::Ask(request, who(), Ask::Stop(id(), StopHow::Kill)),
            "02ac02016101<id>01",
        ),
        (
            Request::Ask(request, who(), Ask::Subscribe(id())),
            "02ac02016102<id>",
        ),
        (
            Request::Ask(request, who(), Ask::LendInput(id())),
            "02ac02016103<id>",
        ),
        (
            Request::Ask(request, who(), Ask::EndInput(id())),
            "02ac02016104<id>",
        ),
        (
            Request::Ask(
                request,
                who(),
                Ask::ResizeTerminal(
                    id(),
                    TerminalSize {
                        rows: 1,
                        columns: 128,
                    },
                ),
            ),
            "02ac02016105<id>018001",
        ),
        (
            Request::Ask(
                request,
                who(),
                Ask::CreateWorkspace(WorkspaceSpec {
                    name: name(),
                    disk_max: Some(128),
                }),
            ),
            "02ac0201610603772d31018001",
        ),
        (
            Request::Ask(request, who(), Ask::RemoveWorkspace(name(), None)),
            "02ac0201610703772d3100",
        ),
        (
            Request::Ask(
                request,
                who(),
                Ask::RemoveWorkspace(name(), Some(StopHow::Kill)),
            ),
            "02ac0201610703772d310101",
        ),
        (
            Request::Ask(
                request,
                who(),
                Ask::Signal(id(), 15.try_into().unwrap(), Whom::Tree),
            ),
            "02ac02016108<id>0f01",
        ),
        (
            Request::Ask(
                request,
                who(),
                Ask::Update(
                    id(),
                    Box::new(Update {
                        limits: [(LimitName::Pids, 128)].into_iter().collect(),
                        paused: Some(true),
                        lease: Some(NewLease::Of(millis(5))),
                        labels: Some(NewLabels::All(labels())),
                    }),
                ),
            ),
            "02ac02016109<id>010480010101010105010001016b0176",
        ),
        (
            Request::Ask(
                request,
                who(),
                Ask::Update(
                    id(),
                    Box::new(Update {
                        labels: Some(NewLabels::Changed(label_changes())),
                        ..Update::default()
                    }),
                ),
            ),
            "02ac02016109<id>000000010102016b010176017800",
        ),
        (
            Request::Ask(request, who(), Ask::Remove(id())),
            "02ac0201610a<id>",
        ),
        (
            Request::Ask(
                request,
                who(),
                Ask::Usage {
                    id: id(),
                    with_tasks: true,
                },
            ),
            "02ac0201610b<id>01",
        ),
        (
            Request::Ask(request, who(), Ask::TryStart(Box::new(spec()))),
            "02ac0201610c<spec>",
        ),
        (
            Request::Ask(request, who(), Ask::Forget(id())),
            "02ac0201610d<id>",
        ),
        (
            Request::Watch {
                id: id(),
                seen: 128,
            },
            "03<id>8001",
        ),
        (
            Request::Taken {
                id: id(),
                offset: 128,
            },
            "04<id>8001",
        ),
        (Request::Follow(id(), For::Output), "05<id>00"),
        (Request::Unfollow(id(), For::Lease), "06<id>01"),
        (
            Request::InputTaken {
                id: id(),
                taken: 128,
            },
            "07<id>8001",
        ),
        (
            Request::Denied {
                who: who(),
                verb: Verb::List,
                count: 300,
            },
            "08016105ac02",
        ),
        (Request::Alive, "09"),
        (Request::Left, "0a"),
    ];
    seeds("request_decodes_canonically", &cases);
    check(cases);
}

#[test]
fn conversations_have_their_bytes() {
    let stop = || {
        let how = StopHow::Graceful(None);
        Request::Ask(RequestId(300), who(), Ask::Stop(id(), how))
    };
    let hello = || Request::Hello("p".to_owned());
    let whole = vec![
        hello(),
        Request::Ready,
        stop(),
        Request::Alive,
        Request::Left,
    ];
    for (name, requests) in [
        ("ready-at-once", vec![Request::Ready]),
        ("second-hello", vec![hello(), hello()]),
        ("request-before-ready", vec![hello(), stop()]),
        ("whole-conversation", whole),
    ] {
        // Each after its length in one byte.
        let datagrams = requests.iter().flat_map(|request| {
            let bytes = encode(request).unwrap();
            [vec![u8::try_from(bytes.len()).unwrap()], bytes].concat()
        });
        let datagrams: Vec<_> = datagrams.collect();
        seed("requests_follow_their_phases", name, &datagrams);
    }
}

#[test]
fn replies_and_events_have_their_bytes() {
    let reply = |reply| FromSupervisor::Reply(RequestId(1), reply);
    let cases = vec![
        (reply(Reply::Done), "000100"),
        (reply(Reply::Existing), "000101"),
        (reply(Reply::Subscribed), "000102"),
        (reply(Reply::Input { taken: Some(128) }), "000103018001"),
        (reply(Reply::InputOver { taken: None }), "00010400"),
        (reply(Reply::Refused(Refusal::Draining)), "00010504"),
        (
            reply(Reply::Startable(Box::new(Startable {
                rule: Some(3),
                limits: Limits::default(),
                candidates: vec![c"/p".into()],
                working_directory: c"/w".into(),
                digest: Digest([7; 32]),
                uid: Some(128),
                user: Some("u".to_owned().try_into().unwrap()),
            }))),
            "00010701030001022f70022f77<digest>018001010175",
        ),
        (
            reply(Reply::Receipt(Box::new(Receipt {
                body: vec![1, 2],
                signature: vec![3],
            }))),
            "0001080201020103",
        ),
        (
            reply(Reply::Usage(Box::new(LiveUsage {
                files: vec![file("pids.current", "1")],
                processes: 128,
                some: vec![b"1 (n) S".to_vec()],
            }))),
            "000106010c706964732e63757272656e740131800101073120286e292053",
        ),
        (
            FromSupervisor::Event(Event::Process(Box::new(info()))),
            "0100<info>",
        ),
        (
            FromSupervisor::Event(Event::SnapshotEnd {
                change: 128,
                receipt_key: Some([7; 32]),
            }),
            "0101800101<digest>",
        ),
        (
            FromSupervisor::Event(Event::Forgotten {
                id: id(),
                change: 128,
            }),
            "0102<id>8001",
        ),
        (
            FromSupervisor::Event(Event::Advanced { id: id(), end: 1 }),
            "0103<id>01",
        ),
        (FromSupervisor::Event(Event::Draining), "0104"),
        (
            FromSupervisor::Event(Event::Workspace(Box::new(WorkspaceInfo {
                created_by: Some(who()),
                name: name(),
                directory: c"/w".into(),
                uid: 128,
                created: UnixMicros(1),
                disk: Some(DiskLimit {
                    bytes: 2,
                    enforcement: Enforcement::Watched,
                }),
                is_leaving: true,
            }))),
            "010503772d31022f7780010101610101020101",
        ),
        (
            FromSupervisor::Event(Event::WorkspaceGone(name())),
            "010603772d31",
        ),
        (FromSupervisor::Event(Event::Probe), "0107"),
        (FromSupervisor::Event(Event::Replaced), "0108"),
    ];
    seeds("answer_decodes_canonically", &cases);
    check(cases);
}

#[test]
fn orders_and_answers_have_their_bytes() {
    let reload = |key| Order::Reload {
        key,
        changes: "a".into(),
    };
    check(vec![
        (Order::Show, "00"),
        (reload(Key::Kept), "01000161"),
        (reload(Key::Sent), "01010161"),
        (Order::Status, "02"),
    ]);
    let status = Status {
        version: "a".into(),
        epoch: Id::from_bytes([9; 16]),
        configuration: 300,
        frontends: Frontends {
            serves: true,
            ended: 2,
            last: Some((UnixMicros(3), "b".into())),
        },
        live: 4,
        finished: 5,
        workspaces: 6,
        memory: 7,
        disk: 8,
    };
    let epoch = "09".repeat(16);
    check(vec![
        (Answer::Shown, "00"),
        (Answer::InForce(300), "01ac02"),
        (Answer::Refused(Refused::Stopping), "0200"),
        (Answer::Refused(Refused::Unfit), "0201"),
        (Answer::Refused(Refused::NotServed), "0202"),
        (Answer::Refused(Refused::Resources), "0203"),
        (
            Answer::Status(Box::new(status)),
            &format!("030161{epoch}ac02010201030162{}", "0405060708"),
        ),
    ]);
}

#[test]
fn refusals_and_small_enums_have_their_bytes() {
    check(vec![
        (Refusal::UnknownProcess, "00"),
        (Refusal::NoInput, "01"),
        (Refusal::NoTerminal, "02"),
        (Refusal::AlreadyExists, "03"),
        (Refusal::Draining, "04"),
        (
            Refusal::TooManyProcesses {
                max: 1,
                scarce: Scarce::UserIds,
            },
            "050100",
        ),
        (
            Refusal::TooManyProcesses {
                max: 2,
                scarce: Scarce::Descriptors,
            },
            "050201",
        ),
        (
            Refusal::TooManyProcesses {
                max: 3,
                scarce: Scarce::Terminals,
            },
            "050302",
        ),
        (Refusal::UserIdsHeld { held: 1, all: 2 }, "060102"),
        (Refusal::ArgumentsAboveBudget(3), "0703"),
        (
            Refusal::AboveCeiling {
                limit: LimitName::Pids,
                ceiling: 2,
            },
            "080402",
        ),
        (Refusal::OutputAboveCeiling(3), "0903"),
        (Refusal::OutputAboveBudget(4), "0a04"),
        (Refusal::SearchPathAbove(5), "0b05"),
        (Refusal::NotEnforceable(LimitName::Cpu), "0c00"),
        (Refusal::Unconfined, "0d"),
        (Refusal::StrictUnavailable, "0e"),
        (Refusal::PathsUnavailable, "0f"),
        (Refusal::NotBindable(3), "1003"),
        (
            Refusal::Exec {
                step: ChildStep::Exec,
                errno: 2,
            },
            "110a04",
        ),
        (
            Refusal::Resources {
                what: Preparation::Output,
                errno: 12,
            },
            "120618",
        ),
        (Refusal::UnknownWorkspace, "13"),
        (Refusal::WorkspaceExists, "14"),
        (Refusal::WorkspaceLeaving, "15"),
        (Refusal::WorkspaceInUse(3), "1603"),
        (Refusal::TooManyWorkspaces(4), "1704"),
        (Refusal::DiskAboveCeiling(5), "1805"),
        (Refusal::NameTaken(id()), "19<id>"),
        (Refusal::DeadlinePassed, "1a"),
        (Refusal::Ended, "1b"),
        (Refusal::NotEnded, "1c"),
        (Refusal::MemoryInUse(128), "1d8001"),
        (Refusal::NoLease, "1e"),
        (Refusal::TooManyKept { max: 3 }, "1f03"),
        (Refusal::Stopping, "20"),
        (Refusal::Forgotten, "21"),
        (Refusal::TooSoon(millis(4)), "2204"),
        (Refusal::NotChanged(5), "230a"),
        (Refusal::TooManyLabels, "24"),
        (Refusal::OtherDigest(Digest([7; 32])), "26<digest>"),
        (Refusal::Signature(SignatureRefusal::Required), "2700"),
        (Refusal::Signature(SignatureRefusal::Input), "2701"),
        (Refusal::Signature(SignatureRefusal::UnknownKey), "2702"),
        (Refusal::Signature(SignatureRefusal::KeyExpired), "2703"),
        (Refusal::Signature(SignatureRefusal::OtherAudience), "2704"),
        (
            Refusal::Signature(SignatureRefusal::BeforeRun(UnixMicros(5))),
            "270505",
        ),
        (
            Refusal::Signature(SignatureRefusal::WindowTooLong(millis(6))),
            "270606",
        ),
        (
            Refusal::Signature(SignatureRefusal::NotYet(UnixMicros(7))),
            "270707",
        ),
        (
            Refusal::Signature(SignatureRefusal::Expired(UnixMicros(8))),
            "270808",
        ),
        (Refusal::Signature(SignatureRefusal::Invalid), "2709"),
        (Refusal::Signature(SignatureRefusal::Replayed), "270a"),
        (Refusal::Signature(SignatureRefusal::TooMany(9)), "270b09"),
    ]);
    let steps = [
        ChildStep::Session,
        ChildStep::Descriptors,
        ChildStep::Limits,
        ChildStep::Namespaces,
        ChildStep::Path(7),
        ChildStep::Identity,
        ChildStep::Privileges,
        ChildStep::WorkingDirectory,
        ChildStep::Signals,
        ChildStep::Confinement,
        ChildStep::Exec,
        ChildStep::Interpreter,
    ];
    let things = [
        Preparation::Directory,
        Preparation::Cgroup,
        Preparation::Pipes,
        Preparation::Terminal,
        Preparation::Clone,
        Preparation::Watch,
        Preparation::Output,
        Preparation::DiskLimit,
    ];
    let causes = [
        ExitCause::Exited,
        ExitCause::Signalled,
        ExitCause::OomKilled,
        ExitCause::TimedOut,
        ExitCause::StoppedOnRequest,
        ExitCause::OutputLimit,
        ExitCause::DiskLimit,
    ];
    assert_eq!(
        encode(&steps).unwrap(),
        [0, 1, 2, 3, 4, 7, 5, 6, 7, 8, 9, 10, 11]
    );
    assert_eq!(encode(&things).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(encode(&causes).unwrap(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(
        encode(&[Enforcement::Quota, Enforcement::Watched]).unwrap(),
        [0, 1]
    );
    check(vec![
        (ExitStatus::Exited(3), "0003"),
        (
            ExitStatus::Signalled {
                signal: 9,
                core_dumped: false,
            },
            "010900",
        ),
    ]);
}

/// docs/digest.md describes these bytes: another form has another header.
#[test]
fn a_start_has_its_canonical_bytes() {
    let programs = [c"/bin/a".into()];
    let bytes = canonical(&spec(), &limits(), &programs);
    let expected = "prn-start-2\nargv *2\n1:a\n2:bc\nprograms *1\n6:/bin/a\n\
        environment *5\n65:PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n12:LANG=C.UTF-8\n\
        8:USER=u-1\n11:LOGNAME=u-1\n3:N=v\ndirectory -\nlimits *8\n3:cpu\n3:500\n6:memory\n7:1048576\n7:io-read\n4:1024\n4:pids\n2:64\n\
        best-effort-limits 3:yes\ninput 15:terminal 24 300\noutput-max 5:65536\noutput-overflow 11:drop-oldest\n\
        output-store 6:memory\ntimeout 4:1000\nstop-grace 5:10000\nlinger 2:no\nprofile 6:strict\nuser 3:u-1\n\
        paths *9\n9:read-only\n2:/r\n0:\n6:hidden\n2:/h\n0:\n5:bound\n2:/t\n2:/s\nworkspace 3:w-1\nname 3:n.1\n\
        labels *2\n1:k\n1:v\ndeadline 3:128\nlease 1:9\nkeep 3:yes\nkeep-for 1:8\nkeep-until-read 3:yes\n";
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
    assert_eq!(
        Digest::of(&bytes).to_string().parse::<Digest>().unwrap(),
        Digest::of(&bytes)
    );
    assert!("a".repeat(63).parse::<Digest>().is_err());
    assert!("A".repeat(64).parse::<Digest>().is_err());
}
