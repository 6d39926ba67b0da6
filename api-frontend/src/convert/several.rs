//! The processes that a call on several of them is about.

use prn_ipc_protocol::types::ProcessId;
use prn_proto::v1;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::selector::{self, NAMED_MAX, at_most};
use crate::scope::Scope;
use crate::selector::Selector;

/// Which processes.
#[derive(Debug, PartialEq, Eq)]
pub enum Several {
    /// These, each once.
    Named(Vec<ProcessId>),
    /// Those that this selects.
    Selected(Selector),
}

/// Those of a request's fields `processes` and `selector`; what is selected is of what its client gets
/// to see.
pub fn several(
    processes: Vec<v1::ProcessIdentifier>,
    selector: Option<v1::ProcessSelector>,
    scope: &Scope,
) -> Result<Several, Violations> {
    let invalid = |why: String| Err(InvalidField::new("processes", why).into());
    match selector {
        Some(_) if !processes.is_empty() => {
            invalid("must be empty where there is a selector".to_owned())
        }
        Some(selector) => selected(&selector, scope).map(Several::Selected),
        None if processes.is_empty() => {
            invalid("must name at least one process, or selector must be there".to_owned())
        }
        None => named(&processes).map(Several::Named),
    }
}

fn named(processes: &[v1::ProcessIdentifier]) -> Result<Vec<ProcessId>, Violations> {
    at_most(processes.len(), NAMED_MAX, "processes")?;
    let mut violations = Violations::default();
    let ids = selector::ids(processes, "processes", &mut violations);
    ids.ok_or(violations)
}

fn selected(raw: &v1::ProcessSelector, scope: &Scope) -> Result<Selector, Violations> {
    let mut violations = Violations::default();
    let selector = selector::selector(raw, scope, &mut violations);
    selector.ok_or(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(texts: &[&str]) -> Vec<v1::ProcessIdentifier> {
        let id = |text: &&str| v1::ProcessIdentifier {
            id: (*text).to_owned(),
        };
        texts.iter().map(id).collect()
    }

    #[test]
    fn each_process_is_named_once_and_each_fault_too() {
        let (a, b) = ("a".repeat(32), "b".repeat(32));
        let Ok(Several::Named(named)) = several(ids(&[&b, &a, &b]), None, &Scope::All) else {
            panic!("they are ids");
        };
        assert_eq!(
            named.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [b, a.clone()]
        );
        let violations = several(ids(&["x", &a, ""]), None, &Scope::All).unwrap_err();
        let fields: Vec<_> = violations
            .fields()
            .map(|fault| fault.field.as_str())
            .collect();
        assert_eq!(fields, ["processes[0].id", "processes[2].id"]);
    }

    #[test]
    fn processes_are_named_or_selected() {
        let a = "a".repeat(32);
        let selector = || Some(v1::ProcessSelector::default());
        assert!(matches!(
            several(ids(&[]), selector(), &Scope::All),
            Ok(Several::Selected(_))
        ));
        assert!(several(ids(&[&a]), selector(), &Scope::All).is_err());
        assert!(several(ids(&[]), None, &Scope::All).is_err());
        let many: Vec<String> = (0..=NAMED_MAX)
            .map(|number| format!("{number:032x}"))
            .collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(
            several(ids(&many), None, &Scope::All).is_err()
                && several(ids(&many[1..]), None, &Scope::All).is_ok()
        );
    }
}
