//! The wire form of every message, byte for byte. A change here is a change of the contract between the halves: raise
//! `PROTOCOL` with it.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use prn_ipc_protocol::codec::{decode, encode};
use prn_ipc_protocol::message::*;
use prn_ipc_protocol::types::*;

fn id() -> ProcessId {
    "000102030405060708090a0b0c0d0eff".parse().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn millis(value: u64) -> Millis {
    Duration::from_millis(value).try_into().unwrap()
}

fn limits() -> Limits {
    Limits {
        cpu: 500.try_into().ok(),
        memory: (1 << 20).try_into().ok(),
        io_read: 1024.try_into().ok(),
        io_write: None,
        pids: 64.try_into().ok(),
    }
}

fn spec() -> StartSpec {
    StartSpec {
        id: id(),
        argv: vec!["a".to_owned(), "bc".to_owned()].try_into().unwrap(),
        environment: vec![("N".to_owned(), "v".to_owned())].try_into().unwrap(),
        working_directory: "/w".to_owned().try_into().ok(),
        limits: limits(),
        best_effort_limits: true,
        output_max: 65_536.try_into().ok(),
        timeout: Some(millis(1000)),
        stop_grace: None,
        linger: false,
    }
}

fn info() -> ProcessInfo {
    ProcessInfo {
        id: id(),
        number: 7,
        argv: vec!["a".to_owned()].try_into().unwrap(),
        working_directory: "/w".to_owned().try_into().unwrap(),
        uid: 2_000_000_000,
        started: UnixMicros(1),
        limits: AppliedLimits {
            values: Limits::default(),
            not_enforced: vec![
                LimitName::Cpu,
                LimitName::Memory,
                LimitName::IoRead,
                LimitName::IoWrite,
                LimitName::Pids,
            ],
        },
        output_max: 65_536.try_into().unwrap(),
        main_exit: Some(MainExit {
            status: ExitStatus::Signalled { signal: 9, core: true },
            cause: ExitCause::OomKilled,
            at: UnixMicros(2),
        }),
        end: Some(End {
            at: UnixMicros(3),
            usage: Usage { cpu_user: 4, cpu_system: 5, cpu_throttled: 6, memory_peak: Some(7), ..Usage::default() },
            output: OutputTotals { first: 8, end: 9, stdout: 10, stderr: 11 },
        }),
        stuck: vec![StuckTask { name: "n".to_owned(), state: 'D' }],
    }
}

/// Each message with its bytes. Ids are replaced by `<id>` and the long values by their names, to be readable.
fn check<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(cases: Vec<(T, &str)>) {
    let (id, spec, info) =
        (hex(&encode(&id()).unwrap()), hex(&encode(&spec()).unwrap()), hex(&encode(&info()).unwrap()));
    for (message, golden) in cases {
        let golden = golden.replace("<spec>", &spec).replace("<info>", &info).replace("<id>", &id);
        let bytes = encode(&message).unwrap();
        assert_eq!(hex(&bytes), golden, "{message:?}");
        assert_eq!(decode::<T>(&bytes).unwrap(), message);
    }
}

#[test]
fn the_long_values_have_their_bytes() {
    assert_eq!(hex(&encode(&id()).unwrap()), "000102030405060708090a0b0c0d0eff");
    assert_eq!(
        hex(&encode(&spec()).unwrap()),
        "000102030405060708090a0b0c0d0eff\
         0201610262630101\
         4e017601022f77\
         01f40301808040018008000140\
         0101808004\
         01e8070000"
    );
    assert_eq!(
        hex(&encode(&info()).unwrap()),
        "000102030405060708090a0b0c0d0eff\
         0701016102\
         2f778\
         0a8d6b90701\
         0000000000\
         050001020304\
         808004\
         0101090102020103\
         0405060107000000\
         08090a0b\
         01016e0144"
    );
}

#[test]
fn requests_have_their_bytes() {
    let request = RequestId(300);
    check(vec![
        (Request::Hello { protocol: "p".to_owned() }, "000170"),
        (Request::Ready, "01"),
        (Request::Start { request, spec: Box::new(spec()) }, "02ac02<spec>"),
        (Request::Stop { request, id: id(), how: StopHow::Graceful(None) }, "03ac02<id>0000"),
        (Request::Stop { request, id: id(), how: StopHow::Graceful(Some(millis(5))) }, "03ac02<id>000105"),
        (Request::Stop { request, id: id(), how: StopHow::Kill }, "03ac02<id>01"),
        (Request::Subscribe { request, id: id() }, "04ac02<id>"),
        (Request::Watch { id: id(), seen: 128 }, "05<id>8001"),
    ]);
}

#[test]
fn replies_and_events_have_their_bytes() {
    let reply = |reply| FromSupervisor::Reply(RequestId(1), reply);
    check(vec![
        (reply(Reply::Started { process: Box::new(info()), existing: true }), "000100<info>01"),
        (reply(Reply::Stopped(Box::new(info()))), "000101<info>"),
        (reply(Reply::Output), "000102"),
        (reply(Reply::Refused(Refusal::Draining)), "00010302"),
        (
            FromSupervisor::Event(Event::Welcome { epoch: BootEpoch::from_bytes([1; 16]) }),
            "010001010101010101010101010101010101",
        ),
        (FromSupervisor::Event(Event::Process(Box::new(info()))), "0101<info>"),
        (FromSupervisor::Event(Event::SnapshotEnd), "0102"),
        (FromSupervisor::Event(Event::Forgotten(id())), "0103<id>"),
        (FromSupervisor::Event(Event::Advanced { id: id(), end: 1 }), "0104<id>01"),
        (FromSupervisor::Event(Event::Draining), "0105"),
    ]);
}

#[test]
fn refusals_and_small_enums_have_their_bytes() {
    check(vec![
        (Refusal::UnknownProcess, "00"),
        (Refusal::AlreadyExists, "01"),
        (Refusal::Draining, "02"),
        (Refusal::TooManyProcesses { max: 1 }, "0301"),
        (Refusal::AboveCeiling { limit: LimitName::Pids, ceiling: 2 }, "040402"),
        (Refusal::OutputAboveCeiling { ceiling: 3 }, "0503"),
        (Refusal::NotEnforceable { limit: LimitName::Cpu }, "0600"),
        (Refusal::Exec { step: ChildStep::Exec, errno: 2 }, "070704"),
        (Refusal::Resources { what: Preparation::Output, errno: 12 }, "080518"),
    ]);
    let steps = [
        ChildStep::Session,
        ChildStep::Descriptors,
        ChildStep::Limits,
        ChildStep::Identity,
        ChildStep::Confinement,
        ChildStep::WorkingDirectory,
        ChildStep::Signals,
        ChildStep::Exec,
    ];
    let things = [
        Preparation::Directory,
        Preparation::Cgroup,
        Preparation::Pipes,
        Preparation::Clone,
        Preparation::Watch,
        Preparation::Output,
    ];
    let causes = [
        ExitCause::Exited,
        ExitCause::Signalled,
        ExitCause::OomKilled,
        ExitCause::TimedOut,
        ExitCause::StoppedOnRequest,
    ];
    assert_eq!(encode(&steps).unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(encode(&things).unwrap(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(encode(&causes).unwrap(), [0, 1, 2, 3, 4]);
    check(vec![(ExitStatus::Exited(3), "0003"), (ExitStatus::Signalled { signal: 9, core: false }, "010900")]);
}
