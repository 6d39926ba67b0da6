//! What somebody who may write some of a fleet's keys can do with them, against a real etcd: spoil what
//! is told of those, and nothing else.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use prn_fleet::etcd::{EtcdError, Told, Txn, WatchRange, Watcher};
use prn_fleet::v1::{self, outcome::State};
use prn_fleet::{Claimed, Fleet, FleetError, JobView, Keep, Place, Standing, encoded, record};
use prn_proto::v1::StartRequest;
use prn_tests::agents::{self, Hosts, Plan};
use prn_tests::etcd::Cluster;
use prn_tests::{procfs, wait_within};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(20);

fn id(number: u64) -> String {
    format!("{number:032x}")
}

/// A job of two attempts, the first with this number.
fn job(number: u64) -> v1::Job {
    let attempt = |more| StartRequest {
        command: "true".to_owned(),
        id: id(number * 100 + more),
        ..StartRequest::default()
    };
    v1::Job {
        attempts: (0..2).map(attempt).collect(),
        ..v1::Job::default()
    }
}

async fn submit(fleet: &Fleet, number: u64) -> String {
    fleet.submit(job(number)).await.unwrap().id
}

/// Claims this job, which waits.
async fn claim(fleet: &Fleet, id: &str, host: &str) -> Claimed {
    let (seen, _) = fleet.etcd().read(&fleet.keys().waiting(id)).await.unwrap();
    let seen = record(&seen.unwrap()).unwrap();
    fleet.claim(host, "epoch", &seen).await.unwrap().unwrap()
}

async fn put(fleet: &Fleet, key: &str, value: Vec<u8>) {
    let txn = Txn::new().put(key, value);
    fleet.etcd().commit(&txn).await.unwrap();
}

/// No message: it ends within a field.
fn garbage() -> Vec<u8> {
    vec![0x0a, 0xff]
}

const NOTHING_KEPT: Keep = Keep {
    count: 0,
    age: Duration::ZERO,
};

#[test]
fn a_malformed_record_stops_none_of_the_others_and_is_told_once() {
    let cluster = Cluster::start(1);
    Runtime::new().unwrap().block_on(async {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "prod").unwrap();
        let keys = fleet.keys().clone();
        let waits = submit(&fleet, 1).await;
        let mine = submit(&fleet, 2).await;
        let ended = claim(&fleet, &mine, "web1").await;
        let outcome = ended.outcome(State::Ended);
        fleet.record(&ended, outcome).await.unwrap();
        let mut bad = vec![
            keys.host("web9"),
            keys.drain("web9"),
            keys.job("x"),
            keys.waiting("y"),
            keys.claim("z"),
            keys.outcome("web1", "z"),
            keys.late("web1", "z"),
        ];
        for key in &bad {
            put(&fleet, key, garbage()).await;
        }
        fleet
            .announce("web1", &v1::Host::default(), 0)
            .await
            .unwrap();
        let hosts = fleet.hosts().await.unwrap();
        assert_eq!(hosts.len(), 1, "{hosts:?}");
        let jobs = fleet.jobs().await.unwrap();
        let all: Vec<_> = jobs
            .iter()
            .map(|view| (&*view.id, view.standing()))
            .collect();
        let expected = [(&*waits, Standing::Waiting), (&*ended.id, Standing::Ended)];
        assert_eq!(all, expected);
        assert_eq!(fleet.claims_of("web1").await.unwrap(), []);
        bad.sort();
        assert_eq!(fleet.malformed(), bad);
        fleet.hosts().await.unwrap();
        assert_eq!(fleet.malformed(), Vec::<String>::new(), "once");
        // What is no end is in the way of no end.
        let no_end = format!("{}!", keys.all_finished());
        put(&fleet, &no_end, Vec::new()).await;
        assert_eq!(fleet.prune(NOTHING_KEPT, 10).await.unwrap(), 2);
        let gone = fleet.job(&ended.id).await;
        assert!(matches!(gone, Err(FleetError::NoJob(_))), "{gone:?}");
        let left = fleet.etcd().count(&keys.all_finished()).await.unwrap();
        assert_eq!(left, 0);
    });
}

