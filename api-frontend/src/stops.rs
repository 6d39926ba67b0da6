//! The stops under way. Stops of one process that the same answer serves are one request to the
//! supervisor.
//!
//! A client that waits for an answer holds a receiver and nothing else: once it has gone, nothing
//! of it is left. The request itself cannot be taken back and counts until it is answered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use prn_ipc_protocol::message::{ProcessInfo, Refusal, StopHow};
use prn_ipc_protocol::types::ProcessId;
use tokio::sync::watch;

use crate::failure::Failure;
use crate::permits::Permit;

/// Most stops with a grace time under way for one process. There are two only if clients shorten
/// the time.
const GRACEFUL_OF_ONE_MAX: u32 = 8;

type Outcome = Option<Result<Arc<ProcessInfo>, Refusal>>;

/// All stops under way.
#[derive(Debug, Default)]
pub struct Stops {
    by_id: Mutex<HashMap<ProcessId, Vec<UnderWay>>>,
}

#[derive(Debug)]
struct UnderWay {
    how: StopHow,
    since: Instant,
    answer: watch::Receiver<Outcome>,
}

impl UnderWay {
    /// Whether a stop asked for now would change nothing: it could only kill later.
    fn covers(&self, how: StopHow, now: Instant) -> bool {
        match (self.how, how) {
            (StopHow::Kill, _) => true,
            (StopHow::Graceful(_), StopHow::Kill) => false,
            // Only the supervisor knows how long a process's own grace time is: each of these
            // covers its like.
            (StopHow::Graceful(None), StopHow::Graceful(other)) => other.is_none(),
            (StopHow::Graceful(Some(_)), StopHow::Graceful(None)) => false,
            (StopHow::Graceful(Some(earlier)), StopHow::Graceful(Some(grace))) => {
                self.since + earlier.duration() <= now + grace.duration()
            }
        }
    }
}

/// A client's wait for an answer.
#[derive(Debug)]
pub struct Wait(watch::Receiver<Outcome>);

impl Wait {
    /// The answer.
    pub async fn answer(mut self) -> Result<Arc<ProcessInfo>, Failure> {
        let outcome = self
            .0
            .wait_for(Option::is_some)
            .await
            .map_err(|_| Failure::Closed)?;
        outcome
            .clone()
            .unwrap_or(Err(Refusal::UnknownProcess))
            .map_err(Failure::Refused)
    }
}

/// Where the supervisor's answer goes. While it lives, the stop is under way and counts.
#[derive(Debug)]
pub struct StopAnswer {
    stops: Arc<Stops>,
    id: ProcessId,
    to: watch::Sender<Outcome>,
    _permit: Permit,
}

impl StopAnswer {
    /// For all who wait, however many are left.
    pub fn give(self, answer: Result<Arc<ProcessInfo>, Failure>) {
        let outcome = match answer {
            Ok(info) => Ok(info),
            Err(Failure::Refused(refusal)) => Err(refusal),
            // Who waits is told the first of these by the drop; the others are not of a stop.
            Err(
                Failure::Closed
                | Failure::TooMany { .. }
                | Failure::TooLong
                | Failure::Output(_)
                | Failure::Input(_),
            ) => return,
        };
        self.to.send_replace(Some(outcome));
    }
}

impl Drop for StopAnswer {
    fn drop(&mut self) {
        let mut by_id = self.stops.lock();
        if let Some(under_way) = by_id.get_mut(&self.id) {
            let ours = self.to.subscribe();
            under_way.retain(|other| !other.answer.same_channel(&ours));
            if under_way.is_empty() {
                by_id.remove(&self.id);
            }
        }
    }
}

/// What a stop that has a permit comes to.
#[derive(Debug)]
pub enum Opened {
    /// It has to be asked for.
    New(StopAnswer, Wait),
    /// One that covers it is under way by now.
    Joined(Wait),
}

impl Stops {
    /// Waits for a stop under way that covers this one, if there is one.
    pub fn join(&self, id: ProcessId, how: StopHow) -> Option<Wait> {
        joined(self.lock().get(&id)?, how)
    }

