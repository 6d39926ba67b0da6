//! Which processes a call is about, as far as what is known of each decides. Pure.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use prn_ipc_protocol::message::{ExitCause, ExitStatus, MainExit, ProcessInfo};
use prn_ipc_protocol::types::{AccessName, Labels, ProcessId, ProcessName, WorkspaceName};

use crate::changes::Gone;
use crate::scope::Scope;

/// Those that all of it is true of. The default is all processes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// One of these.
    pub ids: Option<BTreeSet<ProcessId>>,
    /// Called so in short.
    pub short: Option<Short>,
    /// With one of these names.
    pub names: Option<BTreeSet<ProcessName>>,
    /// All of this is true of its labels.
    pub labels: Vec<LabelMatch>,
    /// Whether it is alive.
    pub running: Option<bool>,
    /// How its main process ended.
    pub outcome: Option<Outcome>,
    /// Started in this workspace.
    pub workspace: Option<WorkspaceName>,
    /// Started by this principal.
    pub started_by: Option<AccessName>,
    /// Among those that who asks gets to see.
    pub scope: Scope,
}

/// What people call a process by: the beginning of its id, or its name. It can be meant as either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Short {
    /// The ids that begin so. `None`: none does.
    pub ids: Option<RangeInclusive<ProcessId>>,
    /// The name. `None`: it is none.
    pub name: Option<ProcessName>,
}

/// Something about one label.
#[derive(Debug, PartialEq, Eq)]
pub struct LabelMatch {
    /// Its key.
    pub key: String,
    /// What about it.
    pub is: LabelIs,
}

/// What is asked of a label.
#[derive(Debug, PartialEq, Eq)]
pub enum LabelIs {
    /// It has this value.
    Equal(String),
    /// It has not, if there is one.
    NotEqual(String),
    /// There is one.
    Set,
    /// There is none.
    Unset,
}

/// How a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With code 0, by itself.
    Succeeded,
    /// In any other way.
    Failed,
}

impl Selector {
    /// All that are to be seen.
    pub fn of(scope: &Scope) -> Self {
        Self {
            scope: scope.clone(),
            ..Self::default()
        }
    }

    /// Whether these are all processes.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this process is one of them.
    pub fn has(&self, info: &ProcessInfo) -> bool {
        self.can_have(info)
            && (self.running).is_none_or(|running| running == info.end.is_none())
            && (self.outcome).is_none_or(|outcome| Outcome::of(info.main_exit) == Some(outcome))
            && self
                .labels
                .iter()
                .all(|label| label.is_true_of(&info.spec.labels))
    }

    /// Whether this process can be one of them, whatever may change of it.
    pub fn can_have(&self, info: &ProcessInfo) -> bool {
        let spec = &info.spec;
        self.is_of(info.started_by.as_ref())
            && self.can_be(info.id, spec.name.as_ref(), spec.workspace.as_ref())
    }

    /// Whether this process, which was forgotten, can have been one of them.
    pub fn can_have_had(&self, gone: &Gone) -> bool {
        self.is_of(gone.started_by.as_ref())
            && self.can_be(gone.id, gone.name.as_ref(), gone.workspace.as_ref())
    }

    fn is_of(&self, owner: Option<&AccessName>) -> bool {
        self.scope.has(owner) && (self.started_by.as_ref()).is_none_or(|it| owner == Some(it))
    }

    fn can_be(
        &self,
        id: ProcessId,
        name: Option<&ProcessName>,
        workspace: Option<&WorkspaceName>,
    ) -> bool {
        (self.ids.as_ref()).is_none_or(|ids| ids.contains(&id))
            && (self.short.as_ref()).is_none_or(|short| short.is_meant(id, name))
            && (self.names.as_ref()).is_none_or(|names| name.is_some_and(|it| names.contains(it)))
            && (self.workspace.as_ref()).is_none_or(|it| workspace == Some(it))
    }
}

impl Short {
    fn is_meant(&self, id: ProcessId, name: Option<&ProcessName>) -> bool {
        self.ids.as_ref().is_some_and(|ids| ids.contains(&id))
            || (self.name.is_some() && self.name.as_ref() == name)
    }
}

impl LabelMatch {
    fn is_true_of(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.is {
            LabelIs::Equal(asked) => value == Some(asked),
            LabelIs::NotEqual(asked) => value != Some(asked),
            LabelIs::Set => value.is_some(),
            LabelIs::Unset => value.is_none(),
        }
    }
}

