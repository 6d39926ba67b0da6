//! What is wrong with the signature of a start, or that there is none.

use prn_ipc_protocol::signed::SignatureRefusal;
use prn_ipc_protocol::types::UnixMicros;
use prn_proto::reason::{self, metadata as key};
use prn_proto::tls::shown_time;
use std::time::Duration;
use tonic::{Code, Status};

use crate::errors::build::{bad_field, precondition, quota};

const FIELD: &str = "signature";

/// A start is not signed as it has to be.
pub fn unsigned(refusal: SignatureRefusal) -> Status {
    use SignatureRefusal as No;
    match refusal {
        No::Required => before(
            reason::SIGNATURE_REQUIRED,
            "the server takes only signed starts of this client: sign it (prn start --sign; `sign = true` of a context signs all)",
        ),
        No::Input => before(
            reason::SIGNATURE_INPUT,
            "the server takes only signed starts of the client whose process it is, and what that is fed is not signed: start it without input and without a terminal, and pass data in arguments, variables or a workspace",
        ),
        No::UnknownKey => no(
            reason::SIGNATURE_UNKNOWN_KEY,
            "no client that the server knows by a certificate or a key's fingerprint has this key: the operator has to add it to a [[client]] (cert or fingerprint; one that is known by san alone cannot sign), or take P-256 keys (allow-p256)",
        ),
        No::KeyExpired => no(
            reason::SIGNATURE_KEY_EXPIRED,
            "the certificate has ended that the key is in: make a new one, and have the operator pin it",
        ),
        No::OtherAudience => no(
            reason::SIGNATURE_OTHER_AUDIENCE,
            "it is for another server, another run of this one, or a fleet that this is not of: ask GetServer for the audiences, and sign anew",
        ),
        No::BeforeRun(began) => before(
            reason::SIGNATURE_BEFORE_RUN,
            &format!(
                "it is for a fleet and begins before this run of the server, which began {}: begin it later, and sign anew",
                time(began)
            ),
        ),
        No::WindowTooLong(most) => bad_field(
            Code::InvalidArgument,
            reason::SIGNATURE_WINDOW_TOO_LONG,
            FIELD,
            &format!(
                "from not_before to not_after are at most {} ms here: shorten that, and sign anew",
                most.milliseconds()
            ),
            &[(key::MAX, most.milliseconds().to_string())],
        ),
        No::NotYet(now) => before(
            reason::SIGNATURE_NOT_YET,
            &format!(
                "it has not begun: the server's clock says {}. Send it later, or set the clocks right",
                time(now)
            ),
        ),
        No::Expired(now) => before(
            reason::SIGNATURE_EXPIRED,
            &format!(
                "it has ended: the server's clock says {}. Sign anew, or set the clocks right",
                time(now)
            ),
        ),
        No::Invalid => no(
            reason::SIGNATURE_INVALID,
            "it is not the key's, or not of this start: something that was signed is other than what the server would run. Compute the digest from what was asked for and what CheckAccess fills in, compare all that it fills in with what was asked for, sign that, and send the same request",
        ),
        No::Replayed => before(
            reason::SIGNATURE_REPLAYED,
            "the id was used before by a signed start, which has run, or could not be started: nothing starts twice. Sign anew, under another id",
        ),
        No::TooMany(most) => {
            let message = format!(
                "signature: {most} signed starts are remembered until their signatures end, which is the most of one client, or of all together: try again later, and sign for shorter times"
            );
            let metadata = [(key::MAX, most.to_string())];
            quota(reason::SIGNATURE_TOO_MANY, "signatures", message, &metadata)
        }
    }
}

fn no(reason: &str, why: &str) -> Status {
    bad_field(Code::PermissionDenied, reason, FIELD, why, &[])
}

fn before(reason: &str, why: &str) -> Status {
    let message = format!("{FIELD}: {why}");
    precondition(reason, ("SIGNATURE", FIELD), why, message, &[])
}

fn time(at: UnixMicros) -> String {
    shown_time(Duration::from_micros(at.0))
}
