//! A start over connections that are cut at any moment: a process starts once or not at all, and
//! whoever asked for it is told which.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::proxy::{Cut, Proxy};
use prn_tests::random::Random;
use prn_tests::server::{Options, Server};
use prn_tests::{in_guest, procfs, wait_for};

/// How many starts there are: 10,000 before a release.
const STARTS: &str = "PRN_TEST_STARTS";

/// So many of them of one server, which holds descriptors for all that it remembers.
const ROUND: usize = 500;

/// What a client was told of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// It was started.
    Started,
    /// It was not.
    NotStarted,
    /// Nobody knows.
    Unknown,
}

/// Whether starts are signed, and have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Signed,
}

fn told(server: &Server, proxy: &Proxy, id: &str, ledger: &str, kind: Kind) -> Told {
    let script = format!("echo {id} >> {ledger}");
    let start = ["start", "--sign"];
    let start = match kind {
        Kind::Plain => &start[..1],
        Kind::Signed => &start,
    };
    let words = ["--profile", "none", "--id", id, "--", "sh", "-c", &script];
    let mut command: Command = server.prn(&[start, &words].concat());
    let output = command.env("PRN_ADDRESS", &proxy.address).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), id);
        Told::Started
    } else if error.contains("was started before, has ended, and was forgotten")
        || error.contains("the id was used before by a signed start")
    {
        Told::Started
    } else if error.contains("it is unknown whether process") {
        Told::Unknown
    } else {
        // The connection did not come about.
        let is_before = error.contains("cannot connect") || error.contains("no TLS connection");
        let is_before = is_before || error.contains("lost before it had answered");
        assert!(is_before, "{error}");
        Told::NotStarted
    }
}

#[test]
fn a_start_that_is_cut_off_starts_once_or_not_at_all_and_says_which() {
    let default = if in_guest() { 200 } else { 1000 };
    let starts: usize = std::env::var(STARTS).map_or(default, |text| text.parse().unwrap());
    let mut random = Random::from_environment("PRN_TEST_SEED");
    let mut sums = BTreeMap::<Told, usize>::new();
    let mut cuts = 0;
    // A server that remembers all of them, and one that forgets nearly all at once.
    for (round, remembered) in (0..starts.div_ceil(ROUND)).zip([ROUND + 64, 64].into_iter().cycle())
    {
        let count = ROUND.min(starts - round * ROUND);
        let random = Random::new(random.number());
        cuts += round_of(count, remembered, Kind::Plain, random, &mut sums);
    }
    println!("{starts} starts, {cuts} connections cut: {sums:?}");
    assert!(cuts > u64::try_from(starts / 4).unwrap());
    let started = sums.get(&Told::Started).copied().unwrap_or(0);
    assert!(started > starts / 2 && started < starts);
}

#[test]
fn s12_a_signed_start_that_is_cut_off_starts_once_or_not_at_all_and_says_which() {
    let mut random = Random::from_environment("PRN_TEST_SEED");
    let mut sums = BTreeMap::<Told, usize>::new();
    for remembered in [264, 64] {
        let random = Random::new(random.number());
        let cuts = round_of(200, remembered, Kind::Signed, random, &mut sums);
        assert!(cuts > 50, "{cuts}");
    }
    println!("{sums:?}");
    assert!(
        sums.get(&Told::Started)
            .is_some_and(|started| *started > 100)
    );
}

/// So many starts against a server that remembers so many. Returns how many connections were cut.
fn round_of(
    count: usize,
    remembered: usize,
    kind: Kind,
    mut random: Random,
    sums: &mut BTreeMap<Told, usize>,
) -> u64 {
    let most = format!("--max-finished={remembered}");
    let arguments = [&most, "--allow-profile-none", "--require-signed-starts"];
    let server = Server::with_arguments(match kind {
        Kind::Plain => &arguments[..2],
        Kind::Signed => &arguments,
    });
    let mut chance = Random::new(random.number());
    let proxy = Proxy::start(&server.address, move || {
        let number = chance.number();
        // A handshake and a start bring about 2,000 bytes from the server.
        let cut = Cut {
            after: number % 3000,
            reset: number & 1 << 20 != 0,
        };
        (number & 3 << 30 != 0).then_some(cut)
    });
    let ledger = ledger(&server);
    let shown = ledger.to_str().unwrap();
    let ids: Vec<String> = (0..count)
        .map(|_| format!("{:016x}{:016x}", random.number(), random.number()))
        .collect();
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let told = told(&server, &proxy, id, shown, kind);
                    answers.lock().unwrap().insert(id.clone(), told);
                }
            });
        }
    });
    wait_for("their ends", || {
        !server
            .ok(&["list", "--running", "-o", "json"])
            .contains("\"id\"")
    });
    let listed = server.ok(&["list", "-o", "json"]);
    let ran = fs::read_to_string(&ledger).unwrap();
    let mut times = BTreeMap::<&str, usize>::new();
    for id in ran.lines() {
        *times.entry(id).or_default() += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let answers = answers.into_inner().unwrap();
    assert_eq!(answers.len(), count);
    for (id, told) in answers {
        *sums.entry(told).or_default() += 1;
        let has_run = times.contains_key(id.as_str());
        if remembered > count {
            assert_eq!(listed.contains(&id), has_run, "{id}");
        }
        match told {
            Told::Started => assert!(has_run, "{id} was told to be started"),
            Told::NotStarted => assert!(!has_run, "{id} was told not to be started"),
            Told::Unknown => {}
        }
    }
    proxy.cuts()
}

