//! A fleet that is set up: who may do what in a real etcd of three members.

use std::time::Duration;

use prn_fleet::etcd::{Etcd, EtcdError, Lease, Told, Txn, WatchRange, Watcher};
use prn_fleet::v1::{self, outcome::State};
use prn_fleet::{Claimed, Fleet, FleetError, Keep, Keys, Recorded, record};
use prn_proto::v1::StartRequest;
use prn_tests::etcd::{Cluster, client};
use tokio::runtime::Runtime;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);

fn runtime() -> Runtime {
    Runtime::new().unwrap()
}

/// The fleet, as the user of this name sees it.
fn as_user(cluster: &Cluster, user: &str) -> Fleet {
    let identity = client(&cluster.authorities, user);
    let etcd = cluster.client_of(&cluster.endpoints(), &identity, PATIENCE);
    Fleet::new(etcd, "prod").unwrap()
}

fn job(id: &str) -> v1::Job {
    v1::Job {
        attempts: vec![StartRequest {
            command: "true".to_owned(),
            id: id.to_owned(),
            ..StartRequest::default()
        }],
        ..v1::Job::default()
    }
}

fn is_denied<T>(answer: &Result<T, EtcdError>) -> bool {
    matches!(answer, Err(EtcdError::Denied(_)))
}

async fn may_read(etcd: &Etcd, key: &str) -> bool {
    let read = etcd.read(key).await;
    assert!(read.is_ok() || is_denied(&read), "{key}: {:?}", read.err());
    read.is_ok()
}

/// Each key is one that is not there, so that nothing is changed by this.
async fn may_write(etcd: &Etcd, key: &str) -> bool {
    let written = etcd.commit(&Txn::new().put(key, Vec::new())).await;
    let deleted = etcd.commit(&Txn::new().delete(key)).await;
    for answer in [&written, &deleted] {
        assert!(answer.is_ok() || is_denied(answer), "{key}: {answer:?}");
    }
    assert_eq!(written.is_ok(), deleted.is_ok(), "{key}");
    written.is_ok()
}

/// A key of each kind, with whether it may be read and written by this user.
async fn rights(etcd: &Etcd, keys: &Keys) -> Vec<(String, bool, bool)> {
    let at = std::time::SystemTime::UNIX_EPOCH;
    let all = [
        keys.host("web1"),
        keys.host("web2"),
        keys.drain("web1"),
        keys.keeper(),
        keys.settings() + "-of-nobody",
        keys.job("none"),
        keys.waiting("none"),
        keys.claim("none"),
        keys.outcome("web1", "none"),
        keys.outcome("web2", "none"),
        keys.late("web1", "none"),
        keys.late("web2", "none"),
        keys.finished(at, "none"),
        "/prn/prod2/jobs/none".to_owned(),
        "/other".to_owned(),
    ];
    let mut found = Vec::new();
    for key in all {
        let (read, written) = (may_read(etcd, &key).await, may_write(etcd, &key).await);
        let short = key.strip_prefix("/prn/").unwrap_or(&key).to_owned();
        found.push((short, read, written));
    }
    found
}

fn told(rights: &[(String, bool, bool)]) -> String {
    let word = |may: bool, word| if may { word } else { "-" };
    let lines = rights.iter();
    let lines = lines
        .map(|(key, read, write)| format!("{}{} {key}\n", word(*read, "r"), word(*write, "w")));
    lines.collect()
}

const OF_AN_AGENT: &str = "\
rw prod/hosts/web1
r- prod/hosts/web2
r- prod/drain/web1
rw prod/keeper
-- prod/settings-of-nobody
r- prod/jobs/none
rw prod/queue/none
rw prod/claims/none
rw prod/outcomes/web1/none
r- prod/outcomes/web2/none
rw prod/late/web1/none
-- prod/late/web2/none
rw prod/finished/0000000000000000-none
-- prod2/jobs/none
-- /other
";

