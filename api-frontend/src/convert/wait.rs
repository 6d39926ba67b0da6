//! What Wait asks for, and its answer.

use prn_ipc_protocol::message::ProcessInfo;
use prn_proto::v1;
use prn_proto::v1::wait_request::Condition as ApiCondition;

use crate::convert::fields::{InvalidField, Violations};
use crate::convert::several::{Several, several};
use crate::scope::Scope;

/// What is waited for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wait {
    /// Of which processes.
    pub of: Several,
    /// Until one of them is done, not all.
    pub is_any: bool,
    /// What for.
    pub condition: Condition,
}

/// What is waited for, of each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// No process of its tree is left.
    Ended,
    /// Its main process has exited.
    MainExited,
}

impl Condition {
    /// Whether it is so.
    pub fn is_met(self, info: &ProcessInfo) -> bool {
        match self {
            Self::Ended => info.end.is_some(),
            Self::MainExited => info.main_exit.is_some() || info.end.is_some(),
        }
    }
}

/// What a request waits for, of what its client gets to see.
pub fn wait(raw: v1::WaitRequest, scope: &Scope) -> Result<Wait, Violations> {
    let mut violations = Violations::default();
    let condition = violations.check(condition(raw.condition));
    match (several(raw.processes, raw.selector, scope), condition) {
        (Ok(of), Some(condition)) => Ok(Wait {
            of,
            is_any: raw.any,
            condition,
        }),
        (Err(mut others), _) => {
            others.append(violations);
            Err(others)
        }
        (Ok(_), None) => Err(violations),
    }
}

fn condition(raw: i32) -> Result<Condition, InvalidField> {
    match ApiCondition::try_from(raw) {
        Ok(ApiCondition::Unspecified | ApiCondition::Ended) => Ok(Condition::Ended),
        Ok(ApiCondition::MainExited) => Ok(Condition::MainExited),
        Err(_) => {
            let why = "must be CONDITION_ENDED or CONDITION_MAIN_EXITED";
            Err(InvalidField::new("condition", why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::process::tests::{ended, info};
    use prn_ipc_protocol::message::{ExitCause, ExitStatus, OutputTotals};

    #[test]
    fn a_condition_is_met_by_the_tree_or_by_its_main_process() {
        let live = info(&"0".repeat(32), 1);
        let totals = OutputTotals::default();
        let over = ended(
            live.clone(),
            ExitStatus::Exited(0),
            ExitCause::Exited,
            totals,
        );
        let mut lingers = over.clone();
        lingers.end = None;
        let met =
            |condition: Condition| [&live, &lingers, &over].map(|info| condition.is_met(info));
        assert_eq!(met(Condition::Ended), [false, false, true]);
        assert_eq!(met(Condition::MainExited), [false, true, true]);
    }

    #[test]
    fn all_bad_fields_of_a_wait_are_named() {
        let raw = v1::WaitRequest {
            processes: vec![v1::ProcessIdentifier::default()],
            condition: 9,
            ..Default::default()
        };
        let faults = wait(raw, &Scope::All).unwrap_err();
        let fields: Vec<_> = faults.fields().map(|fault| fault.field.as_str()).collect();
        assert_eq!(fields, ["processes[0].id", "condition"]);
    }
}