impl Outcome {
    fn of(exit: Option<MainExit>) -> Option<Self> {
        let exit = exit?;
        let is_success = exit.status == ExitStatus::Exited(0) && exit.cause == ExitCause::Exited;
        Some(if is_success {
            Self::Succeeded
        } else {
            Self::Failed
        })
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::convert::process::tests::{ended, info};
    use prn_ipc_protocol::message::OutputTotals;
    use prn_ipc_protocol::types::UnixMicros;

    /// A name.
    pub fn name(text: &str) -> ProcessName {
        text.to_owned().try_into().unwrap()
    }

    /// Labels.
    pub fn labels(pairs: &[(&str, &str)]) -> Labels {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Labels::try_from(pairs.collect::<std::collections::BTreeMap<_, _>>()).unwrap()
    }

    fn label(key: &str, is: LabelIs) -> Selector {
        Selector {
            labels: vec![LabelMatch {
                key: key.to_owned(),
                is,
            }],
            ..Selector::default()
        }
    }

    #[test]
    fn each_field_selects_and_all_of_them_have_to() {
        const ID: &str = "0123456789abcdef0123456789abcdef";
        let mut process = info(ID, 1);
        process.spec.name = Some(name("web"));
        process.spec.workspace = Some(crate::workspaces::tests::name("w"));
        process.spec.labels = labels(&[("app", "shop"), ("empty", "")]);
        let id = process.id;
        let ids = |of: &[ProcessId]| Selector {
            ids: Some(of.iter().copied().collect()),
            ..Selector::default()
        };
        let names = |of: &str| Selector {
            names: Some([name(of)].into()),
            ..Selector::default()
        };
        let short = |ids, of: &str| Selector {
            short: Some(Short {
                ids,
                name: Some(name(of)),
            }),
            ..Selector::default()
        };
        let other = ProcessId::from_bytes([0xff; 16]);
        let workspace = |of| Selector {
            workspace: Some(crate::workspaces::tests::name(of)),
            ..Selector::default()
        };
        let running = |running| Selector {
            running: Some(running),
            ..Selector::default()
        };
        let value = |text: &str| text.to_owned();
        let cases = [
            (Selector::default(), true),
            (ids(&[other, id]), true),
            (ids(&[other]), false),
            (ids(&[]), false),
            (names("web"), true),
            (names("we"), false),
            (short(None, "web"), true),
            (short(None, "webs"), false),
            (short(Some(id..=other), "webs"), true),
            (short(Some(other..=other), "webs"), false),
            (workspace("w"), true),
            (workspace("v"), false),
            (running(true), true),
            (running(false), false),
            (label("app", LabelIs::Equal(value("shop"))), true),
            (label("app", LabelIs::Equal(value(""))), false),
            (label("none", LabelIs::Equal(value(""))), false),
            (label("empty", LabelIs::Equal(value(""))), true),
            (label("app", LabelIs::NotEqual(value("shop"))), false),
            (label("app", LabelIs::NotEqual(value("bank"))), true),
            (label("none", LabelIs::NotEqual(value("bank"))), true),
            (label("app", LabelIs::Set), true),
            (label("none", LabelIs::Set), false),
            (label("app", LabelIs::Unset), false),
            (label("none", LabelIs::Unset), true),
        ];
        for (selector, expected) in &cases {
            assert_eq!(selector.has(&process), *expected, "{selector:?}");
        }
        let both = Selector {
            running: Some(false),
            ..names("web")
        };
        assert!(!both.has(&process) && both.can_have(&process));
        assert!(Selector::default().is_all() && !both.is_all());
        process.spec.name = None;
        assert!(!short(None, "web").has(&process));
    }

    #[test]
    fn a_process_succeeded_if_it_exited_with_0_by_itself() {
        let outcome = |exit| {
            let [succeeded, failed] =
                [Outcome::Succeeded, Outcome::Failed].map(|outcome| Selector {
                    outcome: Some(outcome),
                    ..Selector::default()
                });
            let mut process = info(&"0".repeat(32), 1);
            process.main_exit = exit;
            (succeeded.has(&process), failed.has(&process))
        };
        let exit = |status, cause| {
            Some(MainExit {
                status,
                cause,
                at: UnixMicros(0),
            })
        };
        let (zero, one) = (ExitStatus::Exited(0), ExitStatus::Exited(1));
        assert_eq!(outcome(None), (false, false));
        assert_eq!(outcome(exit(zero, ExitCause::Exited)), (true, false));
        for (status, cause) in [
            (one, ExitCause::Exited),
            (zero, ExitCause::TimedOut),
            (zero, ExitCause::StoppedOnRequest),
        ] {
            assert_eq!(outcome(exit(status, cause)), (false, true), "{cause:?}");
        }
    }

    #[test]
    fn a_process_that_has_ended_runs_no_more() {
        let totals = OutputTotals::default();
        let over = ended(
            info(&"0".repeat(32), 1),
            ExitStatus::Exited(0),
            ExitCause::Exited,
            totals,
        );
        let running = |running| Selector {
            running: Some(running),
            ..Selector::default()
        };
        assert!(running(false).has(&over) && !running(true).has(&over));
    }
}
