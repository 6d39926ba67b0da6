//! The fleet's store against a real etcd of three members: transactions that are guarded, watches that
//! miss nothing, leases that are known to have ended.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use prn_fleet::etcd::{Etcd, EtcdError, Lease, Told, Txn, WatchRange, Watcher};
use prn_fleet::v1::{self, outcome::State};
use prn_fleet::{Claimed, Fleet, FleetError, Keep, Place, Record, Recorded, Standing, record};
use prn_proto::v1::StartRequest;
use prn_tests::etcd::{Cluster, client};
use prn_tests::proxy::Proxy;
use prn_tests::{deadline, wait_for};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(20);

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

fn id(number: u64) -> String {
    static RUN: OnceLock<u64> = OnceLock::new();
    let since = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let run = RUN.get_or_init(|| u64::try_from(since().unwrap().as_nanos()).unwrap());
    format!("{run:016x}{number:016x}")
}

/// A job of so many attempts, the first with this number.
fn job(number: u64, attempts: u64) -> v1::Job {
    let attempt = |more| StartRequest {
        command: "true".to_owned(),
        id: id(number * 100 + more),
        ..StartRequest::default()
    };
    v1::Job {
        attempts: (0..attempts).map(attempt).collect(),
        ..v1::Job::default()
    }
}

async fn waiting(fleet: &Fleet) -> Vec<Record<v1::Waiting>> {
    let listing = fleet.etcd().read_all(&fleet.keys().waiting("")).await;
    listing
        .unwrap()
        .items
        .iter()
        .map(|item| record(item).unwrap())
        .collect()
}

/// Claims the one job that waits.
async fn claim(fleet: &Fleet, host: &str) -> Claimed {
    let seen = waiting(fleet).await.remove(0);
    fleet.claim(host, "epoch", &seen).await.unwrap().unwrap()
}

fn prefix(key: &str) -> WatchRange {
    WatchRange::prefix(key.to_owned())
}

#[test]
fn a_job_goes_from_the_queue_to_one_host_and_each_step_is_guarded() {
    let cluster = Cluster::start(1);
    runtime().block_on(async {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "prod").unwrap();
        let submitted = fleet.submit(job(1, 2)).await.unwrap();
        assert!(!submitted.was_there);
        let again = fleet.submit(job(1, 2)).await.unwrap();
        assert!(again.was_there && again.id == submitted.id);
        let mut other = job(1, 2);
        other.may_run_twice = true;
        let refused = fleet.submit(other).await;
        assert!(
            matches!(refused, Err(FleetError::OtherJob(_))),
            "{refused:?}"
        );
        let view = fleet.job(&submitted.id).await.unwrap();
        assert_eq!(view.standing(), Standing::Waiting);

        // Of eight who claim it at once, one has it.
        let seen = waiting(&fleet).await.remove(0);
        let mut claims = Vec::new();
        for number in 0..8 {
            let (fleet, seen) = (fleet.clone(), seen.clone());
            claims.push(tokio::spawn(async move {
                let host = format!("host{number}");
                fleet.claim(&host, "epoch", &seen).await.unwrap()
            }));
        }
        let mut winners = Vec::new();
        for claim in claims {
            winners.extend(claim.await.unwrap());
        }
        assert_eq!(winners.len(), 1);
        let won = winners.remove(0);
        assert!(waiting(&fleet).await.is_empty());
        assert!(!fleet.close(&won.id, State::Withdrawn, "").await.unwrap());

        // A host that is announced is believed, and one that is not is unknown.
        let host = won.claim.host.clone();
        let lease = Lease::grant(fleet.etcd(), Duration::from_secs(60))
            .await
            .unwrap();
        let announced = v1::Host::default();
        fleet.announce(&host, &announced, lease.id()).await.unwrap();
        let running = won.outcome(State::Running);
        assert_eq!(
            fleet.record(&won, running.clone()).await.unwrap(),
            Recorded::Done
        );
        let view = fleet.job(&won.id).await.unwrap();
        assert_eq!(
            (view.standing(), view.host()),
            (Standing::Running, Some(&*host))
        );
        assert_eq!(
            fleet.requeue_lost(&host).await.unwrap(),
            (0, 0),
            "it is there"
        );
        lease.revoke().await.unwrap();
        let view = fleet.job(&won.id).await.unwrap();
        assert_eq!(view.standing(), Standing::Unknown);
        assert_eq!(fleet.jobs().await.unwrap(), [view]);
        assert_eq!(
            fleet.requeue_lost(&host).await.unwrap(),
            (1, 0),
            "it may run once"
        );
        assert_eq!(
            fleet.claims_of(&host).await.unwrap(),
            [(won.clone(), {
                let (read, _) = fleet
                    .etcd()
                    .read(&fleet.keys().outcome(&host, &won.id))
                    .await
                    .unwrap();
                record::<v1::Outcome>(&read.unwrap()).unwrap().value
            })]
        );

        // Its next attempt is another host's, and the first one says nothing over it.
        let failed = won.outcome(State::Ended);
        let back = fleet.give_back(&won, failed, 1, None).await.unwrap();
        assert_eq!(back, Recorded::Done);
        let next = claim(&fleet, "other").await;
        assert_eq!(
            (next.attempt(), next.request().unwrap().id.clone()),
            (1, id(101))
        );
        assert!(next.fence > won.fence);
        assert_eq!(fleet.record(&won, running).await.unwrap(), Recorded::Fenced);
        let ended = next.outcome(State::Ended);
        assert_eq!(fleet.record(&next, ended).await.unwrap(), Recorded::Done);
        let view = fleet.job(&won.id).await.unwrap();
        assert_eq!(
            (view.standing(), view.host()),
            (Standing::Ended, Some("other"))
        );
        assert_eq!(view.late.keys().collect::<Vec<_>>(), [&host]);
        assert_eq!(view.late[&host].state(), State::Running);
        assert!(view.is_over() && fleet.claims_of("other").await.unwrap().is_empty());

        // It is kept, until it is pruned.
        let keep = |count, age| Keep {
            count,
            age: Duration::from_secs(age),
        };
        assert_eq!(fleet.prune(keep(1, 1000), 10).await.unwrap(), 0);
        assert_eq!(fleet.prune(keep(0, 1000), 10).await.unwrap(), 1);
        let gone = fleet.job(&won.id).await;
        assert!(matches!(gone, Err(FleetError::NoJob(_))), "{gone:?}");
        assert_eq!(fleet.etcd().count(fleet.keys().all()).await.unwrap(), 0);
    });
}

