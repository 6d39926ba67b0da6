//! Claims of what waits and fits: each one transaction, which one host of all wins.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use prn_fleet::etcd::jitter;
use prn_fleet::{Claimed, Record, fits, has_room, last, v1};
use prn_service::log;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use crate::daemon::Session;
use crate::held;
use crate::held::Sent;
use crate::shared::Shared;
use crate::tidying::{close_late, left};

/// Hosts that could take the same job wait for so long at most, the fuller the longer: so the emptiest
/// has it, and few ask for what another has already.
const SPREAD_TIME: Duration = Duration::from_millis(20);
/// Waits before etcd is asked again what has become of a claim: the first one, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Claims, whenever something has changed that makes it worth a look.
pub async fn claim_what_fits(shared: Rc<Shared>) {
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
    let most = shared.at_a_time.get();
    for waiting in shared.queue.borrow().values() {
        if taken.len() >= most || free.processes == 0 {
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
        taken.push(Rc::clone(waiting));
    }
    for waiting in taken {
        let needs = waiting.value.needs.unwrap_or_default();
        let id = id_of(&waiting).to_owned();
        shared.unsettled.borrow_mut().insert(id.clone());
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
    last(&waiting.key)
}

/// Claims one, if nobody else does first, and sees to it.
async fn claim(shared: Rc<Shared>, session: Session, waiting: Rc<Record<v1::Waiting>>) {
    let id = id_of(&waiting).to_owned();
    // One that is bound to this host is nobody else's.
    if waiting.value.host.is_empty() {
        sleep(delay(&shared)).await;
    }
    let is_there = shared.queue.borrow().has(&waiting);
    let is_late = left(&waiting.value, SystemTime::now()) == Some(Duration::ZERO);
    let claimed = if !is_there || shared.is_ending.get() {
        None
    } else if is_late {
        match close_late(&shared, &waiting).await {
            Ok(()) => shared.queue.borrow_mut().remove_seen(&waiting),
            Err(error) => log::line(format_args!("job {id}: {}", log::chain(&error))),
        }
        None
    } else {
        let host = &shared.host.name;
        match shared.fleet.claim(host, &session.epoch, &waiting).await {
            Ok(Some(claimed)) => Some(claimed),
            // Somebody has it: it is worth no other try, even if it stands in the queue for ever.
            Ok(None) => {
                shared.queue.borrow_mut().remove_seen(&waiting);
                None
            }
            Err(error) => {
                log::line(format_args!("job {id}: {}", log::chain(&error)));
                unknown(&shared, &waiting).await
            }
        }
    };
    match claimed {
        Some(claimed) => held::see_to(shared, claimed, Sent::Never).await,
        None => {
            shared.settled(&id);
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

/// Whether it was claimed is unknown: nothing was started for it, and nobody else will.
async fn unknown(shared: &Shared, waiting: &Record<v1::Waiting>) -> Option<Claimed> {
    let mut wait = FIRST_WAIT;
    loop {
        let found = async {
            // The claim may be on its way to etcd yet.
            shared.fleet.settle(waiting).await?;
            shared.fleet.claims_of(&shared.host.name).await
        };
        match found.await {
            Ok(claims) => {
                let mut claims = claims.into_iter().map(|(claimed, _)| claimed);
                // One that is another's again by now was not started here, and is not to be.
                return claims.find(|claimed| claimed.id == id_of(waiting) && !claimed.is_lost());
            }
            Err(error) => log::error(&error),
        }
        sleep(jitter(wait)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
