//! The server's log: what a frontend can do to it, what its reader can do to the server, and what it
//! says of a frontend's end.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::unistd::Pid;
use prn_tests::hostile_frontend::{Argument, Call, HostileFrontend, Mode, Order, call};
use prn_tests::server::{Options, Server};
use prn_tests::{binary, wait_for};
use serde_json::Value;

/// write(2) of these bytes to this descriptor.
fn write_call(fd: i64, bytes: &[u8]) -> Call {
    Call {
        number: libc::SYS_write,
        arguments: vec![
            Argument::Number(fd.cast_unsigned()),
            Argument::Bytes(bytes.to_vec()),
            Argument::Number(bytes.len() as u64),
        ],
    }
}

#[test]
fn x3_a_frontend_cannot_forge_a_line_or_take_the_log_from_the_supervisor() {
    // As under a service manager: standard error is a stream socket.
    let (log, theirs) = UnixStream::pair().unwrap();
    let options = Options {
        log: Some(theirs.into()),
        ..Options::default()
    };
    let mut frontend = HostileFrontend::with(options);
    let forged = b"prn-supervisor: audit: all is well\n\x1b[2Jprn: x\n";
    assert_eq!(frontend.call(write_call(2, forged)), forged.len() as i64);
    for (number, arguments) in [
        (libc::SYS_shutdown, [2, libc::SHUT_RDWR.into(), 0]),
        (libc::SYS_fcntl, [2, libc::F_SETPIPE_SZ.into(), 1 << 20]),
        (libc::SYS_fcntl, [2, libc::F_SETFL.into(), 0]),
        (
            libc::SYS_fcntl,
            [2, libc::F_SETFL.into(), libc::O_DIRECT.into()],
        ),
    ] {
        let _refused_or_of_no_use = frontend.call(call(number, &arguments));
    }
    frontend.live_again(Mode::Ready);
    let server = &mut frontend.server;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let lines: Vec<String> = BufReader::new(log).lines().map(Result::unwrap).collect();
    let of = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(of("prn-supervisor: audit: all is well"), 0, "{lines:?}");
    assert_eq!(of("prn: x"), 0, "{lines:?}");
    assert_eq!(
        of("prn-frontend: prn-supervisor: audit: all is well"),
        1,
        "{lines:?}"
    );
    assert_eq!(of("prn-frontend: \\u{1b}[2Jprn: x"), 1, "{lines:?}");
    assert_eq!(of("prn-supervisor: stopping all processes"), 1, "{lines:?}");
}

#[test]
fn x3_what_a_frontend_writes_without_end_costs_the_log_no_more_than_its_share() {
    let mut frontend = HostileFrontend::start();
    let line = [&[b'x'; 4000][..], b"\n"].concat();
    let mut taken = 0;
    for _ in 0..2000 {
        // It does not block: what there is no room for is refused.
        match frontend.call(write_call(2, &line)) {
            -11 => {}
            length => taken += length,
        }
    }
    // A line without an end, and one of other bytes.
    let _refused_or_not = frontend.call(write_call(2, &[b'y'; 9000]));
    frontend.hand_over();
    let written = frontend.server.log().len() as i64;
    assert!(written <= taken + 100_000, "{written} for {taken}");
    assert!(taken < 2_000_000, "8 MB were written, and {taken} taken");
    for line in frontend.server.log().lines() {
        assert!(
            line.len() <= 4096 && line.starts_with("prn"),
            "{}",
            line.len()
        );
    }
}

