//! What the subscribers of one process share: its open output, and what is known of its end.
//!
//! Nothing here asks the supervisor for anything: who subscribes says how.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prn_ipc_protocol::output::Reader;
use prn_ipc_protocol::types::ProcessId;
use tokio::sync::watch;

use crate::failure::Failure;
use crate::subscribe::keepers::Keepers;
use crate::subscribe::readers::Readers;

/// About what it takes to wake a follower and send it a line.
const SERVING: Duration = Duration::from_micros(10);

/// Nobody waits for longer than this for a line, however many follow, and nobody for less than a
/// timer can tell.
const PAUSE_MAX: Duration = Duration::from_millis(50);
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Followers of a process that were told of fewer bytes than this, less than that ago, wait as long
/// as a timer can tell: short lines are then sent many at a time, and a line that comes alone at
/// once. (The supervisor's reads do the same.)
const BUSY_BYTES: u64 = 1024 * 1024;
const BUSY: Duration = Duration::from_micros(if cfg!(feature = "unmoderated") {
    0
} else {
    200
});

/// What the subscribers of one process share.
#[derive(Debug)]
pub struct Hub {
    id: ProcessId,
    /// Open while anybody subscribes.
    reader: tokio::sync::Mutex<Weak<Reader>>,
    /// The `seen` of the Watch whose event has not come yet.
    armed: Mutex<Option<u64>>,
    /// What the last event told.
    newest: watch::Sender<Newest>,
    /// When that was told to followers, and how much more it was than before.
    told: Mutex<Option<(Instant, u64)>>,
    readers: Mutex<Readers>,
    keepers: Mutex<Keepers>,
}

/// What is known of an output's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Newest {
    /// The output goes on, and ends there.
    End(u64),
    /// The process has ended and is forgotten.
    Forgotten,
}

/// Whether who waits will be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Armed {
    /// An event will come if the output goes on.
    Waits,
    /// Somebody has seen a later end already.
    Stale,
}

impl Hub {
    /// Without subscribers.
    pub fn new(id: ProcessId) -> Self {
        Self {
            id,
            reader: tokio::sync::Mutex::default(),
            armed: Mutex::default(),
            newest: watch::Sender::new(Newest::End(0)),
            told: Mutex::default(),
            readers: Mutex::default(),
            keepers: Mutex::default(),
        }
    }

    /// Whose output it is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// What is known of the end now and later.
    pub fn newest(&self) -> watch::Receiver<Newest> {
        self.newest.subscribe()
    }

    /// How far its subscribers are.
    pub fn readers(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who keep its process's lease.
    pub fn keepers(&self) -> MutexGuard<'_, Keepers> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The supervisor's event: the end lies at `end` now.
    pub fn advance(&self, end: u64) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // What was held back must not undo that the process is forgotten.
        self.newest.send_if_modified(|newest| {
            let Newest::End(before) = newest else {
                return false;
            };
            let told = Some((Instant::now(), end.saturating_sub(*before)));
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
            *before = end;
            true
        });
    }

    /// How long to hold such an event back, so that followers are not woken for each of many lines,
    /// nor more often than so many can be served. Each line would be a frame of its own for each of
    /// them, and clients end a connection on which too many small frames wait for them.
    pub fn pause(&self) -> Duration {
        let followers = u32::try_from(self.newest.receiver_count()).unwrap_or(u32::MAX);
        let pause = SERVING.saturating_mul(followers).min(PAUSE_MAX);
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((told, bytes)) = told.map(|(told, bytes)| (told.elapsed(), bytes)) else {
            return Duration::ZERO;
        };
        if pause >= PAUSE_MIN {
            pause.saturating_sub(told)
        } else if told < BUSY && bytes < BUSY_BYTES {
            PAUSE_MIN
        } else {
            Duration::ZERO
        }
    }

    /// The supervisor's event: the process has ended and is forgotten.
    pub fn forget(&self) {
        self.newest.send_replace(Newest::Forgotten);
    }

    /// The output, if it is open and nobody is about to open it.
    pub fn reader(&self) -> Option<Arc<Reader>> {
        self.reader.try_lock().ok()?.upgrade()
    }

    /// The output. Who comes first opens it, and others wait for that.
    ///
    /// # Errors
    /// Those of `open`, which is only waited for if the output is not open.
    pub async fn reader_or(
        &self,
        open: impl Future<Output = Result<Reader, Failure>>,
    ) -> Result<Arc<Reader>, Failure> {
        let mut slot = self.reader.lock().await;
        if let Some(reader) = slot.upgrade() {
            return Ok(reader);
        }
        let reader = Arc::new(open.await?);
        *slot = Arc::downgrade(&reader);
        Ok(reader)
    }

    /// Sees to it that an event comes when the end goes beyond `seen`: `ask` asks for one.
    pub fn arm(&self, seen: u64, ask: impl FnOnce()) -> Armed {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        match *armed {
            Some(other) if other > seen => Armed::Stale,
            // Its event is due, or due as soon as ours would be.
            Some(_) => Armed::Waits,
            None => {
                *armed = Some(seen);
                // Before the lock is given back: what others ask for comes after it.
                ask();
                Armed::Waits
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_followers_are_told_no_more_often_than_they_can_be_served() {
        let hub = Hub::new(ProcessId::from_bytes([0; 16]));
        let mut followers: Vec<_> = (0..10).map(|_| hub.newest.subscribe()).collect();
        assert_eq!(hub.pause(), Duration::ZERO);
        hub.advance(BUSY_BYTES);
        assert_eq!(
            hub.pause(),
            Duration::ZERO,
            "a few are told of much at once"
        );
        followers.extend((0..10_000).map(|_| hub.newest.subscribe()));
        // This thread may have to wait for longer than that in between.
        let mut pauses = std::iter::repeat_with(|| {
            hub.advance(BUSY_BYTES + 1);
            hub.pause()
        });
        let pause = pauses
            .by_ref()
            .take(100)
            .find(|pause| !pause.is_zero())
            .expect("many are not told at once");
        assert!(pause <= PAUSE_MAX, "{pause:?}");
        std::thread::sleep(PAUSE_MAX);
        assert_eq!(hub.pause(), Duration::ZERO);
    }

    #[test]
    fn a_follower_is_told_of_a_line_at_once_and_of_many_together() {
        let hub = Hub::new(ProcessId::from_bytes([0; 16]));
        let _follower = hub.newest.subscribe();
        assert_eq!(hub.pause(), Duration::ZERO, "nothing was told yet");
        let mut lines = 0;
        // This thread may have to wait for longer than that in between.
        let mut pauses = std::iter::repeat_with(|| {
            lines += 100;
            hub.advance(lines);
            hub.pause()
        });
        assert!(pauses.by_ref().take(100).any(|pause| pause == PAUSE_MIN));
        std::thread::sleep(BUSY);
        assert_eq!(hub.pause(), Duration::ZERO, "a line that comes alone");
    }
}
