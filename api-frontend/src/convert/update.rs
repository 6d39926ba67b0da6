//! What UpdateProcess asks for.

use prn_ipc_protocol::message::{NewLabels, NewLease, Update};
use prn_ipc_protocol::types::{Limits, ProcessId};
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::time::millis;
use crate::convert::{id, limits, names};

/// Names of the fields that can be changed.
const FIELDS: &str = "must name some of limits, paused, lease, labels, set_labels and unset_labels";

/// Which of them are to be.
#[derive(Debug, Default)]
struct Mask {
    limits: bool,
    paused: bool,
    lease: bool,
    labels: bool,
    set_labels: bool,
    unset_labels: bool,
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
                "set_labels" => &mut mask.set_labels,
                "unset_labels" => &mut mask.unset_labels,
                other => {
                    let other: String = other.chars().take(NAME_SHOWN).collect();
                    let why = format!("{FIELDS}, and not {other:?}");
                    return Err(InvalidField::new("update_mask", why));
                }
            };
            *named = true;
        }
        if mask.labels && mask.changes_labels() {
            let why =
                "must not name labels, which are all, together with set_labels or unset_labels";
            return Err(InvalidField::new("update_mask", why));
        }
        Ok(mask)
    }

    fn changes_labels(&self) -> bool {
        self.set_labels || self.unset_labels
    }
}

/// So much is repeated of a name that is none of a field.
const NAME_SHOWN: usize = 64;

/// What is to be changed, of which process.
pub fn update(mut raw: v1::UpdateProcessRequest) -> Result<(ProcessId, Update), Violations> {
    let mut violations = Violations::default();
    let id = violations.check(id::named(raw.process_identifier.take()));
    let Some(mask) = violations.check(Mask::new(raw.update_mask.take())) else {
        return Err(violations);
    };
    let limits = if mask.limits {
        some_limits(raw.limits.take().unwrap_or_default(), &mut violations)
    } else {
        Some(Limits::default())
    };
    let lease = mask.lease.then(|| lease(raw.lease)).transpose();
    let lease = violations.check(lease);
    let labels = new_labels(&mask, &mut raw, &mut violations);
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

/// `None`: they are refused. `Some(None)`: they stay.
fn new_labels(
    mask: &Mask,
    raw: &mut v1::UpdateProcessRequest,
    violations: &mut Violations,
) -> Option<Option<NewLabels>> {
    if mask.labels {
        let all = names::labels(std::mem::take(&mut raw.labels), "labels");
        return violations.check(all.map(NewLabels::All)).map(Some);
    }
    if !mask.changes_labels() {
        return Some(None);
    }
    let set = part(mask.set_labels, &mut raw.set_labels, "set_labels");
    let unset = part(mask.unset_labels, &mut raw.unset_labels, "unset_labels");
    let (set, unset) = (violations.check(set), violations.check(unset));
    let changes = names::label_changes(set?, unset?, violations)?;
    Some(Some(NewLabels::Changed(changes)))
}

/// What a field has that the mask names, and nothing of another one.
fn part<T: Default + PartialEq>(
    is_named: bool,
    field: &mut T,
    name: &str,
) -> Result<T, InvalidField> {
    let value = std::mem::take(field);
    match is_named {
        false => Ok(T::default()),
        true if value == T::default() => {
            Err(InvalidField::new(name, "must have at least one label"))
        }
        true => Ok(value),
    }
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
    use crate::selector::tests::labels;
    use prn_ipc_protocol::types::LimitName;
    use std::collections::BTreeMap;

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
        assert_eq!(all.labels, Some(NewLabels::All(labels(&[("a", "1")]))));
        assert_eq!(all.lease, Some(NewLease::Same));
        assert!(all.paused.is_none());
    }

    #[test]
    fn labels_change_one_by_one_where_the_mask_says_so() {
        let mut raw = request(&["set_labels"]);
        raw.set_labels = [("b".to_owned(), "2".to_owned())].into();
        raw.unset_labels = vec!["c".to_owned(), "c".to_owned()];
        let changed = |raw: &v1::UpdateProcessRequest, paths: &[&str]| {
            let mut raw = raw.clone();
            raw.update_mask = request(paths).update_mask;
            update(raw).map(|(_, update)| update.labels.unwrap())
        };
        let changes = |changes: &[(&str, Option<&str>)]| {
            let owned = |text: &str| text.to_owned();
            let changes = changes
                .iter()
                .map(|(key, value)| (owned(key), value.map(owned)));
            let changes: BTreeMap<_, _> = changes.collect();
            NewLabels::Changed(changes.try_into().unwrap())
        };
        let (set, unset) = (("b", Some("2")), ("c", None));
        let both = ["unset_labels", "set_labels"];
        assert_eq!(changed(&raw, &both[1..]), Ok(changes(&[set])));
        assert_eq!(changed(&raw, &both[..1]), Ok(changes(&[unset])));
        assert_eq!(changed(&raw, &both), Ok(changes(&[set, unset])));

        let said = |raw: &v1::UpdateProcessRequest, paths: &[&str]| {
            let violations = changed(raw, paths).unwrap_err();
            let said: Vec<_> = violations.fields().map(ToString::to_string).collect();
            said.join("; ")
        };
        let with_all = said(&raw, &["labels", "unset_labels"]);
        assert!(with_all.starts_with("update_mask: must not"), "{with_all}");
        raw.unset_labels.push("b".to_owned());
        let twice = "unset_labels: must not have \"b\", which set_labels has";
        assert_eq!(said(&raw, &both), twice);
        raw.unset_labels = (0..32).map(|number| number.to_string()).collect();
        assert!(said(&raw, &both).starts_with("set_labels: must be at most 32, with"));
        raw.unset_labels.push("x y".to_owned());
        raw.set_labels.insert("b".to_owned(), "\n".to_owned());
        let wrong = said(&raw, &both);
        assert!(
            wrong.contains("unset_labels: must") && wrong.contains("set_labels: must"),
            "{wrong}"
        );
        (raw.set_labels, raw.unset_labels) = Default::default();
        let none = "must have at least one label";
        let empty = format!("set_labels: {none}; unset_labels: {none}");
        assert_eq!(said(&raw, &both), empty);
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