#[test]
fn the_keeper_deletes_no_other_hosts_outcome_and_pruning_does() {
    let cluster = Cluster::start(1);
    Runtime::new().unwrap().block_on(async {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "prod").unwrap();
        let keys = fleet.keys().clone();
        // One whose job is gone: the agent of web1 forgets it, and the keeper may not.
        let nobodys = v1::Outcome {
            state: State::Running.into(),
            ..v1::Outcome::default()
        };
        let key = keys.outcome("web1", "gone");
        put(&fleet, &key, encoded(&nobodys)).await;
        assert_eq!(fleet.requeue_lost("web1").await.unwrap(), (0, 0));
        assert_eq!(fleet.etcd().count(&key).await.unwrap(), 1);
        assert_eq!(fleet.claims_of("web1").await.unwrap(), []);
        assert_eq!(fleet.etcd().count(&key).await.unwrap(), 0);

        let mut twice = job(1);
        twice.may_run_twice = true;
        let id = fleet.submit(twice).await.unwrap().id;
        claim(&fleet, &id, "web1").await;
        assert_eq!(fleet.requeue_lost("web1").await.unwrap(), (1, 1));
        let second = claim(&fleet, &id, "web2").await;
        let outcome = second.outcome(State::Ended);
        fleet.record(&second, outcome).await.unwrap();
        let before = keys.outcome("web1", &id);
        assert_eq!(fleet.etcd().count(&before).await.unwrap(), 1);
        assert_eq!(fleet.prune(NOTHING_KEPT, 10).await.unwrap(), 1);
        assert_eq!(fleet.etcd().count(keys.all()).await.unwrap(), 0);
    });
}

#[test]
fn what_is_large_is_read_in_small_parts() {
    let cluster = Cluster::start(1);
    Runtime::new().unwrap().block_on(async {
        let etcd = cluster.client_for(PATIENCE);
        // 24 MiB, and an answer has 16 at most.
        let mut all = Vec::new();
        for number in 0..24 {
            let key = format!("/large/{number:02}");
            let txn = Txn::new().put(&key, vec![b'x'; 1 << 20]);
            etcd.commit(&txn).await.unwrap();
            all.push(key);
        }
        let listing = etcd.read_all("/large/").await.unwrap();
        let keys: Vec<_> = listing.items.into_iter().map(|item| item.key).collect();
        assert_eq!(keys, all);
    });
}

#[test]
fn a_key_that_is_no_text_is_in_nobodys_way() {
    let cluster = Cluster::start(1);
    Runtime::new().unwrap().block_on(async {
        let etcd = cluster.client_for(PATIENCE);
        let spoil = |key: &[u8]| {
            let arguments = [b"put".as_slice(), key, b"text"].map(OsStr::from_bytes);
            let put = cluster.ctl(&arguments);
            assert!(put.status.success(), "{put:?}");
        };
        spoil(b"/text/a\xff");
        let mut watcher = Watcher::new(&etcd, [WatchRange::prefix("/text/".to_owned())]);
        let told = watcher.next().await.unwrap();
        assert!(
            matches!(&told, Told::Snapshot { items, .. } if items.is_empty()),
            "{told:?}"
        );
        spoil(b"/text/b\xff");
        let txn = Txn::new().put("/text/c", Vec::new());
        etcd.commit(&txn).await.unwrap();
        let told = watcher.next().await.unwrap();
        assert!(
            matches!(&told, Told::Put { item, .. } if item.key == "/text/c"),
            "{told:?}"
        );
    });
}

#[test]
fn a_claim_closes_a_job_only_where_no_host_has_it_and_for_what_needs_none() {
    let cluster = Cluster::start(1);
    Runtime::new().unwrap().block_on(async {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "prod").unwrap();
        let id = submit(&fleet, 1).await;
        let won = claim(&fleet, &id, "web1").await;
        assert!(!won.is_altered());
        let key = fleet.keys().claim(&id);
        let cases = [
            ("web1", State::Ended, Standing::Unknown),
            ("web1", State::Refused, Standing::Unknown),
            ("", State::Ended, Standing::Unknown),
            ("", State::Lost, Standing::Unknown),
            ("", State::Refused, Standing::Refused),
            ("", State::Withdrawn, Standing::Withdrawn),
        ];
        for (host, state, standing) in cases {
            let mut forged = won.claim.clone();
            forged.host = host.to_owned();
            forged.closed = Some(won.outcome(state));
            put(&fleet, &key, encoded(&forged)).await;
            let view = fleet.job(&id).await.unwrap();
            assert_eq!(view.standing(), standing, "{host:?} {state:?}");
        }
    });
}

