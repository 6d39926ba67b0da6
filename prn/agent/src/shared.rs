//! What the agent's tasks share. They all run on one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use prn_client::{Process, ProcessId};
use prn_fleet::etcd::jitter;
use prn_fleet::{Claimed, Fleet, FleetError, Record, v1};
use prn_service::log;
use tokio::sync::{Notify, watch};

use crate::daemon::{Daemon, Session};
use crate::options::{Host, Options};

/// How long a host that was found full claims nothing.
pub const FULL_TIME: Duration = Duration::from_secs(2);
/// Waits after an error that may last.
const AGAIN: Duration = Duration::from_secs(2);

/// What waits, by the order in which it is taken.
pub type Queue = BTreeMap<(i64, String), Record<v1::Waiting>>;

/// All of it.
pub struct Shared {
    pub fleet: Fleet,
    pub daemon: Daemon,
    pub host: Host,
    pub lease_lasts: Duration,
    pub lost_after: Duration,
    /// The connection to the server. `None`: there is none.
    pub session: watch::Sender<Option<Session>>,
    /// The lease that the host is announced under. `None`: none that lasts.
    pub lease: watch::Sender<Option<i64>>,
    /// What waits in the fleet.
    pub queue: RefCell<Queue>,
    /// What is claimed or being claimed here, with what it takes.
    pub held: RefCell<BTreeMap<String, v1::Resources>>,
    /// Those who wait for the end of a process.
    pub followed: RefCell<BTreeMap<ProcessId, watch::Sender<Option<Process>>>>,
    pub is_drained: Cell<bool>,
    pub is_ending: Cell<bool>,
    /// The claims of an agent before this one are known.
    pub is_reconciled: Cell<bool>,
    /// Nothing is claimed before that.
    pub full_until: Cell<Option<tokio::time::Instant>>,
    /// Something has changed that claims depend on.
    pub changed: Notify,
    /// Something has changed that others are told.
    pub announced: Notify,
}

impl Shared {
    /// Nothing is known yet.
    pub fn new(fleet: Fleet, daemon: Daemon, host: Host, options: &Options) -> Self {
        Self {
            fleet,
            daemon,
            host,
            lease_lasts: options.lease(),
            lost_after: options.lost_after(),
            session: watch::Sender::new(None),
            lease: watch::Sender::new(None),
            queue: RefCell::default(),
            held: RefCell::default(),
            followed: RefCell::default(),
            is_drained: Cell::default(),
            is_ending: Cell::default(),
            is_reconciled: Cell::default(),
            full_until: Cell::default(),
            changed: Notify::new(),
            announced: Notify::new(),
        }
    }

    /// What is left for jobs.
    pub fn free(&self) -> v1::Resources {
        let mut free = self.host.announced.capacity.unwrap_or_default();
        for needs in self.held.borrow().values() {
            free.processes = free.processes.saturating_sub(needs.processes.max(1));
            free.memory_bytes = free.memory_bytes.saturating_sub(needs.memory_bytes);
            free.cpu_millis = free.cpu_millis.saturating_sub(needs.cpu_millis);
        }
        free
    }

    /// What is held has changed.
    pub fn touch(&self) {
        self.changed.notify_one();
        self.announced.notify_one();
    }

    /// The connection to the server, as soon as there is one.
    pub async fn connected(&self) -> Session {
        let mut sessions = self.session.subscribe();
        loop {
            if let Some(session) = sessions.borrow_and_update().clone() {
                return session;
            }
            // There is a sender as long as this is.
            let _never_gone = sessions.changed().await;
        }
    }

    /// Gives a connection up, if it is the one that there is.
    pub fn disconnected(&self, epoch: &str) {
        self.session.send_if_modified(|session| {
            let is_it = session
                .as_ref()
                .is_some_and(|session| session.epoch == epoch);
            if is_it {
                *session = None;
            }
            is_it
        });
    }

    /// Does something in etcd, again until it is done: nobody else can.
    pub async fn surely<T>(
        &self,
        what: &Claimed,
        act: impl AsyncFn() -> Result<T, FleetError>,
    ) -> T {
        loop {
            match act().await {
                Ok(done) => return done,
                Err(error) => log::line(format_args!(
                    "job {}: {}; trying again",
                    what.id,
                    log::chain(&error)
                )),
            }
            tokio::time::sleep(AGAIN + jitter(AGAIN)).await;
        }
    }
}
