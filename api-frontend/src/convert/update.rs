//! What UpdateProcess asks for.

use prn_ipc_protocol::message::{NewLease, Update};
use prn_ipc_protocol::types::{Limits, ProcessId};
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::time::millis;
use crate::convert::{id, limits, names};

/// Names of the fields that can be changed.
const FIELDS: &str = "must name some of limits, paused, lease and labels";

/// Which of them are to be.
#[derive(Debug, Default)]
struct Mask {
    limits: bool,
    paused: bool,
    lease: bool,
    labels: bool,
}

impl Mask {
    fn new(raw: Option<prost_types::FieldMask>) -> Result<Self, InvalidField> {
        let mut mask = Self::default();
        let paths = raw.unwrap_or_default().paths;
        if paths.is_empty() {
            return Err(InvalidField::new("update_mask", FIELDS));
        }
        for path in paths {
            let named = match path.as_str() {
                "limits" => &mut mask.limits,
                "paused" => &mut mask.paused,
                "lease" => &mut mask.lease,
                "labels" => &mut mask.labels,
                other => {
                    let other: String = other.chars().take(NAME_SHOWN).collect();
                    let why = format!("{FIELDS}, and not {other:?}");
                    return Err(InvalidField::new("update_mask", why));
                }
            };
            *named = true;
        }
        Ok(mask)
    }
}

/// So much is repeated of a name that is none of a field.
const NAME_SHOWN: usize = 64;

/// What is to be changed, of which process.
pub fn update(raw: v1::UpdateProcessRequest) -> Result<(ProcessId, Update), Violations> {
    let mut violations = Violations::default();
    let id = violations.check(id::named(raw.process_identifier));
    let Some(mask) = violations.check(Mask::new(raw.update_mask)) else {
        return Err(violations);
    };
    let limits = if mask.limits {
        some_limits(raw.limits.unwrap_or_default(), &mut violations)
    } else {
        Some(Limits::default())
    };
    let lease = mask.lease.then(|| lease(raw.lease)).transpose();
    let lease = violations.check(lease);
    let labels = mask.labels.then(|| names::labels(raw.labels)).transpose();
    let labels = violations.check(labels);
    let whole = || {
        let update = Update {
            limits: limits?,
            paused: mask.paused.then_some(raw.paused),
            lease: lease?,
            labels: labels?,
        };
        Some((id?, update))
    };
    whole().ok_or(violations)
}

fn some_limits(raw: v1::Limits, violations: &mut Violations) -> Option<Limits> {
    let limits = limits::limits(raw, violations)?;
    let is_some = match limits.iter().next() {
        Some(_) => Ok(()),
        None => Err(InvalidField::new("limits", "must have at least one limit")),
    };
    violations.check(is_some)?;
    Some(limits)
}

fn lease(raw: Option<prost_types::Duration>) -> Result<NewLease, InvalidField> {
    Ok(match millis(raw, "lease")? {
        None => NewLease::Same,
        Some(_) if raw == Some(prost_types::Duration::default()) => NewLease::Ended,
        Some(span) if span.duration().is_zero() => {
            let why = "must be at least 1 ms, or 0 for no lease any more";
            return Err(InvalidField::new("lease", why));
        }
        Some(span) => NewLease::Of(span),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prn_ipc_protocol::types::LimitName;

    const ID: &str = "00ff10a9e28b7c4d5566778899aabbcc";

    fn request(paths: &[&str]) -> v1::UpdateProcessRequest {
        v1::UpdateProcessRequest {
            process_identifier: Some(v1::ProcessIdentifier { id: ID.to_owned() }),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
            limits: Some(v1::Limits {
                pids: Some(7),
                ..Default::default()
            }),
            paused: true,
            labels: [("a".to_owned(), "1".to_owned())].into(),
            ..Default::default()
        }
    }

    fn fault(raw: v1::UpdateProcessRequest) -> Vec<String> {
        let violations = update(raw).unwrap_err();
        violations.fields().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_the_mask_names_is_changed() {
        let changed = |paths: &[&str]| update(request(paths)).unwrap().1;
        assert_eq!(
            changed(&["paused"]),
            Update {
                paused: Some(true),
                ..Update::default()
            }
        );
        let limits = changed(&["limits"]).limits;
        assert_eq!(limits.get(LimitName::Pids), Some(7));
        let all = changed(&["labels", "lease", "labels"]);
        assert_eq!(all.labels.unwrap().get("a"), Some("1"));
        assert_eq!(all.lease, Some(NewLease::Same));
        assert!(all.paused.is_none());
    }

    #[test]
    fn a_mask_names_fields_that_there_are() {
        assert!(fault(request(&[]))[0].starts_with("update_mask: must name some of limits"));
        let mut none = request(&[]);
        none.update_mask = None;
        assert_eq!(fault(none).len(), 1);
        for unknown in ["name", "limits.pids", "*", ""] {
            let said = fault(request(&["paused", unknown]));
            assert!(
                said[0].ends_with(&format!("and not {unknown:?}")),
                "{said:?}"
            );
        }
        assert!(fault(request(&[&"x".repeat(100_000)]))[0].len() < 300);
    }

    #[test]
    fn a_lease_is_renewed_changed_or_ended() {
        let lease = |seconds, nanos| {
            let mut raw = request(&["lease"]);
            raw.lease = Some(prost_types::Duration { seconds, nanos });
            update(raw)
        };
        let of = |answer: Result<(ProcessId, Update), Violations>| answer.unwrap().1.lease;
        assert_eq!(of(lease(0, 0)), Some(NewLease::Ended));
        assert_eq!(
            of(lease(2, 0)),
            Some(NewLease::Of(2000.try_into().unwrap()))
        );
        assert!(lease(0, 1).is_err() && lease(-1, 0).is_err());
    }

    #[test]
    fn limits_that_are_named_are_there_and_valid() {
        let limits = |limits| {
            let mut raw = request(&["limits"]);
            raw.limits = limits;
            fault(raw)
        };
        assert_eq!(limits(None), ["limits: must have at least one limit"]);
        let bad = v1::Limits {
            memory_bytes: Some(1),
            ..Default::default()
        };
        assert!(limits(Some(bad))[0].starts_with("limits.memory_bytes: "));
    }
}
