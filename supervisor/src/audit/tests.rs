//! What each line says, byte by byte, and that docs/operate/audit.md knows of all of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;

use nix::fcntl::OFlag;
use nix::unistd::{pipe, pipe2};
use prn_ipc_protocol::message::{
    Denial, End, ExitCause, MainExit, NewLabels, NewLease, OutputTotals, TerminalSize, Update,
    Verb, Whom, WorkspaceSpec,
};
use prn_ipc_protocol::signed::{SignatureRefusal, StartSignature};
use prn_ipc_protocol::types::{Labels, LimitName};

use super::*;
use crate::process::tests::{info, spec};

const DOCUMENT: &str = include_str!("../../../docs/operate/audit.md");

/// The lines that come of this, from the event on, without the hash at their end.
fn lines(act: impl FnOnce(&mut Audit)) -> Vec<String> {
    let (from, to) = pipe().unwrap();
    let mut audit = Audit::to_descriptor(Id::from_bytes([1; 16]), to);
    act(&mut audit);
    audit.finish();
    let mut text = String::new();
    File::from(from).read_to_string(&mut text).unwrap();
    let shown = |line: &str| {
        let (_, line) = line.split_once("\"event\":").unwrap();
        let (line, _) = line.split_once(",\"prev\":").unwrap();
        line.to_owned()
    };
    text.lines().map(shown).collect()
}

#[test]
fn the_first_line_that_is_taken_begins_the_run_and_says_what_was_lost_before() {
    let flags = OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let (from, to) = pipe2(flags).unwrap();
    while nix::unistd::write(&to, &[b'\n'; 4096]).is_ok() {}
    let mut audit = Audit::to_descriptor(Id::from_bytes([1; 16]), to);
    audit.begin(Facts::default().text("version", "1"));
    audit.note(Event::Over, Facts::default());
    let mut from = File::from(from);
    let mut full = Vec::new();
    let _would_block = from.read_to_end(&mut full);
    audit.note(Event::Over, Facts::default());
    audit.finish();
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    let zeros = "0".repeat(64);
    let end = format!("\"verified\":{{\"version\":\"1\"}},\"lost\":3,\"prev\":\"{zeros}\"}}");
    assert!(
        lines[0].starts_with("{\"seq\":4,") && lines[0].ends_with(&end),
        "{text}"
    );
    assert!(lines[1].starts_with("{\"seq\":5,"), "{text}");
}

#[test]
fn what_the_frontend_says_of_its_refusals_stands_under_what_it_says() {
    let anna: AccessName = "anna".to_owned().try_into().unwrap();
    let found = lines(|audit| {
        audit.denied(anna.clone(), Verb::List, 1);
        audit.denied(anna, Verb::List, 2);
        audit.tell_denials(Instant::now());
    });
    let expected = "\"denied\",\"asserted\":{\"principal\":\"anna\",\"verb\":\"list\",\"count\":3},\"verified\":{}";
    assert_eq!(found, [expected]);
    for verb in prn_ipc_protocol::message::VERBS {
        assert_eq!(words::verb(verb), verb.to_string());
    }
}

fn id() -> ProcessId {
    ProcessId::from_bytes([7; 16])
}

