//! gRPC health checking and server reflection, asked by clients of other languages: grpclib and
//! grpcurl.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::libraries;
use prn_tests::server::Server;

const SERVICE: &str = "proto.v1.ProcessRunnerService";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn key_file(server: &Server) -> PathBuf {
    let path = server.folder().join("client-key.pem");
    fs::write(&path, server.client.key_pem()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// tests/health/ask.py with these words.
fn ask(server: &Server, words: &[&str]) -> Command {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples/python");
    let schema = root().join("proto/v1/process_runner.proto");
    let python = libraries::python(&folder, &root().join("examples"), &schema);
    let mut command = Command::new(python.interpreter);
    command
        .arg(root().join("tests/tests/health/ask.py"))
        .args(words)
        .env("PRN_ADDRESS", &server.address)
        .env("PRN_CLIENT_CERT", &server.client.certificate)
        .env("PRN_SERVER_CERT", &server.identity.certificate)
        .env("PRN_TLS_KEY_FILE", key_file(server));
    command
}

fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A watch: what it says line by line.
fn watching(server: &Server) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = ask(server, &["watch"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

#[test]
fn any_client_can_ask_whether_the_server_serves() {
    let server = Server::start();
    let check = |words: &[&str]| {
        said(
            ask(&server, &[&["check"], words].concat())
                .output()
                .unwrap(),
        )
    };
    assert_eq!(check(&[]), "SERVING");
    assert_eq!(check(&[SERVICE]), "SERVING");
    let unknown = check(&["other.Service"]);
    assert!(
        unknown.starts_with("NOT_FOUND no service is called"),
        "{unknown}"
    );
}

#[test]
fn a_watch_is_told_when_the_server_stops() {
    let server = Server::with_arguments(&["--stop-grace", "3s"]);
    // It takes its time to stop.
    let stays = "trap '' TERM; while :; do sleep 0.1; done";
    server.ok(&["start", "--", "sh", "-c", stays]);
    let (mut child, mut lines) = watching(&server);
    assert_eq!(line(&mut lines), "SERVING");
    kill(Pid::from_raw(server.supervisor()), Signal::SIGTERM).unwrap();
    assert_eq!(line(&mut lines), "NOT_SERVING");
    let end = line(&mut lines);
    assert!(end.starts_with("UNAVAILABLE"), "{end}");
    child.wait().unwrap();
}

#[test]
fn a_watch_ends_when_the_frontend_is_replaced_and_the_next_one_serves() {
    let server = Server::start();
    let (mut child, mut lines) = watching(&server);
    assert_eq!(line(&mut lines), "SERVING");
    // Other files of the same content make no other configuration: another limit does.
    let mut reload = server.reload();
    reload.args(["--max-finished", "99"]);
    let reloaded = reload.output().unwrap();
    assert!(reloaded.status.success(), "{reloaded:?}");
    // grpclib ends its streams when it is told that the connection takes no more (GOAWAY), which
    // may be before the status.
    let mut end = line(&mut lines);
    if end == "NOT_SERVING" {
        end = line(&mut lines);
    }
    assert!(end.starts_with("UNAVAILABLE"), "{end}");
    child.wait().unwrap();
    assert_eq!(said(ask(&server, &["check"]).output().unwrap()), "SERVING");
}

#[test]
fn a_client_has_so_many_watches_of_health_and_no_more() {
    let server = Server::start();
    let counted = said(ask(&server, &["many", "2000"]).output().unwrap());
    assert_eq!(counted, "64 RESOURCE_EXHAUSTED");
    // They are gone with their connection.
    assert_eq!(said(ask(&server, &["check"]).output().unwrap()), "SERVING");
    server.ok(&["list"]);
}

/// The command that docs/operate/metrics.md has for grpcurl.
fn shown() -> &'static str {
    let lines = include_str!("../../docs/operate/metrics.md").lines();
    let mut shown = lines.filter(|line| line.starts_with("grpcurl "));
    shown.next().unwrap()
}

#[test]
fn grpcurl_asks_for_health_and_for_the_schema_as_it_is_shown() {
    let server = Server::with_arguments(&["--reflection"]);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("grpcurl");
    let source = root().join("tests/tests/health/grpcurl");
    let python = libraries::plain_python(&folder, &source);
    let programs = python.parent().unwrap().display();
    let path = std::env::var("PATH").unwrap();
    let place = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("server.pem", server.identity.certificate_pem()),
        ("client.pem", server.client.certificate_pem()),
        ("client.key", server.client.key_pem()),
    ] {
        fs::write(place.path().join(name), text).unwrap();
    }
    let run = |command: &str| {
        let command = command.replace("127.0.0.1:50051", &server.address);
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(place.path());
        said(
            shell
                .env("PATH", format!("{programs}:{path}"))
                .output()
                .unwrap(),
        )
    };
    let described = run(shown());
    assert!(described.contains("message StartRequest {"), "{described}");
    let describe = "describe proto.v1.StartRequest";
    let health = run(&shown().replace(describe, "grpc.health.v1.Health/Check"));
    assert!(health.contains("\"status\": \"SERVING\""), "{health}");
    let call = format!("{SERVICE}/List");
    let listed = run(&shown().replace(describe, &call));
    assert!(listed.contains("bootEpoch"), "{listed}");
}

#[test]
fn a_client_learns_the_api_by_reflection_where_the_configuration_lets_it() {
    let server = Server::with_arguments(&["--reflection"]);
    let services = said(ask(&server, &["services"]).output().unwrap());
    let services: Vec<_> = services.lines().collect();
    for service in [
        SERVICE,
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
    ] {
        assert!(services.contains(&service), "{services:?}");
    }
    // Calls of a client that knows of the API what it was told, and nothing else.
    let start = ["call", "Start", r#"{"command": "true"}"#];
    let started = said(ask(&server, &start).output().unwrap());
    assert!(started.contains("bootEpoch"), "{started}");
    let metrics = said(
        ask(&server, &["call", "GetMetrics", "{}"])
            .output()
            .unwrap(),
    );
    assert!(metrics.contains("prn_process_starts"), "{metrics}");
}

#[test]
fn without_the_flag_the_schema_is_not_told() {
    let server = Server::start();
    let said = said(ask(&server, &["services"]).output().unwrap());
    assert!(said.starts_with("UNIMPLEMENTED"), "{said}");
}