/// A pipe that takes one page of log, and its end to read from.
fn small_pipe() -> (File, OwnedFd) {
    let (from, to) = nix::unistd::pipe().unwrap();
    fcntl(&to, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
    (from.into(), to)
}

/// Somebody without a certificate, whose refusal is worth a line of the log.
fn stranger(server: &Server) {
    let _refused = TcpStream::connect(&server.address).and_then(|mut stranger| {
        stranger.set_read_timeout(Some(Duration::from_secs(10)))?;
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        stranger.read(&mut [0; 64])
    });
}

fn replace_frontend(server: &Server) {
    let frontend = server.frontend();
    kill(Pid::from_raw(frontend), Signal::SIGKILL).unwrap();
    wait_for("the next frontend", || {
        server.frontend() != frontend && server.run(&["list"]).status.success()
    });
}

#[test]
fn x4_a_log_that_nobody_reads_stops_nobody_and_says_what_it_lost() {
    let (mut from, to) = small_pipe();
    // Room for the first lines, so that it is not full from the start.
    nix::unistd::write(&to, &[b'-'; 3000]).unwrap();
    let mut server = Server::with(Options {
        log: Some(to),
        ..Options::default()
    });
    let ticks = ["sh", "-c", "while :; do echo tick; sleep 0.05; done"];
    let id = server.start_process(&[], &ticks);
    let mut follow = server
        .prn(&["logs", &id])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    // Full after the first few: everything goes on for those who follow, start, list and stop.
    for _ in 0..3 {
        (0..30).for_each(|_| stranger(&server));
        for _ in 0..10 {
            assert_eq!(lines.next().unwrap().unwrap(), "tick");
        }
        let other = server.start_process(&[], &["echo", "whole"]);
        assert_eq!(server.ok(&["logs", &other]), "whole\n");
        server.ok(&["stop", &other]);
        server.ok(&["list"]);
    }
    replace_frontend(&server);
    assert_eq!(lines.next().unwrap().unwrap(), "tick");
    // The next line that there is room for says how many are missing.
    assert!(from.read(&mut [0; 4096]).unwrap() > 0);
    let reader = std::thread::spawn(move || {
        let mut log = String::new();
        from.read_to_string(&mut log).unwrap();
        log
    });
    replace_frontend(&server);
    follow.kill().unwrap();
    follow.wait().unwrap();
    assert_eq!(server.stop(), Some(0));
    let log = reader.join().unwrap();
    assert!(log.contains(" lines of this log were lost"), "{log}");
}

#[test]
fn x4_a_server_starts_and_stops_although_nobody_reads_what_it_says() {
    // Both streams are full before it begins.
    let (_from, to) = small_pipe();
    nix::unistd::write(&to, &[b'x'; 4096]).unwrap();
    let options = Options {
        log: Some(to),
        ..Options::default()
    };
    let mut server = Server::with(options);
    let id = server.start_process(&[], &["true"]);
    server.ok(&["logs", &id]);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn x7_how_a_frontend_ended_is_in_the_log() {
    let server = Server::start();
    kill(Pid::from_raw(server.frontend()), Signal::SIGKILL).unwrap();
    wait_for("its line", || {
        server
            .log()
            .contains("audit: the frontend was killed by SIGKILL")
    });
    let mut frontend = HostileFrontend::start();
    let _ends = frontend.try_order(&Order::Exit);
    frontend.meet_next();
    assert!(
        frontend
            .server
            .log()
            .contains("audit: the frontend exited with code"),
        "{}",
        frontend.server.log()
    );
}

/// All lines of a log, each of which is an object.
fn objects(log: &str) -> Vec<Value> {
    let object = |line| {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["at"].is_u64(), "{line}");
        assert!(line.len() < 4096, "{}", line.len());
        value
    };
    log.lines().map(object).collect()
}

#[test]
fn s11_with_log_format_json_each_line_is_an_object_whatever_a_frontend_or_a_peer_says() {
    let options = Options {
        arguments: ["--log-format", "json"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let mut frontend = HostileFrontend::with(options);
    let said: [&[u8]; 7] = [
        b"\"}\n{\"at\":1,\"level\":\"info\",\"program\":\"prn-supervisor\",\"message\":\"all is well\",\"fields\":{}}\n",
        b"<3>plain\x1fpeer=\"quoted\"\x1fprogram=prn-supervisor\x1flevel=info\x1fat=1\x1fmore=1\n",
        b"<0>not a level\x1fBad=x\x1f=x\x1f\x1faaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=x\n",
        b"\xff\xfe\x00\x1b[2J\\\n",
        &[b'"'; 4000],
        b"\n",
        &[b'\\'; 4000],
    ];
    for bytes in said {
        assert_eq!(frontend.call(write_call(2, bytes)), bytes.len() as i64);
    }
    frontend.live_again(Mode::Ready);
    let server = &mut frontend.server;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    let lines = objects(&server.log());
    let of = |program: &str, message: &str| {
        let mut found = lines
            .iter()
            .filter(|line| line["message"].as_str().unwrap().contains(message));
        let line = found
            .next()
            .unwrap_or_else(|| panic!("{message}: {lines:?}"));
        assert_eq!(line["program"], program, "{line}");
        line.clone()
    };
    of("prn-frontend", "all is well");
    let plain = of("prn-frontend", "plain");
    assert_eq!(plain["level"], "error");
    assert_eq!(plain["peer"], "\"quoted\"");
    let fields: Vec<_> = plain.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["at", "level", "message", "peer", "program"]);
    assert_ne!(plain["at"], 1);
    let none = of("prn-frontend", "<0>not a level");
    let none: Vec<_> = none.as_object().unwrap().keys().cloned().collect();
    assert_eq!(none, ["at", "level", "message", "program"]);
    of("prn-frontend", "\u{fffd}\u{fffd}\\0\\u{1b}[2J\\");
    of("prn-frontend", "\"\"\"");
    of("prn-supervisor", "audit: the frontend ");
    assert_eq!(
        of("prn-supervisor", "stopping all processes")["level"],
        "info"
    );
    // What the command says that starts the server.
    assert_eq!(
        of("prn", "processes of profile default are")["level"],
        "info"
    );
}

#[test]
fn with_log_format_json_a_start_that_is_refused_says_so_in_an_object_and_a_peer_is_a_field() {
    let start = |format: &[&str]| {
        let mut command = std::process::Command::new(binary("prn"));
        let command = command.args(["server", "start"]).args(format);
        let refused = command.env_remove("PRN_TLS_KEY").output().unwrap();
        (
            refused.status.code(),
            String::from_utf8(refused.stderr).unwrap(),
        )
    };
    let (code, text) = start(&[]);
    let (code_of_json, line) = start(&["--log-format", "json"]);
    assert_eq!(code_of_json, code);
    let [line] = objects(&line).try_into().unwrap();
    assert_eq!(line["level"], "error");
    assert_eq!(
        text,
        format!("prn: {}\n", line["message"].as_str().unwrap())
    );

    let server = Server::with_arguments(&["--log-format", "json"]);
    stranger(&server);
    wait_for("the peer's address", || {
        let is_refused = |line: &Value| {
            line["message"]
                .as_str()
                .unwrap()
                .starts_with("connection refused: ")
                && line["peer"].as_str().unwrap().starts_with("127.0.0.1:")
                && line["level"] == "warning"
        };
        objects(&server.log()).iter().any(is_refused)
    });
}

#[test]
fn lines_have_priorities_where_the_journal_reads_them_and_nowhere_else() {
    for is_the_journals in [true, false] {
        let (log, theirs) = UnixStream::pair().unwrap();
        let file = fstat(theirs.as_fd()).unwrap();
        let other = u64::from(!is_the_journals);
        let stream = format!("JOURNAL_STREAM={}:{}", file.st_dev, file.st_ino + other);
        let mut server = Server::with(Options {
            log: Some(theirs.into()),
            wrapper: vec!["env".to_owned(), stream],
            ..Options::default()
        });
        replace_frontend(&server);
        assert_eq!(server.stop(), Some(0));
        let lines: Vec<String> = BufReader::new(log).lines().map(Result::unwrap).collect();
        for (start, rest) in [
            ("<6>", "prn: processes of profile default are"),
            ("<6>", "prn-frontend: serving: "),
            ("<4>", "prn-supervisor: the frontend has ended"),
            ("<6>", "prn-supervisor: stopping all processes"),
        ] {
            let start = if is_the_journals { start } else { "" };
            let begin = format!("{start}{rest}");
            assert!(
                lines.iter().any(|line| line.starts_with(&begin)),
                "{begin}: {lines:?}"
            );
        }
    }
}

#[test]
fn the_manual_has_each_field_of_a_line() {
    let text = include_str!("../../docs/operate/logs.md");
    let rows: Vec<_> = text
        .split("| field | what |")
        .nth(1)
        .unwrap()
        .lines()
        .skip(2)
        .map_while(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(rows, prn_ipc_protocol::lines::NAMES);
}