#[test]
fn a_host_that_is_lost_gives_up_what_may_run_twice_and_comes_back_to_find_it_so() {
    let cluster = Cluster::start(1);
    runtime().block_on(async {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "prod").unwrap();
        let mut twice = job(1, 2);
        twice.may_run_twice = true;
        fleet.submit(twice).await.unwrap();
        let first = claim(&fleet, "web1").await;
        assert_eq!(fleet.requeue_lost("web1").await.unwrap(), (1, 1));
        let second = claim(&fleet, "web1").await;
        // The same host has it again: what it knew before is not what becomes of this one.
        let late = first.outcome(State::Ended);
        assert_eq!(fleet.record(&first, late).await.unwrap(), Recorded::Fenced);
        let view = fleet.job(&first.id).await.unwrap();
        assert_eq!(view.standing(), Standing::Unknown, "web1 is not announced");
        assert_eq!(view.outcome().unwrap().attempt, 1);
        assert_eq!(view.late["web1"].attempt, 0);
        assert_eq!(
            fleet.requeue_lost("web1").await.unwrap(),
            (1, 0),
            "no attempt is left"
        );

        // One that was lost while its agent was away is another one's when it is back.
        fleet
            .record(&second, second.outcome(State::Lost))
            .await
            .unwrap();
        let mut twice = job(2, 2);
        twice.may_run_twice = true;
        fleet.submit(twice).await.unwrap();
        let first = claim(&fleet, "web1").await;
        fleet.requeue_lost("web1").await.unwrap();
        claim(&fleet, "web2").await;
        let (found, _) = fleet.claims_of("web1").await.unwrap().remove(0);
        assert!(found.is_lost() && found.attempt() == 0 && found.claim.host == "web1");
        let ended = found.outcome(State::Ended);
        assert_eq!(fleet.record(&found, ended).await.unwrap(), Recorded::Fenced);
        assert!(fleet.claims_of("web1").await.unwrap().is_empty());
        let view = fleet.job(&first.id).await.unwrap();
        assert_eq!(
            (view.host(), view.late["web1"].state()),
            (Some("web2"), State::Ended)
        );
    });
}

