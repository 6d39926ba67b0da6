//! What somebody can do who has taken over one agent of a fleet: what its role lets it write, and
//! no more comes of it than docs/fleet.md says. A real etcd, and agents that were not taken over.

use std::time::Duration;

use prn_fleet::etcd::Txn;
use prn_fleet::v1::{self, outcome::State};
use prn_fleet::{Claimed, Fleet, FleetError, JobView, Keep, Recorded, Standing, encoded, record};
use prn_proto::v1::StartRequest;
use prn_tests::agents::{self, Hosts, Plan};
use prn_tests::etcd::Cluster;
use prn_tests::wait_within;
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);

/// No message: it ends within a field.
const GARBAGE: &[u8] = &[0x0a, 0xff];

const NOTHING_KEPT: Keep = Keep {
    count: 0,
    age: Duration::ZERO,
};

async fn put(fleet: &Fleet, key: &str, value: Vec<u8>) {
    let txn = Txn::new().put(key, value);
    fleet.etcd().commit(&txn).await.unwrap();
}

/// A job that this host has.
async fn claimed(fleet: &Fleet, number: u64, host: &str) -> Claimed {
    let attempt = StartRequest {
        command: "true".to_owned(),
        id: format!("{number:032x}"),
        ..StartRequest::default()
    };
    let job = v1::Job {
        attempts: vec![attempt],
        ..v1::Job::default()
    };
    let id = fleet.submit(job).await.unwrap().id;
    let (seen, _) = fleet.etcd().read(&fleet.keys().waiting(&id)).await.unwrap();
    let seen = record(&seen.unwrap()).unwrap();
    fleet.claim(host, "epoch", &seen).await.unwrap().unwrap()
}

/// The same, and it runs there.
async fn running(fleet: &Fleet, number: u64, host: &str) -> Claimed {
    let won = claimed(fleet, number, host).await;
    let recorded = fleet.record(&won, won.outcome(State::Running)).await;
    assert_eq!(recorded.unwrap(), Recorded::Done);
    won
}

/// A claim that says that no host will have the job.
fn withdrawn(of: &Claimed, past: &[&str]) -> Vec<u8> {
    let past = past.iter().map(|host| v1::Past {
        host: (*host).to_owned(),
        ..v1::Past::default()
    });
    encoded(&v1::Claim {
        closed: Some(of.outcome(State::Withdrawn)),
        waiting: Some(v1::Waiting {
            past: past.collect(),
            ..v1::Waiting::default()
        }),
        ..v1::Claim::default()
    })
}

fn in_a_fleet(test: impl AsyncFn(&Fleet)) {
    let cluster = Cluster::start(1);
    Runtime::new().unwrap().block_on(async {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "prod").unwrap();
        test(&fleet).await;
    });
}

#[test]
fn no_outcome_is_lost_to_a_claim_that_is_malformed() {
    in_a_fleet(async |fleet| {
        let keys = fleet.keys();
        for (number, is_given_back) in [(1, false), (2, true)] {
            let won = claimed(fleet, number, "web1").await;
            put(fleet, &keys.claim(&won.id), GARBAGE.to_vec()).await;
            let ended = won.outcome(State::Ended);
            let recorded = if is_given_back {
                fleet.give_back(&won, ended, 0, None).await
            } else {
                fleet.record(&won, ended).await
            };
            assert_eq!(recorded.unwrap(), Recorded::Fenced);
            let late = fleet
                .etcd()
                .read(&keys.late("web1", &won.id))
                .await
                .unwrap();
            let late = record::<v1::Outcome>(&late.0.unwrap()).unwrap().value;
            assert_eq!(late.state(), State::Ended);
            assert_eq!(fleet.malformed().len(), 1);
        }
    });
}

#[test]
fn what_a_host_has_is_neither_claimed_nor_closed_by_what_stands_in_the_queue() {
    in_a_fleet(async |fleet| {
        let keys = fleet.keys();
        let won = claimed(fleet, 1, "web1").await;
        let queue = keys.waiting(&won.id);
        put(fleet, &queue, encoded(&v1::Waiting::default())).await;
        let seen = fleet.etcd().read(&queue).await.unwrap().0.unwrap();
        let seen = record::<v1::Waiting>(&seen).unwrap();
        assert_eq!(fleet.claim("web2", "epoch", &seen).await.unwrap(), None);
        let is_closed = fleet.close(&won.id, State::Withdrawn, "").await.unwrap();
        assert!(!is_closed);
        let running = won.outcome(State::Running);
        assert_eq!(fleet.record(&won, running).await.unwrap(), Recorded::Done);
        fleet
            .announce("web1", &v1::Host::default(), 0)
            .await
            .unwrap();
        let view = fleet.job(&won.id).await.unwrap();
        assert_eq!(
            (view.standing(), view.host()),
            (Standing::Running, Some("web1"))
        );
        assert_eq!(fleet.jobs().await.unwrap(), [view]);
    });
}

