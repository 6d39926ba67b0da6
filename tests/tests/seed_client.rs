//! A client that knows the original surface alone works unchanged: `seed-client/` is one, in
//! JavaScript, generated from a file that has no field from 16 up. Node and npm must be installed;
//! its libraries go to the target folder.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use prn_tests::libraries;
use prn_tests::pki::Identity;
use prn_tests::server::Server;
use prn_tests::wait_for;
use serde_json::{Value, json};

/// gRPC status codes.
const OK: i64 = 0;
const INVALID_ARGUMENT: i64 = 3;
const NOT_FOUND: i64 = 5;
const UNAVAILABLE: i64 = 14;
const DATA_LOSS: i64 = 15;

#[test]
fn a_process_is_started_described_listed_and_stopped() {
    let server = Server::start();
    let before = seconds();
    let started = one(
        &server,
        "Start",
        &json!({"command": "sleep", "args": ["1000"]}),
    );
    let id = started["response"]["id"]["id"].as_str().unwrap().to_owned();
    assert!(
        id.len() == 32
            && id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
        "{id}"
    );
    let status = &started["response"]["status"];
    let start_time = status["start_time"].as_i64().unwrap();
    assert!((before..=seconds()).contains(&start_time), "{status}");
    let running = json!({
        "command": "sleep 1000",
        "state": "PROCESS_STATE_RUNNING",
        "exit_code": 0,
        "start_time": start_time,
        "end_time": 0,
    });
    assert_eq!(
        started,
        json!({"response": {"id": {"id": id}, "status": running}})
    );
    assert_eq!(
        one(&server, "Status", &named(&id)),
        json!({"process_status": running})
    );

    let second = start(&server, "printf", &["%s", "it's"]);
    output(&server, &second);
    let list = one(&server, "List", &json!({}));
    assert_eq!(list["processes"].as_array().unwrap().len(), 2);
    assert_eq!(list["processes"][0], started["response"], "oldest first");
    assert_eq!(list["processes"][1]["id"]["id"], *second);
    assert_eq!(
        list["processes"][1]["status"]["state"],
        "PROCESS_STATE_STOPPED"
    );
    let quoted = list["processes"][1]["status"]["command"].as_str().unwrap();
    assert_eq!(
        shell(&format!("set -- {quoted}; echo \"$#:$3\"")),
        "3:it's\n",
        "shell quoting: {quoted}"
    );

    let stopped = one(&server, "Stop", &named(&id));
    let status = &stopped["process_status"];
    assert_eq!(status["state"], "PROCESS_STATE_STOPPED");
    assert_eq!(status["exit_code"], 143);
    assert!(
        (start_time..=seconds()).contains(&status["end_time"].as_i64().unwrap()),
        "{status}"
    );
    assert_eq!(
        one(&server, "Stop", &named(&id)),
        stopped,
        "a second stop gives the same answer"
    );
    assert_eq!(one(&server, "Status", &named(&id)), stopped);
}

#[test]
fn the_exit_code_is_the_processs_own_or_128_and_the_signal() {
    let server = Server::start();
    let ends = |script: &str, signal: Option<&str>| {
        let id = start(&server, "sh", &["-c", script]);
        if let Some(signal) = signal {
            let mut request = named(&id);
            request["signal"] = json!(signal);
            one(&server, "Stop", &request);
        }
        let (_, status) = output(&server, &id);
        assert_eq!(status["code"], OK, "{status}");
        let status = one(&server, "Status", &named(&id));
        assert_eq!(status["process_status"]["state"], "PROCESS_STATE_STOPPED");
        status["process_status"]["exit_code"].as_i64().unwrap()
    };
    assert_eq!(ends("exit 0", None), 0);
    assert_eq!(ends("exit 42", None), 42);
    assert_eq!(ends("exit 255", None), 255);
    assert_eq!(ends("kill -USR1 $$", None), 128 + 10);
    assert_eq!(
        ends("exec sleep 1000", Some("SIGNAL_UNSPECIFIED")),
        128 + 15
    );
    assert_eq!(ends("exec sleep 1000", Some("SIGNAL_SIGTERM")), 128 + 15);
    assert_eq!(
        ends(
            "trap '' TERM; while :; do sleep 1; done",
            Some("SIGNAL_SIGKILL")
        ),
        128 + 9
    );
}

