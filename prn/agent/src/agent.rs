//! The agent's tasks: a lease, an announcement, a connection to the server, a watch of what waits.
//!
//! Nothing is asked for by the clock but the lease, which has to be kept.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use prn_client::{Change, ClientError, Watch, WatchRequest};
use prn_fleet::etcd::{EtcdError, Lease, Told, WatchRange, Watcher, jitter};
use prn_fleet::{Record, fits, has_room, record, v1};
use prn_service::log;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use crate::daemon::Session;
use crate::fatal::Fatal;
use crate::shared::Shared;
use crate::{held, keeper};

/// Waits before another attempt: the first one, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Others are told of what is free this often at most.
const ANNOUNCE_TIME: Duration = Duration::from_secs(1);
/// Most claims under way at a time.
const CLAIMS_MAX: usize = 16;
/// Hosts that could take the same job wait for so long at most, the fuller the longer: so the emptiest
/// has it, and few ask for what another has already.
const SPREAD_TIME: Duration = Duration::from_millis(20);
/// How long the end waits for etcd.
const LEAVE_TIME: Duration = Duration::from_secs(5);

/// Serves until a signal ends it. What runs on the server goes on.
pub async fn serve(shared: Rc<Shared>) -> Result<(), Fatal> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    spawn_local(keep_lease(Rc::clone(&shared)));
    spawn_local(announce(Rc::clone(&shared)));
    spawn_local(follow_server(Rc::clone(&shared)));
    spawn_local(claim_what_fits(Rc::clone(&shared)));
    let ended = tokio::select! {
        error = follow_fleet(&shared) => Err(error),
        _ = term.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    shared.is_ending.set(true);
    leave(&shared).await;
    ended
}

/// Tells others that it is meant.
async fn leave(shared: &Shared) {
    let mut away = shared.host.announced.clone();
    away.state = v1::host::State::Away.into();
    away.free = Some(shared.free());
    let told = shared.fleet.announce(&shared.host.name, &away, 0);
    match timeout(LEAVE_TIME, told).await {
        Ok(Ok(())) => log::line(format_args!("left the fleet; what runs here goes on")),
        Ok(Err(error)) => log::error(&error),
        Err(_) => log::line(format_args!("left the fleet, but could not say so in time")),
    }
}