#[test]
fn a_job_that_waits_is_withdrawn_and_one_to_be_signed_anew_waits_again() {
    let cluster = Cluster::start(1);
    runtime().block_on(async {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "prod").unwrap();
        let first = fleet.submit(job(1, 1)).await.unwrap();
        assert!(
            fleet
                .close(&first.id, State::Withdrawn, "by anna")
                .await
                .unwrap()
        );
        let view = fleet.job(&first.id).await.unwrap();
        assert_eq!((view.standing(), view.host()), (Standing::Withdrawn, None));
        assert_eq!(view.outcome().unwrap().why, "by anna");
        assert!(!fleet.close(&first.id, State::Withdrawn, "").await.unwrap());

        let second = fleet.submit(job(2, 1)).await.unwrap();
        let early = fleet.sign_anew(&second.id, job(2, 1)).await;
        assert!(matches!(early, Err(FleetError::Changed(_))), "{early:?}");
        let claimed = claim(&fleet, "web1").await;
        let needs = claimed.outcome(State::NeedsSigning);
        fleet.record(&claimed, needs).await.unwrap();
        let other = fleet.sign_anew(&second.id, job(2, 2)).await;
        assert!(matches!(other, Err(FleetError::OtherJob(_))), "{other:?}");
        let mut signed = job(2, 1);
        signed.attempts[0].signature = Some(prn_proto::v1::StartSignature::default());
        fleet.sign_anew(&second.id, signed).await.unwrap();
        let claimed = claim(&fleet, "web1").await;
        assert!(claimed.request().unwrap().signature.is_some());
        // Its first end is forgotten, and not the job.
        let none = Keep {
            count: 0,
            age: Duration::ZERO,
        };
        assert_eq!(fleet.prune(none, 10).await.unwrap(), 2);
        let view = fleet.job(&second.id).await.unwrap();
        assert!(matches!(view.place, Place::Claimed { .. }));
    });
}

/// Writes keys until told to stop; how many were acknowledged, and the longest time for one.
async fn write(etcd: Etcd, until: tokio::sync::watch::Receiver<bool>) -> (u64, Duration) {
    let (mut number, mut longest) = (0, Duration::ZERO);
    while !*until.borrow() {
        let begun = Instant::now();
        let key = format!("/test/{number:08}");
        // Guarded, as all of prn's: done once, however often it is sent.
        let txn = Txn::new()
            .if_absent(&key)
            .put(&key, Vec::new())
            .or_read(&key);
        let committed = etcd.commit(&txn).await;
        let committed = committed.unwrap();
        assert!(committed.succeeded || committed.read[0].is_some());
        longest = longest.max(begun.elapsed());
        number += 1;
    }
    (number, longest)
}

#[test]
fn a_watch_misses_nothing_while_the_leader_is_killed_and_writing_goes_on() {
    let mut cluster = Cluster::start(3);
    let runtime = runtime();
    let etcd = cluster.client_for(PATIENCE);
    let (stop, until) = tokio::sync::watch::channel(false);
    let writer = runtime.spawn(write(etcd.clone(), until));
    let watching = cluster.client_for(PATIENCE);
    let mut watcher = Watcher::new(&watching, [prefix("/test/")]);
    // Its renewals find a member that hangs.
    runtime.spawn(async move {
        let lease = Lease::grant(&watching, Duration::from_secs(6)).await;
        let mut lease = lease.unwrap();
        while lease.keep().await.is_ok() {}
    });
    let (counts, seen) = std::sync::mpsc::channel();
    let reader = runtime.spawn(async move {
        let mut all = Vec::new();
        loop {
            match watcher.next().await.unwrap() {
                Told::Snapshot { items, .. } => all.extend(items.into_iter().map(|item| item.key)),
                Told::Put { item, .. } if item.key == "/test/end" => return all,
                Told::Put { item, .. } => all.push(item.key),
                Told::Deleted { key, .. } => panic!("{key}"),
            }
            let _ = counts.send(all.len());
        }
    });
    let at_least = |least: usize| while seen.recv_timeout(PATIENCE).unwrap() < least {};
    at_least(50);
    let leader = cluster.leader();
    cluster.kill(leader);
    let then = seen.try_iter().last().unwrap_or(50);
    at_least(then + 50);
    cluster.run(leader);
    // A member that hangs is no member, either.
    let held = cluster.leader();
    cluster.hold(held, true);
    let then = seen.try_iter().last().unwrap_or(then);
    at_least(then + 50);
    cluster.hold(held, false);
    stop.send_replace(true);
    let (written, longest) = runtime.block_on(writer).unwrap();
    let end = Txn::new().put("/test/end", Vec::new());
    runtime.block_on(etcd.commit(&end)).unwrap();
    let all = runtime.block_on(reader).unwrap();
    let expected: Vec<_> = (0..written)
        .map(|number| format!("/test/{number:08}"))
        .collect();
    assert_eq!(all, expected, "each once, in order");
    println!("{written} writes, all of them seen once; the longest took {longest:?}");
    assert!(longest < Duration::from_secs(15), "{longest:?}");
}