#[test]
fn a_job_whose_place_in_the_queue_was_altered_is_given_back_and_not_started() {
    let hosts = Hosts::start(1, 1, &[]);
    let mut elsewhere = agents::job(&["echo", "started"], 1);
    elsewhere.on = [("zone".to_owned(), "b".to_owned())].into();
    let id = hosts.submit(elsewhere);
    let fleet = &hosts.fleet;
    let key = fleet.keys().waiting(&id);
    hosts.runtime.block_on(async {
        let (there, _) = fleet.etcd().read(&key).await.unwrap();
        let mut forged = record::<v1::Waiting>(&there.unwrap()).unwrap().value;
        forged.on.clear();
        put(fleet, &key, encoded(&forged)).await;
    });
    let is_back = |view: &JobView| match &view.place {
        Place::Waiting(waiting) => waiting.past.iter().any(|past| {
            let outcome = past.outcome.as_ref();
            outcome.is_some_and(|outcome| outcome.reason == "ALTERED")
        }),
        Place::Claimed { .. } | Place::Nowhere => false,
    };
    let view = hosts.until(&id, "the job given back", is_back);
    let Place::Waiting(waiting) = view.place else {
        panic!("it waits");
    };
    assert_eq!(waiting.on["zone"], "b", "as the job has it");
    assert_eq!(hosts.hosts[0].processes(), Vec::<String>::new());
}

#[test]
fn a_host_that_is_back_after_another_one_has_refused_a_job_has_its_say() {
    let mut hosts = Hosts::with(Plan {
        hosts: 2,
        lease: "20s",
        ..Plan::default()
    });
    hosts.hosts[1].end_agent(Signal::SIGKILL);
    // As if its lease had ended.
    let gone = Txn::new().delete(&hosts.fleet.keys().host("web2"));
    let deleted = hosts.fleet.etcd().commit(&gone);
    hosts.runtime.block_on(deleted).unwrap();
    let id = hosts.submit(agents::job(&["/no/such/program"], 1));
    let is_refused = |view: &JobView| match &view.place {
        Place::Waiting(waiting) => !waiting.past.is_empty(),
        Place::Claimed { .. } | Place::Nowhere => false,
    };
    hosts.until(&id, "the refusal of web1", is_refused);
    // Long enough for a keeper that is hasty.
    std::thread::sleep(Duration::from_secs(4));
    hosts.hosts[1].run_agent();
    let view = hosts.until(&id, "the end", JobView::is_over);
    let why = &view.outcome().unwrap().why;
    assert!(why.contains("web1: ") && why.contains("web2: "), "{why}");
}

/// What waits, with as many empty entries of its past as two bytes each leave room for: some 400
/// bytes of memory for each.
fn crowded() -> Vec<u8> {
    let label = b"\x1a\x06\x0a\x01x\x12\x01y";
    let empty = b"\x42\x00".repeat((256 * 1024 - label.len()) / 2);
    [label.as_slice(), &empty].concat()
}

/// So many that wait for a host that is not there, each with a thousand entries of its past.
async fn put_many(fleet: &Fleet, numbers: std::ops::Range<u32>) {
    let waiting = v1::Waiting {
        host: "web9".to_owned(),
        past: vec![v1::Past::default(); 1000],
        ..v1::Waiting::default()
    };
    for number in numbers {
        let key = fleet.keys().waiting(&format!("many{number}"));
        put(fleet, &key, encoded(&waiting)).await;
    }
}

/// Waits until the agent has been told so many times of all that waits; the most memory that it had.
fn peak(hosts: &Hosts, times: usize) -> u64 {
    wait_within(Duration::from_secs(60), "all that waits to be read", || {
        hosts.hosts[0].log().matches("queue/zzz").count() == times
    });
    let pid = hosts.hosts[0].agent_pid().try_into().unwrap();
    procfs::memory(pid, "VmHWM")
}

