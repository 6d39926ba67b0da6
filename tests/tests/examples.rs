//! The programs in `examples/` do what they say: each feeds a process, follows it and exits as it
//! did, at a terminal too, and over a connection that is cut; or builds and tests a project in a
//! workspace, brings results back and leaves nothing there. Node, npm, python3 and its venv, make
//! and a C compiler must be installed; libraries and generated modules go to the target folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::libraries;
use prn_tests::proxy::{Cut, Proxy};
use prn_tests::random::Random;
use prn_tests::server::Server;
use prn_tests::{binary, wait_for};
use sha2::{Digest, Sha256};

#[derive(Debug, Clone, Copy)]
enum Example {
    Python,
    Node,
}

const BOTH: [Example; 2] = [Example::Python, Example::Node];

impl Example {
    /// The example with these arguments, as the server's client.
    fn command(self, server: &Server, arguments: &[&str]) -> Command {
        let mut command = match self {
            Self::Python => python("input.py"),
            Self::Node => {
                let modules = libraries::npm(&libraries().join("node"), &source());
                let mut command = Command::new("node");
                command.arg(source().join("input.js"));
                command.env("NODE_PATH", modules);
                command
            }
        };
        command.args(arguments);
        as_client(&mut command, server);
        command
    }
}

fn libraries() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples")
}

fn source() -> PathBuf {
    root().join("examples")
}

/// A program in Python.
fn python(name: &str) -> Command {
    let schema = root().join("proto/v1/process_runner.proto");
    let python = libraries::python(&libraries().join("python"), &source(), &schema);
    let mut command = Command::new(python.interpreter);
    command.arg(source().join(name));
    command.env("PYTHONPATH", python.stubs);
    command
}

/// With what names the server, and its client.
fn as_client(command: &mut Command, server: &Server) {
    command
        .env("PRN_ADDRESS", &server.address)
        .env("PRN_CLIENT_CERT", &server.client.certificate)
        .env("PRN_SERVER_CERT", &server.identity.certificate)
        .env_remove("PRN_TLS_KEY")
        .env("PRN_TLS_KEY_FILE", &server.client.key);
}

/// The examples that work in a workspace.
#[derive(Debug, Clone, Copy)]
enum Worker {
    Python,
    Rust,
    Shell,
}

const WORKERS: [Worker; 3] = [Worker::Python, Worker::Rust, Worker::Shell];

/// A copy of the project to work on, and where its results go.
struct Work {
    server: Server,
    folder: tempfile::TempDir,
}

impl Work {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(source().join("project"));
        let status = copy.arg(folder.path()).status().unwrap();
        assert!(status.success());
        Self {
            server: Server::start(),
            folder,
        }
    }

    fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    fn command(&self, worker: Worker) -> Command {
        let mut command = match worker {
            Worker::Python => python("agent.py"),
            Worker::Rust => {
                let example = binary("prn").with_file_name("examples").join("agent");
                assert!(
                    example.exists(),
                    "{}: build the examples",
                    example.display()
                );
                Command::new(example)
            }
            Worker::Shell => {
                let programs = binary("prn");
                let programs = programs.parent().unwrap().display();
                let path = std::env::var("PATH").unwrap_or_default();
                let mut command = Command::new(source().join("ci.sh"));
                command.env("PATH", format!("{programs}:{path}"));
                command
            }
        };
        command.arg(self.project());
        match worker {
            Worker::Python | Worker::Rust => {
                command.arg(self.folder.path().join("results"));
            }
            Worker::Shell => {}
        }
        as_client(&mut command, &self.server);
        command
    }

    /// What the tests of the project have written, wherever it comes back to.
    fn report(&self, worker: Worker) -> String {
        let path = match worker {
            Worker::Python => "results/build/report.txt",
            Worker::Rust => "results/report.txt",
            Worker::Shell => "project/build/report.txt",
        };
        fs::read_to_string(self.folder.path().join(path)).unwrap()
    }

    fn workspaces(&self) -> serde_json::Value {
        let list = self.server.ok(&["workspace", "list", "-o", "json"]);
        serde_json::from_str::<serde_json::Value>(&list).unwrap()["workspaces"].clone()
    }
}

#[test]
fn a_project_is_built_and_tested_in_a_workspace_and_nothing_is_left_there() {
    for worker in WORKERS {
        let work = Work::new();
        let output = work.command(worker).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{worker:?}: {output:?}");
        assert!(work.report(worker).starts_with("ok: 6\n"), "{worker:?}");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(
            shown.contains("-o build/total total.c"),
            "{worker:?}: {shown}"
        );
        assert_eq!(work.workspaces(), serde_json::json!([]), "{worker:?}");
    }
}

#[test]
fn a_failed_test_is_told_with_its_report_and_nothing_is_left_there() {
    for worker in WORKERS {
        let work = Work::new();
        let program = work.project().join("total.c");
        let text = fs::read_to_string(&program).unwrap();
        fs::write(&program, text.replace("sum = 0", "sum = 1")).unwrap();
        let output = work.command(worker).output().unwrap();
        // make's own, where a command has failed.
        assert_eq!(output.status.code(), Some(2), "{worker:?}: {output:?}");
        assert!(work.report(worker).contains("FAILED: 7 instead of 6"));
        assert_eq!(work.workspaces(), serde_json::json!([]), "{worker:?}");
    }
}

