//! Whom a fleet's users believe, and what of a job nobody can change: real servers with agents, and
//! a real etcd.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use prn_fleet::etcd::Txn;
use prn_tests::agents::{Hosts, Plan};
use prn_tests::authority::Authorities;
use prn_tests::fleet_user::User;
use prn_tests::{wait_for, wait_within};
use prost::Message;
use serde_json::Value;

#[test]
fn a_host_that_the_fleets_authority_has_not_signed_is_not_talked_to() {
    let hosts = Hosts::start(1, 1, &[]);
    let trusting = User::of(&hosts, "");
    let believing = User::of(&hosts, &format!("server-ca = {:?}", hosts.cluster.ca()));
    let others = Authorities::ed25519();
    others.authority("ca", None, "CA:TRUE");
    let user = User::of(&hosts, &format!("server-ca = {:?}", others.path("ca.pem")));
    let id = user.ok(&["submit", "--", "echo", "x"]);
    assert_eq!(user.ok(&["wait", "--fleet", &id]), "0");
    for user in [&trusting, &believing] {
        assert_eq!(user.ok(&["logs", "--fleet", &id]), "x");
    }
    let (code, out, err) = user.told(&["logs", "--fleet", &id]);
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
    assert_eq!(
        user.json(&["status", "--fleet", &id])["process"],
        Value::Null
    );
}

