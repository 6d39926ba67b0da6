//! A fleet: where its records are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;

use crate::error::FleetError;
use crate::etcd::{Etcd, KeyValue};
use crate::keys::Keys;
use crate::records::{Record, record, shown};

/// Of more keys it is not remembered that what is there is malformed.
const MALFORMED_MAX: usize = 1000;

/// A fleet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    etcd: Etcd,
    keys: Keys,
    /// Keys whose value was passed over, and whether anybody was told.
    malformed: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Fleet {
    /// The fleet of this name.
    ///
    /// # Errors
    /// [`FleetError::Name`].
    pub fn new(etcd: Etcd, name: &str) -> Result<Self, FleetError> {
        let keys = Keys::new(name)?;
        Ok(Self {
            etcd,
            keys,
            malformed: Arc::default(),
        })
    }

    /// The store.
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// Where in it what is.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Keys that were passed over since this was last asked, for what is there is not what prn
    /// writes, or larger: each is told once, or its beginning where it is long.
    pub fn malformed(&self) -> Vec<String> {
        let mut all = self
            .malformed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let new = all.iter_mut().filter(|(_, is_told)| !**is_told);
        new.map(|(key, is_told)| {
            *is_told = true;
            key.clone()
        })
        .collect()
    }

    /// The message of a value, for those who read many: one that is malformed stops none of the others.
    pub fn known<T: Message + Default>(&self, item: &KeyValue) -> Option<Record<T>> {
        let known = record(item).ok();
        if known.is_none() {
            self.pass_over(&item.key);
        }
        known
    }

    /// Remembers that what is there is malformed.
    pub fn pass_over(&self, key: &str) {
        let mut all = self
            .malformed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if all.len() < MALFORMED_MAX {
            all.entry(shown(key)).or_default();
        }
    }
}
