//! Which processes a request selects.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use prn_ipc_protocol::types::{AccessName, LABELS_MAX, ProcessId, ProcessName};
use prn_proto::v1;
use prn_proto::v1::label_match::Operator;
use prn_proto::v1::process_selector::Outcome as ApiOutcome;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::{id, workspace};
use crate::scope::Scope;
use crate::selector::{LabelIs, LabelMatch, Outcome, Selector, Short};

/// Most processes, and most names, that a request can list.
pub const NAMED_MAX: usize = 1000;

/// What a request selects, in its field `selector`, of what its client gets to see; each fault is
/// noted.
pub fn selector(
    raw: &v1::ProcessSelector,
    scope: &Scope,
    violations: &mut Violations,
) -> Option<Selector> {
    let ids = violations
        .check(at_most(
            raw.processes.len(),
            NAMED_MAX,
            "selector.processes",
        ))
        .and_then(|()| ids(&raw.processes, "selector.processes", violations));
    let short = violations.check(short(&raw.id_prefix_or_name));
    let names = violations
        .check(at_most(raw.names.len(), NAMED_MAX, "selector.names"))
        .and_then(|()| names(&raw.names, violations));
    let labels = violations
        .check(at_most(raw.labels.len(), LABELS_MAX, "selector.labels"))
        .and_then(|()| labels(&raw.labels, violations));
    let running = violations.check(running(raw.state, "selector.state"));
    let outcome = violations.check(outcome(raw.outcome));
    let workspace = match raw.workspace.as_str() {
        "" => Some(None),
        name => violations
            .check(workspace::name(name.to_owned(), "selector.workspace"))
            .map(Some),
    };
    let started_by = violations.check(started_by(&raw.started_by));
    Some(Selector {
        ids: Some(ids?.into_iter().collect()).filter(|ids: &BTreeSet<_>| !ids.is_empty()),
        short: short?,
        names: Some(names?).filter(|names| !names.is_empty()),
        labels: labels?,
        running: running?,
        outcome: outcome?,
        workspace: workspace?,
        started_by: started_by?,
        scope: scope.clone(),
    })
}

fn started_by(raw: &str) -> Result<Option<AccessName>, InvalidField> {
    if raw.is_empty() {
        return Ok(None);
    }
    let name = AccessName::try_from(raw.to_owned());
    name.map(Some)
        .map_err(|why| InvalidField::new("selector.started_by", why))
}

/// The processes that a field names, in its order, each once.
pub fn ids(
    raw: &[v1::ProcessIdentifier],
    field: &str,
    violations: &mut Violations,
) -> Option<Vec<ProcessId>> {
    let (mut ids, mut seen) = (Vec::new(), BTreeSet::new());
    let mut faults = false;
    for (place, raw) in raw.iter().enumerate() {
        match violations.check(id::parsed(&raw.id, &format!("{field}[{place}].id"))) {
            Some(id) if seen.insert(id) => ids.push(id),
            Some(_) => {}
            None => faults = true,
        }
    }
    (!faults).then_some(ids)
}

/// A list in a field is not too long.
pub fn at_most(count: usize, max: usize, field: &str) -> Result<(), InvalidField> {
    if count > max {
        return Err(InvalidField::new(field, format!("must be {max} at most")));
    }
    Ok(())
}

/// Whether processes are to be alive. `None`: both.
pub fn running(raw: i32, field: &str) -> Result<Option<bool>, InvalidField> {
    match v1::ProcessState::try_from(raw) {
        Ok(v1::ProcessState::Unspecified) => Ok(None),
        Ok(v1::ProcessState::Running) => Ok(Some(true)),
        Ok(v1::ProcessState::Stopped) => Ok(Some(false)),
        Ok(v1::ProcessState::Sleeping | v1::ProcessState::Zombie) | Err(_) => {
            let why = "must be PROCESS_STATE_RUNNING, PROCESS_STATE_STOPPED or absent for both";
            Err(InvalidField::new(field, why))
        }
    }
}

fn short(raw: &str) -> Result<Option<Short>, InvalidField> {
    if raw.is_empty() {
        return Ok(None);
    }
    let short = Short {
        ids: beginning_with(raw),
        name: ProcessName::try_from(raw.to_owned()).ok(),
    };
    if short.ids.is_none() && short.name.is_none() {
        let why =
            "must be the beginning of an id, which is lower-case hexadecimal digits, or a name";
        return Err(InvalidField::new("selector.id_prefix_or_name", why));
    }
    Ok(Some(short))
}

/// The ids that begin with these digits, which are not none.
fn beginning_with(digits: &str) -> Option<RangeInclusive<ProcessId>> {
    const LENGTH: usize = 32;
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() > LENGTH || !digits.bytes().all(is_digit) {
        return None;
    }
    let filled = |digit: &str| {
        let rest = digit.repeat(LENGTH - digits.len());
        let number = u128::from_str_radix(&format!("{digits}{rest}"), 16).ok()?;
        Some(ProcessId::from_bytes(number.to_be_bytes()))
    };
    Some(filled("0")?..=filled("f")?)
}

fn names(raw: &[String], violations: &mut Violations) -> Option<BTreeSet<ProcessName>> {
    let names = raw.iter().enumerate().map(|(place, raw)| {
        let name = ProcessName::try_from(raw.clone());
        let field = format!("selector.names[{place}]");
        violations.check(name.map_err(|why| InvalidField::new(field, why)))
    });
    // All, so that each fault is noted.
    let names: Vec<_> = names.collect();
    names.into_iter().collect()
}

