//! What was counted of processes since this half knows them: a part of the
//! [`Mirror`](crate::mirror::Mirror). Pure.

use prn_ipc_protocol::message::{ExitCause, ProcessInfo};

/// All causes, in the order of [`Tally::ends`].
pub const CAUSES: [ExitCause; 8] = [
    ExitCause::Exited,
    ExitCause::Signalled,
    ExitCause::OomKilled,
    ExitCause::TimedOut,
    ExitCause::StoppedOnRequest,
    ExitCause::OutputLimit,
    ExitCause::DiskLimit,
    ExitCause::LeaseExpired,
];

/// What has happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Nothing is counted before: what is told first has happened earlier.
    is_counting: bool,
    /// Processes that have started.
    pub starts: u64,
    /// Processes that have ended, by why their main process has.
    pub ends: [u64; CAUSES.len()],
    /// Bytes of output of those that have ended.
    pub output: u64,
    /// Bytes of these that were dropped before their end.
    pub output_dropped: u64,
}

impl Tally {
    /// From now on, what is told happens.
    pub fn begin(&mut self) {
        self.is_counting = true;
    }

    /// A process was this, if there was one, and is that.
    pub fn changed(&mut self, was: Option<&ProcessInfo>, is: &ProcessInfo) {
        if !self.is_counting {
            return;
        }
        if was.is_none() {
            self.starts = self.starts.saturating_add(1);
        }
        let had_ended = was.is_some_and(|was| was.end.is_some());
        let Some(end) = is.end.as_ref().filter(|_| !had_ended) else {
            return;
        };
        let cause = is.main_exit.map(|exit| exit.cause);
        for (count, of) in self.ends.iter_mut().zip(CAUSES) {
            if Some(of) == cause {
                *count = count.saturating_add(1);
            }
        }
        self.output = self.output.saturating_add(end.output.end);
        self.output_dropped = self.output_dropped.saturating_add(end.output.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::{ended, info};
    use prn_ipc_protocol::message::{ExitStatus, OutputTotals};

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn starts_and_ends_are_counted_once_and_not_those_of_before() {
        let running = info(A, 1);
        let totals = OutputTotals {
            first: 10,
            end: 100,
            ..Default::default()
        };
        let over = ended(
            info(A, 1),
            ExitStatus::Exited(1),
            ExitCause::OomKilled,
            totals,
        );
        let mut tally = Tally::default();
        tally.changed(None, &running);
        assert_eq!(tally, Tally::default());
        tally.begin();
        tally.changed(None, &running);
        tally.changed(Some(&running), &running);
        tally.changed(Some(&running), &over);
        tally.changed(Some(&over), &over);
        assert_eq!((tally.starts, tally.ends.iter().sum::<u64>()), (1, 1));
        assert_eq!(tally.ends, [0, 0, 1, 0, 0, 0, 0, 0]);
        assert_eq!((tally.output, tally.output_dropped), (100, 10));
    }
}
