//! What can go wrong with etcd.

use std::time::Duration;

use prn_client::{ClientError, Code, ServerError};

/// What the transport says, with [`Code::OutOfRange`], of a message that is larger than is taken.
pub(super) const TOO_LARGE: &str = "message length too large";

/// Why etcd has not done what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// No endpoint has answered. Whether a transaction was done is unknown.
    #[error("no endpoint of etcd has answered within {} s; tried: {tried}", after.as_secs())]
    Unreachable {
        /// The endpoints.
        tried: String,
        /// How long it was tried.
        after: Duration,
        /// What the last one said.
        #[source]
        source: Box<ClientError>,
    },
    /// No endpoint can be used with these certificates.
    #[error("etcd cannot be used")]
    Unusable(#[source] Box<ClientError>),
    /// The user that the certificate names may not do it.
    #[error(
        "etcd does not allow it to the user that this certificate names: see `etcdctl user get NAME`"
    )]
    Denied(#[source] Box<ServerError>),
    /// etcd takes no writes any more: its quota is used up.
    #[error("etcd is full: compact and defragment it, then `etcdctl alarm disarm`")]
    Full(#[source] Box<ServerError>),
    /// What was asked for is older than what is kept.
    #[error("etcd has compacted away what was asked for")]
    Compacted,
    /// An answer is larger than any that is taken.
    #[error("etcd's answer is too large")]
    TooLarge,
    /// The lease has ended.
    #[error("the lease has ended")]
    LeaseEnded,
    /// etcd's answer is another no.
    #[error("etcd refuses it")]
    Refused(#[source] Box<ServerError>),
    /// Not an answer of this API, or nothing to ask: there is no member, or there are no random
    /// bytes.
    #[error("{0}")]
    Protocol(&'static str),
}

impl EtcdError {
    /// Whether the same may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// An answer.
    pub(super) fn refused(error: Box<ServerError>) -> Self {
        let says = |what: &str| error.message.contains(what);
        let code = error.code;
        if matches!(code, Code::PermissionDenied | Code::Unauthenticated) {
            Self::Denied(error)
        } else if code == Code::ResourceExhausted && says("database space exceeded") {
            Self::Full(error)
        } else if code == Code::OutOfRange && says("compacted") {
            Self::Compacted
        } else if code == Code::OutOfRange && says(TOO_LARGE) {
            Self::TooLarge
        } else if code == Code::NotFound && says("lease not found") {
            Self::LeaseEnded
        } else {
            Self::Refused(error)
        }
    }
}

/// Whether another member may do it: none that is asked now has a leader, or time.
pub(super) fn is_transient(error: &ClientError) -> bool {
    if let ClientError::Refused(refused) = error {
        let is_short_of = matches!(
            refused.code,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted
        );
        return is_short_of || is_outdated(refused);
    }
    matches!(error, ClientError::NoAnswer { .. }) || error.is_transient()
}

/// Whether a user or a role has changed since the call was checked, and before it was done: it was not
/// done, and is checked anew the next time. Releases before 3.5 say it of an error of no kind.
pub(super) fn is_outdated(error: &ServerError) -> bool {
    let says = |what: &str| error.message.contains(what);
    says("revision of auth store is old") || says("revision in header is old")
}
