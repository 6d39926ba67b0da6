//! A half that is stuck: the service manager hears from the supervisor, and the supervisor from the
//! frontend, or else it is replaced.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::server::{Options, Server};
use prn_tests::{procfs, wait_for};

/// A service manager that takes a server to be stuck when it has not heard from it for so long.
fn watched(folder: &Path, limit: Duration) -> (UnixDatagram, Server) {
    let path = folder.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let server = Server::with(Options {
        wrapper: vec![
            "env".to_owned(),
            format!("NOTIFY_SOCKET={}", path.display()),
            format!("WATCHDOG_USEC={}", limit.as_micros()),
        ],
        ..Options::default()
    });
    (socket, server)
}

fn send(process: i32, signal: Signal) {
    kill(Pid::from_raw(process), signal).unwrap();
}

fn heard(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 100];
    let length = socket.recv(&mut bytes).expect("word of the server");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[test]
fn l4_the_service_manager_hears_from_the_supervisor_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (socket, server) = watched(folder.path(), Duration::from_secs(1));
    let mut words: Vec<String> = (0..8).map(|_| heard(&socket)).collect();
    words.sort();
    words.dedup();
    assert_eq!(words, ["READY=1", "WATCHDOG=1"]);
    // Nobody hears from a supervisor that is stuck.
    let supervisor = server.supervisor();
    procfs::hold(supervisor);
    std::thread::sleep(Duration::from_secs(1));
    socket.set_nonblocking(true).unwrap();
    while socket.recv(&mut [0; 100]).is_ok() {}
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        socket.recv(&mut [0; 100]).is_err(),
        "word of one that is stopped"
    );
    send(supervisor, Signal::SIGCONT);
}

#[test]
fn l4_a_frontend_that_is_stuck_is_replaced_and_processes_do_not_notice() {
    let folder = tempfile::tempdir().unwrap();
    let (_socket, server) = watched(folder.path(), Duration::from_millis(600));
    let id = server.start_process(&[], &["sleep", "600"]);
    let first = server.frontend();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(server.frontend(), first, "one that answers stays");
    // It may be killed before it is seen to be held up.
    send(first, Signal::SIGSTOP);
    let begin = Instant::now();
    wait_for("another frontend", || !procfs::alive(first));
    wait_for("its answer", || {
        server.run(&["status", &id]).status.success()
    });
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(server.status(&id)["state"], "running");
    let log = server.log();
    assert!(
        log.contains("audit: the frontend is killed: it is stuck"),
        "{log}"
    );
}

#[test]
fn l4_without_a_watchdog_nobody_asks() {
    let server = Server::start();
    let first = server.frontend();
    procfs::hold(first);
    std::thread::sleep(Duration::from_secs(2));
    assert!(procfs::alive(first));
    send(first, Signal::SIGCONT);
    server.ok(&["list"]);
}
