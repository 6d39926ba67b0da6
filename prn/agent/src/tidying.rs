//! What the keeper does with what waits in vain: a job whose deadline has passed, and one that every host
//! that fits has refused.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use prn_fleet::{FleetError, KnownHost, Record, Waits, has_refusal, v1, waits};
use prn_service::log;
use tokio::time::{sleep, timeout};
use v1::outcome::State;

use crate::shared::Shared;

/// It looks at all that waits this often at most.
const TIDY_TIME: Duration = Duration::from_secs(1);
/// And this often while something waits that was refused: hosts may be drained, or have other labels.
const REFUSED_TIME: Duration = Duration::from_secs(10);

/// Closes what waits in vain, as it comes to that.
pub async fn tidy(shared: Rc<Shared>) {
    loop {
        let next = match look(&shared).await {
            Ok(next) => next,
            Err(error) => {
                log::error(&error);
                Some(REFUSED_TIME)
            }
        };
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
async fn look(shared: &Shared) -> Result<Option<Duration>, FleetError> {
    let now = SystemTime::now();
    let (mut next, mut late, mut refused) = (None, Vec::new(), Vec::new());
    for waiting in shared.queue.borrow().values() {
        let left = waiting.value.deadline.map(|deadline| left(deadline, now));
        if left.is_some_and(|left| left.is_zero()) {
            late.push(waiting.clone());
            continue;
        }
        let again = has_refusal(&waiting.value).then_some(REFUSED_TIME);
        if again.is_some() {
            refused.push(waiting.clone());
        }
        next = [next, left, again].into_iter().flatten().min();
    }
    for waiting in late {
        let why = "its deadline passed before a host had it";
        close(shared, &waiting, State::Expired, "DEADLINE_PASSED", why).await?;
    }
    if !refused.is_empty() {
        let hosts = shared.fleet.hosts().await?;
        for waiting in refused {
            close_refused(shared, &waiting, &hosts).await?;
        }
    }
    Ok(next)
}

/// How long it is to a deadline. Zero: it has passed.
fn left(deadline: prost_types::Timestamp, now: SystemTime) -> Duration {
    let deadline = SystemTime::try_from(deadline).unwrap_or(now);
    deadline.duration_since(now).unwrap_or_default()
}

async fn close_refused(
    shared: &Shared,
    waiting: &Record<v1::Waiting>,
    hosts: &[KnownHost],
) -> Result<(), FleetError> {
    match waits(&waiting.value, hosts) {
        Waits::RefusedByAll { reason, why } => {
            close(shared, waiting, State::Refused, &reason, &why).await
        }
        Waits::ForRoom | Waits::NoHostFits => Ok(()),
    }
}

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
    // False: somebody was first, and the queue tells.
    let _is_closed: bool = shared.fleet.close_as(waiting, outcome).await?;
    Ok(())
}
