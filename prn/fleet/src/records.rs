//! Values in etcd, as messages.
//!
//! Whoever may write a key decides how large its value is, and what it costs to decode: an empty
//! entry of a repeated field has two bytes there, and some hundred in memory. So both are looked at
//! before.

use std::time::SystemTime;

use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{DecodeError, Message};

use crate::error::FleetError;
use crate::etcd::KeyValue;
use crate::keys::{KEY_MAX, kind};

/// Most bytes of a job as it is submitted. etcd takes requests of 1.5 MiB by default.
pub(crate) const JOB_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a record but a job: of one that waits, with what a thousand hosts have said of it
/// there is room left.
const BYTES_MAX: usize = 256 * 1024;
/// What a claim has beside what waited, and a job beside what its submission counts: signatures
/// above all.
const MORE_BYTES: usize = 64 * 1024;
/// Most fields of a record, each entry of a list or a map counted: as many refusals as there is
/// room for in its bytes.
const FIELDS_MAX: usize = 1280;
/// `Claim.waiting`, whose fields count as its claim's.
const CLAIM_WAITING: u32 = 5;

/// A message, and where and when it was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<T> {
    /// Its key.
    pub key: String,
    /// What is there.
    pub value: T,
    /// Revision of the store that the key was created at: what waits is taken in this order.
    pub created: i64,
    /// Revision of the store that it was written at.
    pub revision: i64,
    /// The lease that it lives as long as. 0: none.
    pub lease: i64,
    /// How large it is in etcd.
    pub bytes: usize,
}

/// The message of a value.
///
/// # Errors
/// [`FleetError::Malformed`]: it is none, or larger than any that prn writes there.
pub fn record<T: Message + Default>(item: &KeyValue) -> Result<Record<T>, FleetError> {
    let malformed = || FleetError::Malformed {
        key: shown(&item.key),
    };
    if !is_bounded(&item.key, &item.value) {
        return Err(malformed());
    }
    let value = T::decode(item.value.clone()).map_err(|_| malformed())?;
    Ok(Record {
        key: item.key.clone(),
        value,
        created: item.create_revision,
        revision: item.mod_revision,
        lease: item.lease,
        bytes: item.value.len(),
    })
}

/// A key as it is told: whoever writes a key of 1 MiB has its beginning told.
pub(crate) fn shown(key: &str) -> String {
    key.chars().take(KEY_MAX).collect()
}

/// Whether a value is no larger than prn's are at its key, before it is decoded.
fn is_bounded(key: &str, value: &[u8]) -> bool {
    let (bytes_max, within) = match kind(key) {
        Some("jobs") => (JOB_BYTES_MAX + MORE_BYTES, None),
        Some("claims") => (BYTES_MAX + MORE_BYTES, Some(CLAIM_WAITING)),
        _ => (BYTES_MAX, None),
    };
    key.len() <= KEY_MAX
        && value.len() <= bytes_max
        && fields(value, within).is_ok_and(|fields| fields <= FIELDS_MAX)
}

/// How many fields a message has, with those of its field `within`, which may be there more than
/// once.
fn fields(mut message: &[u8], within: Option<u32>) -> Result<usize, DecodeError> {
    let mut count = 0_usize;
    while !message.is_empty() {
        let (tag, wire_type) = decode_key(&mut message)?;
        count = count.saturating_add(1);
        if within != Some(tag) || wire_type != WireType::LengthDelimited {
            skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
            continue;
        }
        let length = usize::try_from(decode_varint(&mut message)?).unwrap_or(usize::MAX);
        // One that ends within it is none, and its decoding says so.
        let (inner, rest) = message.split_at_checked(length).unwrap_or((message, &[]));
        count = count.saturating_add(fields(inner, None)?);
        message = rest;
    }
    Ok(count)
}

/// This machine's clock, as records have it.
pub fn now() -> prost_types::Timestamp {
    SystemTime::now().into()
}