#[test]
fn output_is_replayed_byte_for_byte_in_plain_data_frames() {
    let server = Server::start();
    // Every byte value on each stream, and then enough for many frames.
    let script = "bytes() { i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %03o $i)\"; i=$((i+1)); done; }
        bytes; bytes >&2; head -c 300000 /dev/zero; printf end >&2";
    let id = start(&server, "sh", &["-c", script]);
    let every: Vec<u8> = (0..=255).collect();
    // Once while it may still run, and once when it has surely ended.
    for _ in 0..2 {
        let (frames, status) = output(&server, &id);
        assert_eq!(status["code"], OK, "{status}");
        assert!(frames.len() >= 5, "{} frames", frames.len());
        for frame in &frames {
            assert_eq!(
                frame["fields"],
                json!([1, 2]),
                "type and data alone, both there"
            );
            assert!(!bytes(frame).is_empty() && bytes(frame).len() <= 65536);
        }
        let stream = |name: &str| -> Vec<u8> {
            frames
                .iter()
                .filter(|frame| frame["message"]["type"] == name)
                .flat_map(bytes)
                .collect()
        };
        let (stdout, stderr) = (stream("TYPE_STDOUT"), stream("TYPE_STDERR"));
        assert!(
            stdout[..256] == every && stdout[256..] == vec![0; 300_000],
            "{} bytes",
            stdout.len()
        );
        assert_eq!(stderr, [&every[..], b"end"].concat());
    }
    // A process without output gives a stream without frames.
    let (frames, status) = output(&server, &start(&server, "true", &[]));
    assert!(frames.is_empty(), "{frames:?}");
    assert_eq!(status["code"], OK);
}

#[test]
fn output_is_followed_until_the_process_ends() {
    let server = Server::start();
    // The shell itself would say that its child was terminated.
    let script =
        "exec 2>&-; trap 'printf last; exit 7' TERM; printf first; while :; do sleep 0.05; done";
    let id = start(&server, "sh", &["-c", script]);
    let mut follower = node(&server, &server.client, "GetOutput", &named(&id))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || -> Option<Value> {
        lines
            .next()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    };

    let first = next().expect("a frame while the process runs");
    assert_eq!(
        (bytes(&first), &first["fields"]),
        (b"first".to_vec(), &json!([1, 2]))
    );
    assert_eq!(
        one(&server, "Status", &named(&id))["process_status"]["state"],
        "PROCESS_STATE_RUNNING"
    );
    let stopped = one(&server, "Stop", &named(&id));
    assert_eq!(stopped["process_status"]["exit_code"], 7);
    let last = next().expect("another frame");
    assert_eq!(
        (bytes(&last), &last["fields"]),
        (b"last".to_vec(), &json!([1, 2]))
    );
    assert_eq!(next().expect("a status")["code"], OK);
    assert_eq!(next(), None);
    ended(&mut follower);
}

#[test]
fn output_with_bytes_missing_ends_with_data_loss() {
    let server = Server::with_arguments(&["--output-default", "1M"]);
    let id = start(
        &server,
        "sh",
        &["-c", "head -c 3000000 /dev/zero; printf end"],
    );
    wait_for("its end", || {
        one(&server, "Status", &named(&id))["process_status"]["state"] == "PROCESS_STATE_STOPPED"
    });
    let (frames, status) = output(&server, &id);
    assert_eq!(status["code"], DATA_LOSS, "{status}");
    assert!(frames.iter().all(|frame| frame["fields"] == json!([1, 2])));
    let kept: Vec<u8> = frames.iter().flat_map(bytes).collect();
    assert!(
        kept.ends_with(b"\0end") && kept.len() < 3_000_003,
        "{} bytes",
        kept.len()
    );
}

#[test]
fn errors_are_grpc_codes() {
    let server = Server::start();
    let code = |method: &str, request: &Value| {
        let lines = call(&server, method, request);
        assert_eq!(lines.len(), 1, "no message: {lines:?}");
        lines[0]["code"].as_i64().unwrap()
    };
    for method in ["Status", "Stop", "GetOutput"] {
        assert_eq!(code(method, &named(&"0".repeat(32))), NOT_FOUND, "{method}");
        assert_eq!(code(method, &named("no id")), INVALID_ARGUMENT, "{method}");
        assert_eq!(code(method, &json!({})), INVALID_ARGUMENT, "{method}");
    }
    assert_eq!(
        code("Start", &json!({"command": "no-such-program"})),
        NOT_FOUND
    );
    assert_eq!(code("Start", &json!({})), INVALID_ARGUMENT);
    assert_eq!(one(&server, "List", &json!({})), json!({"processes": []}));
}