const OF_A_CLIENT: &str = "\
r- prod/hosts/web1
r- prod/hosts/web2
rw prod/drain/web1
r- prod/keeper
r- prod/settings-of-nobody
rw prod/jobs/none
rw prod/queue/none
rw prod/claims/none
rw prod/outcomes/web1/none
rw prod/outcomes/web2/none
rw prod/late/web1/none
rw prod/late/web2/none
rw prod/finished/0000000000000000-none
-- prod2/jobs/none
-- /other
";

#[test]
fn each_user_may_do_what_its_role_says_and_no_more() {
    let cluster = Cluster::start(3);
    let (root, agent) = (as_user(&cluster, "root"), "prn:prod:agent:web1");
    runtime().block_on(async {
        let keep = Keep {
            count: 7,
            age: Duration::from_secs(60),
        };
        // Twice: what is there already is fine.
        for given in [Some(keep), None] {
            root.set_up(given).await.unwrap();
            root.admit_agent("web1").await.unwrap();
            root.admit_client("anna").await.unwrap();
            assert_eq!(root.keep().await.unwrap(), keep);
        }
        let (web1, anna) = (as_user(&cluster, agent), "prn:prod:client:anna");
        let anna = as_user(&cluster, anna);
        let found = rights(web1.etcd(), web1.keys()).await;
        assert_eq!(told(&found), OF_AN_AGENT);
        let found = rights(anna.etcd(), anna.keys()).await;
        assert_eq!(told(&found), OF_A_CLIENT);
        for fleet in [&web1, &anna] {
            assert_eq!(fleet.keep().await.unwrap(), keep);
            let etcd = fleet.etcd();
            assert!(is_denied(&etcd.set_user("root", "root").await));
            assert!(is_denied(&etcd.set_role(agent, &[]).await));
            // How long jobs are kept is root's to say.
            let none = Txn::new().put(&fleet.keys().settings(), Vec::new());
            assert!(is_denied(&etcd.commit(&none).await));
        }

        // What a job needs of both.
        let id = "0123456789abcdef0123456789abcdef";
        anna.submit(job(id)).await.unwrap();
        let (waiting, _) = web1.etcd().read(&web1.keys().waiting(id)).await.unwrap();
        let seen = record::<v1::Waiting>(&waiting.unwrap()).unwrap();
        let lease = Lease::grant(web1.etcd(), PATIENCE).await.unwrap();
        let host = v1::Host::default();
        web1.announce("web1", &host, lease.id()).await.unwrap();
        let claimed = web1.claim("web1", "epoch", &seen).await.unwrap().unwrap();
        assert_ended(&web1, &claimed).await;
        let view = anna.job(id).await.unwrap();
        assert!(view.is_over());
        anna.drain("web1", "anna", "a test").await.unwrap();
        assert!(web1.hosts().await.unwrap()[0].drain.is_some());
        // As another host it says nothing.
        let mut other = claimed.clone();
        other.claim.host = "web2".to_owned();
        let said = web1.record(&other, other.outcome(State::Ended)).await;
        assert!(matches!(said, Err(FleetError::Etcd(EtcdError::Denied(_)))));
        lease.revoke().await.unwrap();
    });
}

async fn assert_ended(fleet: &Fleet, claimed: &Claimed) {
    let ended = claimed.outcome(State::Ended);
    let recorded = fleet.record(claimed, ended).await.unwrap();
    assert_eq!(recorded, Recorded::Done);
}