/// A file that all processes write to: what is appended at once is in one piece.
fn ledger(server: &Server) -> PathBuf {
    let ledger = server.folder().join("ledger");
    fs::write(&ledger, "").unwrap();
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o666)).unwrap();
    ledger
}

#[test]
fn a_start_is_not_asked_for_again_of_a_server_that_was_restarted() {
    let first = Server::with_arguments(&["--allow-profile-none"]);
    let ledger = ledger(&first);
    let kept = first.identity.clone();
    let (address, pin) = (first.address.clone(), first.client.certificate.clone());
    let client = first.client.clone();
    // What a start that is not cut off brings.
    let whole = {
        let proxy = Proxy::start(&address, || None);
        let mut command = first.prn(&["start", "--profile", "none", "--", "true"]);
        let output = command.env("PRN_ADDRESS", &proxy.address).output().unwrap();
        assert!(output.status.success());
        proxy.sent()
    };
    let script = format!("echo x >> {}", ledger.display());
    let id = "c0de".repeat(8);
    let words = [
        "start",
        "--profile",
        "none",
        "--id",
        &id,
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut command = first.prn(&words);
    // The first connection ends just before its answer does. Before the third one, another server
    // is there.
    let servers = Arc::new(Mutex::new(vec![first]));
    let proxy = Proxy::start(&address, {
        let (servers, mut connections) = (Arc::clone(&servers), 0);
        move || {
            connections += 1;
            match connections {
                1 => Some(Cut {
                    after: whole - 100,
                    reset: true,
                }),
                2 => {
                    let mut servers = servers.lock().unwrap();
                    let mut first = servers.pop().unwrap();
                    first.signal(Signal::SIGTERM);
                    first.wait();
                    let second = Server::with(Options {
                        arguments: vec!["--allow-profile-none".to_owned()],
                        identity: Some(kept.clone()),
                        pins: vec![pin.clone()],
                        address: Some(first.address.clone()),
                        ..Options::default()
                    });
                    servers.extend([second, first]);
                    Some(Cut {
                        after: 0,
                        reset: false,
                    })
                }
                _ => None,
            }
        }
    });
    let output = command.env("PRN_ADDRESS", &proxy.address).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let word = format!("the server was restarted while process {id} was being started");
    assert!(!output.status.success() && error.contains(&word), "{error}");
    let servers = servers.lock().unwrap();
    let listed = servers[0]
        .prn_as(&client, &["list", "-o", "json"])
        .output()
        .unwrap();
    assert!(listed.status.success() && !String::from_utf8_lossy(&listed.stdout).contains(&id));
    let ran = fs::read_to_string(&ledger).unwrap();
    assert!(ran.lines().count() <= 1, "{ran}");
}

#[test]
fn a_start_that_worked_is_found_on_a_server_that_takes_no_more() {
    let server = Server::start();
    let script = "trap '' TERM; sleep 4";
    let whole = {
        let proxy = Proxy::start(&server.address, || None);
        let mut command = server.prn(&["start", "--", "true"]);
        let output = command.env("PRN_ADDRESS", &proxy.address).output().unwrap();
        assert!(output.status.success());
        proxy.sent()
    };
    let supervisor = Pid::from_raw(server.supervisor());
    let mut connections = 0;
    let proxy = Proxy::start(&server.address, move || {
        connections += 1;
        let cut = |after| Some(Cut { after, reset: true });
        match connections {
            1 => cut(whole - 100),
            // From here on it ends, for as long as the process takes.
            2 => {
                kill(supervisor, Signal::SIGTERM).unwrap();
                cut(0)
            }
            _ => None,
        }
    });
    let mut command = server.prn(&["start", "--", "sh", "-c", script]);
    let output = command.env("PRN_ADDRESS", &proxy.address).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let id = String::from_utf8(output.stdout).unwrap();
    let status = server.status(id.trim());
    assert_eq!(status["state"], "running");
}

/// Whether a program has a handler of its own for SIGINT (proc_pid_status(5)).
fn catches_interrupts(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    caught.unwrap_or_default() & 0b10 != 0
}

#[test]
fn whoever_is_interrupted_is_told_of_the_start_that_nobody_has_answered() {
    let server = Server::start();
    let supervisor = Pid::from_raw(server.supervisor());
    let id = "fcd2310e7b9a462a5d88c3a0ff4e2d9b";
    procfs::hold(supervisor.as_raw());
    let child = server
        .prn(&["start", "--id", id, "--", "true"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    wait_for("the start", || catches_interrupts(pid));
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    kill(supervisor, Signal::SIGCONT).unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    let says = format!("it is not known whether process {id} was started");
    assert!(
        error.contains(&says) && error.contains(&format!("--id {id}")),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(5));
}
