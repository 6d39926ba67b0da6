//! What the supervisor says no to of how a process is to be confined.

use prn_proto::reason;
use tonic::{Code, Status};

use crate::errors::build::bad_field;

/// The server does not allow profile none.
pub fn unconfined() -> Status {
    bad_field(
        Code::PermissionDenied,
        reason::PROFILE_NOT_ALLOWED,
        "profile",
        "profile none needs a server that was started with --allow-profile-none",
        &[],
    )
}

/// The server's host can't enforce profile strict.
pub fn strict_unavailable() -> Status {
    bad_field(
        Code::FailedPrecondition,
        reason::PROFILE_NOT_AVAILABLE,
        "profile",
        "this server cannot enforce profile strict on its host: `prn server check` there says what is missing",
        &[],
    )
}

/// The process has no namespaces, in which a user of the machine's has directories of its own.
pub fn user_unavailable() -> Status {
    bad_field(
        Code::FailedPrecondition,
        reason::USER_NOT_AVAILABLE,
        "user",
        "profile none has no namespaces, which a process takes whose directories nobody else of its user may reach: leave \
         out the profile or the user; or else this server cannot make any (`prn server check` there says why)",
        &[],
    )
}

/// The process has no namespaces, in which directories could be shown in another way.
pub fn paths_unavailable() -> Status {
    bad_field(
        Code::FailedPrecondition,
        reason::PATHS_NOT_AVAILABLE,
        "paths",
        "profile none has no namespaces, which they take: leave it out; or else this server cannot make any (`prn server \
         check` there says why)",
        &[],
    )
}
