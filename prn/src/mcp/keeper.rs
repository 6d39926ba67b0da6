//! Keeps what an agent has started, for as long as the agent is there.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use prn_client::{Client, ClientError, NewLease, ProcessId, StartSpec, Update, mint_id};
use prn_proto::units::Label;
use tokio::time::Instant;

use crate::calls::act::stop_by_id;
use crate::calls::session::Session;

/// How often it is looked whether a lease is to be renewed: the shortest that a server gives is
/// longer.
const TICK: Duration = Duration::from_millis(500);

/// A lease is renewed so many times before it would end.
const TIMES: u32 = 3;

/// The label that says what has started a process.
const STARTED_BY: (&str, &str) = ("started-by", "prn-mcp");

/// The label that says in which session.
const SESSION: &str = "mcp-session";

/// What an agent has started.
#[derive(Debug)]
pub struct Keeper {
    session: Rc<Session>,
    /// Of all that is started. `None`: it goes on without the agent.
    lease: Option<Duration>,
    /// Random name of this session.
    name: String,
    kept: RefCell<Vec<Kept>>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    id: ProcessId,
    every: Duration,
    next: Instant,
}

impl Keeper {
    /// Of nothing yet.
    pub fn new(session: Rc<Session>, lease: Option<Duration>) -> Result<Self, ClientError> {
        let name = mint_id()?.to_string().chars().take(12).collect();
        Ok(Self {
            session,
            lease,
            name,
            kept: RefCell::default(),
        })
    }

    /// Marks what is to be started. What the agent itself says of its lease shortens it.
    pub fn mark(&self, spec: &mut StartSpec) {
        spec.lease = shorter(spec.lease, self.lease);
        let (key, value) = STARTED_BY;
        for (key, value) in [(key, value), (SESSION, self.name.as_str())] {
            spec.labels.push(Label {
                key: key.to_owned(),
                value: value.to_owned(),
            });
        }
    }

    /// Keeps what was started.
    pub fn keep(&self, id: ProcessId, spec: &StartSpec) {
        if let Some(lease) = spec.lease {
            let every = lease / TIMES;
            self.kept.borrow_mut().push(Kept {
                id,
                every,
                next: Instant::now() + every,
            });
        }
    }

    /// Renews leases, for ever.
    pub async fn run(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            let now = Instant::now();
            let kept = self.kept.borrow().clone();
            let due = kept.into_iter().filter(|kept| kept.next <= now);
            join_all(due.map(|kept| self.renew(kept))).await;
        }
    }

    async fn renew(&self, kept: Kept) {
        let update = Update {
            lease: Some(NewLease::Same),
            ..Update::default()
        };
        let id = kept.id;
        let renewed = self
            .session
            .once(async |client: Client| client.update_process(id, &update).await);
        let renewed = renewed.await;
        let is_over =
            renewed.is_err_and(|error| !error.is_transient() && error.refusal().is_some());
        let mut all = self.kept.borrow_mut();
        if is_over {
            all.retain(|other| other.id != id);
        } else if let Some(kept) = all.iter_mut().find(|other| other.id == id) {
            kept.next = Instant::now() + kept.every;
        }
    }

    /// Stops all that was started and is still there.
    pub async fn stop_all(&self) {
        if self.lease.is_none() {
            return;
        }
        let kept = self.kept.take();
        join_all(
            kept.iter()
                .map(|kept| stop_by_id(&self.session, kept.id, None)),
        )
        .await;
    }
}

/// The lease that ends first. None at all is as long as it gets.
fn shorter(wanted: Option<Duration>, longest: Option<Duration>) -> Option<Duration> {
    let wanted = wanted.filter(|wanted| !wanted.is_zero());
    wanted.into_iter().chain(longest).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_makes_its_lease_shorter_and_never_longer() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (wanted, longest, lease) in [
            (None, seconds(60), seconds(60)),
            (seconds(5), seconds(60), seconds(5)),
            (seconds(86_400), seconds(60), seconds(60)),
            (seconds(0), seconds(60), seconds(60)),
            (seconds(86_400), None, seconds(86_400)),
            (None, None, None),
        ] {
            assert_eq!(shorter(wanted, longest), lease, "{wanted:?} {longest:?}");
        }
    }
}
