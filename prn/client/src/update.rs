//! Changes of a process that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use prn_proto::id::ProcessId;
#[cfg(doc)]
use prn_proto::reason;
use prn_proto::v1;

use crate::client::Client;
use crate::error::ClientError;
use crate::limits::Limits;
use crate::process::{Process, ProcessStatus};
use crate::wire::to_wire_duration;

/// What is changed: what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// These limits. Others stay as they are.
    pub limits: Limits,
    /// None of its processes runs from now on, or all go on.
    pub paused: Option<bool>,
    /// Its lease begins anew.
    pub lease: Option<NewLease>,
    /// All its labels from now on. Not together with `label_changes`.
    pub labels: Option<BTreeMap<String, String>>,
    /// Labels that change, by their keys: a value from now on, or `None`, no label any more. At most 32.
    /// Others stay as they are, also those that somebody else changes at the same time.
    pub label_changes: BTreeMap<String, Option<String>>,
}

/// How a lease begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewLease {
    /// As long as it was.
    Same,
    /// This long. A process that had none has one from then on.
    Of(Duration),
    /// The process has none any more.
    Ended,
}

impl From<Duration> for NewLease {
    /// Of none at all, it ends.
    fn from(time: Duration) -> Self {
        if time.is_zero() {
            Self::Ended
        } else {
            Self::Of(time)
        }
    }
}

impl Update {
    fn message(&self, id: ProcessId) -> Result<v1::UpdateProcessRequest, ClientError> {
        let has_limits = self.limits != Limits::default();
        let mut set_labels = BTreeMap::new();
        let mut unset_labels = Vec::new();
        for (key, value) in self.label_changes.clone() {
            match value {
                Some(value) => drop(set_labels.insert(key, value)),
                None => unset_labels.push(key),
            }
        }
        let fields = [
            ("limits", has_limits),
            ("paused", self.paused.is_some()),
            ("lease", self.lease.is_some()),
            ("labels", self.labels.is_some()),
            ("set_labels", !set_labels.is_empty()),
            ("unset_labels", !unset_labels.is_empty()),
        ];
        let named = fields.into_iter().filter(|(_, is_there)| *is_there);
        let lease = match self.lease {
            None | Some(NewLease::Same) => None,
            Some(NewLease::Of(duration)) => Some(duration),
            Some(NewLease::Ended) => Some(Duration::ZERO),
        };
        Ok(v1::UpdateProcessRequest {
            process_identifier: Some(id.into()),
            update_mask: Some(prost_types::FieldMask {
                paths: named.map(|(name, _)| name.to_owned()).collect(),
            }),
            limits: has_limits.then(|| self.limits.into()),
            paused: self.paused.unwrap_or_default(),
            lease: lease.map(to_wire_duration).transpose()?,
            labels: self.labels.clone().unwrap_or_default(),
            set_labels,
            unset_labels,
        })
    }
}

impl Client {
    /// Changes a process while it runs, and says how it is then.
    ///
    /// # Errors
    /// As [`Client::status`]; [`ClientError::Refused`] with [`reason::PROCESS_ENDED`],
    /// [`reason::NO_LEASE`], [`reason::MEMORY_IN_USE`], [`reason::TOO_MANY_LABELS`],
    /// [`reason::LIMIT_ABOVE_CEILING`] or [`reason::LIMIT_NOT_ENFORCEABLE`]. [`ClientError::NoAnswer`], [`ClientError::Lost`]: it may be
    /// changed.
    pub async fn update_process(
        &self,
        id: ProcessId,
        update: &Update,
    ) -> Result<ProcessStatus, ClientError> {
        let request = update.message(id)?;
        let mut service = self.service.clone();
        let response = self
            .answered(self.call_timeout, service.update_process(request))
            .await?
            .into_inner();
        Ok(Process::of(id, response.process_status)?.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_what_the_mask_names() {
        let id = ProcessId::from_bytes([1; 16]);
        let paths = |update: &Update| {
            let message = update.message(id).unwrap();
            message.update_mask.unwrap().paths
        };
        assert!(paths(&Update::default()).is_empty());
        let mut update = Update {
            labels: Some(BTreeMap::new()),
            lease: Some(NewLease::Same),
            ..Update::default()
        };
        assert_eq!(paths(&update), ["lease", "labels"]);
        assert_eq!(update.message(id).unwrap().lease, None);
        update.lease = Some(NewLease::Ended);
        update.limits.pids = Some(7);
        update.paused = Some(false);
        assert_eq!(paths(&update), ["limits", "paused", "lease", "labels"]);
        let message = update.message(id).unwrap();
        assert_eq!(message.lease, Some(prost_types::Duration::default()));
        assert_eq!(message.limits.unwrap().pids, Some(7));
    }

    #[test]
    fn a_label_is_set_or_unset_and_a_field_without_any_is_not_named() {
        let message = |changes: &[(&str, Option<&str>)]| {
            let owned = |text: &str| text.to_owned();
            let changes = changes
                .iter()
                .map(|(key, value)| (owned(key), value.map(owned)));
            let update = Update {
                label_changes: changes.collect(),
                ..Update::default()
            };
            let message = update.message(ProcessId::from_bytes([1; 16])).unwrap();
            let paths = message.update_mask.unwrap().paths.join(" ");
            (paths, message.set_labels, message.unset_labels)
        };
        let set = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        let (both, one) = (
            "set_labels unset_labels".to_owned(),
            "set_labels".to_owned(),
        );
        assert_eq!(message(&[("a", Some("1"))]), (one, set.clone(), vec![]));
        let unset = vec!["b".to_owned()];
        assert_eq!(
            message(&[("a", Some("1")), ("b", None)]),
            (both, set, unset)
        );
    }
}
