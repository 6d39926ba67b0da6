//! The command line as a good neighbour in scripts, pipelines and terminals: what it does with
//! standard input, with a reader who leaves, with signals, and with a server that does not answer.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::server::Server;
use prn_tests::{procfs, wait_for};

/// A process that ends by itself, with 0, when it finds a file in its directory.
const UNTIL_TOLD: [&str; 3] = ["sh", "-c", "until [ -e go ]; do sleep 0.05; done"];

/// One that says so, and then says nothing for very long.
const READY: [&str; 3] = ["sh", "-c", "echo ready; echo ready >&2; exec sleep 1000"];

/// One that does not end on SIGTERM.
const STUBBORN: [&str; 3] = [
    "sh",
    "-c",
    "trap '' TERM; echo ready; while :; do sleep 0.05; done",
];

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

fn ended(child: &mut Child, what: &str) -> ExitStatus {
    let mut status = None;
    wait_for(what, || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// All ids that the server knows.
fn ids(server: &Server) -> Vec<String> {
    let list: serde_json::Value =
        serde_json::from_str(&server.ok(&["list", "-o", "json"])).unwrap();
    let processes = list["processes"].as_array().unwrap();
    processes
        .iter()
        .map(|process| process["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The id of the one process that runs, as soon as it does.
fn running(server: &Server) -> String {
    wait_for("a process", || server.ok(&["list"]).contains("Running"));
    let mut running = ids(server);
    running.retain(|id| server.status(id)["state"] == "running");
    assert_eq!(running.len(), 1);
    running.remove(0)
}

/// Lets a process of [`UNTIL_TOLD`] end.
fn tell(server: &Server, id: &str) {
    let folder = server.status(id)["working_directory"]
        .as_str()
        .unwrap()
        .to_owned();
    File::create(Path::new(&folder).join("go")).unwrap();
}

/// A pipe with these bytes, which stays open.
fn pipe_with(bytes: &[u8]) -> (OwnedFd, OwnedFd) {
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(bytes).unwrap();
    (reader.into(), writer.into())
}

/// A stopped supervisor, which goes on when this is dropped.
struct Paused<'a>(&'a Server);

impl<'a> Paused<'a> {
    fn new(server: &'a Server) -> Self {
        procfs::hold(server.supervisor());
        Self(server)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

/// Both ends of a terminal. No child inherits its master, by which it would live on.
fn open_terminal() -> OpenptyResult {
    let pair = openpty(None, None).unwrap();
    fcntl(&pair.master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    fcntl(&pair.slave, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
    pair
}

/// A terminal: its one end for a program, and what arrives at the other.
fn terminal() -> (OwnedFd, Arc<Mutex<String>>) {
    let pair = open_terminal();
    let seen = Arc::new(Mutex::new(String::new()));
    let (mut master, shared) = (File::from(pair.master), Arc::clone(&seen));
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // Its end is an error: EIO, when nobody has the other end any more.
        while let Ok(length @ 1..) = master.read(&mut buffer) {
            shared.lock().unwrap().push_str(&text(&buffer[..length]));
        }
    });
    (pair.slave, seen)
}

#[test]
fn b2_input_that_a_start_would_not_pass_on_is_refused_in_one_line_and_left_alone() {
    let server = Server::start();
    let path = server.folder().join("input");
    std::fs::write(&path, "data\n").unwrap();
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"data\n").unwrap();
    let (pipe, _open) = pipe_with(b"data\n");
    let (closed_pipe, closed) = pipe_with(b"data\n");
    drop(closed);
    let inputs: [(&str, File); 4] = [
        ("an open pipe", pipe.into()),
        ("a closed pipe", closed_pipe.into()),
        ("a socket", OwnedFd::from(near).into()),
        ("a file", File::open(&path).unwrap()),
    ];
    for (what, mut input) in inputs {
        let output = server
            .prn(&["start", "--", "cat"])
            .stdin(input.try_clone().unwrap())
            .output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{what}: {error}");
        assert!(
            error.contains("`prn run`")
                && error.contains("`prn attach`")
                && error.lines().count() == 1,
            "{what}: {error}"
        );
        let mut left = [0; 5];
        input.read_exact(&mut left).unwrap();
        assert_eq!(&left, b"data\n", "{what}");
    }
    assert!(ids(&server).is_empty());
    let zeros = File::open("/dev/zero").unwrap();
    let output = server.prn(&["start", "--", "cat"]).stdin(zeros).output();
    assert_eq!(output.unwrap().status.code(), Some(2), "/dev/zero");
    for flag in ["--stdin", "--tty", "-n"] {
        let input = File::open(&path).unwrap();
        let output = server
            .prn(&["start", flag, "--", "cat"])
            .stdin(input)
            .output();
        assert_eq!(output.unwrap().status.code(), Some(0), "{flag}");
    }
}

#[test]
fn b2_input_without_bytes_keeps_nothing_from_running() {
    let server = Server::start();
    let empty = server.folder().join("empty");
    std::fs::write(&empty, "x").unwrap();
    let mut read = File::open(&empty).unwrap();
    read.read_exact(&mut [0]).unwrap();
    let (ended, writer) = pipe_with(b"");
    drop(writer);
    let (silent, _open) = pipe_with(b"");
    let (near, _far) = UnixStream::pair().unwrap();
    let (terminal, _seen) = terminal();
    let inputs: [(&str, Stdio); 6] = [
        ("/dev/null", Stdio::null()),
        ("a file that was read", read.into()),
        ("a pipe at its end", ended.into()),
        ("a pipe that is open and silent", silent.into()),
        (
            "a socket that is open and silent",
            OwnedFd::from(near).into(),
        ),
        ("a terminal", terminal.into()),
    ];
    for (what, input) in inputs {
        let output = server
            .prn(&["run", "--", "echo", "hi"])
            .stdin(input)
            .output()
            .unwrap();
        assert_eq!(
            (output.status.code(), &*text(&output.stdout)),
            (Some(0), "hi\n"),
            "{what}: {}",
            text(&output.stderr)
        );
    }
    let prn = server.prn(&["run", "--", "echo", "hi"]);
    let closed = shell(&prn, r#"exec "$@" <&-"#).output().unwrap();
    assert_eq!(closed.status.code(), Some(0), "{}", text(&closed.stderr));
}

/// Runs a command by a line of shell, which has it as "$@".
fn shell(command: &Command, line: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line, "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        shell.env(name, value.unwrap_or_default());
    }
    shell
}

#[test]
fn b2_a_loop_over_lines_runs_once_for_each_if_told_to_leave_its_input_alone() {
    let server = Server::start();
    let lines = server.folder().join("lines");
    std::fs::write(&lines, "one\ntwo\nthree\n").unwrap();
    for flag in ["-n", "--no-stdin"] {
        let prn = server.prn(&["run", flag, "--", "echo"]);
        let output = shell(&prn, r#"while read -r line; do "$@" "$line"; done"#)
            .stdin(File::open(&lines).unwrap())
            .output()
            .unwrap();
        assert_eq!(
            text(&output.stdout),
            "one\ntwo\nthree\n",
            "{}",
            text(&output.stderr)
        );
        let prn = server.prn(&["start", flag, "--", "true"]);
        let output = shell(&prn, r#"while read -r line; do "$@"; done"#)
            .stdin(File::open(&lines).unwrap())
            .output()
            .unwrap();
        assert_eq!(
            text(&output.stdout).lines().count(),
            3,
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn b2_a_loop_over_lines_that_is_not_told_so_runs_once_as_with_ssh() {
    let server = Server::start();
    let lines = server.folder().join("lines");
    std::fs::write(&lines, "one\ntwo\nthree\n").unwrap();
    let prn = server.prn(&["run", "--", "cat"]);
    let output = shell(&prn, r#"while read -r line; do "$@"; done"#)
        .stdin(File::open(&lines).unwrap())
        .output()
        .unwrap();
    assert_eq!(
        text(&output.stdout),
        "two\nthree\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn b2_bytes_that_come_while_it_runs_reach_the_process_and_so_does_their_end() {
    let server = Server::start();
    let mut child = server
        .prn(&["run", "--", "sh", "-c", "cat; exit 3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    for piece in [b"one\n", b"two\n"] {
        input.write_all(piece).unwrap();
        let mut echoed = [0; 4];
        output.read_exact(&mut echoed).unwrap();
        assert_eq!(&echoed, piece);
    }
    drop(input);
    assert_eq!(ended(&mut child, "run").code(), Some(3));
}

#[test]
fn b2_a_process_that_ends_ends_run_whatever_its_input_does() {
    let server = Server::start();
    let endless = File::open("/dev/zero").unwrap();
    let (silent, _open) = pipe_with(b"");
    for (what, input) in [("endless", endless), ("silent", silent.into())] {
        let output = server
            .prn(&["run", "--", "sh", "-c", "sleep 0.2; exit 3"])
            .stdin(input)
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(3),
            "{what}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn b2_input_that_cannot_be_read_stops_the_process_and_is_no_success() {
    let server = Server::start();
    let output = server
        .prn(&[
            "run",
            "--",
            "sh",
            "-c",
            "trap 'exit 0' TERM; cat; sleep 1000",
        ])
        .stdin(File::open("/").unwrap())
        .output()
        .unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{error}");
    assert!(error.contains("cannot read standard input"), "{error}");
    assert!(!server.ok(&["list"]).contains("Running"));
}

#[test]
fn b2_what_makes_no_sense_of_standard_input_is_wrong_usage() {
    let server = Server::start();
    for (flags, said) in [
        (&["run", "-n", "-i", "--", "cat"][..], "--no-stdin"),
        (&["run", "-n", "-t", "--", "cat"], "--no-stdin"),
        (&["run", "-t", "--", "cat"], "-i without -t"),
        (&["start", "-n", "--stdin", "--", "cat"], "--no-stdin"),
        (&["run", "--detach-keys", "ctrl-1", "--", "cat"], "ctrl-"),
    ] {
        let output = server.prn(flags).stdin(Stdio::null()).output().unwrap();
        let error = text(&output.stderr);
        let code = if flags[0] == "run" { 125 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {error}");
        assert!(error.contains(said), "{flags:?}: {error}");
    }
    assert!(ids(&server).is_empty());
}

/// Reads from `reader` up to the end of a line.
fn first_line(reader: &mut File) {
    let mut byte = [0];
    while byte != *b"\n" {
        reader.read_exact(&mut byte).unwrap();
    }
}

/// The kinds of output that somebody reads: both ends of each.
fn read_outputs() -> [(&'static str, OwnedFd, OwnedFd); 3] {
    let (reader, writer) = io::pipe().unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let pty = open_terminal();
    [
        ("a pipe", reader.into(), writer.into()),
        ("a socket", near.into(), far.into()),
        ("a terminal", pty.master, pty.slave),
    ]
}

#[test]
fn b3_a_silent_run_whose_reader_has_left_stops_its_process_and_ends() {
    let server = Server::start();
    for (what, reader, writer) in read_outputs() {
        let mut child = server
            .prn(&[&["run", "--"][..], &READY].concat())
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut reader = File::from(reader);
        first_line(&mut reader);
        let id = running(&server);
        drop(reader);
        let status = ended(&mut child, what);
        assert_eq!(
            (status.code(), &server.status(&id)["state"]),
            (Some(141), &serde_json::json!("stopped")),
            "{what}"
        );
    }
}

#[test]
fn b3_silent_logs_whose_reader_has_left_end_and_the_process_goes_on() {
    let server = Server::start();
    let first = server.start_process(&[], &READY);
    let second = server.start_process(&[], &READY);
    for words in [
        &["logs", &first][..],
        &["logs", &first, "--timestamps"],
        &["logs", &first, "--stdout"],
        &["logs", &first, &second],
    ] {
        for (what, reader, writer) in read_outputs() {
            let mut child = server
                .prn(words)
                .stdout(writer)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut reader = File::from(reader);
            first_line(&mut reader);
            drop(reader);
            let status = ended(&mut child, &format!("{words:?} to {what}"));
            assert_eq!(status.code(), Some(141), "{words:?} to {what}");
        }
    }
    let (reader, writer) = io::pipe().unwrap();
    let mut child = server
        .prn(&["logs", &first, "--stderr"])
        .stderr(writer)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut reader = File::from(OwnedFd::from(reader));
    first_line(&mut reader);
    drop(reader);
    let status = ended(&mut child, "logs of standard error alone");
    assert_eq!(status.code(), Some(141));
    assert_eq!(server.status(&first)["state"], "running");
}

#[test]
fn b3_logs_of_silence_that_nobody_reads_from_the_start_end() {
    let server = Server::start();
    let id = server.start_process(&[], &["sleep", "1000"]);
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut child = server.prn(&["logs", &id]).stdout(writer).spawn().unwrap();
    let status = ended(&mut child, "logs of silence");
    assert_eq!(status.code(), Some(141));
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn b6_an_id_that_cannot_be_printed_stands_in_the_error() {
    let server = Server::start();
    let (reader, unread) = io::pipe().unwrap();
    drop(reader);
    let unread = File::from(OwnedFd::from(unread));
    for (output, code) in [(full(), 1), (unread, 141)] {
        for format in ["table", "json"] {
            let before = ids(&server);
            let output = server
                .prn(&["start", "-o", format, "--", "sleep", "1000"])
                .stdout(output.try_clone().unwrap())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
                .wait_with_output()
                .unwrap();
            let error = text(&output.stderr);
            let started = ids(&server)
                .into_iter()
                .find(|id| !before.contains(id))
                .unwrap();
            assert_eq!(output.status.code(), Some(code), "{error}");
            assert!(
                error.contains(&started) && error.lines().count() == 1,
                "{error}"
            );
        }
    }
}

#[test]
fn b6_an_answer_that_is_lost_is_an_error_in_one_line() {
    let server = Server::start();
    let id = server.start_process(&[], &["true"]);
    let keys = server.folder().display().to_string();
    for words in [
        &["list"][..],
        &["list", "-o", "json"],
        &["status", &id],
        &["status", &id, "-o", "wide"],
        &["stop", &id],
        &["keygen", "--name", "lost", "--out-dir", &keys],
        &["server", "check"],
        &["--help"],
        &["--version"],
        &["run", "--help"],
    ] {
        let output = server
            .prn(words)
            .stdout(full())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {error}");
        assert!(
            error.starts_with("prn: ") && error.lines().count() == 1,
            "{words:?}: {error}"
        );
    }
}

/// Which signals of a process have this disposition, as bits (proc_pid_status(5)).
fn signals(pid: Pid, field: &str) -> u64 {
    u64::from_str_radix(&procfs::status(pid.as_raw())[field], 16).unwrap()
}

fn bit(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

#[test]
fn b7_signals_that_were_ignored_when_prn_began_stay_ignored() {
    let server = Server::start();
    let all = [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    for signal in all {
        let name = signal.as_str().trim_start_matches("SIG");
        let prn = server.prn(&[&["run", "--"][..], &UNTIL_TOLD].concat());
        let mut run = shell(&prn, &format!(r#"trap '' {name}; exec "$@""#))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let id = running(&server);
        let prn = server.prn(&["logs", &id]);
        let mut logs = shell(&prn, &format!(r#"trap '' {name}; exec "$@""#))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        wait_for("prn logs", || procfs::comm(pid(&logs).as_raw()) == "prn");
        for child in [&run, &logs] {
            assert_ne!(signals(pid(child), "SigIgn") & bit(signal), 0, "{signal}");
            kill(pid(child), signal).unwrap();
        }
        tell(&server, &id);
        assert_eq!(ended(&mut run, "run").code(), Some(0), "{signal}");
        assert_eq!(ended(&mut logs, "logs").code(), Some(0), "{signal}");
    }
}

#[test]
fn b8_a_start_that_is_not_answered_ends_and_can_be_repeated() {
    let server = Server::start();
    let id = "0123456789abcdef0123456789abcdef";
    let words = [
        "start",
        "--call-timeout",
        "300ms",
        "--id",
        id,
        "--",
        "sleep",
        "1000",
    ];
    let paused = Paused::new(&server);
    let output = server.run(&words);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(
        error.contains("unknown")
            && error.contains("300ms")
            && error.contains(&format!("--id {id}")),
        "{error}"
    );
    assert_eq!(error.lines().count(), 1, "{error}");
    let run = server.run(&["run", "--call-timeout", "300ms", "--", "true"]);
    assert_eq!(run.status.code(), Some(125), "{}", text(&run.stderr));
    drop(paused);
    wait_for("the repeated start", || {
        let again = server.run(&words);
        again.status.success() && text(&again.stdout).trim() == id
    });
}

#[test]
fn b8_a_stop_that_is_not_answered_ends_and_says_that_it_may_have_worked() {
    let server = Server::start();
    let id = server.start_process(&[], &["sleep", "1000"]);
    let paused = Paused::new(&server);
    for how in [
        &["--grace", "100ms"][..],
        &["--grace", "0"],
        &["--signal", "kill"],
    ] {
        let words = [&["stop", &id, "--call-timeout", "300ms"][..], how].concat();
        let output = server.run(&words);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{error}");
        assert!(
            error.contains("unknown") && error.contains(&id) && error.lines().count() == 1,
            "{error}"
        );
    }
    drop(paused);
    wait_for("the process to end", || {
        server.status(&id)["state"] == "stopped"
    });
}

#[test]
fn b8_a_stop_with_a_grace_time_longer_than_other_calls_take_is_waited_for() {
    let server = Server::start();
    let id = server.start_process(&[], &STUBBORN);
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    let words = ["stop", &id, "--call-timeout", "1s", "--grace", "2s"];
    assert!(server.ok(&words).contains("Stopped"));
}

#[test]
fn b8_a_run_ends_on_signals_whatever_its_server_does() {
    for (signals, expected) in [
        (&[Signal::SIGINT, Signal::SIGINT][..], 125),
        (&[Signal::SIGTERM], 125),
        (&[Signal::SIGHUP], 125),
    ] {
        // Before it has an answer to its start, and while it follows.
        for is_started in [false, true] {
            let server = Server::start();
            let spawn = || {
                server
                    .prn(&["run", "--grace", "0", "--", "sleep", "1000"])
                    .stdin(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap()
            };
            let (mut child, paused);
            if is_started {
                child = spawn();
                running(&server);
                paused = Paused::new(&server);
            } else {
                paused = Paused::new(&server);
                child = spawn();
            }
            for signal in signals {
                wait_for("prn run to take signals", || {
                    self::signals(pid(&child), "SigCgt") & bit(*signal) != 0
                });
                kill(pid(&child), *signal).unwrap();
                wait_for("the signal to arrive", || {
                    child.try_wait().unwrap().is_some()
                        || self::signals(pid(&child), "ShdPnd") & bit(*signal) == 0
                });
                // Two that come at once are one (signal(7)), and no person is that fast.
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            // They may have been one all the same, and a person presses it again.
            if let [_, again] = signals {
                wait_for("prn run to end", || {
                    let has_ended = child.try_wait().unwrap().is_some();
                    has_ended || kill(pid(&child), *again).is_err()
                });
            }
            let status = ended(&mut child, &format!("{signals:?}, started: {is_started}"));
            assert_eq!(status.code(), Some(expected), "{signals:?}");
            drop(paused);
        }
    }
}

#[test]
fn b10_a_run_whose_time_was_up_ends_with_124_however_its_process_did() {
    let server = Server::start();
    for (grace, argv) in [
        ("10s", &["sleep", "1000"][..]),
        (
            "10s",
            &[
                "sh",
                "-c",
                "trap 'exit 3' TERM; while :; do sleep 0.05; done",
            ],
        ),
        (
            "10s",
            &[
                "sh",
                "-c",
                "trap 'exit 0' TERM; while :; do sleep 0.05; done",
            ],
        ),
        ("0", &["sleep", "1000"]),
        ("100ms", &STUBBORN),
    ] {
        let flags = ["run", "--timeout", "300ms", "--grace", grace, "--"];
        let output = server.run(&[&flags[..], argv].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(124), "{argv:?}: {error}");
        assert!(error.contains("timed out"), "{argv:?}: {error}");
    }
    let ends_before = server.run(&["run", "--timeout", "1h", "--", "sh", "-c", "exit 3"]);
    assert_eq!(ends_before.status.code(), Some(3));
}

/// The writes that a command makes, each a datagram: to standard output, and to standard error.
fn writes(command: &mut Command) -> [Vec<String>; 2] {
    let [(out, stdout), (err, stderr)] = [(); 2].map(|()| UnixDatagram::pair().unwrap());
    command
        .stdout(OwnedFd::from(stdout))
        .stderr(OwnedFd::from(stderr))
        .status()
        .unwrap();
    [out, err].map(|socket| {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = vec![0; 1 << 20];
        std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|n| text(&buffer[..n]))).collect()
    })
}

#[test]
fn b11_an_answer_and_each_line_of_prns_own_are_one_write() {
    let server = Server::start();
    let id = server.start_process(&[], &["true"]);
    let unknown = "0".repeat(32);
    for words in [
        &["list"][..],
        &["list", "-o", "wide"],
        &["list", "-o", "json"],
        &["status", &id],
        &["status", &id, "-o", "wide"],
        &["status", &id, "-o", "json"],
        &["stop", &id],
        &["start", "--", "true"],
        &["--help"],
        &["logs", "--help"],
        &["--version"],
    ] {
        let [out, err] = writes(&mut server.prn(words));
        assert_eq!((out.len(), err.len()), (1, 0), "{words:?}: {out:?} {err:?}");
        assert!(out[0].ends_with('\n'), "{words:?}: {out:?}");
    }
    for words in [
        &["status", &unknown][..],
        &["logs", &unknown],
        &["run", "--", "no-such-program"],
        &["run", "--", "sh", "-c", "kill -9 $$"],
        &["status", "no-id"],
        &["list", "--no-such-flag"],
        &["run"],
        &[],
    ] {
        let [out, err] = writes(&mut server.prn(words));
        assert_eq!((out.len(), err.len()), (0, 1), "{words:?}: {out:?} {err:?}");
        assert!(err[0].ends_with('\n'), "{words:?}: {err:?}");
    }
    let [_, err] = writes(&mut server.prn(&["logs", &unknown, &"1".repeat(32)]));
    assert!(
        err.len() == 2
            && err
                .iter()
                .all(|line| line.starts_with("prn: ") && line.lines().count() == 1),
        "{err:?}"
    );
}

#[test]
fn b13_at_a_terminal_a_stop_that_takes_long_says_what_it_waits_for() {
    let server = Server::start();
    for (flags, said) in [
        (&["--grace", "3s"][..], "3s after SIGTERM"),
        (&[], "grace time"),
    ] {
        let id = server.start_process(&["--grace", "3s"], &STUBBORN);
        wait_for("ready", || {
            server.ok(&["logs", &id, "--no-follow"]).contains("ready")
        });
        let (terminal, seen) = terminal();
        let status = server
            .prn(&[&["stop", &id][..], flags].concat())
            .stdout(Stdio::null())
            .stderr(terminal)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(0));
        wait_for("a line", || seen.lock().unwrap().contains('\n'));
        let seen = seen.lock().unwrap().clone();
        assert!(
            seen.contains(&format!("waiting for process {id}"))
                && seen.contains(said)
                && seen.lines().count() == 1,
            "{seen}"
        );
    }
}

#[test]
fn b13_where_nobody_watches_a_stop_that_takes_long_says_nothing() {
    let server = Server::start();
    let id = server.start_process(&[], &STUBBORN);
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    let output = server.run(&["stop", &id, "--grace", "2s"]);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn b13_at_a_terminal_an_interrupted_run_says_what_it_waits_for_and_how_to_leave() {
    let server = Server::start();
    let (terminal, seen) = terminal();
    let mut child = server
        .prn(&[&["run", "--grace", "1h", "--"][..], &STUBBORN].concat())
        .stdout(Stdio::null())
        .stderr(terminal)
        .spawn()
        .unwrap();
    let id = running(&server);
    wait_for("ready", || {
        server.ok(&["logs", &id, "--no-follow"]).contains("ready")
    });
    kill(pid(&child), Signal::SIGINT).unwrap();
    wait_for("a line", || seen.lock().unwrap().contains('\n'));
    let line = seen.lock().unwrap().clone();
    assert!(
        line.contains(&id) && line.contains("1h00m00s") && line.contains("Ctrl-C"),
        "{line}"
    );
    kill(pid(&child), Signal::SIGINT).unwrap();
    assert_eq!(ended(&mut child, "run to be left").code(), Some(125));
    server.ok(&["stop", &id, "--signal", "kill"]);
}
