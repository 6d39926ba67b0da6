//! What goes wrong between a process and its server, and what each side is told of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use prn_tests::server::{Options, Server};
use prn_tests::trace::Trace;
use prn_tests::{procfs, wait_for};

fn error(server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
    let output = server.run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[test]
fn a_program_whose_interpreter_is_missing_is_told_apart_from_one_that_is_missing() {
    let server = Server::start();
    let folder = tempfile::Builder::new()
        .prefix("prn-test-")
        .tempdir_in("/var/lib")
        .unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let script = |name: &str, text: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // A binary without its loader, as one of another C library is.
    let binary = fs::read("/bin/true").unwrap();
    let loader = b"/lib64/ld-linux-x86-64.so.2";
    let at = binary
        .windows(loader.len())
        .position(|window| window == loader);
    let mut cases = vec![
        script("windows", b"#!/bin/sh\r\necho x\r\n"),
        script("gone", b"#!/no/such/interpreter\n"),
    ];
    if let Some(at) = at {
        let mut other = binary.clone();
        other[at..at + 5].copy_from_slice(b"/lost");
        cases.push(script("other", &other));
    }
    for profile in ["default", "strict"] {
        for path in &cases {
            let (code, text) = error(&server, &["run", "--profile", profile, "--", path]);
            assert_eq!(code, Some(126), "{profile}: {text}");
            assert!(
                text.contains("is there, but what it needs"),
                "{profile}: {text}"
            );
            assert!(!text.contains("PATH"), "{profile}: {text}");
        }
        // By its name: PATH leads to it, and still it is not the program that is missing.
        let path = format!("PATH={}", folder.path().display());
        let words = ["run", "--profile", profile, "--env", &path, "--", "gone"];
        let (code, text) = error(&server, &words);
        assert_eq!(code, Some(126), "{profile}: {text}");
        let (code, text) = error(&server, &["run", "--profile", profile, "--", "./nope"]);
        assert_eq!(code, Some(127), "{profile}: {text}");
        assert!(
            text.contains("no such file: \"./nope\"") && !text.contains("PATH"),
            "{text}"
        );
        let (code, text) = error(&server, &["run", "--profile", profile, "--", "nope"]);
        assert_eq!(code, Some(127), "{profile}: {text}");
        assert!(
            text.contains("command not found: \"nope\"") && text.contains("PATH"),
            "{text}"
        );
    }
}

#[test]
fn a_state_folder_that_was_removed_is_told_to_the_operator_and_to_the_client() {
    let server = Server::start();
    fs::remove_dir_all(server.state_dir()).unwrap();
    for _ in 0..3 {
        let (code, text) = error(&server, &["run", "--", "true"]);
        assert_eq!(code, Some(125), "{text}");
        assert!(text.contains("state folder was removed"), "{text}");
        assert!(text.contains("restart"), "{text}");
    }
    let log = server.log();
    assert!(
        log.contains("ENOENT") && log.contains("restart it"),
        "{log}"
    );
}

#[test]
fn x11_the_arguments_of_all_processes_together_are_bounded_and_that_is_told() {
    let server = Server::start();
    let long = "x".repeat(120_000);
    let mut ids = Vec::new();
    let refused = loop {
        let argv = ["start", "--", "sh", "-c", "exec sleep 1000", &long];
        let output = server.run(&argv);
        if !output.status.success() {
            break String::from_utf8_lossy(&output.stderr).into_owned();
        }
        ids.push(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        assert!(
            ids.len() < 200,
            "{} MB are taken",
            ids.len() * 120_000 / 1_000_000
        );
    };
    assert!(refused.contains("arguments of all processes"), "{refused}");
    assert!(ids.len() > 100, "{refused}");
    // An empty argument takes memory as well.
    let empty = [&["start", "--", "sleep", "1000"][..], &[""; 120_000]].concat();
    let refused = server.run(&empty);
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("arguments of all processes"), "{why}");
    // Others have room, and who gives some back has it again.
    server.start_process(&[], &["sleep", "1000"]);
    server.ok(&["stop", &ids[0], "--grace", "0s"]);
    server.start_process(&[], &["sh", "-c", "exec sleep 1000", &long]);
    for pid in [server.supervisor(), server.frontend()] {
        let resident = procfs::memory(pid, "VmRSS");
        assert!(resident < 200 << 20, "{resident}");
    }
}

#[test]
fn x13_a_graceful_stop_reaches_each_process_however_few_descriptors_are_left() {
    let wrapper = ["bash", "-c", "ulimit -n 400; exec \"$0\" \"$@\""];
    let server = Server::with(Options {
        wrapper: wrapper.map(str::to_owned).to_vec(),
        arguments: ["--max-finished", "64"].map(str::to_owned).to_vec(),
        ..Options::default()
    });
    let script = "$| = 1; for (1..600) { next if fork; $SIG{TERM} = sub { syswrite STDOUT, \"t\"; exit }; \
                  syswrite STDOUT, \"r\"; sleep 1000; exit } sleep 1000";
    let id = server.start_process(&["--grace", "20s"], &["perl", "-e", script]);
    wait_for("600 children", || {
        server
            .ok(&["logs", "--no-follow", &id])
            .matches('r')
            .count()
            == 600
    });
    server.ok(&["stop", &id]);
    assert_eq!(server.ok(&["logs", &id]).matches('t').count(), 600);
    // With none left at all, what runs can be stopped, gracefully too.
    // The last refusal says for want of what it is.
    let mut ids = Vec::new();
    let polite =
        "$SIG{TERM} = sub { syswrite STDOUT, \"t\"; exit }; syswrite STDOUT, \"r\"; sleep 1000";
    loop {
        // A terminal takes most of what there can be of a process.
        let output = server.run(&["start", "-t", "--grace", "20s", "--", "perl", "-e", polite]);
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            let said = format!("{} processes run", ids.len());
            for said in [&*said, "number of descriptors", "LimitNOFILE="] {
                assert!(why.contains(said), "{why}");
            }
            break;
        }
        ids.push(String::from_utf8(output.stdout).unwrap().trim().to_owned());
        assert!(
            ids.len() < 100,
            "400 descriptors are not enough for so many"
        );
    }
    assert!(ids.len() >= 10, "{} processes alone", ids.len());
    for id in &ids {
        server.ok(&["stop", id]);
        assert_eq!(server.ok(&["logs", id]), "rt");
    }
}

