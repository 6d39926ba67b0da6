//! The agent's tasks: a lease, an announcement, a connection to the server, a watch of what waits.
//!
//! By the clock are the lease, which has to be kept, a look each six leases whether the keeper's
//! host is there, and what is said once a day.

use std::rc::Rc;
use std::time::Duration;

use prn_fleet::etcd::{EtcdError, KeyValue, Lease, Told, WatchRange, Watcher, jitter};
use prn_fleet::{Record, v1};
use prn_service::log;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::fatal::Fatal;
use crate::held::Sent;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::{claiming, held, keeper, server};

/// Waits before another attempt: the first one, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Others are told of what is free this often at most.
const ANNOUNCE_TIME: Duration = Duration::from_secs(1);
/// How often it is said that a certificate ends soon.
const REMIND_TIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the end waits for what was claimed to be started, and for etcd.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// What is watched of the fleet, in this order.
#[derive(Debug, Clone, Copy)]
enum Range {
    Queue,
    Drain,
    Keeper,
}

const RANGES: [Range; 3] = [Range::Queue, Range::Drain, Range::Keeper];

/// Serves until a signal ends it. What runs on the server goes on.
pub async fn serve(shared: Rc<Shared>) -> Result<(), Fatal> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut lasting = JoinSet::new();
    lasting.spawn_local(keep_lease(Rc::clone(&shared)));
    lasting.spawn_local(announce(Rc::clone(&shared)));
    lasting.spawn_local(server::follow(Rc::clone(&shared)));
    lasting.spawn_local(remind(Rc::clone(&shared)));
    lasting.spawn_local(claiming::claim_what_fits(Rc::clone(&shared)));
    let ended = tokio::select! {
        error = follow_fleet(&shared) => Err(error),
        error = first_ended(&mut lasting) => Err(error),
        _ = term.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    shared.is_ending.set(true);
    if ended.is_ok() {
        // What is left half done is told by nobody until there is an agent again.
        let settled = timeout(LEAVE_TIME, shared.all_settled()).await;
        if settled.is_err() {
            log::line(format_args!(
                "some jobs were claimed and are not started yet"
            ));
        }
    }
    leave(&shared, lasting).await;
    ended
}

/// Returns when one of these has ended, or panicked, of which none is meant to.
async fn first_ended(lasting: &mut JoinSet<()>) -> Fatal {
    let ended = lasting.join_next().await;
    Fatal::Task(ended.and_then(Result::err))
}

/// Says which certificates end soon, each day: an agent may run for longer than they are valid.
async fn remind(shared: Rc<Shared>) {
    loop {
        for ending in shared.daemon.ending() {
            log::line(format_args!("warning: {ending}"));
        }
        sleep(REMIND_TIME).await;
    }
}

/// Tells others that it is meant, with nothing under way that says otherwise.
async fn leave(shared: &Shared, mut before: JoinSet<()>) {
    let lease = *shared.lease.borrow();
    before.shutdown().await;
    let mut away = shared.host.announced.clone();
    away.state = v1::host::State::Away.into();
    away.since = Some(prn_fleet::now());
    away.free = Some(shared.free());
    let told = shared.fleet.leave(&shared.host.name, &away, lease);
    match timeout(LEAVE_TIME, told).await {
        Ok(Ok(())) => log::line(format_args!("left the fleet; what runs here goes on")),
        Ok(Err(error)) => log::error(&error),
        Err(_) => log::line(format_args!("left the fleet, but could not say so in time")),
    }
}

