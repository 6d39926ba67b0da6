//! Signatures of starts, and what a client is told of them.

use prn_ipc_protocol::message::SignedBy;
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::signed::StartSignature;
use prn_ipc_protocol::types::AccessName;
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::time::{duration, micros};

/// Most bytes of an audience: two keys in hexadecimal digits, and a slash.
const AUDIENCE_MAX: usize = 129;

/// Most bytes of a signature: ECDSA over P-256 in its DER.
const SIGNATURE_MAX: usize = 72;

/// The signature of a start; `None` within: there is none. `None`: it is malformed.
pub fn of_start(
    raw: Option<v1::StartSignature>,
    violations: &mut Violations,
) -> Option<Option<StartSignature>> {
    let Some(raw) = raw else { return Some(None) };
    let check = |fits: bool, part: &str, why: &str| match fits {
        true => Ok(()),
        false => Err(InvalidField::new(format!("signature.{part}"), why)),
    };
    let key = check(
        [44, 91].contains(&raw.public_key.len()),
        "public_key",
        "must be the SubjectPublicKeyInfo (DER) of an Ed25519 or a P-256 key, 44 or 91 bytes",
    );
    let audience = check(
        (1..=AUDIENCE_MAX).contains(&raw.audience.len()),
        "audience",
        "must be one of those that GetServer answers (signed_starts)",
    );
    let signature = check(
        (1..=SIGNATURE_MAX).contains(&raw.signature.len()),
        "signature",
        "must be the 64 bytes of Ed25519, or the DER of ECDSA, at most 72",
    );
    let time = |raw: Option<prost_types::Timestamp>, part: &str| {
        let field = format!("signature.{part}");
        match raw {
            Some(time) => micros(&time, &field),
            None => Err(InvalidField::new(field, "must be there")),
        }
    };
    let not_before = violations.check(time(raw.not_before, "not_before"));
    let not_after = violations.check(time(raw.not_after, "not_after"));
    for checked in [key, audience, signature] {
        violations.check(checked)?;
    }
    Some(Some(StartSignature {
        key: raw.public_key,
        audience: raw.audience,
        not_before: not_before?,
        not_after: not_after?,
        signature: raw.signature,
    }))
}

/// What a client of this name has to know to sign a start, in a run of the server that signs receipts with this
/// key.
pub fn signed_starts(policy: &Policy, who: &AccessName, receipt_key: &str) -> v1::SignedStarts {
    let signing = &policy.signing;
    let fleets = signing.fleets.iter().map(ToString::to_string);
    v1::SignedStarts {
        required: policy.must_sign(who),
        run_audience: match receipt_key {
            "" => String::new(),
            key => signing.run(key),
        },
        fleets: fleets.collect(),
        window_max: Some(duration(signing.window_max)),
    }
}

/// How a process's start was signed.
pub fn shown(signed: &SignedBy) -> v1::SignedStart {
    v1::SignedStart {
        key: signed.key.to_string(),
        via: signed
            .via
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    }
}