#[test]
fn a_job_that_is_ended_leaves_no_workspace() {
    for worker in WORKERS {
        let work = Work::new();
        let makefile = "build/total:\n\ttouch begun; sleep 1000\n";
        fs::write(work.project().join("Makefile"), makefile).unwrap();
        let mut child = work.command(worker).spawn().unwrap();
        wait_for("the build", || {
            let workspaces = work.workspaces();
            let directory = workspaces[0]["directory"].as_str().map(Path::new);
            directory.is_some_and(|directory| directory.join("begun").exists())
        });
        // To the program alone, as a service manager does it at first, and a container's.
        kill(
            Pid::from_raw(child.id().try_into().unwrap()),
            Signal::SIGTERM,
        )
        .unwrap();
        let status = child.wait().unwrap();
        assert!(!status.success(), "{worker:?}: {status}");
        assert_eq!(work.workspaces(), serde_json::json!([]), "{worker:?}");
    }
}

#[test]
fn a_mebibyte_comes_back_from_cat() {
    let server = Server::start();
    let bytes = Random::from_environment("PRN_EXAMPLES_SEED").bytes(1 << 20);
    for example in BOTH {
        let output = fed(&mut example.command(&server, &["cat"]), &bytes);
        assert_eq!(output.status.code(), Some(0), "{example:?}: {output:?}");
        assert_eq!(sha256(&output.stdout), sha256(&bytes), "{example:?}");
        assert_eq!(said(&output), "", "{example:?}");
    }
}

#[test]
fn they_exit_as_the_process_did_and_keep_its_streams_apart() {
    let server = Server::start();
    let script = "sha256sum; echo problem >&2; exit 3";
    for example in BOTH {
        let mut command = example.command(&server, &["sh", "-c", script]);
        // A key can be given as text, too.
        command
            .env_remove("PRN_TLS_KEY_FILE")
            .env("PRN_TLS_KEY", server.client.key_pem());
        let output = fed(&mut command, b"a line\n");
        assert_eq!(output.status.code(), Some(3), "{example:?}: {output:?}");
        let expected = format!("{}  -\n", sha256(b"a line\n"));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{example:?}"
        );
        assert_eq!(said(&output), "problem\n", "{example:?}");
    }
}

#[test]
fn a_process_that_leaves_its_input_alone_ends_them() {
    let server = Server::start();
    for example in BOTH {
        let mut command = example.command(&server, &["sh", "-c", "head -c 3; kill $$"]);
        let output = fed(&mut command, &vec![b'x'; 8 << 20]);
        assert_eq!(output.status.code(), Some(143), "{example:?}: {output:?}");
        assert_eq!(output.stdout, b"xxx", "{example:?}");
        // Nothing more comes, and no end.
        let mut command = example.command(&server, &["echo", "left"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let stdin = child.stdin.take();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        assert_eq!(output.status.code(), Some(0), "{example:?}: {output:?}");
        assert_eq!(output.stdout, b"left\n", "{example:?}");
    }
}

#[test]
fn a_terminal_shows_what_is_typed_and_has_the_new_size() {
    let server = Server::start();
    for example in BOTH {
        let output = fed(&mut example.command(&server, &["--terminal"]), b"");
        assert_eq!(output.status.code(), Some(3), "{example:?}: {output:?}");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(
            shown.contains("stty size; exit 3\r\n"),
            "{example:?}: {shown}"
        );
        assert!(shown.ends_with("50 132\r\n"), "{example:?}: {shown}");
    }
}

#[test]
fn no_byte_is_lost_with_a_connection() {
    const CUTS: u64 = 3;
    let server = Server::start();
    let bytes = Random::from_environment("PRN_EXAMPLES_SEED").bytes(4 << 20);
    for example in BOTH {
        let mut made = 0;
        let proxy = Proxy::start(&server.address, move || {
            made += 1;
            (made <= CUTS).then_some(Cut {
                after: 400_000 * made,
                reset: made % 2 == 0,
            })
        });
        let mut command = example.command(&server, &["cat"]);
        let output = fed(command.env("PRN_ADDRESS", &proxy.address), &bytes);
        assert_eq!(output.status.code(), Some(0), "{example:?}: {output:?}");
        assert_eq!(sha256(&output.stdout), sha256(&bytes), "{example:?}");
        assert_eq!(proxy.cuts(), CUTS, "{example:?}");
        assert!(said(&output).contains("trying again"), "{example:?}");
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Runs it with these bytes on its standard input, of which it may leave some.
fn fed(command: &mut Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        let feeding = scope.spawn(move || stdin.write_all(input));
        let output = child.wait_with_output().unwrap();
        let _ = feeding.join().unwrap();
        output
    })
}

/// What it wrote to standard error.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
