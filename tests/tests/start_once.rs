//! A start over connections that are cut at any moment: a process starts once or not at all, and
//! whoever asked for it is told which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use prn_tests::proxy::{Cut, Proxy};
use prn_tests::random::Random;
use prn_tests::server::{Options, Server};
use prn_tests::{in_guest, wait_for};

/// How many starts there are: 10,000 before a release.
const STARTS: &str = "PRN_TEST_STARTS";

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

fn told(server: &Server, proxy: &Proxy, id: &str, ledger: &str) -> Told {
    let script = format!("echo {id} >> {ledger}");
    let mut command: Command = server.prn(&["start", "--id", id, "--", "sh", "-c", &script]);
    let output = command.env("PRN_ADDRESS", &proxy.address).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), id);
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
    let server = Server::with(Options {
        arguments: ["--max-finished", &(starts + 64).to_string()]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    });
    let random = Mutex::new(Random::from_environment("PRN_TEST_SEED"));
    let proxy = Proxy::start(&server.address, {
        let mut random = Random::from_environment("PRN_TEST_SEED");
        // A handshake and a start bring about 2,000 bytes from the server.
        move || {
            let number = random.number();
            let cut = Cut {
                after: number % 3000,
                reset: number & 1 << 20 != 0,
            };
            (number & 3 << 30 != 0).then_some(cut)
        }
    });
    // All processes write to it: what is appended at once is in one piece.
    let ledger = server.folder().join("ledger");
    fs::write(&ledger, "").unwrap();
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o666)).unwrap();
    let shown = ledger.to_str().unwrap();
    let (next, answers) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < starts {
                    let id = {
                        let mut random = random.lock().unwrap();
                        format!("{:016x}{:016x}", random.number(), random.number())
                    };
                    let told = told(&server, &proxy, &id, shown);
                    answers.lock().unwrap().insert(id, told);
                }
            });
        }
    });
    let answers = answers.into_inner().unwrap();
    wait_for("their ends", || {
        server
            .ok(&["list", "--running", "-o", "json"])
            .matches("\"id\"")
            .count()
            == 0
    });
    let listed: serde_json::Value =
        serde_json::from_str(&server.ok(&["list", "-o", "json"])).unwrap();
    let listed: BTreeSet<String> = (listed["processes"].as_array().unwrap().iter())
        .map(|process| process["id"].as_str().unwrap().to_owned())
        .collect();
    let ran = fs::read_to_string(&ledger).unwrap();
    let mut count = BTreeMap::<&str, usize>::new();
    for id in ran.lines() {
        *count.entry(id).or_default() += 1;
    }
    let twice: Vec<_> = count.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let mut sums = BTreeMap::<Told, usize>::new();
    for (id, told) in &answers {
        *sums.entry(*told).or_default() += 1;
        let (is_listed, has_run) = (listed.contains(id), count.contains_key(id.as_str()));
        assert_eq!(is_listed, has_run, "{id}");
        match told {
            Told::Started => assert!(has_run, "{id} was told to be started"),
            Told::NotStarted => assert!(!has_run, "{id} was told not to be started"),
            Told::Unknown => {}
        }
    }
    println!(
        "{starts} starts, {} connections cut: {sums:?}",
        proxy.cuts()
    );
    assert_eq!(answers.len(), starts);
    assert!(proxy.cuts() > u64::try_from(starts / 4).unwrap());
    let started = sums.get(&Told::Started).copied().unwrap_or(0);
    assert!(started > starts / 2 && started < starts);
}
