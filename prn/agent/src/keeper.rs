//! One agent of the fleet looks after what others have lost: whichever has written that it does, under
//! its lease. That it is one alone spares etcd the same questions of many; what it does is guarded as
//! all is, so two at a time do no harm.

use std::collections::BTreeSet;
use std::rc::Rc;

use prn_fleet::etcd::{KeyValue, Told, Txn, WatchRange, Watcher, jitter};
use prn_fleet::{FleetError, host_of, last, v1};
use prn_service::log;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::shared::Shared;
use crate::tidying::tidy;

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

    /// There is such an agent, or none. One that is malformed keeps all others from it until somebody has
    /// deleted it, who is told.
    pub fn there_is(&mut self, keeper: Option<&KeyValue>) {
        let is_there = keeper.is_some();
        let known = keeper.and_then(|item| self.shared.fleet.known::<v1::Keeper>(item));
        self.shared.tell_malformed();
        let is_this = known.is_some_and(|keeper| keeper.value.host == self.shared.host.name);
        if is_this && self.is_keeper {
            return;
        }
        self.is_keeper = is_this;
        self.tasks = JoinSet::new();
        let shared = Rc::clone(&self.shared);
        if is_this {
            self.tasks.spawn_local(look_after(Rc::clone(&shared)));
            self.tasks.spawn_local(tidy(shared));
        } else if !is_there {
            self.tasks.spawn_local(stand(shared));
        }
    }
}

/// Offers to be the one, until one is.
async fn stand(shared: Rc<Shared>) {
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
        let txn = Txn::new().if_absent(&key).put_leased(&key, value, lease);
        match shared.fleet.etcd().commit(&txn).await {
            // The watch tells who it is.
            Ok(_) => return,
            Err(error) => log::error(&error),
        }
    }
}

/// Looks after what lost hosts had: of those that are gone already, and of each that goes.
async fn look_after(shared: Rc<Shared>) {
    let range = WatchRange {
        deletions_only: true,
        ..WatchRange::prefix(shared.fleet.keys().host(""))
    };
    let mut watcher = Watcher::new(shared.fleet.etcd(), [range]);
    let mut lost = JoinSet::new();
    loop {
        match watcher.next().await {
            Ok(Told::Snapshot { .. }) => {
                for host in surely(&shared, async || absent(&shared).await).await {
                    lost.spawn_local(gone(Rc::clone(&shared), host));
                }
            }
            Ok(Told::Deleted { key, .. }) => {
                let host = last(&key).to_owned();
                lost.spawn_local(gone(Rc::clone(&shared), host));
            }
            Ok(Told::Put { .. }) => {}
            Err(error) => {
                log::error(&error);
                sleep(jitter(shared.lost_after)).await;
            }
        }
        // Those that are done.
        while lost.try_join_next().is_some() {}
        shared.waits_changed.notify_one();
    }
}

/// Asks etcd until it has answered.
async fn surely<T>(shared: &Shared, ask: impl AsyncFn() -> Result<T, FleetError>) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => log::error(&error),
        }
        sleep(jitter(shared.lease_lasts)).await;
    }
}

/// Hosts of which something is known, and which are not announced.
async fn absent(shared: &Shared) -> Result<BTreeSet<String>, FleetError> {
    let keys = shared.fleet.keys();
    let outcomes = shared.fleet.etcd().read_all(&keys.outcomes()).await?;
    let named = outcomes.items.iter();
    let named = named.filter_map(|item| host_of(&item.key));
    let mut absent: BTreeSet<_> = named.map(str::to_owned).collect();
    for known in shared.fleet.hosts().await? {
        if known.host.is_some() {
            absent.remove(&known.name);
        }
    }
    Ok(absent)
}

/// A host is gone. It may be back in time.
async fn gone(shared: Rc<Shared>, host: String) {
    sleep(shared.lost_after).await;
    let requeue = async || shared.fleet.requeue_lost(&host).await;
    let (all, again) = surely(&shared, requeue).await;
    shared.tell_malformed();
    if all > 0 {
        log::line(format_args!(
            "host {host} is lost, with {all} jobs; {again} of them may run twice, and wait again"
        ));
    }
}
