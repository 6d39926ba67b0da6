//! Why the supervisor did not do what it was asked for.

use std::io;

use prn_ipc_protocol::message::Refusal;

/// Why a request to the supervisor failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The supervisor's answer is no.
    #[error("refused")]
    Refused(#[source] Refusal),
    /// Too many of this kind are under way.
    #[error("{max} {kind} requests are under way")]
    TooMany {
        /// Name of the operation.
        kind: &'static str,
        /// How many may be.
        max: u32,
        /// How many of them are kept for other clients.
        kept: u32,
    },
    /// The request does not fit in a message.
    #[error("the request is too long for the channel")]
    TooLong,
    /// The channel is closed.
    #[error("the supervisor is gone")]
    Closed,
    /// The output's descriptors can't be read.
    #[error("the output cannot be read")]
    Output(#[source] io::Error),
    /// The input's descriptor can't be written to.
    #[error("the input cannot be written to")]
    Input(#[source] io::Error),
}
