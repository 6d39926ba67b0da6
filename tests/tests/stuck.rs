//! What cannot be killed, and a clock that is set.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use prn_tests::server::{Options, Server};
use prn_tests::{procfs, wait_for};

/// A group of the version 1 freezer, in which a task can be put into a sleep that SIGKILL does not
/// end (freezer-subsystem.rst).
struct Freezer {
    group: PathBuf,
    mounted: Option<tempfile::TempDir>,
}

impl Freezer {
    fn new() -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let there = mounts.lines().find_map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            let is_freezer = words[2] == "cgroup" && words[3].split(',').any(|it| it == "freezer");
            is_freezer.then(|| PathBuf::from(words[1]))
        });
        let (root, mounted) = match there {
            Some(root) => (root, None),
            None => {
                let folder = tempfile::tempdir().unwrap();
                let kind = Some("cgroup");
                mount(kind, folder.path(), kind, MsFlags::empty(), Some("freezer")).unwrap();
                (folder.path().to_owned(), Some(folder))
            }
        };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = root.join(format!("prn-test-{}-{number}", std::process::id()));
        fs::create_dir(&group).unwrap();
        Self { group, mounted }
    }

    fn freeze(&self, pid: i32) {
        fs::write(self.group.join("cgroup.procs"), pid.to_string()).unwrap();
        self.set("FROZEN");
        wait_for("a task in uninterruptible sleep", || state(pid) == "D");
    }

    fn set(&self, state: &str) {
        fs::write(self.group.join("freezer.state"), state).unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.set("THAWED");
        let until = Instant::now() + Duration::from_secs(10);
        while fs::remove_dir(&self.group).is_err() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        if let Some(folder) = &self.mounted {
            let _unused = umount2(folder.path(), MntFlags::MNT_DETACH);
        }
    }
}

fn state(pid: i32) -> String {
    let text = procfs::status(pid).remove("State").unwrap_or_default();
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn main_process(server: &Server, id: &str) -> i32 {
    let group = server.cgroup().join("processes").join(id);
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    text.trim().parse().expect("one process")
}

/// One that is frozen for good, in a server with two user ids.
fn frozen() -> (Server, Freezer, String) {
    let freezer = Freezer::new();
    let server = Server::with(Options {
        uids: Some(2),
        ..Options::default()
    });
    let id = server.start_process(&[], &["sleep", "600"]);
    wait_for("its program", || {
        procfs::comm(main_process(&server, &id)) == "sleep"
    });
    freezer.freeze(main_process(&server, &id));
    // It thaws before the server is waited for.
    (server, freezer, id)
}

#[test]
fn c12_a_stop_of_what_cannot_be_killed_is_answered_and_says_who_that_is() {
    let (server, freezer, id) = frozen();
    let uid = server.status(&id)["uid"].as_u64();
    let begin = Instant::now();
    let output = server.run(&["stop", &id, "--grace", "1s"]);
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let who = "could not be stopped yet: sleep (D, in uninterruptible sleep)";
    assert!(said.contains(who), "{said}");
    let status = server.status(&id);
    assert_eq!(status["state"], "running", "{status}");
    assert_eq!(status["stuck_tasks"][0]["name"], "sleep", "{status}");
    // Others are served, and nobody gets its user id.
    for _ in 0..3 {
        let other = server.ok(&["run", "--", "id", "-u"]);
        assert_ne!(other.trim().parse().ok(), uid);
    }
    freezer.set("THAWED");
    wait_for("its end", || server.status(&id)["state"] == "stopped");
    let signal = server.status(&id)["exit"]["signal"].as_i64();
    assert!(matches!(signal, Some(9 | 15)), "{signal:?}");
}

#[test]
fn c12_a_server_ends_beside_what_cannot_be_killed() {
    let (mut server, freezer, id) = frozen();
    let pid = main_process(&server, &id);
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGTERM);
    let begin = Instant::now();
    server.wait();
    assert!(
        begin.elapsed() < Duration::from_secs(30),
        "TimeoutStopSec of the unit"
    );
    assert_eq!(state(pid), "D");
    freezer.set("THAWED");
    wait_for("its end", || !procfs::alive(pid));
}

/// Sets the clock, which is the guest's own, to so many seconds from what it was.
fn set_clock(offset: i64) {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let seconds = i64::try_from(now.as_secs()).unwrap() + offset;
    let set = Command::new("date")
        .args(["-s", &format!("@{seconds}")])
        .output();
    assert!(set.unwrap().status.success());
}

#[test]
#[ignore = "guest: sets the clock of the machine"]
fn guest_l6_a_clock_that_is_set_moves_no_timeout_and_no_stop() {
    const DAY: i64 = 86_400;
    let server = Server::start();
    // A day ahead, and back: before their time no certificate is one.
    for offset in [DAY, -DAY] {
        let begin = Instant::now();
        let timed = server.start_process(&["--timeout", "6s"], &["sleep", "600"]);
        let lasting = server.start_process(&["--timeout", "1h"], &["sleep", "600"]);
        let stubborn =
            server.start_process(&[], &["sh", "-c", "trap '' TERM; sleep 600 & wait; wait"]);
        set_clock(offset);
        let outcome = std::panic::catch_unwind(|| {
            wait_for("its timeout", || state_of(&server, &timed) == "stopped");
            let took = begin.elapsed();
            assert!(
                took >= Duration::from_secs(6) && took < Duration::from_secs(40),
                "{took:?}"
            );
            assert_eq!(state_of(&server, &lasting), "running");
            let begin = Instant::now();
            server.ok(&["stop", &stubborn, "--grace", "2s"]);
            let took = begin.elapsed();
            assert!(
                took >= Duration::from_secs(2) && took < Duration::from_secs(30),
                "{took:?}"
            );
            for id in [&timed, &stubborn] {
                let status = server.status(id);
                assert!(
                    status["end_time"].as_i64() >= status["start_time"].as_i64(),
                    "{status}"
                );
            }
        });
        if outcome.is_err() && offset == DAY {
            set_clock(-DAY);
        }
        server.ok(&["stop", &lasting, "--grace", "0"]);
        outcome.unwrap();
    }
}

fn state_of(server: &Server, id: &str) -> String {
    server.status(id)["state"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}