#[test]
fn what_one_agent_can_write_takes_no_other_one_over_its_memory() {
    let mut hosts = Hosts::start(1, 1, &[]);
    let fleet = hosts.fleet.clone();
    let keys = fleet.keys().clone();
    hosts.runtime.block_on(async {
        for number in 0..10 {
            let key = keys.waiting(&format!("crowded{number}"));
            put(&fleet, &key, crowded()).await;
        }
        for number in 0..150 {
            let large = keys.waiting(&format!("large{number}"));
            put(&fleet, &large, vec![b'x'; 1 << 20]).await;
        }
        for number in 0..100 {
            let long = format!("{number}{}", "y".repeat(1 << 20));
            put(&fleet, &keys.waiting(&long), garbage()).await;
        }
        put_many(&fleet, 0..40).await;
        // The last of all, by its name.
        put(&fleet, &keys.waiting("zzz"), garbage()).await;
    });
    let first = hosts.submit(agents::job(&["true"], 1));
    hosts.until(&first, "the end", JobView::is_over);
    let mut peaks = vec![peak(&hosts, 1)];
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    hosts.hosts[0].run_agent();
    let second = hosts.submit(agents::job(&["true"], 1));
    hosts.until(&second, "the end", JobView::is_over);
    peaks.push(peak(&hosts, 2));
    // More than is known here at a time.
    hosts.runtime.block_on(put_many(&fleet, 40..400));
    hosts.hosts[0].end_agent(Signal::SIGKILL);
    hosts.hosts[0].run_agent();
    peaks.push(peak(&hosts, 3));
    println!("at most {peaks:?} bytes");
    assert!(peaks.iter().all(|peak| *peak < 200_000_000), "{peaks:?}");
}

#[test]
fn what_is_too_large_is_told_once_however_often_it_is_written() {
    let hosts = Hosts::start(1, 1, &[]);
    let fleet = &hosts.fleet;
    let large = fleet.keys().waiting("large");
    hosts.runtime.block_on(async {
        for _ in 0..5 {
            put(fleet, &large, vec![b'x'; 300 * 1024]).await;
        }
    });
    let id = hosts.submit(agents::job(&["true"], 1));
    hosts.until(&id, "the end", JobView::is_over);
    let log = hosts.hosts[0].log();
    assert_eq!(log.matches(&large).count(), 1, "{log}");
}

#[test]
fn what_was_written_while_an_agent_was_cut_off_is_not_kept_all_at_once() {
    let hosts = Hosts::with(Plan {
        has_links: true,
        ..Plan::default()
    });
    hosts.hosts[0].store(|link| link.interrupt());
    let fleet = &hosts.fleet;
    let keys = fleet.keys();
    hosts.runtime.block_on(async {
        for _ in 0..300 {
            put(fleet, &keys.waiting("large"), vec![b'x'; 1 << 20]).await;
        }
        put(fleet, &keys.waiting("zzz"), garbage()).await;
    });
    hosts.hosts[0].store(|link| link.resume());
    let peak = peak(&hosts, 1);
    println!("at most {peak} bytes");
    assert!(peak < 200_000_000, "{peak}");
    let id = hosts.submit(agents::job(&["true"], 1));
    hosts.until(&id, "the end", JobView::is_over);
}

#[test]
fn listings_take_no_more_room_than_their_client_has() {
    let cluster = Cluster::start(1);
    Runtime::new().unwrap().block_on(async {
        let etcd = cluster.client_for(PATIENCE).with_room_for(4 << 20);
        for key in ["/a/1", "/a/2", "/a/3", "/b/1", "/b/2"] {
            let txn = Txn::new().put(key, vec![b'x'; 1 << 20]);
            etcd.commit(&txn).await.unwrap();
        }
        let all = etcd.read_all("/").await;
        assert!(matches!(all, Err(EtcdError::TooLarge)), "{all:?}");
        let first = etcd.read_all("/a/").await.unwrap();
        let second = etcd.read_all("/b/").await;
        assert!(matches!(second, Err(EtcdError::TooLarge)), "beside it");
        drop(first);
        let second = etcd.read_all("/b/").await.unwrap();
        assert_eq!(second.items.len(), 2);
    });
}