#[test]
fn a_process_that_runs_takes_six_descriptors_of_the_supervisor_and_two_more_with_a_terminal() {
    let server = Server::start();
    let folder = format!("/proc/{}/fd", server.supervisor());
    let held = || fs::read_dir(&folder).unwrap().count();
    let script = "echo out; echo err >&2; exec sleep 1000";
    for (flags, each) in [(&[][..], 6), (&["--stdin"][..], 7), (&["-t"][..], 8)] {
        let before = held();
        let ids: Vec<_> = (0..10)
            .map(|_| server.start_process(flags, &["sh", "-c", script]))
            .collect();
        for id in &ids {
            wait_for("its output", || {
                server.ok(&["logs", "--no-follow", id]).contains("out")
            });
        }
        wait_for("so many for each", || held() == before + each * ids.len());
        assert!(before < 128 + 10 * (6 + 7), "{before} of its own");
    }
}

#[test]
fn bytes_written_after_all_writers_had_gone_are_not_lost() {
    let server = Server::start();
    // A process may keep its pipe open to read from, and open it to write to later.
    let script = "open(R, '<', '/proc/self/fd/1') or die; close STDOUT; select undef, undef, undef, 0.5; \
                  for (1..3) { open(W, '>', '/proc/self/fd/' . fileno R) or die; syswrite W, \"late $_\\n\"; \
                  close W; select undef, undef, undef, 0.2; }";
    let id = server.start_process(&[], &["perl", "-e", script]);
    assert_eq!(server.ok(&["logs", &id]), "late 1\nlate 2\nlate 3\n");
}

#[test]
fn a_stream_that_is_closed_for_good_is_looked_at_once() {
    let server = Server::start();
    let script = "close STDOUT; close STDERR; sleep 1000";
    server.start_process(&[], &["perl", "-e", script]);
    // No look follows whether it is closed still.
    let supervisor = server.supervisor();
    let trace = Trace::of(&server, &["-e", "trace=epoll_pwait2,read,readv"]);
    std::thread::sleep(Duration::from_secs(1));
    let calls = trace.end();
    assert!(procfs::alive(supervisor));
    assert!(calls.lines().count() < 20, "{calls}");
}

#[test]
fn a_stream_that_is_opened_and_closed_without_end_costs_the_supervisor_a_share() {
    let server = Server::start();
    let script = "open(R, '<', '/proc/self/fd/1') or die; close STDOUT; my $n = fileno R; \
                  while (1) { open(W, '>', \"/proc/self/fd/$n\") or die; close W; }";
    let id = server.start_process(&[], &["perl", "-e", script]);
    let group = server.cgroup().join("processes").join(&id);
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    let process: i32 = members.trim().parse().unwrap();
    let (since, before) = (Instant::now(), procfs::reads(server.supervisor()));
    // In a second of its own time.
    wait_for("its work", || procfs::cpu_ticks(process) > 100);
    let looks = procfs::reads(server.supervisor()) - before;
    // A look is one read, and no more than two come in a fifth of a millisecond.
    let most = 14 * u64::try_from(since.elapsed().as_millis()).unwrap();
    assert!(looks < most, "{looks} of {most}");
}

