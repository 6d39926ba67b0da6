//! How many requests may wait for the supervisor's answer: each kind has a share of its own, so
//! that none can keep the others out.

use std::sync::Arc;

use prn_ipc_protocol::message::REQUESTS_WAITING_MAX;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clients::{CHANGES_MAX, Client, Clients, FORGETTINGS_MAX, USAGES_MAX};
use crate::failure::Failure;
use crate::quota::{Full, Limit, Quota, Slot};

/// Most starts under way, of processes and, as creations, of workspaces.
const STARTS_MAX: u32 = 480;
/// Most stops with a grace time under way: one can last for that.
const GRACEFUL_STOPS_MAX: u32 = 368;
/// Most other stops under way. They are answered within seconds, so one that finds no room waits
/// until there is some.
const KILLS_MAX: usize = 64;
/// Most removals of workspaces under way that stop nothing, or kill: one lasts for as long as the
/// supervisor deletes before it answers. Those with a grace time count as such stops.
const REMOVALS_MAX: u32 = 16;
/// Most subscriptions under way. Their replies bring descriptors, of which a user can have only so
/// many in flight (ETOOMANYREFS, unix(7)). They are answered at once, so one that finds no room
/// waits until there is some.
const SUBSCRIPTIONS_MAX: usize = 16;
/// Most requests about inputs under way. Some of their replies bring a descriptor as well. All are
/// answered at once, so one that finds no room waits until there is some. Twice as many as
/// subscriptions: a stream asks for its descriptor, and for its end.
const INPUTS_MAX: usize = 32;
#[expect(clippy::as_conversions, reason = "no other conversion is const")]
const _: () = assert!(
    (STARTS_MAX + GRACEFUL_STOPS_MAX + REMOVALS_MAX) as usize
        + KILLS_MAX
        + SUBSCRIPTIONS_MAX
        + INPUTS_MAX
        + CHANGES_MAX
        + FORGETTINGS_MAX
        + USAGES_MAX
        <= REQUESTS_WAITING_MAX,
    "the supervisor's limit"
);

/// What requests may be under way.
#[derive(Debug, Clone)]
pub struct Permits {
    starts: Arc<Quota<()>>,
    graceful_stops: Arc<Quota<()>>,
    kills: Arc<Semaphore>,
    removals: Arc<Quota<()>>,
    subscriptions: Arc<Semaphore>,
    inputs: Arc<Semaphore>,
    changes: Arc<Semaphore>,
    forgettings: Arc<Semaphore>,
    usages: Arc<Semaphore>,
}

/// What counts a request until it is answered, whether or not anybody still waits for that.
#[derive(Debug)]
#[expect(dead_code, reason = "held for its drop")]
pub enum Permit {
    /// Of those that are refused when there are too many.
    Counted(Slot<()>),
    /// Of those that wait until there is room.
    Queued {
        of_client: OwnedSemaphorePermit,
        of_all: OwnedSemaphorePermit,
    },
}

impl Permits {
    /// Shared by these clients.
    pub fn new(clients: &Clients) -> Self {
        let quota = |max| {
            let limit = Limit::shared(max, clients.count());
            Quota::new(limit, limit)
        };
        Self {
            starts: quota(STARTS_MAX),
            graceful_stops: quota(GRACEFUL_STOPS_MAX),
            kills: Arc::new(Semaphore::new(KILLS_MAX)),
            removals: quota(REMOVALS_MAX),
            subscriptions: Arc::new(Semaphore::new(SUBSCRIPTIONS_MAX)),
            inputs: Arc::new(Semaphore::new(INPUTS_MAX)),
            changes: Arc::new(Semaphore::new(CHANGES_MAX)),
            forgettings: Arc::new(Semaphore::new(FORGETTINGS_MAX)),
            usages: Arc::new(Semaphore::new(USAGES_MAX)),
        }
    }

