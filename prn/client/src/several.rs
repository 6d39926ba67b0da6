//! Processes that one call is about.

use prn_proto::id::ProcessId;
use prn_proto::v1;

use crate::selector::Selector;

/// Which processes a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Processes {
    /// These, 1,000 at most.
    Named(Vec<ProcessId>),
    /// Those that this selects.
    Selected(Selector),
}

impl From<&[ProcessId]> for Processes {
    fn from(ids: &[ProcessId]) -> Self {
        Self::Named(ids.to_vec())
    }
}

impl From<ProcessId> for Processes {
    fn from(id: ProcessId) -> Self {
        Self::Named(vec![id])
    }
}

impl From<Selector> for Processes {
    fn from(selector: Selector) -> Self {
        Self::Selected(selector)
    }
}

impl Processes {
    /// Those that are named, if they are.
    pub(crate) fn named(&self) -> &[ProcessId] {
        match self {
            Self::Named(ids) => ids,
            Self::Selected(_) => &[],
        }
    }

    /// The two fields that requests have for them.
    pub(crate) fn into_wire(self) -> (Vec<v1::ProcessIdentifier>, Option<v1::ProcessSelector>) {
        match self {
            Self::Named(ids) => {
                let ids = ids.into_iter().map(v1::ProcessIdentifier::from);
                (ids.collect(), None)
            }
            Self::Selected(selector) => (Vec::new(), Some(selector.into())),
        }
    }
}
