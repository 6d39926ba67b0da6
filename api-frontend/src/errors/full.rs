//! There are as many of something as may be.

use prn_ipc_protocol::types::ProcessId;
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};

use crate::errors::build::{RETRY_AFTER, error, quota};
use crate::quota::{Full, Which};

/// Too many requests of a kind wait for the supervisor.
pub fn too_many_requests(kind: &str, max: u32, kept: u32) -> Status {
    let message = format!(
        "{max} {kind} requests {}, which is the server's limit",
        state("are under way", kept)
    );
    error(
        Code::ResourceExhausted,
        reason::TOO_MANY_REQUESTS,
        message.clone(),
        &[(key::MAX, max.to_string())],
        |details| {
            details.add_quota_failure_violation(kind, message);
            details.set_retry_info(Some(RETRY_AFTER));
        },
    )
}

/// A client has a connection more than it or all clients together may have.
pub fn too_many_connections(full: Full) -> Status {
    let (reason, max) = (reason::TOO_MANY_CONNECTIONS, full.max);
    match full.which {
        Which::Each => {
            let message = format!("this client has {max} connections, which is the server's limit");
            over_a_flag(reason, "connections-per-client", message, max)
        }
        Which::All => {
            let state = state("are open", full.kept);
            let message = format!("{max} connections {state}, which is the server's limit");
            over_a_flag(reason, "connections", message, max)
        }
    }
}

/// A process, or all of them together, have as many output streams as they may have.
pub fn too_many_subscribers(full: Full, id: ProcessId) -> Status {
    let (reason, max) = (reason::TOO_MANY_SUBSCRIBERS, full.max);
    let state = state("are open", full.kept);
    match full.which {
        Which::Each => {
            let message = format!(
                "{max} output streams of process {id} {state}, which is the server's limit"
            );
            over_a_flag(reason, "subscribers-per-process", message, max)
        }
        Which::All => {
            let message = format!("{max} output streams {state}, which is the server's limit");
            over_a_flag(reason, "subscribers", message, max)
        }
    }
}

/// A client, or all of them together, feed as many inputs as they may.
pub fn too_many_inputs(full: Full) -> Status {
    let (reason, max) = (reason::TOO_MANY_INPUTS, full.max);
    match full.which {
        Which::Each => {
            let message =
                format!("this client has {max} streams of input, which is the server's limit");
            quota(reason, "inputs", message, &[(key::MAX, max.to_string())])
        }
        Which::All => {
            let state = state("are open", full.kept);
            let message = format!(
                "{max} streams of input {state}, which is the server's limit, a quarter of that of output streams"
            );
            over_a_flag(reason, "subscribers", message, max)
        }
    }
}

/// A connection feeds as many inputs as it may.
pub fn too_many_inputs_of_connection(max: u32) -> Status {
    let message = format!(
        "this connection has {max} streams of input, which is the server's limit: open another one"
    );
    let metadata = [(key::MAX, max.to_string())];
    quota(reason::TOO_MANY_INPUTS, "inputs", message, &metadata)
}

/// A client, or all of them together, have as many calls that wait for the end of processes as they
/// may, or they wait for as many.
pub fn too_many_waits(full: Full) -> Status {
    let message = format!(
        "{} that wait for processes, or they wait for too many, which is the server's limit: \
         wait for several processes with one call",
        whose("calls", full)
    );
    let metadata = [(key::MAX, full.max.to_string())];
    quota(reason::TOO_MANY_WAITS, "waits", message, &metadata)
}

/// A client, or all of them together, have as many watches as they may.
pub fn too_many_watches(full: Full) -> Status {
    let message = format!("{}, which is the server's limit", whose("watches", full));
    let metadata = [(key::MAX, full.max.to_string())];
    quota(reason::TOO_MANY_WATCHES, "watches", message, &metadata)
}

/// An answer has no room for all that are selected.
pub fn too_many_selected(count: usize) -> Status {
    let message =
        format!("{count} processes are more than an answer has room for: select fewer of them");
    quota(reason::MESSAGE_TOO_LARGE, "response", message, &[])
}

fn whose(what: &str, full: Full) -> String {
    let max = full.max;
    match (full.which, full.kept) {
        (Which::Each, _) => format!("this client has {max} {what}"),
        (Which::All, 0) => format!("all clients together have {max} {what}"),
        (Which::All, kept) => {
            format!("all clients together may have {max} {what}, {kept} of them kept for others,")
        }
    }
}

/// What is true of those that there are, and of the room that is kept.
fn state(of_taken: &str, kept: u32) -> String {
    match kept {
        0 => of_taken.to_owned(),
        kept => format!("{of_taken}, {kept} of them kept for other clients"),
    }
}

/// `limit` is the flag of `prn server start`.
fn over_a_flag(reason: &str, limit: &str, message: String, max: u32) -> Status {
    quota(
        reason,
        limit,
        message,
        &[(key::LIMIT, limit.to_owned()), (key::MAX, max.to_string())],
    )
}