fn asks() -> Vec<(Ask, &'static str)> {
    let start = || Box::new(spec(&["/bin/true", "a\"b"]));
    let named = "w".to_owned();
    let update = Update {
        limits: [(LimitName::Memory, 5)].into_iter().collect(),
        paused: Some(true),
        lease: Some(NewLease::Same),
        labels: Some(NewLabels::All(Labels::default())),
    };
    let size = TerminalSize {
        rows: 1,
        columns: 2,
    };
    let signal = Ask::Signal(id(), 15.try_into().unwrap(), Whom::Tree);
    let usage = Ask::Usage {
        id: id(),
        with_tasks: false,
    };
    let workspace = Ask::CreateWorkspace(WorkspaceSpec {
        name: named.clone().try_into().unwrap(),
        disk_max: None,
    });
    let gone = Ask::RemoveWorkspace(named.try_into().unwrap(), Some(StopHow::Kill));
    let graceful = StopHow::Graceful(Some(9.try_into().unwrap()));
    let change = r#""change":["limit memory 5","pause","lease same","labels"],"#;
    vec![
        (Ask::Start(start()), r#""argv":["/bin/true","a\"b"],"#),
        (Ask::TryStart(start()), r#""argv":["/bin/true","a\"b"],"#),
        (Ask::Stop(id(), StopHow::Kill), r#""how":"kill","#),
        (
            Ask::Stop(id(), graceful),
            r#""how":"graceful","grace_ms":9,"#,
        ),
        (Ask::Subscribe(id()), ""),
        (Ask::LendInput(id()), ""),
        (Ask::EndInput(id()), ""),
        (Ask::ResizeTerminal(id(), size), ""),
        (signal, r#""signal":15,"whom":"tree","#),
        (Ask::Update(id(), Box::new(update)), change),
        (Ask::Remove(id()), ""),
        (Ask::Forget(id()), ""),
        (usage, ""),
        (Ask::Receipt(id()), ""),
        (workspace, ""),
        (gone, r#""how":"kill","#),
    ]
}

const ASKED: [(Event, bool); 16] = [
    (Event::Start, true),
    (Event::TryStart, true),
    (Event::Stop, true),
    (Event::Stop, true),
    (Event::Output, true),
    (Event::Input, true),
    (Event::EndInput, true),
    (Event::Resize, true),
    (Event::Signal, true),
    (Event::Update, true),
    (Event::Remove, true),
    (Event::Forget, true),
    (Event::Usage, true),
    (Event::Receipt, true),
    (Event::CreateWorkspace, false),
    (Event::RemoveWorkspace, false),
];

#[test]
fn each_thing_that_is_asked_for_has_its_line() {
    let who = "anna".to_owned().try_into().unwrap();
    let denied = Refusal::Denied(Denial::Verb(Verb::Stop));
    for ((ask, facts), (event, is_of_process)) in asks().into_iter().zip(ASKED) {
        let found = lines(|audit| audit.decided(Asked::of(&ask), &who, Some(&denied), None));
        let of = if is_of_process {
            "07".repeat(16)
        } else {
            "w".to_owned()
        };
        let word = event.word();
        let expected = format!(
            "\"{word}\",\"id\":\"{of}\",\"asserted\":{{\"principal\":\"anna\"}},\"verified\":{{{facts}\
             \"outcome\":\"refused\",\"refusal\":\"denied-verb\",\"detail\":\"the role does not allow stop\"}}"
        );
        assert_eq!(found, [expected]);
    }
    let start = StartFacts {
        digest: Digest([0xab; 32]),
        rule: Some(2),
        uid: 70_000,
    };
    let signed = SignedBy {
        key: Digest([0xcd; 32]),
        via: None,
        not_before: UnixMicros(8),
        not_after: UnixMicros(9),
    };
    let allowed = || Asked::of(&Ask::Start(Box::new(spec(&["x"]))));
    let found = lines(|audit| {
        audit.verified(&who, &signed);
        audit.decided(allowed(), &who, None, Some(start.clone()));
        // The same again, not signed.
        audit.decided(allowed(), &who, None, Some(start));
    });
    let facts = format!(
        "{{\"argv\":[\"x\"],\"outcome\":\"allowed\",\"digest\":\"{}\",\"uid\":70000,\"rule\":2,\
         \"signer\":\"anna\",\"signer_key\":\"{}\",\"not_before\":8,\"not_after\":9}}",
        "ab".repeat(32),
        "cd".repeat(32)
    );
    assert!(found[0].ends_with(&facts), "{found:?}");
    assert!(found[1].ends_with("\"rule\":2}"), "{found:?}");
}

#[test]
fn a_signed_start_that_is_refused_names_its_signer_and_what_of_that_was_verified() {
    let ben = "ben".to_owned().try_into().unwrap();
    let anna = "anna".to_owned().try_into().unwrap();
    let head = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
    let signature = StartSignature {
        key: [&head[..], &[1; 32]].concat().try_into().unwrap(),
        audience: "prod".to_owned().try_into().unwrap(),
        not_before: UnixMicros(8),
        not_after: UnixMicros(9),
        signature: vec![0; 64].try_into().unwrap(),
    };
    let key = signature.fingerprint();
    let signed = SignedBy {
        key,
        via: None,
        not_before: UnixMicros(8),
        not_after: UnixMicros(9),
    };
    let mut start = spec(&["x"]);
    start.signature = Some(signature);
    let asked = || Asked::of(&Ask::Start(Box::new(start.clone())));
    let refusal = |no| Some(Refusal::Signature(no));
    let found = lines(|audit| {
        audit.verified(&anna, &signed);
        let replayed = refusal(SignatureRefusal::Replayed);
        audit.decided(asked(), &ben, replayed.as_ref(), None);
        let invalid = refusal(SignatureRefusal::Invalid);
        audit.decided(asked(), &ben, invalid.as_ref(), None);
    });
    let verified =
        format!("\"signer\":\"anna\",\"signer_key\":\"{key}\",\"not_before\":8,\"not_after\":9}}");
    assert!(found[0].contains("\"asserted\":{\"principal\":\"ben\"}"));
    assert!(found[0].contains("signature-replayed") && found[0].ends_with(&verified));
    let asserted = format!("\"asserted\":{{\"principal\":\"ben\",\"signer_key\":\"{key}\"}}");
    assert!(found[1].contains(&asserted) && !found[1].contains("\"signer\""));
    let words = "\"detail\":\"it is not the key's, or not of this start\"";
    assert!(found[1].contains(words), "for people: {}", found[1]);
}

#[test]
fn each_thing_that_happens_has_its_line() {
    let of = "07".repeat(16);
    let digest = "ab".repeat(32);
    let mut ended = info(id());
    ended.main_exit = Some(MainExit {
        status: ExitStatus::Signalled {
            signal: 9,
            core_dumped: false,
        },
        cause: ExitCause::StoppedOnRequest,
        at: UnixMicros(1),
    });
    ended.end = Some(End {
        at: UnixMicros(2),
        usage: Vec::new(),
        output: OutputTotals {
            stdout: 3,
            stderr: 4,
            ..OutputTotals::default()
        },
    });
    let found = lines(|audit| {
        audit.start_failed(id(), &Refusal::Draining);
        audit.ended(&ended, Digest([0xab; 32]));
        audit.frontend_ended(Some(ExitStatus::Exited(1)));
        audit.frontend_ended(None);
        audit.note(Event::Over, Facts::default());
    });
    let expected = [
        format!(
            "\"start-failed\",\"id\":\"{of}\",\"verified\":{{\"refusal\":\"draining\",\"detail\":\"the server is shutting down\"}}"
        ),
        format!(
            "\"end\",\"id\":\"{of}\",\"verified\":{{\"digest\":\"{digest}\",\"cause\":\"stopped-on-request\",\
             \"status\":\"signalled\",\"signal\":9,\"core_dumped\":false,\"stdout_bytes\":3,\"stderr_bytes\":4}}"
        ),
        "\"frontend-ended\",\"verified\":{\"status\":\"exited\",\"exit_code\":1}".to_owned(),
        "\"frontend-ended\",\"verified\":{\"status\":\"unknown\"}".to_owned(),
        "\"over\",\"verified\":{}".to_owned(),
    ];
    assert_eq!(found, expected);
}

/// What stands in backquotes in the first cells of the rows below a heading.
fn documented(heading: &str) -> BTreeSet<&str> {
    let (_, table) = DOCUMENT.split_once(heading).unwrap();
    let rows = table.trim_start().lines().skip(1);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .collect()
}

#[test]
fn the_document_lists_all_events_and_no_other() {
    let all: BTreeSet<_> = Event::ALL.iter().map(|event| event.word()).collect();
    assert_eq!(documented("| event | |"), all);
}

/// Keys that are written are string literals beside what writes them: here, and where something is
/// noted.
#[test]
fn the_document_lists_all_facts_and_no_other() {
    let sources = [
        include_str!("../audit.rs"),
        include_str!("line.rs")
            .split("#[cfg(test)]")
            .next()
            .unwrap(),
        include_str!("../control.rs"),
        include_str!("../runner.rs"),
        include_str!("../frontend/instance.rs"),
    ];
    let mut written = BTreeSet::new();
    for source in sources {
        for call in ["text(\"", "number(\"", "words(\"", "switch(\""] {
            let after = source.split(call).skip(1);
            written.extend(after.map(|after| after.split('"').next().unwrap()));
        }
    }
    written.insert("principal");
    let verified = documented("| in `verified` | is |");
    let asserted = documented("| in `asserted` | is |");
    assert_eq!(&asserted | &verified, written);
}
