//! Deadlines, over one timerfd that is armed only while something is due. Runs in the supervisor.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// Deadlines, each with what is due.
pub struct Timers<T> {
    /// Readable when a deadline has passed.
    pub fd: TimerFd,
    /// By time, then in the order in which they were added.
    due: BTreeMap<(Instant, u64), T>,
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
    pub fn add(&mut self, at: Instant, what: T) {
        self.count += 1;
        self.due.insert((at, self.count), what);
    }

    /// Removes deadlines for which `keep` is false.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        self.due.retain(|_, what| keep(what));
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
        let left = next.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        self.fd.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())
    }

    /// Makes the timer unreadable again, after it has fired.
    pub fn clear(&mut self) {
        self.armed = None;
        // EAGAIN: it was set anew meanwhile.
        let _unused = self.fd.wait();
    }
}
