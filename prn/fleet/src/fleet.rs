//! A fleet: where its records are.

use crate::error::FleetError;
use crate::etcd::Etcd;
use crate::keys::Keys;

/// A fleet. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    etcd: Etcd,
    keys: Keys,
}

impl Fleet {
    /// The fleet of this name.
    ///
    /// # Errors
    /// [`FleetError::Name`].
    pub fn new(etcd: Etcd, name: &str) -> Result<Self, FleetError> {
        let keys = Keys::new(name)?;
        Ok(Self { etcd, keys })
    }

    /// The store.
    pub fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// Where in it what is.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}
