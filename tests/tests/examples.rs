//! The programs in `examples/` do what they say: each feeds a process, follows it and exits as it
//! did, at a terminal too, and over a connection that is cut. Node, npm, python3 and its venv must
//! be installed; libraries and generated modules go to the target folder.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use prn_tests::packages;
use prn_tests::proxy::{Cut, Proxy};
use prn_tests::random::Random;
use prn_tests::server::Server;
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
        let libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("examples");
        let source = root().join("examples");
        let mut command = match self {
            Self::Python => {
                let schema = root().join("proto/v1/process_runner.proto");
                let python = packages::python(&libraries.join("python"), &source, &schema);
                let mut command = Command::new(python.interpreter);
                command.arg(source.join("input.py"));
                command.env("PYTHONPATH", python.stubs);
                command
            }
            Self::Node => {
                let modules = packages::npm(&libraries.join("node"), &source);
                let mut command = Command::new("node");
                command.arg(source.join("input.js"));
                command.env("NODE_PATH", modules);
                command
            }
        };
        command
            .args(arguments)
            .env("PRN_ADDRESS", &server.address)
            .env("PRN_CLIENT_CERT", &server.client.certificate)
            .env("PRN_SERVER_CERT", &server.identity.certificate)
            .env_remove("PRN_TLS_KEY")
            .env("PRN_TLS_KEY_FILE", &server.client.key);
        command
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