#[test]
fn a_watch_that_is_behind_a_compaction_is_told_what_is_there() {
    let cluster = Cluster::start(1);
    let runtime = runtime();
    let etcd = cluster.client_for(PATIENCE);
    let proxy = Proxy::start(&cluster.endpoints()[0], || None);
    let behind = [proxy.address.clone()];
    let mut watcher = Watcher::new(
        &cluster.client_of(&behind, &cluster.client, PATIENCE),
        [
            prefix("/test/"),
            WatchRange {
                deletions_only: true,
                ..prefix("/gone/")
            },
        ],
    );
    let put = |key: &str| {
        let txn = Txn::new().put(key, Vec::new());
        runtime.block_on(etcd.commit(&txn)).unwrap();
    };
    let delete = |key: &str| {
        let txn = Txn::new().delete(key);
        runtime.block_on(etcd.commit(&txn)).unwrap();
    };
    put("/test/a");
    put("/gone/a");
    let mut next = || {
        let next = async { tokio::time::timeout(PATIENCE, watcher.next()).await };
        runtime.block_on(next).unwrap().unwrap()
    };
    assert!(matches!(next(), Told::Snapshot { range: 0, items, .. } if items.len() == 1));
    assert!(matches!(next(), Told::Snapshot { range: 1, items, .. } if items.is_empty()));
    put("/gone/b");
    put("/test/b");
    assert!(matches!(next(), Told::Put { range: 0, item } if item.key == "/test/b"));
    delete("/gone/a");
    assert!(matches!(next(), Told::Deleted { range: 1, key, .. } if key == "/gone/a"));

    // While the watch is cut off, more happens than etcd keeps.
    proxy.interrupt();
    delete("/test/a");
    put("/test/c");
    cluster.compact();
    proxy.resume();
    let mut snapshots = BTreeSet::new();
    while !snapshots.contains(&0) {
        match next() {
            other @ (Told::Put { .. } | Told::Deleted { .. }) => panic!("{other:?}"),
            Told::Snapshot { range, items, .. } => {
                snapshots.insert(range);
                let keys: Vec<_> = items.iter().map(|item| item.key.as_str()).collect();
                assert!(range == 1 || keys == ["/test/b", "/test/c"], "{keys:?}");
            }
        }
    }
    put("/test/d");
    while !matches!(next(), Told::Put { range: 0, item } if item.key == "/test/d") {}
}

#[test]
fn a_lease_lasts_while_it_is_kept_and_is_known_to_have_ended_before_etcd_says_so() {
    let mut cluster = Cluster::start(3);
    let runtime = runtime();
    let etcd = cluster.client_for(PATIENCE);
    runtime.block_on(async {
        // Longer than members that share a machine with much else take to have another leader.
        let lasts = Duration::from_secs(8);
        let mut lease = Lease::grant(&etcd, lasts).await.unwrap();
        let put = Txn::new().put_leased("/test/host", Vec::new(), lease.id());
        etcd.commit(&put).await.unwrap();
        let begun = Instant::now();
        // Through the end of a leader, too: the one that follows gives each lease its whole time.
        cluster.kill(cluster.leader());
        while begun.elapsed() < 2 * lasts {
            lease.keep().await.unwrap();
        }
        assert!(etcd.read("/test/host").await.unwrap().0.is_some());

        let mut watcher = Watcher::new(&etcd, [prefix("/test/")]);
        watcher.next().await.unwrap();
        let until = lease.until();
        let last = match watcher.next().await.unwrap() {
            Told::Deleted { key, .. } => (key, tokio::time::Instant::now()),
            other => panic!("{other:?}"),
        };
        assert_eq!(last.0, "/test/host");
        assert!(last.1 > until, "etcd says so later");
        println!("told {:?} after its holder knew", last.1 - until);
        let ended = lease.keep().await;
        assert!(matches!(ended, Err(EtcdError::LeaseEnded)), "{ended:?}");
    });
}