    /// For a start, or the creation of a workspace.
    pub fn start(&self, client: &Client) -> Result<Permit, Failure> {
        counted(&self.starts, client, "start")
    }

    /// For a stop with a grace time, of a process or of all that live in a workspace.
    pub fn graceful_stop(&self, client: &Client) -> Result<Permit, Failure> {
        counted(&self.graceful_stops, client, "stop")
    }

    /// For a stop without one.
    pub async fn kill(&self, client: &Client) -> Result<Permit, Failure> {
        queued(&self.kills, &client.kills).await
    }

    /// For the removal of a workspace without one.
    pub fn removal(&self, client: &Client) -> Result<Permit, Failure> {
        counted(&self.removals, client, "remove")
    }

    /// For a subscription.
    pub async fn subscription(&self, client: &Client) -> Result<Permit, Failure> {
        queued(&self.subscriptions, &client.subscriptions).await
    }

    /// For an input: to write to it, to end it, or to say how large its terminal is.
    pub async fn input(&self, client: &Client) -> Result<Permit, Failure> {
        queued(&self.inputs, &client.inputs).await
    }

    /// For a signal or an update.
    pub async fn change(&self, client: &Client) -> Result<Permit, Failure> {
        queued(&self.changes, &client.changes).await
    }

    /// For the removal of a process.
    pub async fn forgetting(&self, client: &Client) -> Result<Permit, Failure> {
        queued(&self.forgettings, &client.forgettings).await
    }

    /// For a look at what a process takes.
    pub async fn usage(&self, client: &Client) -> Result<Permit, Failure> {
        queued(&self.usages, &client.usages).await
    }
}

fn counted(quota: &Arc<Quota<()>>, client: &Client, kind: &'static str) -> Result<Permit, Failure> {
    let slot = quota.enter((), client.number);
    slot.map(Permit::Counted)
        .map_err(|Full { max, kept, .. }| Failure::TooMany { kind, max, kept })
}

/// First among the client's own, then among all that wait.
async fn queued(all: &Arc<Semaphore>, of_client: &Arc<Semaphore>) -> Result<Permit, Failure> {
    let acquire = async |semaphore: &Arc<Semaphore>| {
        let permit = Arc::clone(semaphore).acquire_owned().await;
        permit.map_err(|_| Failure::Closed)
    };
    let of_client = acquire(of_client).await?;
    Ok(Permit::Queued {
        of_all: acquire(all).await?,
        of_client,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::tests::{of, pin};
    use futures_util::FutureExt;

    fn clients(count: u8) -> (Permits, Vec<Arc<Client>>) {
        let pins: Vec<_> = (0..count)
            .map(|number| pin(&format!("c{number}"), &[number]))
            .collect();
        let clients = Clients::new(&pins, &Arc::default(), &crate::denials::Denials::default());
        let each = (0..usize::from(count)).map(|number| of(&clients, number).unwrap());
        (Permits::new(&clients), each.collect())
    }

    #[test]
    fn whatever_others_change_each_client_can_change_something_at_once() {
        for count in [2, 4, 5, 16] {
            let (permits, clients) = clients(count);
            let (last, greedy) = clients.split_last().unwrap();
            let mut held = vec![];
            for client in greedy {
                let change = || permits.change(client).now_or_never();
                held.extend(std::iter::from_fn(change));
            }
            assert!(held.len() > 3);
            assert!(permits.change(last).now_or_never().is_some(), "of {count}");
        }
    }

    #[test]
    fn removals_of_processes_keep_no_renewal_waiting() {
        let (permits, clients) = clients(4);
        let mut held = vec![];
        for client in &clients {
            let forgetting = || permits.forgetting(client).now_or_never();
            held.extend(std::iter::from_fn(forgetting));
        }
        assert_eq!(held.len(), FORGETTINGS_MAX);
        let [first, ..] = clients.as_slice() else {
            panic!("no client")
        };
        assert!(permits.change(first).now_or_never().is_some());
    }
}
