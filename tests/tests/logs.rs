//! `prn logs`: the part of an output that is asked for, no byte less and no line more, from one
//! process or several.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_proto::v1::output_time::At;
use prn_proto::v1::{GetOutputRequest, OutputTime};
use prn_tests::server::Server;
use prn_tests::{client, wait_for};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::runtime::Runtime;

fn finished(server: &Server, flags: &[&str], script: &str) -> String {
    let id = server.start_process(flags, &["sh", "-c", script]);
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    id
}

/// What `prn logs` printed to both streams, and its exit code.
fn printed(output: Output) -> (String, String, i32) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.code().unwrap(),
    )
}

fn logs(server: &Server, arguments: &[&str]) -> (String, String, i32) {
    printed(server.run(&[&["logs"], arguments].concat()))
}

fn numbered(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("line {number}\n")).collect()
}

/// Lets a script go on that waits for the file.
fn touch(server: &Server, id: &str, file: &str) {
    std::fs::write(server.state_dir().join(id).join(file), "").unwrap();
}

/// `prn logs` under way, its standard output a pipe.
fn following(server: &Server, arguments: &[&str]) -> Child {
    server
        .prn(&[&["logs"], arguments].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

const WRITER: &str =
    "i=0; while [ $i -lt 1000 ]; do echo line $i; i=$((i+1)); done; printf 'a\\nb\\nc' >&2";

#[test]
fn tails_end_as_whole_outputs_end() {
    let server = Server::start();
    let id = finished(&server, &[], WRITER);
    let case = |flags: &[&str]| logs(&server, &[&[&*id], flags].concat());
    let ok = |out: &str, err: &str| (out.to_owned(), err.to_owned(), 0);
    assert_eq!(case(&[]), ok(&numbered(0..1000), "a\nb\nc"));
    assert_eq!(case(&["--tail", "0"]), ok("", ""));
    assert_eq!(case(&["--tail", "2"]), ok("", "b\nc"));
    assert_eq!(case(&["-n", "4"]), ok("line 999\n", "a\nb\nc"));
    assert_eq!(case(&["--tail", "18446744073709551615"]), case(&[]));
    assert_eq!(case(&["--tail-bytes", "0"]), ok("", ""));
    assert_eq!(case(&["--tail-bytes", "7"]), ok("9\n", "a\nb\nc"));
    assert_eq!(
        case(&["--stdout", "--tail", "3"]),
        ok(&numbered(997..1000), "")
    );
    assert_eq!(
        case(&["--stdout", "--tail-bytes", "9"]),
        ok("line 999\n", "")
    );
    assert_eq!(case(&["--stderr", "--tail", "1"]), ok("", "c"));
    assert_eq!(case(&["--stderr", "--no-follow"]), ok("", "a\nb\nc"));
    assert_eq!(case(&["--stdout"]), ok(&numbered(0..1000), ""));
    assert_eq!(case(&["--stdout", "--offset", "8887"]), ok("99\n", ""));
}

#[test]
fn a_tail_follows_and_without_following_it_ends() {
    let server = Server::start();
    let script = "echo old; echo olderr >&2; while [ ! -e go ]; do sleep 0.02; done; echo new; echo newerr >&2";
    let id = server.start_process(&[], &["sh", "-c", script]);
    wait_for("its first output", || {
        let (out, err, _) = logs(&server, &[&id, "--no-follow"]);
        !out.is_empty() && !err.is_empty()
    });
    assert_eq!(
        logs(&server, &[&id, "--no-follow", "--tail", "1", "--stdout"]).0,
        "old\n"
    );
    let mut last = following(&server, &[&id, "--tail", "1", "--stdout"]);
    let none = following(&server, &[&id, "--tail", "0", "--timestamps", "--stderr"]);
    let mut lines = BufReader::new(last.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "old\n");
    touch(&server, &id, "go");
    line.clear();
    lines.read_to_string(&mut line).unwrap();
    assert_eq!(
        (line.as_str(), last.wait().unwrap().code()),
        ("new\n", Some(0))
    );
    let (out, err, code) = printed(none.wait_with_output().unwrap());
    assert_eq!((out.as_str(), code), ("", 0));
    // Whether it was there before the new lines or after them, the old one was not asked for.
    assert!(
        err.is_empty() || err.ends_with("Z newerr\n") && err.lines().count() == 1,
        "{err}"
    );
}

/// Parses the time before a line.
fn stamped(line: &str) -> (OffsetDateTime, &str) {
    let (stamp, text) = line.split_once(' ').unwrap();
    assert!(stamp.len() == 27 && stamp.ends_with('Z'), "{stamp}");
    (OffsetDateTime::parse(stamp, &Rfc3339).unwrap(), text)
}

#[test]
fn times_select_what_came_between_them() {
    let server = Server::start();
    let script = "for part in one two three; do
        echo $part; echo $part err >&2; while [ ! -e $part ]; do sleep 0.02; done; done; echo end";
    let before = OffsetDateTime::now_utc();
    let id = server.start_process(&[], &["sh", "-c", script]);
    for part in ["one", "two", "three"] {
        wait_for(part, || {
            logs(&server, &[&id, "--no-follow", "--stderr"])
                .1
                .contains(part)
        });
        // Times are kept to the millisecond.
        std::thread::sleep(Duration::from_millis(5));
        touch(&server, &id, part);
    }
    wait_for("its end", || server.status(&id)["tree_empty"] == true);
    let (out, err, code) = logs(&server, &[&id, "--timestamps"]);
    assert_eq!(code, 0);
    let (times, texts): (Vec<_>, Vec<_>) = out.lines().map(stamped).unzip();
    assert_eq!(texts, ["one", "two", "three", "end"]);
    assert!(
        times.is_sorted() && before <= times[0] && times[3] <= OffsetDateTime::now_utc(),
        "{times:?}"
    );
    assert_eq!(
        err.lines().map(|line| stamped(line).1).collect::<Vec<_>>(),
        ["one err", "two err", "three err"]
    );

    let stamps: Vec<&str> = out
        .lines()
        .map(|line| line.split_once(' ').unwrap().0)
        .collect();
    let case = |flags: &[&str]| logs(&server, &[&[&*id], flags].concat());
    assert_eq!(
        case(&["--since", stamps[2], "--stdout"]),
        ("three\nend\n".into(), "".into(), 0)
    );
    assert_eq!(
        case(&["--until", stamps[1]]),
        ("one\n".into(), "one err\n".into(), 0)
    );
    assert_eq!(
        case(&["--since", stamps[1], "--until", stamps[2]]),
        ("two\n".into(), "two err\n".into(), 0)
    );
    assert_eq!(
        case(&["--until", stamps[2], "--tail", "1"]),
        ("".into(), "two err\n".into(), 0)
    );
    assert_eq!(
        case(&["--since", stamps[2], "--tail", "100", "--stdout"]),
        ("three\nend\n".into(), "".into(), 0)
    );
    assert_eq!(case(&["--since", "1h"]).0, "one\ntwo\nthree\nend\n");
    assert_eq!(case(&["--until", "1h"]), ("".into(), "".into(), 0));
    wait_for("a millisecond to pass", || {
        case(&["--since", "0s"]) == ("".into(), "".into(), 0)
    });
}

#[test]
fn a_time_to_come_ends_the_following_of_a_silent_process() {
    let server = Server::start();
    let id = server.start_process(&[], &["sh", "-c", "echo begun; exec sleep 1000"]);
    wait_for("its line", || {
        logs(&server, &[&id, "--no-follow"]).0 == "begun\n"
    });
    let until = (OffsetDateTime::now_utc() + Duration::from_millis(500))
        .format(&Rfc3339)
        .unwrap();
    assert_eq!(
        logs(&server, &[&id, "--until", &until]),
        ("begun\n".into(), "".into(), 0)
    );
    // The same, long past.
    assert_eq!(
        logs(&server, &[&id, "--until", &until]),
        ("begun\n".into(), "".into(), 0)
    );
    assert_eq!(server.status(&id)["state"], "running");
}

#[test]
fn a_time_to_come_ends_the_following_of_a_process_that_writes_on() {
    let server = Server::start();
    let id = server.start_process(
        &[],
        &[
            "sh",
            "-c",
            "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done",
        ],
    );
    wait_for("a line", || {
        logs(&server, &[&id, "--no-follow"]).0.starts_with("0\n")
    });
    let until = OffsetDateTime::now_utc() + Duration::from_millis(400);
    let (out, err, code) = logs(
        &server,
        &[
            &id,
            "--timestamps",
            "--until",
            &until.format(&Rfc3339).unwrap(),
        ],
    );
    assert_eq!((err.as_str(), code), ("", 0));
    let lines: Vec<_> = out.lines().map(stamped).collect();
    assert!(lines.iter().all(|(time, _)| *time < until), "{out}");
    assert!(
        lines
            .iter()
            .enumerate()
            .all(|(number, (_, text))| number.to_string() == *text),
        "{out}"
    );
    // Asked for again, it is the same, found in the index.
    assert_eq!(
        logs(
            &server,
            &[
                &id,
                "--timestamps",
                "--until",
                &until.format(&Rfc3339).unwrap()
            ]
        )
        .0,
        out
    );
}

#[test]
fn what_was_dropped_is_announced_where_it_was_asked_for_and_nowhere_else() {
    let server = Server::start();
    let script = "i=0; while [ $i -lt 100000 ]; do echo line $i; i=$((i+1)); done; echo err >&2";
    let before = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
    let id = finished(&server, &["--output-max", "64K"], script);
    let case = |flags: &[&str]| logs(&server, &[&[&*id], flags].concat());
    assert_eq!(
        case(&["--tail", "3"]),
        (numbered(99_998..100_000), "err\n".into(), 0)
    );
    assert_eq!(case(&["--tail-bytes", "4"]), ("".into(), "err\n".into(), 0));
    assert_eq!(case(&["--stderr", "--tail", "1"]).1, {
        // That there was no second line before cannot be seen any more: all of it is announced.
        let first = server.status(&id)["output"]["first_offset"]
            .as_u64()
            .unwrap();
        format!("prn: output bytes 0..{first} were dropped\nerr\n")
    });
    for flags in [
        &["--tail", "99999"][..],
        &["--tail-bytes", "1000000"],
        &["--since", &before],
        &["--stdout"],
    ] {
        let (out, err, code) = case(flags);
        assert_eq!(code, 6, "{flags:?}");
        assert!(
            err.starts_with("prn: output bytes ") && err.contains(" were dropped\n"),
            "{err}"
        );
        assert!(
            out.len() >= 65_000 && out.ends_with("\nline 99999\n"),
            "{} bytes",
            out.len()
        );
    }
    // The last byte, and the time after it: nothing that was dropped.
    let (out, err, code) = case(&["--since", "0s"]);
    assert_eq!((out.as_str(), err.as_str(), code), ("", "", 0));
}

#[test]
fn frames_account_for_every_offset_of_what_was_left_out() {
    let server = Server::start();
    let id = finished(
        &server,
        &[],
        "for i in 1 2 3; do echo $i; sleep 0.02; echo err $i >&2; sleep 0.02; done",
    );
    Runtime::new().unwrap().block_on(async {
        let client = client::connect(&server).await.unwrap();
        let base = || client::output_request(&id);
        let only = GetOutputRequest { only: 2, ..base() };
        let all = client::collect(client.clone(), only).await.unwrap();
        assert_eq!(
            (&*all.stdout, &*all.stderr, all.skipped),
            (&b""[..], &b"err 1\nerr 2\nerr 3\n"[..], 6)
        );
        assert!(all.begin.is_none() && all.gaps.is_empty());
        let end = all.end.unwrap();
        assert_eq!(
            (end.stdout_bytes, end.stderr_bytes, end.end_offset),
            (6, 18, 24)
        );

        let tail = GetOutputRequest {
            tail_lines: Some(2),
            only: 1,
            ..base()
        };
        let all = client::collect(client.clone(), tail).await.unwrap();
        assert_eq!((&*all.stdout, all.skipped), (&b"2\n3\n"[..], 18));
        assert_eq!(all.begin.unwrap().offset, 2, "just after the line before");

        let ago = |seconds| {
            Some(OutputTime {
                at: Some(At::Ago(span(seconds))),
            })
        };
        let early = GetOutputRequest {
            until: ago(3600),
            ..base()
        };
        let all = client::collect(client.clone(), early).await.unwrap();
        assert_eq!((all.stdout.len(), all.skipped), (0, 24));
        let until = all.begin.unwrap().until.unwrap().seconds;
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert!(
            until.abs_diff(i64::try_from(now).unwrap() - 3600) < 60,
            "by the server's clock"
        );
        assert!(all.end.is_some(), "what was left out on request is no loss");

        // Of much, a frame of its own tells, before there is anything to send.
        let script = "head -c 5000000 /dev/zero; echo err >&2";
        let much = finished(&server, &[], script);
        let only = GetOutputRequest {
            only: 2,
            ..client::output_request(&much)
        };
        let mut stream = client.clone().get_output(only).await.unwrap().into_inner();
        let mut skips = Vec::new();
        while let Some(frame) = stream.message().await.unwrap() {
            assert!(frame.gap.is_none());
            skips.push(frame.skipped);
        }
        assert_eq!(skips.iter().sum::<u64>(), 5_000_000, "{skips:?}");
        assert!(
            skips.len() > 2 && skips[skips.len() - 2] < 1 << 20,
            "{skips:?}"
        );

        // A client of the original surface is told of nothing, and may still choose.
        let plain = GetOutputRequest {
            control_frames: false,
            tail_bytes: Some(4),
            only: 2,
            ..base()
        };
        let mut stream = client.clone().get_output(plain).await.unwrap().into_inner();
        let mut bytes = Vec::new();
        while let Some(frame) = stream.message().await.unwrap() {
            assert!(frame.begin.is_none() && frame.skipped == 0 && frame.end.is_none());
            bytes.extend_from_slice(&frame.data);
        }
        assert_eq!(bytes, b"r 3\n");
    });
}

fn span(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[test]
fn a_request_that_contradicts_itself_is_refused_by_field() {
    let server = Server::start();
    let id = finished(&server, &[], "echo x");
    let future = (OffsetDateTime::now_utc() + Duration::from_secs(3600))
        .format(&Rfc3339)
        .unwrap();
    for (flags, field) in [
        (&["--since", "10m", "--until", "1h"][..], "--until"),
        (&["--since", &future], "--since"),
        (&["--since", "10m", "--until", "10m"], "--until"),
    ] {
        let (out, err, code) = logs(&server, &[&[&*id], flags].concat());
        assert_eq!((out.as_str(), code), ("", 2), "{flags:?}");
        assert!(
            err.starts_with(&format!("prn: {field}: must ")) && err.lines().count() == 1,
            "{err}"
        );
    }
    Runtime::new().unwrap().block_on(async {
        let mut client = client::connect(&server).await.unwrap();
        let request = GetOutputRequest {
            tail_lines: Some(1),
            from_offset: 1,
            ..client::output_request(&id)
        };
        let status = client.get_output(request).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(
            status.message().starts_with("from_offset: "),
            "{}",
            status.message()
        );
    });
}

#[test]
fn a_follower_that_loses_its_connection_goes_on_where_it_was_and_not_at_another_tail() {
    let server = Server::start();
    // Each line of standard output has many of standard error behind it.
    let script = "i=0; while [ ! -e stop ]; do echo line $i; echo err err err >&2; i=$((i+1)); sleep 0.005; done; echo last";
    let id = server.start_process(&[], &["sh", "-c", script]);
    wait_for("some lines", || {
        logs(&server, &[&id, "--no-follow", "--stdout"])
            .0
            .lines()
            .count()
            > 20
    });
    let cases = [
        &["--tail", "3", "--stdout"][..],
        &["--since", "1h", "--timestamps"],
        &["--tail-bytes", "30"],
        &[],
    ];
    let followers: Vec<_> = cases
        .iter()
        .map(|flags| {
            let mut child = following(&server, &[&[&*id], *flags].concat());
            let mut err = child.stderr.take().unwrap();
            let err = std::thread::spawn(move || {
                let mut text = String::new();
                err.read_to_string(&mut text).unwrap();
                text
            });
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut text = String::new();
            out.read_line(&mut text).unwrap();
            (child, out, text, err)
        })
        .collect();
    for _ in 0..2 {
        let frontend = server.frontend();
        kill(Pid::from_raw(frontend), Signal::SIGKILL).unwrap();
        wait_for("another frontend", || {
            let (out, _, code) = logs(&server, &[&id, "--no-follow", "--tail", "1", "--stdout"]);
            code == 0 && !out.is_empty() && server.frontend() != frontend
        });
    }
    touch(&server, &id, "stop");
    let mut stderrs = Vec::new();
    for (flags, (mut child, mut out, mut text, err)) in cases.iter().zip(followers) {
        out.read_to_string(&mut text).unwrap();
        let err = err.join().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{flags:?}: {err}");
        let lines: Vec<&str> = text
            .lines()
            .map(|line| {
                if flags.contains(&"--timestamps") {
                    stamped(line).1
                } else {
                    line
                }
            })
            .collect();
        let first: u32 = match lines[0].strip_prefix("line ") {
            Some(number) => number.parse().unwrap(),
            None => panic!("{flags:?}: {:?}", lines[0]),
        };
        let expected: Vec<String> = (first..)
            .map(|number| format!("line {number}"))
            .take(lines.len() - 1)
            .collect();
        assert_eq!(lines[..lines.len() - 1], expected, "{flags:?}");
        assert_eq!(lines.last(), Some(&"last"));
        stderrs.push(err);
    }
    assert!(stderrs[0].is_empty(), "{}", stderrs[0]);
    assert!(stderrs[3].lines().all(|line| line == "err err err"));
}

#[test]
fn several_processes_are_told_apart_and_no_line_runs_into_another() {
    let server = Server::start();
    // Lines that are written in pieces, and more than a pipe holds at once.
    let script = |word: &str| {
        format!(
            "while [ ! -e go ]; do sleep 0.02; done; i=0; while [ $i -lt 300 ]; do printf {word}; printf ' %s ' $i; \
             printf '{word}{word}\\n'; printf '{word} ' >&2; echo $i >&2; i=$((i+1)); done; printf {word}"
        )
    };
    let ids: Vec<String> = ["ant", "bee", "cow"]
        .map(|word| server.start_process(&[], &["sh", "-c", &script(word)]))
        .into();
    let arguments: Vec<&str> = ids.iter().map(String::as_str).collect();
    let child = following(&server, &arguments);
    for id in &ids {
        touch(&server, id, "go");
    }
    let (out, err, code) = printed(child.wait_with_output().unwrap());
    assert_eq!(code, 0, "{err}");
    for (id, word) in ids.iter().zip(["ant", "bee", "cow"]) {
        let label = format!("{} | ", &id[..8]);
        let of = |text: &str| -> Vec<String> {
            text.lines()
                .filter_map(|l| l.strip_prefix(&label))
                .map(String::from)
                .collect()
        };
        let mut expected: Vec<String> = (0..300)
            .map(|i| format!("{word} {i} {word}{word}"))
            .collect();
        expected.push(word.to_owned());
        assert_eq!(of(&out), expected);
        assert_eq!(
            of(&err),
            (0..300).map(|i| format!("{word} {i}")).collect::<Vec<_>>()
        );
    }
    assert_eq!((out.lines().count(), err.lines().count()), (903, 900));

    let (out, err, code) = logs(
        &server,
        &[
            &ids[0],
            &ids[1],
            &ids[0],
            "--tail",
            "1",
            "--stdout",
            "--timestamps",
        ],
    );
    let mut lines: Vec<(&str, &str)> = out
        .lines()
        .map(|l| l.split_once(" | ").unwrap())
        .map(|(l, t)| (l, stamped(t).1))
        .collect();
    lines.sort();
    let mut expected = [(&ids[0][..8], "ant"), (&ids[1][..8], "bee")];
    expected.sort();
    assert_eq!(
        (lines.as_slice(), err.as_str(), code),
        (&expected[..], "", 0),
        "an id that is named twice counts once"
    );
}

#[test]
fn of_several_processes_what_fails_with_one_ends_no_other_and_the_highest_code_counts() {
    let server = Server::start();
    let good = finished(&server, &[], "printf '\\377\\000\\n'");
    let gap = finished(
        &server,
        &["--output-max", "64K"],
        "head -c 2000000 /dev/zero | tr '\\0' '\\n'",
    );
    let unknown = "00000000000000000000000000000000";
    let output = server.run(&["logs", unknown, &good]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.stdout,
        [&good.as_bytes()[..8], b" | \xff\0\n"].concat()
    );
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(
        error.starts_with("prn: 00000000: no process has the id ") && error.lines().count() == 1,
        "{error}"
    );

    let (out, error, code) = logs(&server, &[unknown, &gap, "--tail-bytes", "1000000"]);
    assert_eq!(code, 6, "{error}");
    assert!(
        error.contains(&format!("prn: {}: output bytes ", &gap[..8])) && error.lines().count() == 2,
        "{error}"
    );
    assert!(out.lines().all(|line| line == format!("{} | ", &gap[..8])));
    assert_eq!(logs(&server, &[&good, &gap, "--offset", "1"]).2, 2);
    // Whoever reads has gone.
    let mut child = following(&server, &[&good, &gap]);
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(141));
}
