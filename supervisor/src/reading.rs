//! What follows from a look into a process's pipe. Runs in the supervisor; pure.

use std::time::Duration;

use nix::errno::Errno;
use prn_ipc_protocol::message::Overflow;

use crate::events::Interest;
use crate::process::Writers;

/// A pipe that had fewer bytes than this, and was read less than [`BUSY`] ago as well, is left to
/// fill for half of that time: short lines are then read many at a time (`make bench BENCH=output`
/// counts the wake-ups), and a line that comes alone is read at once. One with more may be full, as
/// a writer's length has it (pipe(7), F_SETPIPE_SZ): a pipe of 16 pages takes a write that does not
/// fit into the last one's rest from the next page on, and so holds between half of them and all.
pub(crate) const SMALL: u64 = 32 * 1024;
pub(crate) const BUSY: Duration = Duration::from_micros(if cfg!(feature = "unmoderated") {
    0
} else {
    400
});

/// How long a stream is not looked at that was opened and closed again.
const REOPENED: Duration = Duration::from_millis(1);

/// What a look into a pipe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// To take what is there, as much as is one process's share.
    Regular,
    /// To take all that is left, of a process that has ended.
    Last,
}

/// What stopped the reading of a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It is empty, as far as can be told, or the process has had its share.
    ForNow,
    /// Nobody has it open to write to.
    Closed,
    /// As much is there as is to be kept.
    Full,
    /// What is there cannot be kept.
    Failed(Errno),
}

/// How a process writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Little at a time or nothing, and often.
    Trickle,
    /// In any other way.
    Ordinary,
}

impl Pace {
    /// From the bytes that were read, and the time since the last read.
    pub fn of(read: u64, since: Duration) -> Self {
        if since < BUSY && read <= SMALL {
            Self::Trickle
        } else {
            Self::Ordinary
        }
    }
}

/// When a pipe is looked into again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// Never: it is closed.
    Never,
    /// When somebody says so: it can be kept again.
    WhenTold,
    /// When the event loop, which is watching, tells.
    AsWatched,
    /// When the event loop tells, which is to watch for this.
    On(Interest),
    /// After this time.
    After(Duration),
}

/// Decides when a pipe is looked into again, and who is taken to have it open to write to then.
pub(crate) fn again(stopped: Stopped, writers: Writers, pace: Pace) -> (Again, Writers) {
    match (stopped, writers) {
        (Stopped::Failed(_), _) => (Again::Never, writers),
        (Stopped::Full, _) => (Again::WhenTold, writers),
        (Stopped::Closed, Writers::Some) => (Again::On(Interest::Changed), Writers::None),
        (Stopped::Closed, Writers::None) => (Again::AsWatched, Writers::NoneAsTold),
        // Somebody has opened and closed it, which can be done without end.
        (Stopped::Closed, Writers::NoneAsTold) => (Again::After(REOPENED), Writers::Some),
        (Stopped::ForNow, _) => match pace {
            Pace::Trickle => (Again::After(BUSY / 2), Writers::Some),
            Pace::Ordinary => (Again::On(Interest::ReadableOnce), Writers::Some),
        },
    }
}

/// What comes of it for the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// Nothing.
    Nothing,
    /// It waits for its readers.
    Wait,
    /// It is killed, for what it wrote is more than is to be kept.
    Kill,
    /// It is killed, for what it wrote cannot be kept: it must not go on as if it were, nor be told
    /// as complete if it has ended by itself.
    KillAsIncomplete,
}

/// Decides by what was asked for where no more can be kept.
pub(crate) fn consequence(stopped: Stopped, overflow: Overflow) -> Consequence {
    match (stopped, overflow) {
        (Stopped::ForNow | Stopped::Closed, _) => Consequence::Nothing,
        (Stopped::Failed(_), _) => Consequence::KillAsIncomplete,
        (Stopped::Full, Overflow::Kill) => Consequence::Kill,
        (Stopped::Full, Overflow::DropOldest | Overflow::Wait | Overflow::Follow(_)) => {
            Consequence::Wait
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITERS: [Writers; 3] = [Writers::Some, Writers::None, Writers::NoneAsTold];
    const PACES: [Pace; 2] = [Pace::Trickle, Pace::Ordinary];

    #[test]
    fn only_short_reads_in_quick_succession_are_a_trickle() {
        let just_now = BUSY.saturating_sub(Duration::from_nanos(1));
        for (read, since, expected) in [
            // It was opened and closed, which costs a look too.
            (0, just_now, Pace::Trickle),
            (0, BUSY, Pace::Ordinary),
            (1, just_now, Pace::Trickle),
            (1, BUSY, Pace::Ordinary),
            (SMALL, just_now, Pace::Trickle),
            (SMALL + 1, just_now, Pace::Ordinary),
        ] {
            // Without moderation nothing is.
            let expected = if BUSY.is_zero() {
                Pace::Ordinary
            } else {
                expected
            };
            assert_eq!(Pace::of(read, since), expected, "{read} {since:?}");
        }
    }

    #[test]
    fn a_pipe_is_looked_into_again_whatever_stopped_the_reading_but_a_failure() {
        for writers in WRITERS {
            for pace in PACES {
                let failed = Stopped::Failed(Errno::ENOSPC);
                assert_eq!(again(failed, writers, pace), (Again::Never, writers));
                let full = again(Stopped::Full, writers, pace);
                assert_eq!(full, (Again::WhenTold, writers));
            }
            assert_eq!(
                again(Stopped::ForNow, writers, Pace::Trickle),
                (Again::After(BUSY / 2), Writers::Some)
            );
            assert_eq!(
                again(Stopped::ForNow, writers, Pace::Ordinary),
                (Again::On(Interest::ReadableOnce), Writers::Some)
            );
        }
    }

    #[test]
    fn a_stream_that_nobody_writes_to_is_watched_for_changes_and_soon_left_alone() {
        for pace in PACES {
            let mut writers = Writers::Some;
            let mut looks = Vec::new();
            for _ in 0..4 {
                let (look, now) = again(Stopped::Closed, writers, pace);
                looks.push(look);
                writers = now;
            }
            let watched = Again::On(Interest::Changed);
            let paused = Again::After(REOPENED);
            assert_eq!(looks, [watched, Again::AsWatched, paused, watched]);
        }
    }

    #[test]
    fn where_no_more_can_be_kept_the_process_waits_or_is_killed_as_it_asked_for() {
        let follow = Overflow::Follow(1.try_into().unwrap());
        let failed = Stopped::Failed(Errno::ENOSPC);
        for overflow in [Overflow::DropOldest, Overflow::Wait, Overflow::Kill, follow] {
            for stopped in [Stopped::ForNow, Stopped::Closed] {
                assert_eq!(consequence(stopped, overflow), Consequence::Nothing);
            }
            let full = if overflow == Overflow::Kill {
                Consequence::Kill
            } else {
                Consequence::Wait
            };
            assert_eq!(consequence(Stopped::Full, overflow), full);
            let incomplete = Consequence::KillAsIncomplete;
            assert_eq!(consequence(failed, overflow), incomplete);
        }
    }
}
