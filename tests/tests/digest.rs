//! The digest of a start: another language computes it, and nothing starts that has another one
//! than was expected.

use std::io::Write;
use std::process::{Command, Stdio};

use prn_ipc_protocol::message::{Ask, Refusal, Reply};
use prn_ipc_protocol::types::Digest;
use prn_tests::hostile_frontend::HostileFrontend;
use prn_tests::server::Server;
use serde_json::Value;

/// The start of docs/digest.md.
const START: [&str; 10] = [
    "--output-max",
    "1M",
    "--grace",
    "10s",
    "--env",
    "MODE=fast",
    "--label",
    "tier=web",
    "--",
    "sleep",
];

fn dry(server: &Server, words: &[&str]) -> (String, String) {
    let said = server.ok(&[&["start", "--dry-run", "-o", "json"], words].concat());
    let json: Value = serde_json::from_str(&said).unwrap();
    let digest = json["start"]["digest"].as_str().unwrap().to_owned();
    (said, digest)
}

#[test]
fn the_python_of_the_document_computes_what_the_server_says() {
    let document = include_str!("../../docs/digest.md");
    let (_, script) = document.split_once("```python\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    assert!(script.lines().count() <= 40);
    assert!(document.contains(&format!("{} 60\n", START.join(" "))));
    let server = Server::with_arguments(&["--default-memory", "64M"]);
    let (said, digest) = dry(&server, &[&START[..], &["60"]].concat());
    let mut python = Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = python.stdin.take().unwrap();
    input.write_all(said.as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.trim(), digest);
}

#[test]
fn nothing_starts_that_has_another_digest_than_was_expected() {
    let server = Server::start();
    let words = ["--memory", "64M", "--", "sleep", "1000"];
    let (_, digest) = dry(&server, &words);
    let shown = server.ok(&[&["start", "--dry-run"][..], &words].concat());
    assert!(
        shown.contains(&digest) && shown.contains("one of its own"),
        "{shown}"
    );
    let expecting = |flags: &[&str], memory: &str| {
        let words = ["--memory", memory, "--", "sleep", "1000"];
        server.run(&[flags, &["--expect", &digest], &words].concat())
    };
    for (flags, code) in [(&["start"][..], 1), (&["run"], 125)] {
        let output = expecting(flags, "65M");
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains("digest") && said.contains("--dry-run"),
            "{said}"
        );
    }
    let output = expecting(&["start", "--dry-run"], "65M");
    let shown = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        shown.contains("one of its own") && !shown.contains(&digest),
        "{shown}"
    );
    assert!(said.contains("--expect: what"), "{said}");
    assert_eq!(
        expecting(&["start", "--dry-run"], "64M").status.code(),
        Some(0)
    );
    assert_eq!(server.ok(&["list", "-a", "-o", "name"]), "");
    let upper = digest.to_uppercase();
    let words = [
        "start", "--expect", &upper, "--memory", "64M", "--", "sleep", "1000",
    ];
    server.ok(&words);
}

#[test]
fn what_is_expected_is_compared_in_the_root_half() {
    let mut hostile = HostileFrontend::start();
    let mut spec = hostile.spec(&["/bin/true"]);
    let digest = |hostile: &mut HostileFrontend, spec| match hostile.ask(Ask::TryStart(spec)).0 {
        Reply::Startable(startable) => startable.digest,
        reply => panic!("{reply:?}"),
    };
    let known = digest(&mut hostile, Box::new(spec.clone()));
    spec.expect = Some(Digest([0; 32]));
    for ask in [
        Ask::Start(Box::new(spec.clone())),
        Ask::TryStart(Box::new(spec.clone())),
    ] {
        assert_eq!(
            hostile.ask(ask).0,
            Reply::Refused(Refusal::OtherDigest(known))
        );
    }
    spec.expect = Some(known);
    assert_eq!(
        hostile.ask(Ask::Start(Box::new(spec.clone()))).0,
        Reply::Done
    );
    assert_eq!(
        hostile.ask(Ask::Start(Box::new(spec))).0,
        Reply::Existing,
        "the same once more"
    );
}
