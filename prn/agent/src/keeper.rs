//! One agent of the fleet looks after what others have lost: whichever has written that it does, under
//! its lease. That it is one alone spares etcd the same questions of many; what it does is guarded as
//! all is, so two at a time do no harm.

use std::collections::BTreeSet;
use std::rc::Rc;

use prn_fleet::etcd::{KeyValue, Told, Txn, WatchRange, Watcher, jitter};
use prn_fleet::{FleetError, last, v1};
use prn_service::log;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::shared::Shared;
use crate::tidying::tidy;

/// A keeper whose host was not there so often in a row is none.
const TIMES_GONE: u32 = 2;
/// It is looked for so many leases apart: an idle agent sleeps.
const LEASES_BETWEEN: u32 = 6;

/// An agent that looks after others, or would if nobody did.
pub struct Candidate {
    shared: Rc<Shared>,
    /// What it is at: trying, or looking after them. Ended when dropped.
    tasks: JoinSet<()>,
    is_keeper: bool,
}

impl Candidate {
    /// Nothing is known of others yet.
    pub fn new(shared: &Rc<Shared>) -> Self {
        Self {
            shared: Rc::clone(shared),
            tasks: JoinSet::new(),
            is_keeper: false,
        }
    }

    /// There is such an agent, or none.
    pub fn there_is(&mut self, keeper: Option<&KeyValue>) {
        let known = keeper.and_then(|item| self.shared.fleet.known::<v1::Keeper>(item));
        self.shared.tell_malformed();
        let is_this = (known.as_ref()).is_some_and(|it| it.value.host == self.shared.host.name);
        if is_this && self.is_keeper {
            return;
        }
        self.is_keeper = is_this;
        self.tasks = JoinSet::new();
        let shared = Rc::clone(&self.shared);
        if is_this {
            self.tasks.spawn_local(look_after(Rc::clone(&shared)));
            self.tasks.spawn_local(tidy(shared));
        } else {
            let seen = keeper.map(|item| Seen {
                revision: item.mod_revision,
                host: known.filter(|_| item.lease != 0).map(|it| it.value.host),
            });
            self.tasks.spawn_local(stand(shared, seen));
        }
    }
}

/// Who is said to be the one.
struct Seen {
    revision: i64,
    /// Its host. `None`: nobody's, or it would be the one for ever, without a lease.
    host: Option<String>,
}

/// Offers to be the one: where there is none, or where that one's host is not announced.
async fn stand(shared: Rc<Shared>, seen: Option<Seen>) {
    if let Some(host) = seen.as_ref().and_then(|seen| seen.host.as_ref()) {
        until_gone(&shared, host).await;
    }
    loop {
        sleep(jitter(shared.lease_lasts / 4)).await;
        let mut leases = shared.lease.subscribe();
        let lease = leases.wait_for(Option::is_some).await;
        let Some(lease) = lease.ok().and_then(|lease| *lease) else {
            return;
        };
        let key = shared.fleet.keys().keeper();
        let keeper = v1::Keeper {
            host: shared.host.name.clone(),
        };
        let value = prn_fleet::encoded(&keeper);
        let txn = match &seen {
            None => Txn::new().if_absent(&key),
            Some(seen) => Txn::new().if_at(&key, seen.revision),
        };
        let txn = txn.put_leased(&key, value, lease);
        match shared.fleet.etcd().commit(&txn).await {
            // The watch tells who it is.
            Ok(_) => return,
            Err(error) => shared.log_lasting_error(&error),
        }
    }
}

/// Returns when a host is not announced: its own lease may have ended a moment before the keeper's.
async fn until_gone(shared: &Shared, host: &str) {
    let mut times = 0;
    while times < TIMES_GONE {
        sleep(LEASES_BETWEEN * shared.lease_lasts + jitter(shared.lease_lasts)).await;
        let key = shared.fleet.keys().host(host);
        match shared.fleet.etcd().read(&key).await {
            Ok((None, _)) => times += 1,
            Ok((Some(_), _)) => times = 0,
            Err(error) => shared.log_lasting_error(&error),
        }
    }
    log::line(format_args!(
        "{host:?} is not announced, and is said to look after what others have lost: this host does"
    ));
}

/// Looks after what lost hosts had: of those that are gone already, and of each that goes.
async fn look_after(shared: Rc<Shared>) {
    let range = WatchRange {
        deletions_only: true,
        ..WatchRange::prefix(shared.fleet.keys().host(""))
    };
    let mut watcher = Watcher::new(shared.fleet.etcd(), [range]);
    let (mut lost, mut under_way) = (JoinSet::new(), BTreeSet::new());
    loop {
        let told = watcher.next().await;
        while let Some(done) = lost.try_join_next() {
            // One that has failed is not tried again before this agent is another one.
            if let Ok(host) = done {
                under_way.remove::<String>(&host);
            }
        }
        let hosts = match told {
            Ok(Told::Snapshot { .. }) => surely(&shared, async || absent(&shared).await).await,
            Ok(Told::Deleted { key, .. }) => BTreeSet::from([last(&key).to_owned()]),
            Ok(Told::Put { .. }) => BTreeSet::new(),
            Err(error) => {
                log::error(&error);
                sleep(jitter(shared.lost_after)).await;
                BTreeSet::new()
            }
        };
        // Once each, however often somebody has it come and go.
        for host in hosts {
            if under_way.insert(host.clone()) {
                lost.spawn_local(gone(Rc::clone(&shared), host));
            }
        }
        shared.waits_changed.notify_one();
    }
}

/// Asks etcd until it has answered.
async fn surely<T>(shared: &Shared, ask: impl AsyncFn() -> Result<T, FleetError>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => shared.log_lasting_error(&error),
        }
        sleep(jitter(shared.lease_lasts)).await;
    }
}

/// Hosts of which something is known, and which are not announced.
async fn absent(shared: &Shared) -> Result<BTreeSet<String>, FleetError> {
    let keys = shared.fleet.keys();
    let mut absent = BTreeSet::new();
    let mut pages = shared.fleet.etcd().pages(&keys.outcomes(), 0);
    while let Some(items) = pages.next().await? {
        let named = items.iter().filter_map(|item| keys.of_outcome(&item.key));
        absent.extend(named.map(|(host, _)| host.to_owned()));
    }
    for known in shared.fleet.hosts().await? {
        if known.host.is_some() {
            absent.remove(&known.name);
        }
    }
    Ok(absent)
}

/// A host is gone. It may be back in time.
async fn gone(shared: Rc<Shared>, host: String) -> String {
    sleep(shared.lost_after).await;
    let requeue = async || shared.fleet.requeue_lost(&host).await;
    let (all, again) = surely(&shared, requeue).await;
    shared.tell_malformed();
    if all > 0 {
        log::line(format_args!(
            "host {host} is lost, with {all} jobs; {again} of them may run twice, and wait again"
        ));
    }
    host
}
