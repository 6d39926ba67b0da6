//! What becomes of a claim, from what the server says: no I/O.

use prn_client::{Exit, ExitKind, Process, reason};
use prn_fleet::{Claimed, v1};
use prn_proto::v1::{ExitCause, Usage, exit_cause};
use v1::outcome::State;

/// Why nobody knows what became of a start that the agent cannot look at.
pub const NOT_SEEN: &str = "NOT_SEEN";
/// Most characters of a reason's name, and of what it says.
const REASON_MAX: usize = 100;
const WHY_MAX: usize = 1000;

/// What a refused start means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The process may have been started before: ask for it.
    Known,
    /// The host is full, or its server is going: another one may have room.
    Full,
    /// Whoever has the key has to sign anew.
    NeedsSigning,
    /// It ran, and nobody remembers how it ended.
    Forgotten,
    /// The host will not start it. Another one may.
    Refused,
}

/// What a refusal for this reason means.
pub fn meaning(reason: &str) -> Meaning {
    match reason {
        reason::SIGNATURE_REPLAYED => Meaning::Known,
        reason::PROCESS_FORGOTTEN => Meaning::Forgotten,
        reason::TOO_MANY_PROCESSES
        | reason::ARGUMENTS_BUDGET
        | reason::OUTPUT_BUDGET
        | reason::SERVER_RESOURCES
        | reason::TOO_MANY_REQUESTS
        | reason::TOO_MANY_KEPT
        | reason::TOO_MANY_CONNECTIONS
        | reason::SIGNATURE_TOO_MANY
        | reason::DRAINING
        | reason::RESTARTING => Meaning::Full,
        reason::SIGNATURE_EXPIRED
        | reason::SIGNATURE_NOT_YET
        | reason::SIGNATURE_BEFORE_RUN
        | reason::SIGNATURE_WINDOW_TOO_LONG => Meaning::NeedsSigning,
        _ => Meaning::Refused,
    }
}

/// Whether an attempt that ended like this has failed: by itself, and not because somebody stopped it.
pub fn has_failed(exit: Option<&Exit>) -> bool {
    let Some(exit) = exit else { return false };
    match exit.kind {
        ExitKind::Exited => exit.code != Some(0),
        ExitKind::Signalled
        | ExitKind::OomKilled
        | ExitKind::TimedOut
        | ExitKind::OutputLimit
        | ExitKind::DiskLimit => true,
        ExitKind::StoppedOnRequest | ExitKind::LeaseExpired | ExitKind::Unknown => false,
    }
}

/// The outcome of a claim whose process is this.
pub fn of_process(claimed: &Claimed, process: &Process) -> v1::Outcome {
    let status = &process.status;
    let state = if status.tree_empty {
        State::Ended
    } else {
        State::Running
    };
    v1::Outcome {
        process_id: process.id.to_string(),
        started_at: status.started_at.map(Into::into),
        ended_at: status.ended_at.map(Into::into),
        exit_cause: status.exit.as_ref().map(cause),
        usage: status.usage.as_ref().map(usage),
        output_end: status
            .output
            .and_then(|output| output.end_offset)
            .unwrap_or_default(),
        ..claimed.outcome(state)
    }
}

/// An outcome with its reason.
pub fn because(claimed: &Claimed, state: State, reason: &str, why: &str) -> v1::Outcome {
    v1::Outcome {
        reason: reason.chars().take(REASON_MAX).collect(),
        why: why.chars().take(WHY_MAX).collect(),
        ..claimed.outcome(state)
    }
}

fn cause(exit: &Exit) -> ExitCause {
    use exit_cause::Kind;
    let kind = match exit.kind {
        ExitKind::Exited => Kind::Exited,
        ExitKind::Signalled => Kind::Signalled,
        ExitKind::OomKilled => Kind::OomKilled,
        ExitKind::TimedOut => Kind::TimedOut,
        ExitKind::StoppedOnRequest => Kind::StoppedOnRequest,
        ExitKind::OutputLimit => Kind::OutputLimit,
        ExitKind::DiskLimit => Kind::DiskLimit,
        ExitKind::LeaseExpired => Kind::LeaseExpired,
        ExitKind::Unknown => Kind::Unspecified,
    };
    ExitCause {
        kind: kind.into(),
        exit_code: exit.code.unwrap_or_default(),
        signal: exit.signal.unwrap_or_default(),
        core_dumped: exit.core_dumped,
        ..ExitCause::default()
    }
}

fn usage(usage: &prn_client::Usage) -> Usage {
    let micros = |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    Usage {
        cpu_user_usec: micros(usage.cpu_user),
        cpu_system_usec: micros(usage.cpu_system),
        cpu_throttled_usec: micros(usage.cpu_throttled),
        memory_peak_bytes: usage.memory_peak_bytes,
        io_read_bytes: usage.io_read_bytes,
        io_write_bytes: usage.io_write_bytes,
        pids_peak: usage.pids_peak,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_of_a_server_means_one_thing_for_a_claim() {
        let table = [
            (Meaning::Known, &[reason::SIGNATURE_REPLAYED][..]),
            (Meaning::Forgotten, &[reason::PROCESS_FORGOTTEN]),
            (
                Meaning::Full,
                &[
                    reason::TOO_MANY_PROCESSES,
                    reason::ARGUMENTS_BUDGET,
                    reason::OUTPUT_BUDGET,
                    reason::SERVER_RESOURCES,
                    reason::TOO_MANY_REQUESTS,
                    reason::TOO_MANY_KEPT,
                    reason::TOO_MANY_CONNECTIONS,
                    reason::SIGNATURE_TOO_MANY,
                    reason::DRAINING,
                    reason::RESTARTING,
                ],
            ),
            (
                Meaning::NeedsSigning,
                &[
                    reason::SIGNATURE_EXPIRED,
                    reason::SIGNATURE_NOT_YET,
                    reason::SIGNATURE_BEFORE_RUN,
                    reason::SIGNATURE_WINDOW_TOO_LONG,
                ],
            ),
            (
                Meaning::Refused,
                &[
                    reason::NAME_TAKEN,
                    reason::NOT_ALLOWED,
                    reason::OTHER_DIGEST,
                    reason::COMMAND_NOT_FOUND,
                    reason::LIMIT_ABOVE_CEILING,
                    reason::SIGNATURE_REQUIRED,
                    reason::SIGNATURE_INVALID,
                    reason::SIGNATURE_UNKNOWN_KEY,
                    reason::SIGNATURE_OTHER_AUDIENCE,
                    reason::PROCESS_EXISTS,
                    "SOMETHING_NEW",
                ],
            ),
        ];
        for (expected, reasons) in table {
            for reason in reasons {
                assert_eq!(meaning(reason), expected, "{reason}");
            }
        }
    }

    #[test]
    fn an_attempt_fails_by_itself_and_not_by_a_stop() {
        let exit = |kind, code| {
            let mut exit = Exit::from(ExitCause::default());
            (exit.kind, exit.code) = (kind, code);
            has_failed(Some(&exit))
        };
        assert!(!has_failed(None));
        assert!(!exit(ExitKind::Exited, Some(0)));
        assert!(exit(ExitKind::Exited, Some(1)));
        for kind in [ExitKind::Signalled, ExitKind::OomKilled, ExitKind::TimedOut] {
            assert!(exit(kind, None), "{kind:?}");
        }
        for kind in [
            ExitKind::StoppedOnRequest,
            ExitKind::LeaseExpired,
            ExitKind::Unknown,
        ] {
            assert!(!exit(kind, None), "{kind:?}");
        }
    }
}
