//! What a stop comes to. Runs in the supervisor; pure.

use std::time::{Duration, Instant};

use prn_ipc_protocol::message::{ExitCause, StopHow};

/// A stop under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// What the main process's end will be put down to.
    pub cause: ExitCause,
    /// When what is left is killed.
    pub kill_at: Instant,
    /// It was killed.
    pub killed: bool,
}

/// How far a process has come that is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Its tree is alive, and this stop is under way.
    Running(Option<Stopping>),
    /// Its tree is gone; what it has left is being removed.
    Removing,
}

/// What a stop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing: what is under way does all of it.
    Nothing,
    /// Kill the child that removes what is left, so that the answer need not wait for it.
    KillRemover,
    /// Begin: ask all to end, and kill what is left then.
    Ask {
        /// The time until then.
        grace: Duration,
    },
    /// Begin, and kill at once.
    BeginKill,
    /// Kill earlier than was planned.
    Shorten {
        /// The time until then.
        grace: Duration,
    },
    /// Kill what is alive now, again if it was killed before.
    Kill,
}

/// Decides by how far the process has come. `patience` is the grace time that it was started with.
pub(crate) fn stop(state: State, how: StopHow, patience: Duration, now: Instant) -> Action {
    let grace = match how {
        StopHow::Graceful(grace) => grace.map_or(patience, |grace| grace.duration()),
        StopHow::Kill => Duration::ZERO,
    };
    match state {
        State::Removing if how == StopHow::Kill => Action::KillRemover,
        State::Removing => Action::Nothing,
        State::Running(None) if grace.is_zero() => Action::BeginKill,
        State::Running(None) => Action::Ask { grace },
        // Once more: the answer comes when it has worked, or when what is left is stuck.
        State::Running(Some(Stopping { killed: true, .. })) => Action::Kill,
        // A repeated stop can shorten the grace time, never extend it.
        State::Running(Some(stopping)) if stopping.kill_at <= now + grace => Action::Nothing,
        State::Running(Some(_)) if grace.is_zero() => Action::Kill,
        State::Running(Some(_)) => Action::Shorten { grace },
    }
}

/// Whether a tree is to be killed now that a grace time is over: a later, shorter stop may have
/// been here before. A child that cleans up has no stop, and no more time.
pub(crate) fn is_kill_due(stopping: Option<Stopping>, now: Instant) -> bool {
    stopping.is_none_or(|stopping| !stopping.killed && stopping.kill_at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn graceful(grace: u64) -> StopHow {
        StopHow::Graceful(Some((grace * 1000).try_into().unwrap()))
    }

    fn under_way(kill_at: Instant, killed: bool) -> State {
        State::Running(Some(Stopping {
            cause: ExitCause::StoppedOnRequest,
            kill_at,
            killed,
        }))
    }

    #[test]
    fn a_stop_does_what_is_left_to_do_and_never_gives_more_time() {
        let now = Instant::now();
        let in_5 = now + seconds(5);
        let default = StopHow::Graceful(None);
        for (what, state, how, expected) in [
            (
                "first",
                State::Running(None),
                default,
                Action::Ask { grace: PATIENCE },
            ),
            (
                "first, of its own grace",
                State::Running(None),
                graceful(3),
                Action::Ask { grace: seconds(3) },
            ),
            (
                "first, longer than it was started with",
                State::Running(None),
                graceful(60),
                Action::Ask { grace: seconds(60) },
            ),
            (
                "first, without grace",
                State::Running(None),
                graceful(0),
                Action::BeginKill,
            ),
            (
                "first, a kill",
                State::Running(None),
                StopHow::Kill,
                Action::BeginKill,
            ),
            (
                "repeated",
                under_way(now + PATIENCE, false),
                default,
                Action::Nothing,
            ),
            (
                "repeated later",
                under_way(in_5, false),
                default,
                Action::Nothing,
            ),
            (
                "longer grace",
                under_way(in_5, false),
                graceful(60),
                Action::Nothing,
            ),
            (
                "the same grace",
                under_way(in_5, false),
                graceful(5),
                Action::Nothing,
            ),
            (
                "shorter grace",
                under_way(in_5, false),
                graceful(4),
                Action::Shorten { grace: seconds(4) },
            ),
            (
                "no grace any more",
                under_way(in_5, false),
                graceful(0),
                Action::Kill,
            ),
            (
                "a kill after it",
                under_way(in_5, false),
                StopHow::Kill,
                Action::Kill,
            ),
            // The deadline is handled in the same pass of the loop.
            (
                "a kill when it is due",
                under_way(now, false),
                StopHow::Kill,
                Action::Nothing,
            ),
            (
                "killed already",
                under_way(now, true),
                default,
                Action::Kill,
            ),
            (
                "killed already, a longer grace",
                under_way(now, true),
                graceful(60),
                Action::Kill,
            ),
            (
                "killed already, a kill",
                under_way(in_5, true),
                StopHow::Kill,
                Action::Kill,
            ),
            ("removing", State::Removing, default, Action::Nothing),
            (
                "removing, without grace",
                State::Removing,
                graceful(0),
                Action::Nothing,
            ),
            (
                "removing, a kill",
                State::Removing,
                StopHow::Kill,
                Action::KillRemover,
            ),
        ] {
            assert_eq!(stop(state, how, PATIENCE, now), expected, "{what}");
        }
    }

    #[test]
    fn what_was_started_without_grace_has_none() {
        let now = Instant::now();
        let how = StopHow::Graceful(None);
        let action = stop(State::Running(None), how, Duration::ZERO, now);
        assert_eq!(action, Action::BeginKill);
    }

    #[test]
    fn the_deadline_of_a_stop_kills_once_and_not_early() {
        let now = Instant::now();
        let stopping = |kill_at, killed| {
            Some(Stopping {
                cause: ExitCause::TimedOut,
                kill_at,
                killed,
            })
        };
        for (stopping, expected) in [
            (stopping(now, false), true),
            (stopping(now - seconds(1), false), true),
            (stopping(now + seconds(1), false), false),
            (stopping(now, true), false),
            (None, true),
        ] {
            assert_eq!(is_kill_due(stopping, now), expected, "{stopping:?}");
        }
    }
}