#[test]
fn a_host_is_believed_in_what_it_has_and_not_the_claim_that_none_will() {
    in_a_fleet(async |fleet| {
        let keys = fleet.keys();
        let won = running(fleet, 1, "web1").await;
        put(fleet, &keys.claim(&won.id), withdrawn(&won, &[])).await;
        let standing = async || {
            let view = fleet.job(&won.id).await.unwrap();
            assert_eq!(fleet.jobs().await.unwrap(), std::slice::from_ref(&view));
            (view.standing(), view.host().map(str::to_owned))
        };
        assert_eq!(
            standing().await,
            (Standing::Withdrawn, None),
            "it is not there"
        );
        fleet
            .announce("web1", &v1::Host::default(), 0)
            .await
            .unwrap();
        let runs = (Standing::Running, Some("web1".to_owned()));
        assert_eq!(standing().await, runs);
        // Nor is what is known of it pruned, as of one that has ended long ago.
        let end = keys.finished(std::time::SystemTime::UNIX_EPOCH, &won.id);
        put(fleet, &end, Vec::new()).await;
        fleet.prune(NOTHING_KEPT, 10).await.unwrap();
        assert_eq!(standing().await, runs);
        // From this host it was taken before, honestly.
        put(fleet, &keys.claim(&won.id), withdrawn(&won, &["web1"])).await;
        assert_eq!(standing().await, (Standing::Withdrawn, None));
    });
}

#[test]
fn no_host_speaks_in_the_name_of_another_one() {
    in_a_fleet(async |fleet| {
        let keys = fleet.keys();
        let won = running(fleet, 1, "web1").await;
        let forged = encoded(&won.outcome(State::Ended));
        // Below the prefix that its role lets it write.
        let mut keys = [
            keys.outcome("web2/web1", &won.id),
            keys.late("web2/web1", &won.id),
        ];
        for key in &keys {
            put(fleet, key, forged.clone()).await;
        }
        fleet
            .announce("web1", &v1::Host::default(), 0)
            .await
            .unwrap();
        let view = fleet.jobs().await.unwrap().remove(0);
        assert_eq!((view.standing(), view.late.len()), (Standing::Running, 0));
        keys.sort();
        assert_eq!(fleet.malformed(), keys);
        let more = fleet.claims_of("web2").await.unwrap();
        assert_eq!(more, []);
    });
}

#[test]
fn a_job_that_runs_stays_its_hosts_whatever_is_written_of_it() {
    let hosts = Hosts::with(Plan {
        hosts: 2,
        has_links: true,
        ..Plan::default()
    });
    let (fleet, keys) = (&hosts.fleet, hosts.fleet.keys());
    let write = |key: &str, value: Vec<u8>| hosts.runtime.block_on(put(fleet, key, value));
    let runs = |view: &JobView| view.standing() == Standing::Running;
    let id = hosts.submit(agents::waiter(1));
    let before = hosts.until(&id, "a run", runs);
    let host = before.host().unwrap().to_owned();
    write(&keys.waiting(&id), encoded(&v1::Waiting::default()));
    let (its, others): (Vec<_>, Vec<_>) = hosts.hosts.iter().partition(|there| there.name == host);
    let (its, other) = (its[0], others[0]);
    let asked = || other.to_store.iter().map(|link| link.sent()).sum::<u64>();
    std::thread::sleep(Duration::from_secs(1));
    let before = asked();
    std::thread::sleep(Duration::from_secs(3));
    let more = asked() - before;
    assert!(more < 20_000, "{more} bytes: it asks again and again");
    assert_eq!(other.processes(), Vec::<String>::new());
    assert!(runs(&hosts.job(&id)));
    write(&keys.claim(&id), GARBAGE.to_vec());
    its.let_end(&id);
    let late = keys.late(&host, &id);
    let is_told = || {
        let (late, _) = hosts.runtime.block_on(fleet.etcd().read(&late)).unwrap();
        let late = late.map(|late| record::<v1::Outcome>(&late).unwrap().value);
        late.is_some_and(|late| late.state() == State::Ended)
    };
    wait_within(LONG, "the end", is_told);
    let view = hosts.runtime.block_on(fleet.job(&id));
    assert!(
        matches!(view, Err(FleetError::Malformed { .. })),
        "{view:?}"
    );
    assert_eq!(other.processes(), Vec::<String>::new());
}

#[test]
fn a_keeper_that_is_not_there_keeps_nobody_from_it() {
    let hosts = Hosts::start(1, 1, &[]);
    let (fleet, keys) = (&hosts.fleet, hosts.fleet.keys());
    let ghost = v1::Keeper {
        host: "ghost".to_owned(),
    };
    let lease = hosts
        .runtime
        .block_on(prn_fleet::etcd::Lease::grant(fleet.etcd(), LONG))
        .unwrap();
    // Without a lease, malformed, and under a lease of somebody's who is not there.
    let forged = [
        Txn::new().put(&keys.keeper(), encoded(&ghost)),
        Txn::new().put(&keys.keeper(), GARBAGE.to_vec()),
        Txn::new().put_leased(&keys.keeper(), encoded(&ghost), lease.id()),
    ];
    for txn in forged {
        hosts.runtime.block_on(fleet.etcd().commit(&txn)).unwrap();
        let mut late = agents::job(&["true"], 1);
        late.on = [("zone".to_owned(), "none".to_owned())].into();
        late.deadline = Some(std::time::SystemTime::now().into());
        let id = hosts.submit(late);
        let view = hosts.until(&id, "its end", JobView::is_over);
        assert_eq!(view.standing(), Standing::Expired);
        assert_eq!(view.outcome().unwrap().reason, "DEADLINE_PASSED");
    }
}