fn labels(raw: &[v1::LabelMatch], violations: &mut Violations) -> Option<Vec<LabelMatch>> {
    let labels = raw.iter().enumerate().map(|(place, raw)| {
        let label = label(raw, &format!("selector.labels[{place}]"));
        violations.check(label)
    });
    let labels: Vec<_> = labels.collect();
    labels.into_iter().collect()
}

fn label(raw: &v1::LabelMatch, field: &str) -> Result<LabelMatch, InvalidField> {
    if raw.key.is_empty() {
        return Err(InvalidField::new(
            format!("{field}.key"),
            "must not be empty",
        ));
    }
    let is = match Operator::try_from(raw.operator) {
        Ok(Operator::Unspecified | Operator::Equal) => LabelIs::Equal(raw.value.clone()),
        Ok(Operator::NotEqual) => LabelIs::NotEqual(raw.value.clone()),
        Ok(Operator::Exists) => LabelIs::Set,
        Ok(Operator::NotExists) => LabelIs::Unset,
        Err(_) => {
            let why = "must be OPERATOR_EQUAL, OPERATOR_NOT_EQUAL, OPERATOR_EXISTS or \
                       OPERATOR_NOT_EXISTS";
            return Err(InvalidField::new(format!("{field}.operator"), why));
        }
    };
    if matches!(is, LabelIs::Set | LabelIs::Unset) && !raw.value.is_empty() {
        let why = "is of use with OPERATOR_EQUAL and OPERATOR_NOT_EQUAL alone";
        return Err(InvalidField::new(format!("{field}.value"), why));
    }
    let key = raw.key.clone();
    Ok(LabelMatch { key, is })
}

fn outcome(raw: i32) -> Result<Option<Outcome>, InvalidField> {
    match ApiOutcome::try_from(raw) {
        Ok(ApiOutcome::Unspecified) => Ok(None),
        Ok(ApiOutcome::Succeeded) => Ok(Some(Outcome::Succeeded)),
        Ok(ApiOutcome::Failed) => Ok(Some(Outcome::Failed)),
        Err(_) => {
            let why = "must be OUTCOME_SUCCEEDED, OUTCOME_FAILED or absent for any";
            Err(InvalidField::new("selector.outcome", why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::tests::name;

    fn converted(raw: &v1::ProcessSelector) -> Result<Selector, Vec<String>> {
        let mut violations = Violations::default();
        let selector = selector(raw, &Scope::All, &mut violations);
        let faults: Vec<_> = violations
            .fields()
            .map(|fault| fault.field.clone())
            .collect();
        assert_eq!(selector.is_some(), faults.is_empty());
        selector.ok_or(faults)
    }

    fn identifier(id: &str) -> v1::ProcessIdentifier {
        v1::ProcessIdentifier { id: id.to_owned() }
    }

    #[test]
    fn a_selector_without_a_field_is_all() {
        let all = converted(&v1::ProcessSelector::default()).unwrap();
        assert!(all.is_all());
    }

    #[test]
    fn each_bad_field_of_a_selector_is_named() {
        let label = |key: &str, operator, value: &str| v1::LabelMatch {
            key: key.to_owned(),
            operator,
            value: value.to_owned(),
        };
        let raw = v1::ProcessSelector {
            processes: vec![
                identifier(&"0".repeat(32)),
                identifier("0"),
                identifier("x"),
            ],
            id_prefix_or_name: "a b".to_owned(),
            names: vec!["-".to_owned(), "good".to_owned(), String::new()],
            labels: vec![
                label("", 1, ""),
                label("a", 9, ""),
                label("a", Operator::Exists.into(), "b"),
            ],
            state: v1::ProcessState::Zombie.into(),
            outcome: 7,
            workspace: "../x".to_owned(),
            started_by: "a b".to_owned(),
        };
        let expected = [
            "selector.processes[1].id",
            "selector.processes[2].id",
            "selector.id_prefix_or_name",
            "selector.names[0]",
            "selector.names[2]",
            "selector.labels[0].key",
            "selector.labels[1].operator",
            "selector.labels[2].value",
            "selector.state",
            "selector.outcome",
            "selector.workspace",
            "selector.started_by",
        ];
        assert_eq!(converted(&raw).unwrap_err(), expected);
        let long = v1::ProcessSelector {
            processes: vec![identifier(&"0".repeat(32)); NAMED_MAX + 1],
            names: vec!["a".to_owned(); NAMED_MAX + 1],
            labels: vec![label("a", 1, "b"); LABELS_MAX + 1],
            ..Default::default()
        };
        let expected = ["selector.processes", "selector.names", "selector.labels"];
        assert_eq!(converted(&long).unwrap_err(), expected);
    }

    #[test]
    fn what_a_process_is_called_in_short_can_be_its_id_or_its_name() {
        let short = |text: &str| {
            let id_prefix_or_name = text.to_owned();
            let raw = v1::ProcessSelector {
                id_prefix_or_name,
                ..Default::default()
            };
            converted(&raw).unwrap().short.unwrap()
        };
        let id = |text: &str| id::parsed(text, "").unwrap();
        let both = short("c0de");
        let (first, last) = (
            format!("c0de{}", "0".repeat(28)),
            format!("c0de{}", "f".repeat(28)),
        );
        assert_eq!(both.ids, Some(id(&first)..=id(&last)));
        assert_eq!(both.name, Some(name("c0de")));
        assert_eq!((short("C0de").ids, short("web").ids), (None, None));
        let whole = "0123456789abcdef".repeat(2);
        assert_eq!(short(&whole).ids, Some(id(&whole)..=id(&whole)));
        assert_eq!(short(&whole).name, None);
    }
}
