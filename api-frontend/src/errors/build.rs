//! How an error is made: a code, a reason, a message, and details.

use std::collections::HashMap;
use std::time::Duration;

use nix::errno::Errno;
use prn_proto::reason::{self, metadata as key};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Most characters of a client's string that an error repeats: a status travels in HTTP headers.
const QUOTED_MAX: usize = 200;

/// When to try again after UNAVAILABLE: a half of the server is back by then, or the server is
/// gone.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the kernel says when there is not enough of something (errno(3)).
pub const SHORTAGES: [Errno; 7] = [
    Errno::ENOMEM,
    Errno::EAGAIN,
    Errno::ENOSPC,
    Errno::EDQUOT,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::ENOBUFS,
];

/// Any error. `further` adds to its details.
pub fn error(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: &[(&str, String)],
    further: impl FnOnce(&mut ErrorDetails),
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let mut details = ErrorDetails::with_error_info(reason, reason::DOMAIN, metadata);
    further(&mut details);
    Status::with_error_details(code, message, details)
}

/// A client's string for a message: escaped and short.
pub fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(QUOTED_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// A fault of one field.
pub fn bad_field(
    code: Code,
    reason: &str,
    field: &str,
    why: &str,
    metadata: &[(&str, String)],
) -> Status {
    error(
        code,
        reason,
        format!("{field}: {why}"),
        metadata,
        |details| {
            details.add_bad_request_violation(field, why);
        },
    )
}

/// There is not enough of something.
pub fn quota(reason: &str, subject: &str, message: String, metadata: &[(&str, String)]) -> Status {
    error(
        Code::ResourceExhausted,
        reason,
        message.clone(),
        metadata,
        |details| {
            details.add_quota_failure_violation(subject, message);
        },
    )
}

/// One half of the server goes or is away: to be tried again.
pub fn unavailable(reason: &str, message: &str) -> Status {
    error(Code::Unavailable, reason, message, &[], |details| {
        details.set_retry_info(Some(RETRY_AFTER));
    })
}

/// Something must be otherwise before the same request can succeed. `subject` is of kind `kind`.
pub fn precondition(
    reason: &str,
    (kind, subject): (&str, &str),
    why: &str,
    message: String,
    metadata: &[(&str, String)],
) -> Status {
    error(
        Code::FailedPrecondition,
        reason,
        message,
        metadata,
        |details| {
            details.add_precondition_failure_violation(kind, subject, why);
        },
    )
}

/// The same error, which says how many processes the call had removed before.
pub fn removed_before(removed: usize, status: Status) -> Status {
    if removed == 0 {
        return status;
    }
    let message = format!("{}; {removed} before it are removed", status.message());
    let mut details = status.get_error_details();
    if let Some(info) = details.error_info().cloned() {
        let mut metadata = info.metadata;
        metadata.insert(key::REMOVED.to_owned(), removed.to_string());
        details.set_error_info(info.reason, info.domain, metadata);
    }
    Status::with_error_details(status.code(), message, details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_done_before_it() {
        let first = precondition(
            "R",
            ("K", "s"),
            "why",
            "no".to_owned(),
            &[("a", "1".to_owned())],
        );
        assert_eq!(removed_before(0, first.clone()).message(), "no");
        let later = removed_before(2, first);
        assert_eq!(later.message(), "no; 2 before it are removed");
        let info = later.get_details_error_info().unwrap();
        assert_eq!(
            (
                info.metadata["removed"].as_str(),
                info.metadata["a"].as_str()
            ),
            ("2", "1")
        );
        assert!(later.get_details_precondition_failure().is_some());
    }

    #[test]
    fn a_clients_long_or_wild_string_is_shortened_and_escaped() {
        assert_eq!(quoted("a\n\u{1b}"), r#""a\n\u{1b}""#);
        assert!(quoted(&"x".repeat(100_000)).len() < 300);
    }
}