#[test]
fn a_host_that_announces_no_or_a_bad_certificate_does_not_hold_up_who_signs() {
    let hosts = Hosts::with(Plan {
        server_arguments: &["--fleet", "prod", "--require-signed-starts"],
        ..Plan::default()
    });
    let user = User::of(&hosts, "sign = true");
    let bare = prn_fleet::v1::Host {
        state: prn_fleet::v1::host::State::Ready.into(),
        address: hosts.hosts[0].server.address.clone(),
        ..prn_fleet::v1::Host::default()
    };
    let bad = prn_fleet::v1::Host {
        certificates: vec!["none".to_owned()],
        ..bare.clone()
    };
    let keys = hosts.fleet.keys();
    let put = Txn::new()
        .put(&keys.host("a"), bare.encode_to_vec())
        .put(&keys.host("b"), bad.encode_to_vec());
    let written = hosts.runtime.block_on(hosts.fleet.etcd().commit(&put));
    assert!(written.is_ok(), "{written:?}");
    let (code, id, err) = user.told(&["submit", "--", "true"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("host b is passed over"), "{err}");
    assert_eq!(user.ok(&["wait", "--fleet", id.trim()]), "0");
}

/// Whoever writes the store, and has one host, is shown nothing that is for another one.
#[test]
fn a_host_cannot_be_announced_as_another_one() {
    let mut hosts = Hosts::start(1, 2, &[]);
    let believing = User::of(&hosts, &format!("server-ca = {:?}", hosts.cluster.ca()));
    let id = believing.ok(&["submit", "--host", "web1", "--", "echo", "x"]);
    assert_eq!(believing.ok(&["wait", "--fleet", &id]), "0");
    assert_eq!(believing.ok(&["logs", "--fleet", &id]), "x");
    // Its announcement goes with its lease, and the forged one stays.
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    let address = hosts.hosts[1].server.address.clone();
    let forged = prn_fleet::v1::Host {
        address,
        ..prn_fleet::v1::Host::default()
    };
    let key = hosts.fleet.keys().host("web1");
    let forged = Txn::new().put(&key, forged.encode_to_vec());
    let written = hosts.runtime.block_on(hosts.fleet.etcd().commit(&forged));
    assert!(written.is_ok(), "{written:?}");
    let (code, out, err) = believing.told(&["logs", "--fleet", &id]);
    assert_eq!((code, out.as_str()), (4, ""), "{err}");
}

#[test]
fn a_signed_job_is_started_and_one_that_is_altered_is_refused() {
    let hosts = Hosts::with(Plan {
        server_arguments: &["--fleet", "prod", "--require-signed-starts"],
        ..Plan::default()
    });
    let user = User::of(&hosts, "sign = true");
    let id = user.ok(&[
        "submit",
        "--memory",
        "64M",
        "--best-effort-limits",
        "--",
        "sh",
        "-c",
        "exit 6",
    ]);
    let (code, _, err) = user.told(&["wait", "--fleet", &id]);
    assert_eq!(code, 6, "{err}");
    assert_eq!(user.json(&["status", "--fleet", &id])["signed"], true);

    let mut altered = hosts.job(&id).job;
    for attempt in &mut altered.attempts {
        attempt.id = prn_client::mint_id().unwrap().to_string();
        attempt.args = vec!["-c".to_owned(), "exit 0".to_owned()];
    }
    let id = hosts.submit(altered);
    let is_refused = || {
        let job = user.json(&["status", "--fleet", &id]);
        let past = job["past"].as_array().unwrap();
        let said = past.iter().chain([&job]);
        let reasons: Vec<_> = said.filter_map(|claim| claim["reason"].as_str()).collect();
        reasons
            .iter()
            .any(|reason| ["OTHER_DIGEST", "SIGNATURE_INVALID"].contains(reason))
    };
    wait_within(Duration::from_secs(30), "a refusal", is_refused);
    let all = hosts.hosts[0].server.ok(&["list", "-q"]);
    assert_eq!(all.lines().count(), 1, "{all}");
}

#[test]
fn a_job_whose_signature_has_ended_is_signed_anew_by_the_same_line() {
    let hosts = Hosts::with(Plan {
        arguments: &["--processes", "4"],
        server_arguments: &["--fleet", "prod", "--signed-start-window", "2s"],
        ..Plan::default()
    });
    let user = User::of(&hosts, "sign = true");
    let first = user.ok(&["submit", "--", "sleep", "5"]);
    user.until(&first, "running");
    // There is no room for it until its signature has ended.
    let id = "00000000000000000000000000000123";
    let job = [
        "submit", "--id", id, "--places", "4", "--", "sh", "-c", "exit 7",
    ];
    assert_eq!(user.ok(&job), id);
    user.until(id, "needs-signing");
    let (code, _, err) = user.told(&["wait", "--fleet", id]);
    assert!(
        code == 125 && err.contains("signs it anew"),
        "{code}: {err}"
    );
    assert_eq!(user.ok(&job), id);
    let (code, _, err) = user.told(&["wait", "--fleet", id]);
    assert_eq!(code, 7, "{err}");
}

/// Whoever writes the store keeps nobody from the rest of it.
#[test]
fn what_is_malformed_is_told_and_hides_nothing_else() {
    let hosts = Hosts::start(1, 1, &[]);
    let user = User::of(&hosts, "");
    // It ends within a field.
    let put = |key: &str| {
        let put = Txn::new().put(key, vec![0x0a, 0xff]);
        let written = hosts.runtime.block_on(hosts.fleet.etcd().commit(&put));
        assert!(written.is_ok(), "{written:?}");
    };
    let keys = hosts.fleet.keys();
    put(&keys.job("x"));
    let (code, out, err) = user.told(&["fleet", "jobs", "-q"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.contains("jobs/x\" in etcd is not what prn"), "{err}");
    let said = |name: &str| user.folder.path().join(name);
    let file = |name: &str| fs::File::create(said(name)).unwrap();
    let mut events = user.prn(&["events", "--fleet", "-o", "jsonl"]);
    let events = events.stdout(file("out")).stderr(file("err"));
    let mut events = events.spawn().unwrap();
    let has = |name: &str, what: &str| fs::read_to_string(said(name)).unwrap().contains(what);
    wait_for("a change", || {
        put(&keys.host("web8"));
        put(&keys.waiting("z"));
        has("err", "hosts/web8") && has("err", "queue/z")
    });
    let id = user.ok(&["submit", "--", "true"]);
    wait_for("an end", || has("out", &id) && has("out", "\"ended\""));
    events.kill().unwrap();
    events.wait().unwrap();
}
