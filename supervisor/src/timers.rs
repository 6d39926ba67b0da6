//! Deadlines of processes, over one timerfd that is armed only while something is due. Runs in the supervisor.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// Names a deadline, to cancel it.
pub type Key = (Instant, u64);

/// Deadlines, each with what is due.
#[derive(Debug)]
pub struct Timers<T> {
    fd: TimerFd,
    due: BTreeMap<Key, T>,
    count: u64,
    armed: Option<Instant>,
}

impl<T> Timers<T> {
    /// None yet.
    ///
    /// # Errors
    /// As timerfd_create(2).
    pub fn new() -> nix::Result<Self> {
        // The monotonic clock: steps of the wall clock must not end a grace time.
        let fd = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        Ok(Self { fd, due: BTreeMap::new(), count: 0, armed: None })
    }

    /// Adds a deadline.
    pub fn add(&mut self, at: Instant, what: T) -> Key {
        self.count += 1;
        let key = (at, self.count);
        self.due.insert(key, what);
        key
    }

    /// Removes a deadline, if it is still there.
    pub fn cancel(&mut self, key: Key) {
        self.due.remove(&key);
    }

    /// Takes one deadline that has passed.
    pub fn take_due(&mut self, now: Instant) -> Option<T> {
        let entry = self.due.first_entry()?;
        if entry.key().0 <= now { Some(entry.remove()) } else { None }
    }

    /// Sets the timer to the next deadline. Call it before each wait.
    ///
    /// # Errors
    /// As timerfd_settime(2).
    pub fn arm(&mut self) -> nix::Result<()> {
        let next = self.due.first_key_value().map(|(key, _)| key.0);
        if next == self.armed {
            return Ok(());
        }
        self.armed = next;
        let Some(next) = next else { return self.fd.unset() };
        // Zero would disarm it.
        let left = next.saturating_duration_since(Instant::now()).max(std::time::Duration::from_nanos(1));
        self.fd.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())
    }

    /// Makes the timer unreadable again, after it has fired.
    pub fn clear(&mut self) {
        self.armed = None;
        // EAGAIN: it was set anew meanwhile.
        let _unused = self.fd.wait();
    }
}

impl<T> AsFd for Timers<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
