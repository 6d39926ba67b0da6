//! What ends a stream of input.

use std::io;
use std::time::Duration;

use prn_api_frontend::log;
use prn_ipc_protocol::types::ProcessId;
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};

use crate::errors::build::{bad_field, error, precondition, unavailable};
use crate::errors::call::internal;
use crate::input::place::Misplaced;

/// Another writer has it.
pub fn input_in_use(id: ProcessId) -> Status {
    let why = "another writer feeds it";
    of_input(reason::INPUT_IN_USE, id, why)
}

/// The stream brings data after the input's end.
pub fn input_ended(id: ProcessId) -> Status {
    let why = "it has ended, and takes nothing more";
    of_input(reason::INPUT_ENDED, id, why)
}

/// There is none.
pub fn no_input(id: ProcessId) -> Status {
    let why = "the process was started without";
    of_input(reason::NO_INPUT, id, why)
}

/// There is no terminal, or none any more.
pub fn no_terminal(id: ProcessId) -> Status {
    let why = "it was started without, or has ended";
    let message = format!("process {id} has no terminal: {why}");
    let subject = id.to_string();
    precondition(
        reason::NO_TERMINAL,
        ("TERMINAL", &subject),
        why,
        message,
        &[],
    )
}

/// Another stream of the same writer has the input now.
pub fn input_taken_over(id: ProcessId) -> Status {
    let message =
        format!("another stream of the same writer has taken over the input of process {id}");
    error(
        Code::Aborted,
        reason::INPUT_TAKEN_OVER,
        message,
        &[],
        |_| {},
    )
}

/// Its descriptor can't be written to, by no fault of the process.
pub fn unwritable(id: ProcessId, error: &io::Error) -> Status {
    let fields = [("process", &*id.to_string()), ("error", &error.to_string())];
    log::error("its input cannot be written to", &fields);
    internal()
}

/// The stream's first message has not come.
pub fn input_silent(within: Duration) -> Status {
    let message = format!("the first message of a stream of input has to come within {within:?}");
    error(
        Code::DeadlineExceeded,
        reason::DEADLINE,
        message,
        &[],
        |_| {},
    )
}

/// The stream waits, and its connection has brought much meanwhile.
pub fn input_stalled() -> Status {
    let message =
        "the input takes nothing while its connection brings much else: go on with another one";
    unavailable(reason::INPUT_STALLED, message)
}

/// The stream does not go on where the input is.
pub fn input_misplaced(misplaced: Misplaced, id: ProcessId) -> Status {
    match misplaced {
        Misplaced::Beyond { taken } => misplaced_offset(taken, "what follows them is missing"),
        Misplaced::Foreign { taken } => {
            misplaced_offset(taken, "the last of them are another writer's")
        }
        Misplaced::Unknown => {
            let message = format!(
                "a part of the server died that knew how much of the input of process {id} was taken"
            );
            error(Code::DataLoss, reason::INPUT_LOST, message, &[], |_| {})
        }
    }
}

fn misplaced_offset(taken: u64, why: &str) -> Status {
    bad_field(
        Code::OutOfRange,
        reason::INPUT_OFFSET,
        "offset",
        &format!("{taken} bytes of the process's input were taken, and {why}"),
        &[(key::TAKEN, taken.to_string())],
    )
}

fn of_input(reason: &str, id: ProcessId, why: &str) -> Status {
    let message = format!("the input of process {id}: {why}");
    let subject = id.to_string();
    precondition(reason, ("INPUT", &subject), why, message, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::StatusExt;

    const ID: ProcessId = ProcessId::from_bytes([1; 16]);

    #[test]
    fn each_end_of_a_stream_has_its_code_and_reason() {
        let beyond = Misplaced::Beyond { taken: 7 };
        let foreign = Misplaced::Foreign { taken: 7 };
        for (status, code, reason) in [
            (input_in_use(ID), Code::FailedPrecondition, "INPUT_IN_USE"),
            (input_ended(ID), Code::FailedPrecondition, "INPUT_ENDED"),
            (no_input(ID), Code::FailedPrecondition, "NO_INPUT"),
            (no_terminal(ID), Code::FailedPrecondition, "NO_TERMINAL"),
            (
                input_silent(Duration::from_secs(1)),
                Code::DeadlineExceeded,
                "DEADLINE",
            ),
            (input_taken_over(ID), Code::Aborted, "INPUT_TAKEN_OVER"),
            (
                unwritable(ID, &io::ErrorKind::Other.into()),
                Code::Internal,
                "INTERNAL",
            ),
            (input_stalled(), Code::Unavailable, "INPUT_STALLED"),
            (
                input_misplaced(beyond, ID),
                Code::OutOfRange,
                "INPUT_OFFSET",
            ),
            (
                input_misplaced(foreign, ID),
                Code::OutOfRange,
                "INPUT_OFFSET",
            ),
            (
                input_misplaced(Misplaced::Unknown, ID),
                Code::DataLoss,
                "INPUT_LOST",
            ),
        ] {
            let info = status.get_details_error_info().unwrap();
            assert_eq!((status.code(), info.reason.as_str()), (code, reason));
            let taken = info.metadata.get("taken").map(String::as_str);
            assert_eq!(taken, (reason == "INPUT_OFFSET").then_some("7"));
        }
    }
}
