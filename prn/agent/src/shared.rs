//! What the agent's tasks share. They all run on one thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Arguments;
use std::time::Duration;

use prn_client::{Process, ProcessId};
use prn_fleet::etcd::jitter;
use prn_fleet::{Claimed, Fleet, FleetError, v1};
use prn_service::log;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::daemon::{Daemon, Session};
use crate::options::{Host, Options};
use crate::queue::Queue;
use crate::repeated::Repeated;

/// How long a host that was found full claims nothing: at first, and at most.
const FULL_TIME: Duration = Duration::from_secs(1);
const FULL_TIME_MAX: Duration = Duration::from_secs(30);
/// Most claims at a time.
const CLAIMS_MAX: usize = 16;
/// Waits after an error that may last.
const AGAIN: Duration = Duration::from_secs(2);

/// What was heard of a process that somebody follows.
#[derive(Debug, Clone, Default)]
pub enum Heard {
    /// Nothing yet.
    #[default]
    Nothing,
    /// How it is.
    Process(Box<Process>),
    /// The server does not have it any more, or it has not told how it ended: ask.
    Gone,
}

impl Heard {
    /// It is gone; unless its end was heard before that. Whether that changes anything.
    pub fn set_gone(&mut self) -> bool {
        let has_ended = matches!(self, Self::Process(process) if process.status.tree_empty);
        if !has_ended {
            *self = Self::Gone;
        }
        !has_ended
    }
}

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
    /// What is claimed or being claimed, and of which nobody was told yet that it runs, or does not.
    pub unsettled: RefCell<BTreeSet<String>>,
    /// Those who wait for the end of a process.
    pub followed: RefCell<BTreeMap<ProcessId, watch::Sender<Heard>>>,
    pub is_drained: Cell<bool>,
    pub is_ending: Cell<bool>,
    /// The claims of an agent before this one are known.
    pub is_reconciled: Cell<bool>,
    /// Nothing is claimed before that.
    pub full_until: Cell<Option<tokio::time::Instant>>,
    /// How often in a row the server had no room.
    times_full: Cell<u32>,
    /// How many are claimed at a time: one where the server had no room, and one more with each that
    /// was started since.
    pub at_a_time: Cell<usize>,
    /// The last of what was unsettled is not.
    pub is_settled: Notify,
    /// What waits has changed, for whoever looks after all of it.
    pub waits_changed: Notify,
    /// Something has changed that claims depend on.
    pub changed: Notify,
    /// Something has changed that others are told.
    pub announced: Notify,
    /// What was logged and lasts.
    repeated: RefCell<Repeated>,
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
            unsettled: RefCell::default(),
            followed: RefCell::default(),
            is_drained: Cell::default(),
            is_ending: Cell::default(),
            is_reconciled: Cell::default(),
            full_until: Cell::default(),
            times_full: Cell::default(),
            at_a_time: Cell::new(CLAIMS_MAX),
            is_settled: Notify::new(),
            waits_changed: Notify::new(),
            changed: Notify::new(),
            announced: Notify::new(),
            repeated: RefCell::default(),
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

    /// Logs what lasts, and would be logged again and again: once, and each quarter of an hour.
    pub fn log_lasting(&self, text: Arguments<'_>) {
        let is_due = |repeated: &mut Repeated| repeated.is_due(&text.to_string(), Instant::now());
        if is_due(&mut self.repeated.borrow_mut()) {
            log::line(text);
        }
    }

    /// An error with its causes, likewise.
    pub fn log_lasting_error(&self, error: &dyn Error) {
        self.log_lasting(format_args!("{}", log::chain(error)));
    }

    /// There is a connection to the server, or a lease: what has lasted is logged the next time.
    pub fn lasts_no_more(&self) {
        self.repeated.borrow_mut().is_over();
    }

    /// Tells of what in etcd is malformed, once of each.
    pub fn tell_malformed(&self) {
        for key in self.fleet.malformed() {
            log::line(format_args!(
                "{key:?} in etcd is not what prn writes there, or larger, and is passed over: find out \
                 who has written it, and `etcdctl del` it"
            ));
        }
    }

    /// What is held has changed.
    pub fn touch(&self) {
        self.changed.notify_one();
        self.announced.notify_one();
    }

    /// What waits has changed.
    pub fn queue_changed(&self) {
        self.changed.notify_one();
        self.waits_changed.notify_one();
    }

    /// Others have been told what became of a claim so far, or there is none.
    pub fn settled(&self, id: &str) {
        let mut unsettled = self.unsettled.borrow_mut();
        if unsettled.remove(id) && unsettled.is_empty() {
            self.is_settled.notify_waiters();
        }
    }

    /// Returns when nothing is unsettled.
    pub async fn all_settled(&self) {
        loop {
            let settled = self.is_settled.notified();
            if self.unsettled.borrow().is_empty() {
                return;
            }
            settled.await;
        }
    }

    /// The server has no room: nothing is claimed for a while, which is the longer the more often
    /// that is so.
    pub fn found_full(&self) {
        let times = self.times_full.get();
        self.times_full.set(times.saturating_add(1));
        self.at_a_time.set(1);
        let wait = grown(FULL_TIME, FULL_TIME_MAX, times);
        let until = tokio::time::Instant::now() + wait / 2 + jitter(wait / 2);
        self.full_until.set(Some(until));
        self.changed.notify_one();
    }

    /// The server has room: one has ended.
    pub fn has_room_again(&self) {
        self.times_full.set(0);
        self.full_until.set(None);
    }

    /// The server had room: one was started.
    pub fn started_one(&self) {
        let more = self.at_a_time.get().saturating_add(1);
        self.at_a_time.set(more.min(CLAIMS_MAX));
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
                Err(error) => self.log_lasting(format_args!(
                    "job {}: {}; trying again",
                    what.id,
                    log::chain(&error)
                )),
            }
            tokio::time::sleep(AGAIN + jitter(AGAIN)).await;
        }
    }
}

/// A time that is twice as long each time, up to a longest one.
pub fn grown(first: Duration, longest: Duration, times: u32) -> Duration {
    let factor = 1_u32.checked_shl(times).unwrap_or(u32::MAX);
    first.saturating_mul(factor.max(1)).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_grows_and_stays_at_its_longest() {
        let second = Duration::from_secs(1);
        let waits = [0, 1, 4, 5, 31, 32, u32::MAX].map(|times| grown(second, 30 * second, times));
        assert_eq!(waits.map(|wait| wait.as_secs()), [1, 2, 16, 30, 30, 30, 30]);
    }
}
