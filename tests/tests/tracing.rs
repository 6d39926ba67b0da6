//! Traces: what starts a process names its trace, by an environment variable, a label or metadata,
//! and the exporter sends the process's spans to a collector, one in Python with OpenTelemetry's
//! own messages.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use prn_proto::v1;
use prn_tests::server::Server;
use prn_tests::{client, libraries, wait_for};
use serde_json::Value;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A program that is ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The collector.
struct Collector {
    _program: Program,
    port: u64,
    said: Receiver<Value>,
}

impl Collector {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("otlp");
        let source = root.join("tests/otlp");
        let python = libraries::plain_python(&folder, &source);
        let mut child = Command::new(python)
            .arg(source.join("receiver.py"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap();
                if sender.send(value).is_err() {
                    break;
                }
            }
        });
        let port: Value = said.recv_timeout(Duration::from_secs(60)).unwrap();
        Self {
            _program: Program(child),
            port: port.as_u64().unwrap(),
            said,
        }
    }

    /// Of what is said from now on, what is wanted.
    fn until(&self, what: &str, mut is_all: impl FnMut(&[Value]) -> bool) -> Vec<Value> {
        let begin = Instant::now();
        let mut all = Vec::new();
        while !is_all(&all) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{what}: {all:?}");
            if let Ok(value) = self.said.recv_timeout(Duration::from_millis(200)) {
                all.push(value);
            }
        }
        all
    }
}

fn exporter(server: &Server, collector: &Collector) -> Program {
    let url = format!("http://127.0.0.1:{}", collector.port);
    let words = [
        "exporter",
        "--listen",
        "127.0.0.1:0",
        "--otlp",
        &url,
        "--otlp-interval",
        "1s",
    ];
    let mut child = server.prn(&words).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert!(line.contains("Listening on"), "{line}");
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::stderr()));
    Program(child)
}

fn span<'a>(all: &'a [Value], name: &str) -> &'a Value {
    all.iter()
        .find(|one| one["span"] == name)
        .unwrap_or_else(|| panic!("no {name} in {all:?}"))
}

