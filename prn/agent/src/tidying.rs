//! What the keeper does with what waits in vain: a job whose deadline has passed, and one that every host
//! that fits has refused for a while.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use prn_fleet::{FleetError, Record, Waits, has_refusal, v1, waits};
use prn_proto::reason;
use prn_service::log;
use tokio::time::{Instant, sleep, timeout};
use v1::outcome::State;

use crate::shared::Shared;

/// It looks at all that waits this often at most.
const TIDY_TIME: Duration = Duration::from_secs(1);
/// And this often while something waits that was refused: hosts may be drained, or have other labels.
const REFUSED_TIME: Duration = Duration::from_secs(10);

/// Since when all have refused what waits, by key and revision, as far as this keeper has seen.
type Refused = BTreeMap<(String, i64), Instant>;

/// Closes what waits in vain, as it comes to that.
pub async fn tidy(shared: Rc<Shared>) {
    let mut refused = Refused::new();
    loop {
        let next = match look(&shared, &mut refused).await {
            Ok(next) => next,
            Err(error) => {
                log::error(&error);
                Some(REFUSED_TIME)
            }
        };
        shared.tell_malformed();
        sleep(TIDY_TIME).await;
        let changed = shared.waits_changed.notified();
        match next {
            // Either way it is time for a look.
            Some(next) => drop(timeout(next, changed).await),
            None => changed.await,
        }
    }
}

/// Looks at all that waits. When to look again, if nothing changes before.
async fn look(shared: &Shared, refused: &mut Refused) -> Result<Option<Duration>, FleetError> {
    let now = SystemTime::now();
    let (mut next, mut late, mut some_refused) = (None, Vec::new(), Vec::new());
    for waiting in shared.queue.borrow().values() {
        let left = left(&waiting.value, now);
        if left == Some(Duration::ZERO) {
            late.push(Rc::clone(waiting));
            continue;
        }
        let again = has_refusal(&waiting.value).then_some(REFUSED_TIME);
        if again.is_some() {
            some_refused.push(Rc::clone(waiting));
        }
        next = [next, left, again].into_iter().flatten().min();
    }
    for waiting in late {
        close_late(shared, &waiting).await?;
    }
    let left = refused_by_all(shared, refused, &some_refused).await?;
    Ok([next, left].into_iter().flatten().min())
}

/// Closes what all have refused for long enough: those that are not announced now may be back, as after
/// a power cut, and take it. How long the next one has left.
async fn refused_by_all(
    shared: &Shared,
    refused: &mut Refused,
    some_refused: &[Rc<Record<v1::Waiting>>],
) -> Result<Option<Duration>, FleetError> {
    let before = std::mem::take(refused);
    if some_refused.is_empty() {
        return Ok(None);
    }
    let hosts = shared.fleet.hosts().await?;
    let (now, long) = (Instant::now(), shared.lost_after.max(shared.lease_lasts));
    let mut next: Option<Duration> = None;
    for waiting in some_refused {
        let Waits::RefusedByAll { reason, why } = waits(&waiting.value, &hosts) else {
            continue;
        };
        let seen = (waiting.key.clone(), waiting.revision);
        let since = before.get(&seen).copied().unwrap_or(now);
        let left = long.saturating_sub(now.duration_since(since));
        if left.is_zero() {
            close(shared, waiting, State::Refused, &reason, &why).await?;
        } else {
            refused.insert(seen, since);
            next = Some(next.map_or(left, |next| next.min(left)));
        }
    }
    Ok(next)
}

/// How long it is to its deadline, if it has one. Zero: that has passed, or is no time.
pub fn left(waiting: &v1::Waiting, now: SystemTime) -> Option<Duration> {
    let deadline = SystemTime::try_from(waiting.deadline?).unwrap_or(now);
    Some(deadline.duration_since(now).unwrap_or_default())
}

/// Closes what waits and whose deadline has passed, if it is as it was seen.
///
/// # Errors
/// etcd does not answer for now: whatever else is the matter is logged.
pub async fn close_late(shared: &Shared, waiting: &Record<v1::Waiting>) -> Result<(), FleetError> {
    let why = "its deadline passed before a host had it";
    close(
        shared,
        waiting,
        State::Expired,
        reason::DEADLINE_PASSED,
        why,
    )
    .await
}

/// An error of this one alone stops none of the others.
async fn close(
    shared: &Shared,
    waiting: &Record<v1::Waiting>,
    state: State,
    reason: &str,
    why: &str,
) -> Result<(), FleetError> {
    let outcome = v1::Outcome {
        state: state.into(),
        reason: reason.to_owned(),
        why: why.to_owned(),
        ..v1::Outcome::default()
    };
    match shared.fleet.close_as(waiting, outcome).await {
        // False: somebody was first, and the queue tells.
        Ok(_is_closed) => Ok(()),
        Err(FleetError::Etcd(error)) if error.is_transient() => Err(error.into()),
        Err(error) => {
            log::line(format_args!("{}: {}", waiting.key, log::chain(&error)));
            Ok(())
        }
    }
}