#[test]
fn nobody_has_a_right_without_a_certificate_whose_user_is_let_in() {
    let cluster = Cluster::start(1);
    let root = as_user(&cluster, "root");
    runtime().block_on(async {
        // Before that, etcd would do anything for whoever has a certificate.
        let early = root.require_set_up().await;
        assert!(matches!(early, Err(FleetError::Invalid(_))), "{early:?}");
        root.set_up(None).await.unwrap();
        root.require_set_up().await.unwrap();
        assert_eq!(root.keep().await.unwrap(), Keep::default());
        root.admit_agent("web1").await.unwrap();
        let web1 = as_user(&cluster, "prn:prod:agent:web1");
        let announced = Txn::new().put(&web1.keys().host("web1"), Vec::new());
        web1.etcd().commit(&announced).await.unwrap();
        assert!(may_read(web1.etcd(), &web1.keys().keeper()).await);
        let stranger = as_user(&cluster, "prn:prod:agent:web2");
        assert!(!may_read(stranger.etcd(), &stranger.keys().keeper()).await);
        // A host that is dismissed is one, too, until it is let in again.
        root.dismiss_agent("web1").await.unwrap();
        root.dismiss_agent("web1").await.unwrap();
        let (host, _) = root.etcd().read(&root.keys().host("web1")).await.unwrap();
        assert!(host.is_none());
        assert!(!may_read(web1.etcd(), &web1.keys().keeper()).await);
        root.admit_agent("web1").await.unwrap();
        assert!(may_read(web1.etcd(), &web1.keys().keeper()).await);
        for bad in ["", "Web1", "web1/jobs", &"a".repeat(53)] {
            assert!(root.admit_agent(bad).await.is_err(), "{bad}");
        }
        // A role that could do more than it should does not any more.
        let more = [prn_fleet::etcd::Grant::write_all("/")];
        let etcd = root.etcd();
        etcd.set_role("prn:prod:agent:web1", &more).await.unwrap();
        assert!(may_write(web1.etcd(), "/other").await);
        root.admit_agent("web1").await.unwrap();
        assert!(!may_write(web1.etcd(), "/other").await);
    });
    // Nobody without a certificate: the handshake fails.
    let endpoint = cluster.endpoints().remove(0);
    let output = std::process::Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--dial-timeout", "2s", "--command-timeout", "3s"])
        .args(["--endpoints", &endpoint, "--cacert"])
        .arg(cluster.ca())
        .args(["get", "/prn/prod/settings"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
}

#[test]
fn a_host_that_is_dismissed_is_the_keeper_no_longer() {
    let cluster = Cluster::start(1);
    let root = as_user(&cluster, "root");
    let key = root.keys().keeper();
    runtime().block_on(async {
        root.set_up(None).await.unwrap();
        let host = v1::Keeper {
            host: "web2".to_owned(),
        };
        let another = prn_fleet::encoded(&host);
        let host = v1::Keeper {
            host: "web1".to_owned(),
        };
        let own = prn_fleet::encoded(&host);
        // One that is malformed is nobody's.
        for (value, is_left) in [(own, false), (another, true), (vec![0xff], true)] {
            root.admit_agent("web1").await.unwrap();
            let kept = Txn::new().put(&key, value.clone());
            root.etcd().commit(&kept).await.unwrap();
            root.dismiss_agent("web1").await.unwrap();
            let (found, _) = root.etcd().read(&key).await.unwrap();
            assert_eq!(
                found.map(|item| item.value.to_vec()),
                is_left.then_some(value)
            );
        }
    });
}

/// As docs/fleet.md and `prn fleet dismiss` say: etcd asks for rights when a watch is made.
#[test]
fn a_watch_that_is_open_outlives_a_dismissal_until_its_connection_ends() {
    let mut cluster = Cluster::start(1);
    let root = as_user(&cluster, "root");
    let web1 = as_user(&cluster, "prn:prod:agent:web1");
    let runtime = runtime();
    let range = WatchRange::prefix(root.keys().job(""));
    let write = |id: &'static str| {
        let written = Txn::new().put(&root.keys().job(id), Vec::new());
        let root = &root;
        async move { root.etcd().commit(&written).await.unwrap() }
    };
    let mut watcher = Watcher::new(web1.etcd(), [range]);
    runtime.block_on(async {
        root.set_up(None).await.unwrap();
        root.admit_agent("web1").await.unwrap();
        let told = watcher.next().await.unwrap();
        assert!(matches!(told, Told::Snapshot { .. }), "{told:?}");
        for id in ["before", "after"] {
            write(id).await;
            let told = timeout(PATIENCE, watcher.next()).await.unwrap();
            assert!(matches!(told, Ok(Told::Put { .. })), "{id}: {told:?}");
            root.dismiss_agent("web1").await.unwrap();
        }
    });
    cluster.kill(0);
    cluster.run(0);
    runtime.block_on(async {
        let told = timeout(PATIENCE, watcher.next()).await.unwrap();
        let is_refused = matches!(told, Err(EtcdError::Denied(_) | EtcdError::Protocol(_)));
        assert!(is_refused, "{told:?}");
    });
}

async fn claimed(fleet: &Fleet, host: &str, id: &str) -> Claimed {
    let key = fleet.keys().waiting(id);
    let (waiting, _) = fleet.etcd().read(&key).await.unwrap();
    let seen = record::<v1::Waiting>(&waiting.unwrap()).unwrap();
    fleet.claim(host, "epoch", &seen).await.unwrap().unwrap()
}

#[test]
fn what_agents_and_clients_do_for_others_is_within_their_rights() {
    let cluster = Cluster::start(1);
    let root = as_user(&cluster, "root");
    let fleet = |user: &str| as_user(&cluster, &format!("prn:prod:{user}"));
    let (web1, web2, anna) = (
        fleet("agent:web1"),
        fleet("agent:web2"),
        fleet("client:anna"),
    );
    runtime().block_on(async {
        root.set_up(None).await.unwrap();
        root.admit_agent("web1").await.unwrap();
        root.admit_agent("web2").await.unwrap();
        root.admit_client("anna").await.unwrap();
        let ids = ["a", "b", "c"].map(|digit| digit.repeat(32));
        let mut twice = job(&ids[0]);
        twice.attempts.extend(job(&"d".repeat(32)).attempts);
        twice.may_run_twice = true;
        for job in [twice, job(&ids[1]), job(&ids[2])] {
            anna.submit(job).await.unwrap();
        }
        // A host is lost: another one's agent puts its job into the queue, and takes it up.
        let lost = claimed(&web1, "web1", &ids[0]).await;
        assert_eq!(web2.requeue_lost("web1").await.unwrap(), (1, 1));
        let taken = claimed(&web2, "web2", &ids[0]).await;
        // The first one is back: it says what it knows beside that.
        let late = web1.record(&lost, lost.outcome(State::Ended)).await;
        assert_eq!(late.unwrap(), Recorded::Fenced);
        assert_ended(&web2, &taken).await;
        let view = anna.job(&ids[0]).await.unwrap();
        assert_eq!((view.host(), view.late.len()), (Some("web2"), 1));
        // Withdrawn by a client, called expired by an agent.
        let close = |fleet: &Fleet, id: &str, state| {
            let (fleet, id) = (fleet.clone(), id.to_owned());
            async move { fleet.close(&id, state, "").await.unwrap() }
        };
        assert!(close(&anna, &ids[1], State::Withdrawn).await);
        assert!(close(&web1, &ids[2], State::Expired).await);
        let none = Keep {
            count: 0,
            age: Duration::ZERO,
        };
        assert_eq!(anna.prune(none, 10).await.unwrap(), 3);
        assert!(anna.jobs().await.unwrap().is_empty());
    });
}

/// Each change of a user or a role makes etcd refuse what was checked before it and is done after it.
#[test]
fn agents_go_on_while_hosts_are_let_in() {
    let cluster = Cluster::start(1);
    let root = as_user(&cluster, "root");
    let runtime = runtime();
    runtime.block_on(async {
        root.set_up(None).await.unwrap();
        root.admit_agent("web1").await.unwrap();
    });
    let writers = (0..16).map(|number| {
        let web1 = as_user(&cluster, "prn:prod:agent:web1");
        runtime.spawn(async move {
            let key = web1.keys().claim(&format!("{number}"));
            for value in 0..250_u8 {
                let txn = Txn::new().put(&key, vec![value]);
                web1.etcd().commit(&txn).await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    runtime.block_on(async {
        for number in 0..40 {
            root.admit_agent(&format!("host{number}")).await.unwrap();
        }
        for writer in writers {
            writer.await.unwrap();
        }
    });
}
