//! A connection that breaks in the middle: what was followed goes on without a byte lost or
//! repeated, or says that it does not.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use prn_tests::proxy::{Cut, Proxy};
use prn_tests::random::Random;
use prn_tests::server::Server;
use prn_tests::writer::{self, Checker};
use prn_tests::{deadline, wait_for};

/// `prn` by way of the proxy.
fn through(proxy: &Proxy, server: &Server, arguments: &[&str]) -> Command {
    let mut command = server.prn(arguments);
    command
        .env("PRN_ADDRESS", &proxy.address)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Reads one stream to its end.
fn check(mut from: impl Read + Send + 'static, stderr: bool) -> JoinHandle<Checker> {
    std::thread::spawn(move || {
        let (mut checker, mut buffer) = (Checker::new(stderr), vec![0; 65_536]);
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            checker.take(&buffer[..length]);
        }
        checker
    })
}

/// Wherever a connection is cut, in its handshake as well.
#[test]
fn what_may_be_asked_twice_is_where_its_connection_is_lost_before_the_answer() {
    const STEP: usize = 149;
    let server = Server::start();
    let next = Arc::new(AtomicU64::new(0));
    let planned = Arc::clone(&next);
    // The next connection alone: the one after it is left in peace.
    let proxy = Proxy::start(&server.address, move || {
        let after = planned.swap(0, Ordering::SeqCst);
        (after > 0).then_some(Cut { after, reset: true })
    });
    let id = server.start_process(&[], &["sleep", "1000"]);
    let mut calls = vec![vec!["list"], vec!["can-i"], vec!["inspect"], vec!["stop"]];
    calls[2].push(&id);
    calls[3].push(&id);
    for call in calls {
        let before = proxy.sent();
        let whole = through(&proxy, &server, &call).output().unwrap();
        assert!(
            whole.status.success(),
            "{}",
            String::from_utf8_lossy(&whole.stderr)
        );
        let answer = proxy.sent() - before;
        assert!(answer > 500, "{answer} bytes for {call:?}");
        for after in (1..answer).step_by(STEP) {
            next.store(after, Ordering::SeqCst);
            let output = through(&proxy, &server, &call).output().unwrap();
            assert!(
                output.status.success(),
                "{call:?}, cut after {after} bytes: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            assert_eq!(next.load(Ordering::SeqCst), 0);
        }
    }
    assert!(proxy.cuts() > 20, "{} cuts", proxy.cuts());
}

#[test]
fn logs_stay_exact_over_a_hundred_cuts_of_the_connection() {
    const CUTS: u64 = 100;
    let mut random = Random::from_environment("PRN_CUTS_SEED");
    let server = Server::with_arguments(&["--output-budget", "2G"]);
    let id = writer::start(
        &server,
        &["--output-max", "1G"],
        random.number(),
        800 << 20,
        60,
    );
    let mut made = 0;
    let proxy = Proxy::start(&server.address, move || {
        made += 1;
        // Now and then in the handshake, or before the first frame is whole. After too many of
        // those in a row, prn would give up; and each costs a longer pause. All others anywhere:
        // between frames, in a TLS record, in its header.
        let after = match made % 20 {
            7 => 1 + random.below(1500),
            14 => 1500 + random.below(60_000),
            _ => 80_000 + random.below(150_000),
        };
        (made <= CUTS).then_some(Cut {
            after,
            reset: random.below(2) == 0,
        })
    });
    let mut logs = through(&proxy, &server, &["logs", &id]).spawn().unwrap();
    let stdout = check(logs.stdout.take().unwrap(), false);
    let stderr = check(logs.stderr.take().unwrap(), true);
    // Before each new connection prn waits, so that all of this takes more than ten seconds.
    let started = Instant::now();
    while proxy.cuts() < CUTS {
        assert!(
            logs.try_wait().unwrap().is_none(),
            "logs gave up after {} cuts",
            proxy.cuts()
        );
        assert!(
            started.elapsed() < 5 * deadline(),
            "{} cuts alone",
            proxy.cuts()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    // All were in the middle of it: there is more to come.
    assert!(
        !server.state_dir().join(&id).join("hashes").exists(),
        "it wrote all it could too soon"
    );
    let hashes = writer::stop(&server, &id);
    let status = logs.wait().unwrap();
    let checkers = [stdout, stderr].map(|checker| checker.join().unwrap());
    println!("{CUTS} cuts, {} bytes from the server", proxy.sent());
    assert_eq!(status.code(), Some(0));
    assert_eq!(checkers.each_ref().map(Checker::sha256), hashes);
    let output = &server.status(&id)["output"];
    let lengths = checkers.each_ref().map(|checker| checker.at().unwrap());
    assert_eq!(
        [&output["stdout_bytes"], &output["stderr_bytes"]].map(|n| n.as_u64().unwrap()),
        lengths
    );
}

#[test]
fn what_follows_a_process_whose_server_cannot_be_reached_any_more_never_exits_0() {
    let mut server = Server::start();
    let proxy = Proxy::start(&server.address, || None);
    // It ends well, but nobody is told.
    let script = "i=0; while [ ! -e stop ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit 0";
    let follow = |arguments: &[&str]| {
        let mut child = through(&proxy, &server, arguments).spawn().unwrap();
        // In the middle of the output, and not before it.
        let mut first = [0; 40];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        child
    };
    let run = follow(&["run", "--", "sh", "-c", script]);
    let listed: serde_json::Value =
        serde_json::from_str(&server.ok(&["list", "-o", "json"])).unwrap();
    let id = listed["processes"][0]["id"].as_str().unwrap().to_owned();
    let logs = follow(&["logs", &id]);
    // This one is on the server's own port.
    let mut direct = server.prn(&["run", "--", "sh", "-c", "echo begun; exec sleep 1000"]);
    let mut direct = direct
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    direct
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut [0; 5])
        .unwrap();

    proxy.refuse();
    std::fs::write(server.state_dir().join(&id).join("stop"), "").unwrap();
    wait_for("the process's end", || {
        server.status(&id)["tree_empty"] == true
    });
    assert_eq!(
        server.status(&id)["exit"]["code"],
        0,
        "{}",
        server.status(&id)
    );
    server.signal(Signal::SIGKILL);
    server.wait();
    for (what, child, code) in [
        ("run", run, 125),
        ("logs", logs, 7),
        ("run of a dead server", direct, 125),
    ] {
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{what}: {error}");
        assert!(error.contains("cut off at byte "), "{what}: {error}");
    }
}