/// The value of a message.
pub fn encoded(message: &impl Message) -> Vec<u8> {
    message.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1;
    use crate::v1::outcome::State;
    use bytes::Bytes;

    fn item(key: &str, value: impl Into<Bytes>) -> KeyValue {
        KeyValue {
            key: key.to_owned(),
            value: value.into(),
            create_revision: 1,
            mod_revision: 1,
            lease: 0,
        }
    }

    /// Refused by so many hosts, and with so many labels.
    fn waiting(refusals: usize, labels: usize) -> v1::Waiting {
        let refusal = |number| v1::Past {
            host: format!("host-{number}.example"),
            attempt: 1,
            outcome: Some(v1::Outcome {
                state: State::Refused.into(),
                token: "0".repeat(32),
                process_id: "0".repeat(32),
                boot_epoch: "0".repeat(32),
                reason: "COMMAND_NOT_FOUND".to_owned(),
                written_at: Some(now()),
                writing: "0".repeat(32),
                ..v1::Outcome::default()
            }),
            times: 1,
        };
        v1::Waiting {
            on: (0..labels)
                .map(|number| (format!("label{number}"), "x".to_owned()))
                .collect(),
            past: (0..refusals).map(refusal).collect(),
            ..v1::Waiting::default()
        }
    }

    fn is_known<T: Message + Default>(key: &str, value: impl Into<Bytes>) -> bool {
        record::<T>(&item(key, value)).is_ok()
    }

    #[test]
    fn what_a_thousand_hosts_have_refused_is_known() {
        let waiting = waiting(1000, 20);
        let key = "/prn/prod/queue/x";
        assert!(is_known::<v1::Waiting>(key, encoded(&waiting)));
        let claim = v1::Claim {
            waiting: Some(waiting),
            ..v1::Claim::default()
        };
        let key = "/prn/prod/claims/x";
        assert!(is_known::<v1::Claim>(key, encoded(&claim)));
    }

    #[test]
    fn what_costs_far_more_in_memory_than_in_etcd_is_malformed() {
        let empty = [0x42, 0x00].repeat(FIELDS_MAX + 1);
        assert!(!is_known::<v1::Waiting>("/prn/prod/queue/x", empty.clone()));
        let few = [0x42, 0x00].repeat(FIELDS_MAX);
        assert!(is_known::<v1::Waiting>("/prn/prod/queue/x", few));
        // Within a claim, at once or in parts: they are one message.
        let claim = v1::Claim {
            waiting: Some(v1::Waiting {
                past: vec![v1::Past::default(); FIELDS_MAX],
                ..v1::Waiting::default()
            }),
            ..v1::Claim::default()
        };
        assert!(!is_known::<v1::Claim>(
            "/prn/prod/claims/x",
            encoded(&claim)
        ));
        let parts = [0x2a, 0x02, 0x42, 0x00].repeat(FIELDS_MAX);
        assert!(!is_known::<v1::Claim>("/prn/prod/claims/x", parts));
    }

    #[test]
    fn what_is_larger_than_prn_writes_is_malformed() {
        let large = |bytes| {
            encoded(&v1::Outcome {
                why: "x".repeat(bytes),
                ..v1::Outcome::default()
            })
        };
        let key = "/prn/prod/outcomes/web1/x";
        assert!(is_known::<v1::Outcome>(key, large(BYTES_MAX - 100)));
        assert!(!is_known::<v1::Outcome>(key, large(BYTES_MAX)));
        let job = v1::Job {
            digest: "x".repeat(JOB_BYTES_MAX),
            ..v1::Job::default()
        };
        assert!(is_known::<v1::Job>("/prn/prod/jobs/x", encoded(&job)));
        let long = format!("/prn/prod/jobs/{}", "x".repeat(KEY_MAX));
        let told = record::<v1::Job>(&item(&long, Vec::new())).unwrap_err();
        assert!(matches!(told, FleetError::Malformed { key } if key.len() == KEY_MAX));
    }

    #[test]
    fn a_message_that_ends_within_a_field_has_no_count_that_counts() {
        for bad in [&[0x0a, 0xff][..], &[0x2a, 0x05, 0x42], &[0xff; 20], &[0x03]] {
            assert!(!is_known::<v1::Claim>("/prn/prod/claims/x", bad.to_vec()));
        }
    }
}