    /// The same, or else notes that this one is under way.
    ///
    /// # Errors
    /// `TooMany`, of this process.
    pub fn open(
        self: &Arc<Self>,
        id: ProcessId,
        how: StopHow,
        permit: Permit,
    ) -> Result<Opened, Failure> {
        let mut by_id = self.lock();
        let under_way = by_id.entry(id).or_default();
        if let Some(wait) = joined(under_way, how) {
            return Ok(Opened::Joined(wait));
        }
        let graceful = under_way
            .iter()
            .filter(|other| other.how != StopHow::Kill)
            .count();
        let graceful = u32::try_from(graceful).unwrap_or(u32::MAX);
        if how != StopHow::Kill && graceful >= GRACEFUL_OF_ONE_MAX {
            return Err(Failure::TooMany {
                kind: "stop",
                max: GRACEFUL_OF_ONE_MAX,
                kept: 0,
            });
        }
        let (to, answer) = watch::channel(None);
        under_way.push(UnderWay {
            how,
            since: Instant::now(),
            answer: answer.clone(),
        });
        drop(by_id);
        Ok(Opened::New(
            StopAnswer {
                stops: Arc::clone(self),
                id,
                to,
                _permit: permit,
            },
            Wait(answer),
        ))
    }

    // No code under the lock can panic; were it poisoned, the table would still be whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<ProcessId, Vec<UnderWay>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn joined(under_way: &[UnderWay], how: StopHow) -> Option<Wait> {
    let now = Instant::now();
    under_way
        .iter()
        .find(|other| other.covers(how, now))
        .map(|other| Wait(other.answer.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::ClientNumber;
    use crate::quota::{Limit, Quota};
    use prn_ipc_protocol::types::Millis;
    use std::time::Duration;

    const ID: ProcessId = ProcessId::from_bytes([1; 16]);

    fn grace(seconds: u64) -> StopHow {
        StopHow::Graceful(Some(
            Millis::try_from(Duration::from_secs(seconds)).unwrap(),
        ))
    }

    fn permit() -> Permit {
        let quota = Quota::new(Limit::own(1), Limit::own(1));
        Permit::Counted(quota.enter((), ClientNumber(1)).ok().unwrap())
    }

    fn opened(stops: &Arc<Stops>, how: StopHow) -> Option<StopAnswer> {
        match stops
            .open(ID, how, permit())
            .unwrap_or_else(|failure| panic!("{failure}"))
        {
            Opened::New(answer, _) => Some(answer),
            Opened::Joined(_) => None,
        }
    }

    #[test]
    fn only_a_stop_that_can_shorten_the_time_is_asked_for() {
        let stops = Arc::new(Stops::default());
        let mut answers = vec![opened(&stops, StopHow::Graceful(None)).unwrap()];
        assert!(stops.join(ID, StopHow::Graceful(None)).is_some());
        answers.push(opened(&stops, grace(300)).unwrap());
        assert!(opened(&stops, grace(300)).is_none() && opened(&stops, grace(301)).is_none());
        answers.push(opened(&stops, grace(200)).unwrap());
        answers.push(opened(&stops, StopHow::Kill).unwrap());
        for how in [StopHow::Graceful(None), grace(1), StopHow::Kill] {
            assert!(stops.join(ID, how).is_some());
        }
        assert!(
            stops
                .join(ProcessId::from_bytes([2; 16]), StopHow::Kill)
                .is_none()
        );
        drop(answers);
        assert!(stops.lock().is_empty());
    }

    #[test]
    fn shorter_and_shorter_graces_of_one_process_come_to_an_end_and_leave_room_to_kill() {
        let stops = Arc::new(Stops::default());
        let answers: Vec<_> = (1..=8)
            .rev()
            .map(|n| opened(&stops, grace(n * 10)).unwrap())
            .collect();
        assert!(matches!(
            stops.open(ID, grace(1), permit()),
            Err(Failure::TooMany { max: 8, .. })
        ));
        assert!(opened(&stops, StopHow::Kill).is_some());
        drop(answers);
    }
}