/// A lease, and another one when that has ended.
async fn keep_lease(shared: Rc<Shared>) {
    let mut wait = FIRST_WAIT;
    loop {
        let kept = async {
            let mut lease = Lease::grant(shared.fleet.etcd(), shared.lease_lasts).await?;
            shared.lease.send_replace(Some(lease.id()));
            shared.touch();
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
        log::line(format_args!(
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

/// A connection to the server, and a watch of all that the agent may see there.
async fn follow_server(shared: Rc<Shared>) {
    let (mut wait, mut ended) = (FIRST_WAIT, None);
    loop {
        match follow_session(&shared, &mut ended).await {
            Ok(()) => wait = FIRST_WAIT,
            Err(error) => log::line(format_args!(
                "the server does not answer: {}",
                log::chain(&error)
            )),
        }
        shared.session.send_replace(None);
        shared.touch();
        sleep(wait / 2 + jitter(wait / 2)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Until the connection is lost. `ended` is the watch of the one before, and becomes this one's.
async fn follow_session(shared: &Rc<Shared>, ended: &mut Option<Watch>) -> Result<(), ClientError> {
    let session = shared.daemon.connect().await?;
    let watch = match ended.take() {
        Some(watch) => session.client.resume_watch(&watch).await,
        None => session.client.watch(&WatchRequest::default()).await,
    };
    let watch = ended.insert(watch?);
    if shared.lease.borrow().is_some() || !shared.is_reconciled.get() {
        log::line(format_args!(
            "the server answers, in its run {}",
            session.epoch
        ));
    }
    shared.session.send_replace(Some(session.clone()));
    shared.touch();
    let mut sessions = shared.session.subscribe();
    let is_other = |now: &Option<Session>| now.is_none();
    loop {
        let change = tokio::select! {
            change = watch.next() => change,
            _ = sessions.wait_for(is_other) => return Ok(()),
        };
        match change {
            Ok(Some(Change::Process(process))) => {
                let followed = shared.followed.borrow();
                if let Some(told) = followed.get(&process.id) {
                    told.send_replace(Some(*process));
                }
            }
            Ok(Some(
                Change::Removed(_) | Change::Reset | Change::Synchronized | Change::Restarted,
            )) => {}
            Ok(None) => return Ok(()),
            Err(error) => {
                log::line(format_args!("the server is gone: {}", log::chain(&error)));
                return Ok(());
            }
        }
    }
}

/// What waits in the fleet, and what an operator wants, as it changes.
async fn follow_fleet(shared: &Rc<Shared>) -> Fatal {
    let keys = shared.fleet.keys();
    let range = |key: String, is_prefix| WatchRange {
        key,
        is_prefix,
        deletions_only: false,
    };
    let ranges = [
        range(keys.waiting(""), true),
        range(keys.drain(&shared.host.name), false),
        range(keys.keeper(), false),
    ];
    let mut watcher = Watcher::new(shared.fleet.etcd(), ranges);
    let mut keeping = keeper::Candidate::new(shared);
    spawn_local(reconcile(Rc::clone(shared)));
    loop {
        match watcher.next().await {
            Ok(Told::Snapshot {
                range: 0, items, ..
            }) => {
                shared.queue.borrow_mut().clear();
                items.iter().for_each(|item| waits(shared, item));
                shared.changed.notify_one();
            }
            Ok(Told::Put { range: 0, item }) => {
                waits(shared, &item);
                shared.changed.notify_one();
            }
            Ok(Told::Deleted { range: 0, key, .. }) => {
                shared
                    .queue
                    .borrow_mut()
                    .retain(|(_, waiting), _| *waiting != key);
            }
            Ok(Told::Snapshot {
                range: 1, items, ..
            }) => drained(shared, !items.is_empty()),
            Ok(Told::Put { range: 1, .. }) => drained(shared, true),
            Ok(Told::Deleted { range: 1, .. }) => drained(shared, false),
            Ok(Told::Snapshot { items, .. }) => keeping.there_is(items.first()),
            Ok(Told::Put { item, .. }) => keeping.there_is(Some(&item)),
            Ok(Told::Deleted { .. }) => keeping.there_is(None),
            Err(error) if error.is_transient() => log::error(&error),
            Err(error) => return error.into(),
        }
    }
}

fn drained(shared: &Shared, is_drained: bool) {
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

fn waits(shared: &Shared, item: &prn_fleet::etcd::KeyValue) {
    match record::<v1::Waiting>(item) {
        Ok(record) => {
            let place = (record.created, record.key.clone());
            shared.queue.borrow_mut().insert(place, record);
        }
        // For whoever has written it.
        Err(error) => log::error(&error),
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
                for (claimed, _) in claims {
                    spawn_local(held::see_to(Rc::clone(&shared), claimed, false));
                }
                break;
            }
            Err(error) => log::error(&error),
        }
        sleep(jitter(LONGEST_WAIT)).await;
    }
    shared.is_reconciled.set(true);
    // Those tasks take what they need first.
    tokio::task::yield_now().await;
    shared.changed.notify_one();
}

/// Claims, whenever something has changed that makes it worth a look.
async fn claim_what_fits(shared: Rc<Shared>) {
    let mut later: Option<Instant> = None;
    loop {
        let at = later.unwrap_or_else(|| Instant::now() + Duration::from_secs(86_400));
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep_until(at), if later.is_some() => {}
        }
        later = look_at_queue(&shared);
    }
}

/// Claims as much as there is room for. When to look again, if nothing changes before.
fn look_at_queue(shared: &Rc<Shared>) -> Option<Instant> {
    let ready = shared.is_reconciled.get()
        && !shared.is_drained.get()
        && !shared.is_ending.get()
        && shared.lease.borrow().is_some();
    let session = shared.session.borrow().clone();
    let session = session.filter(|_| ready)?;
    let now = Instant::now();
    if let Some(until) = shared.full_until.get().filter(|until| *until > now) {
        return Some(until);
    }
    let clock = SystemTime::now();
    let (mut later, mut taken) = (None, Vec::new());
    let mut free = shared.free();
    for waiting in shared.queue.borrow().values() {
        if taken.len() >= CLAIMS_MAX || free.processes == 0 {
            break;
        }
        let id = id_of(waiting);
        let needs = waiting.value.needs.unwrap_or_default();
        let labels = &shared.host.announced.labels;
        if !fits(&waiting.value, &shared.host.name, labels)
            || !has_room(&free, &needs)
            || shared.held.borrow().contains_key(id)
        {
            continue;
        }
        if let Some(wait) = waits_for(waiting.value.not_before, clock) {
            later = Some(later.map_or(now + wait, |later: Instant| later.min(now + wait)));
            continue;
        }
        free.processes = free.processes.saturating_sub(needs.processes.max(1));
        free.memory_bytes = free.memory_bytes.saturating_sub(needs.memory_bytes);
        free.cpu_millis = free.cpu_millis.saturating_sub(needs.cpu_millis);
        taken.push(waiting.clone());
    }
    for waiting in taken {
        let needs = waiting.value.needs.unwrap_or_default();
        let id = id_of(&waiting).to_owned();
        shared.held.borrow_mut().insert(id, needs);
        spawn_local(claim(Rc::clone(shared), session.clone(), waiting));
    }
    later
}

fn waits_for(not_before: Option<prost_types::Timestamp>, now: SystemTime) -> Option<Duration> {
    let not_before = SystemTime::try_from(not_before?).ok()?;
    not_before
        .duration_since(now)
        .ok()
        .filter(|wait| !wait.is_zero())
}

fn id_of(waiting: &Record<v1::Waiting>) -> &str {
    waiting.key.rsplit('/').next().unwrap_or_default()
}

/// Claims one, if nobody else does first, and sees to it.
async fn claim(shared: Rc<Shared>, session: Session, waiting: Record<v1::Waiting>) {
    let id = id_of(&waiting).to_owned();
    // One that is bound to this host is nobody else's.
    if waiting.value.host.is_empty() {
        sleep(delay(&shared)).await;
    }
    let place = (waiting.created, waiting.key.clone());
    let is_there = shared.queue.borrow().get(&place) == Some(&waiting);
    let deadline = waiting
        .value
        .deadline
        .and_then(|at| SystemTime::try_from(at).ok());
    let is_late = deadline.is_some_and(|deadline| deadline < SystemTime::now());
    let claimed = if !is_there || shared.is_ending.get() {
        None
    } else if is_late {
        close_late(&shared, &id).await;
        None
    } else {
        let host = &shared.host.name;
        match shared.fleet.claim(host, &session.epoch, &waiting).await {
            Ok(claimed) => claimed,
            Err(error) => {
                log::line(format_args!("job {id}: {}", log::chain(&error)));
                unknown(&shared, &id).await
            }
        }
    };
    match claimed {
        Some(claimed) => held::see_to(shared, claimed, true).await,
        None => {
            shared.held.borrow_mut().remove(&id);
            shared.changed.notify_one();
        }
    }
}

/// The fuller this host is, the longer: up to half of the time, and by chance as much again.
fn delay(shared: &Shared) -> Duration {
    let all = shared.host.announced.capacity.unwrap_or_default().processes;
    let free = shared.free().processes;
    let full = 1.0 - f64::from(free.min(all)) / f64::from(all.max(1));
    (SPREAD_TIME / 2).mul_f64(full) + jitter(SPREAD_TIME / 2)
}

async fn close_late(shared: &Shared, id: &str) {
    let why = "its deadline passed before a host had it";
    let state = v1::outcome::State::Expired;
    if let Err(error) = shared.fleet.close(id, state, why).await {
        log::line(format_args!("job {id}: {}", log::chain(&error)));
    }
}

/// Whether it was claimed is unknown: nothing was started for it, and nobody else will.
async fn unknown(shared: &Shared, id: &str) -> Option<prn_fleet::Claimed> {
    let mut wait = FIRST_WAIT;
    loop {
        match shared.fleet.claims_of(&shared.host.name).await {
            Ok(claims) => {
                let held: BTreeSet<_> = shared.held.borrow().keys().cloned().collect();
                let mut claims = claims.into_iter().map(|(claimed, _)| claimed);
                return claims.find(|claimed| claimed.id == id && held.contains(id));
            }
            Err(error) => log::error(&error),
        }
        sleep(jitter(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