/// A lease, and another one when that has ended.
async fn keep_lease(shared: Rc<Shared>) {
    let mut wait = FIRST_WAIT;
    let mut is_lost = false;
    loop {
        let kept = async {
            let mut lease = Lease::grant(shared.fleet.etcd(), shared.lease_lasts).await?;
            shared.lease.send_replace(Some(lease.id()));
            shared.touch();
            shared.lasts_no_more();
            if std::mem::take(&mut is_lost) {
                log::line(format_args!("others know again that this host is here"));
            }
            loop {
                lease.keep().await?;
            }
        };
        let error: EtcdError = match kept.await {
            Ok(never) => never,
            Err(error) => error,
        };
        let had_one = shared.lease.send_replace(None).is_some();
        if had_one {
            wait = FIRST_WAIT;
        }
        is_lost = true;
        shared.log_lasting(format_args!(
            "others believe that this host is gone: {}",
            log::chain(&error)
        ));
        sleep(jitter(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// What others are told of the host, when it changes.
async fn announce(shared: Rc<Shared>) {
    loop {
        shared.announced.notified().await;
        let Some(lease) = *shared.lease.borrow() else {
            continue;
        };
        let host = announced(&shared);
        if let Err(error) = shared.fleet.announce(&shared.host.name, &host, lease).await {
            log::error(&error);
            sleep(jitter(LONGEST_WAIT)).await;
            shared.announced.notify_one();
            continue;
        }
        sleep(ANNOUNCE_TIME).await;
    }
}

fn announced(shared: &Shared) -> v1::Host {
    use v1::host::State;
    let session = shared.session.borrow();
    let state = match &*session {
        None => State::NoServer,
        Some(_) if shared.is_drained.get() => State::Draining,
        Some(_) => State::Ready,
    };
    let mut host = shared.host.announced.clone();
    host.state = state.into();
    host.free = Some(shared.free());
    let epoch = session.as_ref().map(|session| session.epoch.clone());
    host.boot_epoch = epoch.unwrap_or_default();
    host
}

/// What waits in the fleet, and what an operator wants, as it changes.
async fn follow_fleet(shared: &Rc<Shared>) -> Fatal {
    let keys = shared.fleet.keys();
    let ranges = RANGES.map(|range| match range {
        Range::Queue => WatchRange {
            changes_only: true,
            ..WatchRange::prefix(keys.waiting(""))
        },
        Range::Drain => WatchRange::key(keys.drain(&shared.host.name)),
        Range::Keeper => WatchRange::key(keys.keeper()),
    });
    let mut keeping = keeper::Candidate::new(shared);
    spawn_local(reconcile(Rc::clone(shared)));
    loop {
        let watcher = Watcher::new(shared.fleet.etcd(), ranges.clone());
        match follow_changes(shared, watcher, &mut keeping).await {
            // It took so long that the revision is gone: as it is now, then.
            Ok(()) | Err(EtcdError::Compacted) => {}
            Err(error) if error.is_transient() => shared.log_lasting_error(&error),
            // Somebody has to make that smaller; what is known is served meanwhile.
            Err(error @ EtcdError::TooLarge) => {
                shared.log_lasting_error(&error);
                sleep(jitter(LONGEST_WAIT)).await;
            }
            Err(error) => return error.into(),
        }
    }
}

/// What is there, and each change, until there is reason to read what is there anew.
async fn follow_changes(
    shared: &Shared,
    mut watcher: Watcher,
    keeping: &mut keeper::Candidate,
) -> Result<(), EtcdError> {
    loop {
        let told = match watcher.next().await {
            // It goes on where it was.
            Err(error) if error.is_transient() => {
                shared.log_lasting_error(&error);
                continue;
            }
            told => told?,
        };
        match RANGES.get(told.range()) {
            Some(Range::Queue) => {
                queue_told(shared, told).await?;
                if shared.queue.borrow().has_room_for_more() {
                    return Ok(());
                }
            }
            Some(Range::Drain) => set_drained(shared, there(&told).is_some()),
            Some(Range::Keeper) => keeping.there_is(there(&told)),
            None => {}
        }
    }
}

/// What there is of a range of one key.
fn there(told: &Told) -> Option<&KeyValue> {
    match told {
        Told::Snapshot { items, .. } => items.first(),
        Told::Put { item, .. } => Some(item),
        Told::Deleted { .. } => None,
    }
}

async fn queue_told(shared: &Shared, told: Told) -> Result<(), EtcdError> {
    match told {
        Told::Snapshot { revision, .. } => {
            let queue = read_queue(shared, revision).await?;
            shared.queue.replace(queue);
            shared.queue_changed();
        }
        Told::Put { item, .. } => {
            if let Some(waiting) = known(shared, &item) {
                shared.queue.borrow_mut().insert(waiting);
            }
            shared.tell_malformed();
            shared.queue_changed();
        }
        Told::Deleted { key, .. } => shared.queue.borrow_mut().remove(&key),
    }
    Ok(())
}

/// What waits, and is where jobs wait: an agent's role may write below that as well.
fn known(shared: &Shared, item: &KeyValue) -> Option<Record<v1::Waiting>> {
    if shared.fleet.keys().of_waiting(&item.key).is_none() {
        shared.fleet.pass_over(&item.key);
        return None;
    }
    shared.fleet.known(item)
}

/// What waits as of this revision: however much it is, no more of it at a time than one page.
async fn read_queue(shared: &Shared, revision: i64) -> Result<Queue, EtcdError> {
    let prefix = shared.fleet.keys().waiting("");
    let mut pages = shared.fleet.etcd().pages(&prefix, revision);
    let mut queue = Queue::default();
    while let Some(items) = pages.next().await? {
        let known = items.iter().filter_map(|item| known(shared, item));
        known.for_each(|waiting| queue.insert(waiting));
        shared.tell_malformed();
    }
    Ok(queue)
}

fn set_drained(shared: &Shared, is_drained: bool) {
    if shared.is_drained.replace(is_drained) != is_drained {
        let what = if is_drained {
            "drained"
        } else {
            "drained no more"
        };
        log::line(format_args!("the host is {what}, as an operator wants it"));
        shared.touch();
    }
}

/// Takes up the claims that the agent before this one had.
async fn reconcile(shared: Rc<Shared>) {
    loop {
        match shared.fleet.claims_of(&shared.host.name).await {
            Ok(claims) => {
                if !claims.is_empty() {
                    let count = claims.len();
                    log::line(format_args!("{count} jobs were claimed here before"));
                }
                for (claimed, outcome) in claims {
                    let sent = Sent::of(&outcome);
                    spawn_local(held::see_to(Rc::clone(&shared), claimed, sent));
                }
                break;
            }
            Err(error) => log::error(&error),
        }
        sleep(jitter(LONGEST_WAIT)).await;
    }
    shared.tell_malformed();
    shared.is_reconciled.set(true);
    // Those tasks take what they need first.
    tokio::task::yield_now().await;
    shared.changed.notify_one();
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_that_ends_or_panics_ends_the_agent() {
        let ended = async |panics: bool| {
            let mut lasting = JoinSet::new();
            lasting.spawn(std::future::pending());
            lasting.spawn(async move { assert!(!panics, "as meant") });
            first_ended(&mut lasting).await
        };
        assert!(matches!(ended(false).await, Fatal::Task(None)));
        let panicked = ended(true).await;
        assert!(
            panicked
                .source()
                .is_some_and(|why| why.to_string().contains("as meant"))
        );
    }
}
