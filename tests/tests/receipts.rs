//! Receipts: what became of a process, signed by the root half, checked without a server.

use std::fs;

use prn_ipc_protocol::message::{Ask, Denial, Refusal, Reply, Verb};
use prn_ipc_protocol::types::ProcessId;
use prn_tests::hostile_frontend::HostileFrontend;
use prn_tests::server::Server;
use prn_tests::wait_for;
use serde_json::Value;

#[test]
fn a_receipt_is_good_until_a_byte_of_it_is_altered() {
    let place = tempfile::tempdir_in("/var/lib").unwrap();
    let audit = place.path().join("log/audit.jsonl");
    let server = Server::with_arguments(&["--audit", &format!("file:{}", audit.display())]);
    let dry = server.ok(&[
        "start",
        "--dry-run",
        "-o",
        "json",
        "--",
        "sh",
        "-c",
        "echo hello",
    ]);
    let dry: Value = serde_json::from_str(&dry).unwrap();
    let id = server.start_process(&[], &["sh", "-c", "echo hello"]);
    server.ok(&["wait", &id]);
    let text = server.ok(&["receipt", &id]);
    assert!(text.contains(&format!("id 32:{id}\n")), "{text}");
    assert!(text.contains("stdout-bytes 1:6\n") && text.contains("dropped-bytes 1:0\n"));
    assert!(
        text.contains(dry["start"]["digest"].as_str().unwrap()),
        "{text}"
    );
    let file = place.path().join("receipt");
    let path = file.to_str().unwrap().to_owned();
    fs::write(&file, format!("{}\n", text.trim_end())).unwrap();
    wait_for("the audit", || audit.exists());
    // Through a pipe, too.
    for (words, read) in [
        (&["verify", "-"][..], &file),
        (&["audit", "verify", "-"], &audit),
    ] {
        let input = fs::File::open(read).unwrap();
        let output = server.prn(words).stdin(input).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
    let first = fs::read_to_string(&audit).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    let key = first["verified"]["receipt_key"].as_str().unwrap();
    let health = server.ok(&["health", "-o", "json"]);
    assert!(health.contains(key), "{health}");
    let said = server.ok(&["verify", &path, "--key", key]);
    assert!(said.contains("client") && said.contains("exited"), "{said}");
    let asked = server.ok(&["verify", &path, "--server", "-o", "json"]);
    let asked: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(asked["key"], key);
    assert_eq!(
        (&asked["stdout-bytes"], &asked["signal"]),
        (&"6".into(), &Value::Null)
    );
    assert!(asked["usage"]["cpu.stat"].is_string(), "{asked}");
    let unsure = server.run(&["verify", &path]);
    let said = String::from_utf8(unsure.stderr).unwrap();
    assert_eq!(unsure.status.code(), Some(0));
    assert!(said.contains("was not checked"), "{said}");
    for wrong in ["", "abc"] {
        let refused = server.run(&["verify", &path, "--key", wrong]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2));
        assert!(said.contains("64 hexadecimal digits"), "{said}");
    }
    // Another server has another key.
    let stranger = Server::start();
    let refused = stranger.run(&["verify", &path, "--server"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("signed with another key"), "{said}");
    let other = "0".repeat(64);
    let refused = server.run(&["verify", &path, "--key", &other]);
    assert_eq!(refused.status.code(), Some(1));
    let forged = fs::read_to_string(&file)
        .unwrap()
        .replace("stdout-bytes 1:6", "stdout-bytes 1:7");
    fs::write(&file, forged).unwrap();
    let refused = server.run(&["verify", &path]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("it was altered"), "{said}");
}

#[test]
fn there_is_none_of_what_lives_or_is_somebody_elses() {
    let mut hostile = HostileFrontend::start();
    let id = hostile.start_process(&["/bin/sleep", "1000"]);
    let refused = |hostile: &mut HostileFrontend, id| match hostile.ask(Ask::Receipt(id)).0 {
        Reply::Refused(refusal) => refusal,
        reply => panic!("{reply:?}"),
    };
    assert_eq!(refused(&mut hostile, id), Refusal::NotEnded);
    let unknown = ProcessId::from_bytes([9; 16]);
    assert_eq!(refused(&mut hostile, unknown), Refusal::UnknownProcess);
    hostile.principal = "nobody".to_owned().try_into().unwrap();
    let denied = refused(&mut hostile, id);
    let expected = [Denial::Unknown, Denial::Verb(Verb::List)].map(Refusal::Denied);
    assert!(expected.contains(&denied), "{denied:?}");
}