#[test]
fn a_run_is_one_trace_from_its_caller_to_its_end() {
    let server = Server::start();
    let collector = Collector::start();
    let _exporter = exporter(&server, &collector);
    // It follows processes by then.
    collector.until("metrics", |all| {
        all.iter().any(|one| one["metric"] == "prn_up")
    });
    let output = server
        .prn(&[
            "run",
            "--name",
            "traced",
            "--",
            "sh",
            "-c",
            "sleep 2; exit 3",
        ])
        .env("TRACEPARENT", format!("00-{TRACE}-{PARENT}-01"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let count = |all: &[Value]| all.iter().filter(|one| one["trace"] == TRACE).count();
    let all = collector.until("spans", |all| count(all) >= 7);
    let whole = span(&all, "process");
    assert_eq!(whole["parent"], PARENT);
    assert_eq!(whole["status"], 2, "an error: {whole}");
    let attributes = &whole["attributes"];
    assert_eq!(attributes["prn.process.name"], "traced");
    assert_eq!(attributes["process.exit.code"], 3);
    assert_eq!(attributes["process.executable.name"], "sh");
    assert_eq!(attributes["prn.exit.cause"], "exited");
    let resource = &whole["resource"];
    assert_eq!(resource["service.name"], "prn");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    let (host, port) = server.address.rsplit_once(':').unwrap();
    assert_eq!(resource["service.instance.id"], server.address);
    assert_eq!(resource["server.address"], host);
    assert_eq!(resource["server.port"], port.parse::<u16>().unwrap());
    // One after the other, from the first moment of all of it to the last.
    let mut last = whole["start"].as_u64().unwrap();
    for name in [
        "requested",
        "admitted",
        "prepared",
        "executed",
        "ran",
        "removed",
    ] {
        let part = span(&all, name);
        assert_eq!(
            (&part["trace"], &part["parent"]),
            (&TRACE.into(), &whole["id"]),
            "{part}"
        );
        assert_eq!(part["start"].as_u64(), Some(last), "{part}");
        let end = part["end"].as_u64().unwrap();
        assert!(end >= last, "{part}");
        last = end;
    }
    assert_eq!(whole["end"].as_u64(), Some(last), "{whole}");
    assert_eq!(count(&all), 7, "{all:?}");
    let ran = span(&all, "ran");
    let took = ran["end"].as_u64().unwrap() - ran["start"].as_u64().unwrap();
    // It counts from when its program is known to run.
    assert!(took >= 1_000_000_000, "{ran}");
    assert!(!all.iter().any(|one| one["span"] == "stopped"), "{all:?}");
}

#[test]
fn what_is_stopped_has_a_span_for_that_and_a_trace_of_its_own_where_nobody_names_one() {
    let mut server = Server::start();
    let collector = Collector::start();
    let _exporter = exporter(&server, &collector);
    collector.until("metrics", |all| {
        all.iter().any(|one| one["metric"] == "prn_up")
    });
    // The exporter goes on by itself where the server comes back.
    server.kill_and_start_again();
    collector.until("metrics of the next run", |all| {
        let up = |one: &&Value| one["metric"] == "prn_up" && one["values"][0] == 1.0;
        all.iter().filter(up).count() >= 3
    });
    let id = server
        .ok(&["start", "--", "sleep", "1000"])
        .trim()
        .to_owned();
    // Who has not recorded its trace wants no spans.
    let label = format!("traceparent=00-{TRACE}-{PARENT}-00");
    server.ok(&["run", "--label", &label, "--", "true"]);
    server.ok(&["stop", &id]);
    let all = collector.until("spans", |all| {
        all.iter().filter(|one| one["trace"] == id.as_str()).count() >= 8
    });
    let (whole, stopped) = (span(&all, "process"), span(&all, "stopped"));
    assert_eq!(
        (&whole["parent"], &whole["status"]),
        (&"".into(), &1.into()),
        "{whole}"
    );
    assert_eq!(stopped["parent"], whole["id"]);
    assert!(
        stopped["start"].as_u64() >= whole["start"].as_u64(),
        "{stopped}"
    );
    assert!(!all.iter().any(|one| one["trace"] == TRACE), "{all:?}");
}

#[tokio::test]
async fn metadata_names_the_trace_unless_the_client_has_said_it() {
    let server = Server::start();
    let mut client = client::connect(&server).await.unwrap();
    let id = "00112233445566778899aabbccddeeff";
    let caller = format!("00-{TRACE}-{PARENT}-01");
    let again = format!("00-{TRACE}-00f067aa0ba902b8-01");
    let label = async |client: &mut client::Client, caller: &str, id: &str, own: Option<&str>| {
        let mut request = tonic::Request::new(v1::StartRequest {
            command: "true".to_owned(),
            id: id.to_owned(),
            labels: own
                .iter()
                .map(|own| ("traceparent".to_owned(), (*own).to_owned()))
                .collect(),
            ..Default::default()
        });
        request
            .metadata_mut()
            .insert("traceparent", caller.parse().unwrap());
        let answer = client.start(request).await.unwrap().into_inner();
        let status = answer.response.unwrap().status.unwrap();
        (
            status.labels.get("traceparent").cloned(),
            answer.already_running,
        )
    };
    assert_eq!(
        label(&mut client, &caller, id, None).await,
        (Some(caller.clone()), false)
    );
    // The same start again, within another span.
    assert_eq!(
        label(&mut client, &again, id, None).await,
        (Some(caller.clone()), true)
    );
    // And of one that was started without: it stays without.
    let bare = "00112233445566778899aabbccddeefe";
    assert_eq!(
        label(&mut client, "nonsense", bare, None).await,
        (None, false)
    );
    assert_eq!(label(&mut client, &again, bare, None).await, (None, true));
    assert_eq!(
        label(&mut client, &caller, "", Some("mine"))
            .await
            .0
            .as_deref(),
        Some("mine")
    );
    assert_eq!(label(&mut client, "nonsense", "", None).await.0, None);
    let listed = server.ok(&["list", "-l", &format!("traceparent={caller}"), "-q"]);
    assert_eq!(listed.trim(), id);
}

#[test]
fn a_collector_that_is_not_there_is_said_once_and_keeps_nobody_waiting() {
    let server = Server::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}");
    let words = [
        "exporter",
        "--listen",
        "127.0.0.1:0",
        "--otlp",
        &url,
        "--otlp-interval",
        "100ms",
    ];
    let mut child = server.prn(&words).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut program = Program(child);
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        said.map_while(Result::ok)
            .for_each(|line| drop(sender.send(line)))
    });
    server.ok(&["run", "--", "true"]);
    let mut all = Vec::new();
    wait_for("a word", || {
        all.extend(lines.try_iter());
        all.iter()
            .any(|line| line.contains("has not taken metrics"))
    });
    std::thread::sleep(Duration::from_secs(2));
    all.extend(lines.try_iter());
    let metrics = all.iter().filter(|line| line.contains("metrics")).count();
    assert_eq!(metrics, 1, "{all:?}");
    assert!(program.0.try_wait().unwrap().is_none());
    let refused = server.run(&["exporter", "--otlp", "https://collector:4317"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("http://HOST:4317"), "{said}");
}
