//! What can end any call, and what ends a stream of output.

use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};

use crate::errors::build::{bad_field, error, quota, quoted, unavailable};

/// The server is shutting down.
pub fn draining() -> Status {
    unavailable(reason::DRAINING, "the server is shutting down")
}

/// The channel to the supervisor is closed.
pub fn restarting() -> Status {
    unavailable(reason::RESTARTING, "the server is restarting")
}

/// More was forgotten since what a watch has told than is known.
pub fn watch_behind() -> Status {
    let message = "more has changed than this watch was told in time: go on with its last cursor";
    unavailable(reason::WATCH_BEHIND, message)
}

/// A stream without control frames had to leave out bytes.
pub fn output_lost(bytes: u64) -> Status {
    let message = format!("{bytes} bytes of output were dropped before they could be sent");
    error(
        Code::DataLoss,
        reason::OUTPUT_LOST,
        message,
        &[(key::BYTES, bytes.to_string())],
        |_| {},
    )
}

/// `from_offset` lies beyond the end of a finished output.
pub fn offset_beyond_end(end: u64) -> Status {
    let why = format!("the process has ended and its output has {end} bytes");
    bad_field(
        Code::OutOfRange,
        reason::OFFSET_BEYOND_END,
        "from_offset",
        &why,
        &[(key::END_OFFSET, end.to_string())],
    )
}

/// The client took nothing of the response, or had too many of which it took nothing.
pub fn not_taken() -> Status {
    let message = "the response was not taken in time";
    error(Code::Cancelled, reason::NOT_TAKEN, message, &[], |_| {})
}

/// The call's own deadline has passed.
pub fn deadline_exceeded() -> Status {
    error(
        Code::DeadlineExceeded,
        reason::DEADLINE,
        "the deadline of the call has passed",
        &[],
        |_| {},
    )
}

/// A fault of the server, which its log describes.
pub fn internal() -> Status {
    error(
        Code::Internal,
        reason::INTERNAL,
        "internal error",
        &[],
        |_| {},
    )
}

/// A service that the server does not have is asked about.
pub fn no_service(service: &str) -> Status {
    let message = format!("no service is called {}", quoted(service));
    error(Code::NotFound, reason::UNKNOWN_METHOD, message, &[], |_| {})
}

/// A status that tonic itself made, without details: `max` is the largest request message.
pub fn by_transport(code: Code, max: usize) -> Status {
    // What tonic says of each: OUT_OF_RANGE or RESOURCE_EXHAUSTED for a message over the limit,
    // INTERNAL for bytes that do not decode, UNIMPLEMENTED for an unknown method or a compressed
    // message.
    if [Code::OutOfRange, Code::ResourceExhausted].contains(&code) {
        let message = format!("the request exceeds {max} bytes");
        quota(
            reason::MESSAGE_TOO_LARGE,
            "request",
            message,
            &[(key::MAX, max.to_string())],
        )
    } else if code == Code::Unimplemented {
        error(
            code,
            reason::UNKNOWN_METHOD,
            "no such method or message encoding",
            &[],
            |_| {},
        )
    } else {
        error(
            Code::InvalidArgument,
            reason::MALFORMED_REQUEST,
            "the request is not a valid message",
            &[],
            |_| {},
        )
    }
}
