//! Signatures of starts, and what a client is told of them.

use prn_ipc_protocol::message::SignedBy;
use prn_ipc_protocol::policy::Policy;
use prn_ipc_protocol::signed::StartSignature;
use prn_ipc_protocol::types::AccessName;
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::time::{duration, micros};

/// The signature of a start; `None` within: there is none. `None`: it is malformed.
pub fn of_start(
    raw: Option<v1::StartSignature>,
    violations: &mut Violations,
) -> Option<Option<StartSignature>> {
    let Some(raw) = raw else { return Some(None) };
    let bad = |part: &str, why: &str| InvalidField::new(format!("signature.{part}"), why);
    let key = raw.public_key.try_into().map_err(|_| {
        let why =
            "must be the SubjectPublicKeyInfo (DER) of an Ed25519 or a P-256 key, 44 or 91 bytes";
        bad("public_key", why)
    });
    let audience = raw.audience.try_into().map_err(|_| {
        let why = "must be one of those that GetServer answers (signed_starts)";
        bad("audience", why)
    });
    let signature = raw.signature.try_into().map_err(|_| {
        let why = "must be the 64 bytes of Ed25519, or the DER of ECDSA, at most 72";
        bad("signature", why)
    });
    let time = |raw: Option<prost_types::Timestamp>, part: &str| {
        let field = format!("signature.{part}");
        match raw {
            Some(time) => micros(&time, &field),
            None => Err(InvalidField::new(field, "must be there")),
        }
    };
    let not_before = violations.check(time(raw.not_before, "not_before"));
    let not_after = violations.check(time(raw.not_after, "not_after"));
    let key = violations.check(key);
    let audience = violations.check(audience);
    let signature = violations.check(signature);
    Some(Some(StartSignature {
        key: key?,
        audience: audience?,
        not_before: not_before?,
        not_after: not_after?,
        signature: signature?,
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
