//! Processes that one call is about.

use prn_proto::id::ProcessId;
use prn_proto::v1;

use crate::error::ClientError;

/// Which processes a call is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Processes {
    /// These.
    Named(Vec<ProcessId>),
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

impl Processes {
    /// The two fields that requests have for them.
    pub(crate) fn into_wire(self) -> (Vec<v1::ProcessIdentifier>, Option<v1::ProcessSelector>) {
        match self {
            Self::Named(ids) => {
                let ids = ids.into_iter().map(v1::ProcessIdentifier::from);
                (ids.collect(), None)
            }
        }
    }
}

/// The ids that an answer names.
pub(crate) fn named(ids: Vec<v1::ProcessIdentifier>) -> Result<Vec<ProcessId>, ClientError> {
    let ids = ids.into_iter().map(|id| id.id.parse());
    ids.collect::<Result<_, _>>()
        .map_err(|_| ClientError::Protocol("the server sent a malformed process id"))
}
