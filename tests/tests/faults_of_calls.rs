//! Each system call of what is done to processes and workspaces that are there fails once: the answer
//! is no or yes, the supervisor lives, and what is asked for the next time is done whole.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use prn_tests::server::{Options, Server};
use prn_tests::trace::Trace;
use prn_tests::{procfs, wait_for};

/// The supervisor's calls in something that is asked for, and how many of each.
type Calls = &'static [(&'static str, usize)];

const ERRORS: [&str; 4] = ["ENOMEM", "EMFILE", "EAGAIN", "EIO"];

fn server() -> Server {
    Server::with(Options {
        uids: Some(4),
        ..Options::default()
    })
}

/// No group and no directory but a workspace's, and no zombie.
fn nothing_left(server: &Server) -> bool {
    let groups = std::fs::read_dir(server.cgroup().join("processes")).unwrap();
    let mut state = std::fs::read_dir(server.state_dir()).unwrap();
    !groups.flatten().any(|entry| entry.path().is_dir())
        && state.all(|entry| entry.unwrap().file_name().len() < 32)
        && procfs::children(server.supervisor()) == [server.frontend()]
}

/// Acts with each of the calls failing once. `act` is to leave nothing when nothing fails;
/// `clean_up` is run after each, when nothing does.
fn each_fails_once(
    server: &Server,
    calls: Calls,
    prepare: impl Fn() -> String,
    act: impl Fn(&str),
    clean_up: impl Fn(&str),
) {
    let (supervisor, frontend) = (server.supervisor(), server.frontend());
    let mut injected = 0;
    let each = calls
        .iter()
        .flat_map(|(call, times)| (1..=*times).map(move |n| (call, n)));
    for (place, (call, n)) in each.enumerate() {
        let error = ERRORS[place % ERRORS.len()];
        let what = format!("{call} {n}: {error}");
        let subject = prepare();
        let inject = format!("inject={call}:error={error}:when={n}");
        let trace = Trace::of(server, &["-e", &format!("trace={call}"), "-e", &inject]);
        act(&subject);
        injected += usize::from(trace.end().contains("(INJECTED)"));
        clean_up(&subject);
        wait_for(&what, || nothing_left(server));
        let halves = (server.supervisor(), server.frontend());
        assert_eq!(halves, (supervisor, frontend), "{what}");
    }
    assert!(
        injected * 2 >= calls.iter().map(|(_, times)| times).sum(),
        "{injected} of {calls:?}"
    );
    // Nothing was lost: neither user ids nor a place.
    let all: Vec<_> = (0..4)
        .map(|_| server.start_process(&[], &["sleep", "600"]))
        .collect();
    for id in all {
        server.ok(&["stop", &id, "--grace", "0s"]);
    }
}

fn killed(server: &Server, id: &str) {
    server.ok(&["stop", id, "--grace", "0s"]);
}

#[test]
fn l5_a_stop_in_which_a_call_fails_can_be_asked_for_again() {
    const STOP: Calls = &[
        ("openat", 4),
        ("pread64", 3),
        ("pidfd_open", 2),
        ("pidfd_send_signal", 2),
        ("write", 1),
        ("unlinkat", 3),
        ("epoll_ctl", 3),
        ("clone3", 1),
    ];
    let server = server();
    // It leaves a file, so that there is something to clean.
    let script = "echo x >file; trap 'exit 0' TERM; sleep 600 & wait";
    let start = || {
        let id = server.start_process(&[], &["sh", "-c", script]);
        let file = server.state_dir().join(&id).join("file");
        wait_for("a file", || file.exists());
        id
    };
    for grace in ["200ms", "0s"] {
        let stop = |id: &str| drop(server.run(&["stop", id, "--grace", grace]));
        each_fails_once(&server, STOP, start, stop, |id| killed(&server, id));
    }
}

#[test]
fn l5_input_in_which_a_call_fails_ends_with_its_process() {
    const FEED: Calls = &[("fcntl", 1), ("epoll_ctl", 2), ("pread64", 2)];
    let server = server();
    let start = || server.start_process(&["--stdin"], &["cat"]);
    let feed = |id: &str| {
        let mut child = server.prn(&["attach", id]);
        let mut child = child
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdin.take().unwrap().write_all(b"some words\n"));
        // One that was refused is worth new tries to it; that is not what is looked at here.
        let until = Instant::now() + Duration::from_secs(5);
        while child.try_wait().unwrap().is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(child.kill());
        child.wait().unwrap();
    };
    each_fails_once(&server, FEED, start, feed, |id| killed(&server, id));
}

#[test]
fn l5_a_workspace_in_which_a_call_fails_is_there_or_is_not() {
    const WORKSPACE: Calls = &[
        ("mkdirat", 2),
        ("fchownat", 2),
        ("openat", 6),
        ("unlinkat", 4),
        ("newfstatat", 2),
        ("clone3", 1),
        ("epoll_ctl", 4),
    ];
    let server = server();
    let act = |name: &str| {
        drop(server.run(&["workspace", "create", name]));
        drop(server.run(&["run", "--workspace", name, "--", "sh", "-c", "echo x >file"]));
        drop(server.run(&["workspace", "rm", "--kill", name]));
    };
    let is_there = || {
        server
            .ok(&["workspace", "list", "-o", "json"])
            .contains("\"w\"")
    };
    let clean_up = |name: &str| {
        wait_for("its end", || {
            if is_there() {
                drop(server.run(&["workspace", "rm", "--kill", name]));
            }
            !is_there()
        });
    };
    each_fails_once(&server, WORKSPACE, || "w".to_owned(), act, clean_up);
}

#[test]
fn l5_an_update_in_which_a_call_fails_can_be_asked_for_again() {
    const UPDATE: Calls = &[("openat", 4), ("write", 2), ("read", 3)];
    let server = server();
    let start = || server.start_process(&[], &["sleep", "600"]);
    let update = |id: &str| {
        drop(server.run(&["update", id, "--pids", "50"]));
        drop(server.run(&["pause", id]));
        drop(server.run(&["kill", "-s", "USR1", id]));
    };
    each_fails_once(&server, UPDATE, start, update, |id| killed(&server, id));
}