#[test]
fn whoever_is_not_let_in_is_told_so_at_once_and_by_what() {
    let cluster = Cluster::start(1);
    let runtime = runtime();
    // Of an authority that etcd does not know.
    let strangers = prn_tests::authority::Authorities::ed25519();
    strangers.authority("ca", None, "CA:TRUE");
    let stranger = client(&strangers, "agent");
    let etcd = cluster.client_of(&cluster.endpoints(), &stranger, PATIENCE);
    let begun = Instant::now();
    let error = runtime.block_on(etcd.read("/test/a")).unwrap_err();
    assert!(matches!(error, EtcdError::Unusable(_)), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));

    // A user whose role has other keys.
    let own = client(&cluster.authorities, "web1");
    for words in [
        &["role", "add", "web1"][..],
        &[
            "role",
            "grant-permission",
            "web1",
            "--prefix=true",
            "readwrite",
            "/prn/prod/outcomes/web1/",
        ],
        &["user", "add", "root:x"],
        &["user", "add", "web1:x"],
        &["user", "grant-role", "root", "root"],
        &["user", "grant-role", "web1", "web1"],
        &["auth", "enable"],
    ] {
        let output = cluster.ctl(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
    }
    let etcd = cluster.client_of(&cluster.endpoints(), &own, PATIENCE);
    let put = |key: &str| runtime.block_on(etcd.commit(&Txn::new().put(key, Vec::new())));
    put("/prn/prod/outcomes/web1/x").unwrap();
    let error = put("/prn/prod/outcomes/web2/x").unwrap_err();
    assert!(matches!(error, EtcdError::Denied(_)), "{error:?}");
    let mut watcher = Watcher::new(&etcd, [prefix("/prn/prod/outcomes/web2/")]);
    let error = runtime.block_on(watcher.next()).unwrap_err();
    assert!(matches!(error, EtcdError::Denied(_)), "{error:?}");
}

#[test]
fn etcd_that_is_not_there_is_given_up_in_time_and_named() {
    let mut cluster = Cluster::start(1);
    let runtime = runtime();
    let patience = Duration::from_secs(2);
    let etcd = cluster.client_for(patience);
    runtime.block_on(etcd.read("/test/a")).unwrap();
    cluster.hold(0, true);
    let asked = async { tokio::time::timeout(deadline(), etcd.read("/test/a")).await };
    let error = runtime.block_on(asked).unwrap().unwrap_err();
    cluster.hold(0, false);
    assert!(matches!(error, EtcdError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&cluster.endpoints()[0]),
        "{error}"
    );
    wait_for("etcd's answer", || {
        runtime.block_on(etcd.read("/test/a")).is_ok()
    });
    cluster.kill(0);
    let error = runtime.block_on(etcd.read("/test/a")).unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

#[test]
fn what_comes_late_changes_nothing() {
    let cluster = Cluster::start(1);
    runtime().block_on(async {
        let fleet = Fleet::new(cluster.client_for(PATIENCE), "prod").unwrap();
        // That it runs, after its end.
        let first = fleet.submit(job(1, 1)).await.unwrap();
        let claimed = claim(&fleet, "web1").await;
        for state in [State::Running, State::Ended, State::Running] {
            let told = fleet.record(&claimed, claimed.outcome(state)).await;
            assert_eq!(told.unwrap(), Recorded::Done);
        }
        assert!(fleet.job(&first.id).await.unwrap().is_over());

        // A claim whose host has asked what has become of it.
        fleet.submit(job(2, 1)).await.unwrap();
        let seen = waiting(&fleet).await.remove(0);
        fleet.settle(&seen).await.unwrap();
        assert!(fleet.claim("web1", "epoch", &seen).await.unwrap().is_none());
        let claimed = claim(&fleet, "web2").await;
        fleet.settle(&seen).await.unwrap();
        assert_eq!(fleet.claims_of("web2").await.unwrap()[0].0, claimed);

        // What was given back leaves no outcome, and the second time it is asked for is the first.
        let back = claimed.outcome(State::Starting);
        let done = fleet.give_back(&claimed, back, 0, None).await.unwrap();
        assert_eq!(done, Recorded::Done);
        let key = fleet.keys().outcome("web2", &claimed.id);
        assert!(fleet.etcd().read(&key).await.unwrap().0.is_none());
        assert_eq!(claim(&fleet, "web1").await.times_given_back(), 1);

        // An announcement of an agent that has left.
        let lease = Lease::grant(fleet.etcd(), Duration::from_secs(60)).await;
        let lease = lease.unwrap();
        let here = v1::Host::default();
        fleet.announce("web1", &here, lease.id()).await.unwrap();
        let away = v1::Host {
            state: v1::host::State::Away.into(),
            ..v1::Host::default()
        };
        fleet.leave("web1", &away, Some(lease.id())).await.unwrap();
        let late = fleet.announce("web1", &here, lease.id()).await;
        assert!(late.is_err(), "its lease is gone");
        let known = fleet.hosts().await.unwrap();
        assert_eq!(known[0].host.as_ref(), Some(&away));
    });
}