#[test]
fn what_outlived_the_main_process_and_was_ended_is_told() {
    let server = Server::start();
    let left = |id: &str| {
        server.run(&["logs", id]);
        let status = server.status(id);
        (
            status["exit"]["cause"].as_str().unwrap().to_owned(),
            status["left_behind"]["processes"].as_u64(),
            status["left_behind"]["stopped_for"]
                .as_str()
                .map(str::to_owned),
        )
    };
    let daemon = "for i in 1 2 3; do setsid sleep 60 & done; exit 0";
    let id = server.start_process(&[], &["sh", "-c", daemon]);
    assert_eq!(left(&id), ("exited".to_owned(), Some(3), None));
    let flags = ["--linger", "--timeout", "1s", "--grace", "0s"];
    let id = server.start_process(&flags, &["sh", "-c", daemon]);
    let timed_out = Some("timed-out".to_owned());
    assert_eq!(left(&id), ("exited".to_owned(), Some(3), timed_out));
    let id = server.start_process(&["--linger"], &["sh", "-c", daemon]);
    wait_for("its main process's end", || {
        server.status(&id)["main_exited"] == true
    });
    server.ok(&["stop", &id, "--grace", "0s"]);
    let stopped = Some("stopped-on-request".to_owned());
    assert_eq!(left(&id), ("exited".to_owned(), Some(3), stopped));
    // Nothing is said of what ends by itself, or with its main process.
    let id = server.start_process(&[], &["sh", "-c", "sleep 0.1 & wait"]);
    assert_eq!(left(&id), ("exited".to_owned(), None, None));
    let id = server.start_process(&[], &["sh", "-c", "sleep 60 & sleep 60"]);
    server.ok(&["stop", &id, "--grace", "0s"]);
    assert_eq!(left(&id).1, None);
    let text = server.ok(&["status", &id]);
    assert!(!text.contains("outlived"), "{text}");
}

/// Freezes a group, or lets it go on (cgroup-v2.rst).
fn freeze(group: &Path, how: &str) {
    fs::write(group.join("cgroup.freeze"), how).unwrap();
}

/// Runs that are caught before the first instruction of their child: what it shares with the
/// supervisor it goes on sharing.
fn caught(server: &Server, count: usize) -> Vec<(PathBuf, Child)> {
    let groups = server.cgroup().join("processes");
    freeze(&groups, "1");
    let mut caught: Vec<(PathBuf, Child)> = Vec::new();
    for number in 0..count {
        let run = server
            .prn(&["run", "--", "echo", &number.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut group = PathBuf::new();
        wait_for("a child", || {
            let is_new = |group: &PathBuf| {
                let members = fs::read_to_string(group.join("cgroup.procs"));
                members.is_ok_and(|members| !members.is_empty())
                    && caught.iter().all(|(known, _)| known != group)
            };
            let found = fs::read_dir(&groups).unwrap();
            group = found
                .map(|entry| entry.unwrap().path())
                .find(is_new)
                .unwrap_or_default();
            group.is_dir()
        });
        freeze(&group, "1");
        caught.push((group, run));
    }
    freeze(&groups, "0");
    caught
}

fn sockets(pid: i32) -> usize {
    let open = procfs::descriptors(pid);
    open.iter()
        .filter(|(_, what)| what.to_string_lossy().starts_with("socket:"))
        .count()
}

#[test]
fn a_child_that_does_not_get_to_its_first_call_holds_up_nobody_and_nothing_of_others() {
    let server = Server::start();
    server.ok(&["run", "--", "true"]);
    let before = sockets(server.supervisor());
    // More than may share the supervisor's descriptors at a time.
    let caught = caught(&server, 20);
    for number in (0..100).step_by(20) {
        let started: Vec<Child> = (number..number + 20)
            .map(|number| {
                let script = format!("echo {number}; ls /proc/self/fd | wc -l; exit {number}");
                server
                    .prn(&["run", "--", "sh", "-c", &script])
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for (number, run) in (number..).zip(started) {
            let output = run.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(number));
            // Its three, and the directory that ls reads.
            let expected = format!("{number}\n4\n");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
        }
    }
    for (number, (group, run)) in caught.into_iter().enumerate() {
        // Every second one dies where it is.
        let lives = number % 2 == 0;
        if lives {
            freeze(&group, "0");
        } else {
            fs::write(group.join("cgroup.kill"), "1").unwrap();
        }
        let output = run.wait_with_output().unwrap();
        let code = if lives { 0 } else { 137 };
        assert_eq!(output.status.code(), Some(code), "{number}: {output:?}");
        let expected = if lives {
            format!("{number}\n")
        } else {
            String::new()
        };
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
    wait_for("nothing to be on its way", || {
        sockets(server.supervisor()) == before
    });
    assert_eq!(server.ok(&["run", "--", "echo", "last"]), "last\n");
}
