//! How far the server's life has come, and what is next. Runs in the supervisor; pure.

use std::time::{Duration, Instant};

use prn_ipc_protocol::message::StopHow;

/// How long the frontend has, at shutdown, to send what its clients have not read yet.
const FLUSH_WAIT: Duration = Duration::from_secs(2);

/// How far the server's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It serves.
    Serving,
    /// All processes are being stopped.
    Stopping,
    /// Nothing of any process is left but what cannot be killed: the frontend is to end.
    Flushing {
        /// How long it has to end by itself, once it was sent everything.
        until: Instant,
    },
}

/// What is left of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Processes {
    /// Some are there.
    Left,
    /// None, but what could not be killed or removed.
    Gone,
}

/// Whether there is a frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frontend {
    /// There is one.
    Lives,
    /// It has ended.
    Gone,
}

impl Stage {
    /// How processes are stopped when the server is told to stop. The second time does not wait for
    /// grace times.
    pub fn how_to_stop(self) -> StopHow {
        match self {
            Self::Serving => StopHow::Graceful(None),
            Self::Stopping | Self::Flushing { .. } => StopHow::Kill,
        }
    }

    /// The stage once the server was told to stop.
    pub fn stopped(self) -> Self {
        match self {
            Self::Serving => Self::Stopping,
            Self::Stopping | Self::Flushing { .. } => self,
        }
    }

    /// The stage after a look at the processes.
    pub fn after(self, processes: Processes, now: Instant) -> Self {
        match (self, processes) {
            (Self::Stopping, Processes::Gone) => Self::Flushing {
                until: now + FLUSH_WAIT,
            },
            (Self::Serving | Self::Flushing { .. }, _) | (Self::Stopping, Processes::Left) => self,
        }
    }

    /// Whether there is nothing more to wait for.
    pub fn is_over(self, frontend: Frontend, now: Instant) -> bool {
        match (self, frontend) {
            (Self::Serving | Self::Stopping, _) => false,
            (Self::Flushing { .. }, Frontend::Gone) => true,
            (Self::Flushing { until }, Frontend::Lives) => until <= now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages(now: Instant) -> [Stage; 3] {
        let until = now + FLUSH_WAIT;
        [Stage::Serving, Stage::Stopping, Stage::Flushing { until }]
    }

    #[test]
    fn the_second_signal_does_not_wait_for_grace_times() {
        let hows = stages(Instant::now()).map(Stage::how_to_stop);
        let graceful = StopHow::Graceful(None);
        assert_eq!(hows, [graceful, StopHow::Kill, StopHow::Kill]);
    }

    #[test]
    fn a_server_that_stops_never_serves_again() {
        let now = Instant::now();
        let [serving, stopping, flushing] = stages(now);
        assert_eq!(serving.stopped(), stopping);
        assert_eq!(stopping.stopped(), stopping);
        assert_eq!(flushing.stopped(), flushing);
        for processes in [Processes::Left, Processes::Gone] {
            assert_eq!(serving.after(processes, now), serving);
            let later = now + Duration::from_secs(1);
            assert_eq!(flushing.after(processes, later), flushing);
        }
        assert_eq!(stopping.after(Processes::Left, now), stopping);
        assert_eq!(stopping.after(Processes::Gone, now), flushing);
    }

    #[test]
    fn the_frontend_is_waited_for_until_it_has_ended_but_not_for_long() {
        let now = Instant::now();
        let [serving, stopping, flushing] = stages(now);
        let long_after = now + Duration::from_secs(3600);
        for frontend in [Frontend::Lives, Frontend::Gone] {
            assert!(!serving.is_over(frontend, long_after));
            assert!(!stopping.is_over(frontend, long_after));
        }
        assert!(flushing.is_over(Frontend::Gone, now));
        assert!(!flushing.is_over(Frontend::Lives, now));
        assert!(flushing.is_over(Frontend::Lives, now + FLUSH_WAIT));
    }
}