#[test]
fn x10_a_list_is_never_longer_than_a_stock_client_takes() {
    let server = Server::start();
    let script = format!("exec sleep 1000 # {}", "x".repeat(120_000));
    let ids: Vec<String> = (0..40)
        .map(|_| server.start_process(&[], &["sh", "-c", &script]))
        .collect();
    let list = one(&server, "List", &json!({}));
    let listed = list["processes"].as_array().unwrap();
    assert!(listed.len() >= 30, "{} listed", listed.len());
    let newest = &ids[ids.len() - listed.len()..];
    for (process, id) in listed.iter().zip(newest) {
        assert_eq!(process["id"]["id"], *id, "the newest, oldest first");
    }
}

#[test]
fn a_client_that_is_not_pinned_is_refused() {
    let server = Server::start();
    let stranger = Identity::keygen(server.folder(), "stranger", &[]);
    let output = node(&server, &stranger, "List", &json!({}))
        .output()
        .unwrap();
    let lines = parsed(&output);
    assert_eq!(
        (lines.len(), &lines[0]["code"]),
        (1, &json!(UNAVAILABLE)),
        "{lines:?}"
    );
}

#[test]
fn keys_of_keygen_are_read_by_other_tls_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let made = Identity::keygen(folder.path(), "made", &[]);
    // The name is what openssl(1) shows of a key that it has understood.
    let output = Command::new("openssl")
        .args(["pkey", "-noout", "-text", "-in"])
        .arg(&made.key)
        .output();
    let output = output.expect("openssl, which this test needs");
    let (text, error) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(text.starts_with("ED25519 Private-Key:"), "{text}{error}");
}

/// The request that names a process.
fn named(id: &str) -> Value {
    json!({"process_identifier": {"id": id}})
}

/// Starts a process; returns its id.
fn start(server: &Server, command: &str, args: &[&str]) -> String {
    let started = one(server, "Start", &json!({"command": command, "args": args}));
    started["response"]["id"]["id"].as_str().unwrap().to_owned()
}

/// All of a process's output: the frames and the call's status.
fn output(server: &Server, id: &str) -> (Vec<Value>, Value) {
    let mut frames = call(server, "GetOutput", &named(id));
    let status = frames.pop().expect("a status");
    (frames, status)
}

/// The data of a frame.
fn bytes(frame: &Value) -> Vec<u8> {
    let digits = frame["message"]["data"].as_str().unwrap();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// The answer to a call that has one and succeeds.
fn one(server: &Server, method: &str, request: &Value) -> Value {
    let lines = call(server, method, request);
    assert!(
        lines.len() == 2 && lines[1]["code"] == OK,
        "{method}: {lines:?}\nlog: {}",
        server.log()
    );
    lines[0]["message"].clone()
}

/// What the client prints of a call.
fn call(server: &Server, method: &str, request: &Value) -> Vec<Value> {
    parsed(
        &node(server, &server.client, method, request)
            .output()
            .unwrap(),
    )
}

fn parsed(output: &Output) -> Vec<Value> {
    assert!(
        output.status.success(),
        "client.js: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ended(child: &mut Child) {
    wait_for("the client's end", || child.try_wait().unwrap().is_some());
    assert!(child.wait().unwrap().success());
}

/// The client, with a request.
fn node(server: &Server, client: &Identity, method: &str, request: &Value) -> Command {
    let mut command = Command::new("node");
    command
        .arg(source().join("client.js"))
        .args([method, &request.to_string()])
        .env("NODE_PATH", libraries())
        .env("PRN_ADDRESS", &server.address)
        .env("PRN_CLIENT_CERT", &client.certificate)
        .env("PRN_SERVER_CERT", &server.identity.certificate)
        .env("PRN_TLS_KEY", client.key_pem())
        .stdin(Stdio::null());
    command
}

fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/seed-client"))
}

/// The folder of the client's libraries.
fn libraries() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("seed-client");
    libraries::npm(&folder, source())
}

fn seconds() -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    now.as_secs().try_into().unwrap()
}

fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
